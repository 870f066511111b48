//! The envelope of results in the stateless era: kind, freshness, and questions back to the client.
//!
//! Source: wire reference §3.1, §3.4, §3.5.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer};

use crate::json::{InvalidJson, RawJson};
use crate::meta;
use crate::method::Method;
use crate::number::Number;
use crate::structure::words;

mod input;
pub use input::{InputRequest, InputRequired, InvalidInput, Retry};

words! {
    /// What kind of result it is.
    pub open enum ResultType {
        /// The answer; also what a missing `resultType` means.
        Complete "complete",
        /// The server needs answers first.
        InputRequired "input_required",
        /// The answer will come from a task (tasks extension).
        Task "task",
    }
}

/// Who may be given a stored copy of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CacheScope {
    /// Anyone.
    Public,
    /// Only who presents the same authorization; also what a missing or unknown scope means.
    #[default]
    Private,
}

impl CacheScope {
    /// The scope as it stands on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
        }
    }
}

impl serde::Serialize for CacheScope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for CacheScope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<str>::deserialize(deserializer)?;
        Ok(if &*text == "public" { Self::Public } else { Self::Private })
    }
}

/// Time a result may be served from memory, from its `ttlMs` member, in milliseconds.
///
/// Missing or negative means zero, at once stale. Capped at one day.
/// Source: MCP 2026-07-28, Caching, "Time-to-Live (TTL) Field".
#[must_use]
pub fn freshness(ttl_ms: Option<i64>) -> Duration {
    let ms = ttl_ms.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0);
    Duration::from_millis(ms).min(MAX_FRESHNESS)
}

/// The longest freshness that is believed.
pub const MAX_FRESHNESS: Duration = Duration::from_secs(86_400);

/// Whether the complete result of a method carries `ttlMs` and `cacheScope`. Source: wire reference §3.4.
#[must_use]
pub fn is_cacheable(method: &Method) -> bool {
    matches!(
        method,
        Method::ServerDiscover
            | Method::ToolsList
            | Method::PromptsList
            | Method::ResourcesList
            | Method::ResourceTemplatesList
            | Method::ResourcesRead
    )
}

/// Whether a method may be answered with `input_required`. Source: wire reference §3.5.
#[must_use]
pub fn may_require_input(method: &Method) -> bool {
    matches!(method, Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead)
}

/// How long and for whom a result may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Caching {
    /// How long it stays fresh, in whole milliseconds on the wire.
    pub ttl: Duration,
    /// Who may be given a copy.
    pub scope: CacheScope,
}

/// The members the stateless era adds to a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// What kind of result it is.
    pub result_type: ResultType,
    /// Whether the result says so itself: one that does not is complete.
    pub says_type: bool,
    /// How long and for whom it may be stored; `None` if neither member is there.
    pub caching: Option<Caching>,
}

impl Envelope {
    /// The envelope of a complete result.
    #[must_use]
    pub fn complete(caching: Option<Caching>) -> Self {
        Self { result_type: ResultType::Complete, says_type: true, caching }
    }

    /// Reads the envelope of a result. Odd caching members count as "do not store"; an odd kind does not,
    /// since it decides what the result means.
    ///
    /// # Errors
    /// [`InvalidJson`] if the result is no proper object or its `resultType` no string.
    pub fn read(result: &RawJson) -> Result<Self, InvalidJson> {
        let members = result.members()?;
        let said = members.get_text("resultType");
        let result_type = said.map_or(Ok(ResultType::Complete), serde_json::from_str)?;
        let ttl = members.get_text("ttlMs");
        let scope = members.get_text("cacheScope");
        let caching = (ttl.is_some() || scope.is_some()).then(|| Caching {
            ttl: freshness(ttl.and_then(|ttl| serde_json::from_str::<Number>(ttl).ok()).and_then(as_ms)),
            scope: scope.and_then(|scope| serde_json::from_str(scope).ok()).unwrap_or_default(),
        });
        Ok(Self { result_type, says_type: said.is_some(), caching })
    }

    /// Writes the envelope and the responder's name onto a result; everything else stays byte for byte. The kind is
    /// written in any case.
    ///
    /// # Errors
    /// [`InvalidJson`] if the result, or a `_meta` in it, is no proper object.
    pub fn stamp(&self, result: &RawJson, server_info: Option<&RawJson>) -> Result<RawJson, InvalidJson> {
        let mut members = result.members()?;
        let stamped_meta = match server_info {
            Some(info) => {
                let meta = members.get_text(meta::MEMBER).map(|text| result.part(text));
                Some(meta::with(meta.as_ref(), meta::SERVER_INFO, info.clone())?)
            }
            None => None,
        };
        members.set_json("resultType", RawJson::string(self.result_type.as_str()));
        match &self.caching {
            Some(caching) => {
                let ms = u64::try_from(caching.ttl.as_millis()).unwrap_or(u64::MAX);
                members.set_json("ttlMs", RawJson::encode(&ms)?);
                members.set_json("cacheScope", RawJson::string(caching.scope.as_str()));
            }
            None => members.retain(|name| !matches!(name, "ttlMs" | "cacheScope")),
        }
        if let Some(meta) = stamped_meta {
            members.set_json(meta::MEMBER, meta);
        }
        Ok(members.encode())
    }

    /// Takes the envelope and the responder's name off a result, for a peer of the handshake era.
    ///
    /// # Errors
    /// [`InvalidJson`] if the result, or a `_meta` in it, is no proper object.
    pub fn strip(result: &RawJson) -> Result<RawJson, InvalidJson> {
        let result = meta::strip(result, &[meta::SERVER_INFO])?;
        let mut members = result.members()?;
        members.retain(|name| !matches!(name, "resultType" | "ttlMs" | "cacheScope"));
        Ok(members.encode())
    }
}

/// Milliseconds; a number too large for `i64` counts as the largest.
fn as_ms(number: Number) -> Option<i64> {
    number.as_i64().or_else(|| (number.as_f64() >= i64::MAX as f64).then_some(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn raw(text: &str) -> RawJson {
        RawJson::parse(text.to_owned(), &Limits::default()).unwrap()
    }

    #[test]
    fn freshness_is_bounded() {
        for (ttl_ms, ms) in [
            (None, 0),
            (Some(-1), 0),
            (Some(0), 0),
            (Some(1500), 1500),
            (Some(86_400_000), 86_400_000),
            (Some(86_400_001), 86_400_000),
            (Some(i64::MAX), 86_400_000),
        ] {
            assert_eq!(freshness(ttl_ms), Duration::from_millis(ms), "{ttl_ms:?}");
        }
    }

    #[test]
    fn envelopes_are_read_leniently_except_for_the_kind() {
        let caching = |ms, scope| Some(Caching { ttl: Duration::from_millis(ms), scope });
        for (text, kind, stored) in [
            ("{}", ResultType::Complete, None),
            (r#"{"resultType":"task"}"#, ResultType::Task, None),
            (r#"{"resultType":"vendor"}"#, ResultType::Other("vendor".into()), None),
            (r#"{"ttlMs":5,"cacheScope":"public"}"#, ResultType::Complete, caching(5, CacheScope::Public)),
            (r#"{"ttlMs":1e3}"#, ResultType::Complete, caching(1000, CacheScope::Private)),
            (r#"{"ttlMs":1e30}"#, ResultType::Complete, caching(86_400_000, CacheScope::Private)),
            (r#"{"ttlMs":-5,"cacheScope":"all"}"#, ResultType::Complete, caching(0, CacheScope::Private)),
            (r#"{"ttlMs":"5","cacheScope":7}"#, ResultType::Complete, caching(0, CacheScope::Private)),
        ] {
            let envelope = Envelope::read(&raw(text)).unwrap();
            let says_type = text.contains("resultType");
            assert_eq!(envelope, Envelope { result_type: kind, says_type, caching: stored }, "{text}");
        }
        for text in [r#"{"resultType":7}"#, r#"{"resultType":null}"#, "[]"] {
            assert!(Envelope::read(&raw(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn stamping_adds_and_stripping_removes() {
        let bare = r#"{"tools":[1.0],"_meta":{"vendor":1}}"#;
        let caching = Caching { ttl: Duration::from_secs(1), scope: CacheScope::Public };
        let info = raw(r#"{"name":"a","version":"1"}"#);
        let stamped = Envelope::complete(Some(caching)).stamp(&raw(bare), Some(&info)).unwrap();
        assert_eq!(
            stamped.as_str(),
            r#"{"tools":[1.0],"_meta":{"vendor":1,"io.modelcontextprotocol/serverInfo":{"name":"a","version":"1"}},"resultType":"complete","ttlMs":1000,"cacheScope":"public"}"#
        );
        assert_eq!(Envelope::strip(&stamped).unwrap().as_str(), bare);
        let unstored = Envelope::complete(None).stamp(&stamped, None).unwrap();
        assert_eq!(Envelope::read(&unstored).unwrap(), Envelope::complete(None));
        assert_eq!(
            Envelope::strip(&raw(r#"{"_meta":{"io.modelcontextprotocol/serverInfo":{}}}"#)).unwrap().as_str(),
            "{}"
        );
        assert!(Envelope::complete(None).stamp(&raw("[]"), None).is_err());
    }
}
