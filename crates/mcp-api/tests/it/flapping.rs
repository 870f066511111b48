//! Contract §9.7 over HTTP: scripts, toggles and flapping. What only a script queue can show is in the
//! tests of the manager.

use mcp_testkit::{Action, Toggle};
use serde_json::json;

use crate::support::{BP, METHODS, PB, Seen, World, word};

const INIT: &str = "initialize";
const TOOL: &str = "tools/call";
const READ: &str = "resources/read";

/// `backup` served, because `primary` timed out, which was recorded once and under this request.
async fn assert_timed_out(world: &World, seen: &Seen, phases: &str) {
    assert_eq!((&*seen.server(), &*seen.phases), ("backup", phases));
    assert_eq!(seen.transitions, "primary H→D");
    let primary = world.server("primary").await;
    let recorded = json!([primary["status"], primary["retry_count"], primary["last_error_category"]]);
    assert_eq!(recorded, json!(["degraded", 1, "network_timeout"]));
}

#[tokio::test]
async fn f4_f8_f9_a_script_beats_the_toggle_once() {
    let handshake = "primary IS IF, backup IS IY VS VY";
    let call = "primary IS IY VS VF, backup IS IY VS VY";
    for (method, toggle) in METHODS.into_iter().zip([Toggle::TimeoutToolCalls, Toggle::TimeoutResourceReads])
    {
        for (key, toggle, then, phases) in [
            (method, toggle, None, call),
            (INIT, Toggle::TimeoutInitialize, None, handshake),
            (INIT, Toggle::TimeoutInitialize, Some(Action::Timeout), handshake),
        ] {
            let world = World::pair(3);
            world.cluster.toggle("primary", toggle, true);
            world.cluster.script("primary", key, [Action::Ok]);
            let first = world.request(method, &PB).await;
            assert_eq!((&*first.server(), &*first.transitions), ("primary", ""), "{key}");
            let path = format!("events?correlation_id={}", first.id);
            assert_eq!(world.items(&path).await, Vec::<serde_json::Value>::new());
            if key == INIT {
                world.manage("primary", "adapter/invalidate", "").await;
            }
            world.cluster.script("primary", key, then);
            let second = world.request(method, &PB).await;
            assert_timed_out(&world, &second, phases).await;
        }
    }
}

#[tokio::test]
async fn f5_servers_flap_each_in_its_own_method() {
    let world = World::pair(3);
    world.cluster.script("primary", TOOL, [Action::Timeout, Action::Ok]);
    world.cluster.script("backup", READ, [Action::Timeout, Action::Ok]);
    let first = world.request(TOOL, &PB).await;
    assert_eq!((&*first.server(), &*first.transitions), ("backup", "primary H→D"));
    assert_eq!(first.phases, "primary IS IY VS VF, backup IS IY VS VY");
    world.advance(1);
    let second = world.request(READ, &BP).await;
    assert_eq!((&*second.server(), &*second.transitions), ("primary", "backup H→D, primary D→H"));
    assert_eq!(second.phases, "backup IS IY VS VF, primary IS IY VS VY");
    let third = world.request(TOOL, &PB).await;
    assert_eq!((&*third.server(), &*third.transitions), ("primary", ""));
    world.fail("primary").await;
    world.advance(1);
    let fourth = world.request(READ, &["backup"]).await;
    assert_eq!((&*fourth.server(), &*fourth.transitions), ("backup", "backup D→H"));
}

#[tokio::test]
async fn f7_a_scripted_error_fails_over_in_either_stage() {
    for method in METHODS {
        for (key, phases, failed) in [
            (INIT, "primary IS IF, backup IS IY VS VY", 1),
            (method, "primary IS IY VS VF, backup IS IY VS VY", 3),
        ] {
            let world = World::pair(2);
            world.cluster.script("primary", key, [Action::Error]);
            let seen = world.request(method, &PB).await;
            assert_eq!((&*seen.server(), &*seen.phases), ("backup", phases));
            assert_eq!(seen.errors(), [(failed, "transport_error")]);
            assert_eq!((&*seen.transitions, seen.changes.len()), ("primary H→D", 1));
            let primary = world.server("primary").await;
            assert_eq!((&primary["status"], &primary["retry_count"]), (&json!("degraded"), &json!(1)));
        }
    }
}

#[tokio::test]
async fn f10_f11_requests_are_served_by_what_their_scripts_leave() {
    let world = World::pair(3);
    world.cluster.script("primary", TOOL, [Action::Error]);
    world.cluster.script("backup", READ, [Action::Timeout]);
    assert_eq!(world.request(TOOL, &PB).await.server(), "backup");
    world.manage("primary", "mark", r#"{"as":"healthy"}"#).await;
    assert_eq!(world.request(READ, &PB).await.server(), "primary");
    assert_eq!(world.cluster.scripted("backup", READ), 1);
    assert_eq!(world.request(READ, &BP).await.server(), "primary");
    assert_eq!(world.cluster.scripted("backup", READ), 0);

    let world = World::pair(3);
    world.cluster.toggle("primary", Toggle::TimeoutInitialize, true);
    world.cluster.script("primary", INIT, [Action::Ok]);
    world.cluster.script("primary", TOOL, [Action::Ok]);
    assert_eq!(world.request(READ, &PB).await.server(), "primary");
    world.manage("primary", "adapter/invalidate", "").await;
    assert_eq!(world.request(READ, &PB).await.server(), "backup");
    world.manage("primary", "mark", r#"{"as":"healthy"}"#).await;
    world.cluster.toggle("primary", Toggle::TimeoutInitialize, false);
    assert_eq!(world.cluster.scripted("primary", TOOL), 1);
    assert_eq!(world.request(TOOL, &PB).await.server(), "primary");
    assert_eq!(world.cluster.scripted("primary", TOOL), 0);
}

#[tokio::test]
async fn f12_a_handshake_lasts_until_its_session_is_invalidated() {
    for method in METHODS {
        let world = World::pair(3);
        let mut sessions = Vec::new();
        for traffic in ["primary init ready CALL", "primary CALL", "primary init ready CALL"] {
            if sessions.len() == 2 {
                world.manage("primary", "adapter/invalidate", "").await;
            }
            let seen = world.request(method, &PB).await;
            assert_eq!(seen.traffic, traffic.replace("CALL", &word(method)));
            sessions.push(world.cluster.traffic().pop().unwrap().session);
        }
        assert_eq!(sessions, ["primary-session-1", "primary-session-1", "primary-session-2"]);
    }
}

#[tokio::test]
async fn f13_staleness_and_degradation_cost_one_handshake() {
    for method in METHODS {
        for (stale, transitions) in [(true, ""), (false, "primary D→H")] {
            // Without a backoff the window of a degraded server is open at once.
            let world = World::new(&["primary"], |policy| policy.max_backoff = std::time::Duration::ZERO);
            world.request(method, &[]).await;
            if stale {
                world.advance(300);
            } else {
                world.fail("primary").await;
            }
            let seen = world.request(method, &[]).await;
            assert_eq!(seen.traffic, format!("primary init ready {}", word(method)));
            assert_eq!((seen.status, &*seen.transitions), (200, transitions));
            assert_eq!(world.request(method, &[]).await.traffic, format!("primary {}", word(method)));
        }
    }
}
