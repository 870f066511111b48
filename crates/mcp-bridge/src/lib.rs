#![doc = include_str!("../README.md")]

mod ask;
mod bridge;
mod call;
mod client;
/// Translation between revisions: pure functions, no I/O.
pub mod convert;
mod digest;
mod directory;
mod endpoint;
pub mod guard;
mod held;
mod listen;
pub mod names;
mod page;
mod party;
mod route;
pub mod seal;
mod session;
mod settings;
mod state;
mod upstream;

pub use bridge::Bridge;
pub use client::REQUEST_ID;
pub use digest::{Digest, InvalidDigest};
pub use settings::{Scope, Settings, View};
