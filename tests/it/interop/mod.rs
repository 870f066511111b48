//! The interop matrix: the client with its real transports against servers that others wrote, or that are
//! written on what others wrote; and clients of others through the gateway.
//!
//! A test stands for a server, or for a client. Over each of its transports, and in each era it speaks,
//! everything that is offered is listed and used, which makes a row of `docs/interop.md`. The test fails if
//! something does not work, or if the row differs from the one in the document, so that neither can get worse, or
//! better, unnoticed. `cargo xtask interop` runs these tests to write the rows anew.

// Gateways are looked after with signals, and a look into /proc.
#[cfg(target_os = "linux")]
mod clients;
mod features;
mod page;
mod rows;
mod servers;
mod table;
