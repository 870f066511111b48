//! Tasks of servers of 2025-11-25 for stateless clients that know the extension.

use mcp_bridge::Scope;
use mcp_protocol::Method;
use mcp_transport::TransportKind;
use serde_json::{Value, json};

use crate::net::Server;
use crate::support::*;

const RELATED: &str = "io.modelcontextprotocol/related-task";
const TASKS: &str = "io.modelcontextprotocol/tasks";

fn server(kind: TransportKind) -> Server {
    let tasks = json!({"cancel": {}, "requests": {"tools": {"call": {}}}});
    let tool = |name: &str, support: &str| json!({"name": name, "inputSchema": {"type": "object"}, "execution": {"taskSupport": support}});
    Server::scripted("a", kind, V2025_11_25)
        .capable(json!({"tools": {}, "tasks": tasks}))
        .list("tools", &[tool("t", "optional"), tool("r", "required"), tool("f", "forbidden")])
}

fn theirs(status: &str) -> Value {
    json!({
        "taskId": "theirs", "status": status, "statusMessage": "Hm.", "createdAt": "2026-01-01T00:00:00Z",
        "lastUpdatedAt": "2026-01-01T00:00:00Z", "ttl": 60000, "pollInterval": 50, "x": 1.0,
    })
}

fn ours(id: &str, status: &str, kind: &str, more: Value) -> Value {
    let mut ours = json!({
        "taskId": id, "status": status, "statusMessage": "Hm.", "createdAt": "2026-01-01T00:00:00Z",
        "lastUpdatedAt": "2026-01-01T00:00:00Z", "ttlMs": 60000, "pollIntervalMs": 50, "x": 1.0, "resultType": kind,
        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "gateway", "version": "0"}},
    });
    ours.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ours
}

fn done() -> Value {
    json!({
        "resultType": "complete",
        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "gateway", "version": "0"}},
    })
}

async fn create(client: &Modern, a: &Server, tool: &str) -> String {
    let call = client.tool(tool);
    let asked = a.next(Method::ToolsCall).await;
    assert_eq!(asked.params()["task"], json!({"ttl": 900_000}));
    asked.answer(json!({"task": theirs("working")}));
    let created = call.ok().await;
    let id = created["taskId"].as_str().unwrap().to_owned();
    assert!(id.len() > 40, "{id}");
    assert_eq!(created, ours(&id, "working", "task", json!({})));
    id
}

#[tokio::test(start_paused = true)]
async fn a_task_of_a_session_is_told_in_the_words_of_the_extension() {
    for kind in KINDS {
        let a = server(kind);
        let world = World::new(&[&a]);
        for (scope, prefix) in [(Scope::All, "a__"), (one("a"), "")] {
            let client = world.modern_at(&scope).able(json!({"extensions": {TASKS: {}}}));
            // A session of its own would tell the server nothing.
            world.modern_at(&scope).call(Method::ToolsList, json!({})).await;
            let offered = client.call(Method::ServerDiscover, json!({})).await;
            assert_eq!(a.wires().len(), 1, "{scope:?}");
            assert_eq!(offered["capabilities"]["extensions"], json!({TASKS: {}}), "{scope:?}");
            assert_eq!(offered["capabilities"].get("tasks"), None, "{scope:?}");
            create(&client, &a, &format!("{prefix}r")).await;
            let id = create(&client, &a, &format!("{prefix}t")).await;
            let get = || client.start(Method::TasksGet, json!({"taskId": id}));

            let getting = get();
            let asked = a.next(Method::TasksGet).await;
            assert_eq!(asked.params()["taskId"], "theirs");
            asked.answer(theirs("working"));
            assert_eq!(getting.ok().await, ours(&id, "working", "complete", json!({})));
            // A tool that has failed has been run; a call that has failed has not.
            let related = json!({RELATED: {"taskId": "theirs"}, "y": 1});
            for (result, told) in [
                (Ok(json!({"content": [], "isError": true, "_meta": related})), "completed"),
                (Err((7, "no")), "failed"),
            ] {
                let getting = get();
                a.next(Method::TasksGet).await.answer(theirs("failed"));
                let asked = a.next(Method::TasksResult).await;
                assert_eq!(asked.params()["taskId"], "theirs");
                let more = match result {
                    Ok(result) => {
                        asked.answer(result);
                        json!({"result": {"content": [], "isError": true, "_meta": {"y": 1}}})
                    }
                    Err((code, message)) => {
                        asked.fail(code, message, None);
                        json!({"error": {"code": 7, "message": "no"}})
                    }
                };
                assert_eq!(getting.ok().await, ours(&id, told, "complete", more), "{kind:?} {scope:?}");
            }
            for refused in [false, true] {
                let cancelling = client.start(Method::TasksCancel, json!({"taskId": id}));
                let asked = a.next(Method::TasksCancel).await;
                assert_eq!(asked.params()["taskId"], "theirs");
                if refused {
                    asked.fail(-32602, "it has ended", None)
                } else {
                    asked.answer(theirs("cancelled"))
                }
                assert_eq!(cancelling.ok().await, done());
            }
            let getting = get();
            a.next(Method::TasksGet).await.fail(-32602, "it has expired", None);
            assert_eq!(getting.err().await["code"], -32602);
            // A tool that is no task is called as it is, and one that may be one may be done at once.
            let call = client.tool(&format!("{prefix}f"));
            let asked = a.next(Method::ToolsCall).await;
            assert_eq!(asked.params().get("task"), None);
            asked.answer(text("done"));
            assert_eq!(said(&call.ok().await), "done");
            let call = client.tool(&format!("{prefix}t"));
            a.next(Method::ToolsCall).await.answer(text("at once"));
            assert_eq!(said(&call.ok().await), "at once");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_task_of_a_session_asks_is_answered_by_an_update() {
    for kind in KINDS {
        let a = server(kind);
        let world = World::new(&[&a]);
        let able = json!({"elicitation": {"form": {}}, "extensions": {TASKS: {}}});
        let client = world.modern().able(able);
        let id = create(&client, &a, "a__t").await;
        let get = async || {
            let getting = client.start(Method::TasksGet, json!({"taskId": id}));
            a.next(Method::TasksGet).await.answer(theirs("input_required"));
            getting
        };
        // Until something is asked there is nothing to answer.
        let getting = get().await;
        let waiting = a.next(Method::TasksResult).await;
        assert_eq!(getting.ok().await["status"], "working");
        for (number, words) in [(1, "Sure?"), (2, "Really?")] {
            let mut question = form(words);
            question["_meta"] = json!({RELATED: {"taskId": "theirs"}});
            waiting.ask(number, "elicitation/create", question);
        }
        settle().await;
        let told = get().await.ok().await;
        assert_eq!(told["status"], "input_required", "{kind:?}");
        let asked = &told["inputRequests"];
        assert_eq!(asked["u1"]["params"]["message"], "a: Sure?", "{told}");
        assert_eq!(asked["u2"]["params"]["message"], "a: Really?", "{told}");
        let update = |responses: Value| {
            client.start(Method::TasksUpdate, json!({"taskId": id, "inputResponses": responses}))
        };
        let answer = |words: &str| json!({"action": "accept", "content": {"answer": words}});
        assert_eq!(update(json!({"u2": 7})).err().await["code"], -32602);
        assert_eq!(update(json!({"u1": answer("yes"), "zz": {}})).ok().await, done());
        assert_eq!(waiting.wire.answer_to(1).await.unwrap()["content"]["answer"], "yes");
        let told = get().await.ok().await;
        assert_eq!(told["inputRequests"].as_object().unwrap().keys().collect::<Vec<_>>(), ["u2"]);
        // Somebody else's answers are nobody's.
        let other = world.modern().able(client.capabilities.clone()).named("somebody");
        let stolen = json!({"taskId": id, "inputResponses": {"u2": answer("no")}});
        assert_eq!(other.refused(Method::TasksUpdate, stolen).await["code"], -32602);
        update(json!({"u2": answer("really")})).ok().await;
        assert_eq!(waiting.wire.answer_to(2).await.unwrap()["content"]["answer"], "really");
        assert_eq!(a.seen(&Method::TasksResult).len(), 1, "one waits for all questions");
        waiting.answer(text("done"));
        settle().await;
        // Without questions an update is a good one, too.
        assert_eq!(update(json!({"u1": answer("again")})).ok().await, done());
    }
}
