//! Responses.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::{Stream, StreamExt};
use mcp_protocol::{ErrorCode, Failure, Message, RequestId, RpcError};

use crate::flight::Refused;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// An error as a JSON-RPC answer with an HTTP status.
pub(crate) fn refuse(status: StatusCode, id: Option<RequestId>, error: RpcError) -> Response {
    json(status, Message::Failure(Failure { id, error }).encode())
}

/// An error about the transport, which belongs to no request.
pub(crate) fn refuse_transport(status: StatusCode, text: &str) -> Response {
    refuse(status, None, RpcError::new(ErrorCode::INVALID_REQUEST, text))
}

/// There is no room.
pub(crate) fn refuse_full(id: Option<RequestId>, busy: Refused) -> Response {
    let status =
        if busy.is_clients_fault() { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = refuse(status, id, busy.to_error());
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// The endpoint has no such method, at least not without what is missing.
pub(crate) fn not_allowed(allowed: &'static str) -> Response {
    let mut response = refuse_transport(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

pub(crate) fn unknown_session() -> Response {
    refuse_transport(StatusCode::NOT_FOUND, "the session is unknown or has ended")
}

pub(crate) fn accepted() -> Response {
    StatusCode::ACCEPTED.into_response()
}

pub(crate) fn json(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A stream of events.
pub(crate) fn events(chunks: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let mut response = Response::new(Body::from_stream(chunks.map(Ok::<_, Infallible>)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Says under which id the request is known.
pub(crate) fn traced(mut response: Response, trace: Option<&Arc<str>>) -> Response {
    // An id that is no header value is not worth an error.
    if let Some(value) = trace.and_then(|id| HeaderValue::from_str(id).ok()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}
