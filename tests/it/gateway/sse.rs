//! Servers over the transport of 2024-11-05.

use mcp_api_types::{ConnectionState, Server, Status, TransportKind};
use serde_json::json;

use super::configuration::{Configuration, demo};
use super::running::{Gateway, text};
use crate::process::HttpServer;

async fn demo_over_sse(listen: &str) -> HttpServer {
    let args = ["--transport", "sse", "--listen", listen, "--until-stdin-closes"];
    HttpServer::announcing(demo(&args).command()).await
}

#[tokio::test]
async fn a_server_with_two_endpoints_is_called_lost_and_found_again() {
    let demo = demo_over_sse("127.0.0.1:0").await;
    let url = demo.url();
    let keys = "transport = \"sse\"\nauth = { type = \"bearer\", token = \"hunter2\" }";
    let configuration = Configuration::left_alone().http("legacy", &url, keys).http("guessed", &url, "");
    let gateway = Gateway::configured(&configuration).await;
    let servers = gateway.all_healthy().await;
    let kinds: Vec<_> = servers.iter().map(|server| (server.name.as_str(), server.transport)).collect();
    assert_eq!(kinds, [("guessed", TransportKind::Http), ("legacy", TransportKind::Sse)]);
    for server in &servers {
        assert_eq!(server.details["messages"], "/messages", "without the session");
        assert_eq!(server.protocol_version.as_deref(), Some("2025-11-25"));
    }
    let shown: serde_json::Value = gateway.get("/servers/legacy").await;
    assert!(!shown.to_string().contains("hunter2"), "{shown}");
    let call = || async {
        let call = json!({
            "tool_name": "echo", "arguments": { "message": "over a stream" }, "preferred_servers": ["legacy"],
            "preferred_only": true,
        });
        text(&gateway.invoke(call).await.unwrap())
    };
    assert_eq!(call().await, "over a stream");

    demo.kill().await;
    let lost = |server: &Server| server.connection_state == ConnectionState::Error;
    gateway.until("legacy", "lost", lost).await;
    let _again = demo_over_sse(&format!("127.0.0.1:{}", url.port().unwrap())).await;
    // Nobody calls it, and nothing checks it.
    let back = |server: &Server| server.connection_state == ConnectionState::Connected;
    gateway.until("legacy", "back", back).await;
    assert_eq!(call().await, "over a stream");
    gateway.stop().await;
}

#[tokio::test]
async fn j6_a_stream_without_heartbeats_is_given_up_and_opened_anew() {
    let demo = demo_over_sse("127.0.0.1:0").await;
    let keys = "transport = \"sse\"\nheartbeat_ms = 200";
    let configuration = Configuration::left_alone().http("silent", &demo.url(), keys);
    let gateway = Gateway::configured(&configuration).await;
    gateway.logged("sent nothing on its event stream for 400ms, not even a heartbeat").await;
    let again =
        |server: &Server| server.restarts > 0 && server.connection_state == ConnectionState::Connected;
    let server = gateway.until("silent", "connected again", again).await;
    assert_eq!(server.status, Status::Healthy);
    gateway.stop().await;
}
