//! One tool call: straight to the server, and through the whole gateway. See `docs/benchmarks.md`.

use clap::Parser;
use mcp_benches::{Failure, Options, run};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    run(Options::parse()).await
}
