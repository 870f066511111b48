//! Contract §1 to §5 on the pure core: no runtime, and time is an argument.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod directed;
mod events;
mod handshake;
mod plan;
mod reconnect;
mod registration;
mod routing;
mod safety;
mod starts;
mod status;
mod story;
mod support;
