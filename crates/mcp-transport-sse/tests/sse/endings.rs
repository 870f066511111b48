//! How connections end, and what comes after.

use std::sync::Arc;
use std::time::Duration;

use mcp_http_client::HttpOptions;
use mcp_transport::{Delivery, TransportErrorKind};
use mcp_transport_sse::SseConnector;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::peer::*;

#[tokio::test]
async fn a_lost_stream_ends_the_connection() {
    for (last, lost) in [
        (vec![Step::Close], "closed its event stream"),
        (vec![Step::Reset], "broke within the answer"),
        (
            vec![Step::Write(b"event: error\ndata: hunter2\n\n".to_vec()), Step::AwaitClose],
            "sent an error event",
        ),
    ] {
        let opened =
            [vec![head(), Step::Write(ENDPOINT.into())], vec![Step::Write(event(&result(1)))], last].concat();
        let peer = Peer::streaming(opened).await;
        let (transport, mut inbox) = peer.connect().await;
        assert_eq!(next(&mut inbox).await.unwrap(), result(1));
        let found = next(&mut inbox).await.unwrap();
        assert!(found.starts_with("!closed unknown") && found.contains(lost), "{found}");
        assert_eq!(next(&mut inbox).await, None);
        let error = transport.send(request(2)).await.unwrap_err();
        let found = show_error(&error);
        assert!(found.starts_with("!closed not_sent") && found.contains(lost), "{found}");
    }
}

#[tokio::test]
async fn j6_an_error_event_fails_the_stream() {
    let (peer, say) = Peer::live(|_| accepted()).await;
    let (_transport, mut inbox) = peer.connect().await;
    say.send(b"event: error\ndata: hunter2\n\n".to_vec()).await.unwrap();
    let origin = format!("http://{}", peer.address);
    let text = format!("!closed unknown {origin} sent an error event on its stream");
    assert_eq!(next(&mut inbox).await, Some(text));
    assert_eq!(next(&mut inbox).await, None);
}

#[tokio::test]
async fn j6_without_heartbeats_a_stream_is_dead_and_another_one_can_be_opened() {
    let never = Arc::new(Notify::new());
    let mut peer = Peer::streaming([head(), Step::Write(ENDPOINT.into()), Step::Await(never)]).await;
    let mut endpoint = peer.endpoint();
    endpoint.heartbeat = Some(Duration::from_millis(150));
    let connector = SseConnector::new(HttpOptions::default()).unwrap();
    for _ in 0..2 {
        let mut transport = try_connect(&connector, endpoint.clone()).await.unwrap();
        assert_eq!(peer.request().await.method, "GET");
        let found = next(&mut transport.take_inbox().unwrap()).await.unwrap();
        assert!(
            found.ends_with("sent nothing on its event stream for 300ms, not even a heartbeat"),
            "{found}"
        );
    }
}

#[tokio::test]
async fn a_forgotten_session_ends_the_connection() {
    let (mut peer, _say) = Peer::live(|_| answer(404, "", "Session not found")).await;
    let (transport, mut inbox) = peer.connect().await;
    peer.request().await;
    let error = transport.send(request(1)).await.unwrap_err();
    assert_eq!((error.kind, error.delivery), (TransportErrorKind::SessionExpired, Delivery::Rejected));
    let lost = format!("!closed unknown http://{} has forgotten the session", peer.address);
    assert_eq!(next(&mut inbox).await, Some(lost));
    assert_eq!(next(&mut inbox).await, None);
    let error = transport.send(request(2)).await.unwrap_err();
    assert_eq!((error.kind, error.delivery), (TransportErrorKind::SessionExpired, Delivery::NotSent));
}

/// The instance behind a balancer that got the second message knows nothing of the session; the one that got the
/// first is working on it.
#[tokio::test]
async fn r13_a_forgotten_session_does_not_refuse_what_was_sent_before() {
    let never = Arc::new(Notify::new());
    let (mut peer, _say) = Peer::live(move |posted| match posted.body.contains(r#""id":1,"#) {
        true => vec![Step::Await(never.clone())],
        false => answer(404, "", ""),
    })
    .await;
    let (transport, _inbox) = peer.connect().await;
    peer.request().await;
    let refused = async {
        peer.request().await;
        transport.send(request(2)).await
    };
    let (sent, refused) = tokio::join!(transport.send(request(1)), refused);
    let lost = format!("!closed unknown http://{} has forgotten the session", peer.address);
    assert_eq!(show_error(&sent.unwrap_err()), lost);
    assert_eq!(show_error(&refused.unwrap_err()), "!session rejected the server ended the session");
}

#[tokio::test]
async fn the_end_of_the_stream_ends_messages_under_way() {
    let never = Arc::new(Notify::new());
    let (mut peer, say) = Peer::live(move |_| vec![Step::Await(never.clone())]).await;
    let (transport, mut inbox) = peer.connect().await;
    peer.request().await;
    let lost = async {
        peer.request().await;
        drop(say);
        next(&mut inbox).await.unwrap()
    };
    let (sent, lost) = tokio::join!(transport.send(request(1)), lost);
    assert!(lost.starts_with("!closed unknown"), "{lost}");
    assert_eq!(show_error(&sent.unwrap_err()), lost);
}

#[tokio::test]
async fn closing_closes_the_stream() {
    let steps = [head(), Step::Write(ENDPOINT.into()), Step::AwaitClose];
    let mut peer = Peer::streaming(steps).await;
    // Whether somebody reads the inbox, has it, or nobody does; and by dropping.
    for case in 0..4 {
        let mut transport = peer.try_connect().await.unwrap();
        assert!(matches!(peer.seen().await, Seen::Request(_)));
        let inbox = (case != 1).then(|| transport.take_inbox().unwrap());
        let reading = tokio::spawn(async move {
            match inbox {
                Some(mut inbox) => next(&mut inbox).await,
                None => None,
            }
        });
        match case {
            3 => drop(transport),
            _ => {
                transport.close().await;
                transport.close().await;
                let found = show_error(&transport.send(request(1)).await.unwrap_err());
                assert_eq!(found, "!closed not_sent the connection was closed");
            }
        }
        assert_eq!(reading.await.unwrap(), None, "an end without an error");
        assert!(matches!(peer.seen().await, Seen::Closed), "{case}");
    }
}

#[tokio::test]
async fn a_server_that_asked_to_be_left_alone_is() {
    let retry = |millis: u64| {
        let text = format!("retry: {millis}\n\n{ENDPOINT}");
        move |request: &Recorded| match request.target.as_str() {
            "/base/sse?key=hunter2" => vec![head(), Step::Write(text.clone().into()), Step::Close],
            _ => accepted(),
        }
    };
    let connector = SseConnector::new(HttpOptions::default()).unwrap();
    let peer = Peer::start(retry(300)).await;
    let mut transport = try_connect(&connector, peer.endpoint()).await.unwrap();
    next(&mut transport.take_inbox().unwrap()).await.unwrap();
    let lost = Instant::now();
    drop(try_connect(&connector, peer.endpoint()).await.unwrap());
    assert!(lost.elapsed() >= Duration::from_millis(290), "{:?}", lost.elapsed());

    let peer = Peer::start(retry(u64::MAX)).await;
    let mut transport = try_connect(&connector, peer.endpoint()).await.unwrap();
    next(&mut transport.take_inbox().unwrap()).await.unwrap();
    let found = refusal(try_connect(&connector.clone(), peer.endpoint()).await);
    assert!(
        found.starts_with("!connect not_sent") && found.contains("asked not to be connected to"),
        "{found}"
    );
    assert!(found.ends_with("30s of which are left"), "bounded: {found}");
    let mut other = peer.endpoint();
    other.http.url.set_query(None);
    assert!(
        refusal(try_connect(&connector, other).await).starts_with("!status"),
        "another URL is another stream"
    );

    // A stream that we closed was not lost.
    let peer = Peer::start(retry(9000)).await;
    for _ in 0..2 {
        let transport = try_connect(&connector, peer.endpoint()).await.unwrap();
        transport.close().await;
    }
}
