//! What can be set, with its defaults.

use std::time::Duration;

use mcp_protocol::Limits;

/// Settings of an [`HttpConnector`](crate::HttpConnector), shared by all its connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpOptions {
    /// The `User-Agent` header. Default: `mcp-gateway/` and the version of this crate.
    pub user_agent: String,
    /// Longest wait for name resolution, TCP and TLS together. Default: 5 s.
    pub connect_timeout: Duration,
    /// Bounds of one message; `max_bytes` also bounds a JSON answer's body. Default: [`Limits::default`],
    /// 16 MiB.
    pub limits: Limits,
    /// Largest event of an event stream in bytes, comments and field names included. A larger one is
    /// skipped and reported. Default: 4 MiB.
    pub max_event_bytes: usize,
    /// Most bytes read of the body of an answer with an error status. Default: 64 KiB.
    pub max_error_bytes: usize,
    /// Most idle connections kept per origin. Default: 5.
    pub pool_max_idle_per_host: usize,
    /// How long an idle connection is kept. Default: 90 s.
    pub pool_idle_timeout: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            user_agent: concat!("mcp-gateway/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(5),
            limits: Limits::default(),
            max_event_bytes: 4 << 20,
            max_error_bytes: 64 << 10,
            pool_max_idle_per_host: 64,
            pool_idle_timeout: Duration::from_secs(90),
        }
    }
}
