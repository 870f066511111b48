//! The transport against real sockets on the loopback interface.

mod answers;
mod endings;
mod errors;
mod peer;
mod requests;
mod sessions;
