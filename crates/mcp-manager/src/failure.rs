//! From the client's errors to the registry's categories. Source: contract §4.5.

use std::time::Duration;

use mcp_client::{CallError, ConnectError};
use mcp_registry::{CallFailure, ErrorCategory, Failure};
use mcp_transport::{Delivery, TransportError, TransportErrorKind};

/// Class, text, delivery and code of a failed call.
pub(crate) fn of_call(error: &CallError) -> CallFailure {
    let rpc_code = match error {
        CallError::Rpc { error, .. } => error.code(),
        _ => None,
    };
    let retry_after = match error {
        CallError::Transport(TransportError {
            kind: TransportErrorKind::Status { retry_after, .. }, ..
        }) => *retry_after,
        _ => None,
    };
    CallFailure {
        failure: of_error(error).delivered(error.delivery()),
        delivery: error.delivery(),
        rpc_code,
        transient: is_transient(error),
        retry_after,
    }
}

/// Whether the same request may well succeed a little later (contract §2.4).
pub(crate) fn is_transient(error: &CallError) -> bool {
    let CallError::Transport(TransportError { kind, .. }) = error else { return false };
    match kind {
        TransportErrorKind::Timeout { .. }
        | TransportErrorKind::Busy { .. }
        | TransportErrorKind::Connect(_)
        | TransportErrorKind::Closed(_)
        | TransportErrorKind::Exited(_) => true,
        TransportErrorKind::Status { status, .. } => {
            matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
        }
        _ => false,
    }
}

/// Whether the server answered, if only to say no; otherwise it was not reached or did not answer.
pub(crate) fn is_refusal(error: &CallError) -> bool {
    !matches!(
        error,
        CallError::Transport(TransportError {
            kind: TransportErrorKind::Timeout { .. }
                | TransportErrorKind::Busy { .. }
                | TransportErrorKind::Connect(_)
                | TransportErrorKind::Closed(_)
                | TransportErrorKind::Exited(_),
            ..
        })
    )
}

/// Whether this was the limit that a call went beyond.
pub(crate) fn timed_out_after(error: &CallError, limit: Duration) -> bool {
    let CallError::Transport(TransportError { kind, .. }) = error else { return false };
    *kind == TransportErrorKind::Timeout { limit }
}

/// Whether the request waited in a queue of ours until its time was up: no word about the server.
pub(crate) fn is_our_queue(error: &CallError) -> bool {
    matches!(error, CallError::Transport(error) if is_our_queue_of(error))
}

/// The same for what a transport says.
pub(crate) fn is_our_queue_of(error: &TransportError) -> bool {
    matches!(error.kind, TransportErrorKind::Busy { .. })
}

/// Whether the server did not know our session any more when the request came, or before it was sent: it was not
/// executed. One that was under way when the session was lost may have been, and is not meant.
pub(crate) fn is_forgotten_session(error: &CallError) -> bool {
    let CallError::Transport(TransportError { kind, delivery, .. }) = error else { return false };
    *kind == TransportErrorKind::SessionExpired && *delivery != Delivery::Unknown
}

/// Whether the server did not take the credentials that came with the request.
pub(crate) fn refuses_credentials(error: &CallError) -> bool {
    matches!(
        error,
        CallError::Transport(TransportError {
            kind: TransportErrorKind::Status { status: 401 | 403, .. },
            ..
        })
    )
}

/// Class and text of a connection that could not be made, with what to do about it where that is clear.
pub(crate) fn of_connect(error: &ConnectError) -> Failure {
    Failure::new(of_error(&error.error).category, shorten(error.to_string()))
}

/// Class and text of any failed exchange.
pub(crate) fn of_error(error: &CallError) -> Failure {
    let category = match error {
        CallError::Rpc { .. } => ErrorCategory::RpcError,
        CallError::Transport(transport) => of_transport(transport),
        _ => ErrorCategory::InvalidPayload,
    };
    let text =
        if is_forgotten_session(error) { format!("http status 404: {error}") } else { error.to_string() };
    Failure::new(category, shorten(text))
}

/// Longest text of a failure in bytes: it is kept in records and events, and peers choose it.
const MAX_TEXT: usize = 1024;

pub(crate) fn shorten(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

fn of_transport(error: &TransportError) -> ErrorCategory {
    match error.kind {
        TransportErrorKind::Timeout { .. } | TransportErrorKind::Busy { .. } => ErrorCategory::NetworkTimeout,
        TransportErrorKind::Status { .. }
        | TransportErrorKind::Redirect { .. }
        | TransportErrorKind::SessionExpired => ErrorCategory::HttpStatus,
        TransportErrorKind::Payload(_) => ErrorCategory::InvalidPayload,
        _ => ErrorCategory::TransportError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcp_protocol::{ErrorCode, RpcError};

    #[test]
    fn texts_of_peers_are_cut() {
        let error = RpcError::new(ErrorCode::INTERNAL_ERROR, &"ü".repeat(100_000));
        let failure = of_error(&CallError::Rpc { error, frame: bytes::Bytes::new() });
        assert!(failure.text.len() <= MAX_TEXT + '…'.len_utf8());
        assert!(failure.text.starts_with("rpc error: üü") && failure.text.ends_with("ü…"));
    }

    #[test]
    fn only_what_was_not_executed_met_a_forgotten_session() {
        for (delivery, forgotten) in
            [(Delivery::NotSent, true), (Delivery::Rejected, true), (Delivery::Unknown, false)]
        {
            let error = |kind| CallError::Transport(TransportError::new(kind, delivery));
            assert_eq!(is_forgotten_session(&error(TransportErrorKind::SessionExpired)), forgotten);
            assert!(!is_forgotten_session(&error(TransportErrorKind::Closed("x".into()))), "{delivery:?}");
        }
    }

    #[test]
    fn each_error_has_its_category() {
        let transport = |kind| CallError::Transport(TransportError::new(kind, Delivery::Unknown));
        for (error, category) in [
            (
                transport(TransportErrorKind::Timeout { limit: Duration::from_secs(1) }),
                ErrorCategory::NetworkTimeout,
            ),
            (
                transport(TransportErrorKind::Status { status: 503, retry_after: None }),
                ErrorCategory::HttpStatus,
            ),
            (transport(TransportErrorKind::Payload("x".into())), ErrorCategory::InvalidPayload),
            (transport(TransportErrorKind::Busy { limit: Duration::ZERO }), ErrorCategory::NetworkTimeout),
            (transport(TransportErrorKind::SessionExpired), ErrorCategory::HttpStatus),
            (transport(TransportErrorKind::Connect("x".into())), ErrorCategory::TransportError),
            (transport(TransportErrorKind::Closed("x".into())), ErrorCategory::TransportError),
            (transport(TransportErrorKind::Exited("x".into())), ErrorCategory::TransportError),
            (
                CallError::Invalid { reason: "missing result".into(), frame: None },
                ErrorCategory::InvalidPayload,
            ),
        ] {
            assert_eq!(of_call(&error).failure.category, category, "{error}");
        }
        for (kind, refusal, transient) in [
            (TransportErrorKind::Timeout { limit: Duration::ZERO }, false, true),
            (TransportErrorKind::Busy { limit: Duration::ZERO }, false, true),
            (TransportErrorKind::Connect("x".into()), false, true),
            (TransportErrorKind::Closed("x".into()), false, true),
            (TransportErrorKind::Exited("x".into()), false, true),
            (TransportErrorKind::SessionExpired, true, false),
            (TransportErrorKind::Endpoint("x".into()), true, false),
            (TransportErrorKind::Payload("x".into()), true, false),
            (TransportErrorKind::Status { status: 400, retry_after: None }, true, false),
            (TransportErrorKind::Status { status: 429, retry_after: None }, true, true),
            (TransportErrorKind::Status { status: 503, retry_after: None }, true, true),
        ] {
            let error = transport(kind);
            assert_eq!((is_refusal(&error), is_transient(&error)), (refusal, transient), "{error}");
            assert_eq!(is_our_queue(&error), error.to_string().contains("free"), "{error}");
        }
        let error = RpcError::new(ErrorCode::INVALID_PARAMS, "no such tool");
        let failure = of_call(&CallError::Rpc { error, frame: bytes::Bytes::new() });
        assert_eq!(&*failure.failure.text, "rpc error: no such tool");
        assert_eq!(failure.rpc_code, Some(ErrorCode::INVALID_PARAMS));
    }
}
