//! What an operator sees of a server whose process ends by itself.

use mcp_api_types::{ConnectionState, Status};
use rustix::process::Signal;

use super::binary;
use super::configuration::Configuration;
use super::home::Home;
use super::process::Process;
use super::running::Gateway;
use crate::peers::Program;

/// A shell script as a server.
fn script(text: &str) -> Program {
    Program::at("sh").with_args(["-c", text])
}

#[tokio::test]
async fn r23_a_crashed_server_tells_its_last_words_and_when_it_is_started_again() {
    let home = Home::new();
    let program = home.link("server", binary::path());
    let text = format!("echo one >&2; echo two >&2; echo noise; exec {} demo-server", program.display());
    let configuration = Configuration::left_alone().stdio("crashing", &script(&text), "");
    let gateway = Gateway::configured_at(home, &configuration).await;
    let server = gateway.all_healthy().await.remove(0);
    assert_eq!((server.restarts, server.next_reconnect_at.is_some()), (0, false));
    let detail = |key: &str| server.details.get(key).map(String::as_str);
    assert_eq!((detail("stderr"), detail("stdout_noise")), (Some("one\ntwo"), Some("1")));
    let pid = detail("pid").unwrap().to_owned();
    assert!(server.stats.is_some());

    // From now on it cannot be started.
    std::fs::remove_file(&program).unwrap();
    Process::of(pid.parse().unwrap()).signal(Signal::KILL);
    let waits = |server: &mcp_api_types::Server| {
        server.restarts >= 2 && server.next_reconnect_at.is_some() && server.status != Status::Healthy
    };
    let down = gateway.until("crashing", "waiting for its next start", waits).await;
    assert_eq!(down.connection_state, ConnectionState::Error);
    assert!(down.stats.is_none() && !down.details.contains_key("pid"), "{:?}", down.details);
    let stderr = &down.details["stderr"];
    assert!(stderr.starts_with("one\ntwo\n") && stderr.contains("not found"), "{stderr}");
    gateway.cli(&["status"]).await.exits(0).prints(&["crashing said last:", "not found", "RESTARTS"]);
    gateway.cli(&["servers", "get", "crashing"]).await.exits(0).prints(&[
        "restarts",
        "stderr one",
        "reconnects in",
    ]);
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_ended_unnoticed_tells_why() {
    let text = format!("{} demo-server; echo bye >&2; exit 7", binary::path().display());
    let configuration = Configuration::left_alone().stdio("wrapped", &script(&text), "");
    let gateway = Gateway::configured(&configuration).await;
    let server = gateway.all_healthy().await.remove(0);
    let wrapped = Process::started_by(server.details["pid"].parse().unwrap());
    assert_eq!(wrapped.len(), 1, "{wrapped:?}");
    wrapped[0].signal(Signal::KILL);
    // Nobody called it, and it is back half a second later.
    let ended = |server: &mcp_api_types::Server| server.details.contains_key("ended");
    let server = gateway.until("wrapped", "over", ended).await;
    assert_eq!((server.status, server.connection_state), (Status::Healthy, ConnectionState::Error));
    assert!(server.details["ended"].contains("exit status 7"), "{:?}", server.details);
    assert!(server.details["stderr"].contains("bye") && server.details.contains_key("last_pid"));
    let back = gateway.until("wrapped", "back", |server| server.initialized).await;
    assert_eq!((back.restarts, back.details.contains_key("ended")), (1, false));
    gateway.stop().await;
}
