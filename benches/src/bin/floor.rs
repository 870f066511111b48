//! The floor proxy of the gateway benchmark. See `docs/benchmarks.md`.

use clap::Parser;
use mcp_benches::{Failure, FloorOptions, serve_floor};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    serve_floor(FloorOptions::parse()).await
}
