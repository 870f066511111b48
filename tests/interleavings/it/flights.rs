//! The single flight: one run at a time, nobody waits in vain, nobody gets what was over before.

use std::sync::Arc;

use futures::future::join_all;
use shuttle::future::{block_on, spawn, yield_now};
use shuttle::sync::atomic::Ordering::SeqCst;
use tokio::sync::{Semaphore, oneshot};

use crate::flight::Flight;
use crate::schedules::check;
use crate::sync::{AtomicBool, AtomicUsize, crash};

/// A flight whose runs are numbered from one; the number is the outcome.
struct Airfield {
    flight: Flight<usize>,
    runs: AtomicUsize,
    in_the_air: AtomicBool,
    /// The last run whose outcome somebody knows.
    told: AtomicUsize,
}

impl Airfield {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            flight: Flight::new(),
            runs: AtomicUsize::new(0),
            in_the_air: AtomicBool::new(false),
            told: AtomicUsize::new(0),
        })
    }

    /// Joins or starts a run, which does `meanwhile` when it is in the air.
    async fn fly<F: Future<Output = ()> + Send + 'static>(
        self: &Arc<Self>,
        meanwhile: impl FnOnce(usize) -> F + Send + 'static,
    ) -> Option<usize> {
        let told = self.told.load(SeqCst);
        let field = self.clone();
        let work = || async move {
            assert!(!field.in_the_air.swap(true, SeqCst), "two runs at once");
            let run = field.runs.fetch_add(1, SeqCst) + 1;
            let _landing = Landing(field);
            meanwhile(run).await;
            run
        };
        let outcome = self.flight.run(work).await;
        if let Some(run) = outcome {
            assert!(run > told, "run {run} was over before the call");
            self.told.fetch_max(run, SeqCst);
        }
        outcome
    }
}

/// A run is over, in whatever way.
struct Landing(Arc<Airfield>);

impl Drop for Landing {
    fn drop(&mut self) {
        self.0.in_the_air.store(false, SeqCst);
    }
}

async fn flight_time(_run: usize) {
    yield_now().await;
}

#[test]
fn one_run_at_a_time_and_none_that_was_over_before() {
    check(|| {
        let field = Airfield::new();
        let caller = || {
            let field = field.clone();
            spawn(async move {
                for _ in 0..2 {
                    assert!(field.fly(flight_time).await.is_some());
                }
            })
        };
        block_on(join_all([caller(), caller(), caller()]));
        assert!((2..=6).contains(&field.runs.load(SeqCst)));
        assert!(!field.flight.is_under_way());
    });
}

#[test]
fn whoever_comes_during_a_run_gets_its_outcome() {
    check(|| {
        let (field, aboard) = (Airfield::new(), Arc::new(Semaphore::new(0)));
        let caller = || {
            let (field, aboard) = (field.clone(), aboard.clone());
            spawn(async move {
                let all_aboard = aboard.clone();
                let mut flying = std::pin::pin!(field.fly(|_| async move {
                    let _ = all_aboard.acquire_many(3).await;
                }));
                assert!(futures::poll!(&mut flying).is_pending());
                aboard.add_permits(1);
                assert_eq!(flying.await, Some(1));
            })
        };
        block_on(async {
            for caller in [caller(), caller(), caller()] {
                caller.await.unwrap();
            }
        });
    });
}

#[test]
fn a_crash_is_told_to_its_callers_and_to_nobody_later() {
    check(|| {
        let field = Airfield::new();
        let caller = || {
            let field = field.clone();
            spawn(async move {
                let first_crashes = |run| async move {
                    yield_now().await;
                    if run == 1 {
                        crash().await;
                    }
                };
                if field.fly(first_crashes).await.is_none() {
                    assert!(field.fly(first_crashes).await.is_some(), "the crash was over before the call");
                }
            })
        };
        block_on(join_all([caller(), caller(), caller()]));
    });
}

#[test]
fn a_run_goes_on_when_nobody_waits_for_it() {
    check(|| {
        let field = Airfield::new();
        let (ended, has_ended) = oneshot::channel();
        let starter = spawn({
            let field = field.clone();
            let meanwhile = |run| async move {
                flight_time(run).await;
                let _ = ended.send(());
            };
            async move { field.fly(meanwhile).await }
        });
        starter.abort();
        block_on(async {
            let _ = starter.await;
            // It may not even have begun.
            assert!(has_ended.await.is_ok() || field.runs.load(SeqCst) == 0);
        });
    });
}

#[test]
fn who_waits_for_a_run_still_gets_it_when_its_starter_leaves() {
    check(|| {
        let field = Airfield::new();
        let caller = || {
            let field = field.clone();
            spawn(async move { field.fly(flight_time).await })
        };
        let (leaves, stays) = (caller(), caller());
        leaves.abort();
        block_on(async {
            assert!(stays.await.unwrap().is_some());
            // Aborted, unless it was quicker; either way it starts nothing any more.
            let _ = leaves.await;
            field.flight.settle().await;
            assert!(!field.in_the_air.load(SeqCst), "settled, but a run was still under way");
            let runs = field.runs.load(SeqCst);
            assert_eq!(field.fly(flight_time).await, Some(runs + 1));
        });
    });
}
