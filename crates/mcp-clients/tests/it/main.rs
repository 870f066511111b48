//! Clients over scripted and real servers. Source: contract §9.11, J1 to J3 and J8 to J10.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod demo;
mod factory;
mod lifecycle;
mod registry;
mod requests;
mod storm;
mod subscriptions;
mod support;
