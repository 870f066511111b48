//! Tasks of 2025-11-25 between clients and servers that both have them.

use mcp_bridge::Scope;
use mcp_protocol::Method;
use mcp_transport::TransportKind;
use serde_json::{Value, json};

use crate::net::Server;
use crate::support::*;

const RELATED: &str = "io.modelcontextprotocol/related-task";

fn server(name: &str, kind: TransportKind) -> Server {
    let tasks = json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}});
    let tool =
        json!({"name": "t", "inputSchema": {"type": "object"}, "execution": {"taskSupport": "optional"}});
    Server::scripted(name, kind, V2025_11_25)
        .capable(json!({"tools": {"listChanged": true}, "tasks": tasks}))
        .list("tools", &[tool])
}

fn task(id: &str, status: &str) -> Value {
    json!({
        "taskId": id, "status": status, "createdAt": "2026-01-01T00:00:00Z",
        "lastUpdatedAt": "2026-01-01T00:00:00Z", "ttl": 60000.0, "pollInterval": 5,
    })
}

/// Calls a tool as a task: the id the client gets.
async fn create(client: &Classic, server: &Server, tool: &str, id: &str) -> String {
    let params = json!({"name": tool, "arguments": {}, "task": {"ttl": 60000}});
    let call = client.start(Method::ToolsCall, params);
    let asked = server.next(Method::ToolsCall).await;
    assert_eq!(asked.params()["task"], json!({"ttl": 60000}));
    let meta = json!({RELATED: {"taskId": id}, "io.modelcontextprotocol/model-immediate-response": "Wait."});
    asked.answer(json!({"task": task(id, "working"), "_meta": meta}));
    let created = call.ok().await;
    let ours = created["task"]["taskId"].as_str().unwrap().to_owned();
    assert!(ours.len() > 40 && !ours.contains(id), "{ours}");
    let meta =
        json!({RELATED: {"taskId": ours}, "io.modelcontextprotocol/model-immediate-response": "Wait."});
    assert_eq!(created, json!({"task": task(&ours, "working"), "_meta": meta}));
    ours
}

#[tokio::test(start_paused = true)]
async fn tasks_are_offered_to_who_knows_them() {
    let a = server("a", TransportKind::Http);
    let plain = Server::scripted("plain", TransportKind::Http, V2025_11_25).tools(&["t"]);
    let world = World::new(&[&a, &plain]);
    let offer = json!({"cancel": {}, "requests": {"tools": {"call": {}}}});
    for (scope, version, offers) in [
        (Scope::All, V2025_11_25, true),
        (one("a"), V2025_11_25, true),
        (one("plain"), V2025_11_25, false),
        (one("a"), V2025_06_18, false),
    ] {
        let client = world.classic_at(&scope, version, json!({})).await;
        let offered = client.opened["capabilities"].get("tasks");
        assert_eq!(offered, offers.then_some(&offer), "{scope:?} {version}");
        let tools = client.call(Method::ToolsList, json!({})).await;
        let shows = tools["tools"][0].get("execution").is_some();
        assert_eq!(shows, offers, "{scope:?} {version}: {tools}");
        for method in [Method::TasksGet, Method::TasksResult, Method::TasksCancel] {
            let refusal = client.refused(method, json!({"taskId": "x"})).await;
            assert_eq!(refusal["code"], if offers { -32602 } else { -32601 }, "{scope:?} {version}");
        }
        assert_eq!(client.refused(Method::TasksList, json!({})).await["code"], -32601);
    }
    // In other revisions a wish for a task is just a member without a meaning, but the server would take it for one.
    let params = |name: &str| json!({"name": name, "arguments": {"task": {}}, "task": {}});
    let old = world.classic_at(&one("a"), V2025_06_18, json!({})).await;
    let modern = world.modern_at(&one("a"));
    for call in [old.start(Method::ToolsCall, params("t")), modern.start(Method::ToolsCall, params("t"))] {
        let asked = a.next(Method::ToolsCall).await;
        let sent = asked.params();
        assert_eq!((&sent["arguments"], sent.get("task")), (&json!({"task": {}}), None));
        asked.answer(text("done"));
        assert_eq!(said(&call.ok().await), "done");
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_is_followed_to_its_result() {
    for kind in KINDS {
        let (a, b) = (server("a", kind), server("b", kind));
        let world = World::new(&[&a, &b]);
        for (scope, tool) in [(Scope::All, "b__t"), (one("b"), "t")] {
            let client = world.classic_at(&scope, V2025_11_25, json!({})).await;
            let other = world.classic_at(&scope, V2025_11_25, json!({})).await;
            let id = create(&client, &b, tool, "theirs").await;
            for (method, status) in [(Method::TasksGet, "working"), (Method::TasksCancel, "cancelled")] {
                let asking = client.start(method.clone(), json!({"taskId": id}));
                let asked = b.next(method.clone()).await;
                assert_eq!(asked.params()["taskId"], "theirs", "{method}");
                asked.answer(task("theirs", status));
                assert_eq!(asking.ok().await, task(&id, status), "{method}");
            }
            // However long it takes.
            let waiting = client.start(Method::TasksResult, json!({"taskId": id}));
            let asked = b.next(Method::TasksResult).await;
            world.pass(std::time::Duration::from_secs(600)).await;
            assert!(!waiting.is_finished());
            let meta = json!({RELATED: {"taskId": "theirs", "x": 1}});
            asked.answer(json!({"content": [], "isError": true, "_meta": meta}));
            let meta = json!({RELATED: {"taskId": id, "x": 1}});
            assert_eq!(waiting.ok().await, json!({"content": [], "isError": true, "_meta": meta}));
            let waiting = client.start(Method::TasksResult, json!({"taskId": id}));
            b.next(Method::TasksResult).await.fail(-32602, "it failed", None);
            assert_eq!(waiting.err().await["code"], -32602);

            // Its changes are told to the client whose it is.
            settle().await;
            let wire = b.seen(&Method::ToolsCall).last().unwrap().wire.clone();
            wire.tell("notifications/tasks/status", task("nobody's", "completed"));
            wire.tell("notifications/tasks/status", task("theirs", "completed"));
            let told = client.probe.hear("notifications/tasks/status", 1).await;
            assert_eq!(told, task(&id, "completed"));
            assert_eq!(other.probe.told_of("notifications/tasks/status"), Vec::<Value>::new());
        }
        assert_eq!(a.seen(&Method::TasksGet).len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_task_asks_is_asked_of_who_waits_for_it() {
    for kind in KINDS {
        let a = server("a", kind);
        let world = World::new(&[&a]);
        let able = || json!({"elicitation": {"form": {}}});
        let first = world.classic(V2025_11_25, able()).await;
        let second = world.classic(V2025_11_25, able()).await;
        let mut waiting = Vec::new();
        for (client, theirs) in [(&first, "one"), (&second, "two")] {
            let id = create(client, &a, "a__t", theirs).await;
            let call = client.start(Method::TasksResult, json!({"taskId": id}));
            let asked = a.next(Method::TasksResult).await;
            waiting.push((call, asked, theirs, id));
        }
        // On a shared channel, the one that was asked for first is not the newest.
        for (number, (call, asked, theirs, id)) in waiting.into_iter().enumerate() {
            let mut question = form("Sure?");
            question["mode"] = "form".into();
            question["_meta"] = json!({RELATED: {"taskId": theirs}});
            asked.ask(number as i64, "elicitation/create", question);
            let put = call.probe.question().await;
            assert_eq!(put.params["_meta"][RELATED], json!({"taskId": id}), "{kind:?}");
            assert_eq!(put.params["message"], "a: Sure?");
            let meta = json!({RELATED: {"taskId": id}});
            put.answer(json!({"action": "accept", "content": {"answer": theirs}, "_meta": meta}));
            let answer = asked.wire.answer_to(number as i64).await.unwrap();
            assert_eq!(answer["content"], json!({"answer": theirs}), "{kind:?}");
            assert_eq!(answer["_meta"][RELATED], json!({"taskId": theirs}), "{kind:?}");
            asked.answer(text(theirs));
            assert_eq!(said(&call.ok().await), theirs);
        }
    }
}
