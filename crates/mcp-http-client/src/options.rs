//! What can be set, with its defaults.

use std::time::Duration;

use ipnet::IpNet;
use mcp_protocol::Limits;

/// Settings of a [`ClientPool`](crate::ClientPool) and the transports that use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpOptions {
    /// The `User-Agent` header. Default: `mcp-gateway/` and the version of this crate.
    pub user_agent: String,
    /// Longest wait for name resolution, TCP and TLS together. Default: 5 s.
    pub connect_timeout: Duration,
    /// Bounds of one message; `max_bytes` also bounds a JSON answer's body. Default: [`Limits::default`],
    /// 16 MiB.
    pub limits: Limits,
    /// Largest event of an event stream in bytes, field names and the comments in it included. A larger one,
    /// or one of more than 10 000 lines, is skipped and reported. Default: 4 MiB.
    pub max_event_bytes: usize,
    /// Most bytes read of the body of an answer with an error status. Default: 64 KiB.
    pub max_error_bytes: usize,
    /// Most calls under way at once to one server URL, each with a connection of its own over HTTP/1.1; at
    /// least 1. More calls wait for their turn, first come first served; one that is not served in its time
    /// fails with [`Busy`](mcp_transport::TransportErrorKind::Busy). Handshakes, probes, cancellations and
    /// other short messages do not wait for calls; up to 16 of them are under way besides, and up to 256 event
    /// streams that belong to no call. A response stream counts for as long as it is open. Default: 256.
    pub pool_max_connections: usize,
    /// Most idle connections kept per server URL. Default: 64.
    pub pool_max_idle: usize,
    /// How long an idle connection is kept. Default: 90 s.
    pub pool_idle_timeout: Duration,
    /// The networks that may be reached, after names were looked up; empty: all. Link-local and cloud metadata
    /// addresses are refused in any case, and so are those of no single host. Default: empty.
    pub networks: Vec<IpNet>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            user_agent: concat!("mcp-gateway/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(5),
            limits: Limits::default(),
            max_event_bytes: 4 << 20,
            max_error_bytes: 64 << 10,
            pool_max_connections: 256,
            pool_max_idle: 64,
            pool_idle_timeout: Duration::from_secs(90),
            networks: Vec::new(),
        }
    }
}
