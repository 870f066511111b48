#![doc = include_str!("../README.md")]

/// Translation between revisions: pure functions, no I/O.
pub mod convert;
pub mod names;
pub mod seal;
