//! The primitives of the modules whose interleavings are checked: `tests/interleavings` compiles those modules
//! with a `sync` of its own, whose every operation is a point where the schedule may change.

pub(crate) use std::sync::atomic::AtomicUsize;
pub(crate) use std::sync::{Mutex, MutexGuard};

pub(crate) use arc_swap::ArcSwap;
pub(crate) use tokio::sync::Notify;

/// Runs `task` in the background; nobody waits for it.
///
/// # Panics
/// Outside of a tokio runtime.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}
