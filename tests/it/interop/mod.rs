//! The interop matrix: the client with its real transports against servers that others wrote, or that are
//! written on what others wrote.
//!
//! A test stands for a server. Over each of its transports, and in each era it speaks, everything it offers is
//! listed and used, which makes a row of `docs/interop.md`. The test fails if the row differs from the one in
//! the document, so that neither can get worse, or better, unnoticed. `cargo xtask interop` runs these tests
//! to write the rows anew.

mod features;
mod page;
mod rows;
mod servers;
