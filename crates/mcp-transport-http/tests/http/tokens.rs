//! Which messages of a client carry a caller's token, and which must not. Source: contract §8.5.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use mcp_client::{Client, ConnectOptions, Outgoing, connect};
use mcp_protocol::{
    Era, EraPolicy, Limits, Message, Method, Notification, ProtocolVersion, RawJson, RequestId,
};
use mcp_transport::{Auth, ClientAuthentication, ClientCredentials, Connector, Endpoint, Header, Outbound};
use mcp_transport_http::{HttpConnector, HttpOptions};

use crate::peer::{
    Peer, RESULT, Recorded, Seen, Step, answer, events_head, exchange, initialize, json, request,
};

const LIMIT: Duration = Duration::from_secs(10);

fn token(of: &str) -> Vec<Header> {
    vec![Header::secret("Authorization", format!("Bearer {of}"))]
}

fn call(tool: &str, headers: Vec<Header>) -> Outgoing {
    let params = RawJson::parse(format!(r#"{{"name":"{tool}"}}"#), &Limits::default()).unwrap();
    let mut call = Outgoing::new(Method::ToolsCall, Some(params));
    call.headers = headers;
    call
}

/// The method of a message, or what else it is.
fn what(seen: &Recorded) -> String {
    if seen.body.is_empty() {
        return seen.method.clone();
    }
    match Message::parse(&seen.body.clone().into(), &Limits::default()).unwrap() {
        Message::Request(request) => request.method.to_string(),
        Message::Notification(notification) => notification.method.to_string(),
        _ => "answer".to_owned(),
    }
}

fn result(seen: &Recorded, result: &str) -> String {
    let Ok(Message::Request(request)) = Message::parse(&seen.body.clone().into(), &Limits::default()) else {
        panic!("no request: {seen:?}");
    };
    let RequestId::Integer(id) = request.id else { panic!("not an id of ours: {:?}", request.id) };
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

/// Of the handshake era, with a session for each handshake. Its tool `ask` asks back before it answers, its
/// tool `wait` never answers.
async fn handshake_server() -> Peer {
    const INITIALIZED: &str =
        r#"{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"s","version":"1"}}"#;
    let sessions = AtomicUsize::new(0);
    Peer::start(move |seen| match &*what(seen) {
        "initialize" => {
            let session = sessions.fetch_add(1, Ordering::Relaxed);
            let head = format!("Content-Type: application/json\r\nMcp-Session-Id: s{session}\r\n");
            answer(200, &head, &result(seen, INITIALIZED))
        }
        "tools/call" if seen.body.contains("ask") => {
            let ping = r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#;
            let answer = result(seen, "{}");
            vec![
                events_head(),
                Step::Write(format!("data: {ping}\n\ndata: {answer}\n\n").into()),
                Step::Close,
            ]
        }
        "tools/call" if seen.body.contains("wait") => vec![events_head(), Step::AwaitClose],
        "tools/call" => json(&result(seen, "{}")),
        "server/discover" => answer(404, "", ""),
        _ => answer(202, "", ""),
    })
    .await
}

/// Connects with a token of alice to a server that is configured with another.
async fn connect_to(peer: &Peer, policy: EraPolicy) -> Client {
    let mut endpoint = peer.endpoint();
    endpoint.headers = vec![("Authorization".into(), "Bearer configured".into())];
    let options = ConnectOptions { policy, headers: token("alice"), ..ConnectOptions::default() };
    let connector = HttpConnector::new(HttpOptions::default()).unwrap();
    let client = connect(&connector, &Endpoint::Http(endpoint), &options).await.unwrap();
    let shown = format!("{options:?} {client:?} {:?}", call("any", token("alice")));
    assert!(!shown.contains("alice") && shown.contains("Authorization: [REDACTED]"), "{shown}");
    client
}

#[track_caller]
fn assert_seen(seen: &Recorded, expected: &str, token: &str) {
    let authorization = format!("Bearer {token}");
    assert_eq!((&*what(seen), seen.header("authorization")), (expected, Some(&*authorization)));
}

async fn expect(peer: &mut Peer, expected: &[(&str, &str)]) {
    for (what, token) in expected {
        assert_seen(&peer.request().await, what, token);
    }
}

#[tokio::test]
async fn n3_a_token_is_on_the_messages_it_was_given_for_and_on_no_other() {
    let mut peer = handshake_server().await;
    let client = connect_to(&peer, EraPolicy::Auto).await;
    expect(
        &mut peer,
        &[("server/discover", "alice"), ("initialize", "alice"), ("notifications/initialized", "alice")],
    )
    .await;

    client.call(call("any", token("bob")), LIMIT).await.unwrap();
    client.call(call("any", Vec::new()), LIMIT).await.unwrap();
    client.ping(LIMIT).await.unwrap_err();
    client.notify(Method::RootsListChanged, None).await.unwrap();
    expect(
        &mut peer,
        &[
            ("tools/call", "bob"),
            ("tools/call", "configured"),
            ("ping", "configured"),
            ("notifications/roots/list_changed", "configured"),
        ],
    )
    .await;

    // Whoever opened a session ends it.
    client.handshake(LIMIT).await.unwrap();
    expect(&mut peer, &[("initialize", "configured")]).await;
    let mut after = [peer.request().await, peer.request().await];
    after.sort_by_key(what);
    assert_seen(&after[0], "DELETE", "alice");
    assert_seen(&after[1], "notifications/initialized", "configured");

    client.handshake_with(&token("carol"), LIMIT).await.unwrap();
    expect(&mut peer, &[("initialize", "carol")]).await;
    let mut after = [peer.request().await, peer.request().await];
    after.sort_by_key(what);
    assert_seen(&after[0], "DELETE", "configured");
    assert_seen(&after[1], "notifications/initialized", "carol");

    client.close().await;
    expect(&mut peer, &[("DELETE", "carol")]).await;
    let mut streams = Vec::new();
    while let Some(seen) = peer.stream_up_to_now() {
        streams.push(seen.header("authorization").unwrap().to_owned());
    }
    streams.dedup();
    assert!(!streams.is_empty() && streams.iter().all(|token| token != "Bearer bob"), "{streams:?}");
}

#[tokio::test]
async fn what_belongs_to_a_call_carries_its_token() {
    let mut peer = handshake_server().await;
    let client = connect_to(&peer, EraPolicy::Only(Era::Handshake)).await;
    expect(&mut peer, &[("initialize", "alice"), ("notifications/initialized", "alice")]).await;

    client.call(call("ask", token("bob")), LIMIT).await.unwrap();
    expect(&mut peer, &[("tools/call", "bob"), ("answer", "bob")]).await;

    let waiting = client.start(call("wait", token("carol"))).await.unwrap();
    expect(&mut peer, &[("tools/call", "carol")]).await;
    drop(waiting);
    loop {
        if let Seen::Request(seen) = peer.seen().await {
            assert_seen(&seen, "notifications/cancelled", "carol");
            break;
        }
    }
}

#[tokio::test]
async fn n13_tokens_of_concurrent_calls_do_not_cross() {
    const DISCOVERED: &str = r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{},"ttlMs":60000,"cacheScope":"public"}"#;
    let mut peer = Peer::start(|seen| match &*what(seen) {
        "server/discover" => json(&result(seen, DISCOVERED)),
        _ => json(&result(seen, r#"{"resultType":"complete"}"#)),
    })
    .await;
    let client = connect_to(&peer, EraPolicy::Auto).await;
    expect(&mut peer, &[("server/discover", "alice")]).await;
    let calls = (0..20).map(|n| {
        let caller = format!("caller{n}");
        client.call(call(&caller, token(&caller)), LIMIT)
    });
    futures::future::try_join_all(calls).await.unwrap();
    for _ in 0..20 {
        let seen = peer.request().await;
        let caller = seen.header("mcp-name").unwrap().to_owned();
        assert!(seen.body.contains(&format!(r#""{caller}""#)));
        assert_seen(&seen, "tools/call", &caller);
    }
}

/// Contract §7.5: every request carries the endpoint's token, whatever it is for; 401 renews it once.
#[tokio::test]
async fn j8_fetched_tokens_are_on_everything_that_is_sent() {
    let issued = AtomicUsize::new(0);
    let mut tokens = Peer::start(move |_| {
        let n = issued.fetch_add(1, Ordering::Relaxed);
        json(&format!(r#"{{"access_token":"token-{n}","token_type":"Bearer","expires_in":3600}}"#))
    })
    .await;
    let mut peer = Peer::start(|seen| match seen {
        seen if seen.header("authorization") != Some("Bearer token-1") => answer(401, "", ""),
        seen if seen.body.contains("\"initialize\"") => {
            answer(200, "Content-Type: application/json\r\nMcp-Session-Id: s\r\n", RESULT)
        }
        seen if seen.header("accept") == Some("text/event-stream") => vec![events_head(), Step::AwaitClose],
        seen if seen.method == "POST" && seen.body.contains("\"id\"") => json(RESULT),
        _ => answer(202, "", ""),
    })
    .await;
    let mut endpoint = peer.endpoint();
    endpoint.auth = Some(Auth::ClientCredentials(Box::new(ClientCredentials {
        token_url: format!("http://{}/token", tokens.address).parse().unwrap(),
        client_id: "gateway".into(),
        client_secret: "hunter2".into(),
        scope: None,
        resource: None,
        method: ClientAuthentication::Basic,
    })));
    let connector = HttpConnector::new(HttpOptions::default()).unwrap();
    let endpoint = Endpoint::Http(endpoint);
    let mut transport = connector.connect(&endpoint).await.unwrap();
    let mut inbox = transport.take_inbox().unwrap();
    assert_eq!(exchange(&*transport, initialize()).await, [RESULT]);
    let message = Message::Notification(Notification { method: Method::Initialized, params: None });
    let version = Some(ProtocolVersion::LATEST_HANDSHAKE);
    exchange(&*transport, Outbound { version, ..Outbound::new(message) }).await;
    tokio::select! {
        item = inbox.next() => panic!("not expected: {item:?}"),
        seen = peer.stream() => assert_seen(&seen, "GET", "token-1"),
    }
    assert_eq!(exchange(&*transport, request()).await, [RESULT]);
    assert_eq!(connector.health(&endpoint, "/health").await, Some(Ok(202)));
    transport.close().await;
    assert_seen(&peer.request().await, "initialize", "token-0");
    for expected in ["initialize", "notifications/initialized", "tools/list", "GET", "DELETE"] {
        assert_seen(&peer.request().await, expected, "token-1");
    }
    assert_eq!((tokens.rest().len(), peer.rest().len()), (2, 0));
}
