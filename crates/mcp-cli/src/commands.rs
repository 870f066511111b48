//! One module a command.

pub(crate) mod call;
pub(crate) mod changes;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod events;
pub(crate) mod exposed;
pub(crate) mod fetch;
mod follow;
pub(crate) mod manage;
pub(crate) mod preset;
pub(crate) mod servers;
pub(crate) mod status;
pub(crate) mod tools;
pub(crate) mod why;
