//! Limits and timings.

use std::time::Duration;

use mcp_protocol::Limits;

/// Limits and timings of the connections a [`StdioConnector`](crate::StdioConnector) opens.
///
/// The defaults are those of the reliability document, §6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StdioOptions {
    /// What one message may be, in either direction. A longer line is thrown away and reported; the next
    /// one is fine. Default: 16 MiB and the other limits of [`Limits::default`].
    pub limits: Limits,
    /// Lines on stdout that are no message, in a row, after which the program counts as no MCP server.
    /// A message starts the count afresh. Default: 100.
    pub noise_lines: u32,
    /// The same limit in bytes. Default: 1 MiB.
    pub noise_bytes: u64,
    /// How much of the newest stderr is kept, in bytes. Default: 256 KiB.
    pub stderr_bytes: usize,
    /// Messages that may wait in each direction. A `send` then waits for room; a server whose messages
    /// nobody takes is no longer read. Default: 256.
    pub queue_messages: usize,
    /// The same limit in bytes. One message may be larger; it then waits alone. Default: 16 MiB.
    pub queue_bytes: usize,
    /// How long the server may leave its stdin unread while a line waits; then the connection ends.
    /// Default: 30 s.
    pub write_stall: Duration,
    /// Stopping, first step: how long the server may take to exit after its stdin was closed. Default: 2 s.
    pub close_stdin: Duration,
    /// Stopping, second step: how long the process group may take to exit after SIGTERM. Default: 3 s.
    pub terminate: Duration,
    /// Stopping, third step: how long to wait for the killed processes to be gone. Default: 1 s.
    pub reap: Duration,
    /// Variables that every server may be given although they make a program load foreign code
    /// ([`is_refused`]). Default: none.
    ///
    /// [`is_refused`]: crate::is_refused
    pub allow_env: Vec<String>,
}

impl Default for StdioOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            noise_lines: 100,
            noise_bytes: 1 << 20,
            stderr_bytes: 256 << 10,
            queue_messages: 256,
            queue_bytes: 16 << 20,
            write_stall: Duration::from_secs(30),
            close_stdin: Duration::from_secs(2),
            terminate: Duration::from_secs(3),
            reap: Duration::from_secs(1),
            allow_env: Vec::new(),
        }
    }
}
