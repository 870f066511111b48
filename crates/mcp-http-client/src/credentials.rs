//! The client credentials grant. Source: RFC 6749 §4.4, RFC 8707, wire reference §6.2.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use mcp_transport::{ClientAuthentication, ClientCredentials, Delivery, TransportError, TransportErrorKind};
use reqwest::{Method, Request, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::{Url, form_urlencoded};

use crate::address::AddressPolicy;
use crate::endpoint::is_loopback;
use crate::failure::{self, unusable};
use crate::tokens::Token;

/// Largest answer of a token endpoint.
const LARGEST_ANSWER: usize = 256 << 10;

/// What a token is asked for with.
pub(crate) struct Grant<'a> {
    pub(crate) credentials: &'a ClientCredentials,
    pub(crate) policy: &'a AddressPolicy,
    /// The resource, if the credentials name none.
    pub(crate) resource: &'a str,
}

/// The successful answer. Source: RFC 6749 §5.1.
#[derive(Deserialize)]
struct Answer {
    access_token: SecretString,
    token_type: String,
    expires_in: Option<Seconds>,
}

/// Some servers write numbers as strings.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

/// The refusal. Source: RFC 6749 §5.2.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// Whether the token endpoint may be given a secret.
pub(crate) fn check(credentials: &ClientCredentials, policy: &AddressPolicy) -> Result<(), TransportError> {
    let url = &credentials.token_url;
    check_address(url, policy)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(unusable("auth.token_url holds credentials; use client_id and client_secret"));
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(url) => Ok(()),
        _ => Err(unusable("auth.token_url must be https, or http to a loopback address")),
    }
}

fn check_address(url: &Url, policy: &AddressPolicy) -> Result<(), TransportError> {
    policy.check_url(url).map_err(|refused| unusable(format!("auth.token_url cannot be used: {refused}")))
}

impl Grant<'_> {
    /// Asks for a token.
    pub(crate) async fn fetch(&self, http: &reqwest::Client) -> Result<Token, TransportError> {
        let url = &self.credentials.token_url;
        check_address(url, self.policy)?;
        let origin = url.origin().ascii_serialization();
        let answer = http.execute(self.request()).await;
        let mut answer = answer.map_err(|error| match failure::sending(&error, &origin, false) {
            error if matches!(error.kind, TransportErrorKind::Endpoint(_)) => error,
            // However far this one got, the request that needs the token was not sent.
            error => not_now(error.kind.to_string()),
        })?;
        let status = answer.status();
        let Some(body) = read(&mut answer).await else {
            return Err(not_now(format!(
                "the token endpoint {origin} sent no usable answer (http status {})",
                status.as_u16()
            )));
        };
        if !status.is_success() {
            return Err(refusal(&origin, status, &body));
        }
        let unreadable = |what: &str| {
            unusable(format!("the token endpoint {origin} answered with something else than a token: {what}"))
        };
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|_| unreadable("no token answer in JSON"))?;
        if !answer.token_type.eq_ignore_ascii_case("bearer") {
            return Err(unreadable("its type is not Bearer"));
        }
        let life = answer.expires_in.and_then(Seconds::duration);
        Token::new(answer.access_token, life).map_err(unreadable)
    }

    fn request(&self) -> Request {
        let ClientCredentials { token_url, client_id, client_secret, scope, resource, method } =
            self.credentials;
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if let Some(scope) = scope {
            form.append_pair("scope", scope);
        }
        form.append_pair("resource", resource.as_ref().map_or(self.resource, Url::as_str));
        if *method == ClientAuthentication::Post {
            form.append_pair("client_id", client_id)
                .append_pair("client_secret", client_secret.expose_secret());
        }
        let mut request = Request::new(Method::POST, token_url.clone());
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        if *method == ClientAuthentication::Basic
            && let Ok(mut basic) = HeaderValue::try_from(basic(client_id, client_secret))
        {
            basic.set_sensitive(true);
            headers.insert(AUTHORIZATION, basic);
        }
        *request.body_mut() = Some(form.finish().into());
        request
    }
}

impl Seconds {
    fn duration(self) -> Option<Duration> {
        let seconds = match self {
            Self::Number(seconds) => seconds,
            Self::Text(text) => text.trim().parse().ok()?,
        };
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// Both parts are encoded as in a form first. Source: RFC 6749 §2.3.1.
fn basic(id: &str, secret: &SecretString) -> String {
    let part = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", part(id), part(secret.expose_secret()));
    format!("Basic {}", BASE64_STANDARD.encode(pair))
}

/// The whole body, unless it is too large or breaks off.
async fn read(answer: &mut Response) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.ok()? {
        if body.len() + chunk.len() > LARGEST_ANSWER {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body)
}

fn refusal(origin: &str, status: StatusCode, body: &[u8]) -> TransportError {
    let text = format!("the token endpoint {origin} answered with http status {}", status.as_u16());
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return not_now(text);
    }
    let code = serde_json::from_slice::<Refusal>(body).ok().map(|refusal| refusal.error);
    let fit = |code: &String| {
        code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    unusable(match code.filter(fit) {
        Some(code) => format!("{text}: {code}; check auth"),
        None => format!("{text}; check auth"),
    })
}

/// A failure that may be over soon.
pub(crate) fn not_now(text: String) -> TransportError {
    TransportError::new(TransportErrorKind::Connect(text.into()), Delivery::NotSent)
}
