//! Held calls: a server of the handshake era asks in the middle of a call of a stateless client. Source: bridging §6.3.

use std::time::Duration;

use mcp_protocol::Method;
use mcp_transport::TransportKind;
use serde_json::{Value, json};

use crate::net::{Asked, Server};
use crate::support::*;

/// Able to do everything.
pub(crate) fn able() -> Value {
    json!({"elicitation": {"form": {}, "url": {}}, "sampling": {"tools": {}}, "roots": {}})
}

fn accept(answer: &str) -> Value {
    json!({"action": "accept", "content": {"answer": answer}})
}

fn model(words: &str) -> Value {
    json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": words}})
}

fn scripted(kind: TransportKind) -> Server {
    Server::scripted("s", kind, V2025_11_25).tools(&["t"])
}

/// A server and a client with a call under way.
struct Scene {
    world: World,
    server: Server,
    client: Modern,
}

impl Scene {
    fn new(kind: TransportKind) -> Self {
        Self::with(kind, |_| {})
    }

    fn with(kind: TransportKind, adjust: impl FnOnce(&mut mcp_bridge::Settings)) -> Self {
        let server = scripted(kind);
        let world = World::with(&[&server], adjust, |_| {});
        let client = world.modern().able(able());
        Self { world, server, client }
    }

    /// A call, held because of one form.
    async fn held(&self) -> (Asked, Value) {
        self.held_by(100).await
    }

    /// The same by a question of another id.
    async fn held_by(&self, id: i64) -> (Asked, Value) {
        let call = self.client.tool("s__t");
        let asked = self.server.next(Method::ToolsCall).await;
        asked.ask(id, "elicitation/create", form("Why?"));
        (asked, required(call.ok().await))
    }
}

fn required(result: Value) -> Value {
    assert_eq!(result["resultType"], "input_required", "{result}");
    result
}

fn keys(asked: &Value) -> Vec<&str> {
    asked["inputRequests"].as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test(start_paused = true)]
async fn a_form_is_put_to_the_client_and_the_call_goes_on() {
    for kind in KINDS {
        for version in [V2025_06_18, V2025_11_25] {
            for alone in [false, true] {
                let server = Server::scripted("s", kind, version).tools(&["t"]);
                let world = World::new(&[&server]);
                let client = if alone { world.modern_at(&one("s")) } else { world.modern() };
                let client = client.able(json!({"elicitation": {}}));
                let tool = if alone { "t" } else { "s__t" };
                let call = client.tool(tool);
                let first = call.probe.clone();
                let asked = server.next(Method::ToolsCall).await;
                let declared = if version == V2025_06_18 { json!({}) } else { json!({"form": {}}) };
                assert_eq!(asked.wire.capabilities(), json!({"elicitation": declared}));
                asked.ask(100, "elicitation/create", form("Why?"));
                let held = required(call.ok().await);
                assert_eq!(held["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "gateway");
                assert_eq!(held.get("ttlMs"), None);
                let request = &held["inputRequests"]["u1"];
                assert_eq!(request["method"], "elicitation/create");
                assert_eq!(request["params"]["mode"], "form");
                let message = request["params"]["message"].as_str().unwrap();
                assert!(message.ends_with("Why?") && message.starts_with('s') != alone, "{message}");
                assert_eq!(world.bridge.held_calls(), 1);

                let retry = client.retry(tool, &held, json!({"u1": accept("because")}));
                let second = retry.probe.clone();
                assert_eq!(asked.wire.answer_to(100).await, Ok(accept("because")));
                asked.answer(text("I see"));
                let result = retry.ok().await;
                assert_eq!((said(&result), &result["resultType"]), ("I see", &json!("complete")));
                assert_eq!(world.bridge.held_calls(), 0);
                assert_eq!(first.ids()[0], *second.ids().last().unwrap(), "it is one request");
                assert_eq!(server.seen(&Method::ToolsCall).len(), 1);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn prompts_and_resources_are_held_like_calls() {
    let server = scripted(TransportKind::Http)
        .list("prompts", &[json!({"name": "p"})])
        .list("resources", &[json!({"uri": "x:1", "name": "x"})]);
    let world = World::new(&[&server]);
    let client = world.modern().able(able());
    for (method, mut params, result) in [
        (Method::PromptsGet, json!({"name": "s__p"}), json!({"messages": []})),
        (Method::ResourcesRead, json!({"uri": "x:1"}), json!({"contents": []})),
    ] {
        let call = client.start(method.clone(), &params);
        let asked = server.next(method.clone()).await;
        asked.ask(100, "elicitation/create", form("Why?"));
        let held = required(call.ok().await);
        params["inputResponses"] = json!({"u1": {"action": "decline"}});
        params["requestState"] = held["requestState"].clone();
        let retry = client.start(method.clone(), &params);
        assert_eq!(asked.wire.answer_to(100).await, Ok(json!({"action": "decline"})));
        asked.answer(&result);
        let answered = retry.ok().await;
        assert_eq!(answered["resultType"], "complete");
        if method == Method::ResourcesRead {
            assert_eq!((&answered["ttlMs"], &answered["cacheScope"]), (&json!(0), &json!("private")));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pages_models_and_roots_are_asked_for_like_forms() {
    for kind in KINDS {
        let scene = Scene::new(kind);
        let page =
            json!({"mode": "url", "message": "Sign in", "url": "https://x.example/", "elicitationId": "e1"});
        let mut context = sampling("Think");
        context["includeContext"] = "allServers".into();
        for (id, method, params, answer) in [
            (1, "elicitation/create", page.clone(), json!({"action": "accept"})),
            (2, "elicitation/create", page, json!({"action": "cancel"})),
            (3, "sampling/createMessage", context, model("Hm.")),
            (4, "roots/list", json!({}), json!({"roots": [{"uri": "file:///x"}]})),
        ] {
            let call = scene.client.tool("s__t");
            let asked = scene.server.next(Method::ToolsCall).await;
            asked.ask(id, method, params);
            let held = required(call.ok().await);
            let request = &held["inputRequests"]["u1"];
            assert_eq!(request["method"], method);
            match method {
                "elicitation/create" => {
                    assert_eq!(
                        (&request["params"]["mode"], &request["params"]["url"]),
                        (&json!("url"), &json!("https://x.example/"))
                    );
                    assert_eq!(request["params"].get("elicitationId"), None, "{request}");
                    // Nobody waits for that: the server does so by itself.
                    asked.tell("notifications/elicitation/complete", json!({"elicitationId": "e1"}));
                }
                // To the client this server would be all of them.
                "sampling/createMessage" => assert_eq!(request["params"]["includeContext"], "none"),
                _ => {}
            }
            let retry = scene.client.retry("s__t", &held, json!({"u1": answer}));
            let probe = retry.probe.clone();
            assert_eq!(asked.wire.answer_to(id).await, Ok(answer));
            asked.answer(text("done"));
            assert_eq!(said(&retry.ok().await), "done");
            assert_eq!(probe.told(), Vec::<Value>::new());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_loop_of_questions_takes_one_round_each() {
    let scene = Scene::new(TransportKind::Stdio);
    let call = scene.client.tool("s__t");
    let asked = scene.server.next(Method::ToolsCall).await;
    let mut pending = call;
    let mut states = Vec::new();
    for round in 1..=5 {
        let mut params = sampling("Think");
        params["tools"] = json!([{"name": "x", "inputSchema": {"type": "object"}}]);
        asked.ask(round, "sampling/createMessage", params);
        let held = required(pending.ok().await);
        assert_eq!(keys(&held), [format!("u{round}")], "no key is used twice");
        assert!(held["inputRequests"][format!("u{round}")]["params"]["tools"].is_array());
        states.push(held["requestState"].clone());
        pending = scene.client.retry("s__t", &held, json!({format!("u{round}"): model("Go on.")}));
        assert_eq!(asked.wire.answer_to(round).await, Ok(model("Go on.")));
    }
    asked.answer(text("done"));
    assert_eq!(said(&pending.ok().await), "done");
    states.dedup();
    assert_eq!(states.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn questions_that_come_together_are_put_together_and_may_be_answered_one_by_one() {
    let scene = Scene::new(TransportKind::Http);
    let call = scene.client.tool("s__t");
    let asked = scene.server.next(Method::ToolsCall).await;
    asked.ask(1, "elicitation/create", form("One?"));
    settle().await;
    asked.ask(2, "roots/list", json!({}));
    let held = required(call.ok().await);
    assert_eq!(keys(&held), ["u1", "u2"]);
    // One answer is missing, one is to a question nobody asked.
    let retry = scene.client.retry("s__t", &held, json!({"u2": {"roots": []}, "u3": accept("what?")}));
    assert_eq!(asked.wire.answer_to(2).await, Ok(json!({"roots": []})));
    let again = required(retry.ok().await);
    assert_eq!(keys(&again), ["u1"]);
    assert_ne!(again["requestState"], held["requestState"]);
    // No answer at all.
    let again = required(scene.client.retry("s__t", &again, json!({})).ok().await);
    assert_eq!(keys(&again), ["u1"]);
    let retry = scene.client.retry("s__t", &again, json!({"u1": accept("one")}));
    assert_eq!(asked.wire.answer_to(1).await, Ok(accept("one")));
    asked.answer(text("both"));
    assert_eq!(said(&retry.ok().await), "both");
}

#[tokio::test(start_paused = true)]
async fn answers_of_the_wrong_shape_leave_the_call_as_it_is() {
    for (method, params, bad, good) in [
        (
            "elicitation/create",
            form("?"),
            vec![json!({}), json!({"action": 1}), json!("yes"), json!(null)],
            accept("x"),
        ),
        (
            "sampling/createMessage",
            sampling("?"),
            vec![json!({}), json!({"role": "assistant", "model": "m"}), json!([])],
            model("x"),
        ),
        ("roots/list", json!({}), vec![json!({}), json!(7)], json!({"roots": []})),
    ] {
        let scene = Scene::new(TransportKind::Http);
        let call = scene.client.tool("s__t");
        let asked = scene.server.next(Method::ToolsCall).await;
        asked.ask(1, method, params);
        let held = required(call.ok().await);
        for bad in bad {
            let error = scene.client.retry("s__t", &held, json!({"u1": bad})).err().await;
            assert_eq!(error["code"], -32602, "{method} {bad}: {error}");
            assert!(error["message"].as_str().unwrap().contains("u1"), "{error}");
        }
        let error = scene.client.retry("s__t", &held, json!([])).err().await;
        assert_eq!(error["code"], -32602, "{error}");
        assert_eq!(scene.world.bridge.held_calls(), 1);
        let retry = scene.client.retry("s__t", &held, json!({"u1": good}));
        assert_eq!(asked.wire.answer_to(1).await, Ok(good));
        asked.answer(text("done"));
        assert_eq!(said(&retry.ok().await), "done");
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_same_request_of_the_same_principal_goes_on() {
    let scene = Scene::new(TransportKind::Http);
    scene.server.set_tools(&["t", "u"]);
    let (asked, held) = scene.held().await;
    let state = held["requestState"].as_str().unwrap();
    let answers = json!({"u1": accept("x")});
    let with = |client: &Modern, method: Method, params: Value| {
        let mut params = params;
        params["inputResponses"] = answers.clone();
        client.start(method, params)
    };
    let plain = json!({"name": "s__t", "arguments": {}, "requestState": state});
    let changed = |member: &str, value: Value| {
        let mut params = plain.clone();
        params[member] = value;
        params
    };
    let tampered: String = state.chars().rev().collect();
    let other = scene.client.clone().named("other");
    let elsewhere = scene.world.modern_at(&one("s")).able(able());
    let mut refusals = Vec::new();
    for call in [
        with(&other, Method::ToolsCall, plain.clone()),
        with(&elsewhere, Method::ToolsCall, plain.clone()),
        with(&scene.client, Method::PromptsGet, plain.clone()),
        with(&scene.client, Method::ToolsCall, changed("name", json!("s__u"))),
        with(&scene.client, Method::ToolsCall, changed("arguments", json!({"a": 1}))),
        with(&scene.client, Method::ToolsCall, changed("requestState", json!(tampered))),
        with(&scene.client, Method::ToolsCall, changed("requestState", json!(""))),
        with(&scene.client, Method::ToolsCall, changed("requestState", json!(5))),
    ] {
        refusals.push(call.err().await);
    }
    assert_eq!(refusals[0]["code"], -32602);
    assert!(refusals.iter().all(|refusal| *refusal == refusals[0]), "{refusals:?}");
    assert_eq!(scene.world.bridge.held_calls(), 1);
    assert_eq!(scene.server.seen(&Method::ToolsCall).len(), 1);
    // The order of members, and what is said about the request, do not count.
    let params = format!(
        r#"{{"requestState":"{state}","arguments":{{}},"inputResponses":{answers},"name":"s__t","_meta":{{"x":1}}}}"#
    );
    let retry = scene.client.start(Method::ToolsCall, params);
    assert_eq!(asked.wire.answer_to(100).await, Ok(accept("x")));
    asked.answer(text("done"));
    retry.ok().await;
    // It is over, whoever asks.
    assert_eq!(scene.client.retry("s__t", &held, answers.clone()).err().await, refusals[0]);
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_comes_twice_is_taken_once() {
    let scene = Scene::new(TransportKind::Stdio);
    let (asked, held) = scene.held().await;
    let first = scene.client.retry("s__t", &held, json!({"u1": accept("first")}));
    settle().await;
    let second = scene.client.retry("s__t", &held, json!({"u1": accept("second")}));
    assert_eq!(second.err().await["code"], -32602);
    assert_eq!(asked.wire.answer_to(100).await, Ok(accept("first")));
    asked.answer(text("done"));
    assert_eq!(said(&first.ok().await), "done");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_cannot_be_asked_any_more_is_told_so() {
    let scene = Scene::new(TransportKind::Http);
    let (asked, held) = scene.held().await;
    let lesser = scene.client.clone().able(json!({"roots": {}}));
    let error = lesser.retry("s__t", &held, json!({"u1": accept("x")})).err().await;
    assert_eq!(error["code"], -32021, "{error}");
    assert_eq!(error["data"]["requiredCapabilities"], json!({"elicitation": {"form": {}}}), "{error}");
    let retry = scene.client.retry("s__t", &held, json!({"u1": accept("x")}));
    assert_eq!(asked.wire.answer_to(100).await, Ok(accept("x")));
    asked.answer(text("done"));
    retry.ok().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_comes_back_to_is_given_up() {
    let hour = Duration::from_secs(3600);
    for (method, params, answer) in [
        ("elicitation/create", form("?"), Ok(json!({"action": "cancel"}))),
        ("sampling/createMessage", sampling("?"), Err(-1)),
        ("roots/list", json!({}), Err(-32603)),
    ] {
        let scene = Scene::with(TransportKind::Http, |settings| {
            settings.park_timeout = Duration::from_secs(300);
            settings.call_limit = hour;
        });
        let call = scene.client.tool("s__t");
        let asked = scene.server.next(Method::ToolsCall).await;
        asked.ask(1, method, params);
        let held = required(call.ok().await);
        scene.world.pass(Duration::from_secs(299)).await;
        assert_eq!(scene.world.bridge.held_calls(), 1, "{method}");
        assert!(!asked.is_cancelled());
        scene.world.pass(Duration::from_secs(1)).await;
        assert_eq!(scene.world.bridge.held_calls(), 0);
        let told = asked.wire.answer_to(1).await;
        assert_eq!(told.map_err(|error| error["code"].as_i64().unwrap()), answer, "{method}");
        asked.cancelled().await;
        let error = scene.client.retry("s__t", &held, json!({"u1": accept("late")})).err().await;
        assert_eq!(error["code"], -32602, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_has_an_end_however_long_its_client_may_think() {
    let scene = Scene::with(TransportKind::Http, |settings| {
        settings.park_timeout = Duration::from_secs(3600);
        settings.call_limit = Duration::from_secs(300);
    });
    let (asked, held) = scene.held().await;
    scene.world.pass(Duration::from_secs(300)).await;
    asked.cancelled().await;
    let error = scene.client.retry("s__t", &held, json!({"u1": accept("x")})).err().await;
    assert_eq!((&error["code"], &error["data"]["reason"]), (&json!(-32603), &json!("timeout")), "{error}");
}

#[tokio::test(start_paused = true)]
async fn each_round_has_its_own_time_to_answer() {
    let scene = Scene::with(TransportKind::Http, |settings| {
        settings.park_timeout = Duration::from_secs(100);
        settings.call_limit = Duration::from_secs(3600);
    });
    let (asked, mut held) = scene.held().await;
    for _ in 0..3 {
        scene.world.pass(Duration::from_secs(90)).await;
        held = required(scene.client.retry("s__t", &held, json!({})).ok().await);
    }
    scene.world.pass(Duration::from_secs(90)).await;
    let retry = scene.client.retry("s__t", &held, json!({"u1": accept("at last")}));
    assert_eq!(asked.wire.answer_to(100).await, Ok(accept("at last")));
    asked.answer(text("done"));
    assert_eq!(said(&retry.ok().await), "done");
}

#[tokio::test(start_paused = true)]
async fn a_crash_while_held_is_told_at_the_next_retry() {
    for kind in KINDS {
        let scene = Scene::new(kind);
        let (asked, held) = scene.held().await;
        asked.wire.crash();
        settle().await;
        assert_eq!(scene.world.bridge.held_calls(), 1);
        let error = scene.client.retry("s__t", &held, json!({"u1": accept("x")})).err().await;
        assert_eq!(
            (&error["code"], &error["data"]["delivery"]),
            (&json!(-32603), &json!("unknown")),
            "{error}"
        );
        assert_eq!(scene.world.bridge.held_calls(), 0);
        let error = scene.client.retry("s__t", &held, json!({"u1": accept("x")})).err().await;
        assert_eq!(error["code"], -32602, "it is told once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_taken_back_is_not_put_again() {
    for kind in KINDS {
        let scene = Scene::new(kind);
        let (asked, held) = scene.held().await;
        asked.take_back(100);
        settle().await;
        // The answer comes too late, which is nobody's fault.
        let retry = scene.client.retry("s__t", &held, json!({"u1": accept("x")}));
        settle().await;
        assert!(!retry.is_finished(), "the server still works on it");
        asked.answer(text("never mind"));
        assert_eq!(said(&retry.ok().await), "never mind");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_wait_for_the_answer_has_its_result_kept() {
    let scene = Scene::with(TransportKind::Http, |settings| settings.park_timeout = Duration::from_secs(300));
    let (asked, held) = scene.held().await;
    asked.answer(text("without you"));
    settle().await;
    let retry = scene.client.retry("s__t", &held, json!({"u1": {"not": "read"}}));
    assert_eq!(said(&retry.ok().await), "without you");
    assert_eq!(scene.world.bridge.held_calls(), 0);
    // But not for ever.
    let (asked, held) = scene.held_by(101).await;
    asked.fail(7, "gave up", None);
    scene.world.pass(Duration::from_secs(300)).await;
    assert_eq!(scene.world.bridge.held_calls(), 0);
    assert_eq!(scene.client.retry("s__t", &held, json!({})).err().await["code"], -32602);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_takes_its_call_along() {
    for kind in KINDS {
        let scene = Scene::new(kind);
        // Before the first question.
        let call = scene.client.tool("s__t");
        let asked = scene.server.next(Method::ToolsCall).await;
        call.leave().await;
        asked.cancelled().await;
        // While the question is being put.
        let call = scene.client.tool("s__t");
        let asked = scene.server.next(Method::ToolsCall).await;
        asked.ask(1, "elicitation/create", form("?"));
        settle().await;
        call.leave().await;
        asked.cancelled().await;
        assert_eq!(scene.world.bridge.held_calls(), 0);
        // In the second round.
        let (asked, held) = scene.held().await;
        let retry = scene.client.retry("s__t", &held, json!({"u1": accept("x")}));
        assert_eq!(asked.wire.answer_to(100).await, Ok(accept("x")));
        assert!(!asked.is_cancelled());
        retry.leave().await;
        asked.cancelled().await;
        assert_eq!(scene.world.bridge.held_calls(), 0);
        assert_eq!(scene.client.retry("s__t", &held, json!({})).err().await["code"], -32602);
        // In the second round, with another question open: it is answered in the client's place.
        let (asked, held) = scene.held().await;
        asked.ask(101, "elicitation/create", form("And?"));
        settle().await;
        let retry = scene.client.retry("s__t", &held, json!({"u1": accept("x")}));
        settle().await;
        retry.leave().await;
        asked.cancelled().await;
        assert_eq!(asked.wire.answer_to(101).await, Ok(json!({"action": "cancel"})));
    }
}

#[tokio::test(start_paused = true)]
async fn only_so_many_calls_are_held_for_a_principal() {
    let scene = Scene::with(TransportKind::Http, |settings| settings.max_parked = 2);
    scene.held_by(100).await;
    let (asked, held) = scene.held_by(101).await;
    let call = scene.client.tool("s__t");
    let third = scene.server.next(Method::ToolsCall).await;
    third.ask(1, "elicitation/create", form("?"));
    let error = call.err().await;
    assert_eq!(
        (&error["code"], &error["data"]["reason"]),
        (&json!(-32603), &json!("upstream_busy")),
        "{error}"
    );
    third.cancelled().await;
    assert_eq!(scene.world.bridge.held_calls(), 2);
    // Others have their own.
    let other = scene.client.clone().named("other");
    let call = other.tool("s__t");
    let fourth = scene.server.next(Method::ToolsCall).await;
    fourth.ask(1, "elicitation/create", form("?"));
    required(call.ok().await);
    // And there is room again once one is done.
    let retry = scene.client.retry("s__t", &held, json!({"u1": accept("x")}));
    asked.answer(text("done"));
    retry.ok().await;
    scene.held_by(102).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_held_beyond_the_end() {
    let scene = Scene::new(TransportKind::Http);
    let (asked, held) = scene.held().await;
    scene.world.bridge.close();
    assert_eq!(scene.world.bridge.held_calls(), 0);
    settle().await;
    assert_eq!(asked.wire.answer_to(100).await, Ok(json!({"action": "cancel"})));
    asked.cancelled().await;
    assert_eq!(scene.client.retry("s__t", &held, json!({})).err().await["code"], -32602);
    let call = scene.client.tool("s__t");
    let asked = scene.server.next(Method::ToolsCall).await;
    asked.ask(1, "elicitation/create", form("?"));
    assert_eq!(call.err().await["code"], -32603);
}

#[tokio::test(start_paused = true)]
async fn progress_goes_to_the_request_that_waits() {
    let scene = Scene::new(TransportKind::Http);
    let with_token = |token: &str, more: Value| {
        let mut params = json!({"name": "s__t", "arguments": {}, "_meta": {"progressToken": token}});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        scene.client.start(Method::ToolsCall, params)
    };
    let call = with_token("first", json!({}));
    let first = call.probe.clone();
    let asked = scene.server.next(Method::ToolsCall).await;
    asked.progress(1);
    first.hear("notifications/progress", 1).await;
    asked.ask(1, "elicitation/create", form("?"));
    let held = required(call.ok().await);
    asked.progress(2);
    settle().await;
    let told = json!({"inputResponses": {"u1": accept("x")}, "requestState": held["requestState"]});
    let retry = with_token("second", told);
    let second = retry.probe.clone();
    asked.wire.answer_to(1).await.unwrap();
    asked.progress(3);
    let heard = async {
        loop {
            let told = second.told_of("notifications/progress");
            if told.iter().any(|told| told["progress"] == 3) {
                return told;
            }
            settle().await;
        }
    };
    let told = within("progress", heard).await;
    assert!(told.iter().all(|told| told["progressToken"] == "second"), "{told:?}");
    asked.answer(text("done"));
    retry.ok().await;
    assert!(first.told_of("notifications/progress").iter().all(|told| told["progressToken"] == "first"));
}

#[tokio::test(start_paused = true)]
async fn what_the_client_did_not_declare_is_refused_without_it() {
    for kind in KINDS {
        let scene = Scene::new(kind);
        for capabilities in [json!({}), json!({"roots": {}})] {
            let call = scene.client.clone().able(capabilities.clone()).tool("s__t");
            let asked = scene.server.next(Method::ToolsCall).await;
            assert_eq!(asked.wire.capabilities(), capabilities);
            asked.ask(1, "elicitation/create", form("?"));
            let error = asked.wire.answer_to(1).await.unwrap_err();
            assert!([-32601, -32602].contains(&error["code"].as_i64().unwrap()), "{error}");
            asked.answer(text("without"));
            assert_eq!(said(&call.ok().await), "without");
        }
        // A form can be shown, a page cannot.
        let call = scene.client.clone().able(json!({"elicitation": {"form": {}}})).tool("s__t");
        let asked = scene.server.next(Method::ToolsCall).await;
        asked.ask(
            1,
            "elicitation/create",
            json!({"mode": "url", "message": "?", "url": "https://x.example/"}),
        );
        assert_eq!(asked.wire.answer_to(1).await.unwrap_err()["code"], -32602);
        asked.answer(text("without"));
        call.ok().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_on_account_of_no_call_is_refused() {
    for kind in KINDS {
        let server = scripted(kind).list("prompts", &[json!({"name": "p"})]);
        let world = World::with(
            &[&server],
            |_| {},
            |definition| definition.roots = Some(vec!["file:///static".into()]),
        );
        let client = world.modern().able(able());
        client.call(Method::ToolsList, json!({})).await;
        for wire in server.open().into_iter().filter(|wire| wire.capabilities() != json!({})) {
            wire.ask(1, "elicitation/create", form("?"));
            assert_eq!(wire.answer_to(1).await.unwrap_err()["code"], -32602);
            wire.ask(2, "sampling/createMessage", sampling("?"));
            assert_eq!(wire.answer_to(2).await.unwrap_err()["code"], -32602);
            wire.ask(3, "roots/list", json!({}));
            assert_eq!(wire.answer_to(3).await, Ok(json!({"roots": [{"uri": "file:///static"}]})));
        }
        // Completion is no call that could wait for an answer.
        let params =
            json!({"ref": {"type": "ref/prompt", "name": "s__p"}, "argument": {"name": "x", "value": ""}});
        let call = client.start(Method::CompletionComplete, params);
        let asked = server.next(Method::CompletionComplete).await;
        asked.ask(4, "elicitation/create", form("?"));
        assert_eq!(asked.wire.answer_to(4).await.unwrap_err()["code"], -32602);
        asked.answer(json!({"completion": {"values": []}}));
        call.ok().await;
    }
    // Without roots of the operator's there are none to tell.
    let scene = Scene::new(TransportKind::Stdio);
    scene.client.call(Method::ToolsList, json!({})).await;
    let wire = scene.server.open().into_iter().find(|wire| wire.capabilities() != json!({})).unwrap();
    wire.ask(1, "roots/list", json!({}));
    assert!(wire.answer_to(1).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_call_has_only_so_many_questions_open() {
    let scene = Scene::new(TransportKind::Http);
    let call = scene.client.tool("s__t");
    let asked = scene.server.next(Method::ToolsCall).await;
    for id in 1..=17 {
        asked.ask(id, "roots/list", json!({}));
    }
    assert_eq!(asked.wire.answer_to(17).await.unwrap_err()["code"], -32603);
    let held = required(call.ok().await);
    assert_eq!(keys(&held).len(), 16);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_put_to_the_client_is_answered_at_once() {
    let scene = Scene::new(TransportKind::Http);
    let client = scene.client.clone().able(json!({"sampling": {}, "elicitation": {}}));
    let call = client.tool("s__t");
    let asked = scene.server.next(Method::ToolsCall).await;
    let mut with_tool = sampling("?");
    with_tool["messages"][0]["content"] = json!({"type": "tool_use", "id": "1", "name": "x", "input": {}});
    asked.ask(1, "sampling/createMessage", with_tool);
    assert_eq!(asked.wire.answer_to(1).await.unwrap_err()["code"], -32602);
    asked.ask(2, "elicitation/create", json!({"mode": "telepathy", "message": "?"}));
    settle().await;
    asked.answer(text("done"));
    assert_eq!(said(&call.ok().await), "done");
}

#[tokio::test(start_paused = true)]
async fn a_page_that_must_be_visited_first_is_asked_for_and_the_call_made_again() {
    let page =
        json!({"mode": "url", "message": "Sign in", "url": "https://x.example/", "elicitationId": "e1"});
    let scene = Scene::new(TransportKind::Http);
    let call = scene.client.tool("s__t");
    let fail = |asked: &Asked| asked.fail(-32042, "sign in", Some(json!({"elicitations": [page]})));
    fail(&scene.server.next(Method::ToolsCall).await);
    let mut held = required(call.ok().await);
    assert_eq!(scene.world.bridge.held_calls(), 0, "there is nothing to hold");
    for _ in 0..2 {
        let request = &held["inputRequests"]["u1"];
        assert_eq!(
            (&request["method"], &request["params"]["mode"]),
            (&json!("elicitation/create"), &json!("url"))
        );
        assert!(request["params"]["message"].as_str().unwrap().contains("Sign in"));
        let retry = scene.client.retry("s__t", &held, json!({"u1": {"action": "accept"}}));
        let again = scene.server.next(Method::ToolsCall).await;
        assert_eq!(again.params().get("requestState"), None);
        assert_eq!(again.params().get("inputResponses"), None);
        fail(&again);
        held = required(retry.ok().await);
    }
    let other = scene.client.clone().named("other");
    assert_eq!(other.retry("s__t", &held, json!({})).err().await["code"], -32602);
    let retry = scene.client.retry("s__t", &held, json!({"u1": {"action": "accept"}}));
    scene.server.next(Method::ToolsCall).await.answer(text("signed in"));
    assert_eq!(said(&retry.ok().await), "signed in");
    // A call that is made again may ask like any other.
    let call = scene.client.tool("s__t");
    fail(&scene.server.next(Method::ToolsCall).await);
    let held = required(call.ok().await);
    let retry = scene.client.retry("s__t", &held, json!({"u1": {"action": "accept"}}));
    let again = scene.server.next(Method::ToolsCall).await;
    again.ask(1, "elicitation/create", form("Who are you?"));
    let held = required(retry.ok().await);
    let retry = scene.client.retry("s__t", &held, json!({"u1": accept("me")}));
    assert_eq!(again.wire.answer_to(1).await, Ok(accept("me")));
    again.answer(text("hello"));
    assert_eq!(said(&retry.ok().await), "hello");
    // Whoever opens no pages is told what it would take.
    for capabilities in [json!({}), json!({"elicitation": {"form": {}}})] {
        let call = scene.client.clone().able(capabilities).tool("s__t");
        fail(&scene.server.next(Method::ToolsCall).await);
        let error = call.err().await;
        assert_eq!(error["code"], -32021, "{error}");
        assert_eq!(error["data"]["requiredCapabilities"], json!({"elicitation": {"url": {}}}));
    }
}

#[tokio::test(start_paused = true)]
async fn answers_without_state_begin_anew() {
    let scene = Scene::new(TransportKind::Http);
    let params = json!({"name": "s__t", "arguments": {}, "inputResponses": {"u1": accept("x")}});
    let call = scene.client.start(Method::ToolsCall, params);
    scene.server.next(Method::ToolsCall).await.answer(text("anew"));
    assert_eq!(said(&call.ok().await), "anew");
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_one_server_does_not_have_may_be_held_at_the_next() {
    let a = Server::scripted("a", TransportKind::Http, V2025_11_25);
    let b = Server::scripted("b", TransportKind::Http, V2025_11_25);
    let world = World::new(&[&a, &b]);
    let client = world.modern().able(able());
    let call = client.start(Method::ResourcesRead, json!({"uri": "x:1"}));
    a.next(Method::ResourcesRead).await.fail(-32002, "not here", None);
    let asked = b.next(Method::ResourcesRead).await;
    asked.ask(1, "elicitation/create", form("?"));
    let held = required(call.ok().await);
    assert!(held["inputRequests"]["u1"]["params"]["message"].as_str().unwrap().starts_with('b'), "{held}");
    let params =
        json!({"uri": "x:1", "inputResponses": {"u1": accept("x")}, "requestState": held["requestState"]});
    let retry = client.start(Method::ResourcesRead, params);
    assert_eq!(asked.wire.answer_to(1).await, Ok(accept("x")));
    asked.answer(json!({"contents": []}));
    retry.ok().await;
    assert_eq!(a.seen(&Method::ResourcesRead).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_taken_up_again_is_not_given_up_when_its_time_would_have_been_over() {
    let scene = Scene::with(TransportKind::Http, |settings| settings.park_timeout = Duration::from_secs(60));
    let (asked, held) = scene.held().await;
    pass(Duration::from_secs(50)).await;
    let retry = scene.client.retry("s__t", &held, json!({"u1": accept("because")}));
    asked.wire.answer_to(100).await.unwrap();
    pass(Duration::from_secs(20)).await;
    assert!(!asked.is_cancelled());
    asked.answer(text("I see"));
    assert_eq!(said(&retry.ok().await), "I see");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_its_client_waits_for_is_not_given_up_at_the_end() {
    let scene = Scene::new(TransportKind::Http);
    let (asked, held) = scene.held().await;
    let retry = scene.client.retry("s__t", &held, json!({"u1": accept("because")}));
    asked.wire.answer_to(100).await.unwrap();
    scene.world.bridge.close();
    pass(Duration::from_secs(2)).await;
    asked.answer(text("I see"));
    assert_eq!(said(&retry.ok().await), "I see");
}

#[tokio::test(start_paused = true)]
async fn no_question_is_left_open_by_a_call_that_is_over() {
    for kind in KINDS {
        // The client leaves before it could be asked.
        let scene = Scene::with(kind, |settings| settings.max_parked = 0);
        let call = scene.client.tool("s__t");
        let asked = scene.server.next(Method::ToolsCall).await;
        asked.ask(100, "elicitation/create", form("Why?"));
        settle().await;
        call.leave().await;
        asked.cancelled().await;
        if kind == TransportKind::Stdio {
            assert_eq!(asked.wire.answer_to(100).await, Ok(json!({"action": "cancel"})));
        }
        // It cannot be held.
        let call = scene.client.tool("s__t");
        let asked = scene.server.next(Method::ToolsCall).await;
        asked.ask(101, "elicitation/create", form("Why?"));
        assert_eq!(call.err().await["data"]["reason"], "upstream_busy");
        asked.cancelled().await;
        if kind == TransportKind::Stdio {
            assert_eq!(asked.wire.answer_to(101).await, Ok(json!({"action": "cancel"})));
        }
    }
    // The server has not waited for the answer.
    let scene = Scene::new(TransportKind::Stdio);
    let call = scene.client.tool("s__t");
    let asked = scene.server.next(Method::ToolsCall).await;
    asked.ask(100, "elicitation/create", form("Why?"));
    asked.answer(text("never mind"));
    assert_eq!(said(&call.ok().await), "never mind");
    assert_eq!(asked.wire.answer_to(100).await, Ok(json!({"action": "cancel"})));
}

#[tokio::test(start_paused = true)]
async fn the_latest_progress_of_a_held_call_is_told_when_it_is_taken_up_again() {
    for kind in KINDS {
        let scene = Scene::new(kind);
        let params = json!({"name": "s__t", "arguments": {}, "_meta": {"progressToken": "first"}});
        let call = scene.client.start(Method::ToolsCall, params);
        let asked = scene.server.next(Method::ToolsCall).await;
        asked.progress(1);
        asked.ask(100, "elicitation/create", form("Why?"));
        let held = required(call.ok().await);
        asked.progress(2);
        asked.progress(3);
        settle().await;
        let params = json!({
            "name": "s__t", "arguments": {}, "_meta": {"progressToken": "second"},
            "requestState": held["requestState"], "inputResponses": {"u1": accept("because")},
        });
        let retry = scene.client.start(Method::ToolsCall, params);
        asked.wire.answer_to(100).await.unwrap();
        asked.progress(4);
        let probe = retry.probe.clone();
        probe.hear("notifications/progress", 2).await;
        asked.answer(text("I see"));
        retry.ok().await;
        let told = probe.told_of("notifications/progress");
        let told: Vec<_> =
            told.iter().map(|told| (told["progressToken"].clone(), told["progress"].clone())).collect();
        assert_eq!(told, [(json!("second"), json!(3)), (json!("second"), json!(4))], "{kind:?}");
    }
}
