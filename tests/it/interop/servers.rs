//! The servers.

use mcp_protocol::Era;
use serde_json::json;
use tokio::process::Command;

use super::features::{Features, Try};
use super::page;
use super::rows::{BOTH_ERAS, ONE_ERA, Rows};
use crate::peers::Program;
use crate::process::HttpServer;

/// The features that our servers have alike, whatever SDK they are on.
fn of_a_peer(_: Era) -> Features {
    Features {
        call: Some(Try::call("add", json!({ "a": 40, "b": 2 }), r#""structuredContent":{"total":42}"#)),
        fail: Some(Try::call("fail", json!({ "reason": "out of paper" }), "out of paper")),
        read: Some(Try::read("peer://square/12", "144")),
        prompt: Some(Try::get("review", json!({ "topic": "the gateway" }), "Please review the gateway.")),
        progress: Some(Try::call("slow", json!({ "steps": 3, "step_ms": 1 }), "3 steps done")),
        cancel: Some((Try::call("slow", json!({ "steps": 1_000, "step_ms": 50 }), ""), Some("cancelled"))),
        subscribe: Some(("peer://counter", Try::call("count", json!({}), "content"))),
        elicit: Some(Try::call("greet", json!({}), "Hello, Ada")),
        sample: Some(Try::call("ask", json!({}), "It said: 42")),
        roots: Some(Try::call("roots", json!({}), "file:///srv/project")),
    }
}

#[tokio::test]
async fn typescript_sdk_v1() {
    let Some(program) = Program::script("TypeScript SDK v1", "typescript_v1_server.mjs") else { return };
    let mut rows = Rows::of("TypeScript SDK 1.32.2");
    rows.stdio(program.clone().with_args(["stdio"]).endpoint(), ONE_ERA, of_a_peer).await;
    let server = HttpServer::announcing(program.clone().with_args(["http"]).command()).await;
    rows.http(&server, ONE_ERA, of_a_peer).await;
    let server = HttpServer::announcing(program.with_args(["sse"]).command()).await;
    rows.sse(&server, of_a_peer).await;
    rows.done();
}

#[tokio::test]
async fn typescript_sdk_v2() {
    let Some(program) = Program::script("TypeScript SDK v2", "typescript_v2_server.mjs") else { return };
    let mut rows = Rows::of("TypeScript SDK 2.4.0");
    rows.stdio(program.clone().with_args(["stdio"]).endpoint(), BOTH_ERAS, of_a_peer).await;
    let server = HttpServer::announcing(program.with_args(["http"]).command()).await;
    rows.http(&server, BOTH_ERAS, of_a_peer).await;
    rows.done();
}

#[tokio::test]
async fn python_sdk() {
    let Some(program) = Program::python_script("Python SDK", "modern_server.py") else { return };
    // Its servers have no `resources/subscribe`.
    let features = |era| Features {
        subscribe: of_a_peer(era).subscribe.filter(|_| era == Era::Stateless),
        ..of_a_peer(era)
    };
    let mut rows = Rows::of("Python SDK 2.3.0");
    rows.stdio(program.clone().with_args(["stdio"]).endpoint(), BOTH_ERAS, features).await;
    let server = HttpServer::announcing(program.clone().with_args(["http"]).command()).await;
    rows.http(&server, BOTH_ERAS, features).await;
    let server = HttpServer::announcing(program.with_args(["sse"]).command()).await;
    rows.sse(&server, features).await;
    rows.done();
}

#[tokio::test]
async fn fastmcp() {
    let Some(program) = Program::python_script("FastMCP", "fastmcp_server.py") else { return };
    let features = |era| {
        let greet = if era == Era::Stateless { "greet_statelessly" } else { "greet" };
        let elicit = Some(Try::call(greet, json!({}), "Hello, Ada"));
        Features { elicit, subscribe: None, sample: None, roots: None, ..of_a_peer(era) }
    };
    let mut rows = Rows::of("FastMCP 4.1.2");
    rows.stdio(program.clone().with_args(["stdio"]).endpoint(), BOTH_ERAS, features).await;
    let server = HttpServer::announcing(program.clone().with_args(["http"]).command()).await;
    rows.http(&server, BOTH_ERAS, features).await;
    let server = HttpServer::announcing(program.with_args(["sse"]).command()).await;
    rows.sse(&server, features).await;
    rows.done();
}

/// The features of the server on `rmcp`, whose `slow` is another one.
pub(super) fn of_rmcp(era: Era) -> Features {
    Features {
        progress: Some(Try::call("steps", json!({ "steps": 3, "step_ms": 1 }), "3 steps done")),
        cancel: Some((Try::call("steps", json!({ "steps": 1_000, "step_ms": 50 }), ""), Some("cancelled"))),
        ..of_a_peer(era)
    }
}

#[tokio::test]
async fn rmcp() {
    let program = Program::rmcp();
    let mut rows = Rows::of("rmcp 3.9");
    rows.stdio(program.clone().with_args(["stdio"]).endpoint(), BOTH_ERAS, of_rmcp).await;
    let server = HttpServer::announcing(program.with_args(["http"]).command()).await;
    rows.http(&server, BOTH_ERAS, of_rmcp).await;
    rows.done();
}

#[tokio::test]
async fn rmcp_with_a_handshake_alone() {
    let started = |transport| Program::rmcp().with_args([transport, "--handshake-only"]);
    let mut rows = Rows::of("rmcp 3.9 up to 2025-11-25");
    rows.stdio(started("stdio").endpoint(), ONE_ERA, of_rmcp).await;
    let server = HttpServer::announcing(started("http").command()).await;
    rows.http(&server, ONE_ERA, of_rmcp).await;
    rows.done();
}

/// The features of `server-everything`.
pub(super) fn of_everything(_: Era) -> Features {
    let slow = |duration: f64, expected| {
        Try::call("trigger-long-running-operation", json!({ "duration": duration, "steps": 3 }), expected)
    };
    Features {
        call: Some(Try::call("get-sum", json!({ "a": 40, "b": 2 }), "40 and 2 is 42")),
        fail: Some(Try::call("get-sum", json!({ "a": "forty", "b": 2 }), r#""isError":true"#)),
        read: Some(Try::read("demo://resource/dynamic/text/7", "Resource 7")),
        prompt: Some(Try::get("args-prompt", json!({ "city": "Ulm" }), "What's weather in Ulm?")),
        progress: Some(slow(0.01, "completed")),
        cancel: Some((slow(3.0, ""), None)),
        subscribe: Some((
            "demo://resource/dynamic/text/1",
            Try::call("toggle-subscriber-updates", json!({}), "content"),
        )),
        elicit: Some(Try::call("trigger-elicitation-request", json!({}), "Ada")),
        sample: Some(Try::call("trigger-sampling-request", json!({ "prompt": "What?" }), "42")),
        roots: Some(Try::call("get-roots-list", json!({}), "file:///srv/project")),
    }
}

#[tokio::test]
async fn server_everything() {
    let Some(program) = Program::node("server-everything", "server-everything") else { return };
    let listening = async |transport: &'static str, path| {
        let program = program.clone().with_args([transport]);
        HttpServer::on_free_port_at(path, |port| {
            let mut command = program.command();
            command.env("PORT", port.to_string());
            command
        })
        .await
    };
    let mut rows = Rows::of("server-everything 2026.8.31");
    rows.stdio(program.clone().with_args(["stdio"]).endpoint(), ONE_ERA, of_everything).await;
    rows.http(&listening("streamableHttp", "/mcp").await, ONE_ERA, of_everything).await;
    rows.sse(&listening("sse", "/sse").await, of_everything).await;
    rows.done();
}

#[tokio::test]
async fn server_filesystem() {
    let Some(program) = Program::node("server-filesystem", "server-filesystem") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("note.txt");
    std::fs::write(&file, "read through the server").unwrap();
    let features = |_| Features {
        call: Some(Try::call("read_text_file", json!({ "path": file }), "read through the server")),
        fail: Some(Try::call(
            "list_directory",
            json!({ "path": folder.path().parent() }),
            r#""isError":true"#,
        )),
        ..Features::default()
    };
    let mut rows = Rows::of("server-filesystem 2026.8.31");
    rows.stdio(program.with_args(folder.path().to_str()).endpoint(), ONE_ERA, features).await;
    rows.done();
}

#[tokio::test]
async fn server_memory() {
    let Some(program) = Program::node("server-memory", "server-memory") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut endpoint = program.endpoint();
    let file = folder.path().join("memory.jsonl").to_str().unwrap().to_owned();
    endpoint.env.insert("MEMORY_FILE_PATH".into(), file.into());
    let entity = json!({ "name": "gateway", "entityType": "program", "observations": ["written in Rust"] });
    let features = |_| Features {
        call: Some(Try::call("create_entities", json!({ "entities": [entity.clone()] }), "written in Rust")),
        fail: Some(Try::call("create_entities", json!({}), r#""isError":true"#)),
        ..Features::default()
    };
    let mut rows = Rows::of("server-memory 2026.8.31");
    rows.stdio(endpoint, ONE_ERA, features).await;
    rows.done();
}

#[tokio::test]
async fn server_sequential_thinking() {
    let Some(program) = Program::node("server-sequential-thinking", "server-sequential-thinking") else {
        return;
    };
    let thought = |thought: &str| json!({ "thought": thought, "thoughtNumber": 1, "totalThoughts": 1, "nextThoughtNeeded": false });
    let features = |_| Features {
        call: Some(Try::call("sequentialthinking", thought("Is it?"), "thoughtHistoryLength")),
        fail: Some(Try::call("sequentialthinking", json!({}), r#""isError":true"#)),
        ..Features::default()
    };
    let mut rows = Rows::of("server-sequential-thinking 2026.8.31");
    rows.stdio(program.endpoint(), ONE_ERA, features).await;
    rows.done();
}

#[tokio::test]
async fn server_time() {
    let Some(program) = Program::python_module("mcp-server-time", "mcp_server_time") else { return };
    let noon = |to: &str| json!({ "source_timezone": "UTC", "time": "12:00", "target_timezone": to });
    let features = |_| Features {
        call: Some(Try::call("convert_time", noon("Asia/Tokyo"), "21:00:00+09:00")),
        fail: Some(Try::call("convert_time", noon("Asia/Atlantis"), r#""isError":true"#)),
        ..Features::default()
    };
    let mut rows = Rows::of("mcp-server-time 2026.10.19");
    rows.stdio(program.endpoint(), BOTH_ERAS, features).await;
    rows.done();
}

#[tokio::test]
async fn server_git() {
    let Some(program) = Program::python_module("mcp-server-git", "mcp_server_git") else { return };
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("git").args(["init", "--quiet"]).current_dir(folder.path()).status().await;
    assert!(made.is_ok_and(|status| status.success()), "git makes a repository");
    std::fs::write(folder.path().join("note.txt"), "not committed").unwrap();
    let features = |_| Features {
        call: Some(Try::call("git_status", json!({ "repo_path": folder.path() }), "note.txt")),
        fail: Some(Try::call(
            "git_show",
            json!({ "repo_path": folder.path(), "revision": "x" }),
            r#""isError":true"#,
        )),
        ..Features::default()
    };
    let mut rows = Rows::of("mcp-server-git 2026.10.19");
    let program = program.with_args(["--repository"]).with_args(folder.path().to_str());
    rows.stdio(program.endpoint(), BOTH_ERAS, features).await;
    rows.done();
}

#[tokio::test]
async fn server_fetch() {
    let Some(program) = Program::python_module("mcp-server-fetch", "mcp_server_fetch") else { return };
    let program = program.with_args(["--allow-private-ips"]);
    let url = page::serve("fetched from this machine").await;
    let features = |_| Features {
        call: Some(Try::call("fetch", json!({ "url": url }), "fetched from this machine")),
        fail: Some(Try::call("fetch", json!({ "url": format!("{url}/gone") }), "404")),
        prompt: Some(Try::get("fetch", json!({ "url": url }), "fetched from this machine")),
        ..Features::default()
    };
    let mut rows = Rows::of("mcp-server-fetch 2026.10.24");
    rows.stdio(program.endpoint(), BOTH_ERAS, features).await;
    rows.done();
}

#[tokio::test]
async fn server_sqlite() {
    let Some(program) = Program::python_v1_program("mcp-server-sqlite", "mcp-server-sqlite") else { return };
    let folder = tempfile::tempdir().unwrap();
    let features = |_| Features {
        call: Some(Try::call("read_query", json!({ "query": "SELECT 6 * 7 AS answer" }), "42")),
        fail: Some(Try::call("read_query", json!({ "query": "SELECT nothing" }), "Database error")),
        read: Some(Try::read("memo://insights", "insights")),
        prompt: Some(Try::get("mcp-demo", json!({ "topic": "gateways" }), "gateways")),
        subscribe: None,
        ..Features::default()
    };
    let mut rows = Rows::of("mcp-server-sqlite 2025.4.25");
    let file = folder.path().join("test.db");
    let program = program.with_args(["--db-path"]).with_args(file.to_str());
    rows.stdio(program.endpoint(), ONE_ERA, features).await;
    rows.done();
}
