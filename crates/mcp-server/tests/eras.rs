//! Services of one era alone: wire reference §5.3, §5.4.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::Request as HttpRequest;
use futures::future::BoxFuture;
use mcp_protocol::header::ParamHeaders;
use mcp_protocol::{Era, EraPolicy, RpcError};
use mcp_server::{
    Endpoint, FrontLimits, HttpFront, Opened, Opening, Outcome, Principal, Service, StatelessCall,
    serve_stdio,
};
use serde_json::{Value, json};
use support::{BOTH, MODERN, Script, initialize, modern, plain, script};

const POLICIES: [EraPolicy; 3] =
    [EraPolicy::Auto, EraPolicy::Only(Era::Handshake), EraPolicy::Only(Era::Stateless)];

/// The other service, of these eras.
struct Of(EraPolicy, Arc<Script>);

impl Service for Of {
    fn open(&self, opening: Opening) -> BoxFuture<'static, Result<Opened, RpcError>> {
        self.1.open(opening)
    }

    fn call(&self, call: StatelessCall) -> BoxFuture<'static, Outcome> {
        self.1.call(call)
    }

    fn mirrored(&self, principal: &Principal, tool: &str) -> Option<Arc<ParamHeaders>> {
        self.1.mirrored(principal, tool)
    }

    fn eras(&self) -> EraPolicy {
        self.0
    }
}

/// A request, and the codes of its errors under each of the policies; 0 for a result.
type Row = (&'static str, Value, [i64; 3]);

fn check(code: i64, answer: &Value, what: &str) {
    assert_eq!(answer["error"]["code"].as_i64().unwrap_or_default(), code, "{what}: {answer}");
    if code == -32022 {
        let supported = answer["error"]["data"]["supported"].as_array().unwrap();
        assert_eq!(supported[0], MODERN, "{what}");
        assert_eq!(supported.len(), if what.contains("Auto") { 5 } else { 1 }, "{what}");
    }
}

/// A stateless request that names another revision.
fn foreign() -> Value {
    let mut foreign = modern(1, "tools/list", json!({}));
    foreign["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = "2025-11-25".into();
    foreign
}

#[tokio::test]
async fn a_pipe_has_the_eras_of_its_service() {
    let rows: [Row; 7] = [
        ("initialize", initialize("2025-06-18"), [0, 0, -32022]),
        ("stateless", modern(1, "tools/list", json!({})), [0, -32602, 0]),
        ("discover", modern(1, "server/discover", json!({})), [-32603, -32601, -32603]),
        ("discover without envelope", plain(1, "server/discover", json!({})), [-32602, -32601, -32602]),
        ("before initialize", plain(1, "tools/list", json!({})), [-32602; 3]),
        ("handshake revision in an envelope", foreign(), [-32022, -32602, -32022]),
        ("ping", plain(1, "ping", json!({})), [0, 0, -32602]),
    ];
    for (what, message, codes) in rows {
        for (eras, code) in POLICIES.into_iter().zip(codes) {
            let (service, _director) = script();
            let mut said = Vec::new();
            let line = format!("{message}\n");
            // `initialize` is not answered at once, and the end of the pipe ends it.
            let (mut ours, theirs) = tokio::io::duplex(1 << 16);
            let (reader, writer) = tokio::io::split(theirs);
            let server = tokio::spawn(serve_stdio(
                Arc::new(Of(eras, service)),
                reader,
                writer,
                FrontLimits::default(),
            ));
            tokio::io::AsyncWriteExt::write_all(&mut ours, line.as_bytes()).await.unwrap();
            let mut lines = tokio::io::BufReader::new(&mut ours);
            tokio::io::AsyncBufReadExt::read_until(&mut lines, b'\n', &mut said).await.unwrap();
            check(code, &serde_json::from_slice(&said).unwrap(), &format!("{what}, {eras:?}"));
            drop(ours);
            server.await.unwrap().unwrap();
        }
    }
}

/// The status and the body of the answer to a request without a socket.
async fn ask(eras: EraPolicy, method: &str, fields: &[(&str, &str)], body: &Value) -> (u16, String, Value) {
    let (service, _director) = script();
    let endpoint = Endpoint { key: "mcp".into(), service: Arc::new(Of(eras, service)) };
    let mut request = HttpRequest::builder().method(method).header("accept", BOTH);
    request = request.header("content-type", "application/json");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.to_string())).unwrap();
    let front = HttpFront::new(FrontLimits::default());
    let (head, body) = request.into_parts();
    let answer = front.handle(&endpoint, Principal::anonymous(), &head, body).await;
    let allow = answer.headers().get("allow").map(|allow| allow.to_str().unwrap().to_owned());
    let status = answer.status().as_u16();
    let body = to_bytes(answer.into_body(), 1 << 16).await.unwrap();
    (status, allow.unwrap_or_default(), serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn an_endpoint_has_the_eras_of_its_service() {
    let new = ("mcp-protocol-version", MODERN);
    let old = ("mcp-protocol-version", "2025-11-25");
    let list = || modern(1, "tools/list", json!({}));
    let [list_header, discover_header] = [("mcp-method", "tools/list"), ("mcp-method", "server/discover")];
    let rows = [
        ("initialize", vec![], initialize("2025-11-25"), [(200, 0), (200, 0), (400, -32022)]),
        ("initialize, old", vec![old], initialize("2025-11-25"), [(200, 0), (200, 0), (400, -32022)]),
        (
            "initialize, new",
            vec![new],
            initialize("2025-11-25"),
            [(404, -32601), (400, -32600), (400, -32022)],
        ),
        ("stateless", vec![new, list_header], list(), [(200, 0), (400, -32600), (200, 0)]),
        ("stateless without header", vec![], list(), [(400, -32020), (400, -32600), (400, -32020)]),
        (
            "discover",
            vec![new, discover_header],
            modern(1, "server/discover", json!({})),
            [(200, -32603), (400, -32601), (200, -32603)],
        ),
        (
            "discover without envelope",
            vec![],
            plain(1, "server/discover", json!({})),
            [(400, -32602), (400, -32601), (400, -32602)],
        ),
        (
            "without session",
            vec![old],
            plain(1, "tools/list", json!({})),
            [(400, -32600), (400, -32600), (400, -32602)],
        ),
    ];
    for (what, fields, message, outcomes) in rows {
        for (eras, (status, code)) in POLICIES.into_iter().zip(outcomes) {
            let what = format!("{what}, {eras:?}");
            let (answered, _, answer) = ask(eras, "POST", &fields, &message).await;
            check(code, &answer, &what);
            assert_eq!(answered, status, "{what}");
        }
    }
    for method in ["GET", "DELETE"] {
        for (eras, expected) in POLICIES.into_iter().zip([(404, ""), (404, ""), (405, "POST")]) {
            let (status, allow, _) = ask(eras, method, &[("mcp-session-id", "x")], &Value::Null).await;
            assert_eq!((status, allow.as_str()), expected, "{method} {eras:?}");
        }
    }
}
