//! How a gateway ends, in order or not.

use std::time::Duration;

use mcp_api_types::{FailureCode, InvocationEvent, ItemList, Phase};
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::configuration::{Configuration, demo, demo_over_http};
use super::home::Home;
use super::process::Process;
use super::running::{Gateway, text};
use crate::peers::Program;
use crate::wait;

fn slow(ms: u64) -> Value {
    json!({ "tool_name": "slow", "arguments": {"ms": ms, "steps": 1} })
}

/// Waits until the only call there is has been sent to a server.
async fn call_is_under_way(gateway: &Gateway) {
    wait::until("the call to be sent", async || {
        let steps: ItemList<InvocationEvent> = gateway.get("/invocation-events?limit=1").await;
        steps.items.first().filter(|step| step.phase == Phase::InvokeStart).map(drop)
    })
    .await;
}

#[tokio::test]
async fn calls_under_way_are_answered_after_the_signal() {
    let http = demo_over_http(&[]).await;
    for signal in [Signal::TERM, Signal::INT] {
        let configuration =
            Configuration::new("").stdio("stdio", &demo(&[]), "").http("http", &http.url(), "");
        for server in ["stdio", "http"] {
            let mut gateway = Gateway::configured(&configuration).await;
            gateway.all_healthy().await;
            let processes = gateway.processes();
            let mut call = slow(700);
            call["preferred_servers"] = json!([server]);
            let (result, refused) = tokio::join!(gateway.invoke(call), async {
                call_is_under_way(&gateway).await;
                gateway.signal(signal);
                gateway.logged("shutting down").await;
                gateway.cli(&["call", "add", "a=1", "b=2"]).await
            });
            let result = result.unwrap();
            assert_eq!(
                (result.server.as_str(), text(&result).starts_with("took")),
                (server, true),
                "{result:?}"
            );
            refused.exits(3).says(&["no gateway at"]);
            assert_eq!(gateway.ended().await.code(), Some(0), "{signal:?}");
            assert!(!processes.iter().any(|process| process.is_alive()), "{processes:?}");
        }
    }
}

#[tokio::test]
async fn a_second_signal_does_not_wait_for_calls() {
    let mut gateway = Gateway::configured(&Configuration::new("").stdio("stdio", &demo(&[]), "")).await;
    gateway.all_healthy().await;
    let processes = gateway.processes();
    let request = gateway.request(Method::POST, "/api/v1/mcp/invoke/tool");
    let request = request.header("Content-Type", "application/json").body(slow(60_000).to_string());
    let call = tokio::spawn(request.send());
    call_is_under_way(&gateway).await;
    gateway.signal(Signal::TERM);
    gateway.logged("shutting down").await;
    assert!(processes.iter().all(|process| process.is_alive()), "the first signal lets the call go on");
    gateway.signal(Signal::TERM);
    let status = timeout(Duration::from_secs(5), gateway.ended()).await.expect("the end comes at once");
    assert_eq!(status.code(), Some(1), "a call was cut off");
    assert!(!processes.iter().any(|process| process.is_alive()), "{processes:?}");
    // The caller learns of it, by an answer or by the end of the connection.
    let cut = timeout(wait::PATIENCE, call).await.unwrap().unwrap();
    assert!(cut.is_err() || !cut.as_ref().unwrap().status().is_success(), "{cut:?}");
}

#[tokio::test]
async fn a_call_that_is_cut_is_answered() {
    let configuration =
        Configuration::new("[policy]\nshutdown_drain_timeout = 300").stdio("stdio", &demo(&[]), "");
    let mut gateway = Gateway::configured(&configuration).await;
    gateway.all_healthy().await;
    let (result, ()) = tokio::join!(gateway.invoke(slow(60_000)), async {
        call_is_under_way(&gateway).await;
        gateway.signal(Signal::TERM);
    });
    let failure = result.unwrap_err().detail;
    assert_eq!(failure.code, FailureCode::ShuttingDown, "{failure:?}");
    let ended = gateway.logged("ended calls_cut").await;
    assert!(ended.contains("calls_cut=1 requests_cut=0"), "{ended}");
    assert_eq!(gateway.ended().await.code(), Some(1), "a call was cut off");
}

#[tokio::test]
async fn servers_do_not_outlive_a_gateway_that_is_killed() {
    let demo_servers = Gateway::serve(Home::new(), &[]).await;
    let configuration = Configuration::new("").stdio("demo", &demo(&[]), "").stdio(
        "rmcp",
        &Program::rmcp().with_args(["stdio"]),
        "",
    );
    for mut gateway in [demo_servers, Gateway::configured(&configuration).await] {
        gateway.all_healthy().await;
        let processes = gateway.processes();
        assert_eq!(processes.len(), 4, "itself, two servers and their watchdog: {processes:?}");
        gateway.signal(Signal::KILL);
        gateway.ended().await;
        timeout(Duration::from_secs(10), Process::all_gone(&processes)).await.unwrap();
    }
}

/// A stopped process reacts to nothing but SIGKILL.
#[tokio::test]
async fn j12_a_server_that_hangs_does_not_outlive_the_gateway_and_is_named() {
    let configuration =
        Configuration::new("[policy]\nprocess_stop_timeout = 200").stdio("demo", &demo(&[]), "");
    let mut gateway = Gateway::configured(&configuration).await;
    let servers: Vec<_> = gateway.all_healthy().await;
    let pid = servers[0].details["pid"].parse().unwrap();
    Process::of(pid).stop().await;
    let processes = gateway.processes();
    gateway.signal(Signal::TERM);
    let ended = gateway.logged("ended calls_cut").await;
    assert!(ended.contains(r#"unclean=["demo"]"#), "{ended}");
    gateway.logged("had to be killed").await;
    let status = timeout(Duration::from_secs(5), gateway.ended()).await.expect("the end comes soon");
    assert_eq!(status.code(), Some(0), "no call was cut");
    Process::all_gone(&processes).await;
}
