//! A POST of the handshake era (wire reference §4.2).

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::{self, FuturesUnordered, Stream};
use mcp_protocol::{Era, ErrorCode, Failure, Limits, Message, Method, RawJson, Request, RpcError};
use tokio::time::timeout;

use super::mirror::SESSION_ID;
use super::reply::{accepted, events, json, refuse, refuse_full, traced, unknown_session};
use super::{Call, mirror};
use crate::call::{Call as Called, Work};
use crate::flight::Refused;
use crate::frame::Frame;
use crate::peer::Peer;
use crate::reader::Reader;
use crate::service::{Conversation, TransportShape};
use crate::text::{COMMENT, answer_message};
use crate::{cancelled, ladder, opening};

/// Answers a POST whose media types are fine. `foreign` is what its version header says, if that is no revision of
/// this era; there is no other era then.
pub(super) async fn post(
    call: &Call<'_>,
    headers: &HeaderMap,
    foreign: Option<&str>,
    body: &Bytes,
) -> Response {
    let named = match mirror::single(headers, SESSION_ID) {
        Ok(named) => named,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, None, error),
    };
    let session = named.and_then(|id| call.find(id));
    let talk = session.and_then(|peer| peer.conversation().map(|talk| (peer, talk)));
    let batches = talk.as_ref().is_some_and(|(_, (version, _))| version.has_batches());
    let limits = Limits::default().with_max_bytes(call.front.limits().max_body);
    let frame = Frame::parse(body, &limits, batches);
    if let Ok(Frame::Single(Message::Request(request))) = &frame {
        if call.has_era(Era::Stateless) && ladder::has_envelope(request) {
            let error = RpcError::new(
                ErrorCode::HEADER_MISMATCH,
                "the body is a stateless request, but header mcp-protocol-version does not say so",
            );
            return refuse(StatusCode::BAD_REQUEST, Some(request.id.clone()), error);
        }
        if request.method == Method::Initialize && foreign.is_none() {
            // Whatever session it names. In a box, so that calls need no room for it.
            return Box::pin(initialize(call, request.clone())).await;
        }
    }
    let is_unknown = named.is_some() && talk.is_none();
    match (frame, talk.filter(|_| foreign.is_none())) {
        _ if is_unknown => unknown_session(),
        (Err(error), _) => refuse(StatusCode::BAD_REQUEST, error.id.clone(), error.to_failure().error),
        (Ok(frame), None) => out_of_place(call, foreign, frame),
        (Ok(Frame::Single(Message::Request(request))), Some((peer, (_, conversation)))) => {
            match begin(&peer, &*conversation, request) {
                Ok((lane, called)) => {
                    traced(lane.into_response(call, Vec::new(), false).await, called.trace_id())
                }
                Err(answered) => *answered,
            }
        }
        (Ok(Frame::Single(message)), Some((peer, (_, conversation)))) => {
            note(&peer, &*conversation, message);
            accepted()
        }
        (Ok(Frame::Batch(entries)), Some((peer, (_, conversation)))) => {
            Box::pin(batch(call, &peer, &*conversation, entries)).await
        }
    }
}

/// The error for a message that would need a session, or another era.
fn out_of_place(call: &Call<'_>, foreign: Option<&str>, frame: Frame) -> Response {
    let request = match frame {
        Frame::Single(Message::Request(request)) => Some(request),
        _ => None,
    };
    let error = match (&request, foreign) {
        (Some(request), _) if request.method == Method::ServerDiscover => {
            ladder::discover_without_envelope(call.endpoint.service.eras())
        }
        (_, Some(version)) => {
            let text = format!("header mcp-protocol-version: {version:?} is not supported");
            RpcError::new(ErrorCode::INVALID_REQUEST, &text)
        }
        (_, None) => {
            let text = "the session id is missing: send initialize first, or the _meta members and headers of a \
                        stateless request";
            RpcError::new(ErrorCode::INVALID_REQUEST, text)
        }
    };
    refuse(StatusCode::BAD_REQUEST, request.map(|request| request.id), error)
}

async fn initialize(call: &Call<'_>, request: Request) -> Response {
    let place = match call.front.sessions().place(call.front.shared()) {
        Ok(place) => place,
        Err(refused) => return refuse_full(Some(request.id), refused),
    };
    let service = Arc::clone(&call.endpoint.service);
    let peer = Peer::new(call.front.shared(), call.principal.clone(), service, TransportShape::Http);
    let (answer, opened) = opening::open(&peer, request).await;
    let mut response = json(StatusCode::OK, answer.encode());
    if opened.is_ok() {
        let id = place.take(call.endpoint, peer);
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(SESSION_ID, id);
        }
    }
    response
}

/// Begins to answer a request, unless that is done at once.
fn begin(
    peer: &Arc<Peer>,
    conversation: &dyn Conversation,
    request: Request,
) -> Result<(Lane, Arc<Called>), Box<Response>> {
    if request.method == Method::Ping {
        let pong = answer_message(request.id, Ok(RawJson::empty_object()));
        return Err(Box::new(json(StatusCode::OK, pong.encode())));
    }
    let id = request.id.clone();
    let stream = peer.reserve_stream();
    match peer.start(Era::Handshake, request, stream, |request, outlet| conversation.call(request, outlet)) {
        Ok(running) => {
            let called = Arc::clone(&running.call);
            Ok((Lane::new(peer, stream, Work::One(Some(running))), called))
        }
        Err(Refused::Ended) => Err(Box::new(unknown_session())),
        Err(refused) => Err(Box::new(refuse_full(Some(id), refused))),
    }
}

async fn batch(
    call: &Call<'_>,
    peer: &Arc<Peer>,
    conversation: &dyn Conversation,
    entries: Vec<Result<Message, Failure>>,
) -> Response {
    let stream = peer.reserve_stream();
    let work = FuturesUnordered::new();
    let mut answers = Vec::new();
    for entry in entries {
        match entry {
            Err(failure) => answers.push(Message::Failure(failure)),
            Ok(Message::Request(request)) if request.method == Method::Ping => {
                answers.push(answer_message(request.id, Ok(RawJson::empty_object())));
            }
            Ok(Message::Request(request)) => {
                let id = request.id.clone();
                match peer.start(Era::Handshake, request, stream, |request, outlet| {
                    conversation.call(request, outlet)
                }) {
                    Ok(running) => work.push(running),
                    Err(refused) => answers.push(answer_message(id, Err(refused.to_error()))),
                }
            }
            Ok(other) => note(peer, conversation, other),
        }
    }
    if work.is_empty() && answers.is_empty() {
        return accepted();
    }
    let lane = Lane::new(peer, stream, Work::Many(work));
    lane.into_response(call, answers, true).await
}

/// Takes a message that wants no answer.
fn note(peer: &Peer, conversation: &dyn Conversation, message: Message) {
    match message {
        Message::Notification(notification) if notification.method == Method::Cancelled => {
            if let Some(id) = cancelled(&notification) {
                peer.cancel_id(&id);
            }
        }
        Message::Notification(notification) => conversation.notified(notification),
        Message::Response(response) => peer.replied(Some(&response.id), Ok(response.result)),
        Message::Failure(failure) => peer.replied(failure.id.as_ref(), Err(failure.error)),
        Message::Request(_) => {}
    }
}

/// The requests of one POST. A client that leaves does not cancel them: dropped, they go on by themselves.
struct Lane {
    peer: Arc<Peer>,
    stream: u64,
    work: Option<Work>,
    /// Their stream has begun.
    streams: bool,
}

impl Lane {
    fn new(peer: &Arc<Peer>, stream: u64, work: Work) -> Self {
        Self { peer: Arc::clone(peer), stream, work: Some(work), streams: false }
    }

    /// One JSON body, or a stream as soon as there is more to say than answers.
    async fn into_response(mut self, call: &Call<'_>, mut answers: Vec<Message>, is_batch: bool) -> Response {
        let limits = call.front.limits();
        let keep_alive = limits.keep_alive;
        let mut is_done = self.advance(&mut answers).await;
        if is_done.is_pending() {
            // A timer only for what is not answered at once.
            let can_be_resumed = self.peer.lock().store.primes;
            let wait = if can_be_resumed { limits.stream_after } else { keep_alive };
            let rest = poll_fn(|cx| self.poll(cx, &mut answers));
            is_done = timeout(wait.min(keep_alive), rest).await.map_or(Poll::Pending, Poll::Ready);
        }
        let speaks = self.peer.lock().store.has(self.stream);
        if is_done.is_ready() && !speaks && !answers.is_empty() {
            return json(StatusCode::OK, encode(&answers, is_batch));
        }
        self.into_stream(&answers, keep_alive)
    }

    /// Polls once.
    async fn advance(&mut self, answers: &mut Vec<Message>) -> Poll<()> {
        poll_fn(|cx| Poll::Ready(self.poll(cx, answers))).await
    }

    /// Ready when all is answered, or there is a message that is no answer.
    fn poll(&mut self, cx: &mut std::task::Context<'_>, answers: &mut Vec<Message>) -> Poll<()> {
        while let Some(work) = &mut self.work {
            match work.poll_next(cx) {
                Poll::Ready(Some(answer)) => answers.extend(answer),
                Poll::Ready(None) => self.work = None,
                Poll::Pending if self.peer.lock().store.has(self.stream) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }

    fn into_stream(mut self, answers: &[Message], keep_alive: std::time::Duration) -> Response {
        let (peer, stream) = (Arc::clone(&self.peer), self.stream);
        peer.lock().store.open(stream);
        self.streams = true;
        answers.iter().for_each(|answer| peer.answer(stream, answer));
        let reader = peer.attach(stream, None);
        if self.work.is_none() {
            peer.end_stream(stream);
        }
        match reader {
            Ok(reader) => events(follow(reader, Some(self), keep_alive)),
            Err(_) => unknown_session(), // nobody else knows the stream, so this does not happen
        }
    }

    /// Gets on with the work of a stream.
    fn go_on(&mut self, cx: &mut std::task::Context<'_>) {
        while let Some(work) = &mut self.work {
            match work.poll_next(cx) {
                Poll::Ready(Some(answer)) => {
                    answer.iter().for_each(|answer| self.peer.answer(self.stream, answer));
                }
                Poll::Ready(None) => {
                    self.work = None;
                    self.peer.end_stream(self.stream);
                }
                Poll::Pending => return,
            }
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let Some(work) = self.work.take() else { return };
        if !self.streams {
            self.peer.abandon(self.stream);
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(finish(Arc::clone(&self.peer), self.stream, work));
        }
    }
}

/// Brings requests to their end. Their answers go on the stream, if there is one.
async fn finish(peer: Arc<Peer>, stream: u64, mut work: Work) {
    while let Some(answer) = poll_fn(|cx| work.poll_next(cx)).await {
        if let Some(answer) = answer {
            peer.answer(stream, &answer);
        }
    }
    peer.end_stream(stream);
}

fn encode(answers: &[Message], is_batch: bool) -> Bytes {
    if let ([answer], false) = (answers, is_batch) {
        return answer.encode();
    }
    let mut body = BytesMut::new();
    for answer in answers {
        body.put_u8(if body.is_empty() { b'[' } else { b',' });
        answer.encode_into(&mut body);
    }
    body.put_u8(b']');
    body.freeze()
}

/// Bytes and pieces of a stream that its connection takes before it waits for the client; hyper takes more.
const POLLED: (usize, usize) = (1 << 16, 8);

/// A stream of a session as the body of a response.
pub(super) fn read(reader: Reader, keep_alive: std::time::Duration) -> impl Stream<Item = Bytes> + Send {
    follow(reader, None, keep_alive)
}

/// The same, and the work is done that goes on it: one task less for what is answered soon. A stream of which much waits
/// in the buffers of its connection is not polled any more; the work goes on by itself before it comes to that.
fn follow(
    reader: Reader,
    lane: Option<Lane>,
    keep_alive: std::time::Duration,
) -> impl Stream<Item = Bytes> + Send {
    stream::unfold((reader, lane, None, (0, 0)), move |(mut reader, mut lane, rest, mut said)| async move {
        if let Some(rest) = rest {
            return Some((rest, (reader, lane, None, said)));
        }
        let next = {
            let mut reading = pin!(reader.next());
            let both = poll_fn(|cx| {
                if let Some(lane) = &mut lane {
                    lane.go_on(cx);
                }
                reading.as_mut().poll(cx)
            });
            timeout(keep_alive, both).await
        };
        let (piece, rest) = next.unwrap_or(Some((COMMENT, None)))?;
        said = (said.0 + piece.len() + rest.as_ref().map_or(0, Bytes::len), said.1 + 1);
        lane = lane.filter(|_| said.0 < POLLED.0 && said.1 < POLLED.1);
        Some((piece, (reader, lane, rest, said)))
    })
}
