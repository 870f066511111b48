//! A successful answer, and what makes it one.

use bytes::Bytes;
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

/// Judges a result as any method's: an object, and in the stateless era a kind of result we know.
pub(crate) fn check_result(
    method: &Method,
    answer: &Answer,
    known_types: Option<&[&str]>,
) -> Result<(), CallError> {
    let reason: Box<str> = match answer.result.kind() {
        _ if *method == Method::Ping => return Ok(()), // any answer shows that the server lives
        JsonKind::Null => "missing result".into(),
        JsonKind::Object => {
            let Some(known) = known_types else { return Ok(()) };
            match answer.result.get("resultType").map(|kind| kind.to::<String>()) {
                None => return Ok(()), // absent means complete
                Some(Ok(kind)) if known.contains(&kind.as_str()) => return Ok(()),
                Some(Ok(kind)) => {
                    let kind: String = kind.chars().take(64).collect();
                    format!("unknown resultType {kind:?}").into()
                }
                Some(Err(_)) => "resultType is not a string".into(),
            }
        }
        found => format!("the result is {found}, not an object").into(),
    };
    Err(CallError::unusable(reason, answer.frame.clone()))
}
