#![doc = include_str!("../README.md")]

mod call;
mod contain;
mod flight;
mod frame;
mod http;
mod ladder;
mod limits;
mod opening;
mod peer;
mod questions;
mod reader;
mod serial;
mod service;
mod stats;
mod stdio;
mod store;
mod text;

pub use http::{Endpoint, HttpFront};
pub use limits::FrontLimits;
pub use service::{
    AskError, Channel, Conversation, Opened, Opening, Outcome, Outlet, Principal, Service, StatelessCall,
    TransportShape,
};
pub use stats::FrontStats;
pub use stdio::serve_stdio;

/// The request that `notifications/cancelled` takes back.
fn cancelled(notification: &mcp_protocol::Notification) -> Option<mcp_protocol::RequestId> {
    notification.params.as_ref()?.get("requestId")?.to().ok()
}
