//! Looking after servers: their health, an operator's marks, and sums over all of them.

use serde::{Deserialize, Serialize};

use crate::HealthView;

/// The health of one server as last recorded; asking for it probes nothing (contract §6.3, endpoint 24).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerHealth {
    /// Name of the server.
    pub server: String,
    /// The derived view.
    pub health_view: HealthView,
    /// When the latest result was recorded; null before the first.
    pub last_checked_at: Option<String>,
    /// Latency of the last successful probe, in milliseconds; null while the server is unhealthy.
    pub response_time_ms: Option<f64>,
    /// Text of the latest recorded failure; null after a success.
    pub error_message: Option<String>,
    /// Failed attempts and probes in a row.
    pub consecutive_failures: u32,
}

/// The body of `POST /servers/{name}/mark` (contract §6.3, endpoint 28). Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarkServer {
    /// What the operator says of it.
    #[serde(rename = "as")]
    pub mark: Mark,
    /// Why, shown as the server's last error: at most 1024 bytes, none if empty, and none with
    /// [`Mark::Healthy`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What an operator can say of a server (contract §1.4, S10 to S12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// It is fine: as after a successful check.
    Healthy,
    /// It failed once: as after a failed check.
    Degraded,
    /// Out of service: unreachable at once.
    Unavailable,
}

/// Sums over all registered servers (contract §6.3, endpoint 30; §7.3).
///
/// Servers whose connection is coming up are counted in `total_servers` alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryStats {
    /// All of them, disabled ones included.
    pub total_servers: u64,
    /// Whose connection is up.
    pub connected_servers: u64,
    /// Without a connection, by intent or because nobody needed one yet.
    pub disconnected_servers: u64,
    /// Whose connection broke or could not be made.
    pub error_servers: u64,
    /// Marked `critical`, and unreachable.
    pub critical_servers_down: u64,
    /// Exchanges with servers since the gateway started: calls, handshakes, pings, tool lists.
    pub total_requests: u64,
    /// Those that failed.
    pub total_errors: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_the_documented_shape() {
        let mark: MarkServer = serde_json::from_str(r#"{"as":"unavailable","reason":"upgrade"}"#).unwrap();
        assert_eq!((mark.mark, mark.reason.as_deref()), (Mark::Unavailable, Some("upgrade")));
        let plain = MarkServer { mark: Mark::Healthy, reason: None };
        assert_eq!(serde_json::to_string(&plain).unwrap(), r#"{"as":"healthy"}"#);
        for wrong in ["{}", r#"{"as":"unreachable"}"#, r#"{"as":"healthy","why":""}"#] {
            assert!(serde_json::from_str::<MarkServer>(wrong).is_err(), "{wrong}");
        }

        let text = r#"{"server":"a","health_view":"unknown","last_checked_at":null,"response_time_ms":null,"error_message":null,"consecutive_failures":0}"#;
        let health: ServerHealth = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&health).unwrap(), text);
    }
}
