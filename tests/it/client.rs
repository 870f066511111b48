//! `mcp-client` over both transports against servers that others wrote.

use mcp_client::{Answer, CallEvent, Client, ConnectOptions, Outgoing, connect};
use mcp_protocol::{Era, EraPolicy, Limits, Method, ProtocolVersion, RawJson};
use mcp_transport::{Endpoint, HttpEndpoint};
use mcp_transport_http::{HttpConnector, HttpOptions};
use mcp_transport_stdio::StdioConnector;
use serde::Deserialize;

use crate::peers::Program;
use crate::process::HttpServer;
use crate::wait::{self, PATIENCE};

const LEGACY: ProtocolVersion = ProtocolVersion::V2025_11_25;
const MODERN: ProtocolVersion = ProtocolVersion::V2026_07_28;

/// The part of a tool result the tests look at.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolResult {
    content: Vec<Content>,
    #[serde(default)]
    is_error: bool,
}

#[derive(Debug, Deserialize)]
struct Content {
    #[serde(default)]
    text: String,
}

async fn connect_with(endpoint: impl Into<Target>, policy: EraPolicy) -> Client {
    let options = ConnectOptions { policy, ..ConnectOptions::default() };
    let connected = match endpoint.into().0 {
        endpoint @ Endpoint::Http(_) => {
            let connector = HttpConnector::new(HttpOptions::default()).unwrap();
            connect(&connector, &endpoint, &options).await
        }
        endpoint => connect(&StdioConnector::default(), &endpoint, &options).await,
    };
    connected.unwrap_or_else(|error| panic!("no connection: {error}, tried {:?}", error.tried))
}

/// An endpoint, from what the tests have at hand.
struct Target(Endpoint);

impl From<Program> for Target {
    fn from(program: Program) -> Self {
        Self(Endpoint::Stdio(program.endpoint()))
    }
}

impl From<&HttpServer> for Target {
    fn from(server: &HttpServer) -> Self {
        Self(Endpoint::Http(HttpEndpoint::new(server.url())))
    }
}

impl From<mcp_transport::StdioEndpoint> for Target {
    fn from(endpoint: mcp_transport::StdioEndpoint) -> Self {
        Self(Endpoint::Stdio(endpoint))
    }
}

fn tool_call(name: &str, arguments: &str) -> Outgoing {
    let params = format!(r#"{{"name":"{name}","arguments":{arguments}}}"#);
    Outgoing::new(Method::ToolsCall, Some(RawJson::parse(params, &Limits::default()).unwrap()))
}

async fn call(client: &Client, name: &str, arguments: &str) -> ToolResult {
    let answer = client.call(tool_call(name, arguments), PATIENCE).await;
    result_of(&answer.unwrap_or_else(|error| panic!("{name}: {error}")))
}

fn result_of(answer: &Answer) -> ToolResult {
    answer.result.to().unwrap_or_else(|error| panic!("{error}: {}", answer.result.as_str()))
}

/// The text of the first content block of a call that must succeed.
async fn text_of(client: &Client, name: &str, arguments: &str) -> String {
    let result = call(client, name, arguments).await;
    assert!(!result.is_error, "{name}: {result:?}");
    result.content.into_iter().next().unwrap_or_else(|| panic!("{name} answered without content")).text
}

#[track_caller]
fn assert_speaks(client: &Client, version: ProtocolVersion) {
    let profile = client.profile();
    assert_eq!((profile.version, profile.era), (version, version.era()));
}

async fn assert_offers(client: &Client, expected: &[&str]) {
    let tools = client.list(Method::ToolsList, PATIENCE).await.unwrap();
    let names: Vec<String> = tools.iter().map(|tool| tool.get("name").unwrap().to().unwrap()).collect();
    for name in expected {
        assert!(names.iter().any(|found| found == name), "{name} is not among {names:?}");
    }
}

/// Closes the connection; a child process must be gone then.
async fn close(client: Client) {
    let details = client.details();
    let pid = details.iter().find(|(name, _)| *name == "pid").map(|(_, pid)| pid.clone());
    client.close().await;
    if cfg!(target_os = "linux")
        && let Some(pid) = pid
    {
        let process = std::path::Path::new("/proc").join(pid);
        wait::until("the server's process to be gone", async || (!process.exists()).then_some(())).await;
    }
}

async fn check_everything(client: Client) {
    assert_speaks(&client, LEGACY);
    assert_offers(&client, &["echo", "get-sum", "trigger-long-running-operation"]).await;
    assert_eq!(text_of(&client, "echo", r#"{"message":"grüße 🦀"}"#).await, "Echo: grüße 🦀");
    client.ping(PATIENCE).await.unwrap();
    close(client).await;
}

#[tokio::test]
async fn server_everything_over_stdio() {
    let Some(server) = Program::node("server-everything over stdio", "server-everything") else { return };
    check_everything(connect_with(server.with_args(["stdio"]), EraPolicy::Auto).await).await;
}

#[tokio::test]
async fn server_everything_over_http() {
    let Some(server) = Program::node("server-everything over HTTP", "server-everything") else { return };
    let server = HttpServer::on_free_port(|port| {
        let mut command = server.clone().with_args(["streamableHttp"]).command();
        command.env("PORT", port.to_string());
        command
    })
    .await;
    check_everything(connect_with(&server, EraPolicy::Auto).await).await;
}

#[tokio::test]
async fn server_filesystem_over_stdio() {
    let Some(server) = Program::node("server-filesystem", "server-filesystem") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("note.txt");
    std::fs::write(&file, "read through the server\n").unwrap();

    let client = connect_with(server.with_args(folder.path().to_str()), EraPolicy::Auto).await;
    assert_speaks(&client, LEGACY);
    assert_offers(&client, &["read_text_file", "write_file", "list_directory"]).await;
    let arguments = serde_json::json!({ "path": file }).to_string();
    assert_eq!(text_of(&client, "read_text_file", &arguments).await, "read through the server\n");

    let outside = serde_json::json!({ "path": folder.path().parent() }).to_string();
    assert!(call(&client, "list_directory", &outside).await.is_error, "outside of the allowed folder");
    close(client).await;
}

#[tokio::test]
async fn server_memory_over_stdio() {
    let Some(server) = Program::node("server-memory", "server-memory") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut endpoint = server.endpoint();
    let file = folder.path().join("memory.jsonl").to_str().unwrap().to_owned();
    endpoint.env.insert("MEMORY_FILE_PATH".into(), file.into());

    let client = connect_with(endpoint.clone(), EraPolicy::Auto).await;
    assert_speaks(&client, LEGACY);
    assert_offers(&client, &["create_entities", "read_graph"]).await;
    let entities =
        r#"{"entities":[{"name":"gateway","entityType":"program","observations":["written in Rust"]}]}"#;
    text_of(&client, "create_entities", entities).await;
    close(client).await;

    let client = connect_with(endpoint, EraPolicy::Auto).await;
    let graph = text_of(&client, "read_graph", "{}").await;
    assert!(graph.contains("written in Rust"), "a new process has what the first one was told: {graph}");
    close(client).await;
}

#[tokio::test]
async fn server_time_over_stdio_in_both_eras() {
    let Some(server) = Program::python_module("mcp-server-time", "mcp_server_time") else { return };
    let arguments = r#"{"source_timezone":"UTC","time":"12:00","target_timezone":"Asia/Tokyo"}"#;
    for (policy, version) in [(EraPolicy::Auto, MODERN), (EraPolicy::Only(Era::Handshake), LEGACY)] {
        let client = connect_with(server.clone(), policy).await;
        assert_speaks(&client, version);
        assert_offers(&client, &["get_current_time", "convert_time"]).await;
        let text = text_of(&client, "convert_time", arguments).await;
        assert!(text.contains("21:00:00+09:00") && text.contains("+9.0h"), "{text}");
        close(client).await;
    }
}

/// What the peers on both SDKs offer alike.
async fn check_peer(client: Client, version: ProtocolVersion) {
    assert_speaks(&client, version);
    assert_eq!(client.profile().instructions.as_deref(), Some("A peer for tests"));
    assert_offers(&client, &["add", "echo", "fail", "slow"]).await;
    assert_eq!(text_of(&client, "echo", r#"{"message":"\"quoted\"\n"}"#).await, "Echo: \"quoted\"\n");

    let sum = client.call(tool_call("add", r#"{"a":40,"b":2}"#), PATIENCE).await.unwrap();
    let total = sum.result.get("structuredContent").and_then(|content| content.get("total"));
    assert_eq!(total.unwrap().as_str(), "42");

    let failed = call(&client, "fail", r#"{"reason":"out of paper"}"#).await;
    assert!(failed.is_error && failed.content[0].text.contains("out of paper"), "{failed:?}");
    client.ping(PATIENCE).await.unwrap();
    close(client).await;
}

#[tokio::test]
async fn rmcp_over_stdio_in_both_eras() {
    for (args, policy, version) in [
        (&["stdio"][..], EraPolicy::Auto, MODERN),
        (&["stdio"], EraPolicy::Only(Era::Handshake), LEGACY),
        (&["stdio", "--handshake-only"], EraPolicy::Auto, LEGACY),
    ] {
        let server = Program::rmcp().with_args(args.iter().copied());
        check_peer(connect_with(server, policy).await, version).await;
    }
}

#[tokio::test]
async fn rmcp_over_http_in_both_eras() {
    for (args, policy, version) in [
        (&["http"][..], EraPolicy::Auto, MODERN),
        (&["http"], EraPolicy::Only(Era::Handshake), LEGACY),
        (&["http", "--handshake-only"], EraPolicy::Auto, LEGACY),
    ] {
        let program = Program::rmcp().with_args(args.iter().copied());
        let server = HttpServer::announcing(program.command()).await;
        check_peer(connect_with(&server, policy).await, version).await;
    }
}

#[tokio::test]
async fn python_sdk_over_stdio_in_both_eras() {
    let Some(server) = Program::python_sdk("Python SDK over stdio") else { return };
    let server = server.with_args(["stdio"]);
    for (policy, version) in [(EraPolicy::Auto, MODERN), (EraPolicy::Only(Era::Handshake), LEGACY)] {
        check_peer(connect_with(server.clone(), policy).await, version).await;
    }
}

#[tokio::test]
async fn python_sdk_over_http_in_both_eras() {
    let Some(server) = Program::python_sdk("Python SDK over HTTP") else { return };
    let server = HttpServer::announcing(server.with_args(["http"]).command()).await;
    for (policy, version) in [(EraPolicy::Auto, MODERN), (EraPolicy::Only(Era::Handshake), LEGACY)] {
        check_peer(connect_with(&server, policy).await, version).await;
    }
}

/// Three steps, each reported before the answer.
async fn check_progress(client: Client) {
    let mut request = tool_call("slow", r#"{"steps":3,"step_ms":1}"#);
    request.progress = true;
    let mut call = client.start(request).await.unwrap();
    let mut progress = Vec::new();
    let answer = loop {
        match call.next().await.expect("the call ends with an answer").unwrap() {
            CallEvent::Notification(notification) => {
                assert_eq!(notification.method, Method::Progress);
                let done: f64 = notification.params.unwrap().get("progress").unwrap().to().unwrap();
                progress.push(done);
            }
            CallEvent::Done(answer) => break answer,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(progress, [1.0, 2.0, 3.0]);
    assert_eq!(result_of(&answer).content[0].text, "3 steps done");
    close(client).await;
}

#[tokio::test]
async fn progress_arrives_before_the_answer_in_both_eras() {
    let Some(program) = Program::python_sdk("progress of a call") else { return };
    let server = HttpServer::announcing(program.clone().with_args(["http"]).command()).await;
    for policy in [EraPolicy::Auto, EraPolicy::Only(Era::Handshake)] {
        check_progress(connect_with(program.clone().with_args(["stdio"]), policy).await).await;
        check_progress(connect_with(&server, policy).await).await;
    }
}
