//! Opening the stream: what comes before the first message.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use mcp_http_client::{Body, HttpClient, Lane, MediaType, coding, failure, quoted, same_origin, to_uri};
use mcp_transport::{Delivery, OpenMethod, TransportError, TransportErrorKind};
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::events::{Events, chunks};

/// Longest URL for messages in bytes (reliability document §6).
const LONGEST_URL: usize = 8 << 10;

const NO_URL: &str = "the `endpoint` event holds no usable URL";

/// A stream whose server has named the URL to post to.
pub(crate) struct Opened {
    pub(crate) events: Events,
    pub(crate) messages: Uri,
}

/// How a stream is read.
pub(crate) struct Reading {
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) max_event_bytes: usize,
}

/// The request for the stream, from the headers of a message.
pub(crate) fn request(method: OpenMethod, to: Uri, mut headers: HeaderMap) -> Request<Bytes> {
    headers.remove(CONTENT_TYPE);
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    let method = match method {
        OpenMethod::Get => Method::GET,
        OpenMethod::Post => {
            // Servers may insist on it (411).
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            Method::POST
        }
    };
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = method;
    *request.uri_mut() = to;
    *request.headers_mut() = headers;
    request
}

/// Opens the stream and waits for its `endpoint` event, within `limit` altogether.
/// Source: contract §7.5, wire reference §4.4.
pub(crate) async fn open(
    client: &HttpClient,
    stream: &Url,
    request: Request<Bytes>,
    Reading { heartbeat, max_event_bytes }: Reading,
    limit: Duration,
) -> Result<Opened, TransportError> {
    let deadline = Instant::now() + limit;
    let opening = async {
        let place = client.place(Lane::Stream, Some(deadline.into_std())).await?;
        place.send(request).await
    };
    let body = timeout_at(deadline, opening)
        .await
        .map_or(Err(TransportErrorKind::Timeout { limit }), |opened| opened.map_err(|error| error.kind))
        .map_err(not_sent)?;
    check(&body)?;
    let mut events = Events::new(chunks(body), max_event_bytes, heartbeat, client.origin());
    let named = timeout_at(deadline, endpoint_event(&mut events)).await.unwrap_or_else(|_| {
        let origin = client.origin();
        let text =
            format!("{origin} did not name its message endpoint within {limit:?}: no `endpoint` event came");
        Err(not_sent(TransportErrorKind::Connect(text.into())))
    })?;
    let messages = to_uri(&message_url(stream, &named)?).map_err(|_| unusable(NO_URL))?;
    Ok(Opened { events, messages })
}

/// Only 200 with an event stream will do.
fn check(body: &Body) -> Result<(), TransportError> {
    let headers = body.headers();
    if body.status() != StatusCode::OK {
        return Err(not_sent(body.refusal()));
    }
    if MediaType::of(headers) != MediaType::Events {
        let found = headers.get(CONTENT_TYPE).map_or("none".into(), quoted);
        return Err(unusable(format!("expected a stream of text/event-stream, got {found}")));
    }
    match coding(headers) {
        None => Ok(()),
        Some(coding) => Err(unusable(format!(
            "the event stream is encoded as {}, which was not asked for",
            quoted(coding)
        ))),
    }
}

/// The data of the first `endpoint` event. What comes before it has no meaning yet.
async fn endpoint_event(events: &mut Events) -> Result<Bytes, TransportError> {
    loop {
        let event = events.next().await.map_err(|error| not_sent(error.kind))?;
        match &*event.name {
            "endpoint" => return Ok(event.data),
            "error" => {
                let text = format!("{} sent an error event instead of its message endpoint", events.origin());
                return Err(not_sent(TransportErrorKind::Closed(text.into())));
            }
            _ => tracing::debug!(origin = events.origin(), "an event before `endpoint` is ignored"),
        }
    }
}

/// The URL to post to. It must have the origin of the stream: credentials for one go to the other.
fn message_url(stream: &Url, data: &[u8]) -> Result<Url, TransportError> {
    let text = std::str::from_utf8(data).unwrap_or_default().trim();
    let joined = Some(text).filter(|text| !text.is_empty() && text.len() <= LONGEST_URL);
    let mut url = joined.and_then(|text| stream.join(text).ok()).ok_or_else(|| unusable(NO_URL))?;
    if !same_origin(stream, &url) {
        let [ours, theirs] = [stream, &url].map(|url| url.origin().ascii_serialization());
        return Err(unusable(format!(
            "the `endpoint` event names another origin than that of the stream: {theirs:.200}, not {ours}"
        )));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(unusable("the URL in the `endpoint` event holds credentials"));
    }
    url.set_fragment(None);
    Ok(url)
}

/// Nothing but the request for the stream has been sent, so no message was.
fn not_sent(kind: TransportErrorKind) -> TransportError {
    TransportError::new(kind, Delivery::NotSent)
}

fn unusable(text: impl Into<Box<str>>) -> TransportError {
    not_sent(failure::payload(text).kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_urls_are_resolved_and_stay_at_their_origin() {
        let stream: Url = "http://127.0.0.1:3001/base/sse?key=1".parse().unwrap();
        for (data, resolved) in [
            ("/messages?session_id=a", Some("http://127.0.0.1:3001/messages?session_id=a")),
            ("messages", Some("http://127.0.0.1:3001/base/messages")),
            ("?session=a", Some("http://127.0.0.1:3001/base/sse?session=a")),
            (" /m \n", Some("http://127.0.0.1:3001/m")),
            ("http://127.0.0.1:3001/m#x", Some("http://127.0.0.1:3001/m")),
            ("HTTP://127.0.0.1:3001/m", Some("http://127.0.0.1:3001/m")),
            ("//127.0.0.1:3001/m", Some("http://127.0.0.1:3001/m")),
            ("", None),
            (" ", None),
            ("https://127.0.0.1:3001/m", None),
            ("http://127.0.0.1/m", None),
            ("http://localhost:3001/m", None),
            ("http://127.0.0.1:3001.evil.example/m", None),
            ("http://127.0.0.1:3001@evil.example/m", None),
            ("//evil.example/m", None),
            ("\\\\evil.example/m", None),
            ("http://me:pw@127.0.0.1:3001/m", None),
            ("file:///etc/passwd", None),
            ("javascript:alert(1)", None),
            ("http://[::1", None),
        ] {
            let url = message_url(&stream, data.as_bytes());
            assert_eq!(url.as_ref().ok().map(Url::as_str), resolved, "{data:?}");
            assert!(url.is_ok() || matches!(url, Err(error) if error.delivery == Delivery::NotSent));
        }
        let long = format!("/{}", "m".repeat(LONGEST_URL));
        assert!(message_url(&stream, &long.as_bytes()[..LONGEST_URL]).is_ok());
        assert!(message_url(&stream, long.as_bytes()).is_err());
        assert!(message_url(&stream, b"/\xff").is_err());
    }
}
