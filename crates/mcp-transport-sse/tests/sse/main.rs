//! The transport against real sockets on the loopback interface.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod client;
mod endings;
mod messages;
mod opening;
mod peer;
mod tokens;
