//! How the clients of one server are made, and made anew when certificate files have changed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use mcp_transport::{HttpEndpoint, TlsSettings, TransportError};
use reqwest::dns::Resolve;
use reqwest::{Proxy, redirect};
use tokio::time::Instant;
use url::Url;

use crate::address::{AddressPolicy, Resolver};
use crate::failure::unusable;
use crate::options::HttpOptions;
use crate::tls;

/// How often certificate files are looked at.
const FILES_EVERY: Duration = Duration::from_secs(10);

/// What all clients of a pool have in common.
pub(crate) struct Settings {
    pub(crate) options: Arc<HttpOptions>,
    pub(crate) policy: Arc<AddressPolicy>,
    pub(crate) names: Arc<dyn Resolve>,
    /// Without settings of a server.
    pub(crate) tls: rustls::ClientConfig,
    /// Why no server can be verified, if so.
    pub(crate) no_tls: Option<Box<str>>,
}

/// The clients of one server.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    pub(crate) mcp: reqwest::Client,
    /// For the token endpoint, which is another server: it gets neither our certificate nor the trust of
    /// `danger_skip_verify`.
    pub(crate) tokens: Option<reqwest::Client>,
}

impl Settings {
    /// Makes the clients of an endpoint. Reads certificate files.
    pub(crate) fn clients(&self, endpoint: &HttpEndpoint) -> Result<Clients, TransportError> {
        let TlsSettings { ca_file, .. } = &endpoint.tls;
        let for_tokens = TlsSettings { ca_file: ca_file.clone(), ..TlsSettings::default() };
        let proxy = endpoint.proxy.as_ref();
        let mcp = self.client(&endpoint.tls, proxy, endpoint.url.scheme() == "https")?;
        let tokens = match &endpoint.auth {
            None => None,
            Some(_) if for_tokens == endpoint.tls => Some(mcp.clone()),
            Some(_) => Some(self.client(&for_tokens, proxy, false)?),
        };
        Ok(Clients { mcp, tokens })
    }

    fn client(
        &self,
        tls: &TlsSettings,
        proxy: Option<&Url>,
        secure: bool,
    ) -> Result<reqwest::Client, TransportError> {
        let config = if *tls == TlsSettings::default() {
            if let Some(reason) = self.no_tls.as_ref().filter(|_| secure) {
                return Err(tls::no_roots(reason));
            }
            self.tls.clone()
        } else {
            tls::config_for(tls)?
        };
        self.build(config, proxy).map_err(|_| unusable("the HTTP client cannot be set up"))
    }

    /// A client with a TLS configuration and perhaps a proxy.
    pub(crate) fn build(
        &self,
        tls: rustls::ClientConfig,
        proxy: Option<&Url>,
    ) -> reqwest::Result<reqwest::Client> {
        let options = &self.options;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(&options.user_agent)
            // Credentials belong to an origin: they follow neither a redirect nor a proxy of the environment.
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .dns_resolver(Resolver { policy: self.policy.clone(), names: self.names.clone() })
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
        if let Some(proxy) = proxy {
            builder = builder.proxy(Proxy::all(proxy.clone())?);
        }
        detect_dead_peers(builder).build()
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
    pub(crate) fn read(&self, settings: &Settings) -> Option<Clients> {
        let made = settings.clients(&self.endpoint);
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
