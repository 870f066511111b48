//! From one frame to the messages in it.

use bytes::Bytes;
use mcp_protocol::{ErrorCode, Failure, Limits, Message, Method, ParseError, Payload, RpcError};

/// What one line or HTTP body holds; an entry that is no usable message is the error to answer with.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) is_batch: bool,
    pub(crate) entries: Vec<Result<Message, Failure>>,
}

impl Frame {
    /// Reads a frame. `batches` says whether the sender's revision has them; only 2025-03-26 does.
    pub(crate) fn parse(text: &Bytes, limits: &Limits, batches: bool) -> Result<Self, ParseError> {
        if !batches {
            return Ok(Self { is_batch: false, entries: vec![Ok(Message::parse(text, limits)?)] });
        }
        Ok(match Payload::parse(text, limits)? {
            Payload::Single(message) => Self { is_batch: false, entries: vec![Ok(message)] },
            Payload::Batch(entries) => {
                Self { is_batch: true, entries: entries.into_iter().map(batch_entry).collect() }
            }
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
