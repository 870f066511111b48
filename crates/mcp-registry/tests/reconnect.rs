//! Contract §2.6 and product §5, Backoff: series of background reconnections.

use std::time::Duration;

use mcp_registry::{
    ConnectionState, Due, ErrorCategory, InvalidTransition, Loss, Policy, RegistryChange, Status,
};

use crate::support::{Core, START, definition, failure, handshake, policy, secs};

/// Delay in milliseconds and number of each reconnection that was planned.
fn planned(core: &Core) -> Vec<(u128, u32)> {
    let planned = core.changes().into_iter().filter_map(|change| match change {
        RegistryChange::ReconnectScheduled { delay, attempt } => Some((delay.as_millis(), attempt)),
        _ => None,
    });
    planned.collect()
}

/// Advances to the planned reconnection and takes it.
fn take(core: &mut Core, delay: u128) {
    let due = |core: &mut Core| {
        let due = core.registry.due(core.now);
        due.into_iter().filter(|due| matches!(due, Due::Reconnect(_))).collect::<Vec<_>>()
    };
    let delay = Duration::from_millis(u64::try_from(delay).unwrap());
    let just_before = delay.saturating_sub(Duration::from_micros(1));
    let planned_at = core.now;
    core.now = planned_at + just_before;
    assert_eq!(due(core), [], "not before its time");
    core.now = planned_at + delay;
    assert_eq!(due(core), [Due::Reconnect(core.key("a"))]);
    assert_eq!(due(core), [], "once");
}

#[test]
fn a_failed_connect_goes_on_in_the_background_with_growing_waits() {
    let mut core = Core::new(&["a"], |_| {});
    core.registry.connect_exhausted(core.now, &core.key("a"), failure("refused"), 3, 0.0);
    let record = core.record("a");
    assert_eq!((record.status, record.connection_state.as_str()), (Status::Unreachable, "error"));
    assert_eq!((record.last_error.as_deref(), record.consecutive_failures), (Some("refused"), 1));
    let kinds: Vec<_> = core.changes().iter().map(RegistryChange::as_str).collect();
    assert_eq!(kinds, ["server_registered", "state_changed", "server_unavailable", "reconnect_scheduled"]);
    for _ in 0..5 {
        let (delay, _) = *planned(&core).last().unwrap();
        take(&mut core, delay);
        core.registry.reconnect_failed(core.now, &core.key("a"), 0.0);
    }
    let expected = [(4000, 3), (8000, 4), (16_000, 5), (32_000, 6), (60_000, 7), (60_000, 8)];
    assert_eq!(planned(&core), expected);
}

#[test]
fn jitter_lengthens_every_wait_of_the_series() {
    let mut core = Core::new(&["a"], |policy| policy.connect_jitter_ratio = 0.5);
    core.registry.connect_exhausted(core.now, &core.key("a"), failure("refused"), 1, 1.0);
    take(&mut core, 1500);
    core.registry.reconnect_failed(core.now, &core.key("a"), 0.5);
    assert_eq!(planned(&core), [(1500, 1), (2500, 2)]);
}

#[test]
fn jitter_is_at_most_the_wait_itself() {
    let odd = |ratio| policy(|policy| policy.connect_jitter_ratio = ratio);
    for (ratio, unit, millis) in [(1.0, 1.0, 2000), (5.0, 1.0, 2000), (-1.0, 1.0, 1000), (0.25, 0.5, 1125)] {
        let wait = odd(ratio).connect_wait(1, unit);
        assert_eq!(wait, Duration::from_millis(millis), "{ratio} {unit}");
    }
    let endless = policy(|policy| {
        policy.connect_base_delay = Duration::MAX;
        policy.connect_max_delay = Duration::MAX;
    });
    assert_eq!(endless.connect_wait(9, 1.0), Duration::MAX);
    assert_eq!(Policy::default().connect_wait(0, 0.0), secs(1), "counting begins at 1");
}

#[test]
fn a_failure_that_was_not_due_plans_nothing() {
    let mut core = Core::new(&["a"], |_| {});
    core.registry.reconnect_failed(core.now, &core.key("a"), 0.0);
    assert_eq!(planned(&core), [], "there is no series");
    core.registry.connect_exhausted(core.now, &core.key("a"), failure("refused"), 1, 0.0);
    core.registry.reconnect_failed(core.now, &core.key("a"), 0.0);
    assert_eq!(planned(&core), [(1000, 1)], "the one that is planned has not been tried");
}

#[test]
fn a_series_ends_with_a_handshake_a_disconnect_or_a_reconnect_by_hand() {
    type End = fn(&mut Core);
    let ends: [End; 3] = [
        |core| core.initialize("a"),
        |core| core.registry.disconnected(core.now, &core.key("a")),
        |core| core.registry.reconnecting(core.now, &core.key("a")),
    ];
    for (at, end) in ends.into_iter().enumerate() {
        for under_way in [false, true] {
            let mut core = Core::new(&["a"], |_| {});
            core.registry.connect_exhausted(core.now, &core.key("a"), failure("refused"), 2, 0.0);
            if under_way {
                take(&mut core, 2000);
            }
            end(&mut core);
            core.registry.reconnect_failed(core.now, &core.key("a"), 0.0);
            core.advance(3600);
            assert_eq!(core.registry.due(core.now), [Due::Check(core.key("a"))], "end {at} {under_way}");
            assert_eq!(planned(&core).len(), 1, "end {at} {under_way}");
        }
    }
    let mut core = Core::new(&["a"], |_| {});
    core.registry.connect_exhausted(core.now, &core.key("a"), failure("refused"), 2, 0.0);
    core.registry.unregister(core.now, "a");
    assert_eq!(core.registry.due(START + secs(3600)), []);
}

#[test]
fn the_next_deadline_counts_a_reconnection_until_it_is_handed_out() {
    let mut core = Core::new(&["a"], |_| {});
    core.initialize("a");
    assert_eq!(core.registry.due(core.now).len(), 1);
    assert_eq!(core.registry.next_deadline(), Some(START + secs(30)));
    core.registry.connection_lost(core.now, &core.key("a"), Loss::Restartable);
    assert_eq!(core.registry.next_deadline(), Some(START + Duration::from_millis(500)));
    take(&mut core, 500);
    assert_eq!(core.registry.next_deadline(), Some(START + secs(30)), "it is under way");
}

#[test]
fn a_server_that_is_not_restarted_rests_until_somebody_asks_for_it() {
    let mut core = Core::new(&[], |_| {});
    let mut once = definition("a");
    once.restart = false;
    core.registry.register(core.now, once).unwrap();
    let check = |core: &Core| vec![Due::Check(core.key("a"))];
    assert_eq!(core.registry.due(core.now), check(&core), "it is started once");
    core.initialize("a");
    core.registry.connection_lost(core.now, &core.key("a"), Loss::Restartable);
    assert_eq!(planned(&core), []);
    for _ in 0..3 {
        core.now = core.registry.next_deadline().unwrap();
        assert_eq!(core.registry.due(core.now), [], "a check would start it");
    }
    assert_eq!(core.record("a").status, Status::Healthy, "a call may try it");
    core.initialize("a");
    core.now = core.registry.next_deadline().unwrap();
    assert_eq!(core.registry.due(core.now), check(&core));
}

#[test]
fn a_series_of_restarts_grows_to_a_minute_whether_they_fail_or_do_not_last() {
    let mut core = Core::new(&["a"], |_| {});
    core.initialize("a");
    core.registry.connection_lost(core.now, &core.key("a"), Loss::Restartable);
    take(&mut core, 500);
    core.registry.reconnect_failed(core.now, &core.key("a"), 1.0);
    take(&mut core, 1000);
    core.registry.reconnect_failed(core.now, &core.key("a"), 1.0);
    take(&mut core, 2000);
    // The program starts, and ends again at once.
    core.initialize("a");
    core.registry.connection_lost(core.now, &core.key("a"), Loss::Restartable);
    for delay in [4000, 8000, 16_000, 32_000, 60_000] {
        take(&mut core, delay);
        core.registry.reconnect_failed(core.now, &core.key("a"), 1.0);
    }
    let expected = [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000];
    let expected: Vec<_> = expected.into_iter().zip(1..).collect();
    assert_eq!(planned(&core), expected);
}

#[test]
fn only_a_program_that_held_a_minute_is_forgiven() {
    for (held, delay) in [(0, 1000), (59, 1000), (60, 500), (61, 500)] {
        let mut core = Core::new(&["a"], |_| {});
        core.initialize("a");
        core.registry.connection_lost(core.now, &core.key("a"), Loss::Restartable);
        core.initialize("a");
        core.advance(held);
        core.registry.connection_lost(core.now, &core.key("a"), Loss::Restartable);
        assert_eq!(planned(&core).last().unwrap().0, delay, "held {held} s");
    }
}

#[test]
fn a_loss_that_is_told_after_a_disconnect_restarts_nothing() {
    let mut core = Core::new(&["a"], |_| {});
    core.initialize("a");
    core.registry.disconnected(core.now, &core.key("a"));
    core.registry.connection_lost(core.now, &core.key("a"), Loss::Restartable);
    assert_eq!(planned(&core), []);
    assert_eq!(core.registry.get("a").unwrap().connection_state, ConnectionState::Disconnected);
}

#[test]
fn what_the_next_use_brings_back_is_left_alone() {
    let mut core = Core::new(&["a"], |_| {});
    core.initialize("a");
    core.registry.connection_lost(core.now, &core.key("a"), Loss::Lazy);
    assert_eq!(planned(&core), []);
    assert_eq!(core.registry.due(START), [Due::Check(core.key("a"))]);
}

#[test]
fn a_failed_connect_of_somebody_else_plans_nothing() {
    let mut core = Core::new(&["a"], |_| {});
    core.registry.connect_failed(core.now, &core.key("a"), failure("refused"));
    let record = core.record("a");
    assert_eq!((record.status, record.connection_state.as_str()), (Status::Unreachable, "error"));
    assert_eq!((record.last_error.as_deref(), record.consecutive_failures), (Some("refused"), 1));
    assert_eq!(record.last_error_category, Some(ErrorCategory::TransportError));
    let kinds: Vec<_> = core.changes().iter().map(RegistryChange::as_str).collect();
    assert_eq!(kinds, ["server_registered", "state_changed", "server_unavailable"]);
}

#[test]
fn a_connection_state_set_from_outside_follows_the_table() {
    for from in ConnectionState::ALL {
        for to in ConnectionState::ALL {
            let mut core = Core::new(&["a"], |_| {});
            let key = core.key("a");
            let ways: &[ConnectionState] = match from {
                ConnectionState::Disconnected => &[],
                ConnectionState::Connected => &[ConnectionState::Initializing, ConnectionState::Connected],
                ref other => std::slice::from_ref(other),
            };
            for state in ways {
                core.registry.set_connection(core.now, &key, *state).unwrap();
            }
            let told = core.changes().len();
            let outcome = core.registry.set_connection(core.now, &key, to);
            assert_eq!(outcome.is_ok(), from.may_become(to), "{from:?} -> {to:?}");
            match outcome {
                Ok(()) => assert_eq!(core.record("a").connection_state, to),
                Err(error) => {
                    assert_eq!(error, InvalidTransition { from, to });
                    assert_eq!(core.record("a").connection_state, from);
                }
            }
            let changed = usize::from(outcome.is_ok() && from != to);
            assert_eq!(core.changes().len(), told + changed, "{from:?} -> {to:?}");
        }
    }
}

#[test]
fn leaving_connected_from_outside_ends_the_handshake() {
    let mut core = Core::new(&["a"], |_| {});
    let key = core.key("a");
    core.registry.handshake_succeeded(core.now, &key, handshake(), None, true);
    core.registry.set_connection(core.now, &key, ConnectionState::Connected).unwrap();
    assert!(core.record("a").initialized);
    core.registry.set_connection(core.now, &key, ConnectionState::Error).unwrap();
    let record = core.record("a");
    assert!(!record.initialized && record.initialization_expires_at.is_none());
    assert_eq!(record.status, Status::Healthy, "which says nothing about its health");
}
