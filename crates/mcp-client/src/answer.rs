//! A successful answer, and what makes it one.

use bytes::Bytes;
use mcp_protocol::result::{Envelope, ResultType};
use mcp_protocol::{InvalidJson, JsonKind, Method, RawJson};

use crate::error::CallError;

/// A successful answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The result: an object, except for `ping`.
    pub result: RawJson,
    /// The whole JSON-RPC response as it came.
    pub frame: Bytes,
    /// What the result says of itself in the stateless era; `None` in the handshake era, and in answers to what asks
    /// which era it is.
    pub envelope: Option<Envelope>,
}

impl Answer {
    /// One whose result was not looked at yet.
    pub(crate) fn new(result: RawJson, frame: Bytes) -> Self {
        Self { result, frame, envelope: None }
    }

    /// Puts another result in place of this one, such as that of the task which the server has answered with.
    ///
    /// # Errors
    /// [`InvalidJson`] if the era wants an object whose kind can be read, and this is none. Nothing changes then.
    pub fn replace_result(&mut self, result: RawJson) -> Result<(), InvalidJson> {
        if self.envelope.is_some() {
            self.envelope = Some(Envelope::read(&result)?);
        }
        self.result = result;
        Ok(())
    }

    /// Whether the server has to know more before it can answer.
    #[must_use]
    pub fn requires_input(&self) -> bool {
        self.envelope.as_ref().is_some_and(|envelope| envelope.result_type == ResultType::InputRequired)
    }
}

/// Judges a result as any method's: an object, and in the stateless era of a kind that is `known`.
pub(crate) fn check_result(
    method: &Method,
    answer: Answer,
    known: Option<&[ResultType]>,
) -> Result<Answer, CallError> {
    let reason: Box<str> = match answer.result.kind() {
        // Any answer to a ping shows that the server lives; a handshake is judged by the negotiation.
        _ if matches!(method, Method::Ping | Method::Initialize) => return Ok(answer),
        JsonKind::Null => "missing result".into(),
        JsonKind::Object => {
            let Some(known) = known else { return Ok(answer) };
            match Envelope::read(&answer.result) {
                Ok(envelope) if known.contains(&envelope.result_type) => {
                    return Ok(Answer { envelope: Some(envelope), ..answer });
                }
                Ok(envelope) => {
                    let kind: String = envelope.result_type.as_str().chars().take(64).collect();
                    format!("unknown resultType {kind:?}").into()
                }
                Err(error) => format!("unusable result: {error}").into(),
            }
        }
        found => format!("the result is {found}, not an object").into(),
    };
    Err(CallError::unusable(reason, answer.frame))
}
