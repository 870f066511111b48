//! What the requests to one endpoint have in common, and the `GET` that opens or resumes an event stream.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode};
use mcp_http_client::{
    Body, Headers, HttpClient, HttpOptions, LAST_EVENT_ID, Lane, MediaType, PROTOCOL_VERSION, SESSION_ID,
    coding, failure, retry_after,
};
use mcp_protocol::ProtocolVersion;
use mcp_transport::{TransportError, TransportErrorKind};

use crate::resume::LONGEST_RETRY;

/// An endpoint and the client to reach it with.
pub(crate) struct Wire {
    pub(crate) client: HttpClient,
    pub(crate) options: Arc<HttpOptions>,
    pub(crate) headers: Headers,
}

/// In whose name a stream is opened.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) session: Option<HeaderValue>,
    pub(crate) version: ProtocolVersion,
    /// In place of the endpoint's.
    pub(crate) authorization: Option<HeaderValue>,
}

/// What came of a `GET`.
#[derive(Debug)]
pub(crate) enum Opened {
    Stream(Body),
    /// The server does not know the session any more.
    Gone,
    /// The server offers no such stream, or not from there on: the status.
    Refused(StatusCode),
    /// It may work later; the wait is what the server asks for.
    Failed(TransportError, Option<Duration>),
}

impl Wire {
    /// A request to the endpoint.
    pub(crate) fn request_with(&self, method: Method, headers: HeaderMap, body: Bytes) -> Request<Bytes> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = self.client.uri().clone();
        *request.headers_mut() = headers;
        request
    }

    /// A request without body, with the headers of a session.
    pub(crate) fn request(
        &self,
        method: Method,
        session: Option<&HeaderValue>,
        version: Option<ProtocolVersion>,
        authorization: Option<&HeaderValue>,
    ) -> Request<Bytes> {
        let mut headers = self.headers.base();
        if let Some(version) = version {
            headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(version.as_str()));
        }
        if let Some(id) = session {
            headers.insert(SESSION_ID, id.clone());
        }
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        self.request_with(method, headers, Bytes::new())
    }

    /// Opens an event stream, to go on after the event with this id if there is one.
    pub(crate) async fn open(&self, lane: Lane, identity: &Identity, after: Option<&HeaderValue>) -> Opened {
        let Identity { session, version, authorization } = identity;
        let mut request = self.request(Method::GET, session.as_ref(), Some(*version), authorization.as_ref());
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(id) = after {
            request.headers_mut().insert(LAST_EVENT_ID, id.clone());
        }
        let sent = match self.client.place(lane, None).await {
            Ok(place) => place.send(request).await,
            Err(error) => Err(error),
        };
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) => return Opened::Failed(error, None),
        };
        let status = answer.status();
        // 409: to the server, the stream that broke is still there.
        let later = matches!(status.as_u16(), 408 | 409 | 425 | 429) || is_passing(status);
        if status.is_success() && is_event_stream(answer.headers()) {
            return Opened::Stream(answer);
        }
        let wait = retry_after(answer.headers()).map(|wait| wait.min(LONGEST_RETRY));
        answer.release();
        match status {
            StatusCode::NOT_FOUND if session.is_some() => Opened::Gone,
            _ if later => {
                let kind = TransportErrorKind::Status { status: status.as_u16(), retry_after: wait };
                Opened::Failed(failure::closed(kind.to_string()), wait)
            }
            _ => Opened::Refused(status),
        }
    }
}

/// Whether the server may do later what it cannot do now.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
}

/// Whether the body is an event stream that can be read as it comes.
fn is_event_stream(headers: &HeaderMap) -> bool {
    MediaType::of(headers) == MediaType::Events && coding(headers).is_none()
}

/// Without the URL, whose path and query may hold a key.
impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire")
            .field("origin", &self.client.origin())
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}
