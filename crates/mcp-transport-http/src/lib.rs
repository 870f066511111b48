#![doc = include_str!("../README.md")]

mod connector;
mod exchange;
mod messages;
mod session;
mod transport;

pub use connector::HttpConnector;
pub use mcp_http_client::{ClientPool, ConnectorError, HttpClient, HttpOptions};
