//! How the clients of one server are made, and made anew when certificate files have changed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::header::HeaderValue;
use mcp_transport::{HttpEndpoint, TlsSettings, TransportError};
use reqwest::{Proxy, redirect};
use tokio::time::Instant;
use tower::util::MapResponseLayer;
use url::Url;

use crate::address::Resolver;
use crate::carrier::Carrier;
use crate::connections::Connections;
use crate::direct::Direct;
use crate::endpoint::to_uri;
use crate::failure::unusable;
use crate::options::HttpOptions;
use crate::tls;

/// How often certificate files are looked at.
const FILES_EVERY: Duration = Duration::from_secs(10);

/// Most header fields of an answer over HTTP/1.1.
pub(crate) const MAX_HEADERS: usize = 100;

/// Most bytes of the header fields of an answer over HTTP/2.
pub(crate) const MAX_HEADER_LIST: u32 = 32 << 10;

// A peer that vanished without a word is noticed within 20 s, between requests and while one waits.

/// The silence after which the system asks a peer whether it is there, how long it waits between questions, and
/// how many it leaves unanswered.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(10);
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
pub(crate) const KEEPALIVE_RETRIES: u32 = 2;

/// How long written bytes may wait for their acknowledgement, during which no such question is asked.
#[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
pub(crate) const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// The same question of HTTP/2, and how long its answer may take.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(10);
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// What all clients of a pool have in common.
pub(crate) struct Settings {
    pub(crate) options: Arc<HttpOptions>,
    pub(crate) user_agent: HeaderValue,
    pub(crate) resolver: Resolver,
    /// Without settings of a server.
    pub(crate) tls: rustls::ClientConfig,
    /// Why no server can be verified, if so.
    pub(crate) no_tls: Option<Box<str>>,
}

/// The clients of one server.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) mcp: Carrier,
    /// For the token endpoint, which is another server: it gets neither our certificate nor the trust of
    /// `danger_skip_verify`.
    pub(crate) tokens: Option<reqwest::Client>,
}

impl Settings {
    /// Makes the clients of an endpoint. Reads certificate files.
    pub(crate) fn clients(
        &self,
        endpoint: &HttpEndpoint,
        connections: &Connections,
    ) -> Result<Clients, TransportError> {
        let TlsSettings { ca_file, .. } = &endpoint.tls;
        let for_tokens = TlsSettings { ca_file: ca_file.clone(), ..TlsSettings::default() };
        let proxy = endpoint.proxy.as_ref();
        let tls = self.tls(&endpoint.tls, endpoint.url.scheme() == "https")?;
        let tokens = match &endpoint.auth {
            None => None,
            Some(_) if for_tokens == endpoint.tls => Some(tls.clone()),
            Some(_) => Some(self.tls(&for_tokens, false)?),
        };
        // Connections to the token endpoint are not counted.
        let tokens = tokens.map(|tls| self.build(tls, proxy, None)).transpose()?;
        let mcp = match proxy {
            None => {
                let home = to_uri(&endpoint.url)?;
                Carrier::Direct(Box::new(Direct::new(self, home, tls, connections.clone())))
            }
            Some(_) => Carrier::Proxied(self.build(tls, proxy, Some(connections))?),
        };
        Ok(Clients { mcp, tokens })
    }

    fn tls(&self, settings: &TlsSettings, secure: bool) -> Result<rustls::ClientConfig, TransportError> {
        if *settings != TlsSettings::default() {
            return tls::config_for(settings);
        }
        match self.no_tls.as_ref().filter(|_| secure) {
            Some(reason) => Err(tls::no_roots(reason)),
            None => Ok(self.tls.clone()),
        }
    }

    /// A client of `reqwest`, perhaps with a proxy.
    fn build(
        &self,
        tls: rustls::ClientConfig,
        proxy: Option<&Url>,
        connections: Option<&Connections>,
    ) -> Result<reqwest::Client, TransportError> {
        let options = &self.options;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(self.user_agent.clone())
            // Credentials belong to an origin: they follow neither a redirect nor a proxy of the environment.
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .dns_resolver(self.resolver.clone())
            // Decompression would hide the size of what a peer sends.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .connect_timeout(options.connect_timeout)
            .pool_max_idle_per_host(max_idle(options))
            .pool_idle_timeout(options.pool_idle_timeout)
            .http1_max_headers(MAX_HEADERS)
            .http2_max_header_list_size(MAX_HEADER_LIST)
            .tcp_keepalive(KEEPALIVE)
            .tcp_keepalive_interval(KEEPALIVE_INTERVAL)
            .tcp_keepalive_retries(KEEPALIVE_RETRIES)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT);
        #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
        {
            builder = builder.tcp_user_timeout(UNACKNOWLEDGED);
        }
        if let Some(connections) = connections.cloned() {
            builder = builder.connector_layer(MapResponseLayer::new(move |connection| {
                connections.opened();
                connection
            }));
        }
        let failed = |_| unusable("the HTTP client cannot be set up");
        if let Some(proxy) = proxy {
            builder = builder.proxy(Proxy::all(proxy.clone()).map_err(failed)?);
        }
        builder.build().map_err(failed)
    }
}

/// Idle connections kept.
pub(crate) fn max_idle(options: &HttpOptions) -> usize {
    options.pool_max_idle.min(options.pool_max_connections)
}

/// The certificate files of a server, and what they were like when they were read.
#[derive(Debug)]
pub(crate) struct Files {
    endpoint: HttpEndpoint,
    state: Mutex<FileState>,
}

#[derive(Debug)]
struct FileState {
    looked: Instant,
    stamps: Vec<Stamp>,
}

/// What changes when a file is written or replaced; `None` for one that cannot be looked at.
type Stamp = Option<(SystemTime, u64)>;

impl Files {
    /// `None` if the endpoint has no such files. Call it before they are read.
    pub(crate) fn of(endpoint: &HttpEndpoint) -> Option<Self> {
        let stamps = stamps(&endpoint.tls);
        let state = Mutex::new(FileState { looked: Instant::now(), stamps });
        paths(&endpoint.tls).next().is_some().then(|| Self { endpoint: endpoint.clone(), state })
    }

    /// Whether it is time to look and the files have changed. It says so once: whoever asks makes the clients.
    pub(crate) fn changed(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() < FILES_EVERY {
            return false;
        }
        state.looked = Instant::now();
        let found = stamps(&self.endpoint.tls);
        let changed = found != state.stamps;
        state.stamps = found;
        changed
    }

    /// New clients. Files that cannot be used give none: somebody may be about to write them.
    pub(crate) fn read(&self, settings: &Settings, connections: &Connections) -> Option<Clients> {
        let made = settings.clients(&self.endpoint, connections);
        made.inspect_err(|error| tracing::warn!(%error, "changed certificate files are not used")).ok()
    }
}

fn paths(tls: &TlsSettings) -> impl Iterator<Item = &PathBuf> {
    [&tls.ca_file, &tls.cert_file, &tls.key_file].into_iter().flatten()
}

fn stamps(tls: &TlsSettings) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    paths(tls).map(stamp).collect()
}
