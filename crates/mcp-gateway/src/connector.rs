//! One connector for every transport.

use futures::future::BoxFuture;
use mcp_registry::Policy;
use mcp_transport::{Connector, Endpoint, Transport, TransportError, TransportKind};
use mcp_transport_http::{ConnectorError, HttpConnector, HttpOptions};
use mcp_transport_stdio::{StdioConnector, StdioOptions};

/// `mcp-gateway/VERSION`, as product §5 wants it.
const USER_AGENT: &str = concat!("mcp-gateway/", env!("CARGO_PKG_VERSION"));

/// Opens whatever transport an endpoint needs.
pub(crate) struct AnyConnector {
    stdio: StdioConnector,
    http: HttpConnector,
}

impl AnyConnector {
    /// Connectors with the limits of a policy.
    pub(crate) fn new(policy: &Policy) -> Result<Self, ConnectorError> {
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
            pool_max_idle_per_host: policy.pool_max_idle,
            pool_idle_timeout: policy.pool_idle_timeout,
            ..HttpOptions::default()
        };
        Ok(Self { stdio: StdioConnector::new(stdio), http: HttpConnector::new(http)? })
    }

    fn of(&self, endpoint: &Endpoint) -> &dyn Connector {
        match endpoint.kind() {
            TransportKind::Stdio => &self.stdio,
            _ => &self.http,
        }
    }
}

impl Connector for AnyConnector {
    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
    ) -> BoxFuture<'a, Result<Box<dyn Transport>, TransportError>> {
        self.of(endpoint).connect(endpoint)
    }

    fn health<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        path: &'a str,
    ) -> BoxFuture<'a, Option<Result<u16, TransportError>>> {
        self.of(endpoint).health(endpoint, path)
    }
}
