//! An event that happens once and can be waited for by many.

use std::sync::OnceLock;

use mcp_transport::TransportError;
use tokio::sync::Notify;

/// Why something ended, once it has. The first reason stays.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    reason: OnceLock<TransportError>,
    raised: Notify,
}

impl Signal {
    /// Raises the signal; says whether this was the first time.
    pub(crate) fn raise(&self, reason: TransportError) -> bool {
        let first = self.reason.set(reason).is_ok();
        self.raised.notify_waiters();
        first
    }

    pub(crate) fn get(&self) -> Option<&TransportError> {
        self.reason.get()
    }

    /// Waits until the signal is raised.
    pub(crate) async fn wait(&self) -> TransportError {
        let mut raised = std::pin::pin!(self.raised.notified());
        loop {
            // Enabled before the check, so that a signal in between is not missed.
            raised.as_mut().enable();
            if let Some(reason) = self.get() {
                return reason.clone();
            }
            raised.as_mut().await;
            raised.set(self.raised.notified());
        }
    }
}
