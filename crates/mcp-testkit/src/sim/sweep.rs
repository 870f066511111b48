//! Many seeds on several threads.

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::Simulator;

/// What came of many seeds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sweep {
    /// Steps of the seeds that held.
    pub steps: u64,
    /// Time that passed on their clocks.
    pub simulated: Duration,
    /// The seeds that did not hold, with what happened, in order.
    pub failures: Vec<(u64, String)>,
}

impl Simulator {
    /// Runs every seed on `jobs` threads (at least 1). A panic is a failure of its seed alone.
    #[must_use]
    pub fn sweep(&self, seeds: Range<u64>, jobs: usize) -> Sweep {
        let next = AtomicU64::new(seeds.start);
        let sweep = Mutex::new(Sweep::default());
        thread::scope(|scope| {
            for _ in 0..jobs.max(1) {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if !seeds.contains(&seed) {
                            return;
                        }
                        let outcome = catch_unwind(AssertUnwindSafe(|| (self.run)(seed)));
                        let mut sweep = sweep.lock().unwrap_or_else(PoisonError::into_inner);
                        match outcome {
                            Ok(Ok(run)) => {
                                sweep.steps += run.steps;
                                sweep.simulated += run.simulated;
                            }
                            Ok(Err(broken)) => sweep.failures.push((seed, broken.to_string())),
                            Err(panic) => sweep.failures.push((seed, panicked(seed, &*panic))),
                        }
                    }
                });
            }
        });
        let mut sweep = sweep.into_inner().unwrap_or_else(PoisonError::into_inner);
        sweep.failures.sort();
        sweep
    }
}

fn panicked(seed: u64, panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
    format!("seed {seed}: panicked: {text}; replay with `cargo xtask sim --seed {seed}`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Broken, Run};

    fn run(seed: u64) -> Result<Run, Broken> {
        match seed {
            3 => panic!("out of luck"),
            5 => Err(Broken { seed, step: 2, invariant: "five", what: "is not even".into() }),
            _ => Ok(Run { steps: 10, simulated: Duration::from_secs(seed) }),
        }
    }

    #[test]
    fn every_seed_is_run_once_and_no_failure_ends_the_sweep() {
        let simulator = Simulator { name: "test", run, replay: |seed| (run(seed), Vec::new()) };
        for jobs in [0, 1, 3] {
            let sweep = simulator.sweep(2..8, jobs);
            assert_eq!((sweep.steps, sweep.simulated), (40, Duration::from_secs(2 + 4 + 6 + 7)));
            let failures = [
                (3, "seed 3: panicked: out of luck; replay with `cargo xtask sim --seed 3`".to_owned()),
                (5, "seed 5, step 2: five: is not even; replay with `cargo xtask sim --seed 5`".to_owned()),
            ];
            assert_eq!(sweep.failures, failures);
        }
    }
}
