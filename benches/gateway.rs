//! One tool call: straight to the server, and through the whole gateway. See `docs/benchmarks.md`.

#![expect(clippy::print_stderr, reason = "it is run by hand")]

use std::process::ExitCode;

use clap::Parser;
use mcp_benches::{Options, run};

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // As it is meant to be read: what `main` returns would be shown with its line breaks escaped.
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
