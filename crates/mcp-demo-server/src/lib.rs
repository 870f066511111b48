#![doc = include_str!("../README.md")]

mod answer;
mod ask;
mod call;
mod caller;
mod demo;
mod handshake;
mod http;
mod in_flight;
mod news;
mod options;
mod page;
mod params;
mod prompts;
mod resources;
mod seal;
mod service;
mod slow;
mod stateless;
mod stdio;
mod tools;

pub use http::{HttpEnd, router, serve_http, serve_sse};
pub use options::DemoOptions;
pub use stdio::{StdioEnd, serve_stdio};
