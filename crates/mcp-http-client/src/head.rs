//! What the head of an answer says.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use mcp_transport::TransportErrorKind;
use url::Url;

use crate::body::Body;
use crate::endpoint::same_origin;
use crate::retry_after::retry_after;

/// What a body is, of what an MCP server may answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaType {
    /// One JSON text: `application/json`.
    Json,
    /// An event stream: `text/event-stream`.
    Events,
    /// Anything else, or nothing that can be read.
    Other,
}

impl MediaType {
    /// What the `Content-Type` says, whatever its parameters.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match text.split(';').next().unwrap_or_default().trim() {
            name if name.eq_ignore_ascii_case("application/json") => Self::Json,
            name if name.eq_ignore_ascii_case("text/event-stream") => Self::Events,
            _ => Self::Other,
        }
    }
}

/// The `Content-Encoding` of a body that is encoded, which was not asked for.
#[must_use]
pub fn coding(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(CONTENT_ENCODING).filter(|coding| *coding != "identity")
}

/// A header value of the peer, shortened and fit for an error text.
#[must_use]
pub fn quoted(value: &HeaderValue) -> String {
    const LONGEST: usize = 80;
    let bytes = &value.as_bytes()[..value.len().min(LONGEST)];
    format!("{:?}", String::from_utf8_lossy(bytes))
}

impl Body {
    /// What a status other than the expected one amounts to: a redirect, which is not followed, or the status
    /// alone.
    #[must_use]
    pub fn refusal(&self) -> TransportErrorKind {
        let status = self.status().as_u16();
        match self.redirect() {
            Some(target) => TransportErrorKind::Redirect { status, target },
            None => TransportErrorKind::Status { status, retry_after: retry_after(self.headers()) },
        }
    }

    /// Where it redirects to, in words: another origin is not named.
    fn redirect(&self) -> Option<Box<str>> {
        const LONGEST: usize = 80;
        let location = self.headers().get(LOCATION).filter(|_| self.status().is_redirection())?;
        let url = Url::parse(&self.uri().to_string()).ok()?;
        let target = url.join(location.to_str().ok()?).ok()?;
        tracing::warn!(origin = url.origin().ascii_serialization(), "a redirect was not followed");
        // The query may hold a secret. A path of a URL is ASCII.
        let path = target.path();
        let near = same_origin(&url, &target);
        Some(if near { path[..path.len().min(LONGEST)].into() } else { "another origin".into() })
    }
}
