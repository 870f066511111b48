#![doc = include_str!("../README.md")]

/// Translation between revisions: pure functions, no I/O.
pub mod convert;
mod digest;
pub mod guard;
pub mod names;
pub mod seal;

pub use digest::{Digest, InvalidDigest};
