//! Stateless on both sides: what a server asks goes to the client as it is, and its state is sealed. Source: bridging
//! §6.4.

use std::time::Duration;

use mcp_protocol::Method;
use mcp_transport::TransportKind;
use serde_json::{Value, json};

use crate::held::able;
use crate::net::Server;
use crate::rounds::asks;
use crate::support::*;

fn server(name: &str) -> Server {
    Server::scripted(name, TransportKind::Http, V2026_07_28).tools(&["t"])
}

fn a_form() -> Value {
    json!({"q": {"method": "elicitation/create", "params": form("Who?")}})
}

#[tokio::test(start_paused = true)]
async fn state_comes_back_to_the_server_byte_by_byte() {
    let states = [
        r#""plain""#,
        r#""""#,
        r#""gr\u00fc\u00dfe – ünïcödé 😀 \ud83d\ude00 \/ \\ \" \n""#,
        r#""\u0000\u001f""#,
    ];
    for kind in KINDS {
        let server = Server::scripted("s", kind, V2026_07_28).tools(&["t"]);
        let world = World::new(&[&server]);
        let client = world.modern_at(&one("s")).able(able());
        for state in states {
            let call = client.tool("t");
            let requests = r#"{"q":{"method":"elicitation/create","params":{"z":12345678901234567890,"message":"Who?","requestedSchema":{"type":"object","properties":{}},"a":1.0}}}"#;
            let result = format!(
                r#"{{"x":1e400,"inputRequests":{requests},"requestState":{state},"resultType":"input_required"}}"#
            );
            server.next(Method::ToolsCall).await.answer(result);
            let raw = call.raw().await;
            assert!(raw.contains(requests) && raw.contains(r#""x":1e400"#), "{raw}");
            assert!(!raw.contains(&format!(r#""requestState":{state}"#)), "it is sealed: {raw}");
            let sealed = json_of(&raw).get("requestState").unwrap();
            let answers = r#"{"q":{"content":{"n":12345678901234567890},"action":"accept","more":1.0}}"#;
            let params = format!(
                r#"{{"name":"t","arguments":{{}},"requestState":{sealed},"inputResponses":{answers}}}"#,
                sealed = sealed.as_str()
            );
            let retry = client.start(Method::ToolsCall, params);
            let again = server.next(Method::ToolsCall).await;
            assert!(again.raw().contains(&format!(r#""requestState":{state}"#)), "{}", again.raw());
            assert!(again.raw().contains(answers), "{}", again.raw());
            again.answer(complete("done"));
            assert_eq!(said(&retry.ok().await), "done");
        }
        assert_eq!(world.bridge.held_calls(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn no_state_stays_none_and_rounds_follow_one_another() {
    let server = server("s");
    let world = World::new(&[&server]);
    let client = world.modern().able(able());
    let call = client.tool("s__t");
    let first = server.next(Method::ToolsCall).await;
    assert_eq!(first.params()["_meta"]["io.modelcontextprotocol/clientCapabilities"], able());
    first.answer(asks(a_form(), None));
    let mut asked = call.ok().await;
    let message = asked["inputRequests"]["q"]["params"]["message"].as_str().unwrap();
    assert!(message.starts_with('s') && message.ends_with("Who?"), "{message}");
    for round in 0..3 {
        let retry = client.retry("s__t", &asked, json!({"q": {"action": "decline"}}));
        let again = server.next(Method::ToolsCall).await;
        let state = (round > 0).then(|| json!(format!("state {round}")));
        assert_eq!(again.params().get("requestState"), state.as_ref());
        assert_eq!(again.params()["name"], "t");
        again.answer(asks(json!({"r": {"method": "roots/list"}}), Some(&format!("state {}", round + 1))));
        asked = retry.ok().await;
        assert_eq!(asked["inputRequests"], json!({"r": {"method": "roots/list"}}));
    }
    // State alone.
    let retry = client.retry("s__t", &asked, json!({"r": {"roots": []}}));
    server
        .next(Method::ToolsCall)
        .await
        .answer(json!({"resultType": "input_required", "requestState": "wait"}));
    let asked = retry.ok().await;
    let params = json!({"name": "s__t", "arguments": {}, "requestState": asked["requestState"]});
    let retry = client.start(Method::ToolsCall, params);
    let last = server.next(Method::ToolsCall).await;
    assert_eq!(last.params()["requestState"], "wait");
    last.answer(complete("done"));
    retry.ok().await;
}

#[tokio::test(start_paused = true)]
async fn state_is_good_for_one_principal_one_request_and_some_time() {
    let server = server("s");
    let world = World::new(&[&server]);
    let client = world.modern().able(able()).named("mine");
    let call = client.tool("s__t");
    server.next(Method::ToolsCall).await.answer(asks(a_form(), Some("secret")));
    let asked = call.ok().await;
    assert!(!asked["requestState"].as_str().unwrap().contains("secret"));
    let answers = json!({"q": {"action": "decline"}});
    let other = client.clone().named("theirs");
    assert_eq!(other.retry("s__t", &asked, answers.clone()).err().await["code"], -32602);
    let params = json!({"name": "s__t", "arguments": {"x": 1}, "requestState": asked["requestState"], "inputResponses": answers});
    assert_eq!(client.start(Method::ToolsCall, params).err().await["code"], -32602);
    // The server's own is none of ours.
    let params =
        json!({"name": "s__t", "arguments": {}, "requestState": "secret", "inputResponses": answers});
    assert_eq!(client.start(Method::ToolsCall, params).err().await["code"], -32602);
    world.clock.advance(Duration::from_secs(601));
    assert_eq!(client.retry("s__t", &asked, answers).err().await["code"], -32602);
    assert_eq!(server.seen(&Method::ToolsCall).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_member_of_a_group_that_asked_gets_the_answer() {
    let (a, b) = (server("a"), server("b"));
    let world = World::with(
        &[&a, &b],
        |_| {},
        |definition| {
            definition.group = Some("g".parse().unwrap());
            definition.priority = if definition.name.as_str() == "a" { 90 } else { 50 };
        },
    );
    for (scope, tool) in [(mcp_bridge::Scope::All, "g__t"), (one("g"), "t")] {
        let client = world.modern_at(&scope).able(able());
        client.call(Method::ToolsList, json!({})).await;
        world.manager.mark_degraded("a", "for the test").unwrap();
        let call = client.tool(tool);
        b.next(Method::ToolsCall).await.answer(asks(a_form(), Some("of b")));
        let asked = call.ok().await;
        world.manager.mark_healthy("a").unwrap();
        let retry = client.retry(tool, &asked, json!({"q": {"action": "decline"}}));
        let again = b.next(Method::ToolsCall).await;
        assert_eq!(again.params()["requestState"], "of b");
        again.answer(complete("b"));
        assert_eq!(said(&retry.ok().await), "b");
        assert_eq!(a.seen(&Method::ToolsCall).len(), 0);
    }
    // Whoever asked is gone: nobody else can read the state.
    let client = world.modern().able(able());
    let call = client.tool("g__t");
    a.next(Method::ToolsCall).await.answer(asks(a_form(), Some("of a")));
    let asked = call.ok().await;
    world.manager.unregister("a").await.unwrap();
    let error = client.retry("g__t", &asked, json!({"q": {"action": "decline"}})).err().await;
    assert!(error["code"].is_i64(), "{error}");
    assert_eq!(b.seen(&Method::ToolsCall).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_hidden_by_now_gets_no_answer() {
    let (a, b) = (server("a"), server("b"));
    let in_group = |mut definition: mcp_registry::Definition| {
        definition.group = Some("g".parse().unwrap());
        definition
    };
    let world = World::with(&[&a, &b], |_| {}, |definition| *definition = in_group(definition.clone()));
    for (scope, tool) in [(mcp_bridge::Scope::All, "g__t"), (one("g"), "t")] {
        let client = world.modern_at(&scope).able(able());
        let ask = async || {
            let call = client.tool(tool);
            a.next(Method::ToolsCall).await.answer(asks(a_form(), Some("of a")));
            call.ok().await
        };
        let register = async |definition: mcp_registry::Definition| {
            world.manager.unregister("a").await.unwrap();
            world.manager.register(definition).unwrap();
            pass(Duration::from_secs(1)).await;
        };
        let asked = ask().await;
        // The tool is not shown any more.
        let mut denying = in_group(definition(&a));
        denying.exposure.tools.deny = vec!["t".parse().unwrap()];
        register(denying).await;
        let before = a.seen(&Method::ToolsCall).len();
        let error = client.retry(tool, &asked, json!({"q": {"action": "decline"}})).err().await;
        assert_eq!(error["code"], -32602, "{error}");
        // It is in the group no more.
        register(in_group(definition(&a))).await;
        let asked = ask().await;
        register(definition(&a)).await;
        let error = client.retry(tool, &asked, json!({"q": {"action": "decline"}})).err().await;
        assert_eq!(error["code"], -32602, "{error}");
        assert_eq!(a.seen(&Method::ToolsCall).len(), before + 1);
        register(in_group(definition(&a))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_breaks_the_protocol_is_not_passed_on() {
    let long = "x".repeat(65 << 10);
    for (capabilities, result) in [
        // Not declared.
        (json!({}), asks(a_form(), None)),
        (json!({"elicitation": {"url": {}}}), asks(a_form(), None)),
        (json!({"sampling": {}}), asks(json!({"r": {"method": "roots/list"}}), None)),
        (able(), asks(a_form(), Some(&long))),
        (able(), json!({"resultType": "input_required", "inputRequests": 7})),
        (able(), json!({"resultType": "surprise", "content": []})),
        (json!({}), json!({"resultType": "surprise", "content": []})),
        (able(), json!({"resultType": 5, "content": []})),
    ] {
        let server = server("s");
        let world = World::new(&[&server]);
        let call = world.modern().able(capabilities).tool("s__t");
        server.next(Method::ToolsCall).await.answer(&result);
        let error = call.err().await;
        assert_eq!(error["code"], -32603, "{result}: {error}");
    }
    // What asks nothing of anybody may not begin to.
    let server = server("s").on(Method::ToolsList, |asked| asked.answer(asks(a_form(), None)));
    let world = World::new(&[&server]);
    let alone = world.modern_at(&one("s")).able(able());
    let params =
        json!({"ref": {"type": "ref/resource", "uri": "x:{y}"}, "argument": {"name": "y", "value": ""}});
    let call = alone.start(Method::CompletionComplete, params);
    server.next(Method::CompletionComplete).await.answer(asks(a_form(), None));
    assert_eq!(call.err().await["code"], -32603);
    assert_eq!(alone.refused(Method::ToolsList, json!({})).await["code"], -32603);
}

#[tokio::test(start_paused = true)]
async fn progress_and_levels_are_those_of_each_request() {
    let server = server("s");
    let world = World::new(&[&server]);
    let mut client = world.modern().able(able());
    let call = client.start(
        Method::ToolsCall,
        json!({"name": "s__t", "arguments": {}, "_meta": {"progressToken": "a", "traceparent": "00-1-2-03"}}),
    );
    let probe = call.probe.clone();
    let first = server.next(Method::ToolsCall).await;
    let meta = &first.params()["_meta"];
    assert_eq!(meta["traceparent"], "00-1-2-03");
    assert_eq!(meta.get("io.modelcontextprotocol/logLevel"), None);
    first.progress(1);
    first.tell("notifications/message", json!({"level": "error", "data": "not wanted"}));
    first.answer(asks(a_form(), Some("s")));
    let asked = call.ok().await;
    assert_eq!(
        probe.told(),
        [json!({"method": "notifications/progress", "params": {"progressToken": "a", "progress": 1}})]
    );
    client.level = Some(mcp_protocol::logging::LogLevel::Error);
    let params = json!({"name": "s__t", "arguments": {}, "_meta": {"progressToken": 1}, "requestState": asked["requestState"], "inputResponses": {}});
    let retry = client.start(Method::ToolsCall, params);
    let probe = retry.probe.clone();
    let second = server.next(Method::ToolsCall).await;
    assert_eq!(second.params()["_meta"]["io.modelcontextprotocol/logLevel"], "error");
    second.progress(2);
    second.tell("notifications/message", json!({"level": "info", "data": "too little"}));
    second.tell("notifications/message", json!({"level": "alert", "data": "wanted"}));
    second.answer(complete("done"));
    retry.ok().await;
    assert_eq!(probe.told_of("notifications/progress"), [json!({"progressToken": 1, "progress": 2})]);
    assert_eq!(probe.told_of("notifications/message"), [json!({"level": "alert", "data": "wanted"})]);
}

/// Bridging §5: what a client says of itself is for its own leg.
#[tokio::test(start_paused = true)]
async fn a_server_of_the_handshake_era_hears_nothing_of_the_other_one() {
    for kind in KINDS {
        let server = Server::scripted("s", kind, V2025_11_25).tools(&["t"]);
        let world = World::new(&[&server]);
        let mut client = world.modern_at(&one("s")).able(able());
        client.level = Some(mcp_protocol::logging::LogLevel::Error);
        let meta =
            json!({"io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1"}, "vendor/x": 1.0});
        for (method, params) in [
            (Method::ToolsCall, json!({"name": "t", "arguments": {}, "_meta": meta})),
            (Method::ResourcesRead, json!({"uri": "file:///x", "_meta": meta})),
        ] {
            let call = client.start(method.clone(), params);
            let asked = server.next(method.clone()).await;
            assert_eq!(asked.params()["_meta"], json!({"vendor/x": 1.0}), "{kind:?} {method}");
            asked.answer(json!({"content": [], "contents": []}));
            call.ok().await;
        }
    }
}
