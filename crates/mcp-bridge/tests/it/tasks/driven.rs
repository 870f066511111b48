//! Tasks of servers that insist on them, for clients that know none.

use mcp_protocol::Method;
use mcp_transport::TransportKind;
use serde_json::{Value, json};

use crate::net::Server;
use crate::support::*;

const RELATED: &str = "io.modelcontextprotocol/related-task";
const TASKS: &str = "io.modelcontextprotocol/tasks";

/// A server of 2025-11-25 whose tool runs as a task only.
fn classic(kind: TransportKind) -> Server {
    let tasks = json!({"cancel": {}, "requests": {"tools": {"call": {}}}});
    let tool =
        json!({"name": "t", "inputSchema": {"type": "object"}, "execution": {"taskSupport": "required"}});
    Server::scripted("a", kind, V2025_11_25)
        .capable(json!({"tools": {}, "tasks": tasks}))
        .list("tools", &[tool])
}

fn task(status: &str) -> Value {
    json!({
        "taskId": "theirs", "status": status, "createdAt": "2026-01-01T00:00:00Z",
        "lastUpdatedAt": "2026-01-01T00:00:00Z", "ttl": 60000,
    })
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_only_runs_as_a_task_is_waited_for() {
    for kind in KINDS {
        let a = classic(kind);
        let world = World::new(&[&a]);
        let able = json!({"elicitation": {}});
        for version in [V2025_06_18, V2026_07_28] {
            let old = world.classic(V2025_06_18, able.clone()).await;
            let modern = world.modern().able(json!({"elicitation": {"form": {}}}));
            let call = if version == V2026_07_28 { modern.tool("a__t") } else { old.tool("a__t") };
            let asked = a.next(Method::ToolsCall).await;
            assert_eq!(asked.params()["task"], json!({"ttl": 900_000}), "{version}");
            asked.answer(json!({"task": task("working")}));
            let waiting = a.next(Method::TasksResult).await;
            assert_eq!(waiting.params()["taskId"], "theirs");
            let mut question = form("Sure?");
            question["_meta"] = json!({RELATED: {"taskId": "theirs"}});
            waiting.ask(3, "elicitation/create", question);
            let answer = json!({"action": "accept", "content": {"answer": "yes"}});
            let call = if version == V2026_07_28 {
                let asked = call.ok().await;
                assert_eq!(asked["inputRequests"]["u1"]["params"]["message"], "a: Sure?");
                modern.retry("a__t", &asked, json!({"u1": answer}))
            } else {
                call.probe.question().await.answer(answer);
                call
            };
            let answered = waiting.wire.answer_to(3).await.unwrap();
            assert_eq!(answered["content"]["answer"], "yes", "{version}");
            let mut result = text("done");
            result["_meta"] = json!({RELATED: {"taskId": "theirs"}, "x": 1});
            waiting.answer(result);
            let result = call.ok().await;
            assert_eq!((said(&result), &result["_meta"]["x"]), ("done", &json!(1)), "{version}");
            assert_eq!(result["_meta"].get(RELATED), None, "{version}");
            drop(old);
        }
        // Whoever leaves has the task taken back; an answer at once is an answer.
        let call = world.modern().tool("a__t");
        a.next(Method::ToolsCall).await.answer(json!({"task": task("working")}));
        a.next(Method::TasksResult).await;
        call.leave().await;
        assert_eq!(a.next(Method::TasksCancel).await.params()["taskId"], "theirs");
        let call = world.modern().tool("a__t");
        a.next(Method::ToolsCall).await.answer(text("at once"));
        assert_eq!(said(&call.ok().await), "at once");
        assert_eq!(a.seen(&Method::TasksCancel).len(), 1, "what has ended is not taken back");
    }
}

/// A stateless server that has tasks.
fn modern() -> Server {
    let capabilities = json!({"tools": {}, "extensions": {TASKS: {}}});
    Server::scripted("a", TransportKind::Http, V2026_07_28).capable(capabilities).tools(&["t"])
}

fn state(status: &str, more: Value) -> Value {
    let mut state = json!({
        "taskId": "theirs", "status": status, "createdAt": "2026-01-01T00:00:00Z", "resultType": "complete",
        "lastUpdatedAt": "2026-01-01T00:00:00Z", "ttlMs": null, "pollIntervalMs": 500,
    });
    state.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    state
}

/// Calls the tool; the server insists on a task and gets one.
async fn insist(a: &Server, call: impl FnOnce() -> Pending) -> Pending {
    let call = call();
    let needed = json!({"requiredCapabilities": {"extensions": {TASKS: {}}}});
    let asked = a.next(Method::ToolsCall).await;
    let declared = |params: Value| params["_meta"]["io.modelcontextprotocol/clientCapabilities"].clone();
    assert_eq!(declared(asked.params()).get("extensions"), None);
    asked.fail(-32021, "tasks only", Some(needed));
    let asked = a.next(Method::ToolsCall).await;
    assert_eq!(declared(asked.params())["extensions"], json!({TASKS: {}}));
    asked.answer(state("working", json!({"resultType": "task"})));
    call
}

#[tokio::test(start_paused = true)]
async fn a_stateless_server_that_insists_on_a_task_is_followed() {
    for version in [V2025_11_25, V2025_03_26] {
        let a = modern();
        let world = World::new(&[&a]);
        let client = world.classic(version, json!({"roots": {}, "elicitation": {"form": {}}})).await;
        let call = insist(&a, || client.tool("a__t")).await;
        let (asks, many) = (
            json!({"k": {"method": "roots/list"}}),
            json!({"inputRequests": {"k": {"method": "roots/list"}, "l": {"method": "roots/list"}}}),
        );
        a.next(Method::TasksGet).await.answer(state("working", json!({})));
        a.next(Method::TasksGet).await.answer(state("input_required", json!({"inputRequests": asks})));
        call.probe.question().await.answer(json!({"roots": []}));
        let told = a.next(Method::TasksUpdate).await;
        assert_eq!(told.params()["inputResponses"], json!({"k": {"roots": []}}), "{version}");
        told.answer(json!({"resultType": "complete"}));
        // What was answered is not asked again.
        a.next(Method::TasksGet).await.answer(state("input_required", many));
        call.probe.question().await.answer(json!({"roots": [{"uri": "file:///b"}]}));
        let told = a.next(Method::TasksUpdate).await;
        assert_eq!(told.params()["inputResponses"], json!({"l": {"roots": [{"uri": "file:///b"}]}}));
        told.answer(json!({"resultType": "complete"}));
        let result = json!({"content": [{"type": "text", "text": "done"}], "isError": true});
        a.next(Method::TasksGet).await.answer(state("completed", json!({"result": result})));
        assert_eq!(call.ok().await, result, "{version}");
        // Some servers say of the state of a task what they said of the task (wire reference §3.10).
        let call = insist(&a, || client.tool("a__t")).await;
        let again = json!({"resultType": "task", "result": result});
        a.next(Method::TasksGet).await.answer(state("completed", again));
        assert_eq!(call.ok().await, result, "{version}");

        for (status, more, code) in [
            ("failed", json!({"error": {"code": 7, "message": "no"}}), 7),
            ("cancelled", json!({}), -32603),
            (
                "input_required",
                json!({"inputRequests": {"k": {"method": "sampling/createMessage", "params": {}}}}),
                -32603,
            ),
        ] {
            let call = insist(&a, || client.tool("a__t")).await;
            a.next(Method::TasksGet).await.answer(state(status, more));
            assert_eq!(call.err().await["code"], code, "{status}");
        }
        let call = insist(&a, || client.tool("a__t")).await;
        a.next(Method::TasksGet).await;
        call.leave().await;
        assert_eq!(a.next(Method::TasksCancel).await.params()["taskId"], "theirs");
    }
}
