//! What can go wrong with a call and with connecting.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mcp_protocol::{ErrorCode, RpcError};
use mcp_transport::{Delivery, TransportError, TransportErrorKind};

use crate::profile::ServerProfile;

/// A request that brought no usable result. The texts are those of contract §4.5.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// The server answered with a JSON-RPC error.
    Rpc {
        /// The error object as it came.
        error: RpcError,
        /// The whole JSON-RPC response as it came.
        frame: Bytes,
    },
    /// The transport failed, or a limit in time was reached.
    Transport(TransportError),
    /// The server asked for something before it would go on, and our handler gave no answer. How far the
    /// server has come is not known.
    Unanswered {
        /// What it asked for.
        method: mcp_protocol::Method,
        /// Why there is no answer.
        error: RpcError,
    },
    /// The server answered, but not with what the method promises; or the request itself is malformed.
    Invalid {
        /// What is wrong.
        reason: Box<str>,
        /// The answer as it came, if there was one.
        frame: Option<Bytes>,
    },
}

impl CallError {
    /// How far the request got: [`Rejected`](Delivery::Rejected) for a JSON-RPC error,
    /// [`Unknown`](Delivery::Unknown) for an unusable answer, else what the transport says.
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        match self {
            Self::Rpc { .. } => Delivery::Rejected,
            Self::Transport(error) => error.delivery,
            Self::Invalid { frame: None, .. } => Delivery::NotSent,
            Self::Invalid { frame: Some(_), .. } | Self::Unanswered { .. } => Delivery::Unknown,
        }
    }

    /// Whether a limit in time was reached.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Transport(TransportError { kind: TransportErrorKind::Timeout { .. }, .. }))
    }

    /// Whether the server missed a header or found it disagreeing with the body.
    pub(crate) fn is_header_mismatch(&self) -> bool {
        matches!(self, Self::Rpc { error, .. } if error.code() == Some(ErrorCode::HEADER_MISMATCH))
    }

    /// Whether the server does not know our session any more. The request was not executed.
    pub(crate) fn is_forgotten_session(&self) -> bool {
        matches!(
            self,
            Self::Transport(TransportError {
                kind: TransportErrorKind::SessionExpired,
                delivery: Delivery::Rejected,
                ..
            })
        )
    }

    /// A request that got no answer in time. The server may still be working on it.
    pub(crate) fn timeout(limit: Duration) -> Self {
        Self::Transport(TransportError::new(TransportErrorKind::Timeout { limit }, Delivery::Unknown))
    }

    /// A peer that sends a request of ours back to us, as `cat` does.
    pub(crate) fn echo() -> Self {
        let kind = TransportErrorKind::Endpoint("not an MCP server: it sends back what it is sent".into());
        Self::Transport(TransportError::new(kind, Delivery::Rejected))
    }

    /// A lost or closed connection.
    pub(crate) fn closed(reason: &str, delivery: Delivery) -> Self {
        Self::Transport(TransportError::new(TransportErrorKind::Closed(reason.into()), delivery))
    }

    /// An unusable answer.
    pub(crate) fn unusable(reason: impl Into<Box<str>>, frame: Bytes) -> Self {
        Self::Invalid { reason: reason.into(), frame: Some(frame) }
    }

    /// A request that cannot be sent as it is.
    pub(crate) fn malformed(reason: impl Into<Box<str>>) -> Self {
        Self::Invalid { reason: reason.into(), frame: None }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rpc { error, .. } => write!(f, "rpc error: {error}"),
            Self::Transport(TransportError { kind: TransportErrorKind::Timeout { limit }, .. }) => {
                write!(f, "timed out after {limit:?}")
            }
            Self::Transport(error) => error.fmt(f),
            Self::Invalid { reason, .. } => f.write_str(reason),
            Self::Unanswered { method, error } => {
                write!(f, "the server asked for {method} and got no answer: {error}")
            }
        }
    }
}

impl std::error::Error for CallError {}

impl From<TransportError> for CallError {
    fn from(error: TransportError) -> Self {
        Self::Transport(error)
    }
}

/// A connection that could not be opened, or a handshake that failed on a live one.
///
/// Shows as the failure that decided, with the hint in brackets where there is one:
/// `http status 401 (credentials are needed: set auth, or a header)`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{error}{}", in_brackets(*hint))]
#[non_exhaustive]
pub struct ConnectError {
    /// The failure that decided.
    pub error: CallError,
    /// Set when the server accepted `initialize` but `notifications/initialized` could not be sent
    /// (contract §3.1 step 8).
    pub profile: Option<Arc<ServerProfile>>,
    /// What to do about an HTTP status, when nothing but such came back: such a URL is often no MCP endpoint.
    pub hint: Option<&'static str>,
    /// What was tried, in order, each with its outcome; for people. About 500 characters each at most.
    pub tried: Vec<String>,
    /// What the transport told of the connection that failed, such as the last lines of stderr.
    pub details: Vec<(&'static str, String)>,
}

fn in_brackets(hint: Option<&str>) -> String {
    hint.map_or_else(String::new, |hint| format!(" ({hint})"))
}
