//! Tests against real servers and processes, all of them on this machine.
//!
//! `cargo xtask peers` installs the servers. A test whose peer is not installed prints
//! `SKIPPED: name: what to install` and passes; with `CI=true` it fails.

#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the helpers of tests are tests, too"
)]

mod conformance;
// Signals, and a look into /proc for processes that were left behind.
#[cfg(target_os = "linux")]
mod gateway;
mod interop;
mod keep_alive;
mod peers;
mod process;
mod scenarios;
mod wait;
