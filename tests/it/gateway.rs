//! The binary as its users have it: started as a process, asked over REST and on the command line.

pub(crate) mod binary;
pub(crate) mod configuration;
pub(crate) mod home;
mod process;
pub(crate) mod running;

mod access;
mod commands;
mod crash;
mod drain;
mod endpoint;
mod failover;
mod files;
mod first_use;
mod hang;
mod load;
mod reload;
mod sse;
mod state;
mod stdio;
