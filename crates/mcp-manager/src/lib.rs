#![doc = include_str!("../README.md")]

mod apply;
mod call;
mod changes;
mod diagnostics;
mod directed;
mod drain;
mod failure;
mod flight;
#[cfg(test)]
mod flight_tests;
mod global;
mod handshake;
mod health;
mod keep;
mod lease;
mod link;
mod manager;
mod outcomes;
mod phase;
mod reconnect;
mod relay;
mod run;
mod session;
mod shutdown;
mod slot;
mod sync;
mod timer;
mod tools;
mod user;

pub use apply::Applied;
pub use call::{Invocation, RoutedCall};
pub use diagnostics::{ConnectionReport, Freshness, SessionControlError, SessionState, Statistics};
pub use directed::{DirectedCall, DirectedError};
pub use global::{global, shutdown_global};
pub use health::ServerHealth;
pub use keep::{KeepError, Restored};
pub use manager::{Manager, Setup, UnknownServer};
pub use relay::{AttachError, Attached, Refusal, Relay, Relayed};
pub use shutdown::{ShutdownReport, Unclean};
pub use timer::SystemTimer;
pub use tools::AvailableTools;
pub use user::{Party, UserContext};
