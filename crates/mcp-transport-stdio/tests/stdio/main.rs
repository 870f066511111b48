//! The transport against real processes: small shell scripts.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

mod endpoint;
#[cfg(target_os = "linux")]
mod life;
mod messages;
mod peer;
