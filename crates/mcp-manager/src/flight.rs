//! Single flight: callers that want the same thing at the same time share one run of it.

use std::future::Future;
use std::sync::{Mutex, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::sync::oneshot;

type Outcome<T> = Shared<BoxFuture<'static, Option<T>>>;

/// At most one run at a time; whoever comes while one is under way gets its outcome.
#[derive(Debug)]
pub(crate) struct Flight<T: Clone> {
    current: Mutex<Option<Outcome<T>>>,
}

impl<T: Clone + Send + Sync + 'static> Flight<T> {
    pub(crate) fn new() -> Self {
        Self { current: Mutex::new(None) }
    }

    /// Joins the run under way, or starts `work`. The work is a task of its own: it goes on when the
    /// caller that started it leaves. `None` if it panicked.
    pub(crate) async fn run<F>(&self, work: impl FnOnce() -> F) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let outcome = {
            let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            match current.as_ref().filter(|outcome| outcome.peek().is_none()) {
                Some(outcome) => outcome.clone(),
                None => {
                    let (done, finished) = oneshot::channel();
                    let work = work();
                    tokio::spawn(async move {
                        // Nobody listening any more is no error.
                        let _ = done.send(work.await);
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
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(outcome) = current {
            outcome.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
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

    #[tokio::test]
    async fn the_run_survives_the_caller_that_started_it() {
        let flight = Arc::new(Flight::<u8>::new());
        let gate = Arc::new(Semaphore::new(0));
        let first = {
            let (flight, gate) = (flight.clone(), gate.clone());
            tokio::spawn(async move {
                flight
                    .run(|| async move {
                        gate.acquire().await.unwrap().forget();
                        7
                    })
                    .await
            })
        };
        while flight.current.lock().unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        first.abort();
        gate.add_permits(1);
        assert_eq!(flight.run(|| async { 8 }).await, Some(7));
    }

    #[tokio::test]
    async fn a_panic_reaches_the_callers_as_none() {
        let flight = Flight::<u8>::new();
        assert_eq!(flight.run(|| async { panic!("expected by the test") }).await, None);
        assert_eq!(flight.run(|| async { 1 }).await, Some(1));
    }
}
