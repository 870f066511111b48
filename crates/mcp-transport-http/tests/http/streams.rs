//! The server's own stream, beside the answers. Source: wire reference §4.2.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::future::poll_immediate;
use mcp_protocol::{Message, Method, Notification, ProtocolVersion};
use mcp_transport::{Connector, Endpoint, Header, Inbox, Outbound, Transport};
use mcp_transport_http::{HttpConnector, HttpOptions};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::peer::{
    Peer, RESULT, Recorded, Step, answer, events, events_head, exchange, initialize, json, show,
};

const NEWS: &str = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
const MORE: &str = r#"{"jsonrpc":"2.0","method":"notifications/resources/list_changed"}"#;
const GAP: &str = "!gap not_sent the server's messages were interrupted; some may be lost";

/// A server that answers the handshake with a session, and what a test says to each further `GET`.
async fn server(streams: impl Fn(usize, &Recorded) -> Vec<Step> + Send + Sync + 'static) -> Peer {
    let (asked, opened) = (AtomicUsize::new(0), AtomicUsize::new(0));
    Peer::start(move |seen| match seen {
        seen if seen.body.contains("\"initialize\"") => {
            let id = opened.fetch_add(1, Ordering::Relaxed);
            answer(200, &format!("Content-Type: application/json\r\nMcp-Session-Id: s{id}\r\n"), RESULT)
        }
        seen if seen.method == "GET" => streams(asked.fetch_add(1, Ordering::Relaxed), seen),
        seen if seen.method == "DELETE" => answer(200, "", ""),
        _ => answer(202, "", ""),
    })
    .await
}

fn initialized(version: ProtocolVersion) -> Outbound {
    let message = Message::Notification(Notification { method: Method::Initialized, params: None });
    Outbound { version: Some(version), ..Outbound::new(message) }
}

/// The two messages of a handshake, the first with headers of its own.
async fn handshake(transport: &dyn Transport, version: ProtocolVersion, headers: Vec<Header>) {
    exchange(transport, Outbound { headers: headers.clone(), ..initialize() }).await;
    assert_eq!(exchange(transport, Outbound { headers, ..initialized(version) }).await, ["Accepted"]);
}

async fn connected(peer: &Peer) -> (Box<dyn Transport>, Inbox) {
    let mut transport = peer.connect().await;
    let inbox = transport.take_inbox().unwrap();
    handshake(&*transport, ProtocolVersion::LATEST_HANDSHAKE, Vec::new()).await;
    (transport, inbox)
}

async fn next(inbox: &mut Inbox) -> String {
    let item = tokio::time::timeout(Duration::from_secs(10), inbox.next()).await;
    show(item.expect("there is an item within 10 s").expect("the inbox goes on"))
}

/// An open stream that stays so.
fn open(text: &str) -> Vec<Step> {
    vec![events_head(), Step::Write(text.into()), Step::AwaitClose]
}

/// Polls an inbox on which nothing is expected until something else has happened.
async fn quiet_until<T>(inbox: &mut Inbox, other: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        item = inbox.next() => panic!("not expected: {item:?}"),
        done = other => done,
    }
}

#[tokio::test]
async fn whoever_connects_can_wait_until_the_server_can_be_heard() {
    let go = Arc::new(Notify::new());
    let held = go.clone();
    let peer = server(move |_, _| [vec![Step::Await(held.clone())], open("")].concat()).await;
    let (transport, mut inbox) = connected(&peer).await;
    quiet_until(&mut inbox, async {
        let mut listening = transport.listening();
        assert!(poll_immediate(&mut listening).await.is_none(), "not answered yet");
        go.notify_one();
        listening.await;
    })
    .await;
    assert!(transport.details().contains(&("stream", "yes".to_owned())));
    transport.close().await;
    transport.listening().await;

    let peer = server(|_, _| answer(405, "", "")).await;
    let (transport, mut inbox) = connected(&peer).await;
    quiet_until(&mut inbox, transport.listening()).await;
    assert!(transport.details().contains(&("stream", "no".to_owned())));
    peer.connect().await.listening().await;
}

/// With the clock paused.
async fn quiet_for_an_hour(inbox: &mut Inbox) {
    let item = tokio::time::timeout(Duration::from_secs(3600), inbox.next()).await;
    assert!(item.is_err(), "not expected: {item:?}");
}

fn shows(transport: &dyn Transport, key: &str) -> String {
    let details = transport.details();
    details.into_iter().find(|(name, _)| *name == key).unwrap().1
}

#[tokio::test]
async fn what_belongs_to_no_request_comes_on_the_inbox() {
    let text =
        format!(": hello\n\nid: 1\ndata:\n\ndata: {NEWS}\n\ndata: nonsense\n\ndata: [{NEWS},{MORE}]\n\n");
    let mut peer = server(move |_, _| open(&text)).await;
    let (transport, mut inbox) = connected(&peer).await;
    assert_eq!(next(&mut inbox).await, NEWS);
    assert!(next(&mut inbox).await.starts_with("!payload"));
    assert_eq!([next(&mut inbox).await, next(&mut inbox).await], [NEWS, MORE]);

    let seen = peer.stream().await;
    assert_eq!(seen.target, "/mcp?key=hunter2");
    for (name, value) in [
        ("accept", Some("text/event-stream")),
        ("accept-encoding", Some("identity")),
        ("mcp-session-id", Some("s0")),
        ("mcp-protocol-version", Some("2025-11-25")),
        ("last-event-id", None),
        ("content-type", None),
    ] {
        assert_eq!(seen.header(name), value, "{name}");
    }
    assert_eq!(shows(&*transport, "stream"), "yes");
    let figures = shows(&*transport, "exchanges");
    assert!(figures.contains("0 of 256 calls, 0 of 16 others, 1 of 256 streams, 0 waiting"), "{figures}");
    transport.close().await;
    assert_eq!(inbox.map(show).collect::<Vec<_>>().await, [""; 0]);
    assert_eq!(shows(&*transport, "stream"), "no");
}

#[tokio::test]
async fn only_a_handshake_of_a_revision_with_streams_opens_one() {
    for (version, expected) in [
        (ProtocolVersion::V2024_11_05, false),
        (ProtocolVersion::V2025_03_26, true),
        (ProtocolVersion::V2025_06_18, true),
        (ProtocolVersion::V2026_07_28, false),
    ] {
        let mut peer = server(|_, _| answer(405, "", "")).await;
        let mut transport = peer.connect().await;
        let mut inbox = transport.take_inbox().unwrap();
        handshake(&*transport, version, Vec::new()).await;
        if expected {
            let seen = quiet_until(&mut inbox, peer.stream()).await;
            assert_eq!(seen.header("mcp-protocol-version"), Some(version.as_str()));
        } else {
            // The inbox has nothing to do, and whatever comes next comes without a stream.
            assert!(poll_immediate(inbox.next()).await.is_none());
            exchange(&*transport, initialized(version)).await;
            assert!(poll_immediate(inbox.next()).await.is_none() && peer.stream_up_to_now().is_none());
        }
    }
}

#[tokio::test]
async fn servers_without_sessions_may_have_a_stream_too() {
    let mut peer = Peer::start(|seen| match &*seen.method {
        "GET" => open(&format!("data: {NEWS}\n\n")),
        _ if seen.body.contains("\"initialize\"") => json(RESULT),
        _ => answer(202, "", ""),
    })
    .await;
    let (_transport, mut inbox) = connected(&peer).await;
    assert_eq!(next(&mut inbox).await, NEWS);
    assert_eq!(peer.stream().await.header("mcp-session-id"), None);
}

#[tokio::test]
async fn a_server_that_offers_no_stream_is_not_asked_again() {
    for (status, head) in [
        (405, ""),
        (404, ""),
        (400, ""),
        (401, ""),
        (403, ""),
        (501, ""),
        (307, "Location: /other\r\n"),
        (200, "Content-Type: application/json\r\n"),
        (200, "Content-Type: text/event-stream\r\nContent-Encoding: gzip\r\n"),
        (204, ""),
    ] {
        let mut peer = server(move |_, _| answer(status, head, "")).await;
        let (transport, mut inbox) = connected(&peer).await;
        quiet_until(&mut inbox, peer.stream()).await;
        tokio::time::pause();
        quiet_for_an_hour(&mut inbox).await;
        tokio::time::resume();
        assert!(peer.stream_up_to_now().is_none(), "{status} {head}");
        let gone = if status == 404 { "no" } else { "yes" };
        assert_eq!(shows(&*transport, "session"), gone, "{status}");
        transport.close().await;
    }
}

/// Only a refusal says that there is no stream: a server may be busy just after the handshake.
#[tokio::test]
async fn failures_are_not_taken_for_refusals() {
    const FAILED: usize = 10;
    let mut peer = server(|n, _| match n {
        0..FAILED => answer(503, "", ""),
        _ => open(&format!("data: {NEWS}\n\n")),
    })
    .await;
    let (transport, mut inbox) = connected(&peer).await;
    quiet_until(&mut inbox, transport.listening()).await;
    assert_eq!(shows(&*transport, "stream"), "no", "nobody waits for more than one attempt");
    tokio::time::pause();
    let begun = Instant::now();
    let found = [inbox.next().await, inbox.next().await].map(|item| show(item.unwrap()));
    let waited = begun.elapsed();
    tokio::time::resume();
    assert_eq!(found, [GAP, NEWS]);
    assert!((Duration::from_secs(120)..Duration::from_secs(600)).contains(&waited), "{waited:?}");
    assert_eq!(shows(&*transport, "stream"), "yes");
    for _ in 0..=FAILED {
        assert_eq!(peer.stream().await.header("last-event-id"), None);
    }

    let mut peer = server(|n, _| match n {
        0 => events(format!("retry: 1\nid: 1\ndata: {NEWS}\n\n").as_bytes()),
        1..=3 => answer([500, 429, 409][n - 1], "Retry-After: 0\r\n", ""),
        _ => open(&format!("data: {MORE}\n\n")),
    })
    .await;
    let (_transport, mut inbox) = connected(&peer).await;
    assert_eq!([next(&mut inbox).await, next(&mut inbox).await], [NEWS, MORE]);
    let mut ids = Vec::new();
    while let Some(seen) = peer.stream_up_to_now() {
        ids.push(seen.header("last-event-id").map(str::to_owned));
    }
    let one = Some("1".to_owned());
    assert_eq!(ids, [None, one.clone(), one.clone(), one.clone(), one]);
}

/// R05-R07: what was seen last is where it goes on.
#[tokio::test]
async fn a_stream_that_breaks_is_resumed_where_it_broke() {
    let begun = |text: &str| vec![events_head(), Step::Write(text.into())];
    for (row, end) in [("ended", Step::Close), ("reset", Step::Reset)] {
        let end_first = end.clone();
        let mut peer = server(move |n, _| match n {
            0 => {
                [begun(&format!("retry: 20\n\nid: a 1\ndata: {NEWS}\n\n")), vec![end_first.clone()]].concat()
            }
            1 => [begun("id: b\ndata:\n\n"), vec![end_first.clone()]].concat(),
            _ => open(&format!("id: c\ndata: {MORE}\n\n")),
        })
        .await;
        let (_transport, mut inbox) = connected(&peer).await;
        // A reset may overtake what was written before it.
        let first = next(&mut inbox).await;
        if first == NEWS {
            let begun = Instant::now();
            assert_eq!(next(&mut inbox).await, MORE, "{row}: nothing is lost and no gap told");
            assert!(begun.elapsed() >= Duration::from_millis(40), "{row}: {:?}", begun.elapsed());
            let ids: Vec<_> = [peer.stream().await, peer.stream().await, peer.stream().await]
                .iter()
                .map(|seen| seen.header("last-event-id").map(str::to_owned))
                .collect();
            assert_eq!(ids, [None, Some("a 1".to_owned()), Some("b".to_owned())], "{row}");
        } else {
            assert!(row == "reset" && first == GAP, "{row}: {first}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_cannot_be_resumed_is_opened_anew_and_the_gap_told() {
    let no_id = format!("retry: 1\ndata: {NEWS}\n\n");
    let with_id = format!("retry: 1\nid: 1\ndata: {NEWS}\n\n");
    let taken_back = format!("retry: 1\nid: 1\ndata: {NEWS}\n\nid:\ndata:\n\n");
    let table: [(&str, &str, u16, usize, Option<&str>); 4] = [
        ("no id", &no_id, 0, 2, Some(MORE)),
        ("an id taken back", &taken_back, 0, 2, Some(MORE)),
        ("an id the server does not know", &with_id, 400, 3, Some(MORE)),
        ("a session the server does not know", &with_id, 404, 2, None),
    ];
    for (row, first, refusal, asked, then) in table {
        let first = first.to_owned();
        let mut peer = server(move |n, seen| match seen.header("last-event-id") {
            _ if n == 0 => events(first.as_bytes()),
            Some(_) => answer(refusal, "", ""),
            None => open(&format!("data: {MORE}\n\n")),
        })
        .await;
        let (transport, mut inbox) = connected(&peer).await;
        assert_eq!(next(&mut inbox).await, NEWS, "{row}");
        assert_eq!(next(&mut inbox).await, GAP, "{row}");
        if let Some(then) = then {
            assert_eq!(next(&mut inbox).await, then, "{row}");
        } else {
            assert!(poll_immediate(inbox.next()).await.is_none(), "{row}");
            assert_eq!(shows(&*transport, "session"), "no");
        }
        let mut seen = 0;
        while peer.stream_up_to_now().is_some() {
            seen += 1;
        }
        assert_eq!(seen, asked, "{row}");
    }
}

/// S38: a server that ends every stream at once is not asked for more and more, whatever it asks for.
#[tokio::test]
async fn streams_of_no_use_are_not_opened_all_the_time() {
    let mut peer = server(|_, _| events(b"retry: 0\n\n")).await;
    let (_transport, mut inbox) = connected(&peer).await;
    let begun = Instant::now();
    for _ in 0..2 {
        assert_eq!(next(&mut inbox).await, GAP);
    }
    assert!(begun.elapsed() >= Duration::from_millis(1100), "{:?}", begun.elapsed());
    let mut asked = 0;
    while peer.stream_up_to_now().is_some() {
        asked += 1;
    }
    assert_eq!(asked, 3);
}

/// S38: what breaks the limits breaks the stream.
#[tokio::test]
async fn a_flood_is_cut_off() {
    let mut peer = server(|n, _| match n {
        0 => vec![events_head(), Step::Write(b"retry: 0\n\n".to_vec()), Step::Flood(b"x")],
        _ => open(&format!("data: {NEWS}\n\n")),
    })
    .await;
    let (_transport, mut inbox) = connected(&peer).await;
    assert!(next(&mut inbox).await.starts_with("!payload unknown an event exceeds"));
    assert_eq!([next(&mut inbox).await, next(&mut inbox).await], [GAP, NEWS]);
    loop {
        if let crate::peer::Seen::Closed = peer.seen().await {
            break;
        }
    }
}

/// An event that cannot be read is lost, and not fetched again and again.
#[tokio::test]
async fn what_cannot_be_read_is_not_resumed() {
    let mut peer = server(|n, _| match n {
        0 => events(b"retry: 1\nid: 1\ndata:\n\nid: 2\ndata: \xff\n\n"),
        _ => open(&format!("data: {NEWS}\n\n")),
    })
    .await;
    let (_transport, mut inbox) = connected(&peer).await;
    assert!(next(&mut inbox).await.starts_with("!payload unknown an event is not valid UTF-8"));
    assert_eq!([next(&mut inbox).await, next(&mut inbox).await], [GAP, NEWS]);
    peer.stream().await;
    assert_eq!(peer.stream().await.header("last-event-id"), None);
}

#[tokio::test]
async fn the_stream_follows_the_session() {
    let mut peer = server(|n, _| open(&format!("data: {}\n\n", [NEWS, MORE][n.min(1)]))).await;
    let (transport, mut inbox) = connected(&peer).await;
    assert_eq!(next(&mut inbox).await, NEWS);
    assert_eq!(peer.stream().await.header("mcp-session-id"), Some("s0"));

    let alice = vec![Header::secret("Authorization", "Bearer alice")];
    handshake(&*transport, ProtocolVersion::LATEST_HANDSHAKE, alice).await;
    assert_eq!(next(&mut inbox).await, MORE, "no gap: whoever makes a new session asks for everything anew");
    let seen = peer.stream().await;
    assert_eq!(seen.header("mcp-session-id"), Some("s1"));
    assert_eq!(seen.header("authorization"), Some("Bearer alice"));
    assert!(!format!("{:?}", transport.details()).contains("alice"));

    transport.close().await;
    assert!(inbox.next().await.is_none());
    let mut deleted = Vec::new();
    for seen in peer.rest() {
        if let crate::peer::Seen::Request(seen) = seen
            && seen.method == "DELETE"
        {
            deleted
                .push(["mcp-session-id", "authorization"].map(|name| seen.header(name).map(str::to_owned)));
        }
    }
    deleted.sort();
    let expected = [[Some("s0"), None], [Some("s1"), Some("Bearer alice")]];
    assert_eq!(deleted, expected.map(|pair| pair.map(|value| value.map(str::to_owned))));
}

/// Whoever closes the HTTP client has enough of all of it.
#[tokio::test]
async fn a_closed_client_opens_no_streams() {
    let mut peer =
        server(|_, _| vec![events_head(), Step::Write(b"retry: 0\n\n".to_vec()), Step::Close]).await;
    let connector = HttpConnector::new(HttpOptions::default()).unwrap();
    let endpoint = peer.endpoint();
    let mut transport = connector.connect(&Endpoint::Http(endpoint.clone())).await.unwrap();
    let mut inbox = transport.take_inbox().unwrap();
    handshake(&*transport, ProtocolVersion::LATEST_HANDSHAKE, Vec::new()).await;
    assert_eq!(next(&mut inbox).await, GAP);
    connector.pool().close(&endpoint.url);
    assert_eq!(next(&mut inbox).await, GAP);
    while peer.stream_up_to_now().is_some() {}
    tokio::time::pause();
    quiet_for_an_hour(&mut inbox).await;
    assert!(peer.stream_up_to_now().is_none());
}

/// A stream does not keep its session alive, and nobody who does not read has one.
#[tokio::test]
async fn without_a_reader_there_is_no_stream() {
    let mut peer = server(|_, _| open("")).await;
    let mut transport = peer.connect().await;
    let inbox = transport.take_inbox().unwrap();
    handshake(&*transport, ProtocolVersion::LATEST_HANDSHAKE, Vec::new()).await;
    drop(inbox);
    handshake(&*transport, ProtocolVersion::LATEST_HANDSHAKE, Vec::new()).await;
    assert!(peer.stream_up_to_now().is_none());
    transport.close().await;
}
