//! Single flight: callers that want the same thing at the same time share one run of it.

use std::future::Future;
use std::sync::{Arc, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::sync::oneshot;

use crate::sync::{Mutex, MutexGuard, spawn};

type Outcome<T> = Shared<BoxFuture<'static, Option<T>>>;

/// At most one run at a time; whoever comes while one is under way gets its outcome. Clones are the same
/// flight.
#[derive(Debug, Clone)]
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
                    let work = work();
                    let landing = Landing { current: self.current.clone(), done: Some(done) };
                    spawn(async move { landing.tell(work.await) });
                    let outcome = finished.map(Result::ok).boxed().shared();
                    *current = Some(outcome.clone());
                    outcome
                }
            }
        };
        outcome.await
    }

    /// Whether there is a run under way.
    pub(crate) fn is_under_way(&self) -> bool {
        lock(&self.current).is_some()
    }

    /// Waits for the run under way, if there is one.
    pub(crate) async fn settle(&self) {
        let current = lock(&self.current).clone();
        if let Some(outcome) = current {
            outcome.await;
        }
    }
}

/// Clears the way for the next run before the end of this one is told, so that whoever comes after that starts
/// another; also when this one panics or its runtime ends, which is told by dropping `done`.
struct Landing<T: Clone> {
    current: Arc<Mutex<Option<Outcome<T>>>>,
    done: Option<oneshot::Sender<T>>,
}

impl<T: Clone> Landing<T> {
    fn tell(mut self, value: T) {
        let done = self.done.take();
        drop(self);
        // Nobody listening any more is no error.
        let _ = done.map(|done| done.send(value));
    }
}

impl<T: Clone> Drop for Landing<T> {
    fn drop(&mut self) {
        *lock(&self.current) = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
