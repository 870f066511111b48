//! One message sent and what the server says to it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use mcp_http_client::{Body, HttpOptions, Lane, MediaType, coding, failure, quoted};
use mcp_protocol::{Era, Message, Method, ProtocolVersion, RequestId};
use mcp_transport::{Delivery, Incoming, Outbound, Reply, TransportError, TransportErrorKind};

use crate::events::Events;
use crate::messages::Messages;
use crate::resume::Resume;
use crate::session::{self, Offer, Session};
use crate::transport::Connection;
use crate::wire::{Identity, Opened};

/// Longest wait for the body of an answer with an error status; the status alone is an answer as well.
const ERROR_BODY_TIME: Duration = Duration::from_secs(2);

/// Attempts in a row to resume the stream of an answer.
const ATTEMPTS: u32 = 8;

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
    /// The `Authorization` the message was given.
    authorization: Option<HeaderValue>,
    /// The revision, if its answer can be resumed.
    resumable: Option<ProtocolVersion>,
    /// The session in the answer's head, used once the answer turns out to be a success.
    offered: Option<Offer>,
}

impl Exchange {
    /// For a message about to be sent in a session, or in none, and with an `Authorization` of its own or not.
    pub(crate) fn new(
        connection: Arc<Connection>,
        out: &Outbound,
        session: Option<Arc<Session>>,
        authorization: Option<HeaderValue>,
    ) -> Self {
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
            authorization,
            resumable: out.version.filter(|version| has_streams(*version)),
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
    #[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice")]
    pub(crate) fn read(
        mut self,
        response: Body,
    ) -> impl Future<Output = Result<Reply, TransportError>> + Send {
        async move {
            let status = response.status();
            if !status.is_success() {
                // In a box, so that successes need no room for it.
                return Box::pin(self.read_error(response)).await;
            }
            if self.request.is_none() {
                response.release();
                return Ok(Reply::Accepted);
            }
            if let Some(coding) = coding(response.headers()) {
                return Err(failure::payload(format!(
                    "the answer is encoded as {}, which was not asked for",
                    quoted(coding)
                )));
            }
            if self.initialize {
                let authorization = self.authorization.clone();
                self.offered = session::offered(response.headers()).map(|id| Offer { id, authorization });
            }
            match MediaType::of(response.headers()) {
                MediaType::Json => {
                    let limit = self.options().limits.max_bytes;
                    let frame = response.read(limit).await?;
                    Messages::from_body(self, frame).map(Reply::Own)
                }
                MediaType::Events => Ok(Reply::Own(Messages::from_events(self, response))),
                MediaType::Other => {
                    let found = response.headers().get(CONTENT_TYPE).map_or("none".into(), quoted);
                    Err(failure::payload(format!(
                        "expected application/json or text/event-stream, got {found} (http status {})",
                        status.as_u16()
                    )))
                }
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

    /// Opens the stream of the answer again after it broke, to go on where it did, if the server has said
    /// where that is. `error` is why it broke.
    pub(crate) async fn resume(
        &self,
        resume: &mut Resume,
        error: TransportError,
    ) -> Result<Events, TransportError> {
        let Some(version) = self.resumable.filter(|_| resume.id().is_some()) else { return Err(error) };
        let session = self.session.as_ref().map(|session| session.id().clone());
        let identity = Identity { session, version, authorization: self.authorization.clone() };
        let in_vain = |why: String| not_resumed(&error, &why);
        let mut wait = resume.broken();
        loop {
            tokio::time::sleep(wait).await;
            match self.connection.wire().open(Lane::Call, &identity, resume.id()).await {
                Opened::Stream(body) => {
                    resume.opened();
                    return Ok(Events::new(body, self.options().max_event_bytes));
                }
                Opened::Gone => {
                    if let Some(session) = &self.session {
                        session.end();
                    }
                    return Err(in_vain("the server ended the session".into()));
                }
                Opened::Refused(status) => {
                    return Err(in_vain(format!("http status {}", status.as_u16())));
                }
                Opened::Failed(error, _)
                    if resume.attempts() >= ATTEMPTS || self.connection.wire().client.is_closed() =>
                {
                    return Err(in_vain(format!("{} attempts failed: {error}", resume.attempts())));
                }
                Opened::Failed(_, asked) => wait = resume.broken().max(asked.unwrap_or_default()),
            }
        }
    }

    async fn read_error(mut self, response: Body) -> Result<Reply, TransportError> {
        let status = response.status();
        if let (StatusCode::NOT_FOUND, Some(session)) = (status, &self.session) {
            session.end();
            response.release();
            return Err(TransportError::new(TransportErrorKind::SessionExpired, Delivery::Rejected));
        }
        let kind = response.refusal();
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

/// Why an answer broke and does not go on.
pub(crate) fn not_resumed(error: &TransportError, why: &str) -> TransportError {
    failure::closed(format!("{error}; it was not resumed: {why}"))
}

/// Whether a message is the request that opens a session.
pub(crate) fn is_initialize(message: &Message) -> bool {
    matches!(message, Message::Request(request) if request.method == Method::Initialize)
}

/// Whether servers of a revision have streams of their own, and resume those of answers.
pub(crate) fn has_streams(version: ProtocolVersion) -> bool {
    version.era() == Era::Handshake && version >= ProtocolVersion::V2025_03_26
}
