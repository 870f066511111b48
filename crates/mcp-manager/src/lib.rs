#![doc = include_str!("../README.md")]

mod apply;
mod call;
mod diagnostics;
mod drain;
mod failure;
mod flight;
#[cfg(test)]
mod flight_tests;
mod handshake;
mod health;
mod link;
mod manager;
mod session;
mod shutdown;
mod slot;
mod sync;
mod timer;
mod tools;

pub use apply::Applied;
pub use call::{Invocation, RoutedCall};
pub use diagnostics::{ConnectionReport, Freshness, SessionState};
pub use manager::{Manager, Setup, UnknownServer};
pub use shutdown::ShutdownReport;
pub use timer::SystemTimer;
