#![doc = include_str!("../README.md")]

/// Translation between revisions: pure functions, no I/O.
pub mod convert;
mod names;
mod seal;
