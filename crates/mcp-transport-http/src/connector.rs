//! Opening connections: endpoints checked first, then a client from the pool.

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_transport::{
    Connector, Delivery, Endpoint, HttpEndpoint, Transport, TransportError, TransportErrorKind,
};
use url::{Host, Url};

use crate::client::Lane;
use crate::headers;
use crate::options::HttpOptions;
use crate::pool::{ClientPool, ConnectorError};
use crate::transport::HttpTransport;

/// Opens Streamable HTTP connections; those to the same URL share a client of the pool.
///
/// Sockets are opened when the first message is sent, so `connect` fails only on an unusable endpoint.
#[derive(Debug, Clone)]
pub struct HttpConnector {
    pool: ClientPool,
}

impl HttpConnector {
    /// A connector with a pool of its own.
    ///
    /// # Errors
    /// [`ConnectorError`] if TLS or the HTTP client cannot be set up.
    pub fn new(options: HttpOptions) -> Result<Self, ConnectorError> {
        ClientPool::new(options).map(Self::with_pool)
    }

    /// A connector that takes its clients from this pool.
    #[must_use]
    pub fn with_pool(pool: ClientPool) -> Self {
        Self { pool }
    }

    /// The pool its clients come from.
    #[must_use]
    pub fn pool(&self) -> &ClientPool {
        &self.pool
    }

    fn open(&self, endpoint: &Endpoint) -> Result<HttpTransport, TransportError> {
        match endpoint {
            Endpoint::Http(http) => {
                check_url(http)?;
                let headers = headers::configured(&http.headers)?;
                let client = self.pool.get(&http.url)?;
                Ok(HttpTransport::new(client, self.pool.options().clone(), http.url.clone(), headers))
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
    /// One GET; the status is the answer and the body is not read.
    async fn ask_health(&self, endpoint: &HttpEndpoint, path: &str) -> Result<u16, TransportError> {
        check_url(endpoint)?;
        let client = self.pool.get(&endpoint.url)?;
        let url = health_url(&endpoint.url, path);
        let headers = headers::configured(&endpoint.headers)?.base();
        let origin = url.origin().ascii_serialization();
        let place = client.place(Lane::Control, None).await?;
        let answer = place.send(|http| http.get(url).headers(headers), &origin).await?;
        let status = answer.status().as_u16();
        answer.release();
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
