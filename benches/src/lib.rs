//! What the benchmarks of the workspace are made of. `docs/benchmarks.md` says what they measure and
//! how to run them.

#![expect(clippy::print_stdout, reason = "the tables are what a benchmark is for")]

mod calls;
mod cpu;
mod estimates;
mod gateway;
mod load;
mod program;
mod report;
mod run;
mod upstream;

pub use estimates::print_table;
pub use run::{Options, run};

/// Why a benchmark could not be run to its end.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
