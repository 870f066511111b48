#![doc = include_str!("../README.md")]

mod command;
mod connection;
mod connector;
mod environment;
mod foreign;
pub mod framing;
mod noise;
mod options;
mod process;
mod queue;
mod reader;
mod stderr;
mod supervisor;
#[cfg(test)]
mod testing;
mod transport;
mod writer;

pub use connector::StdioConnector;
pub use environment::is_refused;
pub use options::StdioOptions;
pub use transport::StdioTransport;
