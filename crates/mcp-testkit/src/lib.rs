#![doc = include_str!("../README.md")]

pub mod assert;
mod clock;
mod cluster;
mod dice;
pub mod fault;
mod function;
mod history;
mod server;
pub mod sim;

pub use clock::ManualClock;
pub use cluster::{Action, ScriptedCluster, Toggle, Traffic, UnknownAction};
pub use dice::Dice;
pub use function::FnTransport;
pub use history::{History, Invariant, Outcome, Promise, Tally, Violation};
