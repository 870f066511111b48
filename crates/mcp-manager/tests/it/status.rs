//! Contract §9.2: status, retry windows and selection, as the manager with its clock shows them. The pure
//! core has the same scenarios without a clock in `crates/mcp-registry/tests/status.rs`.

use std::time::Duration;

use mcp_registry::{ConnectionFilter, ConnectionState, Status};
use mcp_testkit::{Action, Dice};

use crate::support::{World, at, definition};

#[tokio::test]
async fn a1_a10_health_checks_climb_and_respect_the_window() {
    let world = World::new(&["a"], |policy| policy.unreachable_after = 2);
    world.cluster.health("a", [Err("timeout".into())]);
    let check = || world.manager.health_check("a");
    let record = check().await.unwrap();
    assert_eq!((record.status, record.retry_count), (Status::Degraded, 1));
    assert_eq!(record.last_error.as_deref(), Some("timeout"));

    let unchanged = check().await.unwrap();
    assert_eq!(world.cluster.probes(), 1, "the window is closed: no probe");
    assert!(std::sync::Arc::ptr_eq(&record, &unchanged));

    world.advance(1);
    let record = check().await.unwrap();
    assert_eq!((record.status, record.retry_count), (Status::Unreachable, 2));
    assert_eq!(record.last_error.as_deref(), Some("timeout"));
    assert_eq!(world.transitions(0), "a H→D D→X");
}

#[tokio::test]
async fn a2_a_success_after_a_failed_probe_closes_the_window() {
    let world = World::new(&["a"], |_| {});
    world.cluster.health("a", [Err("refused".into()), Ok(200)]);
    let record = world.manager.health_check("a").await.unwrap();
    assert_eq!((record.status, record.next_retry_at), (Status::Degraded, at(1)));
    world.advance(1);
    let record = world.manager.health_check("a").await.unwrap();
    assert_eq!((record.status, record.retry_count, record.next_retry_at), (Status::Healthy, 0, None));
    assert_eq!((record.last_error.clone(), record.last_error_category), (None, None));
}

#[tokio::test]
async fn a3_a4_a5_the_window_is_judged_by_the_managers_clock() {
    let world = World::new(&["a"], |_| {});
    assert!(world.manager.should_retry("a"));
    world.fail("a");
    assert!(!world.manager.should_retry("a"));
    world.clock.advance(Duration::from_micros(999_999));
    assert!(!world.manager.should_retry("a"));
    world.clock.advance(Duration::from_micros(1));
    assert!(world.manager.should_retry("a"));
    assert!(!world.manager.should_retry("nobody"));
}

/// Marks, checks, handshakes, calls and the passing of time in any order (S2–S12).
#[tokio::test]
async fn a12_whatever_happens_the_invariants_hold() {
    for seed in 0..50 {
        let world = World::new(&["a"], |_| {});
        let dice = Dice::new(seed);
        let actions = [
            Action::Ok,
            Action::Timeout,
            Action::Error,
            Action::HttpStatus(503),
            Action::RpcError { code: Some(-32602), message: None },
        ];
        for step in 0..40 {
            let before = world.record("a");
            match dice.below(9) {
                0 => world.fail("a"),
                1 => drop(world.manager.mark_healthy("a")),
                2 => drop(world.manager.mark_unavailable("a", "by hand")),
                3 => {
                    world.cluster.health("a", [Ok(*dice.pick(&[200, 503]))]);
                    world.manager.health_check("a").await.unwrap();
                }
                4 => {
                    world.cluster.script("a", "initialize", [dice.pick(&actions).clone()]);
                    world.manager.initialize("a", dice.chance(50)).await.unwrap();
                }
                5 => drop(world.manager.invalidate("a").await),
                6 | 7 => {
                    world.cluster.script("a", "tools/call", [dice.pick(&actions).clone()]);
                    let _ = world.tool(&[]).await;
                }
                _ => world.advance(dice.below(12)),
            }
            let record = world.record("a");
            let context = format!("seed {seed}, step {step}: {before:?} became {record:?}");
            let healthy = record.status == Status::Healthy;
            assert_eq!(healthy, record.retry_count == 0, "{context}");
            assert_eq!(healthy, record.next_retry_at.is_none(), "{context}");
            assert_eq!(healthy, record.last_error.is_none(), "{context}");
            assert!(healthy || !record.initialized, "{context}");
            assert!(record.initialized || record.initialization_expires_at.is_none(), "{context}");
            if let Some(end) = record.next_retry_at {
                let window = end.since(record.last_checked_at().unwrap());
                assert_eq!(window, world.manager.policy().backoff(record.retry_count), "{context}");
            }
        }
        // The events are the changes: each goes on where the one before ended.
        let changes = world.manager.journal().connection_events(&ConnectionFilter::default());
        let mut status = Status::Healthy;
        for change in changes {
            assert_eq!(change.from_status, status, "seed {seed}");
            assert_ne!(change.to_status, status, "seed {seed}");
            status = change.to_status;
        }
        assert_eq!(status, world.status("a"), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a13_a_registration_starts_anew_and_hears_nothing_of_the_old_one() {
    let world = World::new(&["a"], |_| {});
    world.tool(&[]).await.unwrap();
    world.cluster.script("a", "tools/call", [Action::Hang]);
    let late = world.tool(&[]);
    futures::pin_mut!(late);
    assert!(futures::poll!(&mut late).is_pending());
    world.fail("a");
    let old = world.record("a").generation;

    world.manager.register(definition("a")).unwrap();
    late.await.unwrap_err();
    assert_eq!(world.cluster.closed("a"), 1);
    let record = world.record("a");
    assert!(record.generation > old);
    assert_eq!((record.status, record.retry_count, record.next_retry_at), (Status::Healthy, 0, None));
    assert_eq!((record.last_error.clone(), record.last_error_category), (None, None));
    assert_eq!((record.last_checked_at(), record.consecutive_failures), (None, 0));
    assert_eq!((record.initialized, record.initialization_expires_at), (false, None));
    assert_eq!((record.protocol_version.clone(), record.last_initialized_at), (None, None));
    assert_eq!(record.capability_snapshot, None);
    assert_eq!((record.connection_state, record.era), (ConnectionState::Disconnected, None));
}
