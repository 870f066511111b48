//! A connection: messages posted, answers on the stream.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Either, pending};
use http::header::HeaderValue;
use http::{Method, Request, StatusCode, Uri};
use mcp_http_client::{Headers, HttpClient, Lane, PROTOCOL_VERSION, Place};
use mcp_protocol::Message;
use mcp_transport::{Delivery, Inbox, Outbound, Reply, Transport, TransportError, TransportErrorKind};

use crate::inbox::Reader;
use crate::session::{End, Session};

/// How long a POST may go on whose answer is there already, so that its connection can be used again.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// The two-endpoint transport to one server.
pub(crate) struct SseTransport {
    client: HttpClient,
    headers: Headers,
    /// Where messages are posted.
    messages: Uri,
    session: Arc<Session>,
    /// The reading side, until somebody takes it.
    reader: Mutex<Option<Reader>>,
}

impl SseTransport {
    pub(crate) fn new(client: HttpClient, headers: Headers, messages: Uri, reader: Reader) -> Self {
        let session = Arc::clone(&reader.session);
        Self { client, headers, messages, session, reader: Mutex::new(Some(reader)) }
    }

    fn take_reader(&self) -> Option<Reader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn post(&self, out: Outbound) -> Result<Reply, TransportError> {
        let place = tokio::select! {
            biased;
            end = self.session.over() => Err(end.unsent()),
            place = self.client.place(Lane::of(&out.message), out.until) => place,
        };
        let (place, request) = (place?, self.request(&out)?);
        // Waiting from before it is sent: the answer may be faster than the POST (J6).
        let mut expected = match &out.message {
            Message::Request(request) => Some(self.session.expect(&request.id)),
            _ => None,
        };
        let answered = match &mut expected {
            Some(expected) => Either::Left(expected.came()),
            None => Either::Right(pending()),
        };
        let mut posting = send(place, request).boxed();
        let accepted = tokio::select! {
            biased;
            () = answered => {
                // Some servers return from the POST only then; a prompt one keeps its connection.
                tokio::spawn(tokio::time::timeout(AFTERWARDS, posting));
                Ok(())
            }
            accepted = &mut posting => accepted,
            end = self.session.over() => Err(end.sent()),
        };
        match accepted {
            Ok(()) if expected.is_some() => Ok(Reply::Inbox),
            Ok(()) => Ok(Reply::Accepted),
            Err(error) => {
                if error.kind == TransportErrorKind::SessionExpired {
                    // Nothing can come on the stream any more.
                    self.session.end(End::Forgotten(self.client.origin().to_owned()));
                }
                Err(error)
            }
        }
    }

    fn request(&self, out: &Outbound) -> Result<Request<Bytes>, TransportError> {
        let mut headers = self.headers.for_message(&out.headers)?;
        if let Some(version) = out.version {
            headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(version.as_str()));
        }
        let mut request = Request::new(out.message.encode());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.messages.clone();
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// Posts one message. Any 2xx is success, and the body means nothing (wire reference §4.4, A16).
async fn send(place: Place, request: Request<Bytes>) -> Result<(), TransportError> {
    let answer = place.send(request).await?;
    let (status, refusal) = (answer.status(), answer.refusal());
    answer.release();
    if status.is_success() {
        return Ok(());
    }
    if status == StatusCode::NOT_FOUND {
        return Err(TransportError::new(TransportErrorKind::SessionExpired, Delivery::Rejected));
    }
    let delivery = if status.is_server_error() { Delivery::Unknown } else { Delivery::Rejected };
    Err(TransportError::new(refusal, delivery))
}

impl Transport for SseTransport {
    fn send(&self, out: Outbound) -> BoxFuture<'_, Result<Reply, TransportError>> {
        self.post(out).boxed()
    }

    fn take_inbox(&mut self) -> Option<Inbox> {
        self.take_reader().map(Reader::into_inbox)
    }

    /// The stream closes with the connection it came on, and the session with it; there is nothing to wait
    /// for.
    fn close(&self) -> BoxFuture<'_, ()> {
        self.session.end(End::Closed);
        drop(self.take_reader());
        std::future::ready(()).boxed()
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let last = match self.session.last_heard() {
            Some(heard) => format!("{} s ago", heard.elapsed().as_secs()),
            None => "none".to_owned(),
        };
        vec![
            ("origin", self.client.origin().to_owned()),
            ("messages", self.messages.path().to_owned()),
            ("last_event", last),
        ]
    }
}

impl Drop for SseTransport {
    fn drop(&mut self) {
        self.session.end(End::Closed);
    }
}

/// Without the URL, whose query holds the session.
impl fmt::Debug for SseTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SseTransport")
            .field("origin", &self.client.origin())
            .field("headers", &self.headers)
            .field("session", &self.session.ended())
            .finish_non_exhaustive()
    }
}
