#![doc = include_str!("../README.md")]

mod auth;
mod connectors;
mod endpoint;
mod error;
mod transport;

pub use auth::{Auth, ClientAuthentication, ClientCredentials, TokenProvider};
pub use connectors::Connectors;
pub use endpoint::{
    Endpoint, HttpEndpoint, OpenMethod, SseEndpoint, StdioEndpoint, TlsSettings, TransportKind,
};
pub use error::{Delivery, TransportError, TransportErrorKind};
pub use transport::{Connector, Header, Inbox, Incoming, Outbound, Reply, Transport};
