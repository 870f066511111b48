//! `server/discover`: what a stateless server can do. Source: wire reference §3.2.

use crate::capability::ServerCapabilities;
use crate::implementation::Implementation;
use crate::json::RawJson;
use crate::meta;
use crate::number::Number;
use crate::result::{CacheScope, ResultType};
use crate::structure::structure;
use crate::version::{Era, ProtocolVersion};

structure! {
    /// What `server/discover` answers.
    pub struct DiscoverResult {
        /// Always `complete`; absent counts as that.
        opt result_type "resultType": ResultType;
        /// The revisions the server serves, as they were written.
        req supported_versions "supportedVersions": Vec<Box<str>>;
        /// What it can do.
        req capabilities "capabilities": ServerCapabilities;
        /// How to use it, for models.
        opt instructions "instructions": Box<str>;
        /// How long the answer stays fresh, in milliseconds. See [`crate::result::freshness`].
        opt ttl_ms "ttlMs": Number;
        /// Who may be given a stored copy.
        opt cache_scope "cacheScope": CacheScope;
        /// Metadata; holds the server's name.
        opt meta "_meta": RawJson;
    }
}

impl DiscoverResult {
    /// Who the server says it is: from `_meta`, else from the top level, where drafts had it.
    #[must_use]
    pub fn server_info(&self) -> Option<Implementation> {
        let placed = self.meta.as_ref().and_then(|meta| meta.get(meta::SERVER_INFO));
        placed.as_ref().or_else(|| self.unknown.get("serverInfo"))?.to().ok()
    }

    /// The newest revision of an era that the server names and this build knows.
    ///
    /// A handshake revision in the list means "reachable through `initialize`".
    #[must_use]
    pub fn newest(&self, era: Era) -> Option<ProtocolVersion> {
        newest(&self.supported_versions, era)
    }
}

/// The newest revision of an era in a list of revisions as they stand on the wire.
#[must_use]
pub fn newest(versions: &[Box<str>], era: Era) -> Option<ProtocolVersion> {
    versions
        .iter()
        .filter_map(|text| text.parse::<ProtocolVersion>().ok())
        .filter(|version| version.era() == era)
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_chosen_by_era() {
        let result: DiscoverResult = serde_json::from_str(
            r#"{"supportedVersions":["2099-01-01","2025-06-18","2026-07-28","2025-11-25"],"capabilities":{}}"#,
        )
        .unwrap();
        assert_eq!(result.newest(Era::Stateless), Some(ProtocolVersion::V2026_07_28));
        assert_eq!(result.newest(Era::Handshake), Some(ProtocolVersion::V2025_11_25));
        assert_eq!(newest(&["2099-01-01".into()], Era::Stateless), None);
    }

    #[test]
    fn the_name_is_found_in_both_places() {
        for text in [
            r#"{"supportedVersions":[],"capabilities":{},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"a","version":"1"}}}"#,
            r#"{"supportedVersions":[],"capabilities":{},"serverInfo":{"name":"a","version":"1"}}"#,
        ] {
            let result: DiscoverResult = serde_json::from_str(text).unwrap();
            assert_eq!(&*result.server_info().unwrap().name, "a");
        }
    }
}
