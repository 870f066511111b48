//! What the head of a request says, and its body.

use std::error::Error;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use http_body_util::LengthLimitError;
use mcp_protocol::{Era, ProtocolVersion};

use super::reply::refuse_transport;

pub(crate) const JSON: &str = "application/json";
pub(crate) const EVENTS: &str = "text/event-stream";

/// The whole body of a POST, if it is plain JSON by its headers and not larger than `most` bytes.
pub(crate) async fn json_body(headers: &HeaderMap, body: Body, most: usize) -> Result<Bytes, Response> {
    if media_type(headers).is_none_or(|kind| !kind.eq_ignore_ascii_case(JSON)) {
        let text = "content-type must be application/json";
        return Err(refuse_transport(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let encoding = headers.get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let text = "bodies must not be encoded, remove content-encoding";
        return Err(refuse_transport(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    to_bytes(body, most).await.map_err(|error| {
        if error.source().is_some_and(|cause| cause.is::<LengthLimitError>()) {
            let text = format!("the body is larger than {most} bytes");
            refuse_transport(StatusCode::PAYLOAD_TOO_LARGE, &text)
        } else {
            refuse_transport(StatusCode::BAD_REQUEST, "the body did not come to its end")
        }
    })
}

/// Whether an `Accept` header allows a media type. Absent means that it does not: clients must say.
pub(crate) fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let kind = wanted.split('/').next().unwrap_or_default();
    let ranges = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    ranges.flat_map(|value| value.split(',')).any(|range| {
        let range = range.split(';').next().unwrap_or_default().trim();
        range.eq_ignore_ascii_case(wanted)
            || range == "*/*"
            || range.strip_suffix("/*").is_some_and(|range| range.eq_ignore_ascii_case(kind))
    })
}

/// Whether a version header names a revision with a handshake.
pub(crate) fn is_handshake_version(version: &str) -> bool {
    version.parse::<ProtocolVersion>().is_ok_and(|version| version.era() == Era::Handshake)
}

fn media_type(headers: &HeaderMap) -> Option<&str> {
    Some(headers.get(header::CONTENT_TYPE)?.to_str().ok()?.split(';').next()?.trim())
}
