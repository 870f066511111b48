//! The stateless era over HTTP: wire reference §3.9, §4.3 and the rows of §5.3 about it.

mod support;

use std::time::Duration;

use mcp_protocol::ErrorCode;
use mcp_server::FrontLimits;
use serde_json::{Value, json};
use support::{BOTH, Events, MODERN, Site, body, initialize, modern, plain, refusal, tool};

const VERSION: (&str, &str) = ("mcp-protocol-version", MODERN);
const CALL: (&str, &str) = ("mcp-method", "tools/call");
const ECHO: (&str, &str) = ("mcp-name", "echo");

fn call() -> Value {
    modern(7, "tools/call", json!({ "name": "echo", "arguments": { "x": 1 }, "padding": "x".repeat(200) }))
}

async fn post(site: &Site, fields: &[(&'static str, &str)], message: &Value) -> reqwest::Response {
    let client = fields.iter().fold(site.client.clone(), |client, (name, value)| client.with(name, value));
    client.post(message).await
}

#[tokio::test]
async fn a_call_is_answered_as_json_with_its_trace_id() {
    let site = Site::plain().await;
    let answer = post(&site, &[VERSION, CALL, ECHO], &call()).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-request-id"], "trace-7");
    assert!(!answer.headers().contains_key("mcp-session-id"));
    assert_eq!(body(answer).await, json!({ "jsonrpc": "2.0", "id": 7, "result": { "x": 1 } }));
    assert_eq!(site.end().await.cut, 0);
}

#[tokio::test]
async fn requests_climb_the_ladder() {
    let site = Site::plain().await;
    let without = |key: &str| {
        let mut message = call();
        message["params"]["_meta"].as_object_mut().unwrap().remove(key);
        message
    };
    let of_version = |version: &str| {
        let mut message = call();
        message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = version.into();
        message
    };
    let [name, level] = [ECHO, ("mcp-method", "logging/setLevel")];
    let rows = [
        (
            "no envelope",
            vec![VERSION, CALL, name],
            plain(7, "tools/call", json!({ "name": "echo" })),
            (400, -32602),
        ),
        (
            "no version key",
            vec![VERSION, CALL, name],
            without("io.modelcontextprotocol/protocolVersion"),
            (400, -32602),
        ),
        (
            "no capabilities",
            vec![VERSION, CALL, name],
            without("io.modelcontextprotocol/clientCapabilities"),
            (400, -32602),
        ),
        ("header and body differ", vec![VERSION, CALL, name], of_version("v999"), (400, -32020)),
        (
            "unknown version",
            vec![("mcp-protocol-version", "v999"), CALL, name],
            of_version("v999"),
            (400, -32022),
        ),
        (
            "handshake version in the envelope",
            vec![VERSION, CALL, name],
            of_version("2025-11-25"),
            (400, -32020),
        ),
        ("no method header", vec![VERSION, name], call(), (400, -32020)),
        ("another method", vec![VERSION, ("mcp-method", "tools/list"), name], call(), (400, -32020)),
        ("case of the method", vec![VERSION, ("mcp-method", "Tools/Call"), name], call(), (400, -32020)),
        ("no name header", vec![VERSION, CALL], call(), (400, -32020)),
        ("another name", vec![VERSION, CALL, ("mcp-name", "x")], call(), (400, -32020)),
        ("two names", vec![VERSION, CALL, name, name], call(), (400, -32020)),
        ("two versions", vec![VERSION, VERSION, CALL, name], call(), (400, -32020)),
        (
            "header without argument",
            vec![VERSION, CALL, name, ("mcp-param-region", "eu")],
            call(),
            (400, -32020),
        ),
        (
            "method of the other era",
            vec![VERSION, level],
            modern(7, "logging/setLevel", json!({})),
            (404, -32601),
        ),
        ("unknown method", vec![VERSION, ("mcp-method", "x/y")], modern(7, "x/y", json!({})), (404, -32601)),
        ("ping", vec![VERSION, ("mcp-method", "ping")], modern(7, "ping", json!({})), (404, -32601)),
        ("initialize", vec![VERSION], initialize(MODERN), (404, -32601)),
        (
            "a notification as a request",
            vec![VERSION, ("mcp-method", "notifications/progress")],
            modern(7, "notifications/progress", json!({})),
            (404, -32601),
        ),
        (
            "the service fails",
            vec![VERSION, ("mcp-method", "completion/complete")],
            modern(7, "completion/complete", json!({})),
            (200, -32603),
        ),
        (
            "a panic",
            vec![VERSION, CALL, ("mcp-name", "panic")],
            modern(7, "tools/call", json!({ "name": "panic" })),
            (200, -32603),
        ),
        ("a response", vec![VERSION], json!({ "jsonrpc": "2.0", "id": 7, "result": {} }), (400, -32600)),
        ("a batch", vec![VERSION, CALL, name], json!([call()]), (400, -32600)),
        ("no message", vec![VERSION], json!({ "jsonrpc": "2.0", "id": 7 }), (400, -32600)),
        // The rows of §5.3 where the header does not name this era.
        ("envelope without header", vec![CALL, name], call(), (400, -32020)),
        (
            "envelope with handshake header",
            vec![("mcp-protocol-version", "2025-06-18")],
            call(),
            (400, -32020),
        ),
        ("discover without envelope", vec![], plain(7, "server/discover", json!({})), (400, -32602)),
    ];
    for (what, fields, message, expected) in rows {
        let fields: Vec<(&str, &str)> = fields;
        let answer = post(&site, &fields, &message).await;
        let status = answer.status().as_u16();
        let answer = body(answer).await;
        assert_eq!((status, answer["error"]["code"].as_i64().unwrap()), expected, "{what}: {answer}");
        let has_id =
            message["method"].is_string() && !what.starts_with("two versions") || what == "no message";
        assert_eq!(answer.get("id") == Some(&json!(7)), has_id && what != "initialize", "{what}: {answer}");
    }
    let unknown = post(&site, &[("mcp-protocol-version", "v999"), CALL, ECHO], &of_version("v999")).await;
    let data = body(unknown).await["error"]["data"].clone();
    assert_eq!(
        data["supported"],
        json!(["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"])
    );
    assert_eq!(data["requested"], "v999");
    site.end().await;
}

#[tokio::test]
async fn repeated_arguments_are_compared() {
    let site = Site::plain().await;
    let message = modern(7, "tools/call", json!({ "name": "echo", "arguments": { "region": "eu" } }));
    for (fields, expected) in [
        (vec![("mcp-param-region", "eu")], 200),
        (vec![("mcp-param-region", "=?base64?ZXU=?=")], 200),
        (vec![("mcp-param-region", "eu"), ("mcp-param-other", "ignored")], 200),
        (vec![("mcp-param-region", "us")], 400),
        (vec![("mcp-param-region", "eu"), ("mcp-param-region", "eu")], 400),
        (vec![], 400),
    ] {
        let fields = [&[VERSION, CALL, ECHO], &fields[..]].concat();
        assert_eq!(post(&site, &fields, &message).await.status(), expected, "{fields:?}");
    }
    site.end().await;
}

#[tokio::test]
async fn what_the_transport_does_not_allow() {
    let site = Site::plain().await;
    let send = async |method: &str, fields: &[(&str, &str)], body: &str| {
        site.client.send(method, "/mcp", fields, body.to_owned()).await.status().as_u16()
    };
    let [json, accept] = [("content-type", "application/json"), ("accept", BOTH)];
    let text = call().to_string();
    for (what, method, fields, body, expected) in [
        ("GET", "GET", vec![VERSION, ("accept", "text/event-stream")], "", 405),
        ("DELETE", "DELETE", vec![VERSION], "", 405),
        ("GET without a session", "GET", vec![("accept", "text/event-stream")], "", 405),
        ("DELETE without a session", "DELETE", vec![], "", 405),
        ("PUT", "PUT", vec![json, accept], &text, 405),
        ("another accept", "POST", vec![json, VERSION, ("accept", "text/html")], &text, 406),
        ("JSON only", "POST", vec![json, VERSION, ("accept", "application/json")], &text, 406),
        ("any accept", "POST", vec![json, VERSION, CALL, ECHO, ("accept", "*/*")], &text, 200),
        ("no content type", "POST", vec![accept, VERSION], &text, 415),
        ("a form", "POST", vec![accept, VERSION, ("content-type", "text/plain")], &text, 415),
        ("encoded", "POST", vec![accept, json, VERSION, ("content-encoding", "gzip")], &text, 415),
        (
            "with charset",
            "POST",
            vec![accept, ("content-type", "Application/JSON; charset=utf-8"), VERSION, CALL, ECHO],
            &text,
            200,
        ),
        ("no JSON", "POST", vec![accept, json, VERSION], "{", 400),
        (
            "a notification",
            "POST",
            vec![accept, json, VERSION],
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#,
            202,
        ),
        (
            "a session id is ignored",
            "POST",
            vec![accept, json, VERSION, CALL, ECHO, ("mcp-session-id", "x")],
            &text,
            200,
        ),
    ] {
        assert_eq!(send(method, &fields, body).await, expected, "{what}");
    }
    let refused = site.client.send("GET", "/mcp", &[VERSION], String::new()).await;
    assert_eq!(refused.headers()["allow"], "POST");
    site.end().await;
}

#[tokio::test]
async fn the_first_notification_makes_the_answer_a_stream() {
    let mut site = Site::plain().await;
    let client = site.client.clone();
    let answering =
        tokio::spawn(async move { client.modern(1, "tools/call", json!({ "name": "held" })).await });
    let held = site.director.held().await;
    held.notify(1);
    let answer = answering.await.unwrap();
    assert_eq!(answer.headers()["x-request-id"], "trace-1");
    let mut events = Events::of(answer);
    let first = events.next().await.unwrap();
    assert_eq!((first.id.clone(), first.name.as_deref()), (None, Some("message")), "nothing can be resumed");
    assert_eq!(first.json()["params"]["progress"], 1);
    held.notify(2);
    held.notify(3);
    let outlet = held.outlet.clone();
    held.fail(ErrorCode::INVALID_PARAMS);
    let progress = |event: Value| event["params"]["progress"].clone();
    assert_eq!([progress(events.message().await), progress(events.message().await)], [json!(2), json!(3)]);
    assert_eq!(events.message().await["error"]["code"], -32602);
    events.ends().await;
    outlet.notify(support::progress(4)); // goes nowhere
    assert_eq!(site.front.stats().dropped, 1);
    assert_eq!(site.front.stats().in_flight, 0);
    assert!(outlet.ask(mcp_protocol::Method::RootsList, None).await.is_err());
    site.end().await;
}

#[tokio::test]
async fn notifications_before_an_immediate_answer_come_first() {
    let mut site = Site::plain().await;
    let client = site.client.clone();
    let answering =
        tokio::spawn(async move { client.modern(1, "tools/call", json!({ "name": "held" })).await });
    let held = site.director.held().await;
    held.notify(1);
    held.answer(&json!({ "done": true }));
    let mut events = Events::of(answering.await.unwrap());
    assert_eq!(events.message().await["method"], "notifications/progress");
    assert_eq!(events.message().await["result"]["done"], true);
    events.ends().await;
    site.end().await;
}

#[tokio::test]
async fn a_slow_answer_becomes_a_stream_that_is_kept_alive() {
    let limits = FrontLimits { keep_alive: Duration::from_millis(20), ..FrontLimits::default() };
    let mut site = Site::start(limits).await;
    let mut events = Events::of(site.client.modern(1, "tools/call", json!({ "name": "held" })).await);
    for _ in 0..3 {
        assert_eq!(events.next_raw().await.unwrap().data, None, "a comment");
    }
    site.director.held().await.answer(&json!({}));
    assert_eq!(events.message().await["id"], 1);
    events.ends().await;
    site.end().await;
}

#[tokio::test]
async fn leaving_cancels_before_and_after_the_stream_began() {
    let mut site = Site::plain().await;
    let client = site.client.clone();
    let waiting =
        tokio::spawn(async move { client.modern(1, "tools/call", json!({ "name": "held" })).await });
    let held = site.director.held().await;
    assert_eq!(site.front.stats().in_flight, 1);
    waiting.abort();
    held.cancelled().await;
    site.until(|stats| stats.in_flight == 0 && stats.cancelled == 1).await;

    let client = site.client.clone();
    let waiting =
        tokio::spawn(async move { client.modern(1, "tools/call", json!({ "name": "held" })).await });
    let held = site.director.held().await;
    held.notify(1);
    let mut events = Events::of(waiting.await.unwrap());
    events.message().await;
    assert!(!held.is_cancelled());
    drop(events);
    held.cancelled().await;
    site.until(|stats| stats.in_flight == 0 && stats.cancelled == 2).await;
    site.end().await;
}

#[tokio::test]
async fn listening_is_a_stream_at_once() {
    let mut site = Site::plain().await;
    let params = json!({ "notifications": { "toolsListChanged": true } });
    let mut events = Events::of(site.client.modern(9, "subscriptions/listen", params).await);
    let held = site.director.held().await;
    held.notify(1);
    assert_eq!(events.message().await["method"], "notifications/progress");
    held.answer(&json!({ "resultType": "complete" }));
    assert_eq!(events.message().await["result"]["resultType"], "complete");
    events.ends().await;
    site.end().await;
}

#[tokio::test]
async fn a_body_counts_by_the_byte() {
    let message = call().to_string();
    let limits = FrontLimits { max_body: message.len(), ..FrontLimits::default() };
    let site = Site::start(limits).await;
    let client = site.client.with(VERSION.0, VERSION.1).with(CALL.0, CALL.1).with(ECHO.0, ECHO.1);
    let fields = [("content-type", "application/json"), ("accept", BOTH)];
    for (padding, expected) in [("", 200), (" ", 413)] {
        let answer = client.send("POST", "/mcp", &fields, format!("{message}{padding}")).await;
        assert_eq!(answer.status(), expected);
    }
    let shorter = modern(7, "tools/call", json!({ "name": "echo", "arguments": {} }));
    assert_eq!(client.post(&shorter).await.status(), 200);
    let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
    let answer = client.send("POST", "/mcp", &fields, deep).await;
    assert_eq!(refusal(answer).await, (400, -32600));
    assert_eq!(refusal(site.client.post(&tool(1, "echo")).await).await, (400, -32600), "no session");
    site.end().await;
}
