//! Messages out and in.

use std::sync::Arc;

use futures::FutureExt;
use mcp_http_client::HttpOptions;
use mcp_transport::{Header, Outbound, Reply};
use mcp_transport_sse::SseConnector;
use tokio::sync::Notify;

use crate::peer::*;

#[tokio::test]
async fn messages_are_posted_and_answered_on_the_stream() {
    let (mut peer, say) = Peer::live(|_| accepted()).await;
    let (transport, mut inbox) = peer.connect().await;
    peer.request().await;
    let out = Outbound { headers: vec![Header::secret("Authorization", "Bearer t")], ..request(1) };
    assert!(matches!(transport.send(out).await, Ok(Reply::Inbox)));
    let posted = peer.request().await;
    assert_eq!(posted.body, r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    assert_eq!(posted.header("content-type"), Some("application/json"));
    assert_eq!(posted.header("authorization"), Some("Bearer t"));
    assert_eq!(posted.header("mcp-protocol-version"), Some("2025-11-25"));
    say.send(event(&result(1))).await.unwrap();
    assert_eq!(next(&mut inbox).await.unwrap(), result(1));

    assert!(matches!(transport.send(notification()).await, Ok(Reply::Accepted)));
    let posted = peer.request().await;
    assert_eq!(posted.body, r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    assert_eq!(posted.header("mcp-protocol-version"), None, "none is agreed on");
    assert_eq!(transport.details()[2], ("last_event", "0 s ago".to_owned()));
}

#[tokio::test]
async fn j6_any_2xx_is_success_and_its_body_means_nothing() {
    for status in [200, 201, 202, 204, 299] {
        let (peer, say) = Peer::live(move |_| {
            let body = if status == 204 { "" } else { r#"{"jsonrpc":"2.0","id":1,"error":{}}"# };
            answer(status, "Content-Type: application/json\r\n", body)
        })
        .await;
        let (transport, mut inbox) = peer.connect().await;
        assert!(matches!(transport.send(request(1)).await, Ok(Reply::Inbox)), "{status}");
        say.send(event(&result(1))).await.unwrap();
        assert_eq!(next(&mut inbox).await.unwrap(), result(1));
    }
}

#[tokio::test]
async fn a_body_that_does_not_end_delays_nothing() {
    let (peer, _say) = Peer::live(|_| vec![head(), Step::Flood(b"x")]).await;
    let (transport, _inbox) = peer.connect().await;
    let sent = tokio::time::timeout(BOUND, transport.send(request(1))).await.unwrap();
    assert!(matches!(sent, Ok(Reply::Inbox)));
}

#[tokio::test]
async fn j6_an_answer_before_the_post_returns_is_matched() {
    let posted = Arc::new(Notify::new());
    let returns = posted.clone();
    let (mut peer, say) =
        Peer::live(move |_| [vec![Step::Await(returns.clone())], accepted()].concat()).await;
    let (transport, mut inbox) = peer.connect().await;
    peer.request().await;
    let (answered, refused) = (transport.send(request(1)), transport.send(request(2)));
    tokio::pin!(answered, refused);
    let other = async {
        peer.request().await;
        peer.request().await;
        let foreign = r#"{"jsonrpc":"2.0","id":"1","result":{}}"#;
        let failure = r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32000,"message":"no"}}"#;
        for message in [foreign, &result(3), &result(1), failure] {
            say.send(event(message)).await.unwrap();
            assert_eq!(next(&mut inbox).await.unwrap(), message);
        }
    };
    let (one, two, ()) =
        tokio::time::timeout(BOUND, async { tokio::join!(answered, refused, other) }).await.unwrap();
    assert!(matches!((one, two), (Ok(Reply::Inbox), Ok(Reply::Inbox))));
    posted.notify_waiters();
}

#[tokio::test]
async fn refused_messages_say_how_far_they_got() {
    for (steps, refused) in [
        (answer(400, "", "hunter2"), "!status rejected http status 400"),
        (answer(401, "", ""), "!status rejected http status 401"),
        (answer(413, "", ""), "!status rejected http status 413"),
        (answer(429, "Retry-After: 3\r\n", ""), "!status rejected http status 429"),
        (
            answer(307, "Location: /elsewhere\r\n", ""),
            "!redirect rejected http status 307, a redirect to /elsewhere, which is not followed",
        ),
        (answer(500, "", "hunter2"), "!status unknown http status 500"),
        (vec![Step::Close], "!closed unknown the connection to http://"),
        (vec![Step::Reset], "!closed unknown the connection to http://"),
    ] {
        let (peer, say) = Peer::live(move |_| steps.clone()).await;
        let (transport, mut inbox) = peer.connect().await;
        let found = show_error(&transport.send(request(1)).await.unwrap_err());
        assert!(found.starts_with(refused), "{found}");
        say.send(event(&result(9))).await.unwrap();
        assert_eq!(next(&mut inbox).await.unwrap(), result(9), "the stream goes on");
    }
}

#[tokio::test]
async fn a_header_that_cannot_be_sent_is_told_before_anything_is() {
    let (peer, _say) = Peer::live(|_| accepted()).await;
    let (transport, _inbox) = peer.connect().await;
    let out = Outbound { headers: vec![Header::secret("X-Key", "hunter2\n")], ..request(1) };
    let found = show_error(&transport.send(out).await.unwrap_err());
    assert!(found.starts_with("!endpoint not_sent the value of header \"X-Key\""), "{found}");
}

#[tokio::test]
async fn j5_what_is_no_message_is_skipped_or_told() {
    let (peer, say) = Peer::live(|_| accepted()).await;
    let (transport, mut inbox) = peer.connect().await;
    let said = [
        ": a comment\n\n".to_owned(),
        "event: ping\ndata: x\n\n".to_owned(),
        "event: message\n\n".to_owned(),
        "event: endpoint\ndata: http://evil.example/m\n\n".to_owned(),
        "data: hunter2\n\n".to_owned(),
        "data: {\"jsonrpc\":\"2.0\",\"id\":4,\"result\":{},\"error\":{}}\n\n".to_owned(),
        format!("id: 7\r\ndata: {}\r\rdata:[{},\ndata:7,\ndata:{}]\n\n", result(1), result(2), result(3)),
    ];
    say.send(said.concat().into()).await.unwrap();
    let expected = [
        "!payload unknown unusable message",
        "!payload unknown unusable message",
        &result(1),
        &result(2),
        "!payload unknown unusable message",
        &result(3),
    ];
    for expected in expected {
        let found = next(&mut inbox).await.unwrap();
        assert!(found.starts_with(expected), "{found}");
    }
    // The first `endpoint` counts.
    assert_eq!(transport.details()[1], ("messages", "/base/messages".to_owned()));
    assert!(transport.send(request(5)).await.is_ok());
    assert!(next(&mut inbox).now_or_never().is_none());
}

#[tokio::test]
async fn an_unusable_answer_names_its_request() {
    let (peer, say) = Peer::live(|_| accepted()).await;
    let (_transport, mut inbox) = peer.connect().await;
    say.send(event(r#"{"jsonrpc":"2.0","id":4,"result":{},"error":{}}"#)).await.unwrap();
    let item = tokio::time::timeout(BOUND, futures::StreamExt::next(&mut inbox)).await.unwrap().unwrap();
    assert_eq!(item.unwrap_err().answers, Some(4.into()));
}

#[tokio::test]
async fn s38_bombs_are_bounded_and_the_next_event_is_fine() {
    let (peer, say) = Peer::live(|_| accepted()).await;
    let options = HttpOptions { max_event_bytes: 1000, ..HttpOptions::default() };
    let mut transport = try_connect(&SseConnector::new(options).unwrap(), peer.endpoint()).await.unwrap();
    let mut inbox = transport.take_inbox().unwrap();
    let bomb = [b"data: ".to_vec(), vec![b'x'; 1500], b"\n\n".to_vec(), event(&result(1))].concat();
    for byte in bomb.chunks(1) {
        say.send(byte.to_vec()).await.unwrap();
    }
    assert_eq!(next(&mut inbox).await.unwrap(), "!payload unknown an event exceeds the limit of 1000 bytes");
    assert_eq!(next(&mut inbox).await.unwrap(), result(1));
    say.send(vec![b'y'; 1500]).await.unwrap();
    assert_eq!(next(&mut inbox).await.unwrap(), "!payload unknown an event exceeds the limit of 1000 bytes");
    say.send(vec![b'y'; 1500]).await.unwrap();
    assert!(next(&mut inbox).await.unwrap().starts_with("!closed unknown an event does not end"));
    assert_eq!(next(&mut inbox).await, None);
}
