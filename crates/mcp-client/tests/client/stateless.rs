//! What is special about requests of the stateless era.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mcp_client::{CallError, Client, ClientInfo, ConnectOptions, Outgoing};
use mcp_protocol::{Era, Limits, Method, RawJson};
use mcp_transport::{Header, Outbound, Reply, TransportError, TransportKind};

use crate::wire::*;

const LIMIT: Duration = Duration::from_secs(30);

fn json(text: &str) -> RawJson {
    RawJson::parse(text.to_owned(), &Limits::default()).unwrap()
}

fn options() -> ConnectOptions {
    ConnectOptions {
        client_info: ClientInfo::new("me", "1"),
        capabilities: json(r#"{"roots":{}}"#),
        ..ConnectOptions::default()
    }
}

async fn client(
    rest: impl Fn(&Outbound) -> Result<Reply, TransportError> + Send + Sync + 'static,
) -> (Client, Wire) {
    let server = Server::new(TransportKind::Http, http(Era::Stateless, rest));
    let client = server.connect(&options()).await.unwrap();
    (client, server.wire())
}

fn headers(out: &Outbound) -> Vec<(String, String)> {
    out.headers.iter().map(|h| (h.name.to_string(), h.value.to_string())).collect()
}

#[tokio::test(start_paused = true)]
async fn m1_every_request_carries_the_envelope_and_mirrored_headers() {
    let (client, wire) = client(|out| own([result(out, r#"{"resultType":"complete"}"#)])).await;
    let discover = &wire.sent()[0];
    assert_eq!(headers(discover), [("mcp-method".into(), "server/discover".into())]);
    let args = r#"{"name":"add","_meta":{"progressToken":"theirs","x/y":1},"arguments":{"n":1.00}}"#;
    let mut outgoing = Outgoing::new(Method::ToolsCall, Some(json(args)));
    outgoing.headers = vec![Header::new("x-own", "1"), Header::new("x-own", "2")];
    client.call(outgoing, LIMIT).await.unwrap();
    let call = wire.sent().pop().unwrap();
    assert_eq!(call.version.map(|v| v.as_str()), Some("2026-07-28"));
    assert_eq!(
        headers(&call),
        [("x-own", "1"), ("x-own", "2"), ("mcp-method", "tools/call"), ("mcp-name", "add")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    let sent = json(&params(&call));
    assert_eq!(sent.get("arguments").unwrap().as_str(), r#"{"n":1.00}"#);
    let meta = sent.get("_meta").unwrap();
    for (key, value) in [
        ("progressToken", r#""theirs""#),
        ("x/y", "1"),
        ("io.modelcontextprotocol/protocolVersion", r#""2026-07-28""#),
        ("io.modelcontextprotocol/clientCapabilities", r#"{"roots":{}}"#),
        ("io.modelcontextprotocol/clientInfo", r#"{"name":"me","version":"1"}"#),
    ] {
        assert_eq!(meta.get(key).unwrap().as_str(), value, "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_kind_of_result_is_checked() {
    for (kind, ok) in [
        (r#"{}"#, true),
        (r#"{"resultType":"complete"}"#, true),
        (r#"{"resultType":"input_required","requestState":"s"}"#, true),
        (r#"{"resultType":"task"}"#, false),
        (r#"{"resultType":"odd"}"#, false),
        (r#"{"resultType":1}"#, false),
    ] {
        let (client, _wire) = client(move |out| own([result(out, kind)])).await;
        let outcome = client.call(Outgoing::new(Method::ToolsCall, None), LIMIT).await;
        assert_eq!(outcome.is_ok(), ok, "{kind}");
        assert!(ok || matches!(outcome, Err(CallError::Invalid { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn a_declared_extension_brings_its_kind_of_result() {
    let answer = |out: &Outbound| own([result(out, r#"{"resultType":"task"}"#)]);
    let server = Server::new(TransportKind::Http, http(Era::Stateless, answer));
    let mut options = options();
    options.capabilities = json(r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#);
    let client = server.connect(&options).await.unwrap();
    assert!(client.call(Outgoing::new(Method::ToolsCall, None), LIMIT).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn m4_a_ping_is_a_discover() {
    let (client, wire) = client(|out| panic!("unexpected {out:?}")).await;
    client.ping(LIMIT).await.unwrap();
    assert_eq!(wire.methods(), ["server/discover", "server/discover"]);
}

#[tokio::test(start_paused = true)]
async fn on_stdio_cancelling_takes_a_notification() {
    let server = Server::new(TransportKind::Stdio, stdio(Era::Stateless, |_, _| {}));
    let client = server.connect(&options()).await.unwrap();
    assert!(client.call(Outgoing::new(Method::ToolsCall, None), LIMIT).await.unwrap_err().is_timeout());
    let wire = server.wire();
    wire.wait_for(|out| method(out) == Some(&Method::Cancelled)).await;
    assert!(wire.sent().iter().all(|out| out.headers.is_empty()), "stdio has no headers");
}

#[tokio::test(start_paused = true)]
async fn a_header_mismatch_refreshes_the_tools_and_tries_once_more() {
    let tools = r#"{"tools":[{"name":"t","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}]}"#;
    for (refusals, ok) in [(1, true), (2, false)] {
        let calls = AtomicUsize::new(0);
        let (client, wire) = client(move |out| match method(out) {
            Some(Method::ToolsList) => own([result(out, tools)]),
            _ if calls.fetch_add(1, Ordering::Relaxed) < refusals => own([error(out, -32020, "")]),
            _ => own([result(out, "{}")]),
        })
        .await;
        let request =
            Outgoing::new(Method::ToolsCall, Some(json(r#"{"name":"t","arguments":{"region":"eu"}}"#)));
        let outcome = client.call(request, LIMIT).await;
        assert_eq!(outcome.is_ok(), ok);
        assert_eq!(wire.methods()[1..], ["tools/call", "tools/list", "tools/call"]);
        let sent = wire.sent();
        assert_ne!(id(&sent[1]), id(&sent[3]));
        assert!(!headers(&sent[1]).iter().any(|(name, _)| name == "mcp-param-region"));
        assert!(headers(&sent[3]).contains(&("mcp-param-region".to_owned(), "eu".to_owned())));
    }
}

#[tokio::test(start_paused = true)]
async fn tools_with_broken_header_annotations_are_left_out_over_http_only() {
    let tools = r#"{"tools":[{"name":"good","inputSchema":{"type":"object"}},{"name":"bad","inputSchema":{"type":"object","properties":{"n":{"type":"number","x-mcp-header":"N"}}}}]}"#;
    let (over_http, _wire) = client(move |out| own([result(out, tools)])).await;
    let listed = over_http.list(Method::ToolsList, LIMIT).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].get("name").unwrap().as_str(), r#""good""#);

    let server = Server::new(
        TransportKind::Stdio,
        stdio(Era::Stateless, move |out, wire| wire.push(result(out, tools))),
    );
    let over_stdio = server.connect(&options()).await.unwrap();
    assert_eq!(over_stdio.list(Method::ToolsList, LIMIT).await.unwrap().len(), 2);
}

/// Wire reference §1.1 and §4.3: over HTTP as well as over stdio only the server answers.
#[tokio::test(start_paused = true)]
async fn requests_of_the_server_are_ignored_and_counted() {
    let theirs = |method| format!(r#"{{"jsonrpc":"2.0","id":"theirs","method":"{method}"}}"#);
    for kind in [TransportKind::Http, TransportKind::Stdio] {
        let frames = move |out: &Outbound, answer: &str| {
            [theirs("ping"), theirs("roots/list"), theirs("sampling/createMessage"), result(out, answer)]
        };
        let server = match kind {
            TransportKind::Http => {
                Server::new(kind, move |out: &Outbound, _: &Wire| match method(out) {
                    // In the answer to the probe as well, before a version is agreed on.
                    Some(Method::ServerDiscover) => own(frames(out, DISCOVERED)),
                    _ => own(frames(out, "{}")),
                })
            }
            _ => Server::new(
                kind,
                stdio(Era::Stateless, move |out, wire| {
                    frames(out, "{}").into_iter().for_each(|frame| wire.push(frame));
                }),
            ),
        };
        let client = server.connect(&options()).await.unwrap();
        client.call(Outgoing::new(Method::ToolsCall, None), LIMIT).await.unwrap();
        settle().await;
        assert_eq!(server.wire().methods(), ["server/discover", "tools/call"], "{kind}");
        let expected = if kind == TransportKind::Http { 6 } else { 3 };
        assert_eq!(client.stats().requests_ignored, expected, "{kind}");
        assert_eq!(client.stats().bad_messages, 0, "{kind}");
    }
}
