//! Sessions of the handshake era.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mcp_protocol::{Method, ProtocolVersion};
use mcp_transport::{Delivery, Outbound, Transport, TransportErrorKind};
use tokio::sync::Notify;

use crate::peer::{
    Peer, RESULT, Recorded, Seen, Step, answer, assert_items, events_head, exchange, failure_of, initialize,
    json, outbound, request,
};

const REFUSED: &str = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"no"}}"#;

fn is_initialize(seen: &Recorded) -> bool {
    seen.body.contains("\"initialize\"")
}

/// A JSON answer to `initialize` that offers a session.
fn offer(id: &str, body: &str) -> Vec<Step> {
    answer(200, &format!("Content-Type: application/json\r\nMCP-Session-Id: {id}\r\n"), body)
}

fn session_shown(transport: &dyn Transport) -> String {
    let details = transport.details();
    details.iter().find(|(name, _)| *name == "session").unwrap().1.clone()
}

/// Opens sessions `s0`, `s1`, … and answers everything else with `rest`.
async fn sessions(rest: Vec<Step>) -> Peer {
    let opened = AtomicUsize::new(0);
    Peer::start(move |seen| match is_initialize(seen) {
        true => offer(&format!("s{}", opened.fetch_add(1, Ordering::Relaxed)), RESULT),
        false => rest.clone(),
    })
    .await
}

#[tokio::test]
async fn j8_a_session_is_echoed_and_ended() {
    let mut peer = sessions(json(RESULT)).await;
    let transport = peer.connect().await;
    assert_eq!(session_shown(&*transport), "no");
    assert_items(&exchange(&*transport, initialize()).await, &[RESULT], "initialize");
    assert_eq!(peer.request().await.header("mcp-session-id"), None);
    assert_eq!(session_shown(&*transport), "yes");
    assert!(!format!("{:?}", transport.details()).contains("s0"));

    for (version, sent) in [
        (Some(ProtocolVersion::V2025_03_26), Some("s0")),
        (Some(ProtocolVersion::V2025_11_25), Some("s0")),
        (Some(ProtocolVersion::V2026_07_28), None),
        (None, None),
    ] {
        exchange(&*transport, outbound(Method::ToolsList, version)).await;
        assert_eq!(peer.request().await.header("mcp-session-id"), sent, "{version:?}");
    }

    transport.close().await;
    let farewell = peer.request().await;
    assert_eq!((&*farewell.method, &*farewell.target), ("DELETE", "/mcp?key=hunter2"));
    assert_eq!(farewell.header("mcp-session-id"), Some("s0"));
    assert_eq!(farewell.header("mcp-protocol-version"), Some("2025-11-25"));
    assert_eq!(session_shown(&*transport), "no");
    transport.close().await;
    assert!(peer.rest().is_empty(), "a session is ended once");
}

#[tokio::test]
async fn only_a_successful_initialize_opens_a_session() {
    let events = format!(
        "HTTP/1.1 200 OK\r\nMcp-Session-Id: a\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n\
         data: {RESULT}\n\n"
    );
    let table: Vec<(&str, Vec<Step>, &str)> = vec![
        ("JSON", offer("a", RESULT), "yes"),
        ("events", vec![Step::Write(events.into()), Step::Close], "yes"),
        ("refusal", offer("a", REFUSED), "no"),
        ("status 400", answer(400, "Content-Type: application/json\r\nMcp-Session-Id: a\r\n", REFUSED), "no"),
        ("no id", json(RESULT), "no"),
        ("white space within", offer("a b", RESULT), "no"),
        ("empty", offer("", RESULT), "no"),
        ("too long", offer(&"x".repeat(5000), RESULT), "no"),
    ];
    for (row, steps, session) in table {
        let peer = Peer::answering(steps.clone()).await;
        let transport = peer.connect().await;
        exchange(&*transport, initialize()).await;
        assert_eq!(session_shown(&*transport), session, "{row}");
        // Any other request opens none.
        let peer = Peer::answering(steps).await;
        let transport = peer.connect().await;
        exchange(&*transport, request()).await;
        assert_eq!(session_shown(&*transport), "no", "{row}");
    }
}

#[tokio::test]
async fn initialize_again_replaces_the_session() {
    let mut peer = sessions(answer(405, "Allow: POST\r\n", "")).await;
    let transport = peer.connect().await;
    exchange(&*transport, initialize()).await;
    exchange(&*transport, initialize()).await;
    for _ in 0..2 {
        let seen = peer.request().await;
        assert_eq!((&*seen.method, seen.header("mcp-session-id")), ("POST", None));
    }
    let farewell = peer.request().await;
    assert_eq!((&*farewell.method, farewell.header("mcp-session-id")), ("DELETE", Some("s0")));
    transport.close().await;
    let farewell = peer.request().await;
    assert_eq!((&*farewell.method, farewell.header("mcp-session-id")), ("DELETE", Some("s1")));
}

/// `prompts/list`, which [`slow`] answers later than everything else.
fn slow_request() -> Outbound {
    outbound(Method::PromptsList, Some(ProtocolVersion::LATEST_HANDSHAKE))
}

/// Opens sessions, does as told for [`slow_request`], and answers everything else.
async fn slow(steps: Vec<Step>) -> Peer {
    let opened = AtomicUsize::new(0);
    Peer::start(move |seen| match seen {
        seen if is_initialize(seen) => offer(&format!("s{}", opened.fetch_add(1, Ordering::Relaxed)), RESULT),
        seen if seen.body.contains("prompts/list") => steps.clone(),
        _ => json(RESULT),
    })
    .await
}

/// Method and session of the next request.
async fn next(peer: &mut Peer) -> (String, Option<String>) {
    let seen = peer.request().await;
    (seen.method.clone(), seen.header("mcp-session-id").map(str::to_owned))
}

fn post(session: &str) -> (String, Option<String>) {
    ("POST".into(), Some(session.into()))
}

fn delete(session: &str) -> (String, Option<String>) {
    ("DELETE".into(), Some(session.into()))
}

#[tokio::test]
async fn a_replaced_session_lives_until_its_last_exchange_is_over() {
    let events = Step::Write(format!("data: {RESULT}\n\n").into());
    for within in ["head", "stream"] {
        let told = Arc::new(Notify::new());
        let wait = Step::Await(told.clone());
        let mut peer = slow(match within {
            "head" => [vec![wait], json(RESULT)].concat(),
            _ => vec![events_head(), wait, events.clone(), Step::Close],
        })
        .await;
        let transport = Arc::<dyn Transport>::from(peer.connect().await);
        exchange(&*transport, initialize()).await;
        peer.request().await;
        let under_way = tokio::spawn({
            let transport = transport.clone();
            async move { exchange(&*transport, slow_request()).await }
        });
        assert_eq!(next(&mut peer).await, post("s0"));
        exchange(&*transport, initialize()).await;
        assert_eq!(next(&mut peer).await, ("POST".into(), None));
        for _ in 0..3 {
            exchange(&*transport, request()).await;
            assert_eq!(next(&mut peer).await, post("s1"), "{within}");
        }
        assert!(peer.rest().is_empty(), "{within}");

        told.notify_one();
        assert_items(&under_way.await.unwrap(), &[RESULT], within);
        assert_eq!(next(&mut peer).await, delete("s0"), "{within}");
        transport.close().await;
        assert_eq!(next(&mut peer).await, delete("s1"), "{within}");
        assert!(peer.rest().is_empty(), "{within}");
    }
}

#[tokio::test]
async fn giving_up_the_last_exchange_ends_a_replaced_session() {
    let mut peer = slow(vec![events_head(), Step::AwaitClose]).await;
    let transport = peer.connect().await;
    exchange(&*transport, initialize()).await;
    let both = [transport.send(slow_request()).await.unwrap(), transport.send(slow_request()).await.unwrap()];
    exchange(&*transport, initialize()).await;
    for _ in 0..4 {
        peer.request().await;
    }
    let [one, other] = both;
    drop(one);
    assert!(matches!(peer.seen().await, Seen::Closed));
    exchange(&*transport, request()).await;
    assert_eq!(next(&mut peer).await, post("s1"), "the other one still runs");
    drop(other);
    let mut rest = [peer.seen().await, peer.seen().await];
    rest.sort_by_key(|seen| matches!(seen, Seen::Closed));
    assert!(matches!(&rest, [Seen::Request(seen), Seen::Closed] if seen.method == "DELETE"), "{rest:?}");
}

#[tokio::test]
async fn close_does_not_wait_for_exchanges_on_replaced_sessions() {
    let mut peer = slow(vec![events_head(), Step::AwaitClose]).await;
    let transport = peer.connect().await;
    exchange(&*transport, initialize()).await;
    let under_way = transport.send(slow_request()).await.unwrap();
    exchange(&*transport, initialize()).await;
    for _ in 0..3 {
        peer.request().await;
    }
    transport.close().await;
    let mut ended = [next(&mut peer).await, next(&mut peer).await];
    ended.sort();
    assert_eq!(ended, [delete("s0"), delete("s1")]);
    drop(under_way);
    assert!(matches!(peer.seen().await, Seen::Closed), "neither is ended twice");
    assert!(peer.rest().is_empty(), "neither is ended twice");
}

/// Dropping an exchange where there is no runtime must not panic.
#[test]
fn an_exchange_may_outlive_the_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (peer, transport, under_way) = runtime.block_on(async {
        let peer = slow(vec![events_head(), Step::AwaitClose]).await;
        let transport = peer.connect().await;
        exchange(&*transport, initialize()).await;
        let under_way = transport.send(slow_request()).await.unwrap();
        exchange(&*transport, initialize()).await;
        (peer, transport, under_way)
    });
    drop(runtime);
    drop(under_way);
    assert_eq!(session_shown(&*transport), "yes");
    drop(peer);
}

#[tokio::test]
async fn a_failed_initialize_keeps_the_session() {
    let tries = AtomicUsize::new(0);
    let mut peer = Peer::start(move |seen| match (is_initialize(seen), tries.load(Ordering::Relaxed)) {
        (true, 0) => {
            tries.store(1, Ordering::Relaxed);
            offer("s0", RESULT)
        }
        (true, _) => offer("s1", REFUSED),
        (false, _) => json(RESULT),
    })
    .await;
    let transport = peer.connect().await;
    exchange(&*transport, initialize()).await;
    assert_items(&exchange(&*transport, initialize()).await, &[REFUSED], "refused");
    exchange(&*transport, request()).await;
    peer.request().await;
    peer.request().await;
    assert_eq!(peer.request().await.header("mcp-session-id"), Some("s0"));
}

#[tokio::test]
async fn j8_a_404_ends_the_session_whatever_its_body() {
    let json_head = "Content-Type: application/json\r\n";
    for body in ["", REFUSED, "<p>gone</p>"] {
        let mut peer = sessions(answer(404, json_head, body)).await;
        let transport = peer.connect().await;
        exchange(&*transport, initialize()).await;
        // Every caller gets to know, not just the first.
        for _ in 0..2 {
            let expected = (TransportErrorKind::SessionExpired, Delivery::Rejected);
            assert_eq!(failure_of(transport.send(request()).await), expected, "{body:?}");
        }
        assert_eq!(session_shown(&*transport), "no");
        // Without a session a 404 is a status like any other.
        let stateless = outbound(Method::ToolsList, Some(ProtocolVersion::LATEST_STATELESS));
        let found = exchange(&*transport, stateless).await;
        assert_items(&found, &[if body == REFUSED { REFUSED } else { "!status rejected" }], body);
        // What the server has ended need not be ended again.
        transport.close().await;
        let methods: Vec<_> = peer.rest().into_iter().map(|seen| format!("{seen:?}")).collect();
        assert!(methods.len() == 4 && methods.iter().all(|seen| !seen.contains("DELETE")), "{methods:?}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_the_farewell_does_not_hold_up_close() {
    let mut peer = sessions(vec![Step::AwaitClose]).await;
    let transport = peer.connect().await;
    exchange(&*transport, initialize()).await;
    peer.request().await;
    let before = tokio::time::Instant::now();
    transport.close().await;
    assert!(before.elapsed() <= std::time::Duration::from_secs(5), "{:?}", before.elapsed());
    assert_eq!(peer.request().await.method, "DELETE");
}

/// An `initialize` whose answer crosses with `close` leaves no session behind.
#[tokio::test]
async fn a_session_that_opens_after_close_is_ended() {
    use futures::StreamExt;
    use mcp_transport::Reply;

    let head = "HTTP/1.1 200 OK\r\nMcp-Session-Id: late\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    let body = format!("data: {RESULT}\n\n");
    let mut peer = Peer::start(move |seen| match is_initialize(seen) {
        true => vec![Step::Write(head.into()), Step::Write(body.clone().into()), Step::Close],
        false => json(RESULT),
    })
    .await;
    let transport = peer.connect().await;
    let Ok(Reply::Own(mut answers)) = transport.send(initialize()).await else { panic!() };
    transport.close().await;
    assert!(answers.next().await.unwrap().is_ok());
    peer.request().await;
    let farewell = peer.request().await;
    assert_eq!((&*farewell.method, farewell.header("mcp-session-id")), ("DELETE", Some("late")));
}

/// The same life against an HTTP server that is not ours.
#[tokio::test]
async fn a_session_with_an_ordinary_server() {
    use axum::http::{HeaderMap, StatusCode, header};
    use axum::response::IntoResponse;
    use axum::routing::post;

    let ended = Arc::new(AtomicUsize::new(0));
    let count = ended.clone();
    let in_session = |headers: &HeaderMap| headers.get("mcp-session-id").is_some_and(|id| id == "abc");
    let call = move |headers: HeaderMap, body: String| async move {
        if body.contains("\"initialize\"") {
            let head = [
                (header::CONTENT_TYPE, "application/json"),
                (header::HeaderName::from_static("mcp-session-id"), "abc"),
            ];
            return (head, RESULT).into_response();
        }
        if !in_session(&headers) {
            return StatusCode::BAD_REQUEST.into_response();
        }
        ([(header::CONTENT_TYPE, "text/event-stream")], format!("id: 1\ndata:\n\ndata: {RESULT}\n\n"))
            .into_response()
    };
    let end = move |headers: HeaderMap| async move {
        count.fetch_add(usize::from(in_session(&headers)), Ordering::Relaxed);
        StatusCode::NO_CONTENT
    };
    let app = axum::Router::new().route("/mcp", post(call).delete(end));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let server = tokio::spawn(async { axum::serve(listener, app).await });

    let endpoint = mcp_transport::HttpEndpoint::new(url.parse().unwrap());
    let transport = crate::peer::connect(endpoint, mcp_transport_http::HttpOptions::default()).await;
    let refused = (TransportErrorKind::Status { status: 400, retry_after: None }, Delivery::Rejected);
    assert_eq!(failure_of(transport.send(request()).await), refused);
    for out in [initialize(), request(), request()] {
        assert_items(&exchange(&*transport, out).await, &[RESULT], "in the session");
    }
    transport.close().await;
    assert_eq!(ended.load(Ordering::Relaxed), 1);
    server.abort();
}
