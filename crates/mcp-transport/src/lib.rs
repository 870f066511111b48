#![doc = include_str!("../README.md")]

mod connectors;
mod endpoint;
mod error;
mod transport;

pub use connectors::Connectors;
pub use endpoint::{Endpoint, HttpEndpoint, StdioEndpoint, TransportKind};
pub use error::{Delivery, TransportError, TransportErrorKind};
pub use transport::{Connector, Header, Inbox, Incoming, Outbound, Reply, Transport};
