//! Contract §9.5: the two stages a server can time out in converge to different states. Golden traces.

use mcp_manager::Freshness;
use mcp_protocol::Method;
use mcp_registry::Status;
use mcp_testkit::Toggle;

use crate::support::{BP, PB, World, at, word};

/// The stage in which `primary` times out until the last request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Faulty {
    Initialize,
    Invoke,
}

/// What one request must look like. In `traffic`, `CALL` is the requested method.
struct Row {
    second: u64,
    phases: &'static str,
    /// Position of the one phase that failed, which is a `network_timeout`.
    failed: Option<usize>,
    transitions: &'static str,
    traffic: &'static str,
    /// Status, count, end of the window, time of the snapshot.
    primary: (Status, u32, Option<u64>, u64),
    /// Status, time of the snapshot.
    backup: (Status, u64),
}

const INITIALIZE: [Row; 4] = [
    Row {
        second: 0,
        phases: "primary IS IF, backup IS IY VS VY",
        failed: Some(1),
        transitions: "primary H→D",
        traffic: "backup CALL",
        primary: (Status::Degraded, 1, Some(1), 0),
        backup: (Status::Healthy, 0),
    },
    Row {
        second: 0,
        phases: "backup IS IY VS VY",
        failed: None,
        transitions: "",
        traffic: "backup CALL",
        primary: (Status::Degraded, 1, Some(1), 0),
        backup: (Status::Healthy, 0),
    },
    Row {
        second: 3,
        phases: "primary IS IF, backup IS IY VS VY",
        failed: Some(1),
        transitions: "primary D→X, backup D→H",
        traffic: "backup init ready CALL",
        primary: (Status::Unreachable, 2, Some(5), 0),
        backup: (Status::Healthy, 3),
    },
    Row {
        second: 6,
        phases: "primary IS IY VS VY",
        failed: None,
        transitions: "primary X→H",
        traffic: "primary init ready CALL",
        primary: (Status::Healthy, 0, None, 6),
        backup: (Status::Degraded, 3),
    },
];

const INVOKE: [Row; 4] = [
    Row {
        second: 0,
        phases: "primary IS IY VS VF, backup IS IY VS VY",
        failed: Some(3),
        transitions: "primary H→D",
        traffic: "primary CALL, backup CALL",
        primary: (Status::Degraded, 1, Some(1), 0),
        backup: (Status::Healthy, 0),
    },
    Row {
        second: 0,
        phases: "backup IS IY VS VY",
        failed: None,
        transitions: "",
        traffic: "backup CALL",
        primary: (Status::Degraded, 1, Some(1), 0),
        backup: (Status::Healthy, 0),
    },
    Row {
        second: 3,
        phases: "primary IS IY VS VF, backup IS IY VS VY",
        failed: Some(3),
        transitions: "primary D→H H→D, backup D→H",
        traffic: "primary init ready CALL, backup init ready CALL",
        primary: (Status::Degraded, 1, Some(4), 3),
        backup: (Status::Healthy, 3),
    },
    Row {
        second: 6,
        phases: "primary IS IY VS VY",
        failed: None,
        transitions: "primary D→H",
        traffic: "primary init ready CALL",
        primary: (Status::Healthy, 0, None, 6),
        backup: (Status::Degraded, 3),
    },
];

async fn golden_trace(faulty: Faulty, method: Method) {
    let world = World::pair(2);
    world.request(&method, &PB).await;
    world.request(&method, &BP).await;
    let (toggle, rows) = match (faulty, &method) {
        (Faulty::Initialize, _) => (Toggle::TimeoutInitialize, &INITIALIZE),
        (Faulty::Invoke, Method::ToolsCall) => (Toggle::TimeoutToolCalls, &INVOKE),
        (Faulty::Invoke, _) => (Toggle::TimeoutResourceReads, &INVOKE),
    };
    if faulty == Faulty::Initialize {
        assert!(world.manager.invalidate("primary").await.unwrap());
    }
    world.cluster.toggle("primary", toggle, true);
    for (number, row) in (1..).zip(rows) {
        match number {
            3 => {
                world.advance(2);
                world.fail("backup");
                world.advance(1);
            }
            4 => {
                world.cluster.toggle("primary", toggle, false);
                world.advance(3);
                world.fail("backup");
            }
            _ => {}
        }
        assert_eq!(world.clock.elapsed().as_secs(), row.second, "request {number}");
        let seen = world.request(&method, &PB).await;
        assert_eq!(seen.phases, row.phases, "request {number}");
        let errors: Vec<_> = row.failed.into_iter().map(|at| (at, "network_timeout")).collect();
        assert_eq!(seen.errors(), errors, "request {number}");
        assert_eq!(seen.transitions, row.transitions, "request {number}");
        assert_eq!(seen.traffic, row.traffic.replace("CALL", word(method.as_str())), "request {number}");

        let (primary, backup) = (world.record("primary"), world.record("backup"));
        let (status, count, window, snapshot) = row.primary;
        assert_eq!((primary.status, primary.retry_count), (status, count), "request {number}");
        assert_eq!(primary.next_retry_at, window.and_then(at), "request {number}");
        let captured = |record: &mcp_registry::ServerRecord| {
            record.capability_snapshot.as_ref().map(|snapshot| snapshot.captured_at)
        };
        assert_eq!(captured(&primary), at(snapshot), "request {number}");
        let (status, snapshot) = row.backup;
        assert_eq!((backup.status, captured(&backup)), (status, at(snapshot)), "request {number}");
    }
    assert_eq!(world.record("primary").initialization_expires_at, at(306));
    let session = world.manager.session_state("primary").unwrap();
    assert_eq!((session.active, session.freshness), (true, Freshness::ActiveRecent));
}

#[tokio::test]
async fn d1_handshakes_time_out_tool_calls() {
    golden_trace(Faulty::Initialize, Method::ToolsCall).await;
}

#[tokio::test]
async fn d2_handshakes_time_out_resource_reads() {
    golden_trace(Faulty::Initialize, Method::ResourcesRead).await;
}

#[tokio::test]
async fn d3_calls_time_out_tool_calls() {
    golden_trace(Faulty::Invoke, Method::ToolsCall).await;
}

#[tokio::test]
async fn d4_calls_time_out_resource_reads() {
    golden_trace(Faulty::Invoke, Method::ResourcesRead).await;
}
