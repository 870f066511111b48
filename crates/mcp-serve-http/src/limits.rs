//! What a client may take of the server before it is disconnected.

use std::time::Duration;

/// Limits of one listener. The defaults are those of the product (reliability document §6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeLimits {
    /// From accept until the first request head is complete.
    pub head_timeout: Duration,
    /// From the end of a response, when the client has taken it, until the next request head is complete.
    pub keep_alive: Duration,
    /// Longest wait for the next part of a request body.
    pub body_idle: Duration,
    /// Longest wait for a request body altogether.
    pub body_total: Duration,
    /// Longest time the client may leave outgoing bytes untaken.
    pub write_stall: Duration,
    /// Largest request head in bytes, the request line included.
    pub max_head_bytes: usize,
    /// Most header fields in a request.
    pub max_headers: usize,
    /// Most connections at once; beyond it nothing is accepted until one ends. At least 1.
    pub max_connections: usize,
    /// After the shutdown signal: how long requests in flight may go on.
    pub grace: Duration,
}

impl Default for ServeLimits {
    /// Head 10 s, 32 KiB, 100 fields; keep-alive 75 s; body 15 s idle, 60 s in total;
    /// write stall 30 s; 10 000 connections; grace 25 s.
    fn default() -> Self {
        Self {
            head_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            body_idle: Duration::from_secs(15),
            body_total: Duration::from_secs(60),
            write_stall: Duration::from_secs(30),
            max_head_bytes: 32 << 10,
            max_headers: 100,
            max_connections: 10_000,
            grace: Duration::from_secs(25),
        }
    }
}
