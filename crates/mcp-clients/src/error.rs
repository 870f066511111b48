//! What can go wrong with a request. Source: contract §7.1.

use std::time::Duration;

use mcp_client::{CallError, ConnectError};
use mcp_protocol::{RawJson, RpcError};
use mcp_registry::{ErrorCategory, Failure};
use mcp_transport::{Delivery, TransportError, TransportErrorKind};

/// A request that brought no usable result. Texts hold no secrets and no bodies of servers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// There is no connection, it could not be made, or it broke.
    #[error("{text}")]
    Connection {
        /// What happened.
        text: Box<str>,
        /// How far the request got.
        delivery: Delivery,
    },
    /// No answer within the limit. The request was cancelled, and a late answer is ignored.
    #[error("timed out after {limit:?}")]
    Timeout {
        /// The limit.
        limit: Duration,
        /// How far the request got.
        delivery: Delivery,
    },
    /// The request waited for its turn until its time was up: too many were under way, or a rate limit held
    /// them back.
    #[error("no turn within {limit:?}: too many requests are under way, or the rate limit holds them back")]
    Busy {
        /// The time it had.
        limit: Duration,
    },
    /// What came back is no valid answer: no JSON-RPC, the wrong shape, too large, an unusable event of a
    /// stream.
    #[error("{text}")]
    Protocol {
        /// What is wrong with it.
        text: Box<str>,
        /// How far the request got.
        delivery: Delivery,
    },
    /// The request cannot be sent as it is, for example because its arguments are no object.
    #[error("{text}")]
    Request {
        /// What is wrong with it.
        text: Box<str>,
    },
    /// The server answered with a JSON-RPC error.
    #[error("rpc error: {0}")]
    Rpc(RpcError),
    /// The process of the server ended.
    #[error("server process ended: {text}")]
    Process {
        /// How it ended.
        text: Box<str>,
        /// How far the request got.
        delivery: Delivery,
    },
    /// The server answered with an HTTP status alone.
    #[error("http status {status}")]
    Http {
        /// The status.
        status: u16,
        /// `Retry-After`, if it came with one.
        retry_after: Option<Duration>,
        /// How far the request got.
        delivery: Delivery,
    },
    /// The circuit breaker is open: nothing was sent.
    #[error("the circuit breaker is open after repeated failures; the next trial is in {retry_in:?}")]
    BreakerOpen {
        /// When the next request is let through; zero while a trial is under way.
        retry_in: Duration,
    },
    /// The server asked for input before it would go on, and the handler gave none.
    #[error("{text}")]
    Unanswered {
        /// What it asked for, and what the handler said.
        text: Box<str>,
    },
    /// The server asks for input before it goes on, and no handler gives it (contract §9.13, M5).
    #[error("the server needs input to go on; give the client a request handler")]
    InputRequired {
        /// The result as it came, with `inputRequests`.
        result: RawJson,
    },
}

impl ClientError {
    /// The class of contract §4.5.
    #[must_use]
    pub fn category(&self) -> ErrorCategory {
        match self {
            Self::Connection { .. } | Self::Process { .. } | Self::BreakerOpen { .. } => {
                ErrorCategory::TransportError
            }
            Self::Timeout { .. } | Self::Busy { .. } => ErrorCategory::NetworkTimeout,
            Self::Protocol { .. }
            | Self::Request { .. }
            | Self::Unanswered { .. }
            | Self::InputRequired { .. } => ErrorCategory::InvalidPayload,
            Self::Rpc(_) => ErrorCategory::RpcError,
            Self::Http { .. } => ErrorCategory::HttpStatus,
        }
    }

    /// How far the request got, which decides whether a repeat is safe.
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        match self {
            Self::Connection { delivery, .. }
            | Self::Timeout { delivery, .. }
            | Self::Protocol { delivery, .. }
            | Self::Process { delivery, .. }
            | Self::Http { delivery, .. } => *delivery,
            Self::Busy { .. } | Self::Request { .. } | Self::BreakerOpen { .. } => Delivery::NotSent,
            Self::Rpc(_) | Self::InputRequired { .. } => Delivery::Rejected,
            Self::Unanswered { .. } => Delivery::Unknown,
        }
    }

    /// Whether the server did not take our credentials (HTTP 401 or 403).
    #[must_use]
    pub fn is_authentication(&self) -> bool {
        matches!(self, Self::Http { status: 401 | 403, .. })
    }

    /// Whether the server wants fewer requests (HTTP 429).
    #[must_use]
    pub fn is_rate_limited(&self) -> bool {
        matches!(self, Self::Http { status: 429, .. })
    }

    /// Whether this speaks against the server: it was not reached, did not answer, or not with an answer.
    pub(crate) fn blames_server(&self) -> bool {
        match self {
            Self::Connection { .. }
            | Self::Timeout { .. }
            | Self::Protocol { .. }
            | Self::Process { .. }
            | Self::Http { .. } => true,
            Self::Busy { .. }
            | Self::Request { .. }
            | Self::Rpc(_)
            | Self::BreakerOpen { .. }
            | Self::Unanswered { .. }
            | Self::InputRequired { .. } => false,
        }
    }

    pub(crate) fn not_connected(text: impl Into<Box<str>>) -> Self {
        Self::Connection { text: text.into(), delivery: Delivery::NotSent }
    }

    pub(crate) fn request(text: impl Into<Box<str>>) -> Self {
        Self::Request { text: text.into() }
    }

    /// A well-formed answer that is not what the method promises.
    pub(crate) fn unusable(text: impl Into<Box<str>>) -> Self {
        Self::Protocol { text: text.into(), delivery: Delivery::Unknown }
    }
}

impl From<TransportError> for ClientError {
    fn from(error: TransportError) -> Self {
        let delivery = error.delivery;
        match error.kind {
            TransportErrorKind::Timeout { limit } => Self::Timeout { limit, delivery },
            TransportErrorKind::Busy { limit } => Self::Busy { limit },
            TransportErrorKind::Exited(text) => Self::Process { text, delivery },
            TransportErrorKind::Status { status, retry_after } => {
                Self::Http { status, retry_after, delivery }
            }
            TransportErrorKind::Redirect { status, .. } => Self::Http { status, retry_after: None, delivery },
            // That is how servers say it.
            TransportErrorKind::SessionExpired => Self::Http { status: 404, retry_after: None, delivery },
            TransportErrorKind::Payload(text) => Self::Protocol { text, delivery },
            kind => Self::Connection { text: kind.to_string().into(), delivery },
        }
    }
}

impl From<CallError> for ClientError {
    fn from(error: CallError) -> Self {
        let delivery = error.delivery();
        match error {
            CallError::Unanswered { .. } => Self::Unanswered { text: error.to_string().into() },
            CallError::Rpc { error, .. } => Self::Rpc(error),
            CallError::Transport(error) => error.into(),
            CallError::Invalid { reason, frame: None } => Self::request(reason),
            CallError::Invalid { reason, .. } => Self::Protocol { text: reason, delivery },
            other => Self::Protocol { text: other.to_string().into(), delivery },
        }
    }
}

/// Class and text of a connection that could not be made.
pub(crate) fn of_connect(error: ConnectError) -> Failure {
    let text = shortened(error.to_string());
    let error = ClientError::from(error.error);
    Failure::new(error.category(), text).delivered(error.delivery())
}

/// Class and text of any failed request.
pub(crate) fn of_request(error: &ClientError) -> Failure {
    Failure::new(error.category(), shortened(error.to_string())).delivered(error.delivery())
}

/// Longest text of a failure in bytes: it is kept and told on, and peers choose it.
const MAX_TEXT: usize = 1024;

fn shortened(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use mcp_protocol::{ErrorCode, Method};

    #[test]
    fn each_error_has_one_category() {
        let transport = |kind| ClientError::from(TransportError::new(kind, Delivery::Unknown));
        let limit = Duration::from_secs(1);
        let rpc = RpcError::new(ErrorCode::INVALID_PARAMS, "no such tool");
        for (error, category, blames) in [
            (transport(TransportErrorKind::Timeout { limit }), ErrorCategory::NetworkTimeout, true),
            (transport(TransportErrorKind::Busy { limit }), ErrorCategory::NetworkTimeout, false),
            (transport(TransportErrorKind::Connect("x".into())), ErrorCategory::TransportError, true),
            (transport(TransportErrorKind::Closed("x".into())), ErrorCategory::TransportError, true),
            (transport(TransportErrorKind::Endpoint("x".into())), ErrorCategory::TransportError, true),
            (transport(TransportErrorKind::Exited("x".into())), ErrorCategory::TransportError, true),
            (transport(TransportErrorKind::SessionExpired), ErrorCategory::HttpStatus, true),
            (
                transport(TransportErrorKind::Redirect { status: 307, target: "/x".into() }),
                ErrorCategory::HttpStatus,
                true,
            ),
            (
                transport(TransportErrorKind::Status { status: 503, retry_after: None }),
                ErrorCategory::HttpStatus,
                true,
            ),
            (transport(TransportErrorKind::Payload("x".into())), ErrorCategory::InvalidPayload, true),
            (CallError::Rpc { error: rpc, frame: Bytes::new() }.into(), ErrorCategory::RpcError, false),
            (
                CallError::Invalid { reason: "x".into(), frame: Some(Bytes::new()) }.into(),
                ErrorCategory::InvalidPayload,
                true,
            ),
            (
                CallError::Invalid { reason: "x".into(), frame: None }.into(),
                ErrorCategory::InvalidPayload,
                false,
            ),
            (ClientError::not_connected("x"), ErrorCategory::TransportError, true),
            (ClientError::BreakerOpen { retry_in: limit }, ErrorCategory::TransportError, false),
            (
                CallError::Unanswered {
                    method: Method::RootsList,
                    error: RpcError::new(ErrorCode::INTERNAL_ERROR, "x"),
                }
                .into(),
                ErrorCategory::InvalidPayload,
                false,
            ),
            (
                ClientError::InputRequired { result: RawJson::empty_object() },
                ErrorCategory::InvalidPayload,
                false,
            ),
        ] {
            assert_eq!((error.category(), error.blames_server()), (category, blames), "{error}");
        }
    }

    #[test]
    fn statuses_say_what_they_mean() {
        let http = |status| ClientError::Http { status, retry_after: None, delivery: Delivery::Rejected };
        for (status, authentication, rate) in
            [(401, true, false), (403, true, false), (429, false, true), (503, false, false)]
        {
            let error = http(status);
            assert_eq!((error.is_authentication(), error.is_rate_limited()), (authentication, rate));
        }
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let error = ClientError::unusable("ü".repeat(2000));
        let failure = of_request(&error);
        assert!(failure.text.len() <= MAX_TEXT + '…'.len_utf8() && failure.text.ends_with("ü…"));
    }
}
