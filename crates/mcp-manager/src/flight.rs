//! Single flight: callers that want the same thing at the same time share one run of it.

use std::future::Future;
use std::sync::{Arc, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::sync::oneshot;

use crate::sync::{Mutex, MutexGuard, spawn};

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
                    spawn(async move {
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
