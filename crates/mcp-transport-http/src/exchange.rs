//! One message sent and what the server says to it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use mcp_http_client::{Body, HttpOptions, failure, retry_after};
use mcp_protocol::{Era, Message, Method, RequestId};
use mcp_transport::{Delivery, Incoming, Outbound, Reply, TransportError, TransportErrorKind};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};

use crate::messages::Messages;
use crate::session::{self, Session};
use crate::transport::Connection;

/// Longest wait for the body of an answer with an error status; the status alone is an answer as well.
const ERROR_BODY_TIME: Duration = Duration::from_secs(2);

/// What must be remembered of a message until its answer is there.
#[derive(Debug)]
pub(crate) struct Exchange {
    connection: Arc<Connection>,
    /// The id to be answered; notifications and responses have none.
    request: Option<RequestId>,
    /// Whether the answer opens a session.
    initialize: bool,
    /// Whether the server may answer with a batch.
    batches: bool,
    /// The session the message was sent in.
    session: Option<Arc<Session>>,
    /// The session id in the answer's head, used once the answer turns out to be a success.
    offered: Option<HeaderValue>,
}

impl Exchange {
    /// For a message about to be sent in a session, or in none.
    pub(crate) fn new(connection: Arc<Connection>, out: &Outbound, session: Option<Arc<Session>>) -> Self {
        let request = match &out.message {
            Message::Request(request) => Some(request.id.clone()),
            _ => None,
        };
        Self {
            connection,
            request,
            initialize: is_initialize(&out.message),
            // Only 2025-03-26 has batches, but any server of that era may have agreed on it.
            batches: out.version.is_none_or(|version| version.era() == Era::Handshake),
            session,
            offered: None,
        }
    }

    pub(crate) fn options(&self) -> &HttpOptions {
        self.connection.options()
    }

    pub(crate) fn origin(&self) -> &str {
        self.connection.origin()
    }

    pub(crate) fn allows_batches(&self) -> bool {
        self.batches
    }

    /// Reads an answer whose head has arrived.
    pub(crate) async fn read(mut self, response: Body) -> Result<Reply, TransportError> {
        let status = response.status();
        if !status.is_success() {
            return self.read_error(response).await;
        }
        if self.request.is_none() {
            response.release();
            return Ok(Reply::Accepted);
        }
        if let Some(coding) = response.headers().get(CONTENT_ENCODING).filter(|coding| *coding != "identity")
        {
            return Err(failure::payload(format!(
                "the answer is encoded as {}, which was not asked for",
                quoted(coding)
            )));
        }
        if self.initialize {
            self.offered = session::offered(response.headers());
        }
        match media_type(response.headers()).as_deref() {
            Some("application/json") => {
                let limit = self.options().limits.max_bytes;
                let frame = response.read(limit).await?;
                Messages::from_body(self, frame).map(Reply::Own)
            }
            Some("text/event-stream") => Ok(Reply::Own(Messages::from_events(self, response))),
            _ => {
                let found = response.headers().get(CONTENT_TYPE).map_or("none".into(), quoted);
                Err(failure::payload(format!(
                    "expected application/json or text/event-stream, got {found} (http status {})",
                    status.as_u16()
                )))
            }
        }
    }

    /// Whether a message is the answer to the request. An error without an id can concern nothing else
    /// here and gets the request's id. A successful answer to `initialize` opens the offered session.
    pub(crate) fn settle(&mut self, message: &mut Message) -> bool {
        match message {
            Message::Response(response) if Some(&response.id) == self.request.as_ref() => {
                if self.initialize {
                    self.connection.adopt(self.offered.take());
                }
                true
            }
            Message::Failure(failure) => {
                failure.id = failure.id.take().or_else(|| self.request.clone());
                failure.id == self.request
            }
            _ => false,
        }
    }

    async fn read_error(mut self, response: Body) -> Result<Reply, TransportError> {
        let status = response.status();
        if let (StatusCode::NOT_FOUND, Some(session)) = (status, &self.session) {
            session.end();
            response.release();
            return Err(TransportError::new(TransportErrorKind::SessionExpired, Delivery::Rejected));
        }
        if status.is_redirection() {
            tracing::warn!(origin = self.origin(), status = status.as_u16(), "redirects are not followed");
        }
        let kind = TransportErrorKind::Status {
            status: status.as_u16(),
            retry_after: retry_after(response.headers()),
        };
        let delivery = if status.is_server_error() { Delivery::Unknown } else { Delivery::Rejected };
        // A missing or insufficient authorization is for the layer above to see, whatever the body says.
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) || self.request.is_none() {
            response.release();
            return Err(TransportError::new(kind, delivery));
        }
        let limit = self.options().max_error_bytes;
        let read = response.read(limit);
        let body = tokio::time::timeout(ERROR_BODY_TIME, read).await;
        match body.ok().and_then(Result::ok).and_then(|frame| self.failure_in(frame)) {
            Some(failure) => Ok(Reply::Own(stream::iter([Ok(failure)]).boxed())),
            None => Err(TransportError::new(kind, delivery)),
        }
    }

    /// The JSON-RPC error in the body of an error status, if there is one and it concerns the request.
    fn failure_in(&mut self, frame: Bytes) -> Option<Incoming> {
        let mut message = Message::parse(&frame, &self.options().limits).ok()?;
        let concerns_us = matches!(message, Message::Failure(_)) && self.settle(&mut message);
        concerns_us.then_some(Incoming { message, frame })
    }
}

/// However it ended, by its answer, a failure, or because nobody waits any more.
impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.connection.release(session);
        }
    }
}

/// Whether a message is the request that opens a session.
pub(crate) fn is_initialize(message: &Message) -> bool {
    matches!(message, Message::Request(request) if request.method == Method::Initialize)
}

/// The `Content-Type` in lower case and without parameters.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(text.split(';').next()?.trim().to_ascii_lowercase())
}

/// A header value of the peer, fit for an error text.
fn quoted(value: &HeaderValue) -> String {
    const LONGEST: usize = 80;
    let bytes = &value.as_bytes()[..value.len().min(LONGEST)];
    format!("{:?}", String::from_utf8_lossy(bytes))
}
