//! Scripted servers and a manual clock, to test what is built on the gateway's layers without sleeps.
//!
//! ```
//! use mcp_testkit::{Action, ManualClock, ScriptedCluster};
//!
//! let clock = ManualClock::new();
//! let cluster = ScriptedCluster::new();
//! cluster.script("primary", "tools/call", [Action::Timeout, Action::Ok]);
//! // … give `cluster` as the connector and `clock` as the timer to a manager, call, advance, look:
//! clock.advance(std::time::Duration::from_secs(1));
//! assert!(cluster.traffic().is_empty());
//! assert_eq!(cluster.scripted("primary", "tools/call"), 2);
//! ```

mod clock;
mod cluster;
mod server;

pub use clock::ManualClock;
pub use cluster::{Action, ScriptedCluster, Toggle, Traffic, UnknownAction};
