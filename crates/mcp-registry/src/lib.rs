#![doc = include_str!("../README.md")]

mod category;
mod clock;
mod definition;
mod event;
mod exposure;
mod journal;
mod name;
mod plan;
mod policy;
mod random;
mod record;
mod registry;
mod retry;
mod routing;
mod starts;
mod store;
mod story;

pub use category::{ErrorCategory, Failure};
pub use clock::{Clock, SystemClock, Timer, Timestamp};
pub use definition::{Definition, OnToolChange, ProbeKind, RateLimit, Sharing};
pub use event::{
    ConnectionEvent, ConnectionFilter, CorrelationId, Event, InvocationEvent, InvocationFilter, Phase,
    RegistryChange, RegistryEvent, RegistryFilter,
};
pub use exposure::{Exposure, Glob, InvalidGlob, NameFilter};
pub use journal::{Journal, Subscription};
pub use name::{InvalidServerName, ServerName};
pub use plan::{Attempt, CallFailure, CallSafety, FailureCode, InvocationError, Plan, Stage, Verdict};
pub use policy::{AmbiguousFailover, Answered, Policy, ResetRetryOn, RpcErrorPolicy};
pub use random::{Random, SystemRandom};
pub use record::{
    CapabilitySnapshot, ConnectionState, Generation, HealthView, KnownTool, KnownTools, ServerKey,
    ServerRecord, Status, ToolHints,
};
pub use registry::{Due, Handshake, InvalidTransition, Loss, Registry, RegistryFull};
pub use retry::CallRetry;
pub use routing::{Candidates, Choice, Gate, RoutingTable, Selection, Skip, Stood};
pub use starts::StartLimit;
pub use store::{Kept, MemoryStore, Store, StoreError};
pub use story::{Considered, Ending, Explanation, Outcome, Part, Story};
