//! A successful answer, and what makes it one.

use bytes::Bytes;
use mcp_protocol::result::{Envelope, ResultType};
use mcp_protocol::{JsonKind, Method, RawJson};

use crate::error::CallError;

/// A successful answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The result: an object, except for `ping`.
    pub result: RawJson,
    /// The whole JSON-RPC response as it came.
    pub frame: Bytes,
}

/// Judges a result as any method's: an object, and in the stateless era of a kind that is `known`.
pub(crate) fn check_result(
    method: &Method,
    answer: &Answer,
    known: Option<&[ResultType]>,
) -> Result<(), CallError> {
    let reason: Box<str> = match answer.result.kind() {
        // Any answer to a ping shows that the server lives; a handshake is judged by the negotiation.
        _ if matches!(method, Method::Ping | Method::Initialize) => return Ok(()),
        JsonKind::Null => "missing result".into(),
        JsonKind::Object => {
            let Some(known) = known else { return Ok(()) };
            match Envelope::read(&answer.result).map(|envelope| envelope.result_type) {
                Ok(kind) if known.contains(&kind) => return Ok(()),
                Ok(kind) => {
                    let kind: String = kind.as_str().chars().take(64).collect();
                    format!("unknown resultType {kind:?}").into()
                }
                Err(error) => format!("unusable result: {error}").into(),
            }
        }
        found => format!("the result is {found}, not an object").into(),
    };
    Err(CallError::unusable(reason, answer.frame.clone()))
}
