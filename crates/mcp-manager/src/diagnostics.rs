//! Diagnostics of the sessions the manager keeps. Source: contract §3.7.

use mcp_client::ClientStats;
use mcp_registry::Timestamp;

use crate::manager::{Manager, UnknownServer};

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

/// What a connection is doing, for operators.
#[derive(Debug, Clone)]
pub struct ConnectionReport {
    /// Counters since the connection was opened.
    pub stats: ClientStats,
    /// Facts of the transport: `pid`, last stderr lines, ….
    pub details: Vec<(&'static str, String)>,
}

impl Manager {
    /// The session of a server.
    ///
    /// # Errors
    /// [`UnknownServer`].
    pub fn session_state(&self, name: &str) -> Result<SessionState, UnknownServer> {
        let link = self.link(name)?;
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

    /// Counters and facts of a server's connection; `None` while there is none.
    ///
    /// # Errors
    /// [`UnknownServer`].
    pub fn connection(&self, name: &str) -> Result<Option<ConnectionReport>, UnknownServer> {
        let session = self.link(name)?.session();
        Ok(session.map(|session| {
            let client = session.client();
            ConnectionReport { stats: client.stats(), details: client.details() }
        }))
    }
}
