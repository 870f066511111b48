#![doc = include_str!("../README.md")]
//!
//! # Conventions
//!
//! Keys are `snake_case`, instants are RFC 3339 text in UTC (`2026-01-01T00:00:00Z`), enumerations are
//! lower-case text, and a key that can be empty is present and `null` (contract §0.2). Keys the contract
//! calls additive may be missing when read: an older gateway does not send them.
//!
//! What a server or a caller wrote (arguments, results, capabilities, tools) is kept as
//! [`RawValue`](serde_json::value::RawValue): it passes through byte for byte. Such types have no `PartialEq`.

mod change;
mod error;
mod event;
mod explain;
mod exposed;
mod invoke;
mod manage;
mod ready;
mod reload;
mod server;
mod session;
mod user;

pub use change::{ApproveTool, ToolChange, ToolChangeQuery, ToolVersion};
pub use error::{ErrorDetail, Location, NotOffered, NotOfferedDetail, ValidationError, ValidationIssue};
pub use event::{
    ConnectionEvent, ConnectionEventQuery, InvocationEvent, InvocationEventQuery, ItemList, Phase,
    RegistryDetail, RegistryEvent, RegistryEventKind,
};
pub use explain::{ExplainedAttempt, ExplainedCandidate, Explanation, Outcome, UnderWay, Verdict};
pub use exposed::{
    ExposedEntry, ExposedKind, ExposedList, ExposedQuery, Fetched, GetPrompt, Hiding, ReadResource,
};
pub use invoke::{
    Attempt, CallOnServer, Delivery, ErrorCategory, FailureCode, InvocationError, InvocationFailure,
    InvocationResult, InvokeResource, InvokeTool, Stage,
};
pub use manage::{Mark, MarkServer, RegistryStats, ServerHealth};
pub use ready::{Health, Ready, ReadyState};
pub use reload::ReloadReport;
pub use server::{
    CapabilitySnapshot, ConnectionState, ConnectionStats, Era, ForceQuery, HealthView, RegisterServer,
    Server, ServerList, ServerTools, Status, TransportKind,
};
pub use session::{AdapterSession, AdapterSessionItem, AdapterSessionList, AdapterSessionQuery, Freshness};
pub use user::UserContext;

/// What stands before every path of the API but `/api/v1/health`, `/healthz` and `/readyz` (contract §6).
pub const BASE_PATH: &str = "/api/v1/mcp";
