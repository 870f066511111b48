//! Events and the queries over them. Source: contract §5.

use std::sync::Arc;
use std::time::Duration;

use mcp_protocol::Method;
use mcp_transport::Delivery;

use crate::category::{ErrorCategory, Failure};
use crate::clock::Timestamp;
use crate::name::ServerName;
use crate::record::{ConnectionState, Status};

/// Identifies one invocation in events, traces and headers: a UUID v4 as text (contract §0.2).
pub type CorrelationId = Arc<str>;

/// One change of a server's status (contract §5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionEvent {
    /// Position in the order of all events.
    pub seq: u64,
    /// When.
    pub timestamp: Timestamp,
    /// Whose.
    pub server: ServerName,
    /// Before.
    pub from_status: Status,
    /// After.
    pub to_status: Status,
    /// Error text, or `healthy` on recovery.
    pub reason: Arc<str>,
    /// The invocation that caused it, if one did.
    pub correlation_id: Option<CorrelationId>,
}

/// A step of an invocation (contract §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the stages and their outcomes")]
pub enum Phase {
    InitializeStart,
    InitializeSuccess,
    InitializeFailure,
    InvokeStart,
    InvokeSuccess,
    InvokeFailure,
}

impl Phase {
    /// The stable spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InitializeStart => "initialize_start",
            Self::InitializeSuccess => "initialize_success",
            Self::InitializeFailure => "initialize_failure",
            Self::InvokeStart => "invoke_start",
            Self::InvokeSuccess => "invoke_success",
            Self::InvokeFailure => "invoke_failure",
        }
    }
}

/// One step of one invocation on one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvocationEvent {
    /// Position in the order of all events.
    pub seq: u64,
    /// When.
    pub timestamp: Timestamp,
    /// On which server.
    pub server: ServerName,
    /// The requested method, also for the initialize phases.
    pub method: Method,
    /// Which invocation.
    pub request_id: CorrelationId,
    /// Which step.
    pub phase: Phase,
    /// Set on the two failure phases only.
    pub failure: Option<Failure>,
    /// How long the stage took; set on the phases that end one.
    pub duration: Option<Duration>,
    /// How far the request got; set on failure phases only.
    pub delivery: Option<Delivery>,
    /// Which attempt of a directed call, from 1; set on its invoke phases only.
    pub attempt: Option<u32>,
}

impl InvocationEvent {
    /// A step of which no more is known. Its `seq` is set by the journal.
    #[must_use]
    pub fn new(
        timestamp: Timestamp,
        server: ServerName,
        method: Method,
        request_id: CorrelationId,
        phase: Phase,
    ) -> Self {
        Self {
            seq: 0,
            timestamp,
            server,
            method,
            request_id,
            phase,
            failure: None,
            duration: None,
            delivery: None,
            attempt: None,
        }
    }

    /// Class of the failure, if the phase is one.
    #[must_use]
    pub fn error_category(&self) -> Option<ErrorCategory> {
        self.failure.as_ref().map(|failure| failure.category)
    }
}

/// What happened to a registration or its connection (contract §5.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryChange {
    /// A definition was registered, or replaced.
    Registered,
    /// Its definition changed in nothing that concerns the server, which goes on.
    Redefined,
    /// It was removed.
    Unregistered,
    /// The transport changed state.
    StateChanged {
        /// Before.
        from: ConnectionState,
        /// After.
        to: ConnectionState,
    },
    /// An operator or a failed connect took it out of service.
    Unavailable {
        /// Why.
        reason: Arc<str>,
    },
    /// Its tools were listed.
    ToolsRefreshed {
        /// How many there are.
        count: usize,
    },
    /// The definition of a tool is not the one it had when it was looked at before, nor the approved one.
    ToolChanged {
        /// By the name the server gave it.
        tool: Arc<str>,
        /// What tells its definition now from others: 64 hexadecimal digits.
        digest: Arc<str>,
        /// Whether it is not offered until somebody approves it.
        withheld: bool,
    },
    /// A background reconnection was planned.
    ReconnectScheduled {
        /// In how long.
        delay: Duration,
        /// Which in a row, from 1.
        attempt: u32,
    },
}

impl RegistryChange {
    /// The stable spelling of its type.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Registered => "server_registered",
            Self::Redefined => "server_redefined",
            Self::Unregistered => "server_unregistered",
            Self::StateChanged { .. } => "state_changed",
            Self::Unavailable { .. } => "server_unavailable",
            Self::ToolsRefreshed { .. } => "tools_refreshed",
            Self::ToolChanged { .. } => "tool_changed",
            Self::ReconnectScheduled { .. } => "reconnect_scheduled",
        }
    }
}

/// One event of the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryEvent {
    /// Position in the order of all events.
    pub seq: u64,
    /// When.
    pub timestamp: Timestamp,
    /// Whose.
    pub server: ServerName,
    /// What.
    pub change: RegistryChange,
}

/// An event of any stream, as observers get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A status changed.
    Connection(ConnectionEvent),
    /// A step of an invocation.
    Invocation(InvocationEvent),
    /// A registration or its connection changed.
    Registry(RegistryEvent),
}

impl Event {
    /// Position in the order of all events.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        match self {
            Self::Connection(event) => event.seq,
            Self::Invocation(event) => event.seq,
            Self::Registry(event) => event.seq,
        }
    }
}

/// Which connection events to return; absent members match everything (contract §5.5).
#[derive(Debug, Clone, Default)]
pub struct ConnectionFilter<'a> {
    /// Exact server name.
    pub server: Option<&'a str>,
    /// Exact correlation id.
    pub correlation_id: Option<&'a str>,
    /// Only the newest so many; applied last. Zero: none.
    pub limit: Option<usize>,
}

impl ConnectionFilter<'_> {
    pub(crate) fn matches(&self, event: &ConnectionEvent) -> bool {
        self.server.is_none_or(|server| event.server.as_str() == server)
            && self.correlation_id.is_none_or(|id| event.correlation_id.as_deref() == Some(id))
    }
}

/// Which invocation events to return; absent members match everything (contract §5.5).
#[derive(Debug, Clone, Default)]
pub struct InvocationFilter<'a> {
    /// Exact server name.
    pub server: Option<&'a str>,
    /// Exact method.
    pub method: Option<&'a str>,
    /// Exact request id.
    pub request_id: Option<&'a str>,
    /// Only the newest so many; applied last. Zero: none.
    pub limit: Option<usize>,
}

impl InvocationFilter<'_> {
    pub(crate) fn matches(&self, event: &InvocationEvent) -> bool {
        self.server.is_none_or(|server| event.server.as_str() == server)
            && self.method.is_none_or(|method| event.method.as_str() == method)
            && self.request_id.is_none_or(|id| &*event.request_id == id)
    }
}

/// Which registry events to return; absent members match everything.
#[derive(Debug, Clone, Default)]
pub struct RegistryFilter<'a> {
    /// Exact server name.
    pub server: Option<&'a str>,
    /// Exact type, as [`RegistryChange::as_str`] spells it.
    pub kind: Option<&'a str>,
    /// Only the newest so many; applied last. Zero: none.
    pub limit: Option<usize>,
}

impl RegistryFilter<'_> {
    pub(crate) fn matches(&self, event: &RegistryEvent) -> bool {
        self.server.is_none_or(|server| event.server.as_str() == server)
            && self.kind.is_none_or(|kind| event.change.as_str() == kind)
    }
}
