//! What a client says about its connection. Source: contract §7.2.

use std::time::Duration;

use mcp_registry::{Failure, Timestamp};
use mcp_transport::TransportKind;

/// How an attempt to connect ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionResult {
    /// Why there is no connection; `None` if there is one.
    pub error: Option<Failure>,
    /// Facts for people.
    pub metadata: ConnectionMetadata,
}

impl ConnectionResult {
    /// Whether there is a connection.
    #[must_use]
    pub fn success(&self) -> bool {
        self.error.is_none()
    }

    /// The text of the error, if it failed.
    #[must_use]
    pub fn error_text(&self) -> Option<&str> {
        self.error.as_ref().map(|failure| &*failure.text)
    }
}

/// Facts about an attempt to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionMetadata {
    /// Over which transport.
    pub transport: TransportKind,
    /// The host of the URL, for transports that have one.
    pub host: Option<String>,
    /// Attempts this took; zero if the connection was there already.
    pub attempts: u32,
    /// The revision in use.
    pub protocol_version: Option<String>,
    /// The process, if the server is one of ours.
    pub pid: Option<u32>,
}

/// A copy of what a client counted on its present connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionStats {
    /// When the connection was made.
    pub connected_at: Timestamp,
    /// When a message was last sent or received.
    pub last_activity: Timestamp,
    /// Requests put on the wire, answered or not; those of the handshake included.
    pub requests_sent: u64,
    /// Requests that failed or timed out, and calls whose tool said that it failed.
    pub errors_count: u64,
    /// Mean time to the answer over all answered requests; zero before the first.
    pub average_latency: Duration,
}
