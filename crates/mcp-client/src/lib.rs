#![doc = include_str!("../README.md")]

mod answer;
mod call;
mod client;
mod connect;
mod core;
mod envelope;
mod error;
mod exchange;
mod link;
mod list;
mod options;
mod profile;
mod signal;
mod stats;
mod tool_headers;

pub use answer::Answer;
pub use call::{Call, CallEvent, Outgoing};
pub use client::{Client, Notifications};
pub use connect::connect;
pub use error::{CallError, ConnectError};
pub use options::{ClientInfo, ConnectOptions};
pub use profile::ServerProfile;
pub use stats::ClientStats;
