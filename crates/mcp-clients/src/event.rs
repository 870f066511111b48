//! What happens to a client's connection, for those who watch it.

use std::time::Duration;

use mcp_registry::{ConnectionState, Failure, Timestamp};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Events an observer may be behind before it loses the oldest.
pub(crate) const BACKLOG: usize = 256;

/// One change of a client's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientEvent {
    /// When.
    pub at: Timestamp,
    /// What.
    pub change: ClientChange,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientChange {
    /// The connection state (contract §1.5).
    State {
        /// Before.
        from: ConnectionState,
        /// After.
        to: ConnectionState,
        /// Why, if it is `error` now.
        cause: Option<Failure>,
    },
    /// All attempts of a connect failed.
    Unavailable {
        /// The last failure.
        failure: Failure,
        /// Attempts made.
        attempts: u32,
    },
    /// A background reconnection was planned.
    ReconnectScheduled {
        /// In how long.
        delay: Duration,
        /// How many failures went before it.
        attempt: u32,
    },
}

/// The changes of one client as they happen.
///
/// A slow observer holds nobody up: it loses the oldest events it has not seen, and learns how many.
#[derive(Debug)]
pub struct ClientEvents {
    receiver: broadcast::Receiver<ClientEvent>,
    dropped: u64,
}

impl ClientEvents {
    pub(crate) fn new(receiver: broadcast::Receiver<ClientEvent>) -> Self {
        Self { receiver, dropped: 0 }
    }

    /// The next event; `None` once the client is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<ClientEvent> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(lost)) => self.dropped += lost,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// How many events were lost because this observer was too slow.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}
