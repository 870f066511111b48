//! What the README shows first: `serve` without a configuration.

use mcp_api_types::{ConnectionState, ErrorCategory, Server, ServerList, Stage, Status};
use rustix::process::Signal;
use serde_json::json;

use super::home::Home;
use super::process::Process;
use super::running::{Gateway, answer, text, trace};
use crate::wait;

/// The process behind `demo-1` or whichever server answers.
async fn whoami(gateway: &Gateway) -> (String, Process) {
    let result = gateway.invoke(json!({ "tool_name": "whoami" })).await.unwrap();
    let who: serde_json::Value = serde_json::from_str(&text(&result)).unwrap();
    let pid = who["pid"].as_u64().unwrap().try_into().unwrap();
    assert_eq!(who["server"], json!(result.server));
    (result.server, Process::of(pid))
}

#[tokio::test]
async fn two_demo_servers_stand_in_for_each_other() {
    let gateway = Gateway::serve(Home::new(), &[]).await;
    gateway.all_healthy().await;
    let status = gateway.cli(&["status"]).await.exits(0);
    status.prints(&[
        "· ready ·",
        "· 2 servers, 2 healthy",
        "demo-1 healthy connected modern 2026-07-28 15",
        "demo-2 healthy connected modern 2026-07-28 15",
    ]);

    let called = gateway.cli(&["call", "add", "a=40", "b=2"]).await.exits(0).says(&["answered by demo-1"]);
    assert_eq!(called.stdout, "{\"sum\":42}\n");
    let result = gateway.invoke(json!({ "tool_name": "add", "arguments": {"a": 40, "b": 2} })).await.unwrap();
    assert_eq!((result.server.as_str(), result.method.as_str()), ("demo-1", "tools/call"));
    assert!(result.result.get().contains(r#""structuredContent":{"sum":42}"#), "{result:?}");
    assert!(result.raw_response.get().contains(result.result.get()), "{result:?}");
    let once = [("demo-1", Stage::Initialize, None), ("demo-1", Stage::Invoke, None)];
    assert_eq!(trace(&result.attempts), once);

    let (server, first) = whoami(&gateway).await;
    assert_eq!(server, "demo-1");
    assert!(gateway.processes().contains(&first), "a process of its own, started by the gateway");
    first.signal(Signal::KILL);
    Process::all_gone(&[first]).await;
    let called = gateway.cli(&["call", "add", "a=40", "b=2"]).await.exits(0).says(&[
        "1 demo-1 initialize ok",
        "2 demo-1 invoke transport_error",
        "3 demo-2 initialize ok",
        "4 demo-2 invoke ok",
        "answered by demo-2",
    ]);
    assert_eq!(called.stdout, "{\"sum\":42}\n");
    let id = called.stderr.rsplit_once("request ").unwrap().1.trim();
    gateway.cli(&["why", id]).await.exits(0).prints(&[
        "add was answered by demo-2, after demo-1 failed",
        "demo-1 ready",
        "demo-1 failed:",
        "transport_error after",
        "demo-1 was healthy, is now degraded",
        "demo-2 answered",
    ]);
    let directed = gateway.cli(&["call", "add", "a=1", "b=2", "--on", "demo-2"]).await.exits(0);
    assert_eq!(directed.says(&["answered by demo-2"]).stdout, "{\"sum\":3}\n");
    gateway.cli(&["call", "nope", "--on", "demo-2"]).await.exits(1).says(&["offers no tool named", "add, "]);

    let first = gateway.server("demo-1").await;
    assert_eq!(
        (first.status, first.last_error_category),
        (Status::Degraded, Some(ErrorCategory::TransportError))
    );
    assert!(first.last_error.is_some() && first.next_retry_at.is_some(), "{first:?}");
    gateway.cli(&["status"]).await.exits(0).prints(&["1 healthy, 1 degraded", "demo-1 degraded error"]);
    gateway.cli(&["events", "--server", "demo-1"]).await.exits(0).prints(&["healthy → degraded"]);
    let steps = gateway.cli(&["invocations", "--server", "demo-1"]).await.exits(0);
    steps.prints(&["tools/call invoke_failure"]);

    let (server, second) = whoami(&gateway).await;
    assert_eq!(server, "demo-2");
    second.signal(Signal::KILL);
    let pid = second.pid().to_string();
    let is_back = |server: &Server| {
        let connected = server.connection_state == ConnectionState::Connected;
        // Between the death of the process and the record of it there is a moment without a process.
        let another = server.details.get("pid").is_some_and(|now| *now != pid);
        connected && server.status == Status::Healthy && another
    };
    gateway.until("demo-2", "back in another process", is_back).await;
    let (server, third) = whoami(&gateway).await;
    assert_eq!(server, "demo-2");
    assert_ne!(second, third);
    gateway.stop().await;
}

/// The calls of `docs/api.md` that the other tests leave out.
#[tokio::test]
async fn what_it_knows_can_be_asked_over_rest() {
    use reqwest::{Method, StatusCode};
    let gateway = Gateway::serve(Home::new(), &[]).await;
    let names = |list: &ServerList| list.items.iter().map(|server| server.name.clone()).collect::<Vec<_>>();
    let list: ServerList = gateway.get("/servers").await;
    assert_eq!(names(&list), ["demo-1", "demo-2"]);
    gateway.all_healthy().await;
    for (method, path, expected) in [
        (Method::GET, "/api/v1/health", StatusCode::OK),
        (Method::GET, "/healthz", StatusCode::OK),
        (Method::GET, "/api/v1/mcp/servers/demo-1", StatusCode::OK),
        (Method::GET, "/api/v1/mcp/servers/nobody", StatusCode::NOT_FOUND),
        (Method::POST, "/api/v1/mcp/servers/demo-2/health-check", StatusCode::OK),
        (Method::POST, "/api/v1/mcp/servers/demo-2/initialize?force=true", StatusCode::OK),
        (Method::POST, "/api/v1/mcp/servers/connect", StatusCode::OK),
        (Method::GET, "/api/v1/mcp/registry-events?server=demo-2", StatusCode::OK),
        (Method::GET, "/api/v1/mcp/events?limit=x", StatusCode::UNPROCESSABLE_ENTITY),
        (Method::GET, "/api/v1/mcp/server-tools", StatusCode::OK),
        (Method::POST, "/api/v1/mcp/servers/refresh-tools", StatusCode::OK),
        (Method::GET, "/api/v1/mcp/adapter-sessions", StatusCode::OK),
        (Method::POST, "/api/v1/mcp/servers/demo-1/adapter/refresh", StatusCode::OK),
        (Method::POST, "/api/v1/mcp/invoke/tool", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (Method::DELETE, "/api/v1/mcp/servers/demo-2", StatusCode::NO_CONTENT),
        (Method::DELETE, "/api/v1/mcp/servers/demo-2", StatusCode::NOT_FOUND),
        (Method::GET, "/nowhere", StatusCode::NOT_FOUND),
    ] {
        let (status, body) = answer(gateway.request(method.clone(), path)).await;
        assert_eq!(status, expected, "{method} {path}: {body}");
    }
    let list: ServerList = gateway.get("/servers").await;
    assert_eq!(names(&list), ["demo-1"]);
    let children =
        async || (Process::started_by(gateway.processes().pop().unwrap().pid()).len() == 1).then_some(());
    wait::until("the process of the removed server to end", children).await;
    gateway.stop().await;
}
