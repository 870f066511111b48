//! How a scenario is run.

/// Schedules per scenario and kind.
const SCHEDULES: usize = 1_000;

/// How many times a schedule of the second kind turns to a task of lower priority.
const CHANGES: usize = 3;

/// Runs `scenario` under many schedules: some that choose the next task evenly at every point, and some that
/// stay with one task and turn away from it at a few points (PCT), which finds what needs one long delay.
///
/// With `SCHEDULE` in the environment it runs that one schedule, as a failure has printed it.
///
/// # Panics
/// If the scenario panics or its tasks wait for one another under one of the schedules.
pub(crate) fn check(scenario: impl Fn() + Send + Sync + Clone + 'static) {
    if let Ok(schedule) = std::env::var("SCHEDULE") {
        return shuttle::replay(scenario, &schedule);
    }
    shuttle::check_random(scenario.clone(), SCHEDULES);
    shuttle::check_pct(scenario, SCHEDULES, CHANGES);
}
