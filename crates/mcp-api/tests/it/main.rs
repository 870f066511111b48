//! Contract §9.10 and the HTTP side of §9.3–§9.8: the real router over scripted servers.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod bridge;
mod events;
mod flapping;
mod handshake;
mod invoke;
mod management;
mod paths;
mod registry;
mod sessions;
mod stages;
mod support;
mod windows;
