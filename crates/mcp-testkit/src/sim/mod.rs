//! Seeded simulators: random but repeatable days in the life of servers, checked step by step.

use std::time::Duration;

pub mod core;
pub mod driver;
mod network;
mod sweep;

pub use sweep::Sweep;

/// One of the simulators.
#[derive(Debug, Clone, Copy)]
pub struct Simulator {
    /// Its name.
    pub name: &'static str,
    /// Runs one seed; the error is the first rule that did not hold.
    pub run: fn(seed: u64) -> Result<Run, Broken>,
    /// The same, with a line for everything that happened.
    pub replay: fn(seed: u64) -> Replay,
}

/// What came of a seed, and a line for everything that happened.
pub type Replay = (Result<Run, Broken>, Vec<String>);

/// Every simulator.
pub const SIMULATORS: [Simulator; 2] = [
    Simulator { name: "core", run: core::run, replay: core::replay },
    Simulator { name: "driver", run: driver::run, replay: driver::replay },
];

/// What one seed went through without a broken rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Run {
    /// Steps taken, each followed by all checks.
    pub steps: u64,
    /// Time that passed on the simulated clock.
    pub simulated: Duration,
}

/// A rule that did not hold. The same seed breaks it again at the same step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}, step {step}: {invariant}: {what}; replay with `cargo xtask sim --seed {seed}`")]
pub struct Broken {
    /// Which seed.
    pub seed: u64,
    /// At which step, from 1.
    pub step: u64,
    /// Which rule.
    pub invariant: &'static str,
    /// What happened instead.
    pub what: String,
}
