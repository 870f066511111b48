//! Tasks between stateless clients and servers.

use mcp_bridge::Scope;
use mcp_protocol::Method;
use mcp_transport::TransportKind;
use serde_json::{Value, json};

use crate::net::{Asked, Server};
use crate::support::*;

const TASKS: &str = "io.modelcontextprotocol/tasks";

fn able() -> Value {
    json!({"extensions": {TASKS: {}}})
}

/// A stateless server with tasks, whose tools `t` do not answer by themselves.
fn server(name: &str) -> Server {
    let capabilities = json!({"tools": {"listChanged": true}, "extensions": {TASKS: {}}});
    Server::scripted(name, TransportKind::Http, V2026_07_28).capable(capabilities).tools(&["t"])
}

fn working(id: &str) -> Value {
    json!({
        "taskId": id, "status": "working", "createdAt": "2026-01-01T00:00:00Z",
        "lastUpdatedAt": "2026-01-01T00:00:00Z", "ttlMs": null, "pollIntervalMs": 100.0,
    })
}

fn with(mut task: Value, members: Value) -> Value {
    task.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    task
}

/// Calls the tool and has the server make a task of it: the id the client gets.
async fn create(client: &Modern, server: &Server, tool: &str, id: &str) -> String {
    let call = client.tool(tool);
    let asked = server.next(Method::ToolsCall).await;
    assert_eq!(declared(&asked)["extensions"], json!({TASKS: {}}), "{}", asked.raw());
    asked.answer(with(working(id), json!({"resultType": "task", "vendor": 1.0})));
    let created = call.ok().await;
    let ours = created["taskId"].as_str().unwrap().to_owned();
    assert_eq!(created, with(working(&ours), json!({"resultType": "task", "vendor": 1.0})));
    assert!(!ours.contains(id) && ours.len() > 40, "{ours}");
    ours
}

fn declared(asked: &Asked) -> Value {
    asked.params()["_meta"]["io.modelcontextprotocol/clientCapabilities"].clone()
}

#[tokio::test(start_paused = true)]
async fn a_task_is_followed_by_an_id_of_ours() {
    let (a, b) = (server("a"), server("b"));
    let world = World::new(&[&a, &b]);
    for (scope, tool) in [(Scope::All, "b__t"), (one("b"), "t")] {
        let client = world.modern_at(&scope).able(able());
        let discovered = client.call(Method::ServerDiscover, json!({})).await;
        assert_eq!(discovered["capabilities"]["extensions"], json!({TASKS: {}}), "{scope:?}");
        let id = create(&client, &b, tool, "theirs").await;

        let get = client.start(Method::TasksGet, json!({"taskId": id}));
        let asked = b.next(Method::TasksGet).await;
        assert_eq!(asked.params()["taskId"], "theirs", "{scope:?}");
        assert_eq!(declared(&asked)["extensions"], json!({TASKS: {}}), "{scope:?}");
        let done = json!({"status": "completed", "result": {"content": [], "n": 1.0, "isError": true}});
        asked.answer(with(working("theirs"), with(done.clone(), json!({"resultType": "task"}))));
        let told = get.ok().await;
        assert_eq!(told, with(working(&id), with(done, json!({"resultType": "complete"}))), "{scope:?}");

        let answers = json!({"k": {"action": "accept"}});
        for (method, params) in [
            (Method::TasksUpdate, json!({"taskId": id, "inputResponses": answers})),
            (Method::TasksCancel, json!({"taskId": id})),
        ] {
            let sent = client.start(method.clone(), &params);
            let asked = b.next(method.clone()).await;
            assert_eq!(asked.params()["taskId"], "theirs", "{method}");
            assert_eq!(asked.params().get("inputResponses"), params.get("inputResponses"), "{method}");
            asked.answer(json!({"resultType": "complete"}));
            assert_eq!(sent.ok().await, json!({"resultType": "complete"}), "{method}");
        }
        assert_eq!(a.seen(&Method::TasksGet).len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_is_its_clients_alone() {
    let (a, none) = (server("a"), Server::scripted("none", TransportKind::Http, V2026_07_28).tools(&["t"]));
    let world = World::new(&[&a, &none]);
    let client = world.modern().able(able()).named("me");
    let id = create(&client, &a, "a__t", "theirs").await;
    for method in [Method::TasksGet, Method::TasksUpdate, Method::TasksCancel] {
        let somebody = world.modern().able(able()).named("somebody");
        let elsewhere = world.modern_at(&one("a")).able(able()).named("me");
        let mut refusals = Vec::new();
        for (client, id) in [(&somebody, &*id), (&elsewhere, &id), (&client, "theirs"), (&client, "")] {
            let refusal = client.refused(method.clone(), json!({"taskId": id, "inputResponses": {}})).await;
            assert_eq!(refusal["code"], -32602, "{method}: {refusal}");
            refusals.push(refusal);
        }
        assert!(refusals.windows(2).all(|pair| pair[0] == pair[1]), "{refusals:?}");
        // Whoever has not declared the extension is told so, whatever the id.
        for id in [&*id, "theirs"] {
            let refusal = world.modern().named("me").refused(method.clone(), json!({"taskId": id})).await;
            assert_eq!(refusal["code"], -32021, "{method}");
            assert_eq!(refusal["data"]["requiredCapabilities"], able(), "{method}");
        }
        // Where nobody has tasks there is no such method.
        let refusal =
            world.modern_at(&one("none")).able(able()).refused(method.clone(), json!({"taskId": id})).await;
        assert_eq!(refusal["code"], -32601, "{method}");
        assert_eq!(a.seen(&method).len(), 0, "{method}");
    }
    for method in [Method::TasksResult, Method::TasksList] {
        assert_eq!(client.refused(method.clone(), json!({"taskId": id})).await["code"], -32601, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_who_knows_tasks_gets_one() {
    let a = server("a");
    let world = World::new(&[&a]);
    // What a server needs is passed on to whoever could declare it.
    let call = world.modern().tool("a__t");
    let data = json!({"requiredCapabilities": able()});
    a.next(Method::ToolsCall).await.fail(-32021, "tasks only", Some(data.clone()));
    let refusal = call.err().await;
    assert_eq!((&refusal["code"], &refusal["data"]), (&json!(-32021), &data));
    // An id that does not fit into a header is none.
    let call = world.modern().able(able()).tool("a__t");
    let long = "x".repeat(3000);
    a.next(Method::ToolsCall).await.answer(with(working(&long), json!({"resultType": "task"})));
    assert_eq!(call.err().await["code"], -32603);
    let call = world.modern().tool("a__t");
    let asked = a.next(Method::ToolsCall).await;
    assert_eq!(declared(&asked), json!({}));
    asked.answer(with(working("theirs"), json!({"resultType": "task"})));
    assert_eq!(call.err().await["code"], -32603);
}

#[tokio::test(start_paused = true)]
async fn a_task_asks_what_its_client_can_be_asked_under_the_servers_name() {
    let a = server("a");
    let world = World::new(&[&a]);
    let capabilities = with(able(), json!({"elicitation": {"form": {}}}));
    for (scope, tool, said) in [(Scope::All, "a__t", "a: Sure?"), (one("a"), "t", "Sure?")] {
        let client = world.modern_at(&scope).able(capabilities.clone());
        let id = create(&client, &a, tool, "theirs").await;
        let get = client.start(Method::TasksGet, json!({"taskId": id}));
        let mut question = form("Sure?");
        question["mode"] = "form".into();
        let questions = json!({
            "k1": {"method": "elicitation/create", "params": question},
            "k2": {"method": "sampling/createMessage", "params": sampling("Think.")},
        });
        let asking =
            json!({"resultType": "complete", "status": "input_required", "inputRequests": questions});
        a.next(Method::TasksGet).await.answer(with(working("theirs"), asking));
        let told = get.ok().await;
        assert_eq!(told["status"], "input_required");
        let asked = told["inputRequests"].as_object().unwrap();
        assert_eq!(asked.keys().collect::<Vec<_>>(), ["k1"], "{scope:?}");
        assert_eq!(asked["k1"]["params"]["message"], said, "{scope:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_happens_to_a_task_is_told_to_who_listens() {
    let agree = |asked: Asked| {
        let wanted = asked.params()["notifications"].clone();
        let id = serde_json::to_value(&asked.request.id).unwrap();
        let meta = json!({"io.modelcontextprotocol/subscriptionId": id});
        asked.tell(
            "notifications/subscriptions/acknowledged",
            json!({"notifications": wanted, "_meta": meta}),
        );
    };
    let a = server("a").on(Method::SubscriptionsListen, agree);
    let b = server("b");
    let world = World::new(&[&a, &b]);
    let client = world.modern().able(able());
    let first = create(&client, &a, "a__t", "one").await;
    let second = create(&client, &a, "a__t", "two").await;
    // This server tells of no tasks.
    let other = create(&client, &b, "b__t", "one").await;

    let wanted = json!({"notifications": {"taskIds": [first, second, "nobody's", other]}});
    let refusal = world.modern().refused(Method::SubscriptionsListen, &wanted).await;
    assert_eq!(refusal["code"], -32021);
    let listening = client.start_as("mine".into(), Method::SubscriptionsListen, &wanted);
    let agreed = listening.probe.hear("notifications/subscriptions/acknowledged", 1).await;
    assert_eq!(agreed["notifications"], json!({"taskIds": [first, second]}));
    let of_task = |asked: &Asked, id: &str| asked.params()["notifications"]["taskIds"] == json!([id]);
    let listens = a.seen(&Method::SubscriptionsListen);
    let of_two = listens.iter().find(|asked| of_task(asked, "two")).unwrap();
    assert_eq!(declared(of_two)["extensions"], json!({TASKS: {}}));
    let state = json!({"status": "completed", "result": {"content": []}});
    let meta = json!({"_meta": {"io.modelcontextprotocol/subscriptionId": 99, "x": 1}});
    of_two.tell("notifications/tasks", with(working("nobody's"), state.clone()));
    of_two.tell("notifications/tasks", with(working("two"), with(state.clone(), meta)));
    let told = listening.probe.hear("notifications/tasks", 1).await;
    let meta = json!({"_meta": {"io.modelcontextprotocol/subscriptionId": "mine", "x": 1}});
    assert_eq!(told, with(working(&second), with(state, meta)));
    let of_one = listens.iter().find(|asked| of_task(asked, "one")).unwrap().clone();
    listening.leave().await;
    of_one.cancelled().await;
    of_two.cancelled().await;
}
