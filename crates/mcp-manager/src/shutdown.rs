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

/// Time handshakes under way get to notice the end.
const HANDSHAKES_END: Duration = Duration::from_secs(2);

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
        inner.changed.notify_one();
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
        // A handshake under way sees that its link is retired and closes what it opened.
        let handshakes: FuturesUnordered<_> = links.iter().map(|link| link.handshakes.settle()).collect();
        let _ = tokio::time::timeout(HANDSHAKES_END, handshakes.count()).await;
        ShutdownReport { calls_cut, connections_closed }
    }
}
