//! Product §5, Backoff: how often a process is started.

use mcp_registry::StartLimit;

use crate::support::{START, secs};

#[test]
fn a_burst_uses_the_allowance_up_and_each_start_comes_back_by_itself() {
    let mut limit = StartLimit::default();
    for n in 0..StartLimit::STARTS as u64 {
        assert_eq!(limit.try_start(START + secs(n / 6 * 30)), Ok(()), "start {n}");
    }
    assert_eq!(limit.try_start(START + secs(30)), Err(secs(30)));
    assert_eq!(limit.try_start(START + secs(59)), Err(secs(1)), "a refusal is not counted");
    for n in 0..6 {
        assert_eq!(limit.try_start(START + secs(60)), Ok(()), "start {n} of the six that came back");
    }
    assert_eq!(limit.try_start(START + secs(60)), Err(secs(30)));
}

#[test]
fn after_a_quiet_minute_all_starts_are_there_again() {
    let mut limit = StartLimit::default();
    for round in 0..3 {
        let at = START + secs(round * 60);
        assert!((0..StartLimit::STARTS).all(|_| limit.try_start(at).is_ok()), "round {round}");
        assert_eq!(limit.try_start(at), Err(StartLimit::WITHIN), "round {round}");
    }
}
