//! An upstream that fails as a test says, over real sockets and processes, and a proxy that damages what
//! passes through it.
//!
//! An [`Upstream`] is an MCP server of either era over stdio, Streamable HTTP or the two endpoints of
//! 2024-11-05. It works, until a test gives it a [`Step`] list for a call (by its nonce), for a method, or for
//! another moment of its life ([`Upstream::plan`]): then it does exactly that, byte by byte. What it received and
//! what it executed is in its [`Ledger`], the latter as a [`History`](crate::History) that also knows what
//! callers were told.
//!
//! Upstreams and proxies run in threads of their own, so that a test's runtime holds nothing but what is tested.
//! They end when dropped. Source: reliability §4.

mod host;
mod http;
mod ledger;
mod output;
mod proxy;
mod request;
mod script;
mod stdio;
mod upstream;

pub use ledger::{Ledger, Received, Seen};
pub use proxy::{AtLimit, Proxy, Rules};
pub use script::{Gate, RESULT, Step};
pub use upstream::{Kind, Upstream};
