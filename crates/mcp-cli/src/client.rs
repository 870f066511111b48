//! The REST client: bounded in time and size, no proxies, no redirects.

use std::{error::Error as StdError, num::NonZeroU64, sync::Arc, time::Duration};

use jiff::Timestamp;
use mcp_api_types::{
    BASE_PATH, ErrorDetail, InvocationFailure, InvocationResult, NotOffered, NotOfferedDetail, Ready,
    ValidationError,
};
use reqwest::{Method, StatusCode, Url, header};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    args::{ApiKey, GlobalArgs},
    exit::Error,
};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Reading what the gateway knows.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// Everything that makes the gateway talk to servers; above its `max_call_deadline` of 120 s.
const WORK_LIMIT: Duration = Duration::from_secs(150);
/// An invocation result holds an upstream message of at most 16 MiB twice.
const BODY_LIMIT: usize = 64 * 1024 * 1024;

/// A gateway somewhere.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    key: Option<ApiKey>,
}

/// A body, both as it came and as it is understood.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    pub(crate) body: T,
    pub(crate) text: String,
    /// The clock of the gateway when it answered.
    pub(crate) now: Option<Timestamp>,
    /// The call it answers, if it answers one.
    pub(crate) request_id: Option<String>,
}

impl Client {
    pub(crate) fn new(global: &GlobalArgs) -> Result<Self, Error> {
        let base = base_url(&global.url)?;
        let tls = tls(&base)?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("mcp-gateway/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            // A redirect would carry the key elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_LIMIT)
            .build()
            .map_err(|error| Error::Usage(format!("the HTTP client cannot be set up: {}", causes(&error))))?;
        Ok(Self { http, base, key: global.api_key.clone() })
    }

    /// The base URL, for people.
    pub(crate) fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<Answer<T>, Error> {
        self.ask(Method::GET, path, query, READ_LIMIT).await
    }

    /// A POST without a body that makes the gateway work on servers.
    pub(crate) async fn act<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<Answer<T>, Error> {
        self.ask(Method::POST, path, query, WORK_LIMIT).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<Answer<T>, Error> {
        self.submit(Method::POST, path, body).await
    }

    pub(crate) async fn put<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<Answer<T>, Error> {
        self.submit(Method::PUT, path, body).await
    }

    /// A request with a body.
    async fn submit<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<Answer<T>, Error> {
        let body = encode(body)?;
        self.exchange(method, self.api_url(path), Some(body), WORK_LIMIT).await?.expect_success(self)?.parse()
    }

    pub(crate) async fn delete(&self, path: &[&str]) -> Result<(), Error> {
        self.exchange(Method::DELETE, self.api_url(path), None, WORK_LIMIT).await?.expect_success(self)?;
        Ok(())
    }

    /// Makes a call; a failure the gateway explains is no error here. `timeout_ms` is what the request says.
    pub(crate) async fn call(
        &self,
        path: &[&str],
        request: &impl Serialize,
        timeout_ms: Option<NonZeroU64>,
    ) -> Result<Result<Answer<InvocationResult>, Answer<InvocationFailure>>, Error> {
        let limit = WORK_LIMIT + Duration::from_millis(timeout_ms.map_or(0, NonZeroU64::get));
        let reply = self.exchange(Method::POST, self.api_url(path), Some(encode(request)?), limit).await?;
        if reply.status == StatusCode::SERVICE_UNAVAILABLE
            && let Ok(body) = serde_json::from_str(&reply.text)
        {
            return Ok(Err(reply.understood(body)));
        }
        Ok(Ok(reply.expect_success(self)?.parse()?))
    }

    /// What the gateway says about itself; `None` if it does not.
    pub(crate) async fn ready(&self) -> Option<Ready> {
        let mut url = self.base.clone();
        url.path_segments_mut().ok()?.pop_if_empty().push("readyz");
        // 503 while it starts and drains, with the same body.
        let reply = self.exchange(Method::GET, url, None, READ_LIMIT).await.ok()?;
        serde_json::from_str(&reply.text).ok()
    }

    /// A request without a body.
    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        limit: Duration,
    ) -> Result<Answer<T>, Error> {
        let mut url = self.api_url(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.exchange(method, url, None, limit).await?.expect_success(self)?.parse()
    }

    fn api_url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(BASE_PATH.split('/').skip(1)).extend(path);
        }
        url
    }

    async fn exchange(
        &self,
        method: Method,
        url: Url,
        body: Option<String>,
        limit: Duration,
    ) -> Result<Reply, Error> {
        let mut request =
            self.http.request(method, url).header(header::ACCEPT, "application/json").timeout(limit);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.reveal());
        }
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body);
        }
        let mut response = request.send().await.map_err(|error| self.broken(&error, limit))?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(&error, limit))? {
            if bytes.len() + chunk.len() > BODY_LIMIT {
                return Err(Error::TooLong { limit: BODY_LIMIT });
            }
            bytes.extend_from_slice(&chunk);
        }
        let text = String::from_utf8(bytes).map_err(|_| Error::Answer("the body is not UTF-8".to_owned()))?;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let now = header("date")
            .and_then(|date| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok());
        let request_id = header("x-request-id").map(str::to_owned);
        Ok(Reply { status: response.status(), text, now, request_id })
    }

    fn broken(&self, error: &reqwest::Error, limit: Duration) -> Error {
        if error.is_timeout() && !error.is_connect() {
            return Error::Timeout { limit };
        }
        Error::Unreachable { url: self.url().to_owned(), reason: causes(error) }
    }
}

/// A status and a body not yet understood.
struct Reply {
    status: StatusCode,
    text: String,
    now: Option<Timestamp>,
    request_id: Option<String>,
}

impl Reply {
    fn expect_success(self, client: &Client) -> Result<Self, Error> {
        let status = self.status;
        if status.is_success() {
            return Ok(self);
        }
        if status == StatusCode::UNAUTHORIZED {
            return Err(Error::Unauthorized);
        }
        if let Ok(ErrorDetail { detail }) = serde_json::from_str(&self.text) {
            return Err(Error::Refused { status: status.as_u16(), detail });
        }
        if let Ok(NotOffered { detail }) = serde_json::from_str(&self.text) {
            return Err(Error::Refused { status: status.as_u16(), detail: not_offered(&detail) });
        }
        if let Ok(ValidationError { detail }) = serde_json::from_str(&self.text) {
            return Err(Error::Invalid(detail));
        }
        if status == StatusCode::NOT_FOUND || status.is_redirection() {
            let reason = format!("it answers with status {}", status.as_u16());
            return Err(Error::NotAGateway { url: client.url().to_owned(), reason });
        }
        let detail = status.canonical_reason().unwrap_or("no reason given").to_owned();
        Err(Error::Refused { status: status.as_u16(), detail })
    }

    fn parse<T: DeserializeOwned>(self) -> Result<Answer<T>, Error> {
        let body = serde_json::from_str(&self.text).map_err(|error| Error::Answer(error.to_string()))?;
        Ok(self.understood(body))
    }

    fn understood<T>(self, body: T) -> Answer<T> {
        Answer { body, text: self.text, now: self.now, request_id: self.request_id }
    }
}

/// Most names of what there is instead.
const MOST_NAMED: usize = 20;

/// What is not there, and what is.
fn not_offered(detail: &NotOfferedDetail) -> String {
    let NotOfferedDetail { message, available, .. } = detail;
    let named = available.iter().take(MOST_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match available.len() {
        0 => format!("{message}; there is none"),
        1..=MOST_NAMED => format!("{message}; there are: {named}"),
        _ => format!("{message}; there are: {named}, …"),
    }
}

fn base_url(text: &str) -> Result<Url, Error> {
    let wrong = |why: &str| Error::Usage(format!("{text:?} is not the URL of a gateway: {why}"));
    let mut url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it must start with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // Not repeated in the message, since it holds a secret.
        return Err(Error::Usage(
            "the URL of the gateway holds a user name; give the key with --api-key".to_owned(),
        ));
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

/// TLS by the system's certificates. The library insists on a configuration for plain HTTP too; that one trusts
/// nobody, so that no certificate store is loaded for nothing.
fn tls(base: &Url) -> Result<rustls::ClientConfig, Error> {
    use rustls_platform_verifier::BuilderVerifierExt as _;

    let failed = |error: rustls::Error| Error::Usage(format!("TLS cannot be set up: {error}"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    let builder = if base.scheme() == "https" {
        builder.with_platform_verifier().map_err(failed)?
    } else {
        builder.with_root_certificates(rustls::RootCertStore::empty())
    };
    Ok(builder.with_no_client_auth())
}

fn encode(body: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(body).map_err(|error| Error::Usage(format!("the request is not JSON: {error}")))
}

/// The innermost cause, which names what happened; the outer ones repeat the URL.
fn causes(error: &reqwest::Error) -> String {
    let mut cause: &dyn StdError = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    fn client(url: &str) -> Result<Client, Error> {
        Client::new(&GlobalArgs { url: url.into(), api_key: None, json: false, no_color: false })
    }

    #[tokio::test]
    async fn a_silent_gateway_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = client(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let limit = Duration::from_millis(50);
        let reply = client.exchange(Method::GET, client.api_url(&["servers"]), None, limit).await;
        assert!(matches!(reply, Err(Error::Timeout { .. })));
    }

    #[tokio::test]
    async fn an_endless_answer_is_cut_off() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = client(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let endless = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert_ne!(stream.read(&mut [0; 4096]).await.unwrap(), 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            // Ends by a broken pipe once the client hangs up.
            while stream.write_all(&[b' '; 65_536]).await.is_ok() {}
        };
        let (reply, ()) = tokio::join!(client.get::<serde_json::Value>(&["servers"], &[]), endless);
        assert!(matches!(reply, Err(Error::TooLong { limit: BODY_LIMIT })), "{reply:?}");
    }

    #[test]
    fn a_base_url_is_http_and_holds_no_secret() {
        for (text, paths) in [
            ("http://127.0.0.1:8300", Some("http://127.0.0.1:8300/api/v1/mcp/servers/a%2Fb")),
            ("http://h:1/", Some("http://h:1/api/v1/mcp/servers/a%2Fb")),
            ("https://h/gateway/?x=1#y", Some("https://h/gateway/api/v1/mcp/servers/a%2Fb")),
            ("127.0.0.1:8300", None),
            ("ftp://h/", None),
            ("", None),
            ("http://user:canary@h/", None),
        ] {
            match (client(text), paths) {
                (Ok(client), Some(url)) => assert_eq!(client.api_url(&["servers", "a/b"]).as_str(), url),
                (Err(error @ Error::Usage(_)), None) => assert!(!error.to_string().contains("canary")),
                (client, _) => panic!("{text}: {client:?}"),
            }
        }
    }
}
