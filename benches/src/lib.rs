//! What the benchmarks of the workspace are made of. `docs/benchmarks.md` says what they measure and
//! how to run them.

#![expect(clippy::print_stdout, reason = "the tables are what a benchmark is for")]
#![expect(clippy::print_stderr, reason = "a long run says where it is")]

mod answers;
mod calls;
mod connection;
mod estimates;
mod fleet;
mod floor;
mod lists;
mod load;
mod machine;
mod program;
mod report;
mod run;
mod running;
mod starts;
mod stdio;
mod upstream;
mod usage;

pub use estimates::print_table;
pub use floor::{FloorOptions, serve_floor};
pub use run::{Options, run};
pub use stdio::serve_stdio;

/// Why a benchmark could not be run to its end.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
