//! The HTTP front end on a real socket.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use mcp_demo_server::{DemoOptions, HttpEnd, serve_http};
use mcp_protocol::{Era, EraPolicy, ProtocolVersion};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use support::{MODERN, Schema, initialize, request};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const BOUND: Duration = Duration::from_secs(10);
const BOTH: &str = "application/json, text/event-stream";

struct Site {
    address: SocketAddr,
    client: Client,
    stop: oneshot::Sender<()>,
    server: JoinHandle<HttpEnd>,
}

impl Site {
    async fn start(options: DemoOptions) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve_http(options, listener, async move {
            let _ = stopped.await;
        }));
        Self { address, client: Client::builder().no_proxy().build().unwrap(), stop, server }
    }

    async fn auto() -> Self {
        Self::start(DemoOptions::default()).await
    }

    async fn only(era: Era) -> Self {
        Self::start(DemoOptions { protocol: EraPolicy::Only(era), ..DemoOptions::default() }).await
    }

    /// Sends anything with these header fields beside the usual ones.
    async fn send(&self, method: &str, fields: &[(&str, &str)], body: String) -> Response {
        let method = method.parse().unwrap();
        let mut request = self.client.request(method, format!("http://{}/mcp", self.address)).body(body);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        timeout(BOUND, request.send()).await.unwrap().unwrap()
    }

    async fn post(&self, fields: &[(&str, &str)], message: &Value) -> Response {
        let usual = [("content-type", "application/json"), ("accept", BOTH)];
        self.send("POST", &[&usual, fields].concat(), message.to_string()).await
    }

    /// Posts a stateless request with the headers it needs.
    async fn modern(&self, method: &str, params: Value) -> Response {
        let name = params.get("name").or(params.get("uri")).and_then(Value::as_str).map(str::to_owned);
        let message = request(MODERN, 1, method, params);
        let mut fields = vec![("mcp-protocol-version", MODERN.as_str()), ("mcp-method", method)];
        fields.extend(name.as_deref().map(|name| ("mcp-name", name)));
        self.post(&fields, &message).await
    }

    /// Opens a session; its id.
    async fn initialize(&self, version: &str) -> String {
        let answer = self.post(&[], &initialize(version)).await;
        assert_eq!(answer.status(), 200);
        let id = answer.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        assert!(id.len() >= 32);
        id
    }

    async fn end(self) -> HttpEnd {
        let _ = self.stop.send(());
        timeout(BOUND, self.server).await.unwrap().unwrap()
    }
}

async fn body(response: Response) -> Value {
    assert_eq!(response.headers()["content-type"], "application/json");
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

/// Reads the messages of a stream.
struct Events {
    stream: BoxStream<'static, reqwest::Result<Bytes>>,
    text: String,
}

impl Events {
    fn of(response: Response) -> Self {
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { stream: response.bytes_stream().boxed(), text: String::new() }
    }

    /// The next message, past comments and events without one; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let data = event.lines().find_map(|line| line.strip_prefix("data: ")).map(str::to_owned);
                self.text = rest.to_owned();
                if let Some(data) = data {
                    return Some(serde_json::from_str(&data).unwrap());
                }
            }
            let chunk = timeout(BOUND, self.stream.next()).await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        }
    }
}

/// The messages of a stream, until it ends or `most` came.
async fn events(response: Response, most: usize) -> Vec<Value> {
    let (mut stream, mut events) = (Events::of(response), Vec::new());
    while events.len() < most {
        let Some(event) = stream.next().await else { break };
        events.push(event);
    }
    events
}

#[tokio::test]
async fn stateless_requests_climb_the_ladder() {
    let site = Site::auto().await;
    let call =
        || request(MODERN, 1, "tools/call", json!({ "name": "echo", "arguments": { "message": "x" } }));
    let version = ("mcp-protocol-version", "2026-07-28");
    let method = ("mcp-method", "tools/call");
    let name = ("mcp-name", "echo");
    let mut unknown = call();
    unknown["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = "v999".into();
    let mut bare = call();
    bare["params"].as_object_mut().unwrap().remove("_meta");
    let response = json!({ "jsonrpc": "2.0", "id": 1, "result": {} });
    let ping = request(MODERN, 1, "ping", json!({}));
    let note = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } });
    for (what, fields, message, status, code) in [
        ("fine", vec![version, method, name], call(), 200, None),
        ("name in Base64", vec![version, method, ("mcp-name", "=?base64?ZWNobw==?=")], call(), 200, None),
        ("no version header", vec![method, name], call(), 400, Some(-32020)),
        (
            "handshake version header",
            vec![("mcp-protocol-version", "2025-06-18"), method, name],
            call(),
            400,
            Some(-32020),
        ),
        (
            "other version header",
            vec![("mcp-protocol-version", "v999"), method, name],
            call(),
            400,
            Some(-32020),
        ),
        ("mismatch before unknown", vec![version, method, name], unknown.clone(), 400, Some(-32020)),
        ("unknown version", vec![("mcp-protocol-version", "v999"), method, name], unknown, 400, Some(-32022)),
        ("two version headers", vec![version, version, method, name], call(), 400, Some(-32020)),
        ("no method header", vec![version, name], call(), 400, Some(-32020)),
        ("other method", vec![version, ("mcp-method", "Tools/call"), name], call(), 400, Some(-32020)),
        ("no name header", vec![version, method], call(), 400, Some(-32020)),
        ("other name", vec![version, method, ("mcp-name", "add")], call(), 400, Some(-32020)),
        ("broken Base64", vec![version, method, ("mcp-name", "=?base64?!?=")], call(), 400, Some(-32020)),
        ("no envelope", vec![version, method, name], bare, 400, Some(-32602)),
        ("removed method", vec![version, ("mcp-method", "ping")], ping, 404, Some(-32601)),
        ("batch", vec![version, method, name], json!([call()]), 400, Some(-32600)),
        ("response", vec![version], response, 400, Some(-32600)),
        ("notification", vec![version], note, 202, None),
    ] {
        let answer = site.post(&fields, &message).await;
        assert_eq!(answer.status(), status, "{what}");
        assert!(!answer.headers().contains_key("mcp-session-id"), "{what}");
        match code {
            Some(code) => assert_eq!(body(answer).await["error"]["code"], code, "{what}"),
            None if status == 200 => {
                assert_eq!(body(answer).await["result"]["content"][0]["text"], "x", "{what}");
            }
            None => assert!(answer.bytes().await.unwrap().is_empty(), "{what}"),
        }
    }
}

#[tokio::test]
async fn mirrored_arguments_must_agree() {
    let site = Site::auto().await;
    let with =
        |region: Value| request(MODERN, 1, "tools/call", json!({ "name": "route", "arguments": region }));
    let eu = || json!({ "region": "eu" });
    for (arguments, header, status) in [
        (eu(), Some("eu"), 200),
        (eu(), Some("=?base64?ZXU=?="), 200),
        (eu(), Some("us"), 400),
        (eu(), None, 400),
        (json!({}), Some("eu"), 400),
        (json!({}), None, 200),
    ] {
        let mut fields =
            vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "route")];
        fields.extend(header.map(|value| ("Mcp-Param-Region", value)));
        let answer = site.post(&fields, &with(arguments.clone())).await;
        assert_eq!(answer.status(), status, "{arguments} {header:?}");
        if status == 400 {
            assert_eq!(body(answer).await["error"]["code"], -32020);
        }
    }
}

#[tokio::test]
async fn media_types_sizes_and_methods_are_checked() {
    let site = Site::auto().await;
    let text = initialize("2025-11-25").to_string();
    let large = format!("{text}{}", " ".repeat(4 << 20));
    let json = ("content-type", "application/json");
    let accept = ("accept", BOTH);
    for (method, fields, body, status) in [
        ("POST", vec![json, ("accept", "*/*")], &text, 200),
        ("POST", vec![("content-type", "application/json; charset=utf-8"), accept], &text, 200),
        ("POST", vec![("content-type", "text/plain"), accept], &text, 415),
        ("POST", vec![accept], &text, 415),
        ("POST", vec![json, ("accept", "application/json")], &text, 406),
        ("POST", vec![json, ("accept", "text/event-stream")], &text, 406),
        ("POST", vec![json, accept], &large, 413),
        ("PUT", vec![json, accept], &text, 405),
        ("GET", vec![accept], &String::new(), 405),
        ("GET", vec![accept, ("mcp-session-id", "nope")], &String::new(), 404),
        (
            "GET",
            vec![accept, ("mcp-protocol-version", "2026-07-28"), ("mcp-session-id", "x")],
            &String::new(),
            405,
        ),
        ("DELETE", vec![], &String::new(), 405),
        ("DELETE", vec![("mcp-session-id", "nope")], &String::new(), 404),
        ("POST", vec![json, accept, ("host", "evil.example")], &text, 421),
        ("POST", vec![json, accept, ("origin", "http://evil.example")], &text, 403),
        ("POST", vec![json, accept, ("origin", "http://localhost:1234")], &text, 200),
    ] {
        let answer = site.send(method, &fields, body.clone()).await;
        assert_eq!(answer.status(), status, "{method} {fields:?}");
        assert_eq!(answer.headers().contains_key("allow"), status == 405);
    }
}

#[tokio::test]
async fn sessions_begin_and_end() {
    let site = Site::auto().await;
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let id = site.initialize(version).await;
        let session = ("mcp-session-id", id.as_str());
        let named = ("mcp-protocol-version", version);
        let note = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        let accepted = site.post(&[session, named], &note).await;
        assert_eq!(accepted.status(), 202);
        assert!(accepted.bytes().await.unwrap().is_empty());

        let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
        let answer = body(site.post(&[session, named], &list).await).await;
        if let Some(mut schema) = Schema::load(version.parse().unwrap()) {
            schema.check_message("tools/list", &answer);
        }
        for (fields, status) in
            [(vec![session], 200), (vec![named], 400), (vec![("mcp-session-id", "forged"), named], 404)]
        {
            assert_eq!(site.post(&fields, &list).await.status(), status, "{fields:?}");
        }
        let unknown = json!({ "jsonrpc": "2.0", "id": 1, "method": "vendor/unknown" });
        let answer = site.post(&[session, named], &unknown).await;
        assert_eq!(answer.status(), 200, "errors ride on 200 in this era");

        assert_eq!(site.send("DELETE", &[session], String::new()).await.status(), 204);
        assert_eq!(site.post(&[session, named], &list).await.status(), 404);
    }
}

#[tokio::test]
async fn a_session_has_one_stream_of_its_own() {
    let site = Site::auto().await;
    let id = site.initialize("2025-06-18").await;
    let fields = [("mcp-session-id", id.as_str()), ("accept", BOTH)];
    let session = [("mcp-session-id", id.as_str())];
    let stream = site.send("GET", &fields, String::new()).await;
    assert_eq!(stream.status(), 200);
    assert_eq!(site.send("GET", &fields, String::new()).await.status(), 409);

    let subscribe =
        request(ProtocolVersion::V2025_06_18, 1, "resources/subscribe", json!({ "uri": "demo://counter" }));
    body(site.post(&session, &subscribe).await).await;
    let increment = request(ProtocolVersion::V2025_06_18, 2, "tools/call", json!({ "name": "increment" }));
    body(site.post(&session, &increment).await).await;
    let news = events(stream, 1).await;
    assert_eq!(news[0]["method"], "notifications/resources/updated");

    // The first stream is gone; another one may be opened as soon as the server noticed.
    let again = timeout(BOUND, async {
        loop {
            let stream = site.send("GET", &fields, String::new()).await;
            if stream.status() == 200 {
                return stream;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    site.send("DELETE", &session, String::new()).await;
    assert!(events(again, 1).await.is_empty(), "it ends with the session");
}

#[tokio::test]
async fn answers_are_streamed_once_there_is_more_to_say() {
    let site = Site::auto().await;
    let params = json!({
        "name": "slow", "arguments": { "ms": 20, "steps": 2 }, "_meta": { "progressToken": "t" },
    });
    let modern = site.modern("tools/call", params.clone()).await;
    assert_eq!(modern.headers()["x-accel-buffering"], "no");
    let id = site.initialize("2025-11-25").await;
    let session = [("mcp-session-id", id.as_str())];
    let legacy = site.post(&session, &request(ProtocolVersion::V2025_11_25, 1, "tools/call", params)).await;
    for stream in [modern, legacy] {
        let events = events(stream, 10).await;
        assert_eq!(events.len(), 3, "two steps and the answer, then the stream ends");
        assert_eq!(events[2]["id"], 1);
    }
}

#[tokio::test]
async fn a_question_travels_on_the_stream_of_its_call() {
    let site = Site::auto().await;
    let id = site.initialize("2025-06-18").await;
    let session = [("mcp-session-id", id.as_str())];
    let call = request(ProtocolVersion::V2025_06_18, 1, "tools/call", json!({ "name": "ask_user" }));
    let mut stream = Events::of(site.post(&session, &call).await);
    let question = stream.next().await.unwrap();
    assert_eq!(question["method"], "elicitation/create");
    let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "decline" } });
    assert_eq!(site.post(&session, &answer).await.status(), 202);
    let answer = stream.next().await.unwrap();
    assert_eq!(answer["result"]["content"][0]["text"], "The user declined to answer.");
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn a_cancelled_call_ends_its_stream_without_an_answer() {
    let site = Site::auto().await;
    let id = site.initialize("2025-11-25").await;
    let session = [("mcp-session-id", id.as_str())];
    let params = json!({
        "name": "slow", "arguments": { "seconds": 60, "steps": 1000 }, "_meta": { "progressToken": 1 },
    });
    let stream = site.post(&session, &request(ProtocolVersion::V2025_11_25, 7, "tools/call", params)).await;
    let cancel =
        json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 7 } });
    assert_eq!(site.post(&session, &cancel).await.status(), 202);
    assert!(events(stream, usize::MAX).await.iter().all(|event| event.get("id").is_none()));
}

#[tokio::test]
async fn batches_are_answered_together() {
    let site = Site::auto().await;
    let ping = |id| json!({ "jsonrpc": "2.0", "id": id, "method": "ping" });
    let note = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let id = site.initialize("2025-03-26").await;
    let session = [("mcp-session-id", id.as_str())];
    let answers = body(site.post(&session, &json!([ping(1), note, 7, ping(2)])).await).await;
    let ids: Vec<_> = answers.as_array().unwrap().iter().map(|answer| answer.get("id").cloned()).collect();
    assert_eq!(ids, [Some(json!(1)), None, Some(json!(2))]);
    assert_eq!(site.post(&session, &json!([note])).await.status(), 202);
    assert_eq!(site.post(&session, &json!([])).await.status(), 400);

    let id = site.initialize("2025-06-18").await;
    let session = [("mcp-session-id", id.as_str())];
    assert_eq!(site.post(&session, &json!([ping(1)])).await.status(), 400);
}

#[tokio::test]
async fn listeners_get_their_end_when_the_server_stops() {
    let site = Site::auto().await;
    let wanted = json!({ "notifications": { "toolsListChanged": true } });
    let listening = site.modern("subscriptions/listen", wanted).await;
    let id = site.initialize("2025-11-25").await;
    let mail = site.send("GET", &[("mcp-session-id", &id), ("accept", BOTH)], String::new()).await;
    let added = site.modern("tools/call", json!({ "name": "add_tool", "arguments": { "name": "x" } })).await;
    assert_eq!(added.status(), 200);
    let HttpEnd::Shutdown(report) = site.end().await else { panic!("no crash") };
    assert_eq!(report.cut, 0);
    let heard = events(listening, 10).await;
    assert_eq!(heard[0]["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(heard[1]["method"], "notifications/tools/list_changed");
    let end = &heard[2];
    assert_eq!(end["id"], 1);
    assert_eq!(end["result"]["resultType"], "complete");
    assert_eq!(end["result"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 1);
    if let Some(mut schema) = Schema::load(MODERN) {
        schema.check_message("subscriptions/listen", end);
    }
    assert_eq!(events(mail, 10).await.len(), 1);
}

#[tokio::test]
async fn each_policy_serves_its_era_alone() {
    let legacy = Site::only(Era::Handshake).await;
    let discover = legacy.modern("server/discover", json!({})).await;
    assert_eq!(discover.status(), 400);
    assert_eq!(body(discover).await["error"]["code"], -32601);
    let bare = json!({ "jsonrpc": "2.0", "id": 1, "method": "server/discover" });
    assert_eq!(body(legacy.post(&[], &bare).await).await["error"]["code"], -32601);
    legacy.initialize("2025-11-25").await;

    let modern = Site::only(Era::Stateless).await;
    let refused = modern.post(&[], &initialize("2025-11-25")).await;
    assert_eq!(refused.status(), 400);
    let refused = body(refused).await;
    assert_eq!(refused["error"]["code"], -32022);
    assert_eq!(refused["error"]["data"], json!({ "supported": ["2026-07-28"], "requested": "2025-11-25" }));
    for method in ["GET", "DELETE"] {
        let answer = modern.send(method, &[("mcp-session-id", "x"), ("accept", BOTH)], String::new()).await;
        assert_eq!((answer.status().as_u16(), answer.headers()["allow"].to_str().unwrap()), (405, "POST"));
    }
    assert_eq!(modern.modern("server/discover", json!({})).await.status(), 200);
}

#[tokio::test]
async fn crash_ends_the_server() {
    let site = Site::start(DemoOptions { allow_crash: true, ..DemoOptions::default() }).await;
    let message = request(MODERN, 1, "tools/call", json!({ "name": "crash", "arguments": { "status": 9 } }));
    let sent = site
        .client
        .post(format!("http://{}/mcp", site.address))
        .header("content-type", "application/json")
        .header("accept", BOTH)
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", "crash")
        .body(message.to_string());
    assert!(timeout(BOUND, sent.send()).await.unwrap().is_err());
    assert_eq!(timeout(BOUND, site.server).await.unwrap().unwrap(), HttpEnd::Crash { status: 9 });
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_call() {
    let site = Site::auto().await;
    let slow =
        |meta: Value| json!({ "name": "slow", "arguments": { "seconds": 60, "steps": 1000 }, "_meta": meta });
    // One that has begun to answer, and one that has not.
    let streaming = site.modern("tools/call", slow(json!({ "progressToken": 1 }))).await;
    assert_eq!(streaming.headers()["content-type"], "text/event-stream");
    drop(streaming);
    let silent = site.modern("tools/call", slow(json!({})));
    assert!(timeout(Duration::from_millis(200), silent).await.is_err());
    // Were a call still running, the end would take as long as the grace: longer than the bound here.
    let HttpEnd::Shutdown(report) = site.end().await else { panic!("no crash") };
    assert_eq!(report.cut, 0);
}

#[tokio::test]
async fn ids_in_flight_are_unique_in_a_session_only() {
    let site = Site::auto().await;
    let (one, two) = (site.initialize("2025-11-25").await, site.initialize("2025-11-25").await);
    let slow = request(
        ProtocolVersion::V2025_11_25,
        1,
        "tools/call",
        json!({
            "name": "slow", "arguments": { "ms": 1500, "steps": 50 }, "_meta": { "progressToken": 1 },
        }),
    );
    let first = site.post(&[("mcp-session-id", &one)], &slow).await;
    let refused = body(site.post(&[("mcp-session-id", &one)], &slow).await).await;
    assert_eq!(refused["error"]["code"], -32600);
    let other = site.post(&[("mcp-session-id", &two)], &slow).await;
    for stream in [first, other] {
        let last = events(stream, usize::MAX).await.pop().unwrap();
        assert_eq!(last["result"]["content"][0]["text"], "took 1.5s");
    }
}
