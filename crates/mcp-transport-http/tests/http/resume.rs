//! Answers whose stream breaks and is resumed. Source: wire reference §4.2, reliability R05-R07.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::future::{pending, poll_immediate};
use mcp_protocol::{Method, ProtocolVersion};
use mcp_transport::{Header, Outbound, Reply};
use mcp_transport_http::HttpOptions;
use tokio::time::Instant;

use crate::peer::{
    Peer, RESULT, Recorded, Seen, Step, answer, assert_items, events, events_head, exchange, initialize,
    outbound, request, show,
};

const PROGRESS: &str = r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#;

/// Answers the request with the first script and each `GET` with the next one.
async fn server(
    first: Vec<Step>,
    streams: impl Fn(usize, &Recorded) -> Vec<Step> + Send + Sync + 'static,
) -> Peer {
    let asked = AtomicUsize::new(0);
    Peer::start(move |seen| match &*seen.method {
        "GET" => streams(asked.fetch_add(1, Ordering::Relaxed), seen),
        _ if seen.body.contains("\"initialize\"") => {
            answer(200, "Content-Type: application/json\r\nMcp-Session-Id: s\r\n", RESULT)
        }
        _ => first.clone(),
    })
    .await
}

fn result() -> Vec<Step> {
    vec![events_head(), Step::Write(format!("id: 9\ndata: {RESULT}\n\n").into()), Step::AwaitClose]
}

#[tokio::test]
async fn an_answer_goes_on_after_the_last_event_seen() {
    let first = format!("id: 1\nretry: 30\ndata:\n\ndata: {PROGRESS}\n\n");
    let mut peer = server(events(first.as_bytes()), |n, _| match n {
        0 => events(format!("id: 2\ndata: {PROGRESS}\n\n").as_bytes()),
        1 => events(b"id: 3\ndata:\n\n"),
        _ => result(),
    })
    .await;
    let transport = peer.connect().await;
    exchange(&*transport, initialize()).await;
    let own = vec![Header::secret("Authorization", "Bearer alice"), Header::new("X-Other", "no")];
    let begun = Instant::now();
    let found = exchange(&*transport, Outbound { headers: own, ..request() }).await;
    assert_items(&found, &[PROGRESS, PROGRESS, RESULT], "resumed twice");
    assert!(begun.elapsed() >= Duration::from_millis(90), "{:?}", begun.elapsed());
    for id in ["1", "2", "3"] {
        let seen = peer.stream().await;
        for (name, value) in [
            ("last-event-id", Some(id)),
            ("mcp-session-id", Some("s")),
            ("mcp-protocol-version", Some("2025-11-25")),
            ("authorization", Some("Bearer alice")),
            ("x-other", None),
        ] {
            assert_eq!(seen.header(name), value, "{name} with {id}");
        }
    }
}

/// The wait is the server's to say, in milliseconds; a second if it does not.
#[tokio::test]
async fn the_wait_is_the_servers_to_say() {
    for (retry, wait) in [("", 1000), ("retry: 0\n", 0), ("retry: 345\n", 345)] {
        let first = events(format!("{retry}id: 1\ndata: {PROGRESS}\n\n").as_bytes());
        let peer = server(first, |_, _| result()).await;
        let transport = peer.connect().await;
        let begun = Instant::now();
        let found = exchange(&*transport, request()).await;
        assert_items(&found, &[PROGRESS, RESULT], retry);
        let waited = begun.elapsed().as_millis();
        assert!((wait..wait + 5000).contains(&waited), "{retry}: waited {waited} ms");
    }
}

#[tokio::test]
async fn what_is_not_resumed_fails_as_before() {
    const ID: &str = "id: 1\nretry: 1\ndata:\n\n";
    let latest = Some(ProtocolVersion::LATEST_HANDSHAKE);
    let early = "!closed unknown http://127.0.0.1:";
    for (row, version, first) in [
        ("no id", latest, "retry: 1\ndata:\n\n"),
        ("an id taken back", latest, "id: 1\ndata:\n\nid\ndata:\n\n"),
        ("2024-11-05", Some(ProtocolVersion::V2024_11_05), ID),
        ("stateless", Some(ProtocolVersion::V2026_07_28), ID),
        ("no revision yet", None, ID),
    ] {
        let mut peer = server(events(first.as_bytes()), |_, _| result()).await;
        let transport = peer.connect().await;
        let found = exchange(&*transport, outbound(Method::ToolsList, version)).await;
        assert_items(&found, &[early], row);
        assert!(found[0].ends_with("ended its answer before the response came"), "{row}: {found:?}");
        assert!(peer.stream_up_to_now().is_none(), "{row}");
    }
    for (status, asked, text) in [
        (405, 1, "it was not resumed: http status 405"),
        (400, 1, "it was not resumed: http status 400"),
        (404, 1, "it was not resumed: the server ended the session"),
        (503, 8, "it was not resumed: 8 attempts failed: http status 503"),
    ] {
        let mut peer = server(events(ID.as_bytes()), move |_, _| answer(status, "", "")).await;
        let transport = peer.connect().await;
        exchange(&*transport, initialize()).await;
        let Ok(Reply::Own(mut answers)) = transport.send(request()).await else { panic!("{status}") };
        // Waits are skipped as soon as nothing else is to be done.
        tokio::time::pause();
        let found = show(answers.next().await.unwrap());
        tokio::time::resume();
        assert!(found.starts_with(early) && found.ends_with(text), "{status}: {found}");
        assert!(answers.next().await.is_none());
        let mut seen = 0;
        while peer.stream_up_to_now().is_some() {
            seen += 1;
        }
        assert_eq!(seen, asked, "{status}");
        assert!(
            transport.details().contains(&("session", if status == 404 { "no" } else { "yes" }.to_owned()))
        );
    }
}

/// S38: what breaks the limits would do so again.
#[tokio::test]
async fn a_flood_is_not_resumed() {
    let flood = vec![events_head(), Step::Write(b"id: 1\ndata:\n\n".to_vec()), Step::Flood(b"x")];
    let mut peer = server(flood, |_, _| result()).await;
    let found = exchange(&*peer.connect().await, request()).await;
    assert_items(
        &found,
        &["!payload unknown an event exceeds", "!closed unknown an event does not end"],
        "flood",
    );
    assert!(peer.stream_up_to_now().is_none());
}

/// What could not be read is not fetched again and again.
#[tokio::test]
async fn an_answer_that_is_too_large_is_not_resumed() {
    let large = format!("id: 2\ndata: {}\n\n", "x".repeat(1500));
    for (row, unreadable, why) in [
        ("too large", large.as_bytes(), "an event exceeds the limit of 1024 bytes"),
        ("no text", b"id: 2\ndata: \xff\n\n", "an event is not valid UTF-8"),
    ] {
        let first = [b"id: 1\nretry: 1\ndata:\n\n", unreadable, b"id: 3\ndata:\n\n"].concat();
        let mut peer = server(events(&first), |_, _| result()).await;
        let options = HttpOptions { max_event_bytes: 1024, ..HttpOptions::default() };
        let transport = crate::peer::connect(peer.endpoint(), options).await;
        let found = exchange(&*transport, request()).await;
        let unusable = format!("!payload unknown {why}");
        assert_items(&found, &[&unusable, "!closed unknown http://127.0.0.1:"], row);
        assert!(found[1].ends_with(&format!("it was not resumed: {why}")), "{found:?}");
        assert!(peer.stream_up_to_now().is_none(), "{row}");
    }
}

/// An answer nobody waits for is not resumed, and leaves its place to others while it waits.
#[tokio::test]
async fn it_ends_with_the_request() {
    let mut peer = server(events(b"id: 1\nretry: 60000\ndata:\n\n"), |_, _| result()).await;
    let transport = crate::peer::connect(peer.endpoint(), crate::pool::limited(1)).await;
    let Ok(Reply::Own(mut answers)) = transport.send(request()).await else { panic!() };
    // The other goes through although the limit is one: the first has no connection now.
    tokio::select! {
        biased;
        item = answers.next() => panic!("not expected: {item:?}"),
        other = tokio::time::timeout(Duration::from_secs(10), transport.send(request())) => {
            assert!(matches!(other, Ok(Ok(Reply::Own(_)))), "{other:?}");
        }
    }
    assert!(poll_immediate(answers.next()).await.is_none());
    drop(answers);
    tokio::time::pause();
    tokio::time::timeout(Duration::from_secs(120), pending::<()>()).await.unwrap_err();
    tokio::time::resume();
    assert!(peer.stream_up_to_now().is_none());

    // Nor is one that was under way.
    let mut peer =
        server(events(b"id: 1\nretry: 0\ndata:\n\n"), |_, _| vec![events_head(), Step::AwaitClose]).await;
    let transport = peer.connect().await;
    let Ok(Reply::Own(mut answers)) = transport.send(request()).await else { panic!() };
    tokio::select! {
        item = answers.next() => panic!("not expected: {item:?}"),
        _ = peer.stream() => {}
    }
    assert!(matches!(peer.seen().await, Seen::Request(_)));
    drop(answers);
    assert!(matches!(peer.seen().await, Seen::Closed));
}
