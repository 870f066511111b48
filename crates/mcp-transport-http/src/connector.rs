//! Opening connections: one HTTP client for all, endpoints checked first.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_transport::{
    Connector, Delivery, Endpoint, HttpEndpoint, Transport, TransportError, TransportErrorKind,
};
use reqwest::redirect;
use url::{Host, Url};

use crate::body;
use crate::failure;
use crate::headers;
use crate::options::HttpOptions;
use crate::tls;
use crate::transport::HttpTransport;

/// Opens Streamable HTTP connections that share one pool of sockets.
///
/// Sockets are opened when the first message is sent, so `connect` fails only on an unusable endpoint.
#[derive(Clone)]
pub struct HttpConnector {
    client: reqwest::Client,
    options: Arc<HttpOptions>,
    /// Why no server can be verified, if so.
    no_tls: Option<Arc<str>>,
}

/// Why an [`HttpConnector`] could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectorError {
    /// No usable TLS configuration.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// The client refused its settings, for example a `User-Agent` that is no header value.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] reqwest::Error),
}

impl HttpConnector {
    /// Builds the HTTP client.
    ///
    /// # Errors
    /// [`ConnectorError`] if TLS or the client cannot be set up.
    pub fn new(options: HttpOptions) -> Result<Self, ConnectorError> {
        let (tls, problem) = tls::client_config().map_err(ConnectorError::Tls)?;
        let no_tls = problem.map(|error| error.to_string().into());
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(&options.user_agent)
            // Credentials belong to an origin: they follow neither a redirect nor a proxy of the environment.
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            // Decompression would hide the size of what a peer sends.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .connect_timeout(options.connect_timeout)
            .pool_max_idle_per_host(options.pool_max_idle_per_host)
            .pool_idle_timeout(options.pool_idle_timeout)
            .http1_max_headers(100)
            .http2_max_header_list_size(32 << 10);
        let client = detect_dead_peers(builder).build().map_err(ConnectorError::Client)?;
        Ok(Self { client, options: Arc::new(options), no_tls })
    }

    fn open(&self, endpoint: &Endpoint) -> Result<HttpTransport, TransportError> {
        match endpoint {
            Endpoint::Http(http) => {
                self.check(http)?;
                let headers = headers::configured(&http.headers)?;
                Ok(HttpTransport::new(self.client.clone(), self.options.clone(), http.url.clone(), headers))
            }
            other => Err(unusable(format!("the http transport cannot reach a {} endpoint", other.kind()))),
        }
    }
}

impl Connector for HttpConnector {
    fn supports(&self, endpoint: &Endpoint) -> bool {
        matches!(endpoint, Endpoint::Http(_))
    }

    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
    ) -> BoxFuture<'a, Result<Box<dyn Transport>, TransportError>> {
        async move { Ok(Box::new(self.open(endpoint)?) as Box<dyn Transport>) }.boxed()
    }

    fn health<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        path: &'a str,
    ) -> BoxFuture<'a, Option<Result<u16, TransportError>>> {
        async move {
            match endpoint {
                Endpoint::Http(http) => Some(self.ask_health(http, path).await),
                _ => None,
            }
        }
        .boxed()
    }
}

impl HttpConnector {
    fn check(&self, endpoint: &HttpEndpoint) -> Result<(), TransportError> {
        check_url(endpoint)?;
        match &self.no_tls {
            Some(reason) if endpoint.url.scheme() == "https" => {
                Err(unusable(format!("https needs trusted certificates (package ca-certificates): {reason}")))
            }
            _ => Ok(()),
        }
    }

    /// One GET; the status is the answer and the body is not read.
    async fn ask_health(&self, endpoint: &HttpEndpoint, path: &str) -> Result<u16, TransportError> {
        self.check(endpoint)?;
        let url = health_url(&endpoint.url, path);
        let headers = headers::configured(&endpoint.headers)?.base();
        let origin = url.origin().ascii_serialization();
        let sent = self.client.get(url).headers(headers).send().await;
        let response = sent.map_err(|error| failure::sending(&error, &origin))?;
        let status = response.status().as_u16();
        body::release(response);
        Ok(status)
    }
}

/// The endpoint without a trailing `/` and without a trailing `/mcp`, plus the path (contract §3.5).
fn health_url(endpoint: &Url, path: &str) -> Url {
    let base = endpoint.path().trim_end_matches('/');
    let base = base.strip_suffix("/mcp").unwrap_or(base);
    let mut url = endpoint.clone();
    url.set_path(&format!("{base}/{}", path.trim_start_matches('/')));
    url.set_query(None);
    url.set_fragment(None);
    url
}

impl fmt::Debug for HttpConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpConnector").field("options", &self.options).finish_non_exhaustive()
    }
}

/// A peer that vanished without a word is noticed within 20 s, between requests and while one waits.
fn detect_dead_peers(builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
    let builder = builder
        .tcp_keepalive(Duration::from_secs(10))
        .tcp_keepalive_interval(Duration::from_secs(5))
        .tcp_keepalive_retries(2)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .http2_keep_alive_timeout(Duration::from_secs(10));
    // Probes are not sent while written bytes wait for their acknowledgement; this covers that case.
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    let builder = builder.tcp_user_timeout(Duration::from_secs(20));
    builder
}

fn check_url(endpoint: &HttpEndpoint) -> Result<(), TransportError> {
    let url = &endpoint.url;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(unusable("the URL holds credentials; send them in a header instead"));
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(url) || endpoint.allow_insecure_http => Ok(()),
        "http" => Err(unusable(
            "plain http is allowed to loopback addresses only; use https or set allow_insecure_http",
        )),
        other => Err(unusable(format!("the URL scheme must be http or https, not {other}"))),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn unusable(text: impl Into<Box<str>>) -> TransportError {
    TransportError::new(TransportErrorKind::Endpoint(text.into()), Delivery::NotSent)
}

#[cfg(test)]
mod tests {
    use mcp_transport::StdioEndpoint;

    use super::*;

    fn open(url: &str, insecure: bool) -> Result<HttpTransport, TransportError> {
        let mut endpoint = HttpEndpoint::new(url.parse().unwrap());
        endpoint.allow_insecure_http = insecure;
        HttpConnector::new(HttpOptions::default()).unwrap().open(&Endpoint::Http(endpoint))
    }

    #[test]
    fn unusable_endpoints_are_refused_before_anything_is_sent() {
        for (url, insecure, reason) in [
            ("http://example.com/mcp", false, "allow_insecure_http"),
            ("http://localhost.example.com/mcp", false, "allow_insecure_http"),
            ("http://127.0.0.1.example.com/mcp", false, "allow_insecure_http"),
            ("http://10.0.0.1/mcp", false, "allow_insecure_http"),
            ("http://[::2]/mcp", false, "allow_insecure_http"),
            ("https://user@example.com/mcp", false, "credentials"),
            ("https://:hunter2@example.com/mcp", true, "credentials"),
            ("ftp://example.com/mcp", true, "scheme"),
            ("file:///mcp", true, "scheme"),
        ] {
            let error = open(url, insecure).unwrap_err();
            assert_eq!(error.delivery, Delivery::NotSent, "{url}");
            let TransportErrorKind::Endpoint(text) = error.kind else { panic!("{url}: {error:?}") };
            assert!(text.contains(reason) && !text.contains("hunter2"), "{url}: {text}");
        }
    }

    #[test]
    fn loopback_and_https_are_accepted() {
        for (url, insecure) in [
            ("http://localhost:1/mcp", false),
            ("http://LOCALHOST/", false),
            ("http://127.8.9.1/mcp", false),
            ("http://2130706433/mcp", false), // 127.0.0.1 as one number
            ("http://[::1]:80/mcp", false),
            ("http://example.com/mcp", true),
            ("https://example.com/mcp?key=1", false),
        ] {
            assert!(open(url, insecure).is_ok(), "{url}");
        }
    }

    #[test]
    fn a_program_is_no_http_endpoint() {
        let connector = HttpConnector::new(HttpOptions::default()).unwrap();
        let error = connector.open(&Endpoint::Stdio(StdioEndpoint::new("cat", ["-"]))).unwrap_err();
        assert_eq!(error.to_string(), "the http transport cannot reach a stdio endpoint");
        assert_eq!(error.delivery, Delivery::NotSent);
    }

    #[test]
    fn the_health_path_stands_beside_the_endpoint() {
        for (endpoint, path, expected) in [
            ("https://a.example/mcp", "/health", "https://a.example/health"),
            ("https://a.example/mcp/", "/health", "https://a.example/health"),
            ("https://a.example", "health", "https://a.example/health"),
            ("https://a.example/x/mcp?key=1#f", "/up", "https://a.example/x/up"),
            ("https://a.example/tools", "/health", "https://a.example/tools/health"),
        ] {
            assert_eq!(health_url(&endpoint.parse().unwrap(), path).as_str(), expected);
        }
    }

    #[test]
    fn settings_the_client_refuses_are_an_error() {
        let options = HttpOptions { user_agent: "a\r\nb".into(), ..HttpOptions::default() };
        assert!(matches!(HttpConnector::new(options), Err(ConnectorError::Client(_))));
    }
}
