//! A POST of the stateless era (wire reference §3.9, §4.3).

use std::collections::VecDeque;
use std::future::{poll_fn, ready};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::task::AtomicWaker;
use futures::{FutureExt, stream};
use mcp_protocol::meta::RequestMeta;
use mcp_protocol::{
    Era, Limits, Message, Method, Notification, ProtocolVersion, RawJson, Request, RequestId, RpcError,
};
use tokio::time::timeout;

use super::reply::{accepted, events, json, refuse, refuse_full, refuse_transport, traced};
use super::{Call, mirror};
use crate::contain::Working;
use crate::flight::{Flight, Shared};
use crate::ladder;
use crate::service::{AskError, Channel, Outcome, StatelessCall, TransportShape};
use crate::stats::OpenStream;
use crate::text::{COMMENT, Form, answer_message};

/// Answers a POST whose media types are fine. `version` is what its header says.
pub(super) async fn post(call: &Call<'_>, headers: &HeaderMap, version: &str, body: &Bytes) -> Response {
    let limits = Limits::default().with_max_bytes(call.front.limits().max_body);
    let request = match Message::parse(body, &limits) {
        Ok(Message::Request(request)) => request,
        // Nothing over HTTP depends on a notification of the client: cancelling is leaving.
        Ok(Message::Notification(_)) => return accepted(),
        Ok(Message::Response(_) | Message::Failure(_)) => {
            return refuse_transport(StatusCode::BAD_REQUEST, "in this revision clients send no responses");
        }
        Err(error) => {
            return refuse(StatusCode::BAD_REQUEST, error.id.clone(), error.to_failure().error);
        }
    };
    let (meta, name) = match climb(call, headers, version, &request) {
        Ok(said) => said,
        Err(error) => return refuse(status(&error), Some(request.id), error),
    };
    match call.front.shared().take_off(&call.principal) {
        Ok(flight) => answer(call, request, (meta, name), flight).await,
        Err(busy) => refuse_full(Some(request.id), busy),
    }
}

/// Steps 3 to 7 of the ladder, as far as they are not the service's. Gives the envelope and what the request is about.
fn climb(
    call: &Call<'_>,
    headers: &HeaderMap,
    version: &str,
    request: &Request,
) -> Result<(RequestMeta, Option<Arc<str>>), RpcError> {
    let eras = call.endpoint.service.eras();
    if request.method == Method::Initialize
        && version == ProtocolVersion::LATEST_STATELESS.as_str()
        && ladder::has_era(eras, Era::Handshake)
    {
        // It never has an envelope; what its sender has to learn is that there is no handshake.
        return Err(ladder::unknown_method(&request.method));
    }
    let (meta, name) = ladder::envelope(request, eras)?;
    mirror::check(headers, &meta.protocol_version, &request.method, name.as_deref())?;
    ladder::revision(&meta, &request.method, eras)?;
    if let (Method::ToolsCall, Some(tool)) = (&request.method, &name)
        && let Some(wanted) = call.endpoint.service.mirrored(&call.principal, tool)
    {
        mirror::check_params(headers, request, &wanted)?;
    }
    Ok((meta, name))
}

/// The status of an error (wire reference §1.4, A3).
fn status(error: &RpcError) -> StatusCode {
    let status = error.code().map_or(200, |code| code.http_status());
    StatusCode::from_u16(status).unwrap_or(StatusCode::OK)
}

async fn answer(
    call: &Call<'_>,
    request: Request,
    (meta, name): (RequestMeta, Option<Arc<str>>),
    flight: Flight,
) -> Response {
    let shared = call.front.shared();
    let outlet = Exchange::new(shared);
    let listens = request.method == Method::SubscriptionsListen;
    let mut work = Work {
        id: request.id.clone(),
        outlet: Arc::clone(&outlet),
        answer: Working::new(call.endpoint.service.call(StatelessCall {
            principal: call.principal.clone(),
            transport: TransportShape::Http,
            request,
            meta,
            name,
            outlet,
        })),
        answered: None,
        _flight: flight,
    };
    let mut step = poll_fn(|cx| Poll::Ready(work.poll(cx))).await;
    if step.is_pending() && !listens {
        // A timer only for what is not answered at once.
        let keep_alive = shared.limits.keep_alive;
        step = match timeout(keep_alive, poll_fn(|cx| work.poll(cx))).await {
            Ok(step) => Poll::Ready(step),
            Err(_) => Poll::Pending,
        };
    }
    let trace = work.outlet.trace.get().cloned();
    let response = match step {
        Poll::Ready(Step::Answer(answer)) if !listens || answer.is_err() => {
            let status = answer.as_ref().map_or_else(status, |_| StatusCode::OK);
            json(status, answer_message(work.id.clone(), answer).encode())
        }
        Poll::Ready(step) => into_stream(work, step, shared),
        Poll::Pending => into_stream(work, Step::Say(COMMENT), shared),
    };
    traced(response, trace.as_ref())
}

/// The rest of the exchange as a stream, which begins with `first`.
fn into_stream(work: Work, first: Step, shared: &Arc<Shared>) -> Response {
    let keep_alive = shared.limits.keep_alive;
    let open = OpenStream::new(shared);
    let stream = stream::unfold(Some((work, open, Some(first))), move |state| async move {
        let (mut work, open, first) = state?;
        let step = match first {
            Some(step) => step,
            None => {
                let next = timeout(keep_alive, poll_fn(|cx| work.poll(cx))).await;
                next.unwrap_or(Step::Say(COMMENT))
            }
        };
        match step {
            Step::Say(text) => Some((text, Some((work, open, None)))),
            Step::Answer(answer) => Some((Form::Event.write(&answer_message(work.id.clone(), answer)), None)),
        }
    });
    events(stream)
}

/// A call and what it says meanwhile. Dropping it, as a client that leaves does, cancels the call.
struct Work {
    id: RequestId,
    outlet: Arc<Exchange>,
    answer: Working,
    /// The answer, while there is something to say before it.
    answered: Option<Outcome>,
    _flight: Flight,
}

enum Step {
    Say(Bytes),
    Answer(Outcome),
}

impl Work {
    /// What is to be said next. Must not be polled after the answer.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        self.outlet.waker.register(cx.waker());
        if self.answered.is_none()
            && let Poll::Ready(answer) = self.answer.poll_unpin(cx)
        {
            self.outlet.lock().ended = true;
            self.answered = Some(answer);
        }
        if let Some(text) = self.outlet.take() {
            return Poll::Ready(Step::Say(text));
        }
        self.answered.take().map_or(Poll::Pending, |answer| Poll::Ready(Step::Answer(answer)))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if !std::mem::replace(&mut self.outlet.lock().ended, true) {
            self.outlet.shared.counters.cancelled.add();
        }
    }
}

/// The way to the client of one exchange.
struct Exchange {
    shared: Arc<Shared>,
    said: Mutex<Said>,
    waker: AtomicWaker,
    trace: OnceLock<Arc<str>>,
}

#[derive(Default)]
struct Said {
    waiting: VecDeque<Bytes>,
    bytes: usize,
    ended: bool,
}

impl Exchange {
    fn new(shared: &Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            shared: Arc::clone(shared),
            said: Mutex::default(),
            waker: AtomicWaker::new(),
            trace: OnceLock::new(),
        })
    }

    fn take(&self) -> Option<Bytes> {
        let mut said = self.lock();
        let text = said.waiting.pop_front()?;
        said.bytes -= text.len();
        Some(text)
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Channel for Exchange {
    fn notify(&self, notification: Notification) {
        let text = Form::Event.write(&Message::Notification(notification));
        let limits = &self.shared.limits;
        let mut said = self.lock();
        let has_room =
            said.waiting.len() < limits.queue_messages && said.bytes + text.len() <= limits.queue_bytes;
        if said.ended || !has_room {
            drop(said);
            return self.shared.counters.dropped.add();
        }
        said.bytes += text.len();
        said.waiting.push_back(text);
        drop(said);
        self.waker.wake();
    }

    fn ask(
        &self,
        _method: Method,
        _params: Option<RawJson>,
    ) -> BoxFuture<'static, Result<RawJson, AskError>> {
        Box::pin(ready(Err(AskError::Unreachable("clients of the stateless era answer no questions"))))
    }

    fn trace(&self, request_id: Arc<str>) {
        let _ = self.trace.set(request_id); // the first one counts
    }
}
