#![doc = include_str!("../README.md")]

mod breaker;
mod client;
mod error;
mod event;
mod options;
mod result;
mod state;
mod subscription;
mod supervisor;
mod timer;

pub use breaker::{Breaker, BreakerOptions, BreakerState, Pass};
pub use client::McpClient;
pub use error::ClientError;
pub use event::{ClientChange, ClientEvent, ClientEvents};
pub use options::ClientOptions;
pub use result::{ConnectionMetadata, ConnectionResult, ConnectionStats};
