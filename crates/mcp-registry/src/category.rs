//! The closed set of failure classes.

use std::fmt;
use std::sync::Arc;

use mcp_transport::Delivery;

/// Why something failed; the same word from the transport to the record, the event and the attempt.
/// Source: contract §4.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorCategory {
    /// A limit in time was reached.
    NetworkTimeout,
    /// An HTTP status without a JSON-RPC answer.
    HttpStatus,
    /// Something came back that is no valid answer.
    InvalidPayload,
    /// A JSON-RPC error.
    RpcError,
    /// The connection could not be made or broke.
    TransportError,
    /// A health probe failed.
    HealthCheck,
    /// The initialize stage failed without a recorded cause.
    InitializeError,
    /// Recorded without a category.
    Unknown,
}

impl ErrorCategory {
    /// The stable spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NetworkTimeout => "network_timeout",
            Self::HttpStatus => "http_status",
            Self::InvalidPayload => "invalid_payload",
            Self::RpcError => "rpc_error",
            Self::TransportError => "transport_error",
            Self::HealthCheck => "health_check",
            Self::InitializeError => "initialize_error",
            Self::Unknown => "unknown",
        }
    }

    /// Whether a failed exchange of this class ends the session it ran on (contract §3.3).
    #[must_use]
    pub const fn ends_session(self) -> bool {
        matches!(self, Self::NetworkTimeout | Self::HttpStatus | Self::TransportError)
    }
}

impl fmt::Display for ErrorCategory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failure as it is recorded: a class and a text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Class.
    pub category: ErrorCategory,
    /// Text without secrets and without upstream bodies.
    pub text: Arc<str>,
    /// How far the request got that failed; `None` if it was none, or that does not matter.
    pub delivery: Option<Delivery>,
}

impl Failure {
    /// A failure of a class with its text.
    #[must_use]
    pub fn new(category: ErrorCategory, text: impl Into<Arc<str>>) -> Self {
        Self { category, text: text.into(), delivery: None }
    }

    /// The same, of a request that got this far.
    #[must_use]
    pub fn delivered(self, delivery: Delivery) -> Self {
        Self { delivery: Some(delivery), ..self }
    }
}
