//! Contract §9.8 over HTTP: both event streams and their queries.

use mcp_testkit::Action;
use serde_json::{Value, json};

use crate::support::{METHODS, PB, World};

#[tokio::test]
async fn g1_g4_a_failover_is_told_in_order_under_one_id() {
    let world = World::pair(3);
    world.cluster.script("primary", "initialize", [Action::Error]);
    let seen = world.request("tools/call", &PB).await;
    assert_eq!(seen.phases, "primary IS IF, backup IS IY VS VY");
    let failures: Vec<_> =
        seen.events.iter().map(|event| json!([event["error_category"], event["error"]])).collect();
    let mut expected = vec![json!([null, null]); 6];
    expected[1] = json!(["transport_error", "primary unavailable"]);
    assert_eq!(failures, expected);
    assert!(seen.events.is_sorted_by_key(|event| event["seq"].as_u64().unwrap()));

    world.fail("backup").await;
    let id = &seen.id;
    for (query, expected) in [
        (format!("invocation-events?server=primary&request_id={id}"), &seen.events[..2]),
        ("invocation-events?limit=2".into(), &seen.events[4..]),
        (format!("events?correlation_id={id}"), &seen.changes),
        (format!("events?correlation_id={id}&server=backup"), &[]),
    ] {
        assert_eq!(world.items(&query).await, expected, "{query}");
    }
    let of_backup = world.items("events?server=backup").await;
    assert_eq!(of_backup.len(), 1);
    assert_eq!(of_backup[0]["correlation_id"], Value::Null);
    assert_eq!(world.items("events?limit=1").await, of_backup);
}

#[tokio::test]
async fn g6_bad_limits_and_freshness_are_422() {
    let world = World::new(&["a"], |_| {});
    world.request("tools/call", &[]).await;
    let streams = ["events", "invocation-events", "registry-events", "adapter-sessions"];
    let bad = ["0", "-1", "x", "1.5", ""];
    let limits =
        streams.iter().flat_map(|stream| bad.map(|limit| (format!("{stream}?limit={limit}"), "limit")));
    let known_types = "must be one of `server_registered`, `server_redefined`, `server_unregistered`, \
                       `state_changed`, `server_unavailable`, `tools_refreshed`, `tool_changed`, `reconnect_scheduled`";
    for (path, key, msg) in limits.map(|(path, key)| (path, key, "must be an integer of at least 1")).chain([
        (
            "adapter-sessions?freshness=new".into(),
            "freshness",
            "must be one of `unknown`, `active_recent`, `stale`",
        ),
        ("adapter-sessions?active_only=yes".into(), "active_only", "must be true or false"),
        ("registry-events?type=nope".into(), "type", known_types),
    ]) {
        let (status, body) = world.get(&format!("/api/v1/mcp/{path}")).await;
        let issue = &body["detail"][0];
        assert_eq!(
            (status, &issue["loc"], &issue["msg"]),
            (422, &json!(["query", key]), &json!(msg)),
            "{path} {body}"
        );
    }
}

/// What each request must leave in the streams; `World::request` compares every filter with it.
#[tokio::test]
async fn g7_failover_skip_and_recovery_are_found_by_every_filter() {
    for method in METHODS {
        let world = World::pair(2);
        world.cluster.script("primary", method, [Action::Timeout]);
        let failover = world.request(method, &PB).await;
        assert_eq!(failover.phases, "primary IS IY VS VF, backup IS IY VS VY");
        assert_eq!(
            (failover.errors(), &*failover.transitions),
            (vec![(3, "network_timeout")], "primary H→D")
        );
        assert_eq!(failover.changes[0]["reason"], failover.events[3]["error"]);

        let skip = world.request(method, &["primary"]).await;
        assert_eq!((&*skip.phases, &*skip.transitions), ("backup IS IY VS VY", ""));

        world.advance(1);
        world.fail("backup").await;
        let recovery = world.request(method, &["primary"]).await;
        assert_eq!((&*recovery.phases, &*recovery.transitions), ("primary IS IY VS VY", "primary D→H"));
        assert_eq!(recovery.changes[0]["reason"], "healthy");

        for nothing in
            ["invocation-events?server=Primary", "invocation-events?method=tools", "events?server=x"]
        {
            assert_eq!(world.items(nothing).await, Vec::<Value>::new(), "{nothing}");
        }
    }
}
