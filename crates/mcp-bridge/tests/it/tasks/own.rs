//! Tasks of 2025-11-25 at stateless servers that know the extension.

use std::time::Duration;

use mcp_bridge::Scope;
use mcp_protocol::{Method, ProtocolVersion};
use mcp_server::{Principal, TransportShape};
use mcp_transport::TransportKind;
use serde_json::{Value, json};

use crate::net::{Asked, Server};
use crate::support::*;

const RELATED: &str = "io.modelcontextprotocol/related-task";
const TASKS: &str = "io.modelcontextprotocol/tasks";
const STATUS: &str = "notifications/tasks/status";

fn server(name: &str, kind: TransportKind) -> Server {
    let capabilities = json!({"tools": {}, "extensions": {TASKS: {}}});
    Server::scripted(name, kind, V2026_07_28).capable(capabilities).tools(&["t"])
}

/// A task as its server tells it.
fn theirs(status: &str, more: Value) -> Value {
    let mut state = json!({
        "taskId": "theirs", "status": status, "createdAt": "2026-01-01T00:00:00Z", "resultType": "complete",
        "lastUpdatedAt": "2026-01-01T00:00:00Z", "ttlMs": null, "pollIntervalMs": 5000,
    });
    state.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    state
}

fn created() -> Value {
    theirs("working", json!({"resultType": "task"}))
}

fn declared(asked: &Asked) -> Value {
    asked.params()["_meta"]["io.modelcontextprotocol/clientCapabilities"].clone()
}

fn able() -> Value {
    json!({"elicitation": {"form": {}}})
}

async fn somebody(world: &World, scope: &Scope, name: &str) -> Classic {
    let (principal, service) = (Principal::named(name), world.service(scope));
    Classic::open(&*service, principal, TransportShape::Http, V2025_11_25, able()).await
}

fn wish(tool: &str) -> Value {
    json!({"name": tool, "arguments": {"n": 1.0}, "task": {"ttl": 60_000}})
}

/// Calls a tool as a task: the id the client gets.
async fn begin(client: &Classic, tool: &str) -> String {
    let begun = client.call(Method::ToolsCall, wish(tool)).await;
    let task = &begun["task"];
    assert_eq!((&task["status"], &task["ttl"]), (&json!("working"), &json!(60_000)), "{begun}");
    assert!(task["createdAt"].is_string() && task["createdAt"] == task["lastUpdatedAt"], "{begun}");
    let id = task["taskId"].as_str().unwrap();
    assert!(id.len() >= 32 && id != "theirs", "{id}");
    id.to_owned()
}

/// The same, and the server makes a task of it.
async fn begin_theirs(client: &Classic, server: &Server, tool: &str) -> String {
    let id = begin(client, tool).await;
    let asked = server.next(Method::ToolsCall).await;
    assert_eq!(declared(&asked)["extensions"], json!({TASKS: {}}), "{}", asked.raw());
    assert_eq!((asked.params().get("task"), &asked.params()["arguments"]), (None, &json!({"n": 1.0})));
    asked.answer(created());
    id
}

async fn status(client: &Classic, id: &str) -> Value {
    let task = client.call(Method::TasksGet, json!({"taskId": id})).await;
    assert_eq!(task["taskId"], id, "{task}");
    task["status"].clone()
}

fn result(client: &Classic, id: &str) -> Pending {
    client.start(Method::TasksResult, json!({"taskId": id}))
}

/// A result that says what it is about.
fn about(id: &str, mut result: Value) -> Value {
    result["_meta"] = json!({RELATED: {"taskId": id}});
    result
}

#[tokio::test(start_paused = true)]
async fn tasks_are_offered_for_tools_of_servers_that_know_them() {
    let a = server("a", TransportKind::Http);
    let plain = Server::scripted("plain", TransportKind::Http, V2026_07_28).tools(&["t"]);
    let tasks = json!({"requests": {"tools": {"call": {}}}});
    let classic = Server::scripted("classic", TransportKind::Http, V2025_11_25)
        .capable(json!({"tools": {}, "tasks": tasks}))
        .tools(&["t"]);
    let world = World::new(&[&a, &plain, &classic]);
    let ours = json!({"cancel": {}, "requests": {"tools": {"call": {}}}});
    let listed = json!({"cancel": {}, "list": {}, "requests": {"tools": {"call": {}}}});
    let (nobody, me) = (Principal::anonymous(), Principal::named("me"));
    for (scope, version, principal, offer) in [
        (Scope::All, V2025_11_25, &nobody, Some(&ours)),
        // Those of the other server nobody could list.
        (Scope::All, V2025_11_25, &me, Some(&ours)),
        (one("a"), V2025_11_25, &nobody, Some(&ours)),
        (one("a"), V2025_11_25, &me, Some(&listed)),
        (one("a"), V2025_06_18, &me, None),
        (one("plain"), V2025_11_25, &me, None),
    ] {
        let open = |version: ProtocolVersion| {
            let (principal, service) = (principal.clone(), world.service(&scope));
            async move { Classic::open(&*service, principal, TransportShape::Http, version, able()).await }
        };
        let client = open(version).await;
        let what = format!("{scope:?} {version} {principal:?}");
        assert_eq!(client.opened["capabilities"].get("tasks"), offer, "{what}");
        let tools = client.call(Method::ToolsList, json!({})).await;
        for tool in tools["tools"].as_array().unwrap() {
            let optional = offer.is_some() && ["a__t", "t"].contains(&tool["name"].as_str().unwrap());
            let execution = optional.then(|| json!({"taskSupport": "optional"}));
            assert_eq!(tool.get("execution"), execution.as_ref(), "{what}: {tool}");
        }
        for method in [Method::TasksGet, Method::TasksResult, Method::TasksCancel] {
            let refusal = client.refused(method, json!({"taskId": "x"})).await;
            assert_eq!(refusal["code"], if offer.is_some() { -32602 } else { -32601 }, "{what}");
        }
        if offer == Some(&listed) {
            assert_eq!(client.call(Method::TasksList, json!({})).await, json!({"tasks": []}), "{what}");
            let refusal = client.refused(Method::TasksList, json!({"cursor": "x"})).await;
            assert_eq!(refusal["code"], -32602, "{what}");
        } else {
            assert_eq!(client.refused(Method::TasksList, json!({})).await["code"], -32601, "{what}");
        }
    }
    // A server that knows no tasks answers as it would without the wish, and so does one whose tool is not wished for.
    let client = world.classic(V2025_11_25, able()).await;
    let call = client.start(Method::ToolsCall, wish("plain__t"));
    let asked = plain.next(Method::ToolsCall).await;
    assert_eq!(declared(&asked).get("extensions"), None);
    asked.answer(complete("done"));
    assert_eq!(said(&call.ok().await), "done");
    let call = client.tool("a__t");
    let asked = a.next(Method::ToolsCall).await;
    assert_eq!(declared(&asked).get("extensions"), None);
    asked.answer(complete("done"));
    assert_eq!(said(&call.ok().await), "done");
    assert_eq!(client.refused(Method::ToolsCall, wish("nobody__t")).await["code"], -32602);
}

#[tokio::test(start_paused = true)]
async fn a_task_of_the_server_is_followed_to_its_result() {
    for kind in KINDS {
        let a = server("a", kind);
        let world = World::new(&[&a]);
        let broken = json!({"content": [], "isError": true});
        for (scope, tool) in [(Scope::All, "a__t"), (one("a"), "t")] {
            let client = world.classic_at(&scope, V2025_11_25, json!({})).await;
            for (number, (state, more, becomes)) in [
                ("completed", json!({"result": text("done")}), "completed"),
                // Some servers repeat here what they said of the task (wire reference §3.10).
                ("completed", json!({"resultType": "task", "result": text("done")}), "completed"),
                // What this side calls failed (bridging §8).
                ("completed", json!({"result": broken}), "failed"),
                ("failed", json!({"error": {"code": 7, "message": "no", "data": 1.0}}), "failed"),
                ("cancelled", json!({}), "cancelled"),
            ]
            .into_iter()
            .enumerate()
            {
                let id = begin_theirs(&client, &a, tool).await;
                let looked = a.next(Method::TasksGet).await;
                assert_eq!(looked.params()["taskId"], "theirs");
                assert_eq!(declared(&looked)["extensions"], json!({TASKS: {}}), "{kind:?}");
                looked.answer(theirs("working", json!({"statusMessage": "half"})));
                settle().await;
                let task = client.call(Method::TasksGet, json!({"taskId": id})).await;
                assert_eq!((&task["status"], &task["statusMessage"]), (&json!("working"), &json!("half")));
                assert_eq!(task["pollInterval"], 5000, "{kind:?}");
                let waiting = result(&client, &id);
                // The server says how often it is to be looked at.
                let looks = a.seen(&Method::TasksGet).len();
                world.pass(Duration::from_millis(4900)).await;
                assert_eq!((a.seen(&Method::TasksGet).len(), waiting.is_finished()), (looks, false));
                world.pass(Duration::from_millis(200)).await;
                assert_eq!(a.seen(&Method::TasksGet).len(), looks + 1);
                a.next(Method::TasksGet).await.answer(theirs(state, more.clone()));
                match (state, more.get("result")) {
                    (_, Some(told)) => assert_eq!(waiting.ok().await, about(&id, told.clone()), "{kind:?}"),
                    ("failed", _) => {
                        let error = waiting.err().await;
                        assert_eq!((&error["code"], &error["data"]), (&json!(7), &json!(1.0)), "{kind:?}");
                    }
                    _ => assert_eq!(waiting.err().await["code"], -32603, "{kind:?}"),
                }
                assert_eq!(status(&client, &id).await, becomes, "{kind:?} {state}");
                let told = client.probe.hear(STATUS, number + 1).await;
                assert_eq!((&told["taskId"], &told["status"]), (&json!(id), &json!(becomes)));
                let again = result(&client, &id).outcome().await;
                assert_eq!(again.is_ok(), more.get("result").is_some(), "it can be got again");
            }
        }
        assert_eq!(a.seen(&Method::TasksCancel).len(), 0, "what has ended is not taken back");
        assert_eq!(a.seen(&Method::TasksUpdate).len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_at_once_is_a_task_of_its_own() {
    for kind in KINDS {
        let a = server("a", kind);
        let world = World::new(&[&a]);
        let client = world.classic(V2025_11_25, json!({})).await;
        let progress = json!({"progressToken": "p"});
        let mut wish = wish("a__t");
        wish["_meta"] = progress;
        let begun = client.call(Method::ToolsCall, wish).await;
        let id = begun["task"]["taskId"].as_str().unwrap();
        let asked = a.next(Method::ToolsCall).await;
        // Its progress has nowhere to go but the session.
        asked.progress(3);
        let told = client.probe.hear("notifications/progress", 1).await;
        assert_eq!((&told["progressToken"], &told["progress"]), (&json!("p"), &json!(3)), "{kind:?}");
        assert_eq!(told["_meta"][RELATED], json!({"taskId": id}), "{kind:?}");
        assert_eq!(status(&client, id).await, "working");
        asked.answer(complete("done"));
        assert_eq!(result(&client, id).ok().await, about(id, text("done")), "{kind:?}");
        assert_eq!(status(&client, id).await, "completed");

        let id = begin(&client, "a__t").await;
        a.next(Method::ToolsCall).await.fail(-32602, "wrong", None);
        let refusal = result(&client, &id).err().await;
        assert_eq!((&refusal["code"], &refusal["message"]), (&json!(-32602), &json!("a: wrong")));
        let task = client.call(Method::TasksGet, json!({"taskId": id})).await;
        assert_eq!((&task["status"], &task["statusMessage"]), (&json!("failed"), &json!("a: wrong")));
        // A task without a name cannot be followed, and questions cannot reach a client that takes none.
        let asks = json!({"resultType": "input_required",
            "inputRequests": {"k": {"method": "elicitation/create", "params": form("Sure?")}}});
        for answer in [json!({"resultType": "task", "status": "working"}), asks] {
            let id = begin(&client, "a__t").await;
            a.next(Method::ToolsCall).await.answer(answer);
            assert_eq!(result(&client, &id).err().await["code"], -32603, "{kind:?}");
            assert_eq!(status(&client, &id).await, "failed");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_server_asks_before_there_is_a_task_is_asked_of_who_waits() {
    for kind in KINDS {
        let a = server("a", kind);
        let world = World::new(&[&a]);
        let client = world.classic(V2025_11_25, able()).await;
        let id = begin(&client, "a__t").await;
        let asked = a.next(Method::ToolsCall).await;
        assert_eq!(declared(&asked)["elicitation"], json!({"form": {}}));
        let questions = json!({"k": {"method": "elicitation/create", "params": form("Sure?")}});
        asked.answer(
            json!({"resultType": "input_required", "inputRequests": questions, "requestState": "s\u{e9}"}),
        );
        let told = client.probe.hear(STATUS, 1).await;
        assert_eq!(told["status"], "input_required", "{kind:?}");
        assert_eq!(status(&client, &id).await, "input_required");
        // Nobody is asked before somebody waits; once one has left, the next one is.
        world.pass(Duration::from_secs(45)).await;
        assert!(!client.probe.is_asked().await);
        let first = result(&client, &id);
        let question = first.probe.question().await;
        let second = result(&client, &id);
        assert!(!second.probe.is_asked().await);
        first.leave().await;
        question.taken_back().await;
        let question = second.probe.question().await;
        assert_eq!(question.method, Method::ElicitationCreate);
        assert_eq!(question.params["message"], "a: Sure?");
        assert_eq!(question.params["_meta"][RELATED], json!({"taskId": id}), "{kind:?}");
        let answer = json!({"action": "accept", "content": {"answer": "yes"}});
        let mut related = answer.clone();
        related["_meta"] = json!({RELATED: {"taskId": id}});
        question.answer(related);
        let again = a.next(Method::ToolsCall).await;
        assert_eq!(again.params()["inputResponses"]["k"]["content"], answer["content"]);
        assert_eq!(again.params()["inputResponses"]["k"]["_meta"].get(RELATED), None, "{kind:?}");
        assert_eq!(again.params()["requestState"], "s\u{e9}");
        assert_eq!(status(&client, &id).await, "working");
        // After that it may still become a task.
        again.answer(created());
        a.next(Method::TasksGet).await.answer(theirs("completed", json!({"result": text("done")})));
        assert_eq!(second.ok().await, about(&id, text("done")), "{kind:?}");
        assert_eq!(client.probe.told_of(STATUS).len(), 3, "input_required, working, completed");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_task_asks_is_asked_of_who_waits() {
    let a = server("a", TransportKind::Http);
    let world = World::new(&[&a]);
    let client = world.classic(V2025_11_25, able()).await;
    let id = begin_theirs(&client, &a, "a__t").await;
    let question = |words: &str| json!({"method": "elicitation/create", "params": form(words)});
    let asks = |questions: Value| theirs("input_required", json!({"inputRequests": questions}));
    a.next(Method::TasksGet).await.answer(asks(json!({"k": question("K?"), "l": question("L?")})));
    let waiting = result(&client, &id);
    let (first, second) = (waiting.probe.question().await, waiting.probe.question().await);
    assert_eq!(first.params["_meta"][RELATED], json!({"taskId": id}));
    assert_eq!(status(&client, &id).await, "input_required");
    let answer = |words: &str| json!({"action": "accept", "content": {"answer": words}});
    let (k, l) = match first.params["message"] == "a: K?" {
        true => (first, second),
        false => (second, first),
    };
    k.answer(answer("yes"));
    // One answer does not wait for the other, nor does the next look.
    let told = a.next(Method::TasksUpdate).await;
    assert_eq!(
        (&told.params()["taskId"], &told.params()["inputResponses"]),
        (&json!("theirs"), &json!({"k": answer("yes")}))
    );
    told.answer(json!({"resultType": "complete"}));
    world.pass(Duration::from_secs(6)).await;
    a.next(Method::TasksGet).await.answer(asks(json!({"l": question("L?")})));
    assert!(!waiting.probe.is_asked().await, "it is asked once");
    // The server does not want to know any more.
    world.pass(Duration::from_secs(6)).await;
    a.next(Method::TasksGet).await.answer(theirs("working", json!({})));
    l.taken_back().await;
    assert_eq!(status(&client, &id).await, "working");
    // What the client has not declared is an end.
    world.pass(Duration::from_secs(6)).await;
    let undeclared = json!({"m": {"method": "sampling/createMessage", "params": sampling("Think.")}});
    a.next(Method::TasksGet).await.answer(asks(undeclared));
    assert_eq!(waiting.err().await["code"], -32603);
    assert_eq!(status(&client, &id).await, "failed");
    assert_eq!(a.next(Method::TasksCancel).await.params()["taskId"], "theirs");
}

#[tokio::test(start_paused = true)]
async fn what_is_cancelled_stays_so_whatever_the_server_does() {
    for kind in KINDS {
        let a = server("a", kind);
        let world = World::new(&[&a]);
        let client = world.classic(V2025_11_25, able()).await;
        let cancel = |id: &str| client.start(Method::TasksCancel, json!({"taskId": id}));
        for acknowledged in [true, false] {
            let id = begin_theirs(&client, &a, "a__t").await;
            a.next(Method::TasksGet).await.answer(theirs("working", json!({})));
            settle().await;
            let waiting = result(&client, &id);
            let cancelling = cancel(&id);
            let told = a.next(Method::TasksCancel).await;
            assert_eq!(told.params()["taskId"], "theirs");
            assert_eq!(declared(&told)["extensions"], json!({TASKS: {}}));
            assert_eq!((status(&client, &id).await, cancelling.is_finished()), (json!("working"), false));
            if acknowledged {
                told.answer(json!({"resultType": "complete"}));
            } else {
                told.fail(-32602, "it has ended", None);
            }
            let task = cancelling.ok().await;
            assert_eq!((&task["taskId"], &task["status"]), (&json!(id), &json!("cancelled")), "{kind:?}");
            assert_eq!(waiting.err().await["code"], -32603);
            // That it is done all the same is of no interest, and nobody looks.
            let looks = a.seen(&Method::TasksGet).len();
            world.pass(Duration::from_secs(20)).await;
            assert_eq!(a.seen(&Method::TasksGet).len(), looks);
            assert_eq!(status(&client, &id).await, "cancelled");
            assert_eq!(cancel(&id).err().await["code"], -32602);
        }
        assert_eq!(a.seen(&Method::TasksCancel).len(), 2, "it is told once");

        // The server finishes while it is told: what it did first counts.
        let id = begin_theirs(&client, &a, "a__t").await;
        let looked = a.next(Method::TasksGet).await;
        let cancelling = cancel(&id);
        let told = a.next(Method::TasksCancel).await;
        looked.answer(theirs("completed", json!({"result": text("done")})));
        assert_eq!(said(&result(&client, &id).ok().await), "done");
        told.answer(json!({"resultType": "complete"}));
        assert_eq!(cancelling.err().await["code"], -32602);
        assert_eq!(status(&client, &id).await, "completed");

        // Before there is a task, the call is.
        let id = begin(&client, "a__t").await;
        let asked = a.next(Method::ToolsCall).await;
        assert_eq!(cancel(&id).ok().await["status"], "cancelled");
        asked.cancelled().await;
        asked.answer(created());
        settle().await;
        assert_eq!(status(&client, &id).await, "cancelled");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_be_told_goes_on() {
    let a = server("a", TransportKind::Http);
    let world = World::new(&[&a]);
    let client = world.classic(V2025_11_25, able()).await;
    let id = begin_theirs(&client, &a, "a__t").await;
    a.next(Method::TasksGet).await;
    let cancelling = client.start(Method::TasksCancel, json!({"taskId": id}));
    a.next(Method::TasksCancel).await;
    world.pass(Duration::from_secs(11)).await;
    let refusal = cancelling.err().await;
    assert_eq!((&refusal["code"], &refusal["data"]["reason"]), (&json!(-32603), &json!("timeout")));
    assert_eq!(status(&client, &id).await, "working");
}

#[tokio::test(start_paused = true)]
async fn a_task_survives_looks_that_come_to_nothing() {
    let a = server("a", TransportKind::Http);
    let world = World::new(&[&a]);
    let client = world.classic(V2025_11_25, able()).await;
    for comes_back in [true, false] {
        let wish = json!({"name": "a__t", "arguments": {}, "task": {"ttl": 600_000}});
        let begun = client.call(Method::ToolsCall, wish).await;
        let id = begun["task"]["taskId"].as_str().unwrap().to_owned();
        a.next(Method::ToolsCall).await.answer(created());
        a.next(Method::TasksGet).await.answer(theirs("working", json!({"pollIntervalMs": 100})));
        let waiting = result(&client, &id);
        a.set_down(true);
        a.crash();
        settle().await;
        world.pass(Duration::from_secs(10)).await;
        assert!(!waiting.is_finished());
        if comes_back {
            a.set_down(false);
            world.reconnect("a").await;
            a.next(Method::TasksGet).await.answer(theirs("completed", json!({"result": text("done")})));
            assert_eq!(said(&waiting.ok().await), "done");
        } else {
            world.pass(Duration::from_secs(200)).await;
            assert_eq!(waiting.err().await["code"], -32603);
            assert_eq!(status(&client, &id).await, "failed");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_beyond_its_time() {
    let working = |asked: Asked| asked.answer(theirs("working", json!({})));
    let a = server("a", TransportKind::Http).on(Method::TasksGet, working);
    let world = World::new(&[&a]);
    let client = world.classic(V2025_11_25, able()).await;
    let gone = async |id: &str| {
        for method in [Method::TasksGet, Method::TasksResult, Method::TasksCancel] {
            let refusal = client.refused(method.clone(), json!({"taskId": id})).await;
            assert_eq!(refusal["code"], -32602, "{method}");
        }
    };
    // One that has ended, and one that has not.
    let ended = begin(&client, "a__t").await;
    a.next(Method::ToolsCall).await.answer(complete("done"));
    assert_eq!(said(&result(&client, &ended).ok().await), "done");
    world.pass(Duration::from_secs(30)).await;
    let running = begin_theirs(&client, &a, "a__t").await;
    world.pass(Duration::from_secs(29)).await;
    assert_eq!(status(&client, &ended).await, "completed");
    world.pass(Duration::from_secs(2)).await;
    gone(&ended).await;
    assert_eq!(status(&client, &running).await, "working");
    let waiting = result(&client, &running);
    world.pass(Duration::from_secs(30)).await;
    assert_eq!(waiting.err().await["code"], -32602);
    gone(&running).await;
    assert_eq!(a.next(Method::TasksCancel).await.params()["taskId"], "theirs");

    // There is a shortest time, a longest one, and one for those that want none.
    for (wish, ttl) in [
        (json!({"ttl": 0}), 1000),
        (json!({"ttl": 5000.0}), 5000),
        (json!({"ttl": 1e300}), 3_600_000),
        (json!({"ttl": 1e12}), 86_400_000),
        (json!({}), 3_600_000),
        (json!({"ttl": null}), 3_600_000),
    ] {
        let begun = client.call(Method::ToolsCall, json!({"name": "a__t", "task": wish})).await;
        assert_eq!(begun["task"]["ttl"], ttl, "{wish}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_is_its_clients_alone() {
    let a = server("a", TransportKind::Http);
    let world = World::new(&[&a]);
    let me = somebody(&world, &Scope::All, "me").await;
    let id = begin(&me, "a__t").await;
    a.next(Method::ToolsCall).await.answer(complete("done"));
    // Another session of the same principal may go on with it, and finds it.
    let later = somebody(&world, &Scope::All, "me").await;
    assert_eq!(said(&result(&later, &id).ok().await), "done");
    let found = later.call(Method::TasksList, json!({})).await;
    assert_eq!(found["tasks"][0]["taskId"], *id, "{found}");
    assert_eq!(found["tasks"].as_array().unwrap().len(), 1);

    let nobody = world.classic(V2025_11_25, able()).await;
    let other = somebody(&world, &Scope::All, "other").await;
    let elsewhere = somebody(&world, &one("a"), "me").await;
    for client in [&nobody, &other, &elsewhere] {
        for method in [Method::TasksGet, Method::TasksResult, Method::TasksCancel] {
            let theirs = client.refused(method.clone(), json!({"taskId": id})).await;
            let nothing = client.refused(method.clone(), json!({"taskId": "nothing"})).await;
            assert_eq!((&theirs["code"], &theirs), (&json!(-32602), &nothing), "{method}");
        }
    }
    for client in [&other, &elsewhere] {
        assert_eq!(client.call(Method::TasksList, json!({})).await, json!({"tasks": []}));
    }
    // Without credentials, a session is all that a client is.
    let its = begin(&nobody, "a__t").await;
    let second = world.classic(V2025_11_25, able()).await;
    assert_eq!(status(&nobody, &its).await, "working");
    assert_eq!(second.refused(Method::TasksGet, json!({"taskId": its})).await["code"], -32602);
}

#[tokio::test(start_paused = true)]
async fn a_session_takes_its_tasks_along_unless_they_are_somebodys() {
    let a = server("a", TransportKind::Http);
    let world = World::new(&[&a]);
    let me = somebody(&world, &Scope::All, "me").await;
    let mine = begin(&me, "a__t").await;
    let asked = a.next(Method::ToolsCall).await;
    me.conversation.end();
    let nobody = world.classic(V2025_11_25, able()).await;
    let other = world.classic(V2025_11_25, able()).await;
    let its = begin(&other, "a__t").await;
    a.next(Method::ToolsCall).await;
    begin_theirs(&nobody, &a, "a__t").await;
    a.next(Method::TasksGet).await;
    begin(&nobody, "a__t").await;
    let unanswered = a.next(Method::ToolsCall).await;
    nobody.conversation.end();
    assert_eq!(a.next(Method::TasksCancel).await.params()["taskId"], "theirs");
    unanswered.cancelled().await;
    assert_eq!(status(&other, &its).await, "working");
    assert!(!asked.is_cancelled());
    asked.answer(complete("done"));
    let later = somebody(&world, &Scope::All, "me").await;
    assert_eq!(said(&result(&later, &mine).ok().await), "done");
    // The end of the gateway is the end of all, and there are no new ones.
    world.bridge.close();
    assert_eq!(later.refused(Method::TasksGet, json!({"taskId": mine})).await["code"], -32602);
    assert_eq!(later.refused(Method::ToolsCall, wish("a__t")).await["code"], -32603);
}

#[tokio::test(start_paused = true)]
async fn there_are_only_so_many() {
    let answering = |asked: Asked| asked.answer(complete("done"));
    let a = server("a", TransportKind::Http).on(Method::ToolsCall, answering);
    let world = World::new(&[&a]);
    let client = world.classic(V2025_11_25, able()).await;
    let mut ids = Vec::new();
    for _ in 0..100 {
        ids.push(begin(&client, "a__t").await);
    }
    let refusal = client.refused(Method::ToolsCall, wish("a__t")).await;
    assert_eq!((&refusal["code"], &refusal["data"]["reason"]), (&json!(-32603), &json!("upstream_busy")));
    // Others have room of their own.
    let other = world.classic(V2025_11_25, able()).await;
    begin(&other, "a__t").await;
    // What the client has got makes room, and nothing else.
    assert_eq!(said(&result(&client, &ids[50]).ok().await), "done");
    ids.push(begin(&client, "a__t").await);
    assert_eq!(client.refused(Method::TasksGet, json!({"taskId": ids[50]})).await["code"], -32602);
    assert_eq!(status(&client, &ids[0]).await, "completed");
    assert_eq!(client.refused(Method::ToolsCall, wish("a__t")).await["code"], -32603);
    // For all together there is a limit, too.
    let mut clients = Vec::new();
    for _ in 0..8 {
        let client = world.classic(V2025_11_25, able()).await;
        for _ in 0..100 {
            begin(&client, "a__t").await;
        }
        clients.push(client);
    }
    let last = world.classic(V2025_11_25, able()).await;
    for _ in 0..99 {
        begin(&last, "a__t").await;
    }
    assert_eq!(last.refused(Method::ToolsCall, wish("a__t")).await["code"], -32603);
    clients[0].conversation.end();
    begin(&last, "a__t").await;
}

#[tokio::test(start_paused = true)]
async fn results_have_only_so_much_room() {
    let answering = |asked: Asked| asked.answer(complete(&"x".repeat(100_000)));
    let a = server("a", TransportKind::Http).on(Method::ToolsCall, answering);
    let world = World::with(&[&a], |settings| settings.task_results = 300_000, |_| {});
    let client = world.classic(V2025_11_25, able()).await;
    let mut ids = Vec::new();
    for number in 1..=3 {
        ids.push(begin(&client, "a__t").await);
        client.probe.hear(STATUS, number).await;
    }
    assert_eq!(client.refused(Method::ToolsCall, wish("a__t")).await["code"], -32603);
    assert_eq!(said(&result(&client, &ids[1]).ok().await).len(), 100_000);
    begin(&client, "a__t").await;
    assert_eq!(client.refused(Method::TasksGet, json!({"taskId": ids[1]})).await["code"], -32602);
}
