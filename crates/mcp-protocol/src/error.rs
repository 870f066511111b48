//! JSON-RPC errors and the codes each revision defines.

use std::fmt;

use bytes::BytesMut;

use crate::capability::ClientCapabilities;
use crate::elicitation::ElicitParams;
use crate::json::{JsonKind, RawJson};
use crate::members::{Members, put_string};
use crate::version::{Era, ProtocolVersion};

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

    /// Every code some revision defines.
    pub const KNOWN: [Self; 11] = [
        Self::PARSE_ERROR,
        Self::INVALID_REQUEST,
        Self::METHOD_NOT_FOUND,
        Self::INVALID_PARAMS,
        Self::INTERNAL_ERROR,
        Self::USER_REJECTED,
        Self::RESOURCE_NOT_FOUND,
        Self::URL_ELICITATION_REQUIRED,
        Self::HEADER_MISMATCH,
        Self::MISSING_REQUIRED_CLIENT_CAPABILITY,
        Self::UNSUPPORTED_PROTOCOL_VERSION,
    ];

    /// The short name; `None` for codes no revision defines.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::PARSE_ERROR => "parse error",
            Self::INVALID_REQUEST => "invalid request",
            Self::METHOD_NOT_FOUND => "method not found",
            Self::INVALID_PARAMS => "invalid params",
            Self::INTERNAL_ERROR => "internal error",
            Self::USER_REJECTED => "user rejected sampling",
            Self::RESOURCE_NOT_FOUND => "resource not found",
            Self::URL_ELICITATION_REQUIRED => "URL elicitation required",
            Self::HEADER_MISMATCH => "header mismatch",
            Self::MISSING_REQUIRED_CLIENT_CAPABILITY => "missing required client capability",
            Self::UNSUPPORTED_PROTOCOL_VERSION => "unsupported protocol version",
            _ => return None,
        })
    }

    /// What the code tells its receiver, in one sentence; `None` for codes no revision defines.
    #[must_use]
    pub const fn meaning(self) -> Option<&'static str> {
        Some(match self {
            Self::PARSE_ERROR => "the text is not JSON",
            Self::INVALID_REQUEST => "the JSON is no valid message",
            Self::METHOD_NOT_FOUND => "the method is unknown or its capability was not offered",
            Self::INVALID_PARAMS => "the parameters do not fit the method",
            Self::INTERNAL_ERROR => "the receiver failed",
            Self::USER_REJECTED => "the person refused the sampling request",
            Self::RESOURCE_NOT_FOUND => "there is no such resource",
            Self::URL_ELICITATION_REQUIRED => "the person has to complete the named pages first",
            Self::HEADER_MISMATCH => "an HTTP header is missing or disagrees with the body",
            Self::MISSING_REQUIRED_CLIENT_CAPABILITY => {
                "the client did not declare a capability the server needs"
            }
            Self::UNSUPPORTED_PROTOCOL_VERSION => "the revision named in the request is not served",
            _ => return None,
        })
    }

    /// Whether a revision defines the code. Codes outside of `-32768..=-32000` belong to applications;
    /// `-1` alone is named by the handshake era.
    #[must_use]
    pub fn is_defined_in(self, version: ProtocolVersion) -> bool {
        match self {
            Self::PARSE_ERROR
            | Self::INVALID_REQUEST
            | Self::METHOD_NOT_FOUND
            | Self::INVALID_PARAMS
            | Self::INTERNAL_ERROR => true,
            Self::USER_REJECTED | Self::RESOURCE_NOT_FOUND => version.era() == Era::Handshake,
            Self::URL_ELICITATION_REQUIRED => version == ProtocolVersion::V2025_11_25,
            _ => self.proves_stateless() && version.era() == Era::Stateless,
        }
    }

    /// Whether only a server of the stateless era sends this code: a sign to stay in that era while its
    /// support is being found out. Source: wire reference §5.1, §5.2.
    #[must_use]
    pub const fn proves_stateless(self) -> bool {
        matches!(
            self,
            Self::HEADER_MISMATCH
                | Self::MISSING_REQUIRED_CLIENT_CAPABILITY
                | Self::UNSUPPORTED_PROTOCOL_VERSION
        )
    }

    /// Whether the caller, or the negotiation, is to blame rather than the server. A receiver that is told
    /// so at the invoke stage does not count it against the server. Source: contract §4.5.
    #[must_use]
    pub const fn is_callers_fault(self) -> bool {
        matches!(
            self,
            Self::PARSE_ERROR
                | Self::INVALID_REQUEST
                | Self::METHOD_NOT_FOUND
                | Self::INVALID_PARAMS
                | Self::HEADER_MISMATCH
                | Self::MISSING_REQUIRED_CLIENT_CAPABILITY
                | Self::UNSUPPORTED_PROTOCOL_VERSION
                | Self::RESOURCE_NOT_FOUND
        )
    }

    /// The HTTP status that carries the error in the stateless era. Only 400 for `-32602` of missing
    /// metadata and for `-32020` to `-32022`, and 404 for `-32601`, are mandated; the rest follows what
    /// servers do. Source: wire reference §1.4.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::METHOD_NOT_FOUND => 404,
            Self::PARSE_ERROR
            | Self::INVALID_REQUEST
            | Self::INVALID_PARAMS
            | Self::HEADER_MISMATCH
            | Self::MISSING_REQUIRED_CLIENT_CAPABILITY
            | Self::UNSUPPORTED_PROTOCOL_VERSION => 400,
            _ => 200,
        }
    }
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

    /// Refuses a request for a revision that is not served. `supported` is best given newest first.
    ///
    /// In the handshake era an `initialize` is refused with the same data under `-32602`.
    #[must_use]
    pub fn unsupported_version(supported: &[ProtocolVersion], requested: &str) -> Self {
        let mut data = Members::default();
        // Strings only: this cannot fail.
        data.set_json("supported", RawJson::encode(supported).unwrap_or_else(|_| RawJson::empty_object()));
        data.set_json("requested", RawJson::string(requested));
        Self::with_data(
            ErrorCode::UNSUPPORTED_PROTOCOL_VERSION,
            &format!("protocol version {requested:?} is not supported"),
            &data.encode(),
        )
    }

    /// Refuses a request whose client did not declare what is needed.
    #[must_use]
    pub fn missing_capability(required: &ClientCapabilities) -> Self {
        let mut data = Members::default();
        data.set_json("requiredCapabilities", required.as_raw().clone());
        Self::with_data(
            ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY,
            &format!(
                "the request needs client capabilities it does not declare: {}",
                required.as_raw().as_str()
            ),
            &data.encode(),
        )
    }

    /// The revisions the peer serves, from `data.supported` of `-32022` or of a refused `initialize`.
    #[must_use]
    pub fn supported_versions(&self) -> Option<Vec<Box<str>>> {
        self.data()?.get("supported")?.to().ok()
    }

    /// What the client would have to declare, from the data of `-32021`.
    #[must_use]
    pub fn required_capabilities(&self) -> Option<ClientCapabilities> {
        self.data()?.get("requiredCapabilities")?.to().ok()
    }

    /// The pages to complete first, from the data of `-32042`; those that cannot be read are left out.
    #[must_use]
    pub fn required_elicitations(&self) -> Option<Vec<ElicitParams>> {
        let listed: Vec<RawJson> = self.data()?.get("elicitations")?.to().ok()?;
        Some(listed.iter().filter_map(|params| params.to().ok()).collect())
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
    use crate::limits::Limits;

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

    #[test]
    fn codes_belong_to_revisions() {
        use ProtocolVersion::{V2024_11_05, V2025_06_18, V2025_11_25, V2026_07_28};
        for (code, oldest, june, november, stateless) in [
            (-32603, true, true, true, true),
            (-1, true, true, true, false),
            (-32002, true, true, true, false),
            (-32042, false, false, true, false),
            (-32020, false, false, false, true),
            (-32021, false, false, false, true),
            (-32022, false, false, false, true),
            (-32001, false, false, false, false),
            (7, false, false, false, false),
        ] {
            let code = ErrorCode(code);
            let found = [V2024_11_05, V2025_06_18, V2025_11_25, V2026_07_28].map(|v| code.is_defined_in(v));
            assert_eq!(found, [oldest, june, november, stateless], "{code}");
            assert_eq!(ErrorCode::KNOWN.contains(&code), found.contains(&true), "{code}");
        }
        for code in ErrorCode::KNOWN {
            assert!(code.name().is_some() && code.meaning().is_some(), "{code}");
        }
        assert_eq!((ErrorCode(7).name(), ErrorCode(7).meaning()), (None, None));
    }

    #[test]
    fn blame_and_status_follow_the_contract() {
        let blamed: Vec<_> = ErrorCode::KNOWN.into_iter().filter(|code| code.is_callers_fault()).collect();
        let listed = [-32700, -32600, -32601, -32602, -32002, -32020, -32021, -32022].map(ErrorCode);
        assert_eq!(blamed, listed);
        for (code, status) in [
            (-32601, 404),
            (-32602, 400),
            (-32700, 400),
            (-32022, 400),
            (-32603, 200),
            (-32000, 200),
            (7, 200),
        ] {
            assert_eq!(ErrorCode(code).http_status(), status, "{code}");
        }
    }

    #[test]
    fn data_reads_back() {
        let error = RpcError::unsupported_version(&[ProtocolVersion::V2026_07_28], "1999-01-01");
        assert_eq!(error.supported_versions().unwrap(), ["2026-07-28".into()]);
        let needed = ClientCapabilities::default().with(&["elicitation", "url"], RawJson::empty_object());
        let error = RpcError::missing_capability(&needed);
        assert_eq!(error.required_capabilities(), Some(needed));
        assert_eq!(error.supported_versions(), None);
        let data = r#"{"elicitations":[{"mode":"url","message":"m","url":"u","elicitationId":"e"},7]}"#;
        let data = RawJson::parse(data, &Limits::default()).unwrap();
        let error = RpcError::with_data(ErrorCode::URL_ELICITATION_REQUIRED, "first this", &data);
        assert_eq!(error.required_elicitations().unwrap().len(), 1);
    }
}
