//! The handshake era over HTTP: the rows of wire reference §5.3 about it, §4.2, batches, cancelling and leaving.

mod support;

use mcp_protocol::Method;
use serde_json::{Value, json};
use support::{Client, Events, MODERN, Seen, Site, body, cancel, initialize, plain, refusal, tool};

#[tokio::test]
async fn versions_are_negotiated() {
    let site = Site::plain().await;
    for (wanted, offered) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        (MODERN, "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ] {
        // A session that a client makes up is ignored here, as is a header of any revision of this era.
        let client = site.client.with("mcp-session-id", "made-up").with("mcp-protocol-version", "2025-06-18");
        let answer = client.post(&initialize(wanted)).await;
        let id = answer.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        assert_eq!(body(answer).await["result"]["protocolVersion"], offered, "{wanted}");
    }
    assert_eq!(site.front.stats().sessions, 6);
    site.end().await;
}

#[tokio::test]
async fn a_refused_handshake_opens_no_session() {
    let site = Site::plain().await;
    let mut refused = initialize("2025-11-25");
    refused["params"]["refuse"] = true.into();
    let mut broken = initialize("2025-11-25");
    broken["params"]["panic"] = true.into();
    for (message, code) in [
        (refused, -32602),
        (broken, -32603),
        (plain(0, "initialize", json!({})), -32602),
        (json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize" }), -32602),
    ] {
        let answer = site.client.post(&message).await;
        assert!(!answer.headers().contains_key("mcp-session-id"));
        assert_eq!(refusal(answer).await, (200, code));
    }
    assert_eq!((site.front.stats().sessions, site.front.stats().sessions_opened), (0, 0));
    site.end().await;
}

#[tokio::test]
async fn what_a_session_answers() {
    let mut site = Site::plain().await;
    let session = site.client.initialize("2025-11-25").await;
    assert_eq!(site.director.notified().await.method, Method::Initialized);
    let answer =
        session.post(&plain(1, "tools/call", json!({ "name": "echo", "arguments": { "a": 1 } }))).await;
    assert_eq!(answer.headers()["x-request-id"], "trace-1");
    assert_eq!(body(answer).await, json!({ "jsonrpc": "2.0", "id": 1, "result": { "a": 1 } }));
    assert_eq!(body(session.post(&plain(2, "ping", json!({}))).await).await["result"], json!({}));
    assert_eq!(refusal(session.post(&plain(3, "x/y", json!({}))).await).await, (200, -32601));
    assert_eq!(refusal(session.post(&tool(4, "panic")).await).await, (200, -32603));
    let versioned = session.with("mcp-protocol-version", "2025-11-25");
    assert_eq!(versioned.post(&tool(5, "echo")).await.status(), 200);
    let progress =
        json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progressToken": 1 } });
    assert_eq!(session.post(&progress).await.status(), 202);
    assert_eq!(site.director.notified().await.method, Method::Progress);
    let reply = json!({ "jsonrpc": "2.0", "id": 99, "result": {} });
    assert_eq!(session.post(&reply).await.status(), 202, "an answer to nothing is accepted");
    assert_eq!(
        refusal(session.post(&json!({ "jsonrpc": "2.0", "id": 6, "params": {} })).await).await,
        (400, -32600)
    );
    let mut enveloped = tool(7, "echo");
    enveloped["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = MODERN.into();
    assert_eq!(refusal(session.post(&enveloped).await).await, (400, -32020));
    site.end().await;
}

#[tokio::test]
async fn without_a_session_there_is_no_answer() {
    let site = Site::plain().await;
    let stranger = site.client.with("mcp-session-id", "0123");
    let reply = json!({ "jsonrpc": "2.0", "id": 1, "result": {} });
    let note = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    for message in [tool(1, "echo"), plain(1, "ping", json!({})), reply, note, json!([tool(1, "echo")])] {
        assert_eq!(refusal(site.client.post(&message).await).await, (400, -32600), "{message}");
        assert_eq!(refusal(stranger.post(&message).await).await.0, 404, "{message}");
    }
    assert_eq!(refusal(stranger.get(None).await).await.0, 404);
    assert_eq!(stranger.delete().await, 404);
    let versioned = site.client.with("mcp-protocol-version", "2025-06-18");
    assert_eq!(refusal(versioned.post(&tool(1, "echo")).await).await, (400, -32600));
    let refused = body(site.client.post(&tool(1, "echo")).await).await;
    let advice = refused["error"]["message"].as_str().unwrap();
    assert!(advice.contains("initialize") && advice.contains("_meta"), "either era is told: {advice}");
    site.end().await;
}

#[tokio::test]
async fn a_session_belongs_to_its_principal_and_endpoint() {
    let site = Site::plain().await;
    let session = site.client.with("x-principal", "a").initialize("2025-11-25").await;
    let id = session.session_id();
    for stranger in [
        site.client.with("mcp-session-id", &id),
        site.client.with("mcp-session-id", &id).with("x-principal", "b"),
    ] {
        assert_eq!(stranger.post(&tool(1, "echo")).await.status(), 404);
        assert_eq!(stranger.get(None).await.status(), 404);
        assert_eq!(stranger.delete().await, 404);
    }
    assert_eq!(session.post_to("/other", &tool(1, "echo")).await.status(), 404);
    assert_eq!(session.post(&tool(1, "echo")).await.status(), 200);
    site.end().await;
}

#[tokio::test]
async fn a_session_is_named_once() {
    let site = Site::plain().await;
    let session = site.client.initialize("2025-11-25").await;
    for other in [session.session_id(), "0123".into()] {
        let twice = session.with("mcp-session-id", &other);
        assert_eq!(refusal(twice.post(&tool(1, "echo")).await).await, (400, -32020));
        assert_eq!(refusal(twice.get(None).await).await, (400, -32020));
        assert_eq!(twice.delete().await, 400);
    }
    assert_eq!(session.post(&tool(1, "echo")).await.status(), 200);
    site.end().await;
}

#[tokio::test]
async fn delete_ends_the_session_and_its_calls() {
    let mut site = Site::plain().await;
    let session = site.client.initialize("2025-11-25").await;
    let listening = Events::of(session.get(None).await);
    let (waiting, held) = hold(&mut site, &session, 1).await;
    assert_eq!(session.delete().await, 204);
    held.cancelled().await;
    site.director.ended().await;
    Events::of(waiting.await.unwrap()).ends().await;
    listening.ends().await;
    assert_eq!(session.delete().await, 404);
    assert_eq!(session.post(&tool(1, "echo")).await.status(), 404);
    site.until(|stats| stats.sessions == 0 && stats.in_flight == 0).await;
    assert!(site.director.is_idle(), "it ends once");
    site.end().await;
}

type Waiting = tokio::task::JoinHandle<reqwest::Response>;

/// A call that waits for the test.
async fn hold(site: &mut Site, session: &Client, id: u32) -> (Waiting, support::Held) {
    let session = session.clone();
    let waiting = tokio::spawn(async move { session.post(&tool(id, "held")).await });
    (waiting, site.director.held().await)
}

#[tokio::test]
async fn cancelling_drops_the_call_and_gives_no_answer() {
    let mut site = Site::plain().await;
    let session = site.client.initialize("2025-06-18").await;
    let (first, first_held) = hold(&mut site, &session, 1).await;
    let (second, second_held) = hold(&mut site, &session, 1).await;
    let (other, other_held) = hold(&mut site, &session, 2).await;
    second_held.notify(1);
    let mut streaming = Events::of(second.await.unwrap());
    streaming.message().await;
    assert_eq!(session.post(&cancel(1)).await.status(), 202);
    first_held.cancelled().await;
    second_held.cancelled().await;
    Events::of(first.await.unwrap()).ends().await;
    streaming.ends().await;
    assert_eq!(session.post(&cancel(77)).await.status(), 202, "what is not in flight cannot be cancelled");
    other_held.answer(&json!({ "still": "here" }));
    assert_eq!(body(other.await.unwrap()).await["result"]["still"], "here");
    assert_eq!(site.front.stats().cancelled, 2);
    site.end().await;
}

#[tokio::test]
async fn leaving_is_not_cancelling() {
    let mut site = Site::plain().await;
    let session = site.client.initialize("2025-11-25").await;
    let (waiting, held) = hold(&mut site, &session, 1).await;
    waiting.abort();
    site.until(|stats| stats.abandoned == 1).await;
    assert!(!held.is_cancelled());
    held.notify(1);
    assert_eq!(site.front.stats().dropped, 1, "its stream never began, so nobody can come back to it");
    held.answer(&json!({}));
    site.until(|stats| stats.in_flight == 0).await;
    assert_eq!(site.front.stats().cancelled, 0);

    let (waiting, held) = hold(&mut site, &session, 2).await;
    waiting.abort();
    site.until(|stats| stats.abandoned == 2).await;
    session.post(&cancel(2)).await;
    held.cancelled().await;
    site.end().await;
}

#[tokio::test]
async fn batches_belong_to_one_revision() {
    let mut site = Site::plain().await;
    for version in ["2024-11-05", "2025-06-18", "2025-11-25"] {
        let session = site.client.initialize(version).await;
        assert_eq!(refusal(session.post(&json!([tool(1, "echo")])).await).await, (400, -32600), "{version}");
    }
    let session = site.client.initialize("2025-03-26").await;
    while site.director.notified().await.method != Method::Initialized {}
    assert_eq!(refusal(session.post(&json!([])).await).await, (400, -32600));
    let note = json!({ "jsonrpc": "2.0", "method": "notifications/progress" });
    let reply = json!({ "jsonrpc": "2.0", "id": 5, "result": {} });
    assert_eq!(session.post(&json!([note, reply])).await.status(), 202);

    let entries = json!([tool(1, "echo"), note, 7, initialize("2025-03-26"), plain(2, "ping", json!({}))]);
    let answers = body(session.post(&entries).await).await;
    let mut answers: Vec<(Value, Value)> = answers
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| (answer["id"].clone(), answer["error"]["code"].clone()))
        .collect();
    answers.sort_by_key(|answer| answer.0.to_string());
    let none = Value::Null;
    assert_eq!(answers[..3], [(json!(0), json!(-32600)), (json!(1), none.clone()), (json!(2), none.clone())]);
    assert_eq!(answers[3].0, none);
    assert_eq!(answers.len(), 4);
    site.end().await;
}

#[tokio::test]
async fn a_batch_shares_one_stream() {
    let mut site = Site::plain().await;
    let session = site.client.initialize("2025-03-26").await;
    let asking = session.clone();
    let entries = json!([tool(1, "first"), tool(2, "second"), tool(3, "echo")]);
    let waiting = tokio::spawn(async move { asking.post(&entries).await });
    let (first, second) = (site.director.held().await, site.director.held().await);
    second.notify(1);
    let mut events = Events::of(waiting.await.unwrap());
    let mut seen = vec![events.message().await, events.message().await];
    first.answer(&json!({}));
    seen.push(events.message().await);
    session.post(&cancel(2)).await;
    second.cancelled().await;
    assert_eq!(events.next().await, None, "what was cancelled has no answer");
    assert!(seen.iter().any(|message| message["method"] == "notifications/progress"));
    assert!([1, 3].iter().all(|id| seen.iter().any(|message| message["id"] == *id)), "{seen:?}");
    site.end().await;
}

#[tokio::test]
async fn a_second_session_does_not_disturb_the_first() {
    let mut site = Site::plain().await;
    let session = site.client.initialize("2025-11-25").await;
    let again = session.post(&initialize("2025-11-25")).await;
    assert_ne!(again.headers()["mcp-session-id"].to_str().unwrap(), session.session_id());
    assert_eq!(session.post(&tool(1, "echo")).await.status(), 200);
    assert!(matches!(site.director.next().await, Seen::Notified(_)));
    assert!(site.director.is_idle());
    site.end().await;
}
