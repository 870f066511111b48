//! Several connectors as one.

use std::fmt;
use std::sync::Arc;

use futures::future::{self, BoxFuture};

use crate::endpoint::Endpoint;
use crate::error::{Delivery, TransportError, TransportErrorKind};
use crate::transport::{Connector, Header, Transport};

/// An ordered set of connectors: the first one that [supports](Connector::supports) an endpoint serves it.
///
/// Resolution goes from the special to the general, so an adapter comes first, then a transport somebody
/// supplied, then the built-in ones. Source: contract §3.7.
///
/// ```
/// use std::sync::Arc;
/// use mcp_transport::{Connector, Connectors};
///
/// fn with_built_in(own: Arc<dyn Connector>, built_in: Connectors) -> Connectors {
///     Connectors::new().with("own", own).with("built-in", Arc::new(built_in))
/// }
/// ```
#[derive(Clone, Default)]
pub struct Connectors(Vec<(&'static str, Arc<dyn Connector>)>);

impl Connectors {
    /// A set that supports nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a connector that is asked after those before it. Errors show its `name`.
    #[must_use]
    pub fn with(mut self, name: &'static str, connector: Arc<dyn Connector>) -> Self {
        self.0.push((name, connector));
        self
    }

    fn find(&self, endpoint: &Endpoint) -> Option<&dyn Connector> {
        self.0.iter().map(|(_, connector)| &**connector).find(|connector| connector.supports(endpoint))
    }

    fn unsupported(&self, endpoint: &Endpoint) -> TransportError {
        let names: Vec<_> = self.0.iter().map(|(name, _)| *name).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let kind = endpoint.kind();
        let text = format!("no transport can reach this {kind} endpoint; there is: {names}");
        TransportError::new(TransportErrorKind::Endpoint(text.into()), Delivery::NotSent)
    }
}

impl Connector for Connectors {
    /// Whether any of them does.
    fn supports(&self, endpoint: &Endpoint) -> bool {
        self.find(endpoint).is_some()
    }

    fn session_controls(&self, endpoint: &Endpoint) -> bool {
        self.find(endpoint).is_some_and(|connector| connector.session_controls(endpoint))
    }

    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
    ) -> BoxFuture<'a, Result<Box<dyn Transport>, TransportError>> {
        self.connect_with(endpoint, &[])
    }

    fn connect_with<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        headers: &'a [Header],
    ) -> BoxFuture<'a, Result<Box<dyn Transport>, TransportError>> {
        match self.find(endpoint) {
            Some(connector) => connector.connect_with(endpoint, headers),
            None => Box::pin(future::ready(Err(self.unsupported(endpoint)))),
        }
    }

    fn health<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        path: &'a str,
    ) -> BoxFuture<'a, Option<Result<u16, TransportError>>> {
        match self.find(endpoint) {
            Some(connector) => connector.health(endpoint, path),
            None => Box::pin(future::ready(endpoint.url().map(|_| Err(self.unsupported(endpoint))))),
        }
    }
}

impl fmt::Debug for Connectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::endpoint::{HttpEndpoint, StdioEndpoint, TransportKind};

    /// Supports one kind of endpoint, and says who it is wherever it is asked.
    struct Named {
        kind: TransportKind,
        name: &'static str,
        status: u16,
        session_controls: bool,
    }

    impl Connector for Named {
        fn supports(&self, endpoint: &Endpoint) -> bool {
            endpoint.kind() == self.kind
        }

        fn session_controls(&self, _: &Endpoint) -> bool {
            self.session_controls
        }

        fn connect<'a>(
            &'a self,
            _: &'a Endpoint,
        ) -> BoxFuture<'a, Result<Box<dyn Transport>, TransportError>> {
            let kind = TransportErrorKind::Connect(self.name.into());
            future::ready(Err(TransportError::new(kind, Delivery::NotSent))).boxed()
        }

        fn health<'a>(
            &'a self,
            _: &'a Endpoint,
            _: &'a str,
        ) -> BoxFuture<'a, Option<Result<u16, TransportError>>> {
            future::ready(Some(Ok(self.status))).boxed()
        }
    }

    fn named(kind: TransportKind, name: &'static str, status: u16, session_controls: bool) -> Arc<Named> {
        Arc::new(Named { kind, name, status, session_controls })
    }

    fn http() -> Endpoint {
        Endpoint::Http(HttpEndpoint::new("http://127.0.0.1/mcp".parse().unwrap()))
    }

    fn stdio() -> Endpoint {
        Endpoint::Stdio(StdioEndpoint::new("server", [""; 0]))
    }

    fn refusal(connectors: &Connectors, endpoint: &Endpoint) -> TransportError {
        let Err(error) = connectors.connect(endpoint).now_or_never().unwrap() else { panic!("no refusal") };
        error
    }

    #[test]
    fn the_first_that_supports_an_endpoint_serves_it() {
        let connectors = Connectors::new()
            .with("adapter", named(TransportKind::Http, "adapter", 201, true))
            .with("http", named(TransportKind::Http, "http", 202, false))
            .with("stdio", named(TransportKind::Stdio, "stdio", 203, false));
        for (endpoint, name, status, controls) in
            [(http(), "adapter", 201, true), (stdio(), "stdio", 203, false)]
        {
            assert!(connectors.supports(&endpoint));
            assert_eq!(connectors.session_controls(&endpoint), controls, "{name}");
            assert_eq!(refusal(&connectors, &endpoint).to_string(), name);
            let health = connectors.health(&endpoint, "/health").now_or_never().unwrap();
            assert_eq!(health, Some(Ok(status)), "{name}");
        }
    }

    #[test]
    fn without_a_fitting_one_the_error_names_those_there_are() {
        let one = Connectors::new().with("pipes", named(TransportKind::Stdio, "pipes", 200, true));
        for (connectors, names) in [(Connectors::new(), "none"), (one, "pipes")] {
            let endpoint = http();
            assert!(!connectors.supports(&endpoint) && !connectors.session_controls(&endpoint));
            let error = refusal(&connectors, &endpoint);
            let text = format!("no transport can reach this http endpoint; there is: {names}");
            assert_eq!((error.to_string(), error.delivery), (text, Delivery::NotSent));
            let health = connectors.health(&endpoint, "/health").now_or_never().unwrap();
            assert_eq!(health, Some(Err(error)));
        }
        let asked = Connectors::new().health(&stdio(), "/health").now_or_never().unwrap();
        assert_eq!(asked, None, "it has no URL");
    }

    #[test]
    fn a_set_can_be_a_member() {
        let inner = Connectors::new().with("stdio", named(TransportKind::Stdio, "stdio", 200, true));
        let outer = Connectors::new()
            .with("inner", Arc::new(inner))
            .with("last", named(TransportKind::Http, "last", 200, true));
        assert_eq!(refusal(&outer, &stdio()).to_string(), "stdio");
        assert_eq!(refusal(&outer, &http()).to_string(), "last");
        assert_eq!(format!("{outer:?}"), r#"["inner", "last"]"#);
    }
}
