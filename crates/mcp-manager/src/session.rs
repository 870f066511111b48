//! One open connection to a server, and its orderly end.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use mcp_client::Client;
use mcp_registry::{ServerName, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::drain::{Drain, User};

/// A connection with those who use it. Detached from its link it serves nobody new, and it is closed when
/// the last call on it has ended (contract §3.3).
#[derive(Debug)]
pub(crate) struct Session {
    server: ServerName,
    client: Client,
    calls: Drain,
    opened_at: Timestamp,
    last_activity: AtomicI64,
}

impl Session {
    pub(crate) fn new(server: ServerName, client: Client, now: Timestamp) -> Self {
        let last_activity = AtomicI64::new(now.as_micros());
        Self { server, client, calls: Drain::default(), opened_at: now, last_activity }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Counts a call in; the end of the session waits for it. `None` once we have ended it.
    pub(crate) fn enter(&self) -> Option<User<'_>> {
        self.calls.enter()
    }

    pub(crate) fn is_unused(&self) -> bool {
        self.calls.is_unused()
    }

    /// Whether a failure on this session should be recorded: only the first, and none that we caused.
    pub(crate) fn take_blame(&self) -> bool {
        self.calls.take_blame()
    }

    /// Whether we ended it.
    pub(crate) fn was_ended(&self) -> bool {
        self.calls.is_ended()
    }

    /// Whose it is.
    pub(crate) fn server(&self) -> &ServerName {
        &self.server
    }

    /// Waits for the calls on it, up to `patience` and not beyond `cut`, then closes it within `limit`. Says
    /// what did not end in order, if anything.
    pub(crate) async fn end(
        &self,
        patience: Duration,
        cut: &CancellationToken,
        limit: Duration,
    ) -> Option<String> {
        let cut = async {
            // A broken connection has nobody to wait for: its calls are failing by themselves.
            if !self.client.is_closed() {
                // Out of patience or cut short, which is the same here.
                let _ = tokio::time::timeout(patience, cut.cancelled()).await;
            }
        };
        self.calls.end(cut).await;
        match tokio::time::timeout(limit, self.client.close()).await {
            Ok(()) => self.client.unclean_end(),
            Err(_) => Some(format!("closing the connection took longer than {limit:?}")),
        }
    }

    /// Closes it at once: calls on it fail, and that is nobody's fault.
    pub(crate) async fn cut(&self) {
        self.calls.end(async {}).await;
        self.client.close().await;
    }

    /// When it was opened.
    pub(crate) fn opened_at(&self) -> Timestamp {
        self.opened_at
    }

    /// Notes that it was used.
    pub(crate) fn touch(&self, now: Timestamp) {
        self.last_activity.fetch_max(now.as_micros(), Ordering::Relaxed);
    }

    pub(crate) fn last_activity(&self) -> Timestamp {
        Timestamp::from_micros(self.last_activity.load(Ordering::Relaxed))
    }
}
