//! Contract §9.2 on the pure core: status, retry windows, selection.

use std::time::Duration;

use mcp_registry::{
    ErrorCategory, Failure, Handshake, HealthView, Loss, RegistryChange, RegistryFilter, Status,
};
use proptest::prelude::*;

use crate::support::{Core, START, definition};

#[test]
fn a1_a2_failures_climb_and_a_success_clears() {
    let mut core = Core::new(&["a"], |policy| policy.unreachable_after = 2);
    assert_eq!(core.record("a").health_view(), HealthView::Unknown);
    core.fail("a");
    let record = core.record("a");
    assert_eq!(
        (record.status, record.retry_count, record.last_error.as_deref()),
        (Status::Degraded, 1, Some("timeout"))
    );
    assert_eq!(record.last_checked_at(), Some(START));
    core.advance(1);
    core.fail("a");
    assert_eq!((core.record("a").status, core.record("a").retry_count), (Status::Unreachable, 2));
    core.succeed("a");
    let record = core.record("a");
    assert_eq!((record.status, record.retry_count, record.next_retry_at), (Status::Healthy, 0, None));
    assert_eq!(
        (record.last_error.clone(), record.last_error_category, record.consecutive_failures),
        (None, None, 0)
    );
    assert_eq!(record.health_view(), HealthView::Healthy);
    let (healthy, degraded, unreachable) = (Status::Healthy, Status::Degraded, Status::Unreachable);
    assert_eq!(core.transitions(), [(healthy, degraded), (degraded, unreachable), (unreachable, healthy)]);
}

#[test]
fn a3_a5_the_window_opens_at_its_last_instant() {
    let mut core = Core::new(&["a"], |_| {});
    assert!(core.registry.should_retry("a", core.now));
    core.fail("a");
    for (micros, open) in [(0, false), (999_999, false), (1_000_000, true), (1_000_001, true)] {
        assert_eq!(core.registry.should_retry("a", START + Duration::from_micros(micros)), open, "{micros}");
    }
    assert!(!core.registry.should_retry("nobody", core.now));
}

#[test]
fn a6_a7_choosing_prefers_healthy_then_degraded_and_never_unreachable() {
    let mut core = Core::new(&["a", "b"], |_| {});
    core.fail("a");
    assert_eq!(core.choose(&[]).as_deref(), Some("b"));
    assert_eq!(core.choose(&["a"]).as_deref(), Some("b"));
    core.fail("b");
    assert_eq!(core.choose(&["a", "b"]).as_deref(), Some("a"));
    assert_eq!(core.choose(&["b"]).as_deref(), Some("b"));
    for _ in 0..2 {
        core.fail("a");
        core.fail("b");
    }
    assert_eq!(core.choose(&[]), None);
}

#[test]
fn a8_a9_windows_and_statuses_of_a_long_failure_run() {
    let mut core = Core::new(&["a"], |_| {});
    let windows = [1, 2, 4, 8, 8, 8, 8];
    for (at, window) in windows.into_iter().enumerate() {
        core.registry.mark_degraded(core.now, &core.key("a"), "by hand");
        let record = core.record("a");
        let expected = if at < 2 { Status::Degraded } else { Status::Unreachable };
        assert_eq!((record.status, record.retry_count as usize), (expected, at + 1));
        assert_eq!(record.next_retry_at, Some(START + Duration::from_secs(window)), "after {}", at + 1);
        assert_eq!(record.last_error_category, Some(ErrorCategory::Unknown));
    }
    assert_eq!(core.transitions().len(), 2);

    let mut core = Core::new(&["a"], |policy| policy.unreachable_after = 1);
    core.fail("a");
    assert_eq!(core.transitions(), [(Status::Healthy, Status::Unreachable)]);
}

#[test]
fn a11_without_backoff_the_window_is_open_at_once() {
    let mut core = Core::new(&["a"], |policy| policy.max_backoff = Duration::ZERO);
    core.fail("a");
    assert!(core.registry.should_retry("a", core.now));
}

#[test]
fn a13_results_of_an_older_registration_change_nothing() {
    let mut core = Core::new(&["a"], |_| {});
    core.fail("a");
    let old = core.key("a");
    core.registry.register(core.now, definition("a")).unwrap();
    let fresh = core.record("a");
    assert_eq!((fresh.status, fresh.retry_count, fresh.last_checked_at()), (Status::Healthy, 0, None));
    core.registry.record_failure(core.now, &old, Failure::new(ErrorCategory::Unknown, "late"), None, true);
    core.registry.connection_lost(core.now, &old, Loss::Restartable);
    assert_eq!(core.record("a").status, Status::Healthy);
    assert_eq!(core.record("a").last_error, None);
}

#[test]
fn marking_unavailable_skips_the_ladder() {
    let mut core = Core::new(&["a"], |_| {});
    core.registry.mark_unavailable(core.now, &core.key("a"), "maintenance");
    let record = core.record("a");
    assert_eq!((record.status, record.retry_count), (Status::Unreachable, 3));
    assert_eq!(record.connection_state.as_str(), "error");
    let kinds: Vec<_> = core
        .journal
        .registry_events(&RegistryFilter::default())
        .into_iter()
        .map(|event| event.change.as_str())
        .collect();
    assert_eq!(kinds, ["server_registered", "state_changed", "server_unavailable"]);
}

#[test]
fn a_crashed_child_is_restarted_later_each_time_and_forgiven_after_a_minute() {
    let mut core = Core::new(&["a"], |_| {});
    let handshake = || Handshake {
        era: mcp_protocol::Era::Handshake,
        protocol_version: None,
        server_info: None,
        capabilities: None,
        ttl: None,
    };
    let mut delays = Vec::new();
    for held in [0, 1, 1, 59, 60, 1] {
        let key = core.key("a");
        core.registry.connecting(core.now, &key);
        core.registry.handshake_succeeded(core.now, &key, handshake(), None, true);
        core.advance(held);
        core.registry.connection_lost(core.now, &key, Loss::Restartable);
        let events = core
            .journal
            .registry_events(&RegistryFilter { kind: Some("reconnect_scheduled"), ..Default::default() });
        let Some(RegistryChange::ReconnectScheduled { delay, .. }) =
            events.last().map(|event| event.change.clone())
        else {
            panic!("no reconnection was planned");
        };
        delays.push(delay.as_millis());
        let due_at = core.now + delay;
        assert!(core.registry.next_deadline().unwrap() <= due_at);
        assert_eq!(core.record("a").status, Status::Healthy, "a crash alone does not change the status");
    }
    assert_eq!(delays, [500, 1000, 2000, 4000, 500, 1000]);
}

#[test]
fn checks_come_sooner_to_the_sick_but_not_inside_their_window() {
    let mut core = Core::new(&["a", "b"], |policy| policy.unreachable_after = 5);
    assert_eq!(core.registry.due(core.now).len(), 2);
    assert_eq!(core.registry.due(core.now), []);
    assert_eq!(core.registry.next_deadline(), Some(START + Duration::from_secs(30)));
    core.fail("a");
    assert_eq!(core.registry.next_deadline(), Some(START + Duration::from_secs(5)));
    for _ in 0..3 {
        core.fail("a"); // the window now ends after 8 s
    }
    core.advance(5);
    assert_eq!(core.registry.due(core.now), [], "what was planned inside the window waits for its end");
    assert_eq!(core.registry.next_deadline(), Some(START + Duration::from_secs(8)));
    core.succeed("a");
    core.advance(5);
    assert_eq!(core.registry.due(core.now), [], "it is as healthy as the others");
    assert_eq!(core.registry.next_deadline(), Some(START + Duration::from_secs(30)));
    core.advance(20);
    assert_eq!(core.registry.due(core.now).len(), 1);
    assert_eq!(core.registry.next_deadline(), Some(START + Duration::from_secs(35)));
}

#[derive(Debug, Clone)]
enum Step {
    Fail,
    Succeed,
    Handshake,
    HandshakeFails,
    Unavailable,
    Lost,
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Fail),
        2 => Just(Step::Succeed),
        2 => Just(Step::Handshake),
        2 => Just(Step::HandshakeFails),
        1 => Just(Step::Unavailable),
        1 => Just(Step::Lost),
        3 => (0u64..20).prop_map(Step::Advance),
    ]
}

proptest! {
    #[test]
    fn a12_any_sequence_of_results_keeps_the_invariants(steps in proptest::collection::vec(step(), 0..60)) {
        let mut core = Core::new(&["a"], |_| {});
        let mut last_window = Duration::ZERO;
        let mut changes = 0;
        for step in steps {
            let (before, key) = (core.record("a"), core.key("a"));
            let now = core.now;
            match step {
                Step::Fail => core.fail("a"),
                Step::Succeed => core.succeed("a"),
                Step::Handshake => {
                    core.registry.connecting(now, &key);
                    let era = mcp_protocol::Era::Stateless;
                    let handshake = Handshake { era, protocol_version: None, server_info: None, capabilities: None, ttl: None };
                    core.registry.handshake_succeeded(now, &key, handshake, None, true);
                }
                Step::HandshakeFails => {
                    core.registry.connecting(now, &key);
                    let failure = Failure::new(ErrorCategory::TransportError, "refused");
                    core.registry.handshake_failed(now, &key, failure, None, None, true);
                }
                Step::Unavailable => core.registry.mark_unavailable(now, &key, "by hand"),
                Step::Lost => core.registry.connection_lost(now, &key, Loss::Restartable),
                Step::Advance(seconds) => core.advance(seconds),
            }
            let record = core.record("a");
            let healthy = record.status == Status::Healthy;
            prop_assert_eq!(healthy, record.retry_count == 0);
            prop_assert_eq!(healthy, record.next_retry_at.is_none());
            prop_assert_eq!(healthy, record.last_error.is_none());
            prop_assert!(record.initialized || record.initialization_expires_at.is_none());
            prop_assert!(healthy || !record.initialized);
            prop_assert!(before.connection_state.may_become(record.connection_state)
                || record.connection_state.as_str() == "connected");
            if record.retry_count > before.retry_count {
                let window = record.next_retry_at.unwrap().since(now);
                prop_assert!(window <= Duration::from_secs(8));
                prop_assert!(before.retry_count == 0 || window >= last_window);
                last_window = window;
            }
            changes += usize::from(before.status != record.status);
            prop_assert_eq!(core.transitions().len(), changes);
        }
    }
}
