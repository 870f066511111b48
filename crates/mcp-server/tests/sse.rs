//! The two-endpoint transport (wire reference §4.4).

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use mcp_protocol::{Method, Notification};
use mcp_server::FrontLimits;
use serde_json::{Value, json};
use support::{Client, Events, Site, body, cancel, initialize, plain, refusal, tool};

/// A client with a stream; where it posts to.
async fn open(client: &Client) -> (Events, String) {
    let answer = client.send("GET", "/sse", &[("accept", "text/event-stream")], String::new()).await;
    let mut events = Events::of(answer);
    let first = events.next().await.unwrap();
    assert_eq!(first.name.as_deref(), Some("endpoint"));
    let path = first.data.unwrap();
    assert!(path.starts_with("/messages?session_id="), "{path}");
    (events, path)
}

async fn say(client: &Client, path: &str, message: &Value) {
    let answer = client.post_to(path, message).await;
    assert_eq!(answer.status(), 202, "{message}");
}

#[tokio::test]
async fn everything_comes_on_the_stream() {
    let mut site = Site::plain().await;
    let (mut events, path) = open(&site.client).await;
    say(&site.client, &path, &plain(9, "ping", json!({}))).await;
    assert_eq!(events.message().await["id"], 9, "before initialize as well");
    say(&site.client, &path, &tool(1, "echo")).await;
    assert_eq!(events.message().await["error"]["code"], -32602);
    say(&site.client, &path, &initialize("2025-06-18")).await;
    let opened = events.next().await.unwrap();
    assert_eq!(opened.id, None, "nothing can be resumed");
    assert_eq!(opened.json()["result"]["protocolVersion"], "2025-06-18");
    let outlet = site.director.outlet().await;
    say(&site.client, &path, &tool(2, "held")).await;
    let held = site.director.held().await;
    held.notify(1);
    assert_eq!(events.message().await["params"]["progress"], 1);
    let asked = tokio::spawn(held.outlet.ask(Method::RootsList, None));
    let question = events.message().await;
    assert_eq!(question["method"], "roots/list");
    let reply = json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "roots": [] } });
    say(&site.client, &path, &reply).await;
    asked.await.unwrap().unwrap();
    outlet.notify(Notification { method: Method::ToolsListChanged, params: None });
    assert_eq!(events.message().await["method"], "notifications/tools/list_changed");
    held.answer(&json!({ "done": true }));
    assert_eq!(events.message().await["result"]["done"], true);
    say(&site.client, &path, &tool(3, "panic")).await;
    assert_eq!(events.message().await["error"]["code"], -32603);
    // A stateless request has no meaning here.
    say(&site.client, &path, &support::modern(4, "server/discover", json!({}))).await;
    assert_eq!(events.message().await["error"]["code"], -32603, "the conversation is asked");
    site.end().await;
}

#[tokio::test]
async fn what_comes_before_the_handshake_is_done_waits_for_it() {
    let site = Site::plain().await;
    let (mut events, path) = open(&site.client).await;
    let (one, two) = (initialize("2025-03-26"), tool(1, "echo"));
    tokio::join!(say(&site.client, &path, &one), async {
        say(&site.client, &path, &plain(5, "ping", json!({}))).await;
        say(&site.client, &path, &two).await;
    });
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(events.message().await);
    }
    assert!(seen.iter().any(|message| message["id"] == 0 && message["result"].is_object()));
    say(&site.client, &path, &json!([tool(6, "echo"), 7])).await;
    let both = [events.message().await, events.message().await];
    assert!(both.iter().any(|message| message["id"] == 6 && message["result"].is_object()), "{both:?}");
    assert!(both.iter().any(|message| message["error"]["code"] == -32600), "{both:?}");
    site.end().await;
}

#[tokio::test]
async fn the_session_ends_with_its_stream() {
    let mut site = Site::plain().await;
    let (mut events, path) = open(&site.client).await;
    say(&site.client, &path, &initialize("2024-11-05")).await;
    events.message().await;
    say(&site.client, &path, &tool(1, "held")).await;
    say(&site.client, &path, &tool(2, "held")).await;
    let (first, second) = (site.director.held().await, site.director.held().await);
    say(&site.client, &path, &cancel(1)).await;
    first.cancelled().await;
    assert_eq!(site.front.stats().sessions, 1);
    drop(events);
    second.cancelled().await;
    site.director.ended().await;
    site.until(|stats| stats.sessions == 0 && stats.in_flight == 0).await;
    assert_eq!(refusal(site.client.post_to(&path, &tool(3, "echo")).await).await, (404, -32600));
    site.end().await;
}

#[tokio::test]
async fn posts_need_their_session_principal_and_form() {
    let site = Site::plain().await;
    let (_events, path) = open(&site.client.with("x-principal", "a")).await;
    let owner = site.client.with("x-principal", "a");
    let ping = plain(1, "ping", json!({}));
    for (client, path, expected) in [
        (&site.client, path.as_str(), 404),
        (&site.client.with("x-principal", "b"), &path, 404),
        (&owner, "/messages?session_id=made-up", 404),
        (&owner, "/messages", 400),
        (&owner, &path, 202),
    ] {
        assert_eq!(client.post_to(path, &ping).await.status(), expected, "{path}");
    }
    let text = owner.send("POST", &path, &[("content-type", "text/plain")], ping.to_string()).await;
    assert_eq!(text.status(), 415);
    let broken = owner.send("POST", &path, &[("content-type", "application/json")], "{".into()).await;
    assert_eq!(body(broken).await["error"]["code"], -32700);
    let html = site.client.send("GET", "/sse", &[("accept", "text/html")], String::new()).await;
    assert_eq!(html.status(), 406);
    site.end().await;
}

#[tokio::test]
async fn streams_end_with_the_server_when_their_calls_have() {
    let mut site = Site::start(FrontLimits { sessions: 2, ..FrontLimits::default() }).await;
    let (idle, _) = open(&site.client).await;
    let (mut busy, path) = open(&site.client).await;
    let refused = site.client.send("GET", "/sse", &[("accept", "text/event-stream")], String::new()).await;
    assert_eq!(refused.status(), 503);
    say(&site.client, &path, &initialize("2024-11-05")).await;
    busy.message().await;
    say(&site.client, &path, &tool(1, "held")).await;
    let held = site.director.held().await;
    site.front.shutdown();
    idle.ends().await;
    held.answer(&json!({ "done": true }));
    assert_eq!(busy.message().await["result"]["done"], true);
    busy.ends().await;
    assert_eq!(site.end().await.cut, 0);
}

#[tokio::test]
async fn a_session_is_unknown_to_streamable_http() {
    let mut site = Site::plain().await;
    let (mut events, path) = open(&site.client).await;
    say(&site.client, &path, &initialize("2024-11-05")).await;
    events.message().await;
    let stranger = site.client.with("mcp-session-id", path.split_once('=').unwrap().1);
    assert_eq!(stranger.post(&tool(1, "held")).await.status(), 404);
    assert_eq!(stranger.get(None).await.status(), 404);
    assert_eq!(stranger.get(Some("0-0")).await.status(), 404);
    assert_eq!(stranger.delete().await, 404);
    assert!(site.director.is_idle(), "nothing was called");
    say(&site.client, &path, &tool(2, "echo")).await;
    assert_eq!(events.message().await["id"], 2, "the stream goes on");
    site.end().await;
}
