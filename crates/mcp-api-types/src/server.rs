//! The server object, its list, and registering one.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

use crate::{AdapterSession, Delivery, ErrorCategory};

/// One registered server as the API shows it (contract §6.1; meanings and transitions §1).
///
/// The keys up to `adapter_session` are mandatory; those after it are additive.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Server {
    /// The operator's name for it.
    pub name: String,
    /// Where it is; null for a child process.
    pub url: Option<String>,
    /// Whether the router may use it.
    pub status: Status,
    /// Text of the latest recorded failure; null after a success.
    pub last_error: Option<String>,
    /// Class of that failure.
    pub last_error_category: Option<ErrorCategory>,
    /// Failed check results in a row.
    pub retry_count: u32,
    /// When the latest check result was recorded.
    pub last_checked_at: Option<String>,
    /// End of the window in which it is not tried; null when healthy.
    pub next_retry_at: Option<String>,
    /// Whether a handshake or discovery is in force.
    pub initialized: bool,
    /// Protocol revision of the last successful handshake.
    pub protocol_version: Option<String>,
    /// When that handshake was.
    pub last_initialized_at: Option<String>,
    /// When it becomes stale; null is never, or not initialized.
    pub initialization_expires_at: Option<String>,
    /// Whether the transport has session controls.
    pub adapter_controls_available: bool,
    /// What the server last said about itself.
    pub capability_snapshot: Option<CapabilitySnapshot>,
    /// Its session; null exactly when `adapter_controls_available` is false.
    pub adapter_session: Option<AdapterSession>,

    /// How it is reached.
    pub transport: TransportKind,
    /// What the transport is doing.
    pub connection_state: ConnectionState,
    /// The derived view of its health.
    pub health_view: HealthView,
    /// Failed attempts and probes in a row; counts every attempt, unlike `retry_count`.
    #[serde(default)]
    pub consecutive_failures: u32,
    /// Latency of the last answered probe, in milliseconds.
    pub response_time_ms: Option<f64>,
    /// Protocol era it speaks.
    pub era: Era,
    /// Whether it may be used at all.
    pub enabled: bool,
    /// Traffic of the live connection.
    pub stats: Option<ConnectionStats>,
    /// Servers of one group stand in for each other.
    pub group: Option<String>,
    /// 1 to 100, the higher the sooner; null when the gateway does not say.
    pub priority: Option<u8>,
    /// How far the request got whose failure `last_error` is; null if it was none.
    pub last_error_delivery: Option<Delivery>,
    /// Share of the latest 20 calls and checks that failed through its own fault, 0 to 1; null while there were
    /// fewer.
    pub error_rate: Option<f64>,
    /// How often in a row its process was started again after it had ended by itself; 0 once it ran for a
    /// minute.
    #[serde(default)]
    pub restarts: u32,
    /// When it is connected again in the background, if that is planned.
    pub next_reconnect_at: Option<String>,
    /// Names of the known tools; null when unknown. `GET /server-tools` has them in full.
    pub tools: Option<Vec<String>>,
    /// More for the reader of a status screen, such as the process id: short texts without secrets. Of a
    /// connection that broke they are kept until the next one.
    #[serde(default)]
    pub details: BTreeMap<String, String>,
}

/// The body of every endpoint that answers with all servers (contract §6.2, endpoint 1).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerList {
    /// The servers, by name in byte order.
    pub items: Vec<Server>,
    /// Whether the transport has session controls.
    pub adapter_controls_available: bool,
}

/// The body of `GET /server-tools`: name of the server → its tool objects as the server sent them, or null when
/// they are unknown (contract §6.3, endpoint 25). Of configured tools only `name` is known.
pub type ServerTools = BTreeMap<String, Option<Vec<Box<RawValue>>>>;

/// What a server said about itself, verbatim (contract §1.2).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CapabilitySnapshot {
    /// The revision agreed on.
    pub protocol_version: Option<String>,
    /// Its `serverInfo` object.
    pub server_info: Option<Box<RawValue>>,
    /// Its `capabilities` object.
    pub capabilities: Option<Box<RawValue>>,
    /// When it said so.
    pub captured_at: String,
}

/// Availability: may the router use the server (contract §1.3)?
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Yes.
    Healthy,
    /// After the healthy ones, and outside its retry window.
    Degraded,
    /// Last, and outside its retry window.
    Unreachable,
}

/// What the transport is doing (contract §1.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionState {
    /// Connecting for the first time.
    Initializing,
    /// Up.
    Connected,
    /// Down, not by a failure.
    Disconnected,
    /// Down, by a failure.
    Error,
    /// Connecting again.
    Reconnecting,
}

/// The derived view of a server's health (contract §1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthView {
    /// Nothing was ever recorded.
    Unknown,
    /// The last result was good.
    Healthy,
    /// The last result was a failure.
    Unhealthy,
}

/// Protocol era of a server (contract §3.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Era {
    /// Not found out yet.
    Unknown,
    /// Handshake and sessions, revisions up to 2025-11-25.
    Legacy,
    /// Stateless requests, 2026-07-28 on.
    Modern,
}

/// How a server is reached (contract §1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TransportKind {
    /// Streamable HTTP.
    Http,
    /// The deprecated two-endpoint transport.
    Sse,
    /// A child process.
    Stdio,
}

/// Traffic of a live connection (contract §7.2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConnectionStats {
    /// When the connection came up.
    pub connected_at: Option<String>,
    /// When something was last sent or received.
    pub last_activity: Option<String>,
    /// Requests put on the wire, answered or not.
    pub requests_sent: u64,
    /// Requests that failed or timed out.
    pub errors_count: u64,
    /// Mean over the answered requests, in seconds; null before the first.
    pub average_latency: Option<f64>,
}

/// The body of `POST /servers` (contract §6.2, endpoint 2): registers or replaces.
///
/// `Debug` shows the names of the further keys only, since their values may be secrets.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct RegisterServer {
    /// The operator's name for it (contract §0.2).
    pub name: String,
    /// Where it is; needed unless the further keys name a command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The other keys of a server definition (contract §7.4), for the configuration to judge.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl RegisterServer {
    /// A server at `url` with the defaults for everything else.
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self { name: name.into(), url: Some(url.into()), rest: Map::new() }
    }
}

impl fmt::Debug for RegisterServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisterServer")
            .field("name", &self.name)
            .field("url", &self.url)
            .field("rest", &self.rest.keys().collect::<Vec<_>>())
            .finish()
    }
}

/// The query of the health check, initialize and connect endpoints (contract §6.2, endpoints 5 to 10).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForceQuery {
    /// Whether to probe although the retry window is closed, to handshake although one is in force, or although the
    /// probe failed.
    #[serde(default)]
    pub force: bool,
}

#[cfg(test)]
mod tests;
