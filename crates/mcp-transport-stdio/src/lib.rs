//! MCP over the stdin and stdout of a child process.

pub mod framing;
