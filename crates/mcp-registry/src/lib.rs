//! Server state machine, retry policy, routing and events, without runtime or clock.

mod clock;
mod definition;
mod name;
mod policy;

pub use clock::{Clock, SystemClock, Timestamp};
pub use definition::{Definition, ProbeKind};
pub use name::{InvalidServerName, ServerName};
pub use policy::{AmbiguousFailover, Policy, ResetRetryOn, RpcErrorPolicy};
