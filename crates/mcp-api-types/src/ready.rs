//! Bodies of the liveness and readiness endpoints.

use serde::{Deserialize, Serialize};

/// The body of `GET /api/v1/health` and `/healthz`: `{"status":"ok"}` (contract §6.2, endpoint 21).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Always `ok`: a process that answers is alive.
    pub status: String,
}

impl Default for Health {
    fn default() -> Self {
        Self { status: "ok".to_owned() }
    }
}

/// The body of `GET /readyz`: 200 when ready, else 503.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Whether calls are taken.
    pub status: ReadyState,
    /// The version of the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Time since the gateway started, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_ms: Option<u64>,
}

/// Where the gateway is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ReadyState {
    /// Not yet taking calls.
    Starting,
    /// Taking calls.
    Ready,
    /// Finishing the calls in flight, taking no new ones.
    Draining,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_ok() {
        assert_eq!(serde_json::to_string(&Health::default()).unwrap(), r#"{"status":"ok"}"#);
    }

    #[test]
    fn ready_carries_version_and_uptime_only_when_known() {
        for (text, version) in [
            (r#"{"status":"starting"}"#, None),
            (r#"{"status":"ready","version":"0.1.0","uptime_ms":1500}"#, Some("0.1.0")),
            (r#"{"status":"draining","version":"0.1.0"}"#, Some("0.1.0")),
        ] {
            let ready: Ready = serde_json::from_str(text).unwrap();
            assert_eq!(ready.version.as_deref(), version, "{text}");
            assert_eq!(serde_json::to_string(&ready).unwrap(), text);
        }
    }
}
