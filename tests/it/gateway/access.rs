//! Who may call.

use reqwest::{Method, StatusCode};

use super::configuration::{Configuration, demo};
use super::home::Outcome;
use super::running::{Gateway, answer};

const SERVERS: &str = "/api/v1/mcp/servers";

#[tokio::test]
async fn a_key_is_wanted_where_one_is_configured() {
    const KEY: &str = "8f3c1e0a9d7b46528f1e2d3c4b5a6978";
    let configuration = Configuration::new(&format!("[gateway]\napi_keys = [\"{KEY}\"]"));
    let gateway = Gateway::configured(&configuration.stdio("demo", &demo(&[]), "")).await;
    for (header, expected) in [
        (None, StatusCode::UNAUTHORIZED),
        (Some(("Authorization", format!("Bearer {KEY}x"))), StatusCode::UNAUTHORIZED),
        (Some(("Authorization", format!("Bearer {KEY}"))), StatusCode::OK),
        (Some(("X-API-Key", KEY.to_owned())), StatusCode::OK),
    ] {
        let mut request = gateway.request(Method::GET, SERVERS);
        if let Some((name, value)) = &header {
            request = request.header(*name, value);
        }
        let (status, body) = answer(request).await;
        assert_eq!(status, expected, "{header:?}: {body}");
    }

    gateway.cli(&["status"]).await.exits(1).says(&["--api-key or MCP_GATEWAY_API_KEY"]);
    let refused = gateway.cli(&["call", "add", "a=1", "b=2"]).await.exits(1).says(&["API key"]);
    assert_eq!(refused.stdout, "");
    gateway.cli(&["call", "add", "a=1", "b=2", "--api-key", KEY]).await.exits(0).prints(&["{\"sum\":3}"]);
    let mut command = gateway.home().command(&["status", "--url", gateway.url().as_str()]);
    command.env("MCP_GATEWAY_API_KEY", KEY);
    Outcome::of(command).await.exits(0).prints(&["demo healthy"]);
    gateway.stop().await;
}

/// S05, S27.
#[tokio::test]
async fn mcp_asks_for_a_key_on_every_path_and_keeps_sessions_of_keys_apart() {
    const KEYS: [&str; 2] = ["8f3c1e0a9d7b46528f1e2d3c4b5a6978", "c4e29a7d1f8b3c605e9d7a2b4f8c1e63"];
    let configuration = Configuration::new(&format!("[gateway]\napi_keys = {KEYS:?}"));
    let gateway = Gateway::configured(&configuration.stdio("demo", &demo(&[]), "")).await;
    for (method, path) in [
        (Method::POST, "/mcp"),
        (Method::GET, "/mcp"),
        (Method::DELETE, "/mcp"),
        (Method::POST, "/mcp/"),
        (Method::POST, "/%6dcp"),
        (Method::POST, "/mcp/demo"),
        (Method::POST, "/mcp/demo/"),
        (Method::POST, "/mcp/nobody"),
        (Method::POST, "/mcp/%ff"),
        (Method::POST, "/mcp/views/x"),
        (Method::POST, "/mcp/views/%ff"),
        (Method::GET, "/sse"),
        (Method::POST, "/messages"),
    ] {
        let (status, body) = answer(gateway.request(method.clone(), path)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}: {body}");
    }

    let post = |key: &str, body: &str| {
        let request = gateway.request(Method::POST, "/mcp").header("X-API-Key", key);
        let request = request.header("Accept", "application/json, text/event-stream");
        request.header("Content-Type", "application/json").body(body.to_owned())
    };
    let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",
        "capabilities":{},"clientInfo":{"name":"test","version":"0"}}}"#;
    let opened = post(KEYS[0], initialize).send().await.unwrap();
    let session = opened.headers()["mcp-session-id"].clone();
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    for (key, expected) in [(KEYS[0], 200), (KEYS[1], 404)] {
        let (status, body) = answer(post(key, ping).header("Mcp-Session-Id", &session)).await;
        assert_eq!(status, expected, "{body}");
    }
    let both = post(KEYS[0], ping).header("X-API-Key", KEYS[1]).header("Mcp-Session-Id", &session);
    assert_eq!(answer(both).await.0, StatusCode::UNAUTHORIZED, "it is not clear whose request it is");
    gateway.stop().await;
}

#[tokio::test]
async fn other_names_and_other_pages_are_refused() {
    let configuration = Configuration::new(
        "[gateway]\nallowed_hosts = [\"gw.test\"]\nallowed_origins = [\"https://ui.test\"]",
    );
    let gateway = Gateway::configured(&configuration).await;
    let port = gateway.url().port().unwrap();
    for (header, value, expected) in [
        ("Host", "evil.test".to_owned(), StatusCode::MISDIRECTED_REQUEST),
        ("Host", format!("127.0.0.1.evil.test:{port}"), StatusCode::MISDIRECTED_REQUEST),
        ("Host", format!("localhost:{port}"), StatusCode::OK),
        ("Host", "gw.test".to_owned(), StatusCode::OK),
        ("Origin", "https://evil.test".to_owned(), StatusCode::FORBIDDEN),
        ("Origin", "null".to_owned(), StatusCode::FORBIDDEN),
        ("Origin", format!("http://127.0.0.1:{port}"), StatusCode::OK),
        ("Origin", "https://ui.test".to_owned(), StatusCode::OK),
    ] {
        let (status, body) = answer(gateway.request(Method::GET, SERVERS).header(header, &value)).await;
        assert_eq!(status, expected, "{header}: {value}: {body}");
    }
    gateway.stop().await;
}
