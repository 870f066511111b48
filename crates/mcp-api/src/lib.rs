#![doc = include_str!("../README.md")]

mod auth;
mod changes;
mod convert;
mod error;
mod events;
mod explain;
mod exposed;
mod extract;
mod health;
mod invoke;
mod manage;
mod mcp;
mod reload;
mod router;
mod servers;
mod sessions;
mod state;
mod tools;

pub use auth::ApiKeys;
pub use invoke::{invocation_failure, result_body, tool_call};
pub use mcp::{McpSite, mcp_site};
pub use reload::{Reload, ReloadError};
pub use router::router;
pub use state::{ApiState, Settings};
pub use tools::server_tools;
