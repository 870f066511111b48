//! Failures as transport errors, without URLs or secrets.

use std::error::Error;

use mcp_transport::{Delivery, TransportError, TransportErrorKind};

/// A request that got no answer head.
pub(crate) fn sending(error: &reqwest::Error, origin: &str) -> TransportError {
    let cause = cause(error);
    if error.is_builder() {
        let text = format!("the request to {origin} cannot be built: {cause}");
        return unusable(text);
    }
    if error.is_connect() {
        let text = format!("cannot connect to {origin}: {cause}");
        return TransportError::new(TransportErrorKind::Connect(text.into()), Delivery::NotSent);
    }
    closed(format!("the connection to {origin} broke before an answer came: {cause}"))
}

/// A body that broke off.
pub(crate) fn reading(error: &reqwest::Error, origin: &str) -> TransportError {
    closed(format!("the connection to {origin} broke within the answer: {}", cause(error)))
}

/// The connection is gone and the server may have executed the message.
#[must_use]
pub fn closed(text: impl Into<Box<str>>) -> TransportError {
    TransportError::new(TransportErrorKind::Closed(text.into()), Delivery::Unknown)
}

/// The server took the message and answered with something unusable.
#[must_use]
pub fn payload(text: impl Into<Box<str>>) -> TransportError {
    TransportError::new(TransportErrorKind::Payload(text.into()), Delivery::Unknown)
}

/// The endpoint cannot be used as configured; nothing was sent.
#[must_use]
pub fn unusable(text: impl Into<Box<str>>) -> TransportError {
    TransportError::new(TransportErrorKind::Endpoint(text.into()), Delivery::NotSent)
}

/// The innermost cause: the layers around it only say that they failed, and `reqwest`'s names the URL.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost = None;
    let mut source = error.source();
    while let Some(error) = source {
        innermost = Some(error);
        source = error.source();
    }
    innermost.map_or_else(|| "no further detail".to_owned(), ToString::to_string)
}
