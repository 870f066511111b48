//! What the tested modules find as `crate::sync`.

use std::cell::Cell;
use std::sync::{Arc, PoisonError};
use std::task::Poll;

use shuttle::sync::atomic::Ordering::SeqCst;
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicUsize};
pub(crate) use shuttle::sync::{Mutex, MutexGuard};
use tokio::sync::futures::Notified;

/// A point where the schedule may change.
fn point() {
    AtomicBool::new(false).load(SeqCst);
}

thread_local! {
    static CRASHED: Cell<bool> = const { Cell::new(false) };
}

/// Ends the task that awaits it like a panic does in tokio: what it holds is dropped, and the others go on. A
/// real panic would be the scenario's failure.
pub(crate) async fn crash() {
    CRASHED.set(true);
    std::future::pending().await
}

/// Runs `task` in the background; nobody waits for it.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    let mut task = Some(Box::pin(task));
    drop(shuttle::future::spawn(std::future::poll_fn(move |context| {
        let Some(running) = &mut task else { return Poll::Ready(()) };
        let polled = running.as_mut().poll(context);
        if polled.is_ready() || CRASHED.take() {
            task = None;
            return Poll::Ready(());
        }
        Poll::Pending
    })));
}

#[derive(Debug, Default)]
pub(crate) struct Notify(tokio::sync::Notify);

impl Notify {
    pub(crate) fn notified(&self) -> Notified<'_> {
        point();
        self.0.notified()
    }

    pub(crate) fn notify_waiters(&self) {
        point();
        self.0.notify_waiters();
    }
}

/// The part of `arc_swap::ArcSwap` that is used.
#[derive(Debug)]
pub(crate) struct ArcSwap<T>(Mutex<Arc<T>>);

impl<T> ArcSwap<T> {
    pub(crate) fn from_pointee(value: T) -> Self {
        Self(Mutex::new(Arc::new(value)))
    }

    pub(crate) fn load(&self) -> Arc<T> {
        self.held().clone()
    }

    pub(crate) fn swap(&self, new: Arc<T>) -> Arc<T> {
        std::mem::replace(&mut *self.held(), new)
    }

    /// Tries again until nobody came in between, as the original does.
    pub(crate) fn rcu(&self, mut update: impl FnMut(&Arc<T>) -> Arc<T>) -> Arc<T> {
        loop {
            let now = self.load();
            let new = update(&now);
            let mut held = self.held();
            if Arc::ptr_eq(&held, &now) {
                return std::mem::replace(&mut *held, new);
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Arc<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
