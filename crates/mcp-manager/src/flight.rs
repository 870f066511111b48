//! Single flight: callers that want the same thing at the same time share one run of it.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::sync::oneshot;

type Outcome<T> = Shared<BoxFuture<'static, Option<T>>>;

/// At most one run at a time; whoever comes while one is under way gets its outcome.
#[derive(Debug)]
pub(crate) struct Flight<T: Clone> {
    current: Arc<Mutex<Option<Outcome<T>>>>,
}

impl<T: Clone + Send + Sync + 'static> Flight<T> {
    pub(crate) fn new() -> Self {
        Self { current: Arc::default() }
    }

    /// Joins the run under way, or starts `work`. The work is a task of its own: it goes on when the
    /// caller that started it leaves. `None` if it panicked.
    pub(crate) async fn run<F>(&self, work: impl FnOnce() -> F) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let outcome = {
            let mut current = lock(&self.current);
            match &*current {
                Some(outcome) => outcome.clone(),
                None => {
                    let (done, finished) = oneshot::channel();
                    let (work, landing) = (work(), Landing(self.current.clone()));
                    tokio::spawn(async move {
                        let value = work.await;
                        // Before the outcome is told: whoever comes after it starts another run.
                        drop(landing);
                        // Nobody listening any more is no error.
                        let _ = done.send(value);
                    });
                    let outcome = finished.map(Result::ok).boxed().shared();
                    *current = Some(outcome.clone());
                    outcome
                }
            }
        };
        outcome.await
    }

    /// Waits for the run under way, if there is one.
    pub(crate) async fn settle(&self) {
        let current = lock(&self.current).clone();
        if let Some(outcome) = current {
            outcome.await;
        }
    }
}

/// Clears the way for the next run, also when this one panics or its runtime ends.
struct Landing<T: Clone>(Arc<Mutex<Option<Outcome<T>>>>);

impl<T: Clone> Drop for Landing<T> {
    fn drop(&mut self) {
        *lock(&self.0) = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Semaphore;

    #[tokio::test]
    async fn concurrent_callers_share_one_run_and_later_ones_start_another() {
        let flight = Arc::new(Flight::<usize>::new());
        let (runs, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let call = || {
            let (flight, runs, gate) = (flight.clone(), runs.clone(), gate.clone());
            async move {
                let work = || async move {
                    let run = runs.fetch_add(1, Ordering::SeqCst);
                    gate.acquire().await.unwrap().forget();
                    run
                };
                flight.run(work).await
            }
        };
        let callers: Vec<_> = (0..10).map(|_| tokio::spawn(call())).collect();
        gate.add_permits(1);
        for caller in callers {
            assert_eq!(caller.await.unwrap(), Some(0));
        }
        gate.add_permits(1);
        assert_eq!(call().await, Some(1));
    }

    /// A flight whose starter has left before the run ended.
    async fn abandoned() -> (Arc<Flight<u8>>, Arc<Semaphore>) {
        let flight = Arc::new(Flight::new());
        let gate = Arc::new(Semaphore::new(0));
        let starter = {
            let (flight, gate) = (flight.clone(), gate.clone());
            let work = || async move {
                gate.acquire().await.unwrap().forget();
                7
            };
            tokio::spawn(async move { flight.run(work).await })
        };
        while lock(&flight.current).is_none() {
            tokio::task::yield_now().await;
        }
        starter.abort();
        (flight, gate)
    }

    #[tokio::test]
    async fn a_run_survives_the_caller_that_started_it() {
        let (flight, gate) = abandoned().await;
        gate.add_permits(1);
        assert_eq!(flight.run(|| async { 8 }).await, Some(7));
    }

    #[tokio::test]
    async fn the_outcome_of_a_run_that_ended_unheard_is_not_handed_out_later() {
        let (flight, gate) = abandoned().await;
        gate.add_permits(1);
        while lock(&flight.current).is_some() {
            tokio::task::yield_now().await;
        }
        assert_eq!(flight.run(|| async { 8 }).await, Some(8));
    }

    #[tokio::test]
    async fn a_panic_reaches_the_callers_as_none() {
        let flight = Flight::<u8>::new();
        assert_eq!(flight.run(|| async { panic!("expected by the test") }).await, None);
        assert_eq!(flight.run(|| async { 1 }).await, Some(1));
    }
}
