#![doc = include_str!("../README.md")]

mod ask;
mod bridge;
mod call;
mod catalog;
mod client;
/// Translation between revisions: pure functions, no I/O.
pub mod convert;
mod digest;
mod directory;
mod endpoint;
mod exposed;
mod extension;
pub mod guard;
mod held;
mod library;
mod listen;
mod mark;
pub mod names;
mod page;
mod party;
mod route;
pub mod seal;
mod session;
mod settings;
mod state;
mod tasks;
mod upstream;
mod watchman;

pub use bridge::Bridge;
pub use catalog::ListKind;
pub use client::REQUEST_ID;
pub use digest::{Digest, InvalidDigest};
pub use exposed::{Exposed, ExposedEntry, Hiding, ToolHistory};
pub use settings::{Scope, Settings, View};
pub use watchman::{ApproveError, ToolStore, Withheld};
