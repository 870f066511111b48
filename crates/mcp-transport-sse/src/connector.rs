//! Opening connections.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_http_client::failure::unusable;
use mcp_http_client::{ClientPool, ConnectorError, Headers, HttpOptions};
use mcp_transport::{
    Connector, Delivery, Endpoint, Header, SseEndpoint, Transport, TransportError, TransportErrorKind,
};

use crate::inbox::Reader;
use crate::opening::{self, Opened, Reading};
use crate::patience::Patience;
use crate::session::Session;
use crate::transport::SseTransport;

/// Opens connections of the two-endpoint transport. Clones share their clients and what they know of servers.
///
/// `connect` opens the stream and waits until the server has named the URL for messages. If the last stream of
/// the same URL was lost and its server had asked for a wait (`retry:`), it waits that long first, 30 s at
/// most.
#[derive(Debug, Clone)]
pub struct SseConnector {
    pool: ClientPool,
    open_timeout: Duration,
    patience: Arc<Patience>,
}

impl SseConnector {
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
        Self { pool, open_timeout: Duration::from_secs(10), patience: Arc::default() }
    }

    /// Sets how long the server may take to answer with a stream and to name the URL for messages, both
    /// together. Default: 10 s.
    #[must_use]
    pub fn open_timeout(self, limit: Duration) -> Self {
        Self { open_timeout: limit, ..self }
    }

    async fn open(&self, endpoint: &Endpoint, own: &[Header]) -> Result<SseTransport, TransportError> {
        let Endpoint::Sse(endpoint) = endpoint else {
            return Err(unusable(format!("the sse transport cannot reach a {} endpoint", endpoint.kind())));
        };
        let url = &endpoint.http.url;
        let headers = Headers::new(&endpoint.http.headers)?;
        let client = self.pool.get(&endpoint.http)?;
        self.wait(endpoint).await?;
        let options = self.pool.options();
        let to = client.uri().clone();
        let request = opening::request(endpoint.open_method, to, headers.for_message(own)?);
        let reading = Reading { heartbeat: endpoint.heartbeat, max_event_bytes: options.max_event_bytes };
        let Opened { events, messages } =
            opening::open(&client, url, request, reading, self.open_timeout).await?;
        tracing::debug!(origin = client.origin(), messages = messages.path(), "event stream open");
        let reader = Reader {
            events,
            session: Session::new(),
            limits: options.limits,
            patience: Arc::clone(&self.patience),
            url: url.clone(),
            ready: VecDeque::new(),
        };
        Ok(SseTransport::new(client, headers, messages, reader))
    }

    /// Waits until the server wants to hear from us again; not at all if that takes longer than whoever
    /// connects is likely to wait.
    async fn wait(&self, endpoint: &SseEndpoint) -> Result<(), TransportError> {
        let left = self.patience.left(&endpoint.http.url);
        if left > self.open_timeout {
            let text = format!(
                "{} asked not to be connected to for a while (`retry:`), {left:.0?} of which are left",
                endpoint.http.url.origin().ascii_serialization()
            );
            return Err(TransportError::new(TransportErrorKind::Connect(text.into()), Delivery::NotSent));
        }
        if !left.is_zero() {
            tokio::time::sleep(left).await;
        }
        Ok(())
    }
}

impl Connector for SseConnector {
    fn supports(&self, endpoint: &Endpoint) -> bool {
        matches!(endpoint, Endpoint::Sse(_))
    }

    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
    ) -> BoxFuture<'a, Result<Box<dyn Transport>, TransportError>> {
        self.connect_with(endpoint, &[])
    }

    /// The further headers are sent with the request for the stream, and not kept.
    fn connect_with<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        headers: &'a [Header],
    ) -> BoxFuture<'a, Result<Box<dyn Transport>, TransportError>> {
        async move { Ok(Box::new(self.open(endpoint, headers).await?) as Box<dyn Transport>) }.boxed()
    }

    fn health<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        path: &'a str,
    ) -> BoxFuture<'a, Option<Result<u16, TransportError>>> {
        async move {
            match endpoint {
                // Where contract §3.5 has `/mcp`, servers of this transport have `/sse`.
                Endpoint::Sse(sse) => Some(self.pool.health(&sse.http, "/sse", path).await),
                _ => None,
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use mcp_transport::StdioEndpoint;

    use super::*;

    #[tokio::test]
    async fn a_program_is_no_event_stream() {
        let connector = SseConnector::new(HttpOptions::default()).unwrap();
        let endpoint = Endpoint::Stdio(StdioEndpoint::new("cat", ["-"]));
        assert!(!connector.supports(&endpoint));
        let error = connector.open(&endpoint, &[]).await.unwrap_err();
        assert_eq!(error.to_string(), "the sse transport cannot reach a stdio endpoint");
        assert_eq!(error.delivery, Delivery::NotSent);
        assert_eq!(connector.health(&endpoint, "/health").await, None);
    }
}
