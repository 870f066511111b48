//! The transport against real sockets on the loopback interface.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod answers;
mod endings;
mod errors;
mod peer;
mod pool;
mod queue;
mod requests;
mod resume;
mod sessions;
mod streams;
mod tokens;
