//! One client that is more than one request: a session over HTTP, or a pipe.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures::future::BoxFuture;
use mcp_protocol::cancel::CancelledParams;
use mcp_protocol::{Era, Message, Method, Notification, ProtocolVersion, RawJson, Request, RequestId};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::call::{Call, Running};
use crate::contain::Working;
use crate::flight::{Refused, Shared};
use crate::questions::Question;
use crate::reader::Reader;
use crate::service::{AskError, Channel, Conversation, Outcome, Outlet, Principal, Service, TransportShape};
use crate::stats::OpenStream;
use crate::store::{COMMON, Kind, Store, Unreadable};
use crate::text::Form;

/// One client that is more than one request.
pub(crate) struct Peer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) principal: Principal,
    pub(crate) service: Arc<dyn Service>,
    pub(crate) shape: TransportShape,
    state: Mutex<State>,
    next_stream: AtomicU64,
    /// Something was read from the common stream.
    pub(crate) read: Notify,
}

pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) talk: Talk,
    calls: Vec<Arc<Call>>,
    pub(crate) questions: HashMap<i64, Question>,
    pub(crate) next_question: i64,
    pub(crate) ended: bool,
    /// Its stream ends as soon as no call is in flight.
    closing: bool,
    /// It has closed its side, so it answers no question.
    pub(crate) mute: bool,
    /// It came back after it had introduced itself.
    came_back: bool,
    pub(crate) used: Instant,
    pub(crate) opening: Option<AbortHandle>,
}

/// How far the handshake is.
pub(crate) enum Talk {
    None,
    /// `initialize` is being answered; these came meanwhile.
    Opening(Vec<Message>),
    Open(ProtocolVersion, Arc<dyn Conversation>),
}

impl Peer {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        principal: Principal,
        service: Arc<dyn Service>,
        shape: TransportShape,
    ) -> Arc<Self> {
        let state = State {
            store: Store::new(shape == TransportShape::Http),
            talk: Talk::None,
            calls: Vec::new(),
            questions: HashMap::new(),
            next_question: 1,
            ended: false,
            closing: false,
            mute: false,
            came_back: false,
            used: Instant::now(),
            opening: None,
        };
        Arc::new(Self {
            shared: Arc::clone(shared),
            principal,
            service,
            shape,
            state: Mutex::new(state),
            read: Notify::new(),
            next_stream: AtomicU64::new(COMMON + 1),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn form(&self) -> Form {
        if self.shape == TransportShape::Stdio { Form::Line } else { Form::Event }
    }

    /// The way to the client outside of any request.
    pub(crate) fn outlet(self: &Arc<Self>) -> Outlet {
        Arc::new(Outside(Arc::downgrade(self)))
    }

    /// The handshake has succeeded. The conversation is ended at once if the client has gone meanwhile.
    pub(crate) fn opened(
        &self,
        version: ProtocolVersion,
        conversation: Arc<dyn Conversation>,
    ) -> Vec<Message> {
        let mut state = self.lock();
        if state.ended {
            drop(state);
            conversation.end();
            return Vec::new();
        }
        state.store.primes = version >= ProtocolVersion::V2025_11_25 && self.shape == TransportShape::Http;
        match std::mem::replace(&mut state.talk, Talk::Open(version, conversation)) {
            Talk::Opening(held) => held,
            Talk::None | Talk::Open(..) => Vec::new(),
        }
    }

    /// The handshake has failed; gives what came meanwhile.
    pub(crate) fn not_opened(&self) -> Vec<Message> {
        match std::mem::replace(&mut self.lock().talk, Talk::None) {
            Talk::Opening(held) => held,
            Talk::None | Talk::Open(..) => Vec::new(),
        }
    }

    /// With whom the client talks, if it has introduced itself.
    pub(crate) fn conversation(&self) -> Option<(ProtocolVersion, Arc<dyn Conversation>)> {
        match &self.lock().talk {
            Talk::Open(version, conversation) => Some((*version, Arc::clone(conversation))),
            Talk::None | Talk::Opening(_) => None,
        }
    }

    /// A number for the stream of a POST.
    pub(crate) fn reserve_stream(&self) -> u64 {
        if self.shape != TransportShape::Http {
            return COMMON;
        }
        self.next_stream.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes on a request, which `work` answers.
    pub(crate) fn start(
        self: &Arc<Self>,
        era: Era,
        request: Request,
        stream: u64,
        work: impl FnOnce(Request, Outlet) -> BoxFuture<'static, Outcome>,
    ) -> Result<Running, Refused> {
        let flight = self.shared.take_off(&self.principal)?;
        let call = Call::new(Arc::clone(self), era, &request, stream);
        {
            let mut state = self.lock();
            if state.ended {
                return Err(Refused::Ended);
            }
            if state.calls.len() >= self.shared.limits.in_flight_per_session {
                self.shared.counters.refused.add();
                return Err(Refused::Session);
            }
            state.calls.push(Arc::clone(&call));
        }
        let outlet: Outlet = Arc::<Call>::clone(&call);
        // Whatever happens from here on, dropping this gives the place back.
        let mut running = Running { work: None, call, _flight: flight };
        running.work = Some(Working::new(work(request, outlet)));
        Ok(running)
    }

    /// A request has come to its end.
    pub(crate) fn forget(&self, call: &Arc<Call>) {
        let mut state = self.lock();
        state.calls.retain(|other| !Arc::ptr_eq(other, call));
        state.used = Instant::now();
        state.settle();
    }

    /// The task that answers `initialize` comes to its end: what waited for it has been taken up.
    pub(crate) fn opening_ended(&self) {
        let mut state = self.lock();
        // The next one may have begun.
        if state.opening.as_ref().is_some_and(|opening| Some(opening.id()) == tokio::task::try_id()) {
            state.opening = None;
        }
        state.settle();
    }

    /// Cancels the requests that `which` picks.
    pub(crate) fn cancel(&self, which: impl Fn(&Call) -> bool) {
        let calls: Vec<_> = self.lock().calls.iter().filter(|call| which(call)).cloned().collect();
        calls.iter().for_each(|call| call.cancel());
    }

    /// Cancels every request of this id, also those that still wait for the handshake.
    pub(crate) fn cancel_id(&self, id: &RequestId) {
        if let Talk::Opening(held) = &mut self.lock().talk {
            held.retain(|message| !matches!(message, Message::Request(request) if request.id == *id));
        }
        self.cancel(|call| call.id == *id);
    }

    /// The client of a POST left before its stream had begun.
    pub(crate) fn abandon(&self, stream: u64) {
        self.shared.counters.abandoned.add();
        let state = self.lock();
        state.calls.iter().filter(|call| call.stream == stream).for_each(|call| call.abandon());
    }

    /// Says what came of a request. Without its stream there is nobody to say it to.
    pub(crate) fn answer(&self, stream: u64, answer: &Message) {
        let text = self.form().write(answer);
        let mut lost = Vec::new();
        let mut state = self.lock();
        if !state.store.has(stream) {
            tracing::debug!("an answer is dropped, its client left before a stream had begun");
            return;
        }
        // On a stream that has ended the session has, too.
        let _ = state.store.say(stream, Kind::Answer, text, &self.shared.limits, &mut lost);
        state.lose(&lost);
    }

    pub(crate) fn end_stream(&self, stream: u64) {
        self.lock().store.end(stream, Instant::now());
    }

    /// Sends a notification, within a call or outside of any; whether there was room.
    pub(crate) fn notify(&self, call: Option<&Call>, notification: Notification) -> bool {
        let text = self.form().write(&Message::Notification(notification));
        let stream = call.map_or(COMMON, |call| call.stream);
        let mut lost = Vec::new();
        let mut state = self.lock();
        let said = call.is_none_or(|call| call.is_open() && !call.is_abandoned())
            && state.store.say(stream, Kind::Notice, text, &self.shared.limits, &mut lost).is_ok();
        state.lose(&lost);
        drop(state);
        if !said {
            self.shared.counters.dropped.add();
        }
        said
    }

    /// Says that a request, ours or the client's, is over: on its stream, or the common one if that is gone.
    pub(crate) fn say_cancelled(&self, stream: u64, id: RequestId) {
        let params = RawJson::encode(&CancelledParams::of(id)).ok();
        let cancelled = Message::Notification(Notification { method: Method::Cancelled, params });
        let text = self.form().write(&cancelled);
        let mut lost = Vec::new();
        let mut state = self.lock();
        let stream = if state.store.has(stream) { stream } else { COMMON };
        // Without room the client goes on in vain, which does no harm.
        let _ = state.store.say(stream, Kind::Notice, text, &self.shared.limits, &mut lost);
        state.lose(&lost);
    }

    /// Begins to read a stream, see [`Store::attach`].
    pub(crate) fn attach(self: &Arc<Self>, stream: u64, after: Option<u64>) -> Result<Reader, Unreadable> {
        let mut state = self.lock();
        if stream == COMMON && self.shape == TransportShape::Http {
            state.gather_questions(&self.shared);
        }
        let (reader, news) = state.store.attach(stream, after)?;
        let _open = OpenStream::new(&self.shared);
        Ok(Reader { peer: Arc::clone(self), stream, reader, news, _open })
    }

    /// Uses the session, unless nobody did for too long.
    pub(crate) fn visit(&self) -> bool {
        let now = Instant::now();
        let mut state = self.lock();
        if state.is_expired(now, &self.shared) {
            return false;
        }
        state.used = now;
        state.came_back = true;
        true
    }

    /// Whether nobody used it for too long. Also forgets what is not kept any longer.
    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        let mut state = self.lock();
        if let Some(since) = now.checked_sub(self.shared.limits.kept_for) {
            state.store.forget_ended(since);
        }
        state.is_expired(now, &self.shared)
    }

    /// Whether no more may wait on the common stream.
    pub(crate) fn is_full(&self) -> bool {
        self.lock().store.is_full(COMMON, &self.shared.limits)
    }

    /// Waits until more may wait on the common stream, or nothing will be read from it any more.
    pub(crate) async fn has_room(&self) {
        while self.is_full() {
            self.read.notified().await;
        }
    }

    /// The server goes away: streams that wait for news end, those with calls later.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        if self.shape == TransportShape::Http {
            state.store.end(COMMON, Instant::now());
        }
        state.settle();
    }

    /// The client has closed its side and only reads what is still to come.
    pub(crate) fn says_no_more(&self) {
        let mut state = self.lock();
        state.mute = true;
        state.questions.clear();
        drop(state);
        self.cancel(|call| call.listens);
        self.close();
    }

    /// Ends everything: calls, questions, streams, the conversation.
    pub(crate) fn end(&self) {
        let (calls, talk) = {
            let mut state = self.lock();
            state.ended = true;
            state.questions.clear();
            state.store.end_all(Instant::now());
            if let Some(opening) = state.opening.take() {
                opening.abort();
            }
            (state.calls.clone(), std::mem::replace(&mut state.talk, Talk::None))
        };
        calls.iter().for_each(|call| call.cancel());
        if let Talk::Open(_, conversation) = talk {
            conversation.end();
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.end();
    }
}

impl State {
    fn is_expired(&self, now: Instant, shared: &Shared) -> bool {
        let limits = &shared.limits;
        let patience = if self.came_back { limits.session_idle } else { limits.uninitialised };
        now.duration_since(self.used) >= patience && self.calls.is_empty() && !self.store.is_in_use()
    }

    /// Ends the common stream of a client that is closing, once nothing is under way.
    fn settle(&mut self) {
        if self.closing && self.calls.is_empty() && self.opening.is_none() {
            self.store.end(COMMON, Instant::now());
        }
    }

    /// Questions that nobody will read.
    pub(crate) fn lose(&mut self, questions: &[i64]) {
        for question in questions {
            self.questions.remove(question);
        }
    }
}

/// The way to a client outside of any request. It does not keep the client's session.
struct Outside(Weak<Peer>);

impl Channel for Outside {
    fn notify(&self, notification: Notification) {
        if let Some(peer) = self.0.upgrade() {
            peer.notify(None, notification);
        }
    }

    fn ask(&self, method: Method, params: Option<RawJson>) -> BoxFuture<'static, Result<RawJson, AskError>> {
        match self.0.upgrade() {
            Some(peer) => peer.ask(None, method, params),
            None => Box::pin(std::future::ready(Err(AskError::Unreachable("it is gone")))),
        }
    }

    fn trace(&self, _request_id: Arc<str>) {}
}

#[cfg(test)]
pub(crate) mod tests;
