//! Diagnostics of the sessions the manager keeps. Source: contract §3.7.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::TryFutureExt;
use mcp_client::ClientStats;
use mcp_registry::{ConnectionState, Definition, ServerRecord, Status, Timestamp};

use crate::link::Link;
use crate::manager::{Inner, Manager, UnknownServer};

/// Whether a session was used lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Freshness {
    /// There is no session, or it was never used.
    Unknown,
    /// Used within the policy's limit.
    ActiveRecent,
    /// Not used for longer than that.
    Stale,
}

impl Freshness {
    /// The stable spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::ActiveRecent => "active_recent",
            Self::Stale => "stale",
        }
    }
}

/// State of one server's session: no ids, URLs or secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionState {
    /// Whether a session is open.
    pub active: bool,
    /// Whether a handshake is in force on it.
    pub initialized: bool,
    /// When it was last used.
    pub last_activity_at: Option<Timestamp>,
    /// Derived from that and the policy.
    pub freshness: Freshness,
}

/// Why a session could not be looked at or controlled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionControlError {
    /// There is no such server.
    #[error(transparent)]
    UnknownServer(#[from] UnknownServer),
    /// Its transport keeps no session.
    #[error("the transport of {server:?} offers no session controls")]
    NotAvailable {
        /// The server.
        server: String,
    },
}

/// What a connection is doing, or what is known of the one that broke, for operators.
#[derive(Debug, Clone, Default)]
pub struct ConnectionReport {
    /// Counters since the connection was opened; `None` if there is none.
    pub stats: Option<ClientStats>,
    /// Facts of the transport: `pid`, `stderr`, …. Of a connection that broke or could not be made they are kept
    /// until the next one, with `ended`, the reason, and `last_pid` in the place of `pid`.
    pub details: Vec<(&'static str, String)>,
}

/// Sums over all servers (contract §7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Registered servers.
    pub total_servers: usize,
    /// Those whose connection is up.
    pub connected_servers: usize,
    /// Those without a connection, by intent or because none was needed yet.
    pub disconnected_servers: usize,
    /// Those whose connection broke or could not be made.
    pub error_servers: usize,
    /// Enabled servers marked as critical that are unreachable.
    pub critical_servers_down: usize,
    /// Exchanges with servers since the start: calls, handshakes, pings, tool lists.
    pub total_requests: u64,
    /// Those that failed.
    pub total_errors: u64,
}

/// Counts exchanges with servers.
#[derive(Debug, Default)]
pub(crate) struct Exchanges {
    requests: AtomicU64,
    errors: AtomicU64,
}

impl Inner {
    /// Counts an exchange, and how it ends.
    pub(crate) fn counted<T, E>(
        &self,
        exchange: impl Future<Output = Result<T, E>>,
    ) -> impl Future<Output = Result<T, E>> {
        self.exchanges.requests.fetch_add(1, Ordering::Relaxed);
        exchange.inspect_err(|_| {
            self.exchanges.errors.fetch_add(1, Ordering::Relaxed);
        })
    }
}

impl Manager {
    /// Sums over all servers.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let mut sums = Statistics {
            total_requests: self.0.exchanges.requests.load(Ordering::Relaxed),
            total_errors: self.0.exchanges.errors.load(Ordering::Relaxed),
            ..Statistics::default()
        };
        for record in self.table().servers() {
            sums.total_servers += 1;
            match record.connection_state {
                ConnectionState::Connected => sums.connected_servers += 1,
                ConnectionState::Disconnected => sums.disconnected_servers += 1,
                ConnectionState::Error => sums.error_servers += 1,
                ConnectionState::Initializing | ConnectionState::Reconnecting => {}
            }
            let Definition { enabled, critical, .. } = *record.definition;
            if enabled && critical && record.status == Status::Unreachable {
                sums.critical_servers_down += 1;
            }
        }
        sums
    }

    /// Whether the connection of a server keeps a session that can be looked at, invalidated and refreshed
    /// (contract §3.7).
    #[must_use]
    pub fn has_session_controls(&self, server: &ServerRecord) -> bool {
        self.0.connector.session_controls(&server.definition.endpoint)
    }

    /// Whether that is so for any server, or could be: none is registered.
    #[must_use]
    pub fn supports_session_controls(&self) -> bool {
        let table = self.table();
        table.servers().is_empty() || table.servers().iter().any(|server| self.has_session_controls(server))
    }

    /// The link of a server whose session can be controlled.
    pub(crate) fn controlled_link(&self, name: &str) -> Result<Arc<Link>, SessionControlError> {
        let link = self.link(name)?;
        if self.0.connector.session_controls(&link.definition().endpoint) {
            Ok(link)
        } else {
            Err(SessionControlError::NotAvailable { server: name.to_owned() })
        }
    }

    /// The session of a server.
    ///
    /// # Errors
    /// [`SessionControlError`].
    pub fn session_state(&self, name: &str) -> Result<SessionState, SessionControlError> {
        let link = self.controlled_link(name)?;
        let record = self.server(name)?;
        let session = link.session();
        let active = session.is_some();
        let last_activity_at = session.map(|session| session.last_activity());
        let freshness = match (last_activity_at, self.policy().adapter_session_stale_after) {
            (None, _) => Freshness::Unknown,
            (Some(_), None) => Freshness::ActiveRecent,
            (Some(at), Some(limit)) if at >= self.now() - limit => Freshness::ActiveRecent,
            (Some(_), Some(_)) => Freshness::Stale,
        };
        Ok(SessionState { active, initialized: active && record.initialized, last_activity_at, freshness })
    }

    /// Counters and facts of a server's connection.
    ///
    /// # Errors
    /// [`UnknownServer`].
    pub fn connection(&self, name: &str) -> Result<ConnectionReport, UnknownServer> {
        let link = self.link(name)?;
        if let Some(session) = link.session() {
            let client = session.client();
            return Ok(ConnectionReport { stats: Some(client.stats()), details: client.details() });
        }
        let past = link.past().as_deref().cloned().unwrap_or_default();
        let of_the_past = |(key, fact)| match key {
            "pid" => Some(("last_pid", fact)),
            // Nobody waits on a connection that is gone.
            "waiting" => None,
            key => Some((key, fact)),
        };
        Ok(ConnectionReport { stats: None, details: past.into_iter().filter_map(of_the_past).collect() })
    }
}
