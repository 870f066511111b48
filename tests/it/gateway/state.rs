//! Servers registered over the REST API survive a restart if a state file is configured (contract §7.7).

use mcp_api_types::ServerList;
use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::configuration::{Configuration, demo};
use super::home::Home;
use super::process::Process;
use super::running::{Gateway, answer};
use crate::wait;

/// A file with a server, and a state file besides it; servers may be registered as commands.
fn configuration(state: &std::path::Path) -> Configuration {
    let tables = format!("[gateway]\nstate_file = {state:?}\n\n[policy]\nallow_stdio_registration = true");
    Configuration::new(&tables).stdio("configured", &demo(&["--name", "configured"]), "")
}

async fn register(gateway: &Gateway, mut server: Value) {
    let endpoint = demo(&["--name", "registered"]);
    let endpoint = endpoint.endpoint();
    server["command"] = json!(endpoint.command);
    server["args"] = json!(endpoint.args);
    let request = gateway.request(Method::POST, "/api/v1/mcp/servers");
    let request = request.header("Content-Type", "application/json").body(server.to_string());
    let (status, body) = answer(request).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
}

async fn names(gateway: &Gateway) -> Vec<String> {
    gateway.get::<ServerList>("/servers").await.items.into_iter().map(|server| server.name).collect()
}

/// Waits until the state file names these servers.
async fn kept(state: &std::path::Path, names: &[&str]) -> String {
    wait::until("the state file to be written", async || {
        let text = std::fs::read_to_string(state).ok()?;
        let value: Value = serde_json::from_str(&text).expect("it is never half-written");
        let kept: Vec<_> = value["servers"].as_array()?.iter().map(|server| server["name"].clone()).collect();
        (kept == names).then_some(text)
    })
    .await
}

#[tokio::test]
async fn j12_registered_servers_survive_a_restart_even_an_abrupt_one() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.json");
    let configuration = configuration(&state);

    let mut gateway = Gateway::configured(&configuration).await;
    register(&gateway, json!({"name": "with-secret", "env": {"TOKEN": "hunter2"}})).await;
    register(&gateway, json!({"name": "registered", "priority": 7})).await;
    let text = kept(&state, &["registered", "with-secret"]).await;
    assert!(!text.contains("hunter2"), "{text}");
    gateway.all_healthy().await;
    let processes = gateway.processes();
    gateway.signal(Signal::KILL);
    gateway.ended().await;
    Process::all_gone(&processes).await;

    let gateway = Gateway::configured(&configuration).await;
    assert_eq!(names(&gateway).await, ["configured", "registered", "with-secret"]);
    gateway.all_healthy().await;
    assert_eq!(gateway.server("registered").await.priority, Some(7));
    let warning = gateway.logged("without its secrets").await;
    assert!(warning.contains("with-secret") && warning.contains("env.TOKEN"), "{warning}");
    gateway.cli(&["servers", "remove", "with-secret"]).await.exits(0);
    gateway.stop().await;
    kept(&state, &["registered"]).await;

    // The configuration wins, and takes the server over.
    let taken = configuration.stdio("registered", &demo(&["--name", "taken"]), "priority = 9");
    let gateway = Gateway::configured(&taken).await;
    assert_eq!(names(&gateway).await, ["configured", "registered"]);
    assert_eq!(gateway.server("registered").await.priority, Some(9));
    gateway.stop().await;
    kept(&state, &[]).await;
}

#[tokio::test]
async fn j12_a_state_file_that_cannot_be_used_stops_the_start() {
    let home = Home::new();
    let state = home.write("state.json", "{\"version\": 1, \"servers\": [{}]}");
    home.write("mcp-gateway.toml", configuration(&state).text());
    let outcome = home.run(&["serve", "--listen", "127.0.0.1:0"]).await;
    outcome.exits(4).says(&["cannot read the state file", "move it away"]);
    assert!(std::fs::read_to_string(&state).unwrap().contains("[{}]"), "it is not overwritten");
}

/// What is known of tools, in the file beside the state file, as soon as it has those of this server.
async fn known_tools(path: &std::path::Path, server: &str) -> Value {
    wait::until("the file of known tools to be written", async || {
        let text = std::fs::read_to_string(path).ok()?;
        let value: Value = serde_json::from_str(&text).expect("it is never half-written");
        value["tools"][server].is_object().then_some(value)
    })
    .await
}

#[tokio::test]
async fn s22_what_is_known_of_tools_survives_an_abrupt_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (state, tools) = (folder.path().join("state.json"), folder.path().join("state.tools.json"));
    let configuration = Configuration::new(&format!("[gateway]\nstate_file = {state:?}")).stdio(
        "guarded",
        &demo(&["--name", "guarded"]),
        "on_tool_change = \"block\"",
    );
    let mut gateway = Gateway::configured(&configuration).await;
    let mut known = known_tools(&tools, "guarded").await;
    gateway.all_healthy().await;
    gateway.cli(&["changes"]).await.exits(0).says(&["no tool has changed"]);
    gateway.cli(&["tools"]).await.exits(0).prints(&["guarded echo guarded__echo"]);
    gateway.signal(Signal::KILL);
    gateway.ended().await;

    // As if it had been another tool that somebody approved.
    let other = json!("0".repeat(64));
    let echo = &mut known["tools"]["guarded"]["echo"];
    echo["versions"][0]["digest"] = other.clone();
    echo["approved"] = other;
    std::fs::write(&tools, known.to_string()).unwrap();
    let mut gateway = Gateway::configured(&configuration).await;
    gateway.logged("the definition of a tool has changed").await;
    gateway.cli(&["changes", "list", "--pending"]).await.exits(0).prints(&["guarded echo withheld"]);
    gateway.cli(&["call", "echo", "message=hi"]).await.exits(1).says(&["changes approve guarded TOOL"]);
    gateway.cli(&["tools", "--exposed"]).await.exits(0).prints(&["guarded__echo guarded echo withheld"]);
    gateway
        .cli(&["changes", "approve", "guarded", "echo"])
        .await
        .exits(0)
        .says(&["approved echo of guarded"]);
    // Saved by the time it is answered.
    gateway.signal(Signal::KILL);
    gateway.ended().await;

    let gateway = Gateway::configured(&configuration).await;
    gateway.all_healthy().await;
    gateway.cli(&["call", "echo", "message=hi"]).await.exits(0);
    gateway.cli(&["changes"]).await.exits(0).prints(&["guarded echo approved"]);
    gateway.cli(&["prompts"]).await.exits(0).prints(&["guarded__"]);
    gateway.cli(&["resources"]).await.exits(0).prints(&["guarded"]);
    gateway.stop().await;

    let home = Home::new();
    home.write("guarded.toml", configuration.text());
    std::fs::write(&tools, r#"{"version":1,"tools":{"guarded":{"echo":{}}}}"#).unwrap();
    let outcome = home.run(&["serve", "--config", "guarded.toml", "--listen", "127.0.0.1:0"]).await;
    outcome.exits(4).says(&["state.tools.json", "move it away"]);
}
