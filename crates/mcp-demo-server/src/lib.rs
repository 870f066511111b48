#![doc = include_str!("../README.md")]

mod answer;
mod ask;
mod call;
mod caller;
mod core;
mod frame;
mod handshake;
mod http;
mod listen;
mod options;
mod page;
mod params;
mod prompts;
mod resources;
mod running;
mod seal;
mod stateless;
mod stdio;
mod tools;

pub use self::core::{DemoServer, Effect, PeerId};
pub use http::{HttpEnd, router, serve_http, serve_sse};
pub use options::DemoOptions;
pub use stdio::{StdioEnd, serve_stdio};
