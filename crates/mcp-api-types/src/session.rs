//! Adapter sessions: what a transport with one long-lived session a server says about it.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

/// The state of one session (contract §3.7). Holds no session id, URL or secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterSession {
    /// Whether a session is open.
    pub active: bool,
    /// Whether that session has handshaken.
    pub initialized: bool,
    /// When it was opened or last used.
    pub last_activity_at: Option<String>,
    /// How long ago that is, judged.
    pub freshness: Freshness,
}

/// How recently a session was used (contract §3.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Freshness {
    /// No session, or one that was never used.
    Unknown,
    /// Used within `adapter_session_stale_after`, or no such limit is set.
    ActiveRecent,
    /// Not used for longer than that.
    Stale,
}

/// The body of `GET /adapter-sessions` (contract §6.2, endpoint 15).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterSessionList {
    /// Whether the transport has session controls; without them `items` is empty.
    pub adapter_controls_available: bool,
    /// One entry a registered server, by name.
    pub items: Vec<AdapterSessionItem>,
}

/// One entry of [`AdapterSessionList`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterSessionItem {
    /// Name of the server.
    pub server: String,
    /// As [`AdapterSession::active`].
    pub active: bool,
    /// As [`AdapterSession::initialized`].
    pub initialized: bool,
    /// As [`AdapterSession::last_activity_at`].
    pub last_activity_at: Option<String>,
    /// As [`AdapterSession::freshness`].
    pub freshness: Freshness,
}

/// The query of `GET /adapter-sessions`; filters are ANDed, `limit` comes last (contract §3.7).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterSessionQuery {
    /// Only this server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Only sessions of this freshness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshness: Option<Freshness>,
    /// Only open sessions.
    #[serde(default)]
    pub active_only: bool,
    /// Only the last so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<NonZeroU64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_keeps_its_shape() {
        let text = concat!(
            r#"{"adapter_controls_available":true,"items":["#,
            r#"{"server":"a","active":true,"initialized":true,"last_activity_at":"2026-01-01T00:00:00Z","freshness":"active_recent"},"#,
            r#"{"server":"b","active":false,"initialized":false,"last_activity_at":null,"freshness":"unknown"}]}"#
        );
        let list: AdapterSessionList = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&list).unwrap(), text);
    }

    #[test]
    fn query_refuses_a_freshness_it_does_not_know_and_a_limit_below_one() {
        for bad in [r#"{"freshness":"new"}"#, r#"{"limit":0}"#, r#"{"limit":-1}"#, r#"{"limit":"x"}"#] {
            assert!(serde_json::from_str::<AdapterSessionQuery>(bad).is_err(), "{bad}");
        }
        let query: AdapterSessionQuery = serde_json::from_str("{}").unwrap();
        assert_eq!(query, AdapterSessionQuery::default());
    }
}
