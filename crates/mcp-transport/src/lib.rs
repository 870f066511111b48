//! What an MCP transport promises to the client that uses it.
//!
//! A [`Transport`] is one live connection to one server: it sends messages and says where the answers
//! come from. A [`Connector`] opens transports from [`Endpoint`]s. Neither knows the protocol's eras,
//! negotiation or correlation; that is `mcp-client`.
//!
//! This crate holds data and traits only: no runtime, no I/O.

mod endpoint;
mod error;
mod transport;

pub use endpoint::{Endpoint, HttpEndpoint, StdioEndpoint, TransportKind};
pub use error::{Delivery, TransportError, TransportErrorKind};
pub use transport::{Connector, Header, Inbox, Incoming, Outbound, Reply, Transport};
