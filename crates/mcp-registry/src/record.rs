//! What is known of one server. Source: contract §1.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use mcp_protocol::{Era, RawJson};
use mcp_transport::Delivery;

use crate::category::ErrorCategory;
use crate::clock::Timestamp;
use crate::definition::Definition;
use crate::name::ServerName;

/// Whether the router may use a server (contract §1.3, availability).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// Used first.
    Healthy,
    /// Used when no healthy server is left and its retry window is open.
    Degraded,
    /// Used last, and only when its retry window is open.
    Unreachable,
}

impl Status {
    /// The stable spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unreachable => "unreachable",
        }
    }
}

/// What the transport of a server is doing (contract §1.3, connection).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionState {
    /// Connecting for the first time.
    Initializing,
    /// The transport is up.
    Connected,
    /// No transport, by intent.
    Disconnected,
    /// The transport broke.
    Error,
    /// Connecting again.
    Reconnecting,
}

impl ConnectionState {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::Initializing, Self::Connected, Self::Disconnected, Self::Error, Self::Reconnecting];

    /// The stable spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initializing => "initializing",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Error => "error",
            Self::Reconnecting => "reconnecting",
        }
    }

    /// Whether contract §1.5 (K1–K9) allows the change. Staying is always allowed.
    #[must_use]
    pub fn may_become(self, to: Self) -> bool {
        use ConnectionState::{Connected, Disconnected, Error, Initializing, Reconnecting};
        self == to
            || match to {
                Initializing => matches!(self, Disconnected | Error),
                Connected => matches!(self, Initializing | Reconnecting),
                Disconnected => true,
                Error => matches!(self, Initializing | Connected | Reconnecting | Disconnected),
                Reconnecting => matches!(self, Connected | Error | Disconnected),
            }
    }
}

/// The tri-state view of contract §1.3, derived and never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HealthView {
    /// No check result was ever recorded.
    Unknown,
    /// The latest result was good.
    Healthy,
    /// The latest result was bad.
    Unhealthy,
}

impl HealthView {
    /// The stable spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What a server said of itself in its last successful handshake (contract §1.2). For display only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapabilitySnapshot {
    /// Revision, as the server wrote it.
    pub protocol_version: Option<String>,
    /// `serverInfo`, verbatim, if it was an object.
    pub server_info: Option<RawJson>,
    /// `capabilities`, verbatim, if it was an object.
    pub capabilities: Option<RawJson>,
    /// When.
    pub captured_at: Timestamp,
}

/// What a tool says of its effects: untrusted hints (contract §2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ToolHints {
    /// `readOnlyHint`
    pub read_only: Option<bool>,
    /// `idempotentHint`
    pub idempotent: Option<bool>,
    /// `destructiveHint`
    pub destructive: Option<bool>,
}

/// One tool of a known tool set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KnownTool {
    /// The tool object as the server listed it; `None` if only configured by name.
    pub listed: Option<RawJson>,
    /// Its annotations.
    pub hints: ToolHints,
}

/// The tools a server is known to offer, by name.
pub type KnownTools = BTreeMap<Box<str>, KnownTool>;

/// Grows with every registration: work begun under an older one is void (contract §1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(pub(crate) u64);

impl Generation {
    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// One registration of one server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerKey {
    /// The name.
    pub name: ServerName,
    /// Which registration of that name.
    pub generation: Generation,
}

/// A series of background reconnections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reconnect {
    /// When the next one is due; `None` while it is under way.
    pub(crate) at: Option<Timestamp>,
    /// Which one in a row it is, from 1.
    pub(crate) attempt: u32,
    /// Why there is a series, which decides over its waits.
    pub(crate) series: Series,
}

/// What a series of background reconnections follows on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Series {
    /// A child process that ended by itself (product §5, Backoff).
    Restart,
    /// Attempts to connect that all failed (contract §2.6).
    Connect,
}

/// State of one server: immutable once published, replaced as a whole.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerRecord {
    /// What the operator said.
    pub definition: Arc<Definition>,
    /// Which registration this is.
    pub generation: Generation,
    /// Availability.
    pub status: Status,
    /// Text of the latest recorded failure; `None` after a success.
    pub last_error: Option<Arc<str>>,
    /// Its class.
    pub last_error_category: Option<ErrorCategory>,
    /// How far the request got whose failure it was, if it was one.
    pub last_error_delivery: Option<Delivery>,
    /// Consecutive recorded failures.
    pub retry_count: u32,
    /// End of the retry window; `None` when healthy.
    pub next_retry_at: Option<Timestamp>,
    /// Whether a usable handshake (or discovery) is in force.
    pub initialized: bool,
    /// Revision agreed at the last handshake that succeeded; cleared by one that failed.
    pub protocol_version: Option<String>,
    /// When the last successful handshake ended.
    pub last_initialized_at: Option<Timestamp>,
    /// When it becomes stale; `None`: never, or not initialised.
    pub initialization_expires_at: Option<Timestamp>,
    /// What the server last said of itself.
    pub capability_snapshot: Option<Arc<CapabilitySnapshot>>,
    /// What the transport is doing.
    pub connection_state: ConnectionState,
    /// Known tool set; `None`: unknown.
    pub tools: Option<Arc<KnownTools>>,
    /// Failed attempts and probes in a row.
    pub consecutive_failures: u32,
    /// Latency of the last answered probe.
    pub response_time: Option<Duration>,
    /// Era of the server; `None`: not yet known.
    pub era: Option<Era>,
    pub(crate) next_check_at: Timestamp,
    pub(crate) reconnect: Option<Reconnect>,
    pub(crate) restarts: u32,
    live: Arc<Live>,
}

/// The part of a record that every successful call touches; shared by all versions of the record, so
/// that a success on a healthy server needs no lock.
#[derive(Debug)]
struct Live {
    /// Microseconds; `i64::MIN`: never.
    last_checked_at: AtomicI64,
}

impl ServerRecord {
    /// The initial values of contract §1.1.
    pub(crate) fn new(definition: Definition, generation: Generation, now: Timestamp) -> Self {
        let configured = definition.tools.as_ref().map(|names| {
            Arc::new(
                names.iter().map(|name| (name.as_str().into(), KnownTool::default())).collect::<KnownTools>(),
            )
        });
        Self {
            definition: Arc::new(definition),
            generation,
            status: Status::Healthy,
            last_error: None,
            last_error_category: None,
            last_error_delivery: None,
            retry_count: 0,
            next_retry_at: None,
            initialized: false,
            protocol_version: None,
            last_initialized_at: None,
            initialization_expires_at: None,
            capability_snapshot: None,
            connection_state: ConnectionState::Disconnected,
            tools: configured,
            consecutive_failures: 0,
            response_time: None,
            era: None,
            next_check_at: now,
            reconnect: None,
            restarts: 0,
            live: Arc::new(Live { last_checked_at: AtomicI64::new(i64::MIN) }),
        }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &ServerName {
        &self.definition.name
    }

    /// Name and generation.
    #[must_use]
    pub fn key(&self) -> ServerKey {
        ServerKey { name: self.name().clone(), generation: self.generation }
    }

    /// When the latest result was recorded, good or bad.
    #[must_use]
    pub fn last_checked_at(&self) -> Option<Timestamp> {
        match self.live.last_checked_at.load(Ordering::Relaxed) {
            i64::MIN => None,
            micros => Some(Timestamp::from_micros(micros)),
        }
    }

    /// Notes a result. Never moves backwards, whatever order concurrent calls end in.
    pub(crate) fn touch(&self, now: Timestamp) {
        self.live.last_checked_at.fetch_max(now.as_micros(), Ordering::Relaxed);
    }

    /// Records a success if that changes nothing but the time of the last check; says whether it did.
    ///
    /// This is the path of nearly every call: no lock, no new record.
    #[must_use]
    pub fn touch_if_settled(&self, now: Timestamp) -> bool {
        let settled = self.status == Status::Healthy && self.consecutive_failures == 0;
        if settled {
            self.touch(now);
        }
        settled
    }

    /// The derived health view.
    #[must_use]
    pub fn health_view(&self) -> HealthView {
        match (self.last_checked_at(), self.status) {
            (None, _) => HealthView::Unknown,
            (Some(_), Status::Healthy) => HealthView::Healthy,
            (Some(_), Status::Degraded | Status::Unreachable) => HealthView::Unhealthy,
        }
    }

    /// Whether the retry window is open; its last instant counts as open (contract §2.2).
    #[must_use]
    pub fn should_retry(&self, now: Timestamp) -> bool {
        self.next_retry_at.is_none_or(|at| now >= at)
    }

    /// How often in a row its process was started again, or was planned to be, after it had ended by itself;
    /// 0 once it ran for a minute.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// When it is connected again in the background; `None` if that is not planned, or is under way.
    #[must_use]
    pub fn next_reconnect_at(&self) -> Option<Timestamp> {
        self.reconnect?.at
    }

    /// What a known tool says of its effects; `None` for one that is not known.
    #[must_use]
    pub fn tool_hints(&self, tool: &str) -> Option<ToolHints> {
        Some(self.tools.as_ref()?.get(tool)?.hints)
    }

    /// Whether the known tool set lacks the tool. An unknown set lacks nothing.
    #[must_use]
    pub fn lacks_tool(&self, tool: &str) -> bool {
        self.tools.as_ref().is_some_and(|tools| !tools.contains_key(tool))
    }
}

#[cfg(test)]
mod tests {
    use super::ConnectionState as S;

    #[test]
    fn j4_connection_changes_follow_the_table() {
        let allowed = [
            (S::Disconnected, S::Initializing),
            (S::Error, S::Initializing),
            (S::Initializing, S::Connected),
            (S::Reconnecting, S::Connected),
            (S::Initializing, S::Disconnected),
            (S::Connected, S::Disconnected),
            (S::Reconnecting, S::Disconnected),
            (S::Error, S::Disconnected),
            (S::Initializing, S::Error),
            (S::Connected, S::Error),
            (S::Reconnecting, S::Error),
            (S::Disconnected, S::Error),
            (S::Connected, S::Reconnecting),
            (S::Error, S::Reconnecting),
            (S::Disconnected, S::Reconnecting),
        ];
        for from in S::ALL {
            for to in S::ALL {
                assert_eq!(
                    from.may_become(to),
                    from == to || allowed.contains(&(from, to)),
                    "{from:?} -> {to:?}"
                );
            }
        }
    }
}
