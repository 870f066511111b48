//! What a server said about itself when the connection was opened.

use std::time::Duration;

use mcp_protocol::meta;
use mcp_protocol::result::freshness;
use mcp_protocol::{Era, JsonKind, ProtocolVersion, RawJson};

/// What negotiation found out about a server. Objects are kept verbatim.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerProfile {
    /// How the connection works.
    pub era: Era,
    /// The revision in use.
    pub version: ProtocolVersion,
    /// The same as the server spelled it.
    pub protocol_version: String,
    /// `serverInfo`, if the server sent an object.
    pub server_info: Option<RawJson>,
    /// `capabilities`, if the server sent an object.
    pub capabilities: Option<RawJson>,
    /// Instructions for the model.
    pub instructions: Option<String>,
    /// How long this may be believed: `ttlMs` of `server/discover` if above zero, at most 24 h.
    pub ttl: Option<Duration>,
}

impl ServerProfile {
    /// From the result of `initialize`, its version already judged.
    pub(crate) fn from_initialize(version: ProtocolVersion, result: &RawJson) -> Self {
        Self {
            era: Era::Handshake,
            version,
            protocol_version: version.as_str().to_owned(),
            server_info: object(result, "serverInfo"),
            capabilities: object(result, "capabilities"),
            instructions: text(result, "instructions"),
            ttl: None,
        }
    }

    /// From the result of `server/discover`, for the version chosen from its list.
    pub(crate) fn from_discover(version: ProtocolVersion, result: &RawJson) -> Self {
        let ttl = freshness(result.get("ttlMs").and_then(|ttl| ttl.to().ok()));
        Self {
            era: Era::Stateless,
            version,
            protocol_version: version.as_str().to_owned(),
            server_info: meta::get(result, meta::SERVER_INFO)
                // Drafts of the revision had it at the top level (wire reference §3.2).
                .or_else(|| result.get("serverInfo"))
                .filter(|info| info.kind() == JsonKind::Object),
            capabilities: object(result, "capabilities"),
            instructions: text(result, "instructions"),
            ttl: (!ttl.is_zero()).then_some(ttl),
        }
    }
}

fn object(of: &RawJson, name: &str) -> Option<RawJson> {
    of.get(name).filter(|value| value.kind() == JsonKind::Object)
}

fn text(of: &RawJson, name: &str) -> Option<String> {
    of.get(name)?.to().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcp_protocol::Limits;

    fn discover(text: &str) -> ServerProfile {
        let result = RawJson::parse(text.to_owned(), &Limits::default()).unwrap();
        ServerProfile::from_discover(ProtocolVersion::LATEST_STATELESS, &result)
    }

    #[test]
    fn a_ttl_is_positive_and_at_most_a_day() {
        for (ttl, expected) in [
            ("0", None),
            ("-1", None),
            ("\"60\"", None),
            ("1", Some(Duration::from_millis(1))),
            ("86400001", Some(Duration::from_secs(86_400))),
        ] {
            assert_eq!(discover(&format!(r#"{{"ttlMs":{ttl}}}"#)).ttl, expected, "{ttl}");
        }
    }

    #[test]
    fn only_objects_are_kept_and_kept_verbatim() {
        let profile = discover(
            r#"{"capabilities":{"x": 1.0},"instructions":7,"_meta":{"io.modelcontextprotocol/serverInfo":[]}}"#,
        );
        assert_eq!(profile.capabilities.unwrap().as_str(), r#"{"x": 1.0}"#);
        assert_eq!((profile.server_info, profile.instructions), (None, None));
        let draft = discover(r#"{"serverInfo":{"name":"d"},"capabilities":null}"#);
        assert_eq!(draft.server_info.unwrap().as_str(), r#"{"name":"d"}"#);
        assert_eq!(draft.capabilities, None);
    }
}
