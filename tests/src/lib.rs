//! Compiles the Rust examples of the README in the root of the repository, and runs those that can be run.
//!
//! The tests themselves are in `it/`.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[derive(Debug)]
pub struct Readme;
