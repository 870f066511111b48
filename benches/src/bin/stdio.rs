//! The stdio upstream of the gateway benchmark. See `docs/benchmarks.md`.

use mcp_benches::{Failure, serve_stdio};
use mcp_protocol::Era;

fn main() -> Result<(), Failure> {
    serve_stdio(Era::Handshake)
}
