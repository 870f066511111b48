//! Failures of a transport, and how far the message got.

use std::time::Duration;

use mcp_protocol::RequestId;

/// How far a message got before the failure. Decides whether a repeat is safe (reliability §1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// The server certainly did not get it.
    NotSent,
    /// The server got it and refused it without executing it.
    Rejected,
    /// The server may have executed it.
    Unknown,
}

impl Delivery {
    /// `not_sent`, `rejected` or `unknown`, as errors and traces spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotSent => "not_sent",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
        }
    }
}

/// What failed. `#[source]` texts hold no secrets and no upstream bodies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportErrorKind {
    /// The endpoint cannot be used as configured: missing program, bad header, refused address.
    #[error("{0}")]
    Endpoint(Box<str>),
    /// No connection: name resolution, refused, TLS, spawn.
    #[error("{0}")]
    Connect(Box<str>),
    /// The connection broke: reset, early end of a stream, broken pipe.
    #[error("{0}")]
    Closed(Box<str>),
    /// The server process ended.
    #[error("server process ended: {0}")]
    Exited(Box<str>),
    /// A limit in time was reached.
    #[error("no answer within {limit:?}")]
    Timeout {
        /// The limit.
        limit: Duration,
    },
    /// The message found no place while it was of use ([`Outbound::until`](crate::Outbound::until)): too many
    /// are under way to the server, or they follow too fast. The server did not get it: always
    /// [`Delivery::NotSent`]; see [`TransportError::busy`].
    #[error("no place was free within {limit:?}; see pool_max_connections and rate_limit")]
    Busy {
        /// The time the message had when it came to the transport.
        limit: Duration,
    },
    /// An HTTP status that carries no JSON-RPC answer.
    #[error("http status {status}")]
    Status {
        /// The status code.
        status: u16,
        /// `Retry-After`, if the server named one.
        retry_after: Option<Duration>,
    },
    /// A redirect, which is not followed: what we send is for the server that was configured.
    #[error("http status {status}, a redirect to {target}, which is not followed")]
    Redirect {
        /// The status code.
        status: u16,
        /// Where it leads: a path at the same origin, or only that it is another one.
        target: Box<str>,
    },
    /// The server no longer knows our session (404 with a session id). The message was not executed.
    #[error("the server ended the session")]
    SessionExpired,
    /// Messages may have been lost on the inbox, which goes on: the stream they come on was interrupted and
    /// could not be resumed where it broke. Nothing that was sent failed.
    #[error("the server's messages were interrupted; some may be lost")]
    Gap,
    /// What came back is no usable message: wrong content type, no JSON, too large.
    #[error("{0}")]
    Payload(Box<str>),
}

/// A failed send, or the failure that ended a stream of messages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct TransportError {
    /// What failed.
    pub kind: TransportErrorKind,
    /// How far the message got.
    pub delivery: Delivery,
    /// The request that an unusable message was meant to answer, if that could be read.
    pub answers: Option<RequestId>,
}

impl TransportError {
    /// A failure with a known delivery.
    #[must_use]
    pub fn new(kind: TransportErrorKind, delivery: Delivery) -> Self {
        Self { kind, delivery, answers: None }
    }

    /// A message that found no free connection in the time it had.
    #[must_use]
    pub fn busy(limit: Duration) -> Self {
        Self::new(TransportErrorKind::Busy { limit }, Delivery::NotSent)
    }

    /// The same, known to concern one request.
    #[must_use]
    pub fn answering(self, id: Option<RequestId>) -> Self {
        Self { answers: id, ..self }
    }
}
