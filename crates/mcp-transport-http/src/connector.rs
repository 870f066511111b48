//! Opening connections: endpoints checked first, then a client from the pool.

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_http_client::failure::unusable;
use mcp_http_client::{ClientPool, ConnectorError, Headers, HttpOptions};
use mcp_transport::{Connector, Endpoint, Transport, TransportError};

use crate::transport::HttpTransport;
use crate::wire::Wire;

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
                let headers = Headers::new(&http.headers)?;
                let client = self.pool.get(http)?;
                let options = self.pool.options().clone();
                Ok(HttpTransport::new(Wire { client, options, headers }))
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
                Endpoint::Http(http) => Some(self.pool.health(http, "/mcp", path).await),
                _ => None,
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use mcp_transport::{Delivery, StdioEndpoint};

    use super::*;

    #[test]
    fn a_program_is_no_http_endpoint() {
        let connector = HttpConnector::new(HttpOptions::default()).unwrap();
        let error = connector.open(&Endpoint::Stdio(StdioEndpoint::new("cat", ["-"]))).unwrap_err();
        assert_eq!(error.to_string(), "the http transport cannot reach a stdio endpoint");
        assert_eq!(error.delivery, Delivery::NotSent);
    }
}
