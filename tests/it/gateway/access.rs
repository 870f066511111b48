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
