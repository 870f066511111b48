//! Every fault of the catalogue, on every transport it concerns, at every point where it makes a difference.
//!
//! Each cell of the table is a test of its own; `--document` prints the table as `docs/faults.md`. What is left
//! behind is looked up in `/proc`, so it runs on Linux alone.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test harness is a test, too"
)]
#![cfg_attr(
    not(target_os = "linux"),
    allow(unfulfilled_lint_expectations, reason = "there is nothing in it")
)]

#[cfg(target_os = "linux")]
mod harness;
#[cfg(target_os = "linux")]
mod known;
#[cfg(target_os = "linux")]
mod outcome;
#[cfg(target_os = "linux")]
mod rows;
#[cfg(target_os = "linux")]
mod table;
#[cfg(target_os = "linux")]
mod watch;
#[cfg(target_os = "linux")]
mod world;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    harness::run()
}

#[cfg(not(target_os = "linux"))]
fn main() {}
