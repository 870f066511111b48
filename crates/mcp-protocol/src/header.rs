//! HTTP headers that mirror the body, so that intermediaries can route without reading it.
//!
//! Names are lower case here, as HTTP libraries want them; on the wire their case does not matter.
//! Source: wire reference §3.8; MCP 2026-07-28, Streamable HTTP, "Request Metadata".

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::json::{JsonKind, RawJson};
use crate::members::{Members, decode_text};
use crate::method::Method;

mod param;
pub use param::{HeaderMismatch, InvalidAnnotation, ParamHeader, ParamHeaders, ParamType};

/// `MCP-Protocol-Version`: the revision; since 2025-06-18.
pub const PROTOCOL_VERSION: &str = "mcp-protocol-version";
/// `Mcp-Method`: the method; stateless era.
pub const METHOD: &str = "mcp-method";
/// `Mcp-Name`: what the request is about; stateless era. See [`name_member`].
pub const NAME: &str = "mcp-name";
/// `Mcp-Param-<Token>`: an annotated argument of a tool; stateless era. See [`ParamHeaders`].
pub const PARAM_PREFIX: &str = "mcp-param-";
/// `Mcp-Session-Id`: the session; handshake era from 2025-03-26 on.
pub const SESSION_ID: &str = "mcp-session-id";
/// `Last-Event-ID`: where to resume an event stream; handshake era.
pub const LAST_EVENT_ID: &str = "last-event-id";

/// Why a header value cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidHeaderValue {
    /// A byte that header values may not hold.
    #[error("header value holds a character outside of printable ASCII")]
    Character,
    /// What stands between the markers is not Base64 of UTF-8 text.
    #[error("header value is marked as Base64 but is not Base64 of UTF-8 text")]
    Base64,
}

const MARK: &str = "=?base64?";
const END: &str = "?=";

/// The text as a header value: as it is where possible, else `=?base64?…?=`.
///
/// For `Mcp-Name` and `Mcp-Param-*` only; the other headers have no Base64 form.
#[must_use]
pub fn encode_value(text: &str) -> Cow<'_, str> {
    let printable = text.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
    let padded = text.starts_with(' ') || text.ends_with(' ');
    let looks_encoded = text.starts_with(MARK) && text.ends_with(END);
    if printable && !padded && !looks_encoded {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{MARK}{}{END}", STANDARD.encode(text)))
}

/// The text a header value stands for. Whitespace around the value is not part of it.
///
/// # Errors
/// [`InvalidHeaderValue`] if the value cannot have been written by [`encode_value`] or a like rule.
pub fn decode_value(value: &[u8]) -> Result<Cow<'_, str>, InvalidHeaderValue> {
    let text = str::from_utf8(value).map_err(|_| InvalidHeaderValue::Character)?;
    let text = text.trim_matches([' ', '\t']);
    if !text.bytes().all(|byte| byte == b'\t' || (0x20..=0x7e).contains(&byte)) {
        return Err(InvalidHeaderValue::Character);
    }
    if !(text.starts_with(MARK) && text.ends_with(END)) {
        return Ok(Cow::Borrowed(text));
    }
    let encoded = text.strip_prefix(MARK).and_then(|rest| rest.strip_suffix(END));
    let bytes =
        encoded.and_then(|encoded| STANDARD.decode(encoded).ok()).ok_or(InvalidHeaderValue::Base64)?;
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| InvalidHeaderValue::Base64)
}

/// The member of `params` that `Mcp-Name` repeats; `None` if the method's requests carry no such header.
#[must_use]
pub fn name_member(method: &Method) -> Option<&'static str> {
    match method {
        Method::ToolsCall | Method::PromptsGet => Some("name"),
        Method::ResourcesRead => Some("uri"),
        Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => Some("taskId"),
        _ => None,
    }
}

/// The text `Mcp-Name` has to carry for a request, not yet encoded; `None` if there is none.
#[must_use]
pub fn name_of(method: &Method, params: Option<&RawJson>) -> Option<Arc<str>> {
    text_of(params?.get(name_member(method)?)?.as_bytes())
}

/// The same where the members of the params are at hand.
#[must_use]
pub fn name_in(method: &Method, params: &Members<'_>) -> Option<Arc<str>> {
    text_of(params.get_text(name_member(method)?)?.as_bytes())
}

fn text_of(value: &[u8]) -> Option<Arc<str>> {
    let is_text = JsonKind::of(value) == JsonKind::String;
    is_text.then(|| decode_text(value).ok()).flatten().map(Arc::from)
}

/// Checks the `Mcp-Name` header of a request against its body, as a server has to: against the [name](name_of) there.
///
/// # Errors
/// [`HeaderMismatch`] if the header is missing, unreadable or differs.
pub fn check_name(name: Option<&str>, header: Option<&[u8]>) -> Result<(), HeaderMismatch> {
    let mismatch = |reason: &'static str| HeaderMismatch { header: NAME.into(), reason };
    match (name, header) {
        // Without the member the request is invalid for another reason; without a rule nothing is wanted.
        (None, _) => Ok(()),
        (Some(_), None) => Err(mismatch("is missing")),
        (Some(name), Some(value)) => match decode_value(value) {
            Ok(text) if text == name => Ok(()),
            Ok(_) => Err(mismatch("differs from the body")),
            Err(_) => Err(mismatch("cannot be read")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_take_the_form_of_the_specification() {
        for (text, value) in [
            ("us-west1", "us-west1"),
            ("", ""),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
            ("=?base64?=", "=?base64?PT9iYXNlNjQ/PQ==?="),
            ("=?BASE64?x?=", "=?BASE64?x?="),
            ("\tx", "=?base64?CXg=?="),
        ] {
            assert_eq!(encode_value(text), value, "{text:?}");
            assert_eq!(decode_value(value.as_bytes()).unwrap(), text, "{value:?}");
        }
    }

    #[test]
    fn unreadable_values_are_refused() {
        use InvalidHeaderValue::{Base64, Character};
        let table: [(&[u8], InvalidHeaderValue); 6] = [
            (b"=?base64?%%%?=", Base64),
            (b"=?base64?/w==?=", Base64),
            (b"=?base64?=", Base64),
            (b"a\x01b", Character),
            ("ü".as_bytes(), Character),
            (b"\xff", Character),
        ];
        for (value, error) in table {
            assert_eq!(decode_value(value), Err(error), "{value:?}");
        }
        assert_eq!(decode_value(b" \ta b\t ").unwrap(), "a b");
    }

    #[test]
    fn names_come_from_the_member_the_method_says() {
        let params =
            RawJson::parse(r#"{"name":"a\u0062","uri":"u","taskId":7}"#, &crate::Limits::default()).unwrap();
        for (method, name) in [
            (Method::ToolsCall, Some("ab")),
            (Method::PromptsGet, Some("ab")),
            (Method::ResourcesRead, Some("u")),
            (Method::TasksGet, None),
            (Method::ToolsList, None),
        ] {
            assert_eq!(name_of(&method, Some(&params)).as_deref(), name, "{method}");
        }
        let check = |value: Option<&'static str>| {
            check_name(Some("ab"), value.map(str::as_bytes)).map_err(|error| error.reason)
        };
        assert_eq!(check(Some("ab")), Ok(()));
        assert_eq!(check(Some("=?base64?YWI=?=")), Ok(()));
        assert_eq!(check(Some("AB")), Err("differs from the body"));
        assert_eq!(check(Some("=?base64?!?=")), Err("cannot be read"));
        assert_eq!(check(None), Err("is missing"));
        assert_eq!(check_name(None, None), Ok(()));
    }
}
