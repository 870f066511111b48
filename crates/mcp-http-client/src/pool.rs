//! One HTTP client for each server.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mcp_transport::{HttpEndpoint, TransportError};
use reqwest::redirect;
use tokio::time::Instant;
use url::Url;

use crate::client::HttpClient;
use crate::endpoint;
use crate::failure::unusable;
use crate::options::HttpOptions;
use crate::tls;

/// HTTP clients by server, each with connections of its own. Clones share them.
///
/// A client that nobody holds is dropped once [`pool_idle_timeout`](HttpOptions::pool_idle_timeout) has
/// passed, when its idle connections are closed in any case. Source: contract §8.1.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use mcp_http_client::{ClientPool, HttpOptions};
/// use mcp_transport::HttpEndpoint;
///
/// let pool = ClientPool::new(HttpOptions::default())?;
/// let client = pool.get(&HttpEndpoint::new("http://127.0.0.1:3000".parse()?))?;
/// assert_eq!(client, pool.get(&HttpEndpoint::new("HTTP://127.0.0.1:3000/".parse()?))?);
/// pool.close_all();
/// assert!(client.is_closed() && pool.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ClientPool(Arc<Shared>);

struct Shared {
    options: Arc<HttpOptions>,
    tls: rustls::ClientConfig,
    /// Why no server can be verified, if so.
    no_tls: Option<Box<str>>,
    clients: Mutex<Vec<Entry>>,
}

struct Entry {
    /// What the client was made for: see [`shape`].
    endpoint: HttpEndpoint,
    client: HttpClient,
    /// When somebody was last seen to hold the client.
    used: Instant,
}

/// Why a [`ClientPool`] could not be built.
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

impl ClientPool {
    /// A pool without clients, whose clients will have these settings.
    ///
    /// # Errors
    /// [`ConnectorError`] if TLS or a client cannot be set up.
    pub fn new(options: HttpOptions) -> Result<Self, ConnectorError> {
        let (tls, problem) = tls::client_config().map_err(ConnectorError::Tls)?;
        // Whatever is wrong with the settings should be known now and not at the first server.
        build(&options, tls.clone()).map_err(ConnectorError::Client)?;
        Ok(Self(Arc::new(Shared {
            options: Arc::new(options),
            tls,
            no_tls: problem.map(|error| error.to_string().into()),
            clients: Mutex::default(),
        })))
    }

    /// The client of an endpoint: the one there is, or a new one. Of concurrent first calls one makes it.
    ///
    /// Endpoints have the same client if their URLs are the same when parsed, whatever their fragment, and so
    /// are the authorization, the TLS settings and the proxy. Of the URL the case of the scheme and host, a
    /// default port or a missing `/` of a bare host make no difference; the query does.
    ///
    /// # Errors
    /// [`Endpoint`](mcp_transport::TransportErrorKind::Endpoint) if the URL may not be used (credentials in it,
    /// plain http, another scheme), if the client cannot be made, and for `https` on a machine without trusted
    /// certificates.
    pub fn get(&self, endpoint: &HttpEndpoint) -> Result<HttpClient, TransportError> {
        endpoint::check(endpoint)?;
        if let Some(reason) = self.0.no_tls.as_ref().filter(|_| endpoint.url.scheme() == "https") {
            return Err(unusable(format!(
                "https needs trusted certificates (package ca-certificates): {reason}"
            )));
        }
        let endpoint = shape(endpoint);
        let now = Instant::now();
        let mut clients = self.lock();
        self.drop_unused(&mut clients, now);
        if let Some(entry) = clients.iter_mut().find(|entry| entry.endpoint == endpoint) {
            entry.used = now;
            return Ok(entry.client.clone());
        }
        let http = build(&self.0.options, self.0.tls.clone())
            .map_err(|_| unusable("the HTTP client cannot be set up"))?;
        let origin = endpoint.url.origin().ascii_serialization();
        let client = HttpClient::new(http, origin, self.0.options.pool_max_connections);
        clients.push(Entry { endpoint, client: client.clone(), used: now });
        Ok(client)
    }

    /// Closes the clients of a URL, if there are any: nothing is sent on them any more, their idle connections
    /// are closed, and exchanges under way go on to their end. The next [`get`](Self::get) makes a new one.
    pub fn close(&self, url: &Url) {
        let url = without_fragment(url);
        let closed: Vec<_> = self.lock().extract_if(.., |entry| entry.endpoint.url == url).collect();
        for entry in closed {
            entry.client.close();
        }
    }

    /// Closes all clients, as [`close`](Self::close) does.
    pub fn close_all(&self) {
        let clients = std::mem::take(&mut *self.lock());
        for entry in clients {
            entry.client.close();
        }
    }

    /// How many clients there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// The settings its clients have.
    #[must_use]
    pub fn options(&self) -> &Arc<HttpOptions> {
        &self.0.options
    }

    fn drop_unused(&self, clients: &mut Vec<Entry>, now: Instant) {
        // A client that only the map has cannot come into use while the map is locked.
        clients.retain_mut(|entry| {
            if !entry.client.is_unused() {
                entry.used = now;
            }
            now.saturating_duration_since(entry.used) < self.0.options.pool_idle_timeout
        });
    }

    /// No code panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without the URLs, whose path and query may hold a key.
impl fmt::Debug for ClientPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { options, .. } = &*self.0;
        f.debug_struct("ClientPool")
            .field("options", options)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// What shapes a client, and nothing else: headers are given with each request.
fn shape(endpoint: &HttpEndpoint) -> HttpEndpoint {
    let HttpEndpoint { url, headers: _, allow_insecure_http: _, auth, tls, proxy } = endpoint;
    let mut shape = HttpEndpoint::new(without_fragment(url));
    (shape.auth, shape.tls, shape.proxy) = (auth.clone(), tls.clone(), proxy.clone());
    shape
}

fn without_fragment(url: &Url) -> Url {
    let mut url = url.clone();
    url.set_fragment(None);
    url
}

fn build(options: &HttpOptions, tls: rustls::ClientConfig) -> reqwest::Result<reqwest::Client> {
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
        .pool_max_idle_per_host(options.pool_max_idle.min(options.pool_max_connections))
        .pool_idle_timeout(options.pool_idle_timeout)
        .http1_max_headers(100)
        .http2_max_header_list_size(32 << 10);
    detect_dead_peers(builder).build()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_the_client_refuses_are_an_error() {
        let options = HttpOptions { user_agent: "a\r\nb".into(), ..HttpOptions::default() };
        assert!(matches!(ClientPool::new(options), Err(ConnectorError::Client(_))));
    }
}
