//! Scenarios of contract §9 on the manager with scripted servers and a manual clock. Each test is named
//! after its scenario.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod blame;
mod changes;
mod directed;
mod eras;
mod events;
mod explain;
mod flapping;
mod handshake;
mod health;
mod intercept;
mod lifecycle;
mod load;
mod monitor;
mod parties;
mod processes;
mod reconnect;
mod relay;
mod routing;
mod sessions;
mod sharing;
mod shutdown;
mod stages;
mod status;
mod support;
mod users;
mod windows;
