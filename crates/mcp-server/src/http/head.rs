//! What the head of a request says, and its body.

use std::error::Error;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, LengthLimitError, Limited};
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
    whole(Limited::new(body, most)).await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            let text = format!("the body is larger than {most} bytes");
            refuse_transport(StatusCode::PAYLOAD_TOO_LARGE, &text)
        } else {
            refuse_transport(StatusCode::BAD_REQUEST, "the body did not come to its end")
        }
    })
}

/// All of a body. One that comes in one piece, as small ones do, is not copied.
async fn whole(mut body: Limited<Body>) -> Result<Bytes, Box<dyn Error + Send + Sync>> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if first.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// Whether an answer may be either: what is asked of every `POST`.
pub(crate) fn accepts_both(headers: &HeaderMap) -> bool {
    // In these words nearly every client says it.
    let usual = |accept: &HeaderValue| accept == "application/json, text/event-stream";
    headers.get(header::ACCEPT).is_some_and(usual) || accepts(headers, JSON) && accepts(headers, EVENTS)
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
