//! The event streams and their filters.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use crate::{ConnectionState, Delivery, ErrorCategory, Status};

/// `{"items": […]}`: the body of the event endpoints, oldest first (contract §5.5), and of `GET /health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemList<T> {
    /// The events that pass the filters, or the servers by name.
    pub items: Vec<T>,
}

/// One change of a server's [`Status`] (contract §5.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionEvent {
    /// Name of the server.
    pub server: String,
    /// The status it had.
    pub from_status: Status,
    /// The status it has since.
    pub to_status: Status,
    /// Text of the failure, or `healthy` on recovery.
    pub reason: String,
    /// When it was recorded. Equal instants happen; [`seq`](Self::seq) is the order.
    pub timestamp: String,
    /// `request_id` of the invocation that caused it; null for health checks and manual markers.
    pub correlation_id: Option<String>,
    /// Position in the one order of all streams (contract §5.4).
    #[serde(default)]
    pub seq: u64,
}

/// One step of an invocation (contract §5.2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InvocationEvent {
    /// Name of the candidate.
    pub server: String,
    /// The requested MCP method, also in the initialize phases.
    pub method: String,
    /// The invocation.
    pub request_id: String,
    /// The step.
    pub phase: Phase,
    /// When it was recorded.
    pub timestamp: String,
    /// Text of the failure; set on the two failure phases only.
    pub error: Option<String>,
    /// Class of the failure; set on the two failure phases only.
    pub error_category: Option<ErrorCategory>,
    /// Additive: how long the stage took, in milliseconds; on the phases that end one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<f64>,
    /// Additive: how far the request got; on the two failure phases only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// Additive: which attempt of a directed call it is, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Position in the one order of all streams (contract §5.4).
    #[serde(default)]
    pub seq: u64,
}

/// The steps of an invocation on one candidate (contract §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// The handshake gate begins.
    InitializeStart,
    /// The server is usable, by a handshake or because one is still in force.
    InitializeSuccess,
    /// The handshake failed; the next candidate is tried.
    InitializeFailure,
    /// The request goes out.
    InvokeStart,
    /// The server answered.
    InvokeSuccess,
    /// The request failed.
    InvokeFailure,
}

/// One change of the registry (contract §5.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryEvent {
    /// What happened.
    #[serde(rename = "type")]
    pub kind: RegistryEventKind,
    /// Name of the server.
    pub server: String,
    /// When it was recorded.
    pub timestamp: String,
    /// Position in the one order of all streams (contract §5.4).
    pub seq: u64,
    /// More about it; null for registering, redefining and unregistering.
    pub detail: Option<RegistryDetail>,
}

/// What a [`RegistryEvent`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RegistryEventKind {
    /// A definition was added or replaced.
    ServerRegistered,
    /// A definition changed in nothing that concerns the server, which goes on.
    ServerRedefined,
    /// A definition was removed.
    ServerUnregistered,
    /// The connection state changed, with [`RegistryDetail::State`].
    StateChanged,
    /// The server was marked unavailable, with [`RegistryDetail::Reason`].
    ServerUnavailable,
    /// The tool list was read again, with [`RegistryDetail::Tools`].
    ToolsRefreshed,
    /// The definition of a tool has changed, with [`RegistryDetail::Tool`].
    ToolChanged,
    /// A reconnection is due later, with [`RegistryDetail::Reconnect`].
    ReconnectScheduled,
}

impl RegistryEventKind {
    /// The word for it in JSON and in queries.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServerRegistered => "server_registered",
            Self::ServerRedefined => "server_redefined",
            Self::ServerUnregistered => "server_unregistered",
            Self::StateChanged => "state_changed",
            Self::ServerUnavailable => "server_unavailable",
            Self::ToolsRefreshed => "tools_refreshed",
            Self::ToolChanged => "tool_changed",
            Self::ReconnectScheduled => "reconnect_scheduled",
        }
    }
}

/// The `detail` of a [`RegistryEvent`]; its keys tell the variants apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum RegistryDetail {
    /// A change of the connection state.
    State {
        /// The state it had.
        from: ConnectionState,
        /// The state it has since.
        to: ConnectionState,
    },
    /// Why the server is unavailable.
    Reason {
        /// Text of the failure or of the marker.
        reason: String,
    },
    /// The new tool list.
    Tools {
        /// How many tools it has.
        count: u64,
    },
    /// The tool whose definition has changed.
    Tool {
        /// By the name its server gave it.
        tool: String,
        /// What tells its definition now from others, for approving it.
        digest: String,
        /// Whether it is not offered until it is approved.
        withheld: bool,
    },
    /// The planned reconnection.
    Reconnect {
        /// Time until it, in milliseconds.
        delay_ms: u64,
        /// Which attempt it will be, from 1.
        attempt: u32,
    },
}

/// The query of `GET /events` (contract §5.5). Filters are exact and ANDed, `limit` keeps the newest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionEventQuery {
    /// Only this server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Only what this invocation caused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Only the newest so many, still oldest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<NonZeroU64>,
}

/// The query of `GET /invocation-events` (contract §5.5). Filters are exact and ANDed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvocationEventQuery {
    /// Only this server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Only this MCP method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Only this invocation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Only the newest so many, still oldest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<NonZeroU64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_contract_keeps_its_bytes() {
        let text = concat!(
            r#"{"server":"primary","from_status":"healthy","to_status":"degraded","reason":"primary timed out","#,
            r#""timestamp":"2026-01-01T00:00:00Z","correlation_id":"7d2f","seq":7}"#
        );
        let event: ConnectionEvent = serde_json::from_str(text).unwrap();
        assert_eq!((event.from_status, event.to_status), (Status::Healthy, Status::Degraded));
        assert_eq!(serde_json::to_string(&event).unwrap(), text);
    }

    #[test]
    fn empty_keys_of_an_event_are_null() {
        let event = InvocationEvent {
            server: "primary".into(),
            method: "tools/call".into(),
            request_id: "r".into(),
            phase: Phase::InitializeStart,
            timestamp: "2026-01-01T00:00:00Z".into(),
            error: None,
            error_category: None,
            duration_ms: None,
            delivery: None,
            attempt: None,
            seq: 1,
        };
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"server":"primary","method":"tools/call","request_id":"r","phase":"initialize_start","#,
                r#""timestamp":"2026-01-01T00:00:00Z","error":null,"error_category":null,"seq":1}"#
            )
        );
        assert_eq!(serde_json::from_str::<InvocationEvent>(&text).unwrap(), event);
    }

    #[test]
    fn phases_have_their_contract_names() {
        let phases = [
            Phase::InitializeStart,
            Phase::InitializeSuccess,
            Phase::InitializeFailure,
            Phase::InvokeStart,
            Phase::InvokeSuccess,
            Phase::InvokeFailure,
        ];
        assert_eq!(
            serde_json::to_string(&phases).unwrap(),
            r#"["initialize_start","initialize_success","initialize_failure","invoke_start","invoke_success","invoke_failure"]"#
        );
    }

    #[test]
    fn registry_events_round_trip() {
        for text in [
            r#"{"type":"server_registered","server":"a","timestamp":"t","seq":1,"detail":null}"#,
            r#"{"type":"server_unregistered","server":"a","timestamp":"t","seq":2,"detail":null}"#,
            r#"{"type":"state_changed","server":"a","timestamp":"t","seq":3,"detail":{"from":"disconnected","to":"initializing"}}"#,
            r#"{"type":"server_unavailable","server":"a","timestamp":"t","seq":4,"detail":{"reason":"gone"}}"#,
            r#"{"type":"tools_refreshed","server":"a","timestamp":"t","seq":5,"detail":{"count":3}}"#,
            r#"{"type":"tool_changed","server":"a","timestamp":"t","seq":5,"detail":{"tool":"t","digest":"d","withheld":true}}"#,
            r#"{"type":"reconnect_scheduled","server":"a","timestamp":"t","seq":6,"detail":{"delay_ms":1000,"attempt":1}}"#,
        ] {
            let event: RegistryEvent = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&event).unwrap(), text);
            assert!(text.starts_with(&format!(r#"{{"type":"{}","#, event.kind.as_str())), "{text}");
        }
    }

    #[test]
    fn a_limit_is_at_least_one() {
        for bad in [r#"{"limit":0}"#, r#"{"limit":-1}"#, r#"{"limit":"x"}"#] {
            assert!(serde_json::from_str::<ConnectionEventQuery>(bad).is_err(), "{bad}");
            assert!(serde_json::from_str::<InvocationEventQuery>(bad).is_err(), "{bad}");
        }
        let query: ConnectionEventQuery = serde_json::from_str(r#"{"server":"a","limit":2}"#).unwrap();
        assert_eq!(query.limit.map(NonZeroU64::get), Some(2));
    }
}
