//! The orderly end. Source: contract §7.7.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::manager::Manager;

/// What did not end by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Calls that were still running when their time was up.
    pub calls_cut: usize,
    /// Connections that were closed.
    pub connections_closed: usize,
}

impl Manager {
    /// Whether the manager still accepts calls.
    #[must_use]
    pub fn is_accepting(&self) -> bool {
        !self.0.closing.load(Ordering::SeqCst)
    }

    /// Refuses new calls, waits up to `grace` for those under way, then closes every connection, all at
    /// once. Idempotent; what is left of the grace is not waited for twice.
    pub async fn shutdown(&self, grace: Duration) -> ShutdownReport {
        let inner = &self.0;
        inner.closing.store(true, Ordering::SeqCst);
        let drained = async {
            loop {
                let idle = inner.idle.notified();
                tokio::pin!(idle);
                // Registered before the count is read, so that the last call's ring is not missed.
                idle.as_mut().enable();
                if inner.in_flight.load(Ordering::SeqCst) == 0 {
                    return;
                }
                idle.await;
            }
        };
        let _ = tokio::time::timeout(grace, drained).await;
        let calls_cut = inner.in_flight.load(Ordering::SeqCst);
        let links: Vec<_> = inner.snapshot().links().to_vec();
        let closing: FuturesUnordered<_> = links
            .iter()
            .filter_map(|link| link.retire())
            .map(|client| async move { client.close().await })
            .collect();
        let connections_closed = closing.count().await;
        ShutdownReport { calls_cut, connections_closed }
    }
}
