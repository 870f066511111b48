//! The client against real sockets on the loopback interface.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod addresses;
mod figures;
mod http2;
mod kept;
mod peer;
mod proxies;
mod tls;
mod tokens;
mod wire;
