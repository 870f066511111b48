#![doc = include_str!("../README.md")]

mod body;
mod client;
mod connector;
mod exchange;
mod failure;
mod headers;
mod messages;
mod options;
mod pool;
mod retry_after;
mod session;
mod sse;
mod tls;
mod transport;

pub use client::HttpClient;
pub use connector::HttpConnector;
pub use options::HttpOptions;
pub use pool::{ClientPool, ConnectorError};
