#![doc = include_str!("../README.md")]

mod connector;
mod events;
mod inbox;
mod opening;
mod patience;
mod session;
mod transport;

pub use connector::SseConnector;
