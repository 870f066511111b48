//! A stateless server has to know more, and the client is one of the handshake era. Source: bridging §6.2.

use mcp_protocol::Method;
use mcp_transport::TransportKind;
use serde_json::{Value, json};

use crate::held::able;
use crate::net::Server;
use crate::support::*;

fn server(kind: TransportKind) -> Server {
    Server::scripted("s", kind, V2026_07_28).tools(&["t"]).list("prompts", &[json!({"name": "p"})])
}

/// What a server asks for, and its state.
pub(crate) fn asks(requests: Value, state: Option<&str>) -> Value {
    let mut result = json!({"resultType": "input_required", "inputRequests": requests});
    if let Some(state) = state {
        result["requestState"] = state.into();
    }
    result
}

fn question(method: &str, params: Value) -> Value {
    json!({"method": method, "params": params})
}

#[tokio::test(start_paused = true)]
async fn the_client_is_asked_and_the_request_sent_again() {
    for kind in KINDS {
        let server = server(kind);
        let world = World::new(&[&server]);
        let session = world.classic(V2025_11_25, able()).await;
        session.call(Method::LoggingSetLevel, json!({"level": "warning"})).await;
        let params = json!({"name": "s__t", "arguments": {"x": 1}, "_meta": {"progressToken": 5}});
        let call = session.start(Method::ToolsCall, params);
        let probe = call.probe.clone();
        let first = server.next(Method::ToolsCall).await;
        let meta = &first.params()["_meta"];
        assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], able());
        assert_eq!(meta["io.modelcontextprotocol/logLevel"], "warning");
        assert!(meta.get("progressToken").is_some_and(|token| *token != 5), "{meta}");
        first.progress(1);
        let requests = json!({
            "form": question("elicitation/create", form("Who?")),
            "roots": {"method": "roots/list"},
            "model": question("sampling/createMessage", sampling("Think")),
        });
        first.answer(asks(requests, Some("state 1")));
        for _ in 0..3 {
            let asked = probe.question().await;
            match asked.method {
                Method::ElicitationCreate => {
                    assert!(asked.params["message"].as_str().unwrap().starts_with('s'), "{}", asked.params);
                    asked.answer(json!({"action": "accept", "content": {"answer": "me"}, "unknown": 1}));
                }
                Method::RootsList => asked.answer(json!({"roots": [{"uri": "file:///x"}]})),
                _ => asked.answer(
                    json!({"role": "assistant", "model": "m", "content": [{"type": "text", "text": "Hm."}]}),
                ),
            }
        }
        let second = server.next(Method::ToolsCall).await;
        assert_ne!(second.request.id, first.request.id);
        let params = second.params();
        assert_eq!(params["requestState"], "state 1");
        assert_eq!(params["arguments"], json!({"x": 1}));
        let answers = &params["inputResponses"];
        assert_eq!(answers["form"], json!({"action": "accept", "content": {"answer": "me"}, "unknown": 1}));
        assert_eq!(answers["roots"], json!({"roots": [{"uri": "file:///x"}]}));
        assert_eq!(answers["model"]["content"], json!([{"type": "text", "text": "Hm."}]));
        second.progress(2);
        // Again, of which only the state of the last time is left.
        second.answer(asks(json!({"again": question("elicitation/create", form("Sure?"))}), None));
        probe.question().await.answer(json!({"action": "decline"}));
        let third = server.next(Method::ToolsCall).await;
        let params = third.params();
        assert_eq!(params.get("requestState"), None, "absent stays absent");
        assert_eq!(params["inputResponses"], json!({"again": {"action": "decline"}}));
        third.answer(complete("done"));
        let result = call.ok().await;
        assert_eq!((said(&result), result.get("resultType")), ("done", None));
        let told = probe.told_of("notifications/progress");
        assert_eq!(
            told,
            [json!({"progressToken": 5, "progress": 1}), json!({"progressToken": 5, "progress": 2})]
        );
        assert!(!session.probe.is_asked().await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_patience_alone_is_asked_again_a_little_later() {
    let server = server(TransportKind::Http);
    let world = World::new(&[&server]);
    let session = world.classic(V2025_06_18, able()).await;
    let started = tokio::time::Instant::now();
    let call = session.tool("s__t");
    let mut waits = Vec::new();
    for round in 0..4 {
        let asked = server.next(Method::ToolsCall).await;
        waits.push(started.elapsed());
        let params = asked.params();
        assert_eq!(params.get("inputResponses").filter(|answers| **answers != json!({})), None);
        assert_eq!(params.get("requestState"), (round > 0).then(|| json!(format!("{}", round - 1))).as_ref());
        asked.answer(json!({"resultType": "input_required", "requestState": round.to_string()}));
    }
    server.next(Method::ToolsCall).await.answer(complete("at last"));
    assert_eq!(said(&call.ok().await), "at last");
    assert!(waits.windows(2).all(|pair| pair[0] < pair[1]), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_has_enough_is_given_up() {
    let server = server(TransportKind::Http).on(Method::ToolsCall, |asked| {
        asked.answer(asks(json!({"x": {"method": "roots/list"}}), None));
    });
    let world = World::new(&[&server]);
    let session = world.classic(V2025_11_25, able()).await;
    let call = session.tool("s__t");
    let probe = call.probe.clone();
    for _ in 0..10 {
        probe.question().await.answer(json!({"roots": []}));
    }
    let error = call.err().await;
    assert_eq!(error["code"], -32603, "{error}");
    assert!(!probe.is_asked().await);
    assert_eq!(server.seen(&Method::ToolsCall).len(), 11);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_declared_is_not_asked() {
    for (capabilities, asked) in [
        (json!({}), question("elicitation/create", form("?"))),
        (json!({"roots": {}}), question("elicitation/create", form("?"))),
        (
            json!({"elicitation": {"form": {}}}),
            question(
                "elicitation/create",
                json!({"mode": "url", "url": "https://x.example/", "message": "?"}),
            ),
        ),
    ] {
        let server = server(TransportKind::Http);
        let world = World::new(&[&server]);
        let session = world.classic(V2025_11_25, capabilities.clone()).await;
        let call = session.tool("s__t");
        let probe = call.probe.clone();
        let first = server.next(Method::ToolsCall).await;
        assert_eq!(first.params()["_meta"]["io.modelcontextprotocol/clientCapabilities"], capabilities);
        first.answer(asks(json!({"x": asked}), None));
        let error = call.err().await;
        assert_eq!(
            (&error["code"], &error["data"]["reason"]),
            (&json!(-32603), &json!("invalid_response")),
            "{error}"
        );
        assert!(!probe.is_asked().await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_capability_that_a_client_lacks_is_named() {
    let server = server(TransportKind::Http);
    let world = World::new(&[&server]);
    let session = world.classic(V2025_03_26, able()).await;
    let needs = |asked: crate::net::Asked| {
        let required = json!({"requiredCapabilities": {"elicitation": {"form": {}}}});
        asked.fail(-32021, "needs a form", Some(required));
    };
    let call = session.tool("s__t");
    needs(server.next(Method::ToolsCall).await);
    let result = call.ok().await;
    assert_eq!(result["isError"], true, "{result}");
    assert!(said(&result).contains("elicitation"), "{result}");
    let call = session.start(Method::PromptsGet, json!({"name": "s__p"}));
    needs(server.next(Method::PromptsGet).await);
    let error = call.err().await;
    assert_eq!(error["code"], -32600, "{error}");
    assert_eq!(error["data"]["requiredCapabilities"], json!({"elicitation": {"form": {}}}), "{error}");
    // One that it has is a mistake of ours or of the server.
    let call = world.modern().able(able()).tool("s__t");
    needs(server.next(Method::ToolsCall).await);
    assert_eq!(call.err().await["code"], -32603);
    let call = world.modern().tool("s__t");
    needs(server.next(Method::ToolsCall).await);
    assert_eq!(call.err().await["code"], -32021);
}

#[tokio::test(start_paused = true)]
async fn a_form_that_is_refused_counts_as_put_away() {
    let server = server(TransportKind::Http);
    let world = World::new(&[&server]);
    let session = world.classic(V2025_06_18, able()).await;
    let call = session.tool("s__t");
    let probe = call.probe.clone();
    let requests = json!({"x": question("elicitation/create", form("?"))});
    server.next(Method::ToolsCall).await.answer(asks(requests, Some("s")));
    let asked = probe.question().await;
    assert_eq!(asked.params.get("mode"), None, "unknown to the client");
    asked.refuse(-32603, "no");
    let second = server.next(Method::ToolsCall).await;
    assert_eq!(second.params()["inputResponses"], json!({"x": {"action": "cancel"}}));
    second.answer(complete("fine"));
    call.ok().await;
}

#[tokio::test(start_paused = true)]
async fn a_model_or_roots_that_are_refused_end_the_call() {
    let server = server(TransportKind::Http);
    let world = World::new(&[&server]);
    let session = world.classic(V2025_11_25, able()).await;
    for (refused, method) in [
        (question("sampling/createMessage", sampling("?")), "sampling"),
        (json!({"method": "roots/list"}), "roots"),
    ] {
        let requests = json!({"refused": refused, "sibling": question("elicitation/create", form("?"))});
        for tool in [true, false] {
            let call = match tool {
                true => session.tool("s__t"),
                false => session.start(Method::PromptsGet, json!({"name": "s__p"})),
            };
            let probe = call.probe.clone();
            let sent = server.next(if tool { Method::ToolsCall } else { Method::PromptsGet }).await;
            sent.answer(asks(requests.clone(), None));
            let (one, other) = (probe.question().await, probe.question().await);
            let (refused, sibling) =
                if one.method == Method::ElicitationCreate { (other, one) } else { (one, other) };
            refused.refuse(-1, "not today");
            sibling.taken_back().await;
            if tool {
                let result = call.ok().await;
                assert_eq!(result["isError"], true, "{result}");
                assert!(said(&result).contains(method) && said(&result).contains("not today"), "{result}");
            } else {
                let error = call.err().await;
                assert_eq!(
                    (&error["code"], &error["data"]["reason"]),
                    (&json!(-32603), &json!("client_refused")),
                    "{error}"
                );
                assert!(error["message"].as_str().unwrap().contains("not today"), "{error}");
            }
        }
    }
    assert_eq!(server.seen(&Method::ToolsCall).len(), 2, "nothing is sent again");
}

#[tokio::test(start_paused = true)]
async fn pages_get_an_id_and_forms_the_words_of_the_clients_revision() {
    let server = server(TransportKind::Http);
    let world = World::new(&[&server]);
    let session = world.classic_at(&one("s"), V2025_11_25, able()).await;
    let call = session.tool("t");
    let probe = call.probe.clone();
    let page = json!({"mode": "url", "message": "Sign in", "url": "https://x.example/"});
    server
        .next(Method::ToolsCall)
        .await
        .answer(asks(json!({"x": question("elicitation/create", page)}), None));
    let asked = probe.question().await;
    assert_eq!((&asked.params["message"], &asked.params["mode"]), (&json!("Sign in"), &json!("url")));
    assert!(asked.params["elicitationId"].as_str().is_some_and(|id| !id.is_empty()), "{}", asked.params);
    asked.answer(json!({"action": "accept"}));
    let second = server.next(Method::ToolsCall).await;
    assert_eq!(second.params()["inputResponses"], json!({"x": {"action": "accept"}}));
    second.answer(complete("done"));
    call.ok().await;

    // Options that the client has no list for, and too many of them chosen, twice.
    let session = world.classic_at(&one("s"), V2025_06_18, able()).await;
    let call = session.tool("t");
    let probe = call.probe.clone();
    let list = json!({"type": "array", "items": {"type": "string", "enum": ["a", "b", "c"]}, "maxItems": 1});
    let many =
        json!({"message": "Which?", "requestedSchema": {"type": "object", "properties": {"list": list}}});
    server
        .next(Method::ToolsCall)
        .await
        .answer(asks(json!({"x": question("elicitation/create", many.clone())}), None));
    for _ in 0..2 {
        let asked = probe.question().await;
        let fields = asked.params["requestedSchema"]["properties"].as_object().unwrap().clone();
        assert_eq!(fields.len(), 3, "{fields:?}");
        let all = fields.keys().map(|field| (field.clone(), json!(true))).collect::<serde_json::Map<_, _>>();
        asked.answer(json!({"action": "accept", "content": all}));
    }
    let second = server.next(Method::ToolsCall).await;
    assert_eq!(second.params()["inputResponses"], json!({"x": {"action": "cancel"}}));
    second.answer(asks(json!({"x": question("elicitation/create", many)}), None));
    let asked = probe.question().await;
    let fields = asked.params["requestedSchema"]["properties"].as_object().unwrap().clone();
    let first = fields.keys().enumerate().map(|(at, field)| (field.clone(), json!(at == 0)));
    asked.answer(json!({"action": "accept", "content": first.collect::<serde_json::Map<_, _>>()}));
    let third = server.next(Method::ToolsCall).await;
    assert_eq!(third.params()["inputResponses"]["x"]["content"], json!({"list": ["a"]}));
    third.answer(complete("done"));
    call.ok().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_taken_back_takes_its_questions_along() {
    let server = server(TransportKind::Http);
    let world = World::new(&[&server]);
    let session = world.classic(V2025_11_25, able()).await;
    let call = session.tool("s__t");
    let probe = call.probe.clone();
    let requests = json!({"x": question("elicitation/create", form("?"))});
    server.next(Method::ToolsCall).await.answer(asks(requests, None));
    let asked = probe.question().await;
    call.leave().await;
    asked.taken_back().await;
    assert_eq!(server.seen(&Method::ToolsCall).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_page_is_opened_once_and_waited_for() {
    let server = server(TransportKind::Http);
    let world = World::new(&[&server]);
    let session = world.classic_at(&one("s"), V2025_11_25, able()).await;
    let call = session.tool("t");
    let probe = call.probe.clone();
    let page = |url: &str| {
        let page = json!({"mode": "url", "message": "Sign in", "url": url});
        asks(json!({"x": question("elicitation/create", page)}), Some("s"))
    };
    server.next(Method::ToolsCall).await.answer(page("https://x.example/"));
    let asked = probe.question().await;
    let id = asked.params["elicitationId"].clone();
    asked.answer(json!({"action": "accept"}));
    let accepted = json!({"x": {"action": "accept"}});
    let mut waits = Vec::new();
    for _ in 0..4 {
        let start = tokio::time::Instant::now();
        let again = server.next(Method::ToolsCall).await;
        waits.push(start.elapsed().as_secs());
        assert_eq!(again.params()["inputResponses"], accepted);
        assert!(!probe.is_asked().await);
        again.answer(page("https://x.example/"));
    }
    assert_eq!(waits, [0, 1, 2, 4]);
    // Another page is another question.
    server.next(Method::ToolsCall).await.answer(page("https://y.example/"));
    probe.question().await.answer(json!({"action": "decline"}));
    assert_eq!(probe.told_of("notifications/elicitation/complete"), Vec::<Value>::new());
    server.next(Method::ToolsCall).await.answer(complete("done"));
    call.ok().await;
    assert_eq!(probe.told_of("notifications/elicitation/complete"), [json!({"elicitationId": id})]);
}

#[tokio::test(start_paused = true)]
async fn progress_rises_over_all_rounds() {
    let server = server(TransportKind::Http);
    let world = World::new(&[&server]);
    let session = world.classic(V2025_11_25, able()).await;
    let params = json!({"name": "s__t", "arguments": {}, "_meta": {"progressToken": 5}});
    let call = session.start(Method::ToolsCall, params);
    let probe = call.probe.clone();
    let first = server.next(Method::ToolsCall).await;
    first.progress(1);
    first.progress(3);
    first.answer(asks(json!({"x": {"method": "roots/list"}}), None));
    probe.question().await.answer(json!({"roots": []}));
    let second = server.next(Method::ToolsCall).await;
    for progress in [1, 3, 4] {
        second.progress(progress);
    }
    second.answer(complete("done"));
    call.ok().await;
    let told = probe.told_of("notifications/progress");
    let told: Vec<_> = told.iter().map(|told| told["progress"].as_i64().unwrap()).collect();
    assert_eq!(told, [1, 3, 4]);
}
