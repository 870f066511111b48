//! The client against scripted servers: every step of negotiation, and calls under adverse conditions.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod askers;
mod calls;
mod crossing;
mod lists;
mod mishaps;
mod negotiation;
mod patience;
mod questions;
mod recovery;
mod stateless;
mod subscriptions;
mod wire;
