//! The wire layer of the Model Context Protocol (MCP): every released revision, both eras.
//!
//! The crate parses and writes JSON-RPC messages without building a tree of them. A frame is scanned
//! once; `params` and `result` stay the bytes they came in ([`RawJson`]), so unknown members, member
//! order and big integers survive a relay.
//!
//! It does no I/O, reads no clock and knows no runtime.
//!
//! ```
//! use bytes::Bytes;
//! use mcp_protocol::{Limits, Message, Method};
//!
//! let frame = Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}"#);
//! let Message::Request(request) = Message::parse(&frame, &Limits::default())? else { panic!() };
//! assert_eq!(request.method, Method::ToolsCall);
//! assert_eq!(request.params.unwrap().as_str(), r#"{"name":"echo"}"#);
//! # Ok::<(), mcp_protocol::ParseError>(())
//! ```

mod error;
mod id;
mod json;
mod message;
mod method;
mod version;

pub use error::{ErrorCode, RpcError};
pub use id::RequestId;
pub use json::{InvalidJson, JsonKind, Limits, Members, RawJson};
pub use message::{Failure, Message, Notification, ParseError, ParseErrorKind, Payload, Request, Response};
pub use method::{Direction, Method, RetrySafety};
pub use version::{Era, EraPolicy, ProtocolVersion, UnknownVersion};
