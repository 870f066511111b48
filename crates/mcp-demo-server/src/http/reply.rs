//! The response to a POST: one JSON body, or a stream as soon as there is more to say than answers.

use std::convert::Infallible;
use std::fmt::Write;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};
use mcp_protocol::{Era, ErrorCode, Failure, Message, RpcError};
use tokio::time::{Instant, timeout, timeout_at};

use super::hub::{Exchange, SessionStream, StatelessPeer, is_answer};
use super::mailbox::MailReader;

/// After this long without a word the response begins as a stream, and a stream gets a comment.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How an exchange is answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) exchange: Exchange,
    pub(crate) era: Era,
    /// Whether the answers go into an array.
    pub(crate) is_batch: bool,
    /// Kept as long as the response is written.
    pub(crate) _cancels_on_drop: Option<StatelessPeer>,
}

impl Reply {
    /// Waits until it is clear which kind of response it is. `early` are answers known beforehand.
    pub(crate) async fn into_response(mut self, early: Vec<Message>) -> Response {
        let mut messages = early;
        let decide_by = Instant::now() + KEEP_ALIVE;
        while self.exchange.open > 0 {
            match timeout_at(decide_by, self.exchange.messages.recv()).await {
                Ok(Some(message)) => {
                    let is_answer = self.note(&message);
                    messages.push(message);
                    if !is_answer {
                        return self.into_stream(messages);
                    }
                }
                // Cancelled: there is nothing to say, and a stream may say nothing.
                Ok(None) | Err(_) => return self.into_stream(messages),
            }
        }
        self.into_json(&messages)
    }

    /// Counts answers; says whether this is one.
    fn note(&mut self, message: &Message) -> bool {
        let is_answer = is_answer(message);
        self.exchange.open -= usize::from(is_answer);
        is_answer
    }

    fn into_json(self, answers: &[Message]) -> Response {
        if self.is_batch && !answers.is_empty() {
            let texts: Vec<_> = answers.iter().map(Message::encode).collect();
            let body = [b"[".as_slice(), &texts.join(&b","[..]), b"]"].concat();
            return json(StatusCode::OK, body.into());
        }
        match answers {
            [answer] => json(status(answer, self.era), answer.encode()),
            _ => StatusCode::ACCEPTED.into_response(),
        }
    }

    fn into_stream(self, first: Vec<Message>) -> Response {
        let first = stream::iter(first.into_iter().map(|message| event(&message)));
        let rest = stream::unfold(self, |mut reply| async move {
            if reply.exchange.open == 0 {
                return None;
            }
            match timeout(KEEP_ALIVE, reply.exchange.messages.recv()).await {
                Ok(Some(message)) => {
                    reply.note(&message);
                    Some((event(&message), reply))
                }
                Ok(None) => None,
                Err(_) => Some((Bytes::from_static(COMMENT), reply)),
            }
        });
        event_stream(first.chain(rest))
    }
}

/// The GET stream of a session.
pub(crate) fn mail_stream(mail: MailReader) -> Response {
    // The comment at once tells the client (and every proxy) that the stream is open.
    let first = stream::iter([Bytes::from_static(COMMENT)]);
    let rest = stream::unfold(mail, |mut mail| async move {
        match timeout(KEEP_ALIVE, mail.next()).await {
            Ok(Some(message)) => Some((event(&message), mail)),
            Ok(None) => None,
            Err(_) => Some((Bytes::from_static(COMMENT), mail)),
        }
    });
    event_stream(first.chain(rest))
}

/// The stream of a client of the two-endpoint transport: first where it posts to, then all it is told.
pub(crate) fn session_stream(session: SessionStream, endpoint: &str) -> Response {
    let first = stream::iter([Bytes::from(format!("event: endpoint\ndata: {endpoint}\n\n"))]);
    let rest = stream::unfold(session, |mut session| async move {
        match timeout(KEEP_ALIVE, session.messages.recv()).await {
            Ok(Some(message)) => Some((event(&message), session)),
            Ok(None) => None,
            Err(_) => Some((Bytes::from_static(COMMENT), session)),
        }
    });
    event_stream(first.chain(rest))
}

/// An error as a JSON-RPC answer with an HTTP status.
pub(crate) fn refuse(status: StatusCode, failure: Failure) -> Response {
    json(status, Message::Failure(failure).encode())
}

/// An error about the transport, which belongs to no request.
pub(crate) fn refuse_transport(status: StatusCode, text: &str) -> Response {
    let error = RpcError::new(ErrorCode::INVALID_REQUEST, text);
    refuse(status, Failure { id: None, error })
}

/// The status of an answer: the handshake era has errors ride on 200, the stateless one does not always
/// (wire reference §1.4, A3).
fn status(answer: &Message, era: Era) -> StatusCode {
    let Message::Failure(failure) = answer else { return StatusCode::OK };
    match (era, failure.error.code()) {
        (Era::Handshake, _) => StatusCode::OK,
        (_, Some(ErrorCode::METHOD_NOT_FOUND)) => StatusCode::NOT_FOUND,
        (
            _,
            Some(
                ErrorCode::PARSE_ERROR
                | ErrorCode::INVALID_REQUEST
                | ErrorCode::INVALID_PARAMS
                | ErrorCode::HEADER_MISMATCH
                | ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY
                | ErrorCode::UNSUPPORTED_PROTOCOL_VERSION,
            ),
        ) => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}

pub(crate) fn json(status: StatusCode, body: Bytes) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

const COMMENT: &[u8] = b":\n\n";

fn event(message: &Message) -> Bytes {
    // Everything here was encoded compactly by this crate, so the data is one line.
    let text = message.encode();
    let mut event = String::with_capacity(text.len() + 32);
    let _ = write!(event, "event: message\ndata: {}\n\n", String::from_utf8_lossy(&text));
    event.into()
}

fn event_stream(events: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let mut response = Body::from_stream(events.map(Ok::<_, Infallible>)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
