#![doc = include_str!("../README.md")]

mod body;
mod client;
mod endpoint;
pub mod failure;
mod headers;
mod options;
mod pool;
mod retry_after;
mod sse;
mod tls;

pub use body::Body;
pub use client::{HttpClient, Lane, Place};
pub use headers::{Headers, LAST_EVENT_ID, PROTOCOL_VERSION, SESSION_ID};
pub use options::HttpOptions;
pub use pool::{ClientPool, ConnectorError};
pub use retry_after::retry_after;
pub use sse::{Event, EventDecoder, EventError};
