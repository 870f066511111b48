//! Tasks and other extensions between clients and servers in memory. Source: bridging §8, §5.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

#[path = "it/net.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod net;
#[path = "it/support.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod support;

#[path = "tasks/classic.rs"]
mod classic;
#[path = "tasks/driven.rs"]
mod driven;
#[path = "tasks/extensions.rs"]
mod extensions;
#[path = "tasks/hosted.rs"]
mod hosted;
#[path = "tasks/stateless.rs"]
mod stateless;
