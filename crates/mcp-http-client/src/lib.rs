#![doc = include_str!("../README.md")]

mod address;
mod body;
mod build;
mod carrier;
mod client;
mod connections;
mod credentials;
mod direct;
mod endpoint;
pub mod failure;
mod head;
mod headers;
mod health;
mod kept;
mod options;
mod pool;
mod retry_after;
mod sse;
mod stats;
mod tls;
mod tokens;

pub use body::Body;
pub use client::{HttpClient, Lane, Place};
pub use endpoint::{same_origin, to_uri};
pub use head::{MediaType, coding, quoted};
pub use headers::{Headers, LAST_EVENT_ID, PROTOCOL_VERSION, SESSION_ID};
pub use options::HttpOptions;
pub use pool::{ClientPool, ConnectorError};
pub use retry_after::retry_after;
pub use sse::{Event, EventDecoder, EventError};
pub use stats::ClientStats;
