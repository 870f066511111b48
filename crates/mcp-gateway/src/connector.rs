//! The built-in transports.

use std::sync::Arc;

use mcp_registry::Policy;
use mcp_transport::Connectors;
use mcp_transport_http::{ConnectorError, HttpConnector, HttpOptions};
use mcp_transport_stdio::{StdioConnector, StdioOptions};

/// `mcp-gateway/VERSION`, as product §5 wants it.
const USER_AGENT: &str = concat!("mcp-gateway/", env!("CARGO_PKG_VERSION"));

/// Connectors with the limits of a policy.
pub(crate) fn built_in(policy: &Policy) -> Result<Connectors, ConnectorError> {
    let limits = mcp_protocol::Limits::default();
    let stdio = StdioOptions {
        limits: limits.with_max_bytes(policy.max_message_bytes),
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
    Ok(Connectors::new()
        .with("stdio", Arc::new(StdioConnector::new(stdio)))
        .with("http", Arc::new(HttpConnector::new(http)?)))
}
