#![doc = include_str!("../README.md")]

mod connector;
mod events;
mod exchange;
mod listener;
mod messages;
mod resume;
mod session;
mod transport;
mod wire;

pub use connector::HttpConnector;
pub use mcp_http_client::{ClientPool, ClientStats, ConnectorError, HttpClient, HttpOptions};
