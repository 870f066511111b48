//! Contract §9.3 over HTTP: what a handshake leaves in the server object.

use mcp_testkit::Action;
use serde_json::{Value, json};

use crate::support::{World, at};

#[tokio::test]
async fn b1_a_good_server_is_initialised_with_a_snapshot() {
    let world = World::new(&["a"], |_| {});
    assert_eq!(world.server("a").await["capability_snapshot"], Value::Null);
    let server = world.manage("a", "initialize", "").await;
    let snapshot = json!({
        "protocol_version": "2025-11-25",
        "server_info": {"name": "a", "version": "1.0.0"},
        "capabilities": {"tools": {}, "resources": {}},
        "captured_at": at(0),
    });
    assert_eq!(server["capability_snapshot"], snapshot);
    assert_eq!((&server["initialized"], &server["protocol_version"]), (&json!(true), &json!("2025-11-25")));
    assert_eq!((&server["last_initialized_at"], &server["initialization_expires_at"]), (&at(0), &at(300)));
}

#[tokio::test]
async fn b2_b3_a_failed_handshake_is_an_answer_and_keeps_the_snapshot() {
    let world = World::new(&["a"], |_| {});
    let first = world.manage("a", "initialize", "").await;
    world.advance(5);
    world.cluster.script("a", "initialize", [Action::Timeout]);
    let server = world.manage("a", "initialize?force=true", "").await;
    assert_eq!((&server["status"], &server["initialized"]), (&json!("degraded"), &json!(false)));
    assert_eq!(server["last_error_category"], "network_timeout");
    assert_eq!(
        (&server["protocol_version"], &server["initialization_expires_at"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(server["capability_snapshot"], first["capability_snapshot"]);
    assert_eq!(server["last_initialized_at"], at(0));
}

#[tokio::test]
async fn b6_missing_members_are_null_in_the_snapshot() {
    let world = World::new(&["a"], |_| {});
    let result = r#"{"protocolVersion":"2025-06-18"}"#;
    world.cluster.script("a", "initialize", [Action::Result(result.into())]);
    let server = world.manage("a", "initialize", "").await;
    let snapshot = json!({
        "protocol_version": "2025-06-18", "server_info": null, "capabilities": null, "captured_at": at(0),
    });
    assert_eq!(server["capability_snapshot"], snapshot);
}

#[tokio::test]
async fn b9_a_stale_handshake_is_repeated_once() {
    let world = World::new(&["a"], |_| {});
    for (seconds, traffic) in [(0, "a init ready tool"), (300, "a init ready tool"), (0, "a tool")] {
        world.advance(seconds);
        let seen = world.request("tools/call", &[]).await;
        assert_eq!((seen.status, &*seen.traffic), (200, traffic));
    }
    assert_eq!(world.server("a").await["initialization_expires_at"], at(600));
}

#[tokio::test]
async fn b11_initialize_is_cached_unless_forced() {
    let world = World::new(&["a"], |_| {});
    for (query, messages) in [("", 2), ("", 2), ("?force=false", 2), ("?force=true", 4)] {
        let server = world.manage("a", &format!("initialize{query}"), "").await;
        assert_eq!(
            (&server["initialized"], world.cluster.calls().len()),
            (&json!(true), messages),
            "{query}"
        );
    }
}

#[tokio::test]
async fn b12_b13_connect_probes_first() {
    let world = World::new(&["good", "bad"], |policy| policy.unreachable_after = 1);
    world.cluster.health("bad", [Err("refused".into())]);
    for (path, status, initialized, probes, messages) in [
        ("good/connect", "healthy", true, 1, 2),
        ("bad/connect", "unreachable", false, 2, 2),
        ("bad/connect?force=true", "healthy", true, 2, 4),
    ] {
        let (name, action) = path.split_once('/').unwrap();
        let server = world.manage(name, action, "").await;
        assert_eq!(
            (&server["status"], &server["initialized"]),
            (&json!(status), &json!(initialized)),
            "{path}"
        );
        assert_eq!((world.cluster.probes(), world.cluster.calls().len()), (probes, messages), "{path}");
    }
}

#[tokio::test]
async fn b17_unknown_names_are_404() {
    let world = World::new(&["a"], |_| {});
    for action in ["initialize", "connect", "health-check"] {
        let (status, body) = world.post(&format!("/api/v1/mcp/servers/x/{action}"), "").await;
        assert_eq!(
            (status, body),
            (404, json!({"detail": "no server is named \"x\"; there are: a"})),
            "{action}"
        );
    }
}
