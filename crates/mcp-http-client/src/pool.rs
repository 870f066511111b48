//! One HTTP client for each server.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::{HeaderValue, InvalidHeaderValue};
use mcp_transport::{HttpEndpoint, TransportError};
use reqwest::dns::Resolve;
use tokio::time::Instant;
use url::Url;

use crate::address::{AddressPolicy, Resolver, SystemNames};
use crate::build::Settings;
use crate::client::HttpClient;
use crate::endpoint::{self, without_fragment};
use crate::options::HttpOptions;
use crate::stats::ClientStats;
use crate::tls;
use crate::tokens::Tokens;

/// HTTP clients by server, each with connections of its own. Clones share them.
///
/// A client that nobody holds is dropped by the first [`get`](Self::get), of whatever endpoint, after
/// [`pool_idle_timeout`](HttpOptions::pool_idle_timeout) has passed since it was last seen in use; until then it
/// is no more than an entry, as its idle connections are closed after that time in any case. Source: contract §8.1.
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
    settings: Arc<Settings>,
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
    /// The client cannot have its settings: the `User-Agent` is no header value.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] InvalidHeaderValue),
}

impl ClientPool {
    /// A pool without clients, whose clients will have these settings.
    ///
    /// # Errors
    /// [`ConnectorError`] if TLS or a client cannot be set up.
    pub fn new(options: HttpOptions) -> Result<Self, ConnectorError> {
        Self::with_resolver(options, Arc::new(SystemNames))
    }

    /// The same, with something else than the operating system to look names up. Addresses that may not be
    /// reached are left out of what it finds.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_resolver(options: HttpOptions, names: Arc<dyn Resolve>) -> Result<Self, ConnectorError> {
        let (tls, problem) = tls::client_config().map_err(ConnectorError::Tls)?;
        let policy = Arc::new(AddressPolicy::new(options.networks.clone()));
        let no_tls = problem.map(|error| error.to_string().into());
        let user_agent = HeaderValue::from_str(&options.user_agent).map_err(ConnectorError::Client)?;
        let resolver = Resolver { policy, names };
        let settings = Settings { options: Arc::new(options), user_agent, resolver, tls, no_tls };
        Ok(Self(Arc::new(Shared { settings: Arc::new(settings), clients: Mutex::default() })))
    }

    /// The client of an endpoint: the one there is, or a new one. Of concurrent first calls one makes it.
    ///
    /// Endpoints have the same client if their URLs are the same when parsed, whatever their fragment, and so
    /// are the authorization, the TLS settings and the proxy. Of the URL the case of the scheme and host, a
    /// default port or a missing `/` of a bare host make no difference; the query does.
    ///
    /// # Errors
    /// [`Endpoint`](mcp_transport::TransportErrorKind::Endpoint) if the URL may not be used (credentials in it,
    /// plain http, another scheme, a refused address), if certificate files, the proxy or the authorization
    /// cannot be used, and for `https` on a machine without trusted certificates.
    pub fn get(&self, endpoint: &HttpEndpoint) -> Result<HttpClient, TransportError> {
        let settings = &self.0.settings;
        let policy = &settings.resolver.policy;
        endpoint::check(endpoint, policy)?;
        if endpoint.tls.danger_skip_verify {
            let origin = endpoint.url.origin().ascii_serialization();
            tracing::warn!(
                origin,
                "certificates are not verified: anybody on the way can read and change all"
            );
        }
        let tokens = Tokens::of(endpoint, policy)?;
        let endpoint = shape(endpoint);
        let now = Instant::now();
        let mut clients = self.lock();
        self.drop_unused(&mut clients, now);
        if let Some(entry) = clients.iter_mut().find(|entry| entry.endpoint == endpoint) {
            entry.used = now;
            return Ok(entry.client.clone());
        }
        let client = HttpClient::new(settings.clone(), &endpoint, tokens)?;
        clients.push(Entry { endpoint, client: client.clone(), used: now });
        Ok(client)
    }

    /// What the clients are doing, by the origin of their server.
    #[must_use]
    pub fn stats(&self) -> Vec<(String, ClientStats)> {
        let clients = self.lock();
        clients.iter().map(|Entry { client, .. }| (client.origin().to_owned(), client.stats())).collect()
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
        &self.0.settings.options
    }

    fn drop_unused(&self, clients: &mut Vec<Entry>, now: Instant) {
        // A client that only the map has cannot come into use while the map is locked.
        clients.retain_mut(|entry| {
            if !entry.client.is_unused() {
                entry.used = now;
            }
            now.saturating_duration_since(entry.used) < self.options().pool_idle_timeout
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
        f.debug_struct("ClientPool")
            .field("options", self.options())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_the_client_refuses_are_an_error() {
        let options = HttpOptions { user_agent: "a\r\nb".into(), ..HttpOptions::default() };
        assert!(matches!(ClientPool::new(options), Err(ConnectorError::Client(_))));
    }
}
