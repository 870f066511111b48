//! The orderly end. Source: contract §7.7.

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
        !self.0.closing.is_cancelled()
    }

    /// Refuses new calls, waits up to `grace` for those under way, then closes every connection, all at
    /// once, and waits until they are closed. A second call with less patience cuts the first one's
    /// waiting short.
    pub async fn shutdown(&self, grace: Duration) -> ShutdownReport {
        let inner = &self.0;
        inner.closing.cancel();
        inner.calls.close();
        tokio::select! {
            biased;
            () = inner.calls.wait() => {}
            () = tokio::time::sleep(grace) => {}
            () = inner.cut.cancelled() => {}
        }
        let calls_cut = inner.calls.len();
        inner.cut.cancel();
        let links: Vec<_> = inner.snapshot().links().to_vec();
        let open: Vec<_> = links.iter().flat_map(|link| link.retire()).collect();
        let connections_closed = open.len();
        for session in open {
            inner.end_session(session);
        }
        // A handshake under way sees that its link is retired and closes what it opened.
        let handshakes: FuturesUnordered<_> = links.iter().map(|link| link.settle()).collect();
        let _ = tokio::time::timeout(HANDSHAKES_END, handshakes.count()).await;
        inner.endings.close();
        inner.endings.wait().await;
        ShutdownReport { calls_cut, connections_closed }
    }
}
