//! The bridge between clients and servers of every revision, in memory. Source: bridging §15.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod cells;
mod changes;
mod demo;
mod exact;
mod held;
mod lists;
mod net;
mod news;
mod rounds;
mod sharing;
mod states;
mod support;
mod tasks;
