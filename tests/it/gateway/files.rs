//! Configuration files, and what is refused before anything is started.

use std::time::Duration;

use mcp_api_types::ServerList;
use serde_json::json;
use tokio::net::TcpListener;

use super::binary;
use super::configuration::{Configuration, demo};
use super::home::{Home, Outcome};
use super::running::{Gateway, text};
use crate::peers::Program;

#[tokio::test]
async fn a_document_of_an_mcp_client_works_as_it_is() {
    let home = Home::new();
    let document = json!({
        "globalShortcut": "",
        "mcpServers": {
            "demo": {"command": binary::path(), "args": ["demo-server", "--name", "${NAME:-from-document}"]},
            "rmcp": {"command": env!("CARGO_BIN_EXE_rmcp-server"), "args": ["stdio"], "env": {"KEY": "value"}},
        },
    });
    let file = home.write("claude_desktop_config.json", &document.to_string());
    let file = file.to_str().unwrap();
    let checked = home.run(&["config", "check", file]).await.exits(0);
    checked.says(&["ignored beside `mcpServers`: globalShortcut", "is valid: 2 servers"]);
    let gateway = Gateway::serve(home, &["--config", file]).await;
    let servers: ServerList = gateway.get("/servers").await;
    assert_eq!(servers.items.iter().map(|server| &server.name).collect::<Vec<_>>(), ["demo", "rmcp"]);
    gateway.all_healthy().await;
    let who = gateway.invoke(json!({ "tool_name": "whoami" })).await.unwrap();
    assert!(text(&who).contains(r#""server":"from-document""#), "{who:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_file_is_checked_with_every_mistake_at_its_place() {
    let home = Home::new();
    home.write("mcp-gateway.toml", "[servers.files]\ncommand = \"npx\"\n");
    home.run(&["config", "check"]).await.exits(0).says(&["mcp-gateway.toml is valid: 1 server"]);

    let wrong =
        "[policy]\nhealth_interval = -1\n[servers.a]\ncomand = \"npx\"\n[servers.b]\nurl = \"ftp://x\"\n";
    home.write("wrong.toml", wrong);
    let places =
        ["wrong.toml:2:19: ", "wrong.toml:4:1: `servers.a.comand`: unknown key; did you mean `command`?"];
    home.run(&["config", "check", "wrong.toml"]).await.exits(4).says(&places);
    home.run(&["serve", "--config", "wrong.toml", "--listen", "127.0.0.1:0"]).await.exits(4).says(&places);
    home.run(&["call", "echo", "--config", "wrong.toml"]).await.exits(4).says(&places);

    home.write("broken.json", "{\"mcpServers\": {\"a\": {\"command\": \"npx\"}}");
    home.run(&["config", "check", "broken.json"]).await.exits(4).says(&["broken.json:1:"]);
    home.run(&["config", "check", "missing.toml"]).await.exits(4).says(&["missing.toml"]);
    home.run(&["serve", "--config", "missing.toml"]).await.exits(4).says(&["missing.toml"]);
}

/// A configuration whose server leaves a trace as soon as it is started.
fn telltale(home: &Home) -> Configuration {
    let started = home.path().join("started");
    let program = Program::at("/usr/bin/touch").with_args([started.to_str().unwrap()]);
    Configuration::new("").stdio("telltale", &program, "")
}

#[track_caller]
fn assert_nothing_was_started(home: &Home, outcome: &Outcome) {
    assert!(!home.path().join("started").exists(), "a server was started: {outcome:?}");
    assert_eq!(outcome.stdout, "");
}

#[tokio::test]
async fn a_taken_port_is_named_before_anything_is_started() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let home = Home::new();
    home.write("mcp-gateway.toml", telltale(&home).text());
    let outcome = home.run(&["serve", "--listen", &address]).await.exits(1);
    let outcome = outcome.says(&[&format!("cannot listen on {address}"), "--listen"]);
    assert_nothing_was_started(&home, &outcome);
}

#[tokio::test]
async fn an_address_for_others_needs_keys() {
    let home = Home::new();
    home.write("mcp-gateway.toml", telltale(&home).text());
    let outcome = home.run(&["serve", "--listen", "0.0.0.0:0"]).await.exits(4).says(&["gateway.api_keys"]);
    assert_nothing_was_started(&home, &outcome);

    let open = Configuration::new("[gateway]\nlisten = \"0.0.0.0:0\"");
    home.write("open.toml", open.text());
    let outcome = home.run(&["serve", "--config", "open.toml"]).await.exits(4);
    outcome.says(&["open.toml:2:10: ", "api_keys"]);
}

/// The process does not wait for servers that are slow to start, and not for their end either.
#[tokio::test]
async fn servers_that_say_nothing_delay_neither_start_nor_end() {
    let silent = Program::at("/bin/sleep").with_args(["1000"]);
    let configuration = Configuration::new("[policy]\nprocess_stop_timeout = 200")
        .stdio("silent", &silent, "priority = 90")
        .stdio("there", &demo(&[]), "");
    let gateway = Gateway::configured(&configuration).await;
    gateway.until("there", "connected", |server| server.initialized).await;
    let only = json!({ "tool_name": "add", "arguments": {"a": 1, "b": 2}, "preferred_servers": ["there"] });
    assert_eq!(gateway.invoke(only).await.unwrap().server, "there");
    gateway.stop_within(Duration::from_secs(5)).await;
}
