//! JSON-RPC errors and the codes each revision defines.

use std::fmt;

use bytes::BytesMut;

use crate::json::{JsonKind, RawJson, put_string};

/// The `code` of a JSON-RPC error. Source: wire reference §1.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct ErrorCode(pub i64);

impl ErrorCode {
    /// The text is not JSON.
    pub const PARSE_ERROR: Self = Self(-32700);
    /// The JSON is no valid message.
    pub const INVALID_REQUEST: Self = Self(-32600);
    /// Unknown method, or one whose capability was not offered.
    pub const METHOD_NOT_FOUND: Self = Self(-32601);
    /// Wrong parameters; in the stateless era also "resource not found" and missing `_meta` members.
    pub const INVALID_PARAMS: Self = Self(-32602);
    /// The receiver failed.
    pub const INTERNAL_ERROR: Self = Self(-32603);
    /// Example value for a sampling request the user refused (handshake era).
    pub const USER_REJECTED: Self = Self(-1);
    /// Resource not found (handshake era; understood, never sent, in the stateless one).
    pub const RESOURCE_NOT_FOUND: Self = Self(-32002);
    /// The request needs URL elicitations first (2025-11-25 only).
    pub const URL_ELICITATION_REQUIRED: Self = Self(-32042);
    /// An HTTP header is missing or disagrees with the body (stateless era).
    pub const HEADER_MISMATCH: Self = Self(-32020);
    /// The request's client capabilities lack one the server needs (stateless era).
    pub const MISSING_REQUIRED_CLIENT_CAPABILITY: Self = Self(-32021);
    /// The revision named in the request is not served (stateless era).
    pub const UNSUPPORTED_PROTOCOL_VERSION: Self = Self(-32022);
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The `error` object of a JSON-RPC response, kept as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcError(RawJson);

impl RpcError {
    /// An error of ours.
    #[must_use]
    pub fn new(code: ErrorCode, message: &str) -> Self {
        Self::build(code, message, None)
    }

    /// An error of ours with `data`.
    #[must_use]
    pub fn with_data(code: ErrorCode, message: &str, data: &RawJson) -> Self {
        Self::build(code, message, Some(data))
    }

    fn build(code: ErrorCode, message: &str, data: Option<&RawJson>) -> Self {
        let mut out =
            BytesMut::with_capacity(48 + message.len() + data.map_or(0, |data| data.as_bytes().len()));
        out.extend_from_slice(format!("{{\"code\":{code},\"message\":").as_bytes());
        put_string(&mut out, message);
        if let Some(data) = data {
            out.extend_from_slice(b",\"data\":");
            out.extend_from_slice(data.as_bytes());
        }
        out.extend_from_slice(b"}");
        Self(RawJson::from_trusted(out.freeze()))
    }

    /// Takes what a peer sent. Anything but `null` counts as an error, however odd.
    pub(crate) fn from_peer(raw: RawJson) -> Option<Self> {
        (raw.kind() != JsonKind::Null).then_some(Self(raw))
    }

    /// The code; `None` if it is absent or no integer.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        self.0.get("code")?.to().ok()
    }

    /// The message; `None` if it is absent or no string.
    #[must_use]
    pub fn message(&self) -> Option<String> {
        self.0.get("message")?.to().ok()
    }

    /// The `data` member, unparsed.
    #[must_use]
    pub fn data(&self) -> Option<RawJson> {
        self.0.get("data")
    }

    /// The whole error object.
    #[must_use]
    pub fn as_raw(&self) -> &RawJson {
        &self.0
    }
}

/// The message, else `code=<code>`, else the JSON text (contract §4.5).
impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.message(), self.code()) {
            (Some(message), _) => f.write_str(&message),
            (None, Some(code)) => write!(f, "code={code}"),
            (None, None) => f.write_str(self.0.as_str()),
        }
    }
}

impl std::error::Error for RpcError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Limits;

    #[test]
    fn an_error_of_ours_reads_back() {
        let data = RawJson::encode(&["2026-07-28"]).unwrap();
        let error = RpcError::with_data(ErrorCode::UNSUPPORTED_PROTOCOL_VERSION, "no \"v\"", &data);
        assert_eq!(error.as_raw().as_str(), r#"{"code":-32022,"message":"no \"v\"","data":["2026-07-28"]}"#);
        assert_eq!(error.code(), Some(ErrorCode::UNSUPPORTED_PROTOCOL_VERSION));
        assert_eq!(error.message().as_deref(), Some("no \"v\""));
        assert_eq!(error.data(), Some(data));
    }

    #[test]
    fn the_text_of_an_error_follows_the_contract() {
        for (json, text) in [
            (r#"{"code":-1,"message":"no"}"#, "no"),
            (r#"{"code":-1}"#, "code=-1"),
            (r#"{"code":-1,"message":7}"#, "code=-1"),
            (r#"{"code":"x"}"#, r#"{"code":"x"}"#),
            (r#""broken""#, r#""broken""#),
        ] {
            let raw = RawJson::parse(json, &Limits::default()).unwrap();
            assert_eq!(RpcError::from_peer(raw).unwrap().to_string(), text);
        }
        assert_eq!(RpcError::from_peer(RawJson::encode(&()).unwrap()), None);
    }
}
