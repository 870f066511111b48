#![doc = include_str!("../README.md")]

mod error;
mod id;
mod json;
mod limits;
mod members;
mod message;
mod method;
mod number;
mod structure;
mod version;
mod walk;

pub mod cancel;
pub mod capability;
pub mod completion;
pub mod content;
pub mod discover;
pub mod elicitation;
pub mod header;
pub mod implementation;
pub mod initialize;
pub mod list;
pub mod logging;
pub mod meta;
pub mod progress;
pub mod prompt;
pub mod resource;
pub mod result;
pub mod roots;
pub mod sampling;
pub mod subscription;
pub mod task;
pub mod tool;

pub use error::{ErrorCode, RpcError};
pub use id::RequestId;
pub use json::{InvalidJson, JsonKind, RawJson};
pub use limits::Limits;
pub use members::Members;
pub use message::{Failure, Message, Notification, ParseError, ParseErrorKind, Payload, Request, Response};
pub use method::{Direction, Method, RetrySafety};
pub use number::Number;
pub use structure::Unknown;
pub use version::{Era, EraPolicy, ProtocolVersion, UnknownVersion};
