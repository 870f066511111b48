//! Extensions that nobody here knows.

use mcp_bridge::Scope;
use mcp_protocol::{Era, Method};
use mcp_transport::TransportKind;
use serde_json::json;

use crate::net::Server;
use crate::support::*;

#[tokio::test(start_paused = true)]
async fn what_is_unknown_passes_between_sides_of_one_era_where_there_is_one_server() {
    let odd = || Method::from("x/read");
    for upstream in [V2025_11_25, V2026_07_28] {
        let capabilities = json!({"tools": {}, "extensions": {"x/y": {"deep": [1.0]}}});
        let server = Server::scripted("s", TransportKind::Http, upstream).capable(capabilities);
        let world = World::new(&[&server]);
        let able = json!({"extensions": {"x/y": {"n": 1}}});
        for version in [V2025_11_25, V2026_07_28] {
            let passes = version.era() == upstream.era();
            for scope in [one("s"), Scope::All] {
                let passes = passes && scope != Scope::All;
                let what = format!("{version} to {upstream} at {scope:?}");
                let params = json!({"n": 1, "_meta": {"vendor": 7}});
                let (offered, call) = if version.era() == Era::Stateless {
                    let client = world.modern_at(&scope).able(able.clone());
                    let offered = client.call(Method::ServerDiscover, json!({})).await;
                    (offered, client.start(odd(), &params))
                } else {
                    let client = world.classic_at(&scope, version, able.clone()).await;
                    let call = client.start(odd(), &params);
                    (client.opened, call)
                };
                let offered = offered["capabilities"]["extensions"].get("x/y").cloned();
                assert_eq!(offered, passes.then(|| json!({"deep": [1.0]})), "{what}");
                if !passes {
                    assert_eq!(call.err().await["code"], -32601, "{what}");
                    continue;
                }
                let asked = server.next(odd()).await;
                assert_eq!(
                    (&asked.params()["n"], &asked.params()["_meta"]["vendor"]),
                    (&json!(1), &json!(7))
                );
                let said = match version.era() {
                    Era::Stateless => {
                        asked.params()["_meta"]["io.modelcontextprotocol/clientCapabilities"].clone()
                    }
                    Era::Handshake => asked.wire.capabilities(),
                };
                assert_eq!(said, able, "{what}");
                // Hints about its freshness are the extension's own.
                let result = r#"{"ttlMs":5,"cacheScope":"public","resultType":"complete","a":[1.0]}"#;
                asked.answer(result);
                assert_eq!(call.raw().await, result, "{what}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_of_what_is_unknown_are_passed_on() {
    let server = Server::scripted("s", TransportKind::Http, V2026_07_28).capable(json!({}));
    let world = World::new(&[&server]);
    for (code, seen) in [(-32602, -32602), (-32601, -32601), (-32005, -32603)] {
        let call = world.modern_at(&one("s")).start(Method::from("x/y"), json!({}));
        server.next(Method::from("x/y")).await.fail(code, "no", None);
        assert_eq!(call.err().await["code"], seen);
    }
    let call = world.modern_at(&one("s")).start(Method::from("x/y"), json!({}));
    server
        .next(Method::from("x/y"))
        .await
        .answer(json!({"resultType": "input_required", "requestState": "s"}));
    assert_eq!(call.err().await["code"], -32603);
}

#[tokio::test(start_paused = true)]
async fn notifications_of_extensions_are_between_a_client_and_its_own_session() {
    let server = Server::scripted("s", TransportKind::Http, V2025_11_25).tools(&["t"]);
    let server = server.on(Method::ToolsCall, |asked| asked.answer(text("done")));
    let world = World::new(&[&server]);
    for (scope, tool, passes) in [(one("s"), "t", true), (Scope::All, "s__t", false)] {
        let client = world.classic_at(&scope, V2025_11_25, json!({"roots": {}})).await;
        client.tool(tool).ok().await;
        let wire = server.seen(&Method::ToolsCall).last().unwrap().wire.clone();
        // The session is listened to from now on.
        settle().await;
        client.notify(Method::from("notifications/x"));
        wire.tell("notifications/y", json!({"a": 1}));
        wire.tell("notifications/message", json!({"level": "info", "data": 1}));
        settle().await;
        let told = client.probe.told_of("notifications/y");
        assert_eq!(told.len(), usize::from(passes), "{scope:?}");
        assert_eq!(server.notified(&Method::from("notifications/x")).len(), 1);
    }
}
