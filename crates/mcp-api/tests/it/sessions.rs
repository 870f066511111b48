//! Contract §9.9 over HTTP: sessions as operators see and control them.

use std::sync::Arc;
use std::time::Duration;

use mcp_api::ApiKeys;
use mcp_testkit::FnTransport;
use serde_json::{Value, json};

use crate::support::{PB, World, at};

impl World {
    /// Names in the list of sessions that a query gives.
    async fn sessions(&self, query: &str) -> Vec<String> {
        let items = self.items(&format!("adapter-sessions{query}")).await;
        items.iter().map(|item| item["server"].as_str().unwrap().to_owned()).collect()
    }
}

fn none() -> Value {
    json!({"active": false, "initialized": false, "last_activity_at": null, "freshness": "unknown"})
}

fn used(second: u64, freshness: &str) -> Value {
    json!({"active": true, "initialized": true, "last_activity_at": at(second), "freshness": freshness})
}

#[tokio::test]
async fn h1_h2_a_call_leaves_a_session_on_the_server_that_served_it() {
    let world = World::pair(3);
    for name in PB {
        assert_eq!(world.server(name).await["adapter_session"], none());
    }
    world.advance(7);
    world.request("tools/call", &PB).await;
    assert_eq!(world.server("primary").await["adapter_session"], used(7, "active_recent"));
    assert_eq!(world.server("backup").await["adapter_session"], none());
    let (_, list) = world.get("/api/v1/mcp/adapter-sessions").await;
    let item = |server: &str, mut session: Value| {
        session["server"] = json!(server);
        session
    };
    let items = json!([item("backup", none()), item("primary", used(7, "active_recent"))]);
    assert_eq!(list, json!({"adapter_controls_available": true, "items": items}));
}

#[tokio::test]
async fn h3_sessions_are_filtered() {
    let world = World::new(&["a", "b", "c"], |_| {});
    for name in ["a", "c"] {
        world.manager.initialize(name, false).await.unwrap();
    }
    for (query, expected) in [
        ("", vec!["a", "b", "c"]),
        ("?active_only=true", vec!["a", "c"]),
        ("?active_only=false", vec!["a", "b", "c"]),
        ("?server=c", vec!["c"]),
        ("?server=x", vec![]),
        ("?limit=1", vec!["c"]),
        ("?limit=2&active_only=true", vec!["a", "c"]),
        ("?freshness=unknown", vec!["b"]),
        ("?freshness=active_recent&server=b", vec![]),
    ] {
        assert_eq!(world.sessions(query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn h4_a_session_unused_for_too_long_is_stale_everywhere() {
    let limit = Duration::from_secs(60);
    let world = World::new(&["a", "unused"], |policy| policy.adapter_session_stale_after = Some(limit));
    world.request("tools/call", &["a"]).await;
    for (advance, freshness, stale, recent) in
        [(60, "active_recent", vec![], vec!["a"]), (1, "stale", vec!["a"], vec![])]
    {
        world.advance(advance);
        assert_eq!(world.server("a").await["adapter_session"], used(0, freshness));
        assert_eq!(world.items("adapter-sessions").await[0]["freshness"], freshness);
        assert_eq!(world.sessions("?freshness=stale").await, stale);
        assert_eq!(world.sessions("?freshness=active_recent").await, recent);
        assert_eq!(world.sessions("?freshness=unknown").await, ["unused"]);
    }
}

#[tokio::test]
async fn h5_invalidate_closes_and_refresh_reopens() {
    let world = World::new(&["a"], |_| {});
    world.request("tools/call", &[]).await;
    let server = world.manage("a", "adapter/invalidate", "").await;
    assert_eq!((&server["adapter_session"], &server["initialized"]), (&none(), &json!(false)));
    assert_eq!((world.cluster.opened("a"), world.cluster.closed("a")), (1, 1));
    world.advance(1);
    let server = world.manage("a", "adapter/refresh", "").await;
    assert_eq!(
        (&server["adapter_session"], &server["initialized"]),
        (&used(1, "active_recent"), &json!(true))
    );
    assert_eq!((world.cluster.opened("a"), world.cluster.closed("a")), (2, 1));
    assert_eq!(world.cluster.traffic().pop().unwrap().session, "a-session-2");
}

#[tokio::test]
async fn h7_a_transport_without_sessions_offers_no_controls() {
    let plain = FnTransport::new(|_, _| Ok(json!({"content": []})));
    let world = World::over(|_| Arc::new(plain), &["a"], |_| {}, ApiKeys::default());
    assert_eq!(world.request("tools/call", &[]).await.status, 200);
    let (_, list) = world.get("/api/v1/mcp/adapter-sessions").await;
    assert_eq!(list, json!({"adapter_controls_available": false, "items": []}));
    let (_, mut list) = world.get("/api/v1/mcp/servers").await;
    assert_eq!(list["adapter_controls_available"], false);
    for server in [list["items"][0].take(), world.server("a").await] {
        let told =
            json!([server["adapter_controls_available"], server["adapter_session"], server["initialized"]]);
        assert_eq!(told, json!([false, null, true]));
    }
    for action in ["invalidate", "refresh"] {
        let ask =
            async |name: &str| world.post(&format!("/api/v1/mcp/servers/{name}/adapter/{action}"), "").await;
        let (status, body) = ask("a").await;
        let text = "the transport of \"a\" offers no session controls";
        assert_eq!((status, body), (409, json!({"detail": text})), "{action}");
        assert_eq!(ask("x").await.0, 404, "{action}");
    }
    assert_eq!(world.server("a").await["initialized"], true);
}
