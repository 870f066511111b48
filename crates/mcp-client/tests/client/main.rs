//! The client against scripted servers: every step of negotiation, and calls under adverse conditions.

mod calls;
mod lists;
mod negotiation;
mod stateless;
mod wire;
