#![doc = include_str!("../README.md")]

mod accept;
mod authority;
mod body;
mod connection;
mod guard;
mod host_policy;
mod idle;
mod limits;
mod serve;
mod stall;

pub use authority::InvalidAuthority;
pub use connection::Site;
pub use guard::{HostGuard, HostGuardLayer};
pub use host_policy::{HostPolicy, Refusal};
pub use limits::ServeLimits;
pub use serve::{ServeReport, serve};
