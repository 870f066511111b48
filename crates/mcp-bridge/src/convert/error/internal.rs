//! Failures between us and a server, as an error of ours.

use mcp_protocol::{ErrorCode, JsonKind, Members, Method, RawJson, RpcError};
use mcp_transport::Delivery;

use super::{MAX_DATA, Reply, tool_failure};

/// What stands in `data.reason`.
pub mod reason {
    /// The server cannot be reached, or broke down before it got the request. Source: bridging §9.
    pub const UPSTREAM_UNAVAILABLE: &str = "upstream_unavailable";
    /// Whether the server executed the request is not known. Source: bridging §9.
    pub const OUTCOME_UNKNOWN: &str = "outcome_unknown";
    /// The time was up. Source: bridging §9.
    pub const TIMEOUT: &str = "timeout";
    /// The server has no place for the request at the moment. Source: bridging §6.3.1, rule 12.
    pub const UPSTREAM_BUSY: &str = "upstream_busy";
    /// The server does not take our credentials, or needs some. Source: bridging §9.
    pub const UPSTREAM_AUTHORIZATION: &str = "upstream_authorization_required";
    /// The server answered with an error that means nothing to the client.
    pub const UPSTREAM_ERROR: &str = "upstream_error";
    /// The server's answer breaks the protocol.
    pub const INVALID_RESPONSE: &str = "invalid_response";
    /// The client did not answer what the server asked of it. Source: bridging §6.2.
    pub const CLIENT_REFUSED: &str = "client_refused";
    /// Server and client went on asking and answering beyond the limit. Source: bridging §6.2.
    pub const DID_NOT_CONVERGE: &str = "interaction_did_not_converge";
    /// The tool is withheld: its definition is not the one that was approved. Source: product §5.
    pub const TOOL_CHANGED: &str = "tool_changed";
}

/// An error `-32603` whose `data` says what is known of the failure.
#[derive(Debug, Clone)]
pub struct InternalError<'a> {
    /// What happened, for people. No secrets.
    pub message: Box<str>,
    /// What happened, for programs: one of [`reason`].
    pub reason: &'static str,
    /// How far the request got.
    pub delivery: Option<Delivery>,
    /// Under which id the request is found in traces and events.
    pub request_id: Option<&'a str>,
    /// The error it comes from: the server's, or the client's where that one refused something. Its code and data
    /// are shown as `upstreamCode` and `upstreamData`.
    pub upstream: Option<&'a RpcError>,
}

impl<'a> InternalError<'a> {
    /// An error of which no more is known.
    #[must_use]
    pub fn new(reason: &'static str, message: &str) -> Self {
        Self { message: message.into(), reason, delivery: None, request_id: None, upstream: None }
    }

    /// The error object.
    #[must_use]
    pub fn to_error(&self) -> RpcError {
        let mut data = Members::default();
        data.set_json("reason", RawJson::string(self.reason));
        if let Some(delivery) = self.delivery {
            data.set_json("delivery", RawJson::string(delivery.as_str()));
        }
        if let Some(id) = self.request_id {
            data.set_json("requestId", RawJson::string(id));
        }
        if let Some(error) = self.upstream {
            if let Some(code) = error.as_raw().get("code").filter(|code| code.kind() == JsonKind::Number) {
                data.set_json("upstreamCode", code);
            }
            if let Some(original) = error.data().filter(|data| data.as_bytes().len() <= MAX_DATA) {
                data.set_json("upstreamData", original);
            }
        }
        RpcError::with_data(ErrorCode::INTERNAL_ERROR, &self.message, &data.encode())
    }

    /// The same where a model should read it: a failed tool call says it in its result, all else in an error.
    /// For failures that the caller can do something about: bridging §6.2, §9.
    #[must_use]
    pub fn to_reply(&self, method: &Method) -> Reply {
        match method {
            Method::ToolsCall => Reply::Result(tool_failure(&self.message)),
            _ => Reply::Error(self.to_error()),
        }
    }
}
