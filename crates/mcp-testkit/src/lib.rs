#![doc = include_str!("../README.md")]

mod clock;
mod cluster;
mod server;

pub use clock::ManualClock;
pub use cluster::{Action, ScriptedCluster, Toggle, Traffic, UnknownAction};
