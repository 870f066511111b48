//! One request of a client that has more than this one: a session, or a pipe.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use futures::task::AtomicWaker;
use mcp_protocol::{Era, Message, Method, Notification, RawJson, Request, RequestId};

use crate::contain::Working;
use crate::flight::Flight;
use crate::peer::Peer;
use crate::service::{AskError, Channel};
use crate::text::answer_message;

const OPEN: u8 = 0;
const ANSWERED: u8 = 1;
const CANCELLED: u8 = 2;

/// A request in flight, as others see it: its client's other messages, and whoever answers it.
pub(crate) struct Call {
    pub(crate) peer: Arc<Peer>,
    pub(crate) id: RequestId,
    pub(crate) era: Era,
    /// It waits for news until it is cancelled.
    pub(crate) listens: bool,
    /// Where it is answered.
    pub(crate) stream: u64,
    phase: AtomicU8,
    /// The client left before its stream had begun, so it cannot come back to it.
    abandoned: AtomicBool,
    owner: AtomicWaker,
    trace: OnceLock<Arc<str>>,
}

impl Call {
    pub(crate) fn new(peer: Arc<Peer>, era: Era, request: &Request, stream: u64) -> Arc<Self> {
        Arc::new(Self {
            peer,
            id: request.id.clone(),
            era,
            listens: era == Era::Stateless && request.method == Method::SubscriptionsListen,
            stream,
            phase: AtomicU8::new(OPEN),
            abandoned: AtomicBool::new(false),
            owner: AtomicWaker::new(),
            trace: OnceLock::new(),
        })
    }

    /// Cancels it, unless it was answered.
    pub(crate) fn cancel(&self) {
        if self.leave_open(CANCELLED) {
            self.peer.shared.counters.cancelled.add();
            self.owner.wake();
        }
    }

    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    pub(crate) fn trace_id(&self) -> Option<&Arc<str>> {
        self.trace.get()
    }

    /// Whether it was neither answered nor cancelled. Who says something about it asks under the lock of its peer: what
    /// is said then comes before the answer.
    pub(crate) fn is_open(&self) -> bool {
        self.is(OPEN)
    }

    fn is(&self, phase: u8) -> bool {
        self.phase.load(Ordering::Acquire) == phase
    }

    /// Exactly one of answer and cancellation wins.
    fn leave_open(&self, phase: u8) -> bool {
        self.phase.compare_exchange(OPEN, phase, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Channel for Call {
    fn notify(&self, notification: Notification) {
        if self.is_open() && self.peer.notify(Some(self), notification) {
            self.owner.wake();
        }
    }

    fn ask(&self, method: Method, params: Option<RawJson>) -> BoxFuture<'static, Result<RawJson, AskError>> {
        let asking = self.peer.ask(Some(self), method, params);
        self.owner.wake();
        asking
    }

    fn trace(&self, request_id: Arc<str>) {
        let _ = self.trace.set(request_id); // the first one counts
    }
}

/// A request in flight, as its owner sees it. Gives the answer, or nothing if it was cancelled. Dropping it frees
/// its place.
pub(crate) struct Running {
    pub(crate) call: Arc<Call>,
    /// Nothing only while it begins.
    pub(crate) work: Option<Working>,
    pub(crate) _flight: Flight,
}

impl Future for Running {
    type Output = Option<Message>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.call.owner.register(cx.waker());
        if self.call.is(CANCELLED) {
            return Poll::Ready(None);
        }
        let Some(work) = &mut self.work else { return Poll::Pending };
        let Poll::Ready(outcome) = work.poll_unpin(cx) else { return Poll::Pending };
        let answered = self.call.leave_open(ANSWERED);
        Poll::Ready(answered.then(|| answer_message(self.call.id.clone(), outcome)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What its owner drops without an answer is cancelled too, as when a runtime ends.
        self.call.leave_open(CANCELLED);
        self.call.peer.forget(&self.call);
    }
}

/// The requests of one POST.
pub(crate) enum Work {
    One(Option<Running>),
    Many(FuturesUnordered<Running>),
}

impl Work {
    /// The next that has come to its end; `None` if there is no other.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Option<Message>>> {
        match self {
            Self::One(running) => {
                let Some(one) = running else { return Poll::Ready(None) };
                let answer = std::task::ready!(Pin::new(one).poll(cx));
                *running = None;
                Poll::Ready(Some(answer))
            }
            Self::Many(running) => running.poll_next_unpin(cx),
        }
    }
}
