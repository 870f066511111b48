//! Making clients of configurations. Source: contract §7.3, first paragraph.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use mcp_config::{InvalidField, Registration};
use mcp_registry::{Definition, ErrorCategory, Policy};
use mcp_transport::{Connector, TransportKind};
use mcp_transport_http::ConnectorError;

use crate::built_in;
use crate::client::McpClient;
use crate::config::ClientConfig;
use crate::options::ClientOptions;
use crate::result::ConnectionResult;

/// A client could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FactoryError {
    /// There is no such transport.
    #[error("there is no transport {given:?}; there is: {}", supported.join(", "))]
    UnsupportedTransport {
        /// What was asked for.
        given: String,
        /// What there is, sorted.
        supported: Vec<String>,
    },
    /// The configuration is wrong. Where several fields are, this is the first;
    /// [`ClientFactory::check_config`] tells them all.
    #[error("`{field}`: {reason}")]
    InvalidConfiguration {
        /// The key, with those that lead to it, dots in between; empty: the configuration as a whole.
        field: String,
        /// What is wrong and what to do. Values do not show.
        reason: String,
    },
}

impl FactoryError {
    /// The class of contract §4.5: nothing can be sent.
    #[must_use]
    pub fn category(&self) -> ErrorCategory {
        ErrorCategory::TransportError
    }
}

/// What a client is made of: its server, and how it is reached.
#[derive(Clone)]
pub struct Blueprint {
    /// The server.
    pub definition: Definition,
    /// Opens connections to it.
    pub connector: Arc<dyn Connector>,
}

impl fmt::Debug for Blueprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blueprint").field("definition", &self.definition).finish_non_exhaustive()
    }
}

type Constructor = dyn Fn(&ClientConfig) -> Result<Blueprint, Vec<InvalidField>> + Send + Sync;
type Before = dyn Fn(&str, &mut ClientConfig) + Send + Sync;
type After = dyn Fn(&str, Result<&McpClient, &FactoryError>) + Send + Sync;

/// Makes clients of configurations, for the built-in transports `http`, `sse` and `stdio` and for registered ones.
///
/// All clients of one factory share its options and its connection pool.
#[derive(Clone)]
pub struct ClientFactory {
    options: ClientOptions,
    connector: Arc<dyn Connector>,
    transports: BTreeMap<String, Arc<Constructor>>,
    defaults: BTreeMap<String, ClientConfig>,
    common: ClientConfig,
    before: Vec<Arc<Before>>,
    after: Vec<Arc<After>>,
}

impl ClientFactory {
    /// A factory with the built-in transports.
    ///
    /// # Errors
    /// [`ConnectorError`] if the HTTP client cannot be set up.
    pub fn new(options: ClientOptions) -> Result<Self, ConnectorError> {
        let connector = built_in::connector(&options.policy)?;
        Ok(Self::over(Arc::new(connector), options))
    }

    /// A factory whose built-in transports are this connector, which should support all three.
    #[must_use]
    pub fn over(connector: Arc<dyn Connector>, options: ClientOptions) -> Self {
        let mut factory = Self {
            options,
            connector,
            transports: BTreeMap::new(),
            defaults: BTreeMap::new(),
            common: ClientConfig::new(),
            before: Vec::new(),
            after: Vec::new(),
        };
        for kind in [TransportKind::Http, TransportKind::Sse, TransportKind::Stdio] {
            let (policy, connector) = (factory.options.policy.clone(), factory.connector.clone());
            let construct = move |config: &ClientConfig| {
                Ok(Blueprint { definition: read(kind, config, &policy)?, connector: connector.clone() })
            };
            factory.transports.insert(kind.to_string(), Arc::new(construct));
        }
        factory
    }

    /// Adds a transport, or replaces the one of that name. The constructor is also asked whether a configuration
    /// is right, so it should do nothing else than read it.
    #[must_use]
    pub fn register_transport(
        mut self,
        name: impl Into<String>,
        constructor: impl Fn(&ClientConfig) -> Result<Blueprint, Vec<InvalidField>> + Send + Sync + 'static,
    ) -> Self {
        self.transports.insert(name.into(), Arc::new(constructor));
        self
    }

    /// Keys that configurations of all transports have unless they say otherwise.
    #[must_use]
    pub fn with_defaults(mut self, defaults: impl Into<ClientConfig>) -> Self {
        self.common = defaults.into();
        self
    }

    /// The same for one transport; these come before those of all.
    #[must_use]
    pub fn with_transport_defaults(
        mut self,
        transport: impl Into<String>,
        defaults: impl Into<ClientConfig>,
    ) -> Self {
        self.defaults.insert(transport.into(), defaults.into());
        self
    }

    /// Calls `hook` before each client is made, with the transport and the configuration, defaults included; it may
    /// change the configuration, for example add a secret. Hooks are called in the order they were added.
    #[must_use]
    pub fn before_create(mut self, hook: impl Fn(&str, &mut ClientConfig) + Send + Sync + 'static) -> Self {
        self.before.push(Arc::new(hook));
        self
    }

    /// Calls `hook` after each client was made or could not be, with the transport asked for.
    #[must_use]
    pub fn after_create(
        mut self,
        hook: impl Fn(&str, Result<&McpClient, &FactoryError>) + Send + Sync + 'static,
    ) -> Self {
        self.after.push(Arc::new(hook));
        self
    }

    /// What clients of this factory do alike.
    #[must_use]
    pub fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// The names of the transports, sorted.
    #[must_use]
    pub fn supported_transports(&self) -> Vec<String> {
        self.transports.keys().cloned().collect()
    }

    /// Makes a client, not connected. A configuration without a `name` has that of the transport.
    ///
    /// # Errors
    /// [`FactoryError`].
    pub fn create(
        &self,
        transport: &str,
        config: impl Into<ClientConfig>,
    ) -> Result<McpClient, FactoryError> {
        self.create_with(transport, config.into(), self.options.clone())
    }

    /// Makes several clients; one that is wrong does not hinder the others. The results are in the order of
    /// the input.
    pub fn create_all<'a>(
        &self,
        configs: impl IntoIterator<Item = (&'a str, ClientConfig)>,
    ) -> Vec<Result<McpClient, FactoryError>> {
        configs.into_iter().map(|(transport, config)| self.create(transport, config)).collect()
    }

    /// Makes a client of a definition that is there already, such as one of a configuration file or of a
    /// [`Store`](mcp_registry::Store), over the built-in transports. Defaults and hooks have no part in it.
    #[must_use]
    pub fn client(&self, definition: Definition) -> McpClient {
        McpClient::new(definition, self.connector.clone(), self.options.clone())
    }

    /// Whether [`create`](Self::create) would make a client of this, hooks left aside. Nothing else happens.
    #[must_use]
    pub fn validate_config(&self, transport: &str, config: impl Into<ClientConfig>) -> bool {
        self.check_config(transport, config).is_ok_and(|wrong| wrong.is_empty())
    }

    /// Every field that is wrong, with its reason; none if the configuration is right.
    ///
    /// # Errors
    /// [`FactoryError::UnsupportedTransport`].
    pub fn check_config(
        &self,
        transport: &str,
        config: impl Into<ClientConfig>,
    ) -> Result<Vec<InvalidField>, FactoryError> {
        let constructor = self.constructor(transport)?;
        Ok(constructor(&self.complete(transport, config.into())).err().unwrap_or_default())
    }

    /// Makes a client, connects it once, with all attempts that `connect` makes, and disconnects it.
    ///
    /// # Errors
    /// [`FactoryError`]; that there is no connection is no such error, but in the result.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn test_connection(
        &self,
        transport: &str,
        config: impl Into<ClientConfig>,
    ) -> Result<ConnectionResult, FactoryError> {
        let options = ClientOptions { reconnect: false, ..self.options.clone() };
        let client = self.create_with(transport, config.into(), options)?;
        let result = client.connect().await;
        client.disconnect().await;
        Ok(result)
    }

    fn create_with(
        &self,
        transport: &str,
        config: ClientConfig,
        options: ClientOptions,
    ) -> Result<McpClient, FactoryError> {
        let created = self
            .construct(transport, config)
            .map(|Blueprint { definition, connector }| McpClient::new(definition, connector, options));
        for hook in &self.after {
            hook(transport, created.as_ref());
        }
        created
    }

    fn construct(&self, transport: &str, config: ClientConfig) -> Result<Blueprint, FactoryError> {
        let constructor = self.constructor(transport)?;
        let mut config = self.complete(transport, config);
        for hook in &self.before {
            hook(transport, &mut config);
        }
        constructor(&config).map_err(|wrong| match wrong.into_iter().next() {
            Some(InvalidField { path, reason }) => {
                FactoryError::InvalidConfiguration { field: path.join("."), reason }
            }
            None => FactoryError::InvalidConfiguration {
                field: String::new(),
                reason: "the transport refuses it and does not say why".into(),
            },
        })
    }

    fn constructor(&self, transport: &str) -> Result<&Constructor, FactoryError> {
        self.transports.get(transport).map(|constructor| &**constructor).ok_or_else(|| {
            let (given, supported) = (transport.to_owned(), self.supported_transports());
            FactoryError::UnsupportedTransport { given, supported }
        })
    }

    /// The configuration with its defaults.
    fn complete(&self, transport: &str, config: ClientConfig) -> ClientConfig {
        let config = match self.defaults.get(transport) {
            Some(defaults) => config.over(defaults),
            None => config,
        };
        config.over(&self.common)
    }
}

/// The definition that a configuration of a built-in transport means.
fn read(
    kind: TransportKind,
    config: &ClientConfig,
    policy: &Policy,
) -> Result<Definition, Vec<InvalidField>> {
    let name = kind.to_string();
    if config.get("transport").is_some_and(|given| *given != *name) {
        let reason = format!("must be left out or be {name:?}, the transport asked for");
        return Err(vec![InvalidField { path: vec!["transport".into()], reason }]);
    }
    let defaults = ClientConfig::new().with("transport", &*name).with("name", &*name);
    let config = config.clone().over(&defaults);
    Registration::from_json(&config.to_json())?.into_definition(policy)
}

impl fmt::Debug for ClientFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientFactory")
            .field("transports", &self.supported_transports())
            .finish_non_exhaustive()
    }
}
