//! The floor proxy of the gateway benchmark. See `docs/benchmarks.md`.

use clap::Parser;
use mcp_benches::{Failure, FloorOptions, serve_floor};

/// The gateway's.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    serve_floor(FloorOptions::parse()).await
}
