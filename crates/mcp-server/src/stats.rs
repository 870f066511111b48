//! Figures about a front end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::flight::Shared;

/// What a front end has seen. Counts run since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FrontStats {
    /// Sessions now.
    pub sessions: usize,
    /// Streams open now; the pipes of stdio do not count.
    pub streams: usize,
    /// Calls in flight now.
    pub in_flight: usize,
    /// Sessions opened.
    pub sessions_opened: u64,
    /// Sessions that ended because nobody used them.
    pub sessions_expired: u64,
    /// Calls and sessions refused because a limit was reached.
    pub refused: u64,
    /// Calls cancelled by their client.
    pub cancelled: u64,
    /// Calls of the handshake era that went on without their client.
    pub abandoned: u64,
    /// Streams that a client resumed.
    pub resumed: u64,
    /// Notifications dropped because the client did not read, or could not be reached any more.
    pub dropped: u64,
}

/// One count.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counts behind [`FrontStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) streams: AtomicUsize,
    pub(crate) sessions_opened: Counter,
    pub(crate) sessions_expired: Counter,
    pub(crate) refused: Counter,
    pub(crate) cancelled: Counter,
    pub(crate) abandoned: Counter,
    pub(crate) resumed: Counter,
    pub(crate) dropped: Counter,
}

/// Counted among the open streams until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenStream(Arc<Shared>);

impl OpenStream {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        shared.counters.streams.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(shared))
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.counters.streams.fetch_sub(1, Ordering::Relaxed);
    }
}
