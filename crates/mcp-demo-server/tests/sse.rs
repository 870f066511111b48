//! The two-endpoint front end on a real socket.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use mcp_demo_server::{DemoOptions, HttpEnd, serve_sse};
use mcp_protocol::ProtocolVersion;
use reqwest::Client;
use serde_json::{Value, json};
use support::{initialize, request};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const BOUND: Duration = Duration::from_secs(10);
const V: ProtocolVersion = ProtocolVersion::V2025_11_25;

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
        let server = tokio::spawn(serve_sse(options, listener, async move {
            let _ = stopped.await;
        }));
        Self { address, client: Client::builder().no_proxy().build().unwrap(), stop, server }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Opens a stream and a session on it.
    async fn session(&self, version: &str) -> Session<'_> {
        let mut session = self.stream().await;
        session.post(&initialize(version)).await;
        assert_eq!(session.message().await["result"]["protocolVersion"], version);
        session
    }

    async fn stream(&self) -> Session<'_> {
        let answer = self.client.get(self.url("/sse")).header("accept", "text/event-stream").send();
        let answer = timeout(BOUND, answer).await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.headers()["cache-control"], "no-cache");
        let bytes = answer.bytes_stream().map(|chunk| chunk.unwrap().to_vec()).boxed();
        let mut session = Session { site: self, bytes, text: String::new(), path: String::new() };
        let event = session.event().await.unwrap();
        session.path = event.strip_prefix("event: endpoint\ndata: ").unwrap().to_owned();
        session
    }

    /// The status of a POST to the message endpoint.
    async fn post(&self, path: &str, kind: &str, body: String) -> u16 {
        let sent = self.client.post(self.url(path)).header("content-type", kind).body(body).send();
        timeout(BOUND, sent).await.unwrap().unwrap().status().as_u16()
    }

    async fn end(self) -> HttpEnd {
        let _ = self.stop.send(());
        timeout(BOUND, self.server).await.unwrap().unwrap()
    }
}

struct Session<'a> {
    site: &'a Site,
    bytes: BoxStream<'static, Vec<u8>>,
    text: String,
    path: String,
}

impl Session<'_> {
    async fn event(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(event);
            }
            let chunk = timeout(BOUND, self.bytes.next()).await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn message(&mut self) -> Value {
        let event = self.event().await.unwrap();
        serde_json::from_str(event.strip_prefix("event: message\ndata: ").unwrap()).unwrap()
    }

    async fn post(&self, message: &Value) {
        assert_eq!(self.site.post(&self.path, "application/json", message.to_string()).await, 202);
    }
}

fn call(id: u32, params: Value) -> Value {
    request(V, id, "tools/call", params)
}

#[tokio::test]
async fn answers_come_on_the_stream_of_their_session() {
    let site = Site::start(DemoOptions::default()).await;
    let (mut one, mut two) = (site.session("2025-11-25").await, site.session("2024-11-05").await);
    assert!(one.path.starts_with("/messages?session_id=") && one.path.len() > 80 && one.path != two.path);
    for (session, text) in [(&mut one, "first"), (&mut two, "second")] {
        session.post(&call(1, json!({ "name": "echo", "arguments": { "message": text } }))).await;
        let answer = session.message().await;
        assert_eq!(answer["id"], 1);
        assert_eq!(answer["result"]["content"][0]["text"], text);
    }
    let slow = json!({
        "name": "slow", "arguments": { "ms": 20, "steps": 2 }, "_meta": { "progressToken": "t" },
    });
    one.post(&call(2, slow)).await;
    for step in [1, 2] {
        let progress = one.message().await;
        assert_eq!(
            (&progress["method"], &progress["params"]["progress"]),
            (&json!("notifications/progress"), &json!(step))
        );
    }
    assert_eq!(one.message().await["id"], 2);
}

#[tokio::test]
async fn a_question_and_its_answer_cross() {
    let site = Site::start(DemoOptions::default()).await;
    let mut session = site.session("2025-11-25").await;
    session.post(&call(1, json!({ "name": "ask_user" }))).await;
    let question = session.message().await;
    assert_eq!(question["method"], "elicitation/create");
    session.post(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "decline" } })).await;
    assert_eq!(session.message().await["result"]["content"][0]["text"], "The user declined to answer.");
}

#[tokio::test]
async fn news_reach_every_stream() {
    let site = Site::start(DemoOptions::default()).await;
    let (mut one, mut two) = (site.session("2025-11-25").await, site.session("2025-11-25").await);
    one.post(&call(1, json!({ "name": "add_tool", "arguments": { "name": "x" } }))).await;
    assert_eq!(two.message().await["method"], "notifications/tools/list_changed");
    let mut heard = [one.message().await, one.message().await];
    heard.sort_by_key(|message| message.get("id").is_some());
    assert_eq!(heard[0]["method"], "notifications/tools/list_changed");
    assert_eq!(heard[1]["id"], 1);
}

#[tokio::test]
async fn what_is_no_message_for_a_session_is_refused() {
    let site = Site::start(DemoOptions::default()).await;
    let session = site.session("2025-11-25").await;
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string();
    let (json, path) = ("application/json", session.path.as_str());
    for (what, path, kind, body, status) in [
        ("no session", "/messages", json, ping.clone(), 400),
        ("no id", "/messages?session_id=", json, ping.clone(), 404),
        ("unknown", "/messages?session_id=0123456789abcdef", json, ping.clone(), 404),
        ("no JSON by type", path, "text/plain", ping.clone(), 415),
        ("no JSON", path, json, "{".into(), 400),
        ("a batch", path, json, format!("[{ping}]"), 400),
        ("too large", path, json, " ".repeat((4 << 20) + 1), 413),
        ("a message", path, json, ping, 202),
    ] {
        assert_eq!(site.post(path, kind, body).await, status, "{what}");
    }
    for (method, path, accept, status) in [
        ("GET", "/sse", "application/json", 406),
        ("POST", "/sse", "text/event-stream", 405),
        ("GET", "/messages", "text/event-stream", 405),
        ("GET", "/mcp", "text/event-stream", 404),
    ] {
        let method = method.parse().unwrap();
        let sent = site.client.request(method, site.url(path)).header("accept", accept).send();
        assert_eq!(timeout(BOUND, sent).await.unwrap().unwrap().status(), status, "{path}");
    }
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused_on_both_endpoints() {
    let site = Site::start(DemoOptions::default()).await;
    let session = site.session("2025-11-25").await;
    for (name, value, status) in [("host", "evil.example", 421), ("origin", "http://evil.example", 403)] {
        let stream = site.client.get(site.url("/sse")).header("accept", "text/event-stream");
        let message = site.client.post(site.url(&session.path)).header("content-type", "application/json");
        for sent in [stream, message] {
            let answer = timeout(BOUND, sent.header(name, value).send()).await.unwrap().unwrap();
            assert_eq!(answer.status(), status, "{name}");
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_session_and_its_calls() {
    let site = Site::start(DemoOptions::default()).await;
    let session = site.session("2025-11-25").await;
    session.post(&call(1, json!({ "name": "slow", "arguments": { "seconds": 60 } }))).await;
    let path = session.path.clone();
    drop(session);
    let ping = json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" }).to_string();
    timeout(BOUND, async {
        while site.post(&path, "application/json", ping.clone()).await != 404 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let HttpEnd::Shutdown(report) = site.end().await else { panic!("no crash") };
    assert_eq!(report.cut, 0);
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let site = Site::start(DemoOptions::default()).await;
    let Session { bytes, .. } = site.session("2025-11-25").await;
    let HttpEnd::Shutdown(report) = site.end().await else { panic!("no crash") };
    assert_eq!(report.cut, 0);
    assert!(timeout(BOUND, bytes.collect::<Vec<_>>()).await.unwrap().is_empty());
}

#[tokio::test]
async fn crash_ends_the_server() {
    let site = Site::start(DemoOptions { allow_crash: true, ..DemoOptions::default() }).await;
    let session = site.session("2025-11-25").await;
    let crash = call(1, json!({ "name": "crash", "arguments": { "status": 9 } })).to_string();
    let sent =
        site.client.post(site.url(&session.path)).header("content-type", "application/json").body(crash);
    let _ = timeout(BOUND, sent.send()).await.unwrap();
    drop(session);
    assert_eq!(timeout(BOUND, site.server).await.unwrap().unwrap(), HttpEnd::Crash { status: 9 });
}
