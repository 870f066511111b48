//! Contract §9.5 over HTTP: the golden traces as callers and operators read them.

use mcp_testkit::Toggle;
use serde_json::{Value, json};

use crate::support::{BP, PB, World, at, word};

/// The requests' phases, failed phase, transitions, traffic (`CALL` is the requested method), and
/// `primary` after it: status, count, end of the window, time of the snapshot.
type Row = (&'static str, Option<usize>, &'static str, &'static str, Value);

async fn golden_trace(toggle: Toggle, method: &str, rows: [Row; 4]) {
    let world = World::pair(2);
    world.request(method, &PB).await;
    world.request(method, &BP).await;
    if toggle == Toggle::TimeoutInitialize {
        world.manage("primary", "adapter/invalidate", "").await;
    }
    world.cluster.toggle("primary", toggle, true);
    for (number, (phases, failed, transitions, traffic, primary)) in (1..).zip(rows) {
        match number {
            3 => {
                world.advance(2);
                world.fail("backup").await;
                world.advance(1);
            }
            4 => {
                world.cluster.toggle("primary", toggle, false);
                world.advance(3);
                world.fail("backup").await;
            }
            _ => {}
        }
        let seen = world.request(method, &PB).await;
        assert_eq!((&*seen.phases, &*seen.transitions), (phases, transitions), "request {number}");
        let errors: Vec<_> = failed.into_iter().map(|at| (at, "network_timeout")).collect();
        assert_eq!(seen.errors(), errors, "request {number}");
        assert_eq!(seen.traffic, traffic.replace("CALL", &word(method)), "request {number}");
        assert_eq!(seen.server(), if number == 4 { "primary" } else { "backup" });
        let server = world.server("primary").await;
        let snapshot = &server["capability_snapshot"]["captured_at"];
        let record = json!([server["status"], server["retry_count"], server["next_retry_at"], snapshot]);
        assert_eq!(record, primary, "request {number}");
    }
    assert_eq!(world.server("primary").await["initialization_expires_at"], at(306));
    let sessions = world.items("adapter-sessions?server=primary&freshness=active_recent").await;
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0]["server"], "primary");
}

async fn initialize(method: &str) {
    let after_one = json!(["degraded", 1, at(1), at(0)]);
    let rows = [
        ("primary IS IF, backup IS IY VS VY", Some(1), "primary H→D", "backup CALL", after_one.clone()),
        ("backup IS IY VS VY", None, "", "backup CALL", after_one),
        (
            "primary IS IF, backup IS IY VS VY",
            Some(1),
            "primary D→X, backup D→H",
            "backup init ready CALL",
            json!(["unreachable", 2, at(5), at(0)]),
        ),
        (
            "primary IS IY VS VY",
            None,
            "primary X→H",
            "primary init ready CALL",
            json!(["healthy", 0, null, at(6)]),
        ),
    ];
    golden_trace(Toggle::TimeoutInitialize, method, rows).await;
}

async fn invoke(toggle: Toggle, method: &str) {
    let failover = "primary IS IY VS VF, backup IS IY VS VY";
    let after_one = json!(["degraded", 1, at(1), at(0)]);
    let rows = [
        (failover, Some(3), "primary H→D", "primary CALL, backup CALL", after_one.clone()),
        ("backup IS IY VS VY", None, "", "backup CALL", after_one),
        (
            failover,
            Some(3),
            "primary D→H H→D, backup D→H",
            "primary init ready CALL, backup init ready CALL",
            json!(["degraded", 1, at(4), at(3)]),
        ),
        (
            "primary IS IY VS VY",
            None,
            "primary D→H",
            "primary init ready CALL",
            json!(["healthy", 0, null, at(6)]),
        ),
    ];
    golden_trace(toggle, method, rows).await;
}

#[tokio::test]
async fn d1_handshakes_time_out_tool_calls() {
    initialize("tools/call").await;
}

#[tokio::test]
async fn d2_handshakes_time_out_resource_reads() {
    initialize("resources/read").await;
}

#[tokio::test]
async fn d3_calls_time_out_tool_calls() {
    invoke(Toggle::TimeoutToolCalls, "tools/call").await;
}

#[tokio::test]
async fn d4_calls_time_out_resource_reads() {
    invoke(Toggle::TimeoutResourceReads, "resources/read").await;
}
