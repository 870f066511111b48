#![doc = include_str!("../README.md")]

mod service;

pub use service::{
    AskError, Channel, Conversation, Opened, Opening, Outcome, Outlet, Principal, Service, StatelessCall,
    TransportShape,
};
