//! API keys.

use std::fmt;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use mcp_api_types::ErrorDetail;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::state::ApiState;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The accepted keys, kept as digests: comparing takes the same time whatever the key (S09).
#[derive(Clone, Default)]
pub struct ApiKeys(Vec<[u8; 32]>);

impl ApiKeys {
    /// Accepts any of these keys. None at all: no key is asked for.
    #[must_use]
    pub fn new(keys: &[SecretString]) -> Self {
        Self(keys.iter().map(|key| digest(key.expose_secret())).collect())
    }

    /// Whether nobody is asked for a key.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn accept(&self, presented: Option<&str>) -> bool {
        let Some(presented) = presented.map(digest) else { return false };
        self.0.iter().fold(Choice::from(0), |found, key| found | key.ct_eq(&presented)).into()
    }

    /// A name for whoever presents a key, if it is a valid one: the same for the same key, and no way back to it.
    pub(crate) fn whose(&self, key: &str) -> Option<String> {
        let digest = self.accept(Some(key)).then(|| digest(key))?;
        let name = digest.iter().take(8).fold(String::from("key-"), |mut name, byte| {
            name.push_str(&format!("{byte:02x}"));
            name
        });
        Some(name)
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeys({})", self.0.len())
    }
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// `Authorization: Bearer KEY`, or `X-API-Key: KEY`.
pub(crate) fn presented(headers: &HeaderMap) -> Option<&str> {
    let bearer = only(headers, &header::AUTHORIZATION)
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| key.trim());
    bearer.or_else(|| only(headers, &API_KEY))
}

/// A header that stands once. Of two, somebody in between may have looked at the other one.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())?.to_str().ok()
}

/// Lets a request pass that presents a valid key.
pub(crate) async fn require_key(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    if state.settings().api_keys.accept(presented(request.headers())) {
        return next.run(request).await;
    }
    unauthorized()
}

/// The answer to a request without a valid key.
pub(crate) fn unauthorized() -> Response {
    let detail =
        "a valid API key is required: send it as \"Authorization: Bearer KEY\" or \"X-API-Key: KEY\"";
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, challenge, axum::Json(ErrorDetail::new(detail))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_the_keys_opens_and_nothing_else() {
        let keys = ApiKeys::new(&["first".into(), "second".into()]);
        for (presented, accepted) in [
            (Some("first"), true),
            (Some("second"), true),
            (Some("firs"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(keys.accept(presented), accepted, "{presented:?}");
        }
        assert!(!keys.is_empty() && ApiKeys::default().is_empty());
        assert_eq!(format!("{keys:?}"), "ApiKeys(2)");
    }

    #[test]
    fn keys_are_read_from_two_headers() {
        for (name, value, key) in [
            ("authorization", "Bearer abc", Some("abc")),
            ("authorization", "bearer  abc ", Some("abc")),
            ("authorization", "Basic abc", None),
            ("x-api-key", "abc", Some("abc")),
            ("cookie", "abc", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(presented(&headers), key, "{name}: {value}");
            headers.append(name, "Bearer other".parse().unwrap());
            assert_eq!(presented(&headers), None, "{name} twice");
        }
    }
}
