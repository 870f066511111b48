#![doc = include_str!("../README.md")]

mod breaker;
mod built_in;
mod client;
mod config;
mod error;
mod event;
mod factory;
mod options;
mod registry;
mod result;
mod state;
mod subscription;
mod supervisor;
mod timer;

pub use breaker::{Breaker, BreakerOptions, BreakerState, Pass};
pub use client::McpClient;
pub use config::ClientConfig;
pub use error::ClientError;
pub use event::{ClientChange, ClientEvent, ClientEvents};
pub use factory::{Blueprint, ClientFactory, FactoryError};
pub use options::ClientOptions;
pub use registry::{
    ClientRegistry, Refreshed, RegisteredServer, RegistryError, RegistryStatistics, Restored,
};
pub use result::{ConnectionMetadata, ConnectionResult, ConnectionStats};
pub use subscription::Notifications;

pub use mcp_client::{
    ConnectOptions, Interest, Outgoing, Patience, RequestHandler, ServerProfile, ServerRequest,
};
pub use mcp_config::{InvalidField, StateFile};
pub use mcp_protocol::prompt::Prompt;
pub use mcp_protocol::resource::{Resource, ResourceContents, ResourceTemplate};
pub use mcp_protocol::tool::{CallToolResult, Tool};
pub use mcp_registry::{
    ConnectionState, Definition, ErrorCategory, Failure, MemoryStore, Policy, ServerName, Store,
};

/// Compiles the examples of the reference.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/clients.md")]
#[derive(Debug)]
pub struct Reference;
