//! A server that takes calls and does not answer.

use mcp_api_types::{Delivery, ErrorCategory, Stage, Status};
use rustix::process::Signal;
use serde_json::json;

use super::configuration::{Configuration, demo, demo_over_http};
use super::process::Process;
use super::running::{Gateway, text, trace};

/// Whether the server's own limit or the caller's is the shorter one: the call moves on, and the server is found out.
#[tokio::test]
async fn a_call_moves_on_from_a_server_that_hangs() {
    let http = demo_over_http(&[]).await;
    let policy = "[policy]\ndegraded_health_interval = 200\nping_timeout = 500\nprobe_timeout = 500";
    let configuration = Configuration::new(policy).http("http", &http.url(), "timeout_ms = 500").stdio(
        "stdio",
        &demo(&[]),
        "",
    );
    let gateway = Gateway::configured(&configuration).await;
    let servers = gateway.all_healthy().await;
    let stdio = servers[1].details["pid"].parse().unwrap();
    for (first, second, pid, limit) in
        [("http", "stdio", http.pid(), None), ("stdio", "http", stdio, Some(500))]
    {
        let process = Process::of(pid);
        process.stop().await;
        let call = json!({
            "tool_name": "echo", "arguments": {"message": "still here"},
            "preferred_servers": [first, second], "timeout_ms": limit,
        });
        let result = gateway.invoke(call).await.unwrap();
        assert_eq!((result.server.as_str(), text(&result).as_str()), (second, "still here"));
        let expected = [
            (first, Stage::Initialize, None),
            (first, Stage::Invoke, Some(ErrorCategory::NetworkTimeout)),
            (second, Stage::Initialize, None),
            (second, Stage::Invoke, None),
        ];
        assert_eq!(trace(&result.attempts), expected);
        let hung = &result.attempts[1];
        assert_eq!(hung.delivery, Some(Delivery::Unknown), "{hung:?}");
        let took = hung.duration_ms.unwrap();
        assert!((490.0..3000.0).contains(&took), "{hung:?}");
        gateway.until(first, "found out", |server| server.status != Status::Healthy).await;

        process.signal(Signal::CONT);
        gateway.until(first, "healthy again", |server| server.status == Status::Healthy).await;
        let call = json!({ "tool_name": "whoami", "preferred_servers": [first] });
        assert_eq!(gateway.invoke(call).await.unwrap().server, first);
    }
    gateway.stop().await;
}

/// Whoever says that a call must not run twice gets an error in place of a second try.
#[tokio::test]
async fn a_call_that_may_have_been_executed_is_not_repeated_against_the_callers_will() {
    let http = demo_over_http(&[]).await;
    let configuration =
        Configuration::left_alone().http("first", &http.url(), "").stdio("second", &demo(&[]), "");
    let gateway = Gateway::configured(&configuration).await;
    gateway.all_healthy().await;
    let process = Process::of(http.pid());
    process.stop().await;
    let call = json!({
        "tool_name": "echo", "arguments": {"message": "once"}, "preferred_servers": ["first"],
        "timeout_ms": 200, "idempotent": false,
    });
    let failure = gateway.invoke(call).await.unwrap_err().detail;
    assert_eq!(failure.code, mcp_api_types::FailureCode::AmbiguousNotRetried);
    let expected =
        [("first", Stage::Initialize, None), ("first", Stage::Invoke, Some(ErrorCategory::NetworkTimeout))];
    assert_eq!(trace(&failure.attempts), expected);
    process.signal(Signal::CONT);
    gateway.stop().await;
}
