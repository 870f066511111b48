#![doc = include_str!("../README.md")]

mod answer;
mod call;
mod client;
mod connect;
mod core;
mod deadline;
mod envelope;
mod error;
mod exchange;
mod handler;
mod input;
mod interest;
mod link;
mod list;
mod options;
mod profile;
mod rate;
mod serve;
mod signal;
mod stats;
mod subscription;
mod tool_headers;

pub use answer::Answer;
pub use call::{Call, CallEvent, Outgoing};
pub use client::{Client, Notifications};
pub use connect::connect;
pub use deadline::Patience;
pub use error::{CallError, ConnectError};
pub use handler::{RequestHandler, ServerRequest};
pub use interest::Interest;
pub use options::{ClientInfo, ConnectOptions};
pub use profile::ServerProfile;
pub use rate::RateLimit;
pub use stats::ClientStats;
pub use subscription::Subscription;
