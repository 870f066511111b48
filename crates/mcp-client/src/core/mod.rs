//! The pure half: state machines without I/O, clock or runtime.

pub(crate) mod hint;
pub(crate) mod negotiate;
pub(crate) mod pending;
pub(crate) mod tried;
