//! Clients over scripted and real servers. Source: contract §9.11, J1 to J3 and J8 to J10.

mod lifecycle;
mod requests;
mod support;
