//! The built-in transports.

use std::sync::Arc;

use mcp_protocol::Limits;
use mcp_registry::Policy;
use mcp_transport::Connectors;
use mcp_transport_http::{ClientPool, ConnectorError, HttpConnector, HttpOptions};
use mcp_transport_sse::SseConnector;
use mcp_transport_stdio::{StdioConnector, StdioOptions};

/// What HTTP servers are told we are.
const USER_AGENT: &str = concat!("mcp-clients/", env!("CARGO_PKG_VERSION"));

/// Share of the limit of a handshake after which an event stream that does not open is given up: its error,
/// which says what was missing, comes before that of the handshake.
const OPENING: f64 = 0.9;

/// Connectors with the limits of a policy.
pub(crate) fn connector(policy: &Policy) -> Result<Connectors, ConnectorError> {
    let stdio = StdioOptions {
        limits: Limits::default().with_max_bytes(policy.max_message_bytes),
        close_stdin: policy.process_stop_timeout.min(StdioOptions::default().close_stdin),
        terminate: policy.process_stop_timeout,
        ..StdioOptions::default()
    };
    let http = HttpOptions {
        user_agent: USER_AGENT.into(),
        max_event_bytes: policy.max_message_bytes,
        pool_max_connections: policy.pool_max_connections,
        pool_max_idle: policy.pool_max_idle,
        pool_idle_timeout: policy.pool_idle_timeout,
        ..HttpOptions::default()
    };
    let pool = ClientPool::new(http)?;
    let sse = SseConnector::with_pool(pool.clone()).open_timeout(policy.handshake_timeout.mul_f64(OPENING));
    Ok(Connectors::new()
        .with("stdio", Arc::new(StdioConnector::new(stdio)))
        .with("http", Arc::new(HttpConnector::with_pool(pool)))
        .with("sse", Arc::new(sse)))
}
