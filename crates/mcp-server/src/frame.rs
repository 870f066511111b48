//! From one frame to the messages in it.

use bytes::Bytes;
use mcp_protocol::{ErrorCode, Failure, Limits, Message, Method, ParseError, Payload, RpcError};

/// What one line or HTTP body holds.
#[derive(Debug)]
pub(crate) enum Frame {
    Single(Message),
    /// An entry that is no usable message is the error to answer with.
    Batch(Vec<Result<Message, Failure>>),
}

impl Frame {
    /// Reads a frame. `batches` says whether the sender's revision has them; only 2025-03-26 does.
    pub(crate) fn parse(text: &Bytes, limits: &Limits, batches: bool) -> Result<Self, ParseError> {
        if !batches {
            return Message::parse(text, limits).map(Self::Single);
        }
        Ok(match Payload::parse(text, limits)? {
            Payload::Single(message) => Self::Single(message),
            Payload::Batch(entries) => Self::Batch(entries.into_iter().map(batch_entry).collect()),
        })
    }
}

fn batch_entry(entry: Result<Message, ParseError>) -> Result<Message, Failure> {
    match entry {
        Ok(Message::Request(request)) if request.method == Method::Initialize => Err(Failure {
            id: Some(request.id),
            error: RpcError::new(ErrorCode::INVALID_REQUEST, "initialize must not be part of a batch"),
        }),
        Ok(message) => Ok(message),
        Err(error) => Err(error.to_failure()),
    }
}
