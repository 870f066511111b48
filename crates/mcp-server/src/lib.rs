#![doc = include_str!("../README.md")]

mod flight;
mod frame;
mod http;
mod ladder;
mod limits;
mod service;
mod stats;
mod text;

pub use http::{Endpoint, HttpFront};
pub use limits::FrontLimits;
pub use service::{
    AskError, Channel, Conversation, Opened, Opening, Outcome, Outlet, Principal, Service, StatelessCall,
    TransportShape,
};
pub use stats::FrontStats;
