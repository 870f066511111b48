//! `_meta`: its keys, and what a request of the stateless era says about its sender.
//!
//! Edits are splices: members that are not named stay byte for byte.

use crate::capability::ClientCapabilities;
use crate::error::{ErrorCode, RpcError};
use crate::json::{InvalidJson, JsonKind, RawJson};
use crate::logging::LogLevel;
use crate::members::Members;
use crate::progress::ProgressToken;
use crate::version::ProtocolVersion;

mod key;
pub use key::{is_reserved, is_valid};

/// The member of params, results and data types that holds the metadata.
pub const MEMBER: &str = "_meta";

/// The version of this request. Required in every request of the stateless era.
pub const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// What the client can do. Required in every request of the stateless era; `{}` means nothing.
pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// Who the client is. Stateless era; servers must not require it.
pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
/// The least level of log messages the client wants for this request. Stateless era.
pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// Who the server is. In results of the stateless era.
pub const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
/// The id of the `subscriptions/listen` request a notification belongs to. Stateless era.
pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
/// The task a message belongs to. 2025-11-25.
pub const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";
/// What to tell the model while a task runs. 2025-11-25, provisional.
pub const MODEL_IMMEDIATE_RESPONSE: &str = "io.modelcontextprotocol/model-immediate-response";
/// The wish for progress notifications. All revisions.
pub const PROGRESS_TOKEN: &str = "progressToken";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// W3C trace context.
pub const TRACESTATE: &str = "tracestate";
/// W3C baggage.
pub const BAGGAGE: &str = "baggage";

/// The keys that describe one leg of a relay and are never passed on to the other.
pub const HOP_KEYS: &[&str] =
    &[PROTOCOL_VERSION, CLIENT_CAPABILITIES, CLIENT_INFO, LOG_LEVEL, SERVER_INFO, SUBSCRIPTION_ID];

/// The value of one key in the `_meta` of params or of a result.
#[must_use]
pub fn get(object: &RawJson, key: &str) -> Option<RawJson> {
    object.get(MEMBER)?.get(key)
}

/// Sets one key in the `_meta` of params or of a result.
///
/// # Errors
/// [`InvalidJson`] if the object, or a `_meta` in it, is no proper object.
pub fn set(object: &RawJson, key: &str, value: RawJson) -> Result<RawJson, InvalidJson> {
    let mut members = object.members()?;
    let meta = members.get_text(MEMBER).map(|text| object.part(text));
    members.set_json(MEMBER, with(meta.as_ref(), key, value)?);
    Ok(members.encode())
}

/// Removes keys from the `_meta` of params or of a result, and `_meta` itself once it is empty.
///
/// # Errors
/// [`InvalidJson`] if the object, or a `_meta` in it, is no proper object.
pub fn strip(object: &RawJson, keys: &[&str]) -> Result<RawJson, InvalidJson> {
    strip_in(object, object.members()?, keys)
}

/// The same where the members of the object are at hand.
///
/// # Errors
/// [`InvalidJson`] if there is a `_meta` that is no proper object.
pub fn strip_in(object: &RawJson, mut members: Members<'_>, keys: &[&str]) -> Result<RawJson, InvalidJson> {
    let meta = present(members.get_text(MEMBER).map(|text| object.part(text)));
    let Some(meta) = meta else { return Ok(object.clone()) };
    let mut entries = meta.members()?;
    let before = entries.len();
    entries.retain(|key| !keys.contains(&key));
    if entries.len() == before {
        return Ok(object.clone());
    }
    if entries.is_empty() {
        members.remove(MEMBER);
    } else {
        members.set_json(MEMBER, entries.encode());
    }
    Ok(members.encode())
}

/// Removes keys and sets one, where the members of the object are at hand.
///
/// # Errors
/// [`InvalidJson`] if there is a `_meta` that is no proper object.
pub fn replace_in(
    object: &RawJson,
    mut members: Members<'_>,
    keys: &[&str],
    key: &str,
    value: RawJson,
) -> Result<RawJson, InvalidJson> {
    let meta = present(members.get_text(MEMBER).map(|text| object.part(text)));
    let meta = meta.unwrap_or_else(RawJson::empty_object);
    let mut entries = meta.members()?;
    entries.retain(|key| !keys.contains(&key));
    entries.set_json(key, value);
    members.set_json(MEMBER, entries.encode());
    Ok(members.encode())
}

/// A `_meta` object with one more key; `null` counts as no `_meta`.
pub(crate) fn with(meta: Option<&RawJson>, key: &str, value: RawJson) -> Result<RawJson, InvalidJson> {
    let meta = present(meta.cloned()).unwrap_or_else(RawJson::empty_object);
    let mut members = meta.members()?;
    members.set_json(key, value);
    Ok(members.encode())
}

fn present(value: Option<RawJson>) -> Option<RawJson> {
    value.filter(|value| value.kind() != JsonKind::Null)
}

/// What a request of the stateless era says about its sender. Source: wire reference §1.5, §3.1.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestMeta {
    /// The revision, as it was written: it may be one this build does not know.
    pub protocol_version: Box<str>,
    /// What the client can do.
    pub client_capabilities: ClientCapabilities,
    /// Who the client is; for display only, hence unparsed.
    pub client_info: Option<RawJson>,
    /// The least level of log messages it wants.
    pub log_level: Option<LogLevel>,
    /// Its wish for progress notifications.
    pub progress_token: Option<ProgressToken>,
}

/// Why the metadata of a request is unusable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidMeta {
    /// A required key is missing.
    #[error("params._meta must hold {key:?}")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A key has a value of the wrong kind.
    #[error("params._meta member {key:?} is not valid: {detail}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong.
        detail: Box<str>,
    },
    /// `params` or `_meta` is no proper object.
    #[error(transparent)]
    Json(#[from] InvalidJson),
}

impl InvalidMeta {
    /// The error to answer with. Source: wire reference §3.9, step 3.
    #[must_use]
    pub fn to_error(&self) -> RpcError {
        RpcError::new(ErrorCode::INVALID_PARAMS, &self.to_string())
    }
}

impl RequestMeta {
    /// The two members that are required.
    #[must_use]
    pub fn new(version: ProtocolVersion, capabilities: ClientCapabilities) -> Self {
        Self {
            protocol_version: version.as_str().into(),
            client_capabilities: capabilities,
            client_info: None,
            log_level: None,
            progress_token: None,
        }
    }

    /// Whether params claim to belong to the stateless era, judged by the version key alone.
    #[must_use]
    pub fn is_claimed(params: Option<&RawJson>) -> bool {
        params.is_some_and(|params| get(params, PROTOCOL_VERSION).is_some())
    }

    /// Reads the metadata of a request.
    ///
    /// # Errors
    /// [`InvalidMeta`] if a required key is missing or a key is malformed. An odd `clientInfo` is kept:
    /// it decides nothing.
    pub fn read(params: Option<&RawJson>) -> Result<Self, InvalidMeta> {
        let params = params.ok_or(InvalidMeta::Missing { key: PROTOCOL_VERSION })?;
        Self::read_in(params, &params.members()?)
    }

    /// The same where the members of the params are at hand.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn read_in(params: &RawJson, members: &Members<'_>) -> Result<Self, InvalidMeta> {
        let meta = present(members.get_text(MEMBER).map(|text| params.part(text)));
        let meta = meta.ok_or(InvalidMeta::Missing { key: PROTOCOL_VERSION })?;
        let members = meta.members()?;
        let required = |key| members.get_text(key).ok_or(InvalidMeta::Missing { key });
        Ok(Self {
            protocol_version: read(PROTOCOL_VERSION, required(PROTOCOL_VERSION)?)?,
            client_capabilities: ClientCapabilities::from_raw(meta.part(required(CLIENT_CAPABILITIES)?))
                .map_err(|error| InvalidMeta::Value {
                    key: CLIENT_CAPABILITIES,
                    detail: error.to_string().into(),
                })?,
            client_info: present(members.get_text(CLIENT_INFO).map(|text| meta.part(text))),
            log_level: optional(LOG_LEVEL, members.get_text(LOG_LEVEL))?,
            progress_token: optional(PROGRESS_TOKEN, members.get_text(PROGRESS_TOKEN))?,
        })
    }

    /// Writes the metadata into the params of a request. Other keys of an existing `_meta` stay, and so
    /// does its `progressToken` if this has none; [what it says of another sender](HOP_KEYS) does not.
    ///
    /// # Errors
    /// [`InvalidJson`] if `params`, or a `_meta` in it, is no proper object.
    pub fn stamp(&self, params: Option<&RawJson>) -> Result<RawJson, InvalidJson> {
        let empty = RawJson::empty_object();
        let params = params.unwrap_or(&empty);
        self.stamp_in(params, params.members()?)
    }

    /// The same where the members of the params are at hand.
    ///
    /// # Errors
    /// [`InvalidJson`] if there is a `_meta` that is no proper object.
    pub fn stamp_in(&self, params: &RawJson, mut members: Members<'_>) -> Result<RawJson, InvalidJson> {
        let old = present(members.get_text(MEMBER).map(|text| params.part(text)));
        let old = old.unwrap_or_else(RawJson::empty_object);
        let mut meta = old.members()?;
        meta.retain(|key| !HOP_KEYS.contains(&key));
        meta.set_json(PROTOCOL_VERSION, RawJson::string(&self.protocol_version));
        meta.set_json(CLIENT_CAPABILITIES, self.client_capabilities.as_raw().clone());
        if let Some(info) = &self.client_info {
            meta.set_json(CLIENT_INFO, info.clone());
        }
        if let Some(level) = self.log_level {
            meta.set_json(LOG_LEVEL, RawJson::string(level.as_str()));
        }
        if let Some(token) = &self.progress_token {
            meta.set_json(PROGRESS_TOKEN, RawJson::encode(token)?);
        }
        members.set_json(MEMBER, meta.encode());
        Ok(members.encode())
    }
}

fn read<T: serde::de::DeserializeOwned>(key: &'static str, text: &str) -> Result<T, InvalidMeta> {
    serde_json::from_str(text).map_err(|error| InvalidMeta::Value { key, detail: error.to_string().into() })
}

fn optional<T: serde::de::DeserializeOwned>(
    key: &'static str,
    text: Option<&str>,
) -> Result<Option<T>, InvalidMeta> {
    text.map_or(Ok(None), |text| read(key, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn raw(text: &'static str) -> RawJson {
        RawJson::parse(text, &Limits::default()).unwrap()
    }

    fn sender() -> RequestMeta {
        let mut meta = RequestMeta::new(ProtocolVersion::V2026_07_28, ClientCapabilities::default());
        meta.client_info = Some(raw(r#"{"name":"a", "version":"1"}"#));
        meta
    }

    #[test]
    fn stamping_merges_and_leaves_the_rest_alone() {
        let params = raw(
            r#"{"name":"t","_meta":{"vendor/x": 1.0,"progressToken":7,"io.modelcontextprotocol/logLevel":"debug"},"arguments":{"n": 12345678901234567890}}"#,
        );
        let stamped = sender().stamp(Some(&params)).unwrap();
        assert_eq!(
            stamped.as_str(),
            r#"{"name":"t","_meta":{"vendor/x":1.0,"progressToken":7,"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"a", "version":"1"}},"arguments":{"n": 12345678901234567890}}"#
        );
        let read = RequestMeta::read(Some(&stamped)).unwrap();
        assert_eq!(read, RequestMeta { progress_token: Some(7.into()), ..sender() });
        assert_eq!(
            strip(&stamped, HOP_KEYS).unwrap().as_str(),
            r#"{"name":"t","_meta":{"vendor/x":1.0,"progressToken":7},"arguments":{"n": 12345678901234567890}}"#
        );
    }

    #[test]
    fn everything_that_is_set_reads_back() {
        let mut full = sender();
        full.log_level = Some(LogLevel::Warning);
        full.progress_token = Some("p".into());
        for params in [None, Some(raw("{}")), Some(raw(r#"{"_meta":null}"#))] {
            let stamped = full.stamp(params.as_ref()).unwrap();
            assert_eq!(RequestMeta::read(Some(&stamped)).as_ref(), Ok(&full), "{params:?}");
            assert!(RequestMeta::is_claimed(Some(&stamped)));
            assert!(!RequestMeta::is_claimed(params.as_ref()));
            assert_eq!(strip(&stamped, &[PROGRESS_TOKEN]).unwrap().members().unwrap().len(), 1);
        }
        assert!(full.stamp(Some(&raw("[]"))).is_err());
        assert!(full.stamp(Some(&raw(r#"{"_meta":7}"#))).is_err());
    }

    #[test]
    fn missing_and_malformed_keys_are_named() {
        let missing = |key| InvalidMeta::Missing { key };
        for (params, error) in [
            (None, missing(PROTOCOL_VERSION)),
            (Some("{}"), missing(PROTOCOL_VERSION)),
            (Some(r#"{"_meta":{}}"#), missing(PROTOCOL_VERSION)),
            (
                Some(r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#),
                missing(CLIENT_CAPABILITIES),
            ),
        ] {
            let found = RequestMeta::read(params.map(raw).as_ref()).unwrap_err();
            assert_eq!(found, error, "{params:?}");
            assert_eq!(found.to_error().code(), Some(ErrorCode::INVALID_PARAMS));
        }
        for (wrong, key) in [
            (r#"{"io.modelcontextprotocol/protocolVersion":7}"#, PROTOCOL_VERSION),
            (r#"{"io.modelcontextprotocol/clientCapabilities":[]}"#, CLIENT_CAPABILITIES),
            (r#"{"io.modelcontextprotocol/logLevel":"loud"}"#, LOG_LEVEL),
            (r#"{"progressToken":1.5}"#, PROGRESS_TOKEN),
        ] {
            let stamped = sender().stamp(None).unwrap();
            let value = raw(wrong).get(key).unwrap();
            let broken = set(&stamped, key, value).unwrap();
            let error = RequestMeta::read(Some(&broken)).unwrap_err();
            assert!(
                matches!(error, InvalidMeta::Value { key: named, .. } if named == key),
                "{wrong}: {error}"
            );
        }
    }
}
