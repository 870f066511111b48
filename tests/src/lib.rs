//! Compiles the Rust examples of the README in the root of the repository, and runs those that can be run.
//!
//! The tests themselves are in `it/`, the programs they start in `bin/`.

pub mod conformance;
pub mod host;

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[derive(Debug)]
pub struct Readme;
