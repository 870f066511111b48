//! Calls on behalf of users with a token (contract §8.5). The scripted servers speak the handshake era.

use std::time::Duration;

use mcp_manager::{DirectedCall, Manager, RoutedCall, UserContext};
use mcp_protocol::Method;
use mcp_registry::{ConnectionFilter, InvocationFilter, RegistryFilter, Status};
use mcp_testkit::{Action, Traffic};

use crate::support::{World, definition, routed};

fn user(token: &str) -> UserContext {
    UserContext { user_id: Some("u1".into()), token: Some(token.into()) }
}

fn directed(server: &str, token: &str) -> DirectedCall {
    DirectedCall { user: user(token), ..DirectedCall::new(server, "search") }
}

fn on_behalf(token: &str, preferred: &[&str]) -> RoutedCall {
    RoutedCall { user: user(token), ..routed(Method::ToolsCall, preferred) }
}

/// (method, session, token) of the traffic after the first `skip` messages.
fn tokens(world: &World, skip: usize) -> Vec<(String, String, Option<String>)> {
    let one = |traffic: Traffic| {
        let token = traffic.header("authorization").map(str::to_owned);
        (traffic.method, traffic.session, token)
    };
    world.cluster.traffic().into_iter().skip(skip).map(one).collect()
}

fn seen(method: &str, session: &str, token: Option<&str>) -> (String, String, Option<String>) {
    let token = token.map(|token| format!("Bearer {token}"));
    (method.into(), session.into(), token)
}

#[tokio::test]
async fn a_user_of_a_server_with_sessions_has_one_of_their_own() {
    let world = World::new(&["p"], |_| {});
    world.tool(&[]).await.unwrap();
    for _ in 0..2 {
        world.manager.call_tool_on_server(directed("p", "t1")).await.unwrap();
    }
    world.manager.call_tool_on_server(directed("p", "t2")).await.unwrap();
    world.tool(&[]).await.unwrap();
    let (init, ready, call) = ("initialize", "notifications/initialized", "tools/call");
    let expected = [
        (init, 1, None),
        (ready, 1, None),
        (call, 1, None),
        (init, 2, Some("t1")),
        (ready, 2, Some("t1")),
        (call, 2, Some("t1")),
        (call, 2, Some("t1")),
        (init, 3, Some("t2")),
        (ready, 3, Some("t2")),
        (call, 3, Some("t2")),
        (call, 1, None),
    ];
    let expected = expected.map(|(method, n, token)| seen(method, &format!("p-session-{n}"), token));
    assert_eq!(tokens(&world, 0), expected);
    assert_eq!(world.record("p").status, Status::Healthy);
}

#[tokio::test]
async fn a_routed_call_takes_the_token_only_to_servers_meant_to_get_it() {
    let world = World::new(&["plain"], |_| {});
    let mut trusted = definition("trusted");
    trusted.forward_user_token = true;
    world.manager.register(trusted).unwrap();
    world.cluster.script("plain", "tools/call", [Action::Error]);
    let served = world.manager.call(on_behalf("t1", &["plain"])).await.unwrap();
    assert_eq!(served.server.as_str(), "trusted");
    for entry in world.cluster.traffic() {
        let token = entry.header("authorization");
        assert_eq!(token.is_some(), entry.server == "trusted", "{entry:?}");
        assert_eq!(entry.headers.iter().any(|header| header.sensitive), token.is_some());
    }
    // No token, no session of one's own.
    let empty = RoutedCall { user: user(""), ..routed(Method::ToolsCall, &["trusted"]) };
    let skip = world.cluster.traffic().len();
    world.manager.call(empty).await.unwrap();
    assert!(tokens(&world, skip).iter().all(|(_, _, token)| token.is_none()));
}

#[tokio::test]
async fn credentials_a_server_does_not_take_are_held_against_nobody() {
    let world = World::new(&["p"], |_| {});
    world.tool(&[]).await.unwrap();
    for (method, status) in [("initialize", 401), ("initialize", 403), ("tools/call", 401)] {
        world.cluster.script("p", method, [Action::HttpStatus(status)]);
        world
            .manager
            .call_tool_on_server(directed("p", &format!("bad {method} {status}")))
            .await
            .unwrap_err();
        let record = world.record("p");
        assert_eq!((record.status, record.consecutive_failures), (Status::Healthy, 0), "{method} {status}");
        assert!(record.initialized, "the shared session is another one");
    }
    // Without a user it is the gateway's own credentials that are refused.
    world.cluster.script("p", "tools/call", [Action::HttpStatus(401)]);
    world.tool(&[]).await.unwrap_err();
    assert_eq!(world.status("p"), Status::Degraded);
}

#[tokio::test]
async fn a_users_broken_session_is_replaced_and_leaves_the_shared_one_alone() {
    let world = World::new(&["p"], |_| {});
    world.tool(&[]).await.unwrap();
    world.cluster.script("p", "tools/call", [Action::Ok, Action::Timeout]);
    world.manager.call_tool_on_server(directed("p", "t1")).await.unwrap();
    let mut once = directed("p", "t1");
    once.idempotent = Some(false);
    world.manager.call_tool_on_server(once).await.unwrap_err();
    assert_eq!(world.status("p"), Status::Degraded);
    assert!(world.manager.session_state("p").unwrap().active, "the shared session");
    world.settle().await;
    assert_eq!(world.cluster.closed("p"), 1);
    world.manager.mark_healthy("p").unwrap();
    world.manager.call_tool_on_server(directed("p", "t1")).await.unwrap();
    assert_eq!(world.cluster.opened("p"), 3);
}

#[tokio::test]
async fn a_users_session_gets_stale_like_any_other() {
    let world = World::new(&["p"], |policy| policy.max_initialization_age = Some(Duration::from_secs(60)));
    world.manager.call_tool_on_server(directed("p", "t1")).await.unwrap();
    world.advance(59);
    world.manager.call_tool_on_server(directed("p", "t1")).await.unwrap();
    assert_eq!(world.cluster.opened("p"), 1);
    world.advance(1);
    world.manager.call_tool_on_server(directed("p", "t1")).await.unwrap();
    assert_eq!(world.cluster.opened("p"), 2);
}

#[tokio::test]
async fn every_way_a_registration_ends_closes_the_sessions_of_users() {
    async fn unregister(manager: &Manager) {
        manager.unregister("p").await.unwrap();
    }
    for way in 0..5 {
        let world = World::new(&["p"], |_| {});
        world.tool(&[]).await.unwrap();
        world.manager.call_tool_on_server(directed("p", "t1")).await.unwrap();
        world.manager.call_tool_on_server(directed("p", "t2")).await.unwrap();
        match way {
            0 => unregister(&world.manager).await,
            1 => drop(world.manager.register(definition("p")).unwrap()),
            2 => drop(world.manager.invalidate("p").await.unwrap()),
            3 => drop(world.manager.disconnect("p").await.unwrap()),
            _ => drop(world.manager.shutdown(Duration::ZERO).await),
        }
        world.settle().await;
        assert_eq!((world.cluster.opened("p"), world.cluster.closed("p")), (3, 3), "way {way}");
    }
}

#[tokio::test]
async fn n13_concurrent_users_do_not_share_anything() {
    let world = World::new(&["p"], |_| {});
    let calls = (0..20).map(|n| {
        let manager = world.manager.clone();
        async move {
            let mut call = directed("p", &format!("token-{n}"));
            call.arguments = mcp_protocol::RawJson::encode(&serde_json::json!({ "n": n })).unwrap();
            manager.call_tool_on_server(call).await.unwrap()
        }
    });
    let answers = futures::future::join_all(calls).await;
    let traffic = world.cluster.traffic();
    for (n, answer) in answers.iter().enumerate() {
        let answer: serde_json::Value = serde_json::from_slice(&answer.frame).unwrap();
        let told = &answer["result"]["structuredContent"];
        assert_eq!(told["arguments"]["n"], n);
        // Everything on the session that served the call came with this call's token.
        let session = told["session_id"].as_str().unwrap();
        let of_session: Vec<_> = traffic.iter().filter(|entry| entry.session == session).collect();
        assert_eq!(of_session.len(), 3);
        for entry in of_session {
            assert_eq!(entry.header("authorization"), Some(format!("Bearer token-{n}").as_str()));
        }
    }
    let journal = world.manager.journal();
    let kept = format!(
        "{:?} {:?} {:?} {:?}",
        journal.invocation_events(&InvocationFilter::default()),
        journal.connection_events(&ConnectionFilter::default()),
        journal.registry_events(&RegistryFilter::default()),
        world.manager.table(),
    );
    assert!(!kept.contains("token-"), "a token is kept");
}

#[tokio::test(start_paused = true)]
async fn closing_sessions_under_users_fails_nobody_and_blames_nobody() {
    for way in 0..3 {
        let world = World::new(&["p"], |_| {});
        world.cluster.script("p", "initialize", vec![Action::Ok.delayed(Duration::from_secs(1)); 3]);
        let calls: Vec<_> = (0..3)
            .map(|n| {
                let manager = world.manager.clone();
                tokio::spawn(
                    async move { manager.call_tool_on_server(directed("p", &format!("t{n}"))).await },
                )
            })
            .collect();
        while world.cluster.opened("p") < 3 {
            tokio::task::yield_now().await;
        }
        // In the middle of their handshakes.
        match way {
            0 => drop(world.manager.invalidate("p").await.unwrap()),
            1 => drop(world.manager.disconnect("p").await.unwrap()),
            _ => drop(world.manager.refresh("p").await.unwrap()),
        }
        for call in calls {
            call.await.unwrap().unwrap();
        }
        assert_eq!(world.record("p").status, Status::Healthy);
        assert_eq!(world.transitions(0), "");
    }
}
