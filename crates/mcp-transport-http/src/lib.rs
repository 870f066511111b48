#![doc = include_str!("../README.md")]

mod body;
mod connector;
mod exchange;
mod failure;
mod headers;
mod messages;
mod options;
mod retry_after;
mod session;
mod sse;
mod tls;
mod transport;

pub use connector::{ConnectorError, HttpConnector};
pub use options::HttpOptions;
