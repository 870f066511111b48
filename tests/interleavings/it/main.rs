//! The modules that several tasks use at once, compiled with primitives whose every operation is a point where
//! the schedule may change, and run under many schedules.

// What is tested: the sources of the crates, with the `sync` of this crate in place of theirs.
#[path = "../../../crates/mcp-manager/src/drain.rs"]
mod drain;
#[path = "../../../crates/mcp-manager/src/flight.rs"]
mod flight;
#[path = "../../../crates/mcp-client/src/core/pending.rs"]
mod pending;
#[path = "../../../crates/mcp-manager/src/slot.rs"]
mod slot;

mod schedules;
mod sync;

mod answers;
mod flights;
mod sessions;
