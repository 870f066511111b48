//! Invoking a tool or reading a resource: requests, results, and the trace of what was tried.

use std::num::NonZeroU64;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::value::RawValue;

use crate::UserContext;

/// The body of `POST /invoke/tool` (contract §6.2, endpoint 11). Unknown keys are refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvokeTool {
    /// Name of the tool.
    pub tool_name: String,
    /// A JSON object, passed through byte for byte; `{}` when missing.
    #[serde(default = "empty_object", deserialize_with = "object")]
    pub arguments: Box<RawValue>,
    /// Servers to try first, in this order. Null and empty mean no preference (contract §4.1).
    #[serde(default)]
    pub preferred_servers: Option<Vec<String>>,
    /// Whether only the preferred servers may be tried.
    #[serde(default, skip_serializing_if = "is_false")]
    pub preferred_only: bool,
    /// Only servers of this group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Whether the call may run twice; decides failover after an ambiguous failure (contract §2.5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotent: Option<bool>,
    /// Limit of one attempt, in milliseconds; the server's `request_timeout` when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<NonZeroU64>,
    /// On whose behalf. The token goes to servers with `forward_user_token` only (contract §8.5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_context: Option<UserContext>,
}

impl InvokeTool {
    /// A call of `tool_name` without arguments or preferences.
    pub fn new(tool_name: impl Into<String>) -> Self {
        Self {
            tool_name: tool_name.into(),
            arguments: empty_object(),
            preferred_servers: None,
            preferred_only: false,
            group: None,
            idempotent: None,
            timeout_ms: None,
            user_context: None,
        }
    }
}

/// The body of `POST /invoke/resource` (contract §6.2, endpoint 12). Unknown keys are refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvokeResource {
    /// The resource.
    pub uri: String,
    /// As [`InvokeTool::preferred_servers`].
    #[serde(default)]
    pub preferred_servers: Option<Vec<String>>,
    /// As [`InvokeTool::preferred_only`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub preferred_only: bool,
    /// As [`InvokeTool::group`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// As [`InvokeTool::idempotent`]; reading is safe to repeat anyway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotent: Option<bool>,
    /// As [`InvokeTool::timeout_ms`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<NonZeroU64>,
    /// As [`InvokeTool::user_context`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_context: Option<UserContext>,
}

/// The body of `POST /servers/{name}/tools/{tool}/call` (contract §6.3, endpoint 26). Unknown keys are refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallOnServer {
    /// A JSON object, passed through byte for byte; `{}` when missing.
    #[serde(default = "empty_object", deserialize_with = "object")]
    pub parameters: Box<RawValue>,
    /// As [`InvokeTool::user_context`]; the server named gets the token in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_context: Option<UserContext>,
    /// Whether the call may run twice; decides if it is tried again after an ambiguous failure (contract §2.5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotent: Option<bool>,
    /// As [`InvokeTool::timeout_ms`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<NonZeroU64>,
}

/// The body of a served invocation, status 200 (contract §4.3).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InvocationResult {
    /// Name of the server that answered.
    pub server: String,
    /// `tools/call` or `resources/read`.
    pub method: String,
    /// The invocation, to find its events with.
    pub request_id: String,
    /// The `result` member of the answer, byte for byte. A tool may say `isError` in it.
    pub result: Box<RawValue>,
    /// The whole JSON-RPC response object.
    pub raw_response: Box<RawValue>,
    /// Additive: what was tried before and on the server that answered. Missing when not reported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
}

/// The body of a failed invocation, status 503 (contract §4.6).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InvocationFailure {
    /// What failed and how.
    pub detail: InvocationError,
}

/// Why no server answered, and what was tried (contract §4.6).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InvocationError {
    /// For people: that no server is reachable, or every failed candidate with its stage and error.
    pub message: String,
    /// `tools/call` or `resources/read`, also when nothing was tried.
    pub method: String,
    /// For programs: why it ended.
    pub code: FailureCode,
    /// What was tried, in order; empty without a candidate.
    pub attempts: Vec<Attempt>,
}

/// Why an invocation failed as a whole (contract §4.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureCode {
    /// No server may be tried: none is registered, enabled, preferred or out of its retry window.
    NoCandidates,
    /// Servers could be tried, but all are known not to have the tool.
    NoServerOffersTool,
    /// Each candidate was tried and failed.
    AllCandidatesFailed,
    /// The call may have taken effect, so it was not repeated elsewhere (contract §2.5).
    AmbiguousNotRetried,
    /// Every server refused the request itself (contract §4.5).
    CallerError,
    /// `max_call_deadline` passed.
    DeadlineExceeded,
    /// The gateway is shutting down.
    ShuttingDown,
}

/// One entry of the trace (contract §4.4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Name of the candidate.
    pub server: String,
    /// What was attempted.
    pub stage: Stage,
    /// Whether it worked.
    pub success: bool,
    /// Text of the failure; null on success only.
    pub error: Option<String>,
    /// Class of the failure; null on success only.
    pub error_category: Option<ErrorCategory>,
    /// Additive: which attempt of a directed call this is, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Additive: how long it took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<f64>,
    /// Additive: how far a failed request got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
}

/// The two stages of using a candidate (contract §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The handshake or discovery, also when an earlier one is still in force.
    Initialize,
    /// The request itself.
    Invoke,
}

/// The closed set of failure classes (contract §4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCategory {
    /// A connect, read, write or overall deadline passed.
    NetworkTimeout,
    /// An HTTP status that is no JSON-RPC answer.
    HttpStatus,
    /// An answer that is not what the protocol asks for.
    InvalidPayload,
    /// A JSON-RPC error object.
    RpcError,
    /// Name resolution, TCP, TLS, a broken pipe, a process that ended.
    TransportError,
    /// A failed health probe.
    HealthCheck,
    /// A failed initialize stage of no recorded class.
    InitializeError,
    /// Recorded without a class.
    Unknown,
}

/// How far a request got that was not answered: whether a repeat can run it twice (contract §2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Delivery {
    /// It never left.
    NotSent,
    /// The server refused it unexecuted.
    Rejected,
    /// It may have been executed.
    Unknown,
}

pub(crate) fn empty_object() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

pub(crate) fn object<'de, D: Deserializer<'de>>(from: D) -> Result<Box<RawValue>, D::Error> {
    let raw = Box::<RawValue>::deserialize(from)?;
    // The text of a raw value starts at the value, without space before it.
    if raw.get().starts_with('{') { Ok(raw) } else { Err(D::Error::custom("must be a JSON object")) }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

#[cfg(test)]
mod tests;
