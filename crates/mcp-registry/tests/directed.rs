//! Contract §2.4: attempts of a directed call.

use std::time::Duration;

use mcp_registry::{AmbiguousFailover, CallFailure, CallRetry, CallSafety, Policy};
use mcp_transport::Delivery;

use crate::support::{Core, definition, failure, policy, secs};

/// Waits after each attempt that fails transiently, in milliseconds.
fn waits(retry: CallRetry) -> Vec<u128> {
    let failure = CallFailure::unsent(failure("refused"), true);
    (1..=20).map_while(|attempt| retry.wait(attempt, &failure)).map(|wait| wait.as_millis()).collect()
}

#[test]
fn there_is_at_least_one_attempt_and_at_most_ten() {
    for (configured, attempts) in [(0, 1), (1, 1), (2, 2), (10, 10), (11, 10), (u32::MAX, 10)] {
        let policy = policy(|policy| policy.call_attempts = configured);
        let retry = CallRetry::of(&policy, &definition("a"));
        assert_eq!(retry.attempts(), attempts, "{configured}");
        assert_eq!(waits(retry).len() + 1, attempts as usize, "{configured}: no wait after the last one");
    }
}

#[test]
fn waits_stay_between_the_policys_bounds() {
    let millis = Duration::from_millis;
    for (multiplier, min, max, expected) in [
        (1000, 1000, 10_000, [1000, 2000, 4000, 8000, 10_000]),
        (100, 0, 1000, [100, 200, 400, 800, 1000]),
        (100, 300, 1000, [300, 300, 400, 800, 1000]),
        (0, 0, 1000, [0, 0, 0, 0, 0]),
        (1000, 5000, 3000, [3000, 3000, 3000, 3000, 3000]),
    ] {
        let policy = policy(|policy| {
            policy.call_attempts = 6;
            policy.call_wait_multiplier = millis(multiplier);
            policy.call_wait_min = millis(min);
            policy.call_wait_max = millis(max);
        });
        assert_eq!(waits(CallRetry::of(&policy, &definition("a"))), expected, "{multiplier} {min} {max}");
    }
}

#[test]
fn a_servers_own_delay_beats_the_policys_first_and_shortest_wait() {
    let mut core = Core::new(&[], |_| {});
    core.add("a", |definition| definition.retry_delay = Some(Duration::from_millis(10)));
    core.add("b", |definition| definition.max_retries = Some(3));
    let of = |name: &str| CallRetry::of(&Policy::default(), &core.record(name).definition);
    assert_eq!(waits(of("a")), [10, 20]);
    assert_eq!(waits(of("b")), [1000, 2000, 4000]);
}

#[test]
fn what_a_server_asks_for_does_not_make_a_hopeless_call_hopeful() {
    let retry = CallRetry::of(&Policy::default(), &definition("a"));
    let asking = CallFailure { retry_after: Some(secs(3)), ..CallFailure::unsent(failure("busy"), true) };
    assert_eq!(retry.wait(2, &asking), Some(secs(3)), "instead of the computed 2 s");
    assert_eq!(retry.wait(3, &asking), None, "that was the last attempt");
    let lasting = CallFailure { transient: false, ..asking };
    assert_eq!(retry.wait(1, &lasting), None);
}

#[test]
fn a_failure_before_sending_may_always_be_repeated() {
    let unsent = CallFailure::unsent(failure("refused"), true);
    assert_eq!((unsent.delivery, unsent.transient), (Delivery::NotSent, true));
    assert_eq!((unsent.rpc_code, unsent.retry_after, &*unsent.failure.text), (None, None, "refused"));
    assert!(AmbiguousFailover::SafeOnly.allows_another(unsent.delivery, CallSafety::Unsafe));
}

#[test]
fn a_failed_attempt_counts_in_the_row_but_is_no_result() {
    let mut core = Core::new(&["a"], |_| {});
    core.initialize("a");
    let before = core.record("a");
    core.advance(1);
    for _ in 0..2 {
        core.registry.attempt_failed(&core.key("a"));
    }
    let record = core.record("a");
    assert_eq!(record.consecutive_failures, 2);
    assert_eq!((record.status, record.retry_count, record.initialized), (before.status, 0, true));
    assert_eq!((record.last_checked_at(), record.last_error.clone()), (before.last_checked_at(), None));
    assert_eq!(core.transitions(), []);
    assert!(!record.touch_if_settled(core.now), "the success of the next attempt has to end the row");
    core.succeed("a");
    assert_eq!(core.record("a").consecutive_failures, 0);
}
