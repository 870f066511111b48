//! Headers from outside: checked, secrets marked, the transport's own ones kept.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap,
    HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use mcp_protocol::header;
use mcp_transport::{Header, TransportError};
use secrecy::{ExposeSecret, SecretString};

use crate::failure::unusable;

/// `Mcp-Session-Id`, spelled `MCP-Session-Id` from 2025-11-25 on; header names have no case.
pub const SESSION_ID: HeaderName = HeaderName::from_static(header::SESSION_ID);
/// `MCP-Protocol-Version`.
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static(header::PROTOCOL_VERSION);
/// `Last-Event-ID`: where an event stream is to go on.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static(header::LAST_EVENT_ID);

/// They frame the message; a wrong one would let one request smuggle another.
const FRAMING: [HeaderName; 7] = [CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];
/// The transport alone knows their values.
const OWN: [HeaderName; 6] =
    [ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, LAST_EVENT_ID, PROTOCOL_VERSION, SESSION_ID];

/// Room for what is set for every message: here, by the transport, and by HTTP itself.
const LATER: usize = 9;

/// The headers of an endpoint and those of every `POST`.
#[derive(Debug, Clone)]
pub struct Headers {
    configured: HeaderMap,
}

impl Headers {
    /// Checks the headers of an endpoint. Their values are secrets and marked as such.
    ///
    /// Names the transport sets itself are left out with a warning: they are common in files written for
    /// other clients and would only repeat, or break, what is sent anyway.
    ///
    /// # Errors
    /// [`Endpoint`](mcp_transport::TransportErrorKind::Endpoint) names the header that cannot be sent.
    pub fn new(configured: &[(String, SecretString)]) -> Result<Self, TransportError> {
        let mut headers = HeaderMap::new();
        for (name, value) in configured {
            let parsed = parse_name(name)?;
            if OWN.contains(&parsed) {
                tracing::warn!(header = %parsed, "configured header ignored, the transport sets it itself");
                continue;
            }
            headers.append(parsed, parse_value(name, value.expose_secret(), true)?);
        }
        Ok(Self { configured: headers })
    }

    /// What every request carries.
    #[must_use]
    pub fn base(&self) -> HeaderMap {
        self.with_room(0)
    }

    /// The same, with room for further ones and those that are added later.
    fn with_room(&self, further: usize) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.configured.len() + further + LATER);
        for (name, value) in &self.configured {
            headers.append(name.clone(), value.clone());
        }
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers
    }

    /// The `Authorization` of a message, if that is not the configured one.
    #[must_use]
    pub fn own_authorization(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let own = headers.get(AUTHORIZATION)?;
        (self.configured.get(AUTHORIZATION) != Some(own)).then(|| own.clone())
    }

    /// What every `POST` of a message carries, with the message's own headers in place of configured
    /// ones of the same name.
    ///
    /// # Errors
    /// [`Endpoint`](mcp_transport::TransportErrorKind::Endpoint) names the header that cannot be sent.
    pub fn for_message(&self, own: &[Header]) -> Result<HeaderMap, TransportError> {
        let mut headers = self.with_room(own.len());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        for (before, header) in own.iter().enumerate() {
            let name = parse_name(&header.name)?;
            let value = parse_value(&header.name, &header.value, header.sensitive)?;
            if own[..before].iter().any(|other| other.name.eq_ignore_ascii_case(&header.name)) {
                headers.append(name, value);
            } else {
                headers.insert(name, value);
            }
        }
        Ok(headers)
    }
}

/// Names that nearly every message has, spelled as they are given to us: these need no reading.
const USUAL: [(&str, HeaderName); 3] = [
    ("X-Request-Id", HeaderName::from_static("x-request-id")),
    (header::METHOD, HeaderName::from_static(header::METHOD)),
    (header::NAME, HeaderName::from_static(header::NAME)),
];

fn parse_name(name: &str) -> Result<HeaderName, TransportError> {
    if let Some((_, usual)) = USUAL.iter().find(|(spelled, _)| *spelled == name) {
        return Ok(usual.clone());
    }
    let parsed = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| unusable(format!("{name:?} is no valid header name")))?;
    if FRAMING.contains(&parsed) {
        return Err(unusable(format!("header {name:?} frames the message and cannot be set")));
    }
    Ok(parsed)
}

/// `from_str` refuses control characters, but takes the bytes of other scripts.
fn parse_value(name: &str, value: &str, sensitive: bool) -> Result<HeaderValue, TransportError> {
    let parsed =
        Some(value).filter(|value| value.is_ascii()).and_then(|value| HeaderValue::from_str(value).ok());
    let mut parsed = parsed.ok_or_else(|| {
        unusable(format!("the value of header {name:?} has characters that are not allowed in a header"))
    })?;
    parsed.set_sensitive(sensitive);
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use mcp_transport::{Delivery, TransportErrorKind};

    use super::*;

    fn from_pairs(pairs: &[(&str, &str)]) -> Result<Headers, TransportError> {
        let pairs: Vec<_> =
            pairs.iter().map(|&(name, value)| (name.to_owned(), SecretString::from(value))).collect();
        Headers::new(&pairs)
    }

    #[test]
    fn bad_headers_are_named_and_their_values_kept_secret() {
        for (name, value) in [
            ("X-Key", "secret\r\nX-Other: 1"),
            ("X-Key", "secret\n"),
            ("X-Key", "secret\0"),
            ("X-Key", "secr\u{e9}t"),
            ("X-Key", "secret\u{7f}"),
            ("X Key", "secret"),
            ("", "secret"),
            ("Host", "secret"),
            ("content-length", "5"),
            ("Transfer-Encoding", "chunked"),
        ] {
            let configured = from_pairs(&[(name, value)]).unwrap_err();
            let own =
                from_pairs(&[]).unwrap().for_message(&[Header::new(name.to_owned(), value)]).unwrap_err();
            for error in [configured, own] {
                assert_eq!(error.delivery, Delivery::NotSent, "{name}");
                let TransportErrorKind::Endpoint(text) = error.kind else { panic!("{name}: {error:?}") };
                assert!(text.contains(&format!("{name:?}")), "{text}");
                assert!(!text.contains("secr") && !text.contains('5'), "{text}");
            }
        }
    }

    #[test]
    fn own_headers_replace_configured_ones_of_the_same_name() {
        let headers = from_pairs(&[("X-Key", "a"), ("x-key", "b"), ("X-Keep", "c")]).unwrap();
        let all = |headers: &HeaderMap, name| {
            headers.get_all(name).iter().map(|v| v.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(all(&headers.base(), "x-key"), ["a", "b"]);
        let message = headers.for_message(&[Header::new("X-KEY", "d"), Header::new("X-KEY", "e")]).unwrap();
        assert_eq!(all(&message, "x-key"), ["d", "e"]);
        assert_eq!(all(&message, "x-keep"), ["c"]);
    }

    #[test]
    fn what_the_transport_sets_cannot_be_configured() {
        let headers = from_pairs(&[
            ("Accept", "text/html"),
            ("Mcp-Session-Id", "stolen"),
            ("MCP-Protocol-Version", "1"),
        ])
        .unwrap()
        .for_message(&[])
        .unwrap();
        assert_eq!(headers[ACCEPT], "application/json, text/event-stream");
        assert!(!headers.contains_key(SESSION_ID) && !headers.contains_key(PROTOCOL_VERSION));
    }

    #[test]
    fn secrets_do_not_show_in_debug() {
        let headers = from_pairs(&[("Authorization", "Bearer hunter2")]).unwrap();
        let shown = format!("{headers:?} {:?}", headers.for_message(&[]).unwrap());
        assert!(shown.contains("authorization") && !shown.contains("hunter2"), "{shown}");
    }
}
