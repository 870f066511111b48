//! The connection itself: what all calls on it share.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use mcp_protocol::cancel::CancelledParams;
use mcp_protocol::{
    Era, Failure, Message, Method, Notification, ProtocolVersion, RawJson, Request, RequestId, Response,
    RpcError, meta,
};
use mcp_transport::{
    Delivery, Header, Inbox, Incoming, Outbound, Transport, TransportError, TransportErrorKind, TransportKind,
};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::answer::Answer;
use crate::askers::Askers;
use crate::core::pending::{Owner, Pending};
use crate::error::CallError;
use crate::exchange::{Shared, channels, id_of_token};
use crate::handler::Host;
use crate::interest::Interest;
use crate::level::Levels;
use crate::signal::Signal;
use crate::stats::{Counters, count};
use crate::watch::Watch;

/// Server notifications a subscriber may leave unread; the oldest are dropped and counted.
const NOTIFICATIONS: usize = 256;

/// Cancellations and answers to the server under way; more are dropped and counted.
const BACKGROUND: usize = 64;

/// How long sending a message that has no answer may take.
pub(crate) const REPLY_LIMIT: Duration = Duration::from_secs(10);

/// Who waits for an answer on the inbox.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) answer: oneshot::Sender<Result<Answer, CallError>>,
    /// For progress, if it was asked for.
    pub(crate) events: Option<mpsc::Sender<Notification>>,
    /// Whether it waits for changes, and not for something to be done.
    pub(crate) listens: bool,
    /// What was asked for, if that was to find out what is at the other end: then an error without id may
    /// be the answer, and an echo is to be told from a request of the server.
    pub(crate) probe: Option<Method>,
}

/// Owns a [`Link`]; dropping the last reference closes it.
#[derive(Debug)]
pub(crate) struct Connection(Arc<Link>);

impl Connection {
    /// Takes over a transport and starts reading its inbox, if it has one.
    pub(crate) fn new(mut transport: Box<dyn Transport>, kind: TransportKind, rules: Rules) -> Arc<Self> {
        let inbox = transport.take_inbox();
        let link = Arc::new(Link {
            expects_answers: inbox.is_some() && transport.answers_on_inbox(),
            transport,
            kind,
            host: rules.host,
            recovers: rules.recover_session && kind == TransportKind::Http,
            serving: Mutex::default(),
            served: Mutex::default(),
            askers: Mutex::default(),
            levels: Levels::default(),
            in_flight: AtomicUsize::new(0),
            watch: Watch::default(),
            ids: AtomicI64::new(1),
            pending: Mutex::new(Pending::new()),
            agreed: RwLock::new(None),
            ended: Signal::default(),
            aborted: Signal::default(),
            counters: Counters::new(),
            notifications: broadcast::Sender::new(NOTIFICATIONS),
            background: Arc::new(Semaphore::new(BACKGROUND)),
        });
        if let Some(inbox) = inbox {
            tokio::spawn(link.clone().read(inbox));
        }
        Arc::new(Self(link))
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.0
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.shut();
        // Without a runtime the transport's own `Drop` has to do.
        if let Ok(runtime) = Handle::try_current() {
            let link = self.0.clone();
            runtime.spawn(async move { link.transport.close().await });
        }
    }
}

/// How a connection behaves beyond what the protocol says.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) host: Host,
    pub(crate) recover_session: bool,
}

/// What calls, the reader and background tasks share.
pub(crate) struct Link {
    pub(crate) transport: Box<dyn Transport>,
    pub(crate) kind: TransportKind,
    pub(crate) host: Host,
    /// Whether a session the server has forgotten is replaced.
    pub(crate) recovers: bool,
    /// Whether requests are answered on the inbox.
    pub(crate) expects_answers: bool,
    /// The server's requests being answered, by its ids.
    pub(crate) serving: Mutex<HashMap<RequestId, AbortHandle>>,
    /// When the last of them was answered.
    pub(crate) served: Mutex<Option<Instant>>,
    /// Who answers questions about requests of ours, for those that say so.
    askers: Mutex<Askers>,
    /// Least levels of log messages, in the handshake era.
    pub(crate) levels: Levels,
    /// Requests of ours under way.
    pub(crate) in_flight: AtomicUsize,
    /// Resources the server was asked to tell of, in the handshake era.
    pub(crate) watch: Watch,
    ids: AtomicI64,
    /// Never locked across an await.
    pending: Mutex<Pending<Waiter, TransportError>>,
    /// `None` before a version is agreed on.
    agreed: RwLock<Option<Agreed>>,
    /// No new call is possible.
    pub(crate) ended: Signal,
    /// Calls under way are over as well.
    pub(crate) aborted: Signal,
    pub(crate) counters: Counters,
    notifications: broadcast::Sender<Notification>,
    background: Arc<Semaphore>,
}

/// What the negotiation came to.
#[derive(Debug, Clone)]
struct Agreed {
    version: ProtocolVersion,
    /// What the server tells of without being asked, or, in the stateless era, has agreed to tell of.
    lists: Interest,
}

impl Link {
    /// A fresh id.
    pub(crate) fn next_id(&self) -> i64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Registers a request that may be answered on the inbox. Fails once the connection has ended.
    pub(crate) fn register(
        &self,
        id: i64,
        wants_events: bool,
        method: &Method,
        probe: bool,
    ) -> Result<Option<Shared>, CallError> {
        self.check_open()?;
        if !self.expects_answers {
            return Ok(None);
        }
        let (waiter, shared) = channels(wants_events, method, probe);
        self.pending().insert(id, waiter).map_err(|reason| not_sent(&reason))?;
        Ok(Some(shared))
    }

    /// Fails once no new call is possible.
    pub(crate) fn check_open(&self) -> Result<(), CallError> {
        match self.ended.get() {
            Some(reason) => Err(not_sent(reason)),
            None => Ok(()),
        }
    }

    /// Gives up waiting for an answer on the inbox.
    pub(crate) fn forget(&self, id: i64) {
        self.pending().forget(id);
    }

    /// The same for a request that may go on leading to questions for its owner, which would not say so.
    pub(crate) fn give_up(&self, id: i64, has_asker: bool) {
        // Locked first, so that an answer that comes now is not missed.
        let askers = has_asker.then(|| self.askers());
        let waited = self.pending().forget(id);
        match askers {
            Some(mut askers) if waited => askers.abandon(id),
            Some(mut askers) => askers.end(id),
            None => {}
        }
    }

    /// The requests that say who answers questions about them.
    pub(crate) fn askers(&self) -> MutexGuard<'_, Askers> {
        self.askers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many requests wait for an answer on the inbox.
    pub(crate) fn waiting(&self) -> usize {
        self.pending().len()
    }

    /// Sets the version agreed on, for messages that belong to no call, and what the server will tell of.
    pub(crate) fn agree(&self, version: ProtocolVersion, lists: Interest) {
        let agreed = Agreed { version, lists };
        *self.agreed.write().unwrap_or_else(PoisonError::into_inner) = Some(agreed);
    }

    pub(crate) fn version(&self) -> Option<ProtocolVersion> {
        self.agreed.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|agreed| agreed.version)
    }

    /// Everything the server tells of on the inbox: to be looked at again after a gap.
    pub(crate) fn told(&self) -> Interest {
        let agreed = self.agreed.read().unwrap_or_else(PoisonError::into_inner);
        let mut told = agreed.as_ref().map(|agreed| agreed.lists.clone()).unwrap_or_default();
        told.uris.extend(self.watch.wanted());
        told
    }

    /// Adds what a stateless server has agreed to tell of.
    pub(crate) fn also_told(&self, interest: &Interest) {
        let mut agreed = self.agreed.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(agreed) = agreed.as_mut() {
            agreed.lists.add(interest);
        }
    }

    /// After messages may have been lost: says that whatever they could tell of may have changed.
    fn publish_gap(&self) {
        self.publish_changes(&self.told());
        self.watch.interrupted();
    }

    /// The same for what a subscription tells of.
    pub(crate) fn publish_changes(&self, interest: &Interest) {
        count(&self.counters.gaps);
        for change in interest.changes() {
            self.publish(change);
        }
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Notification> {
        self.notifications.subscribe()
    }

    /// Passes a notification that belongs to no call to whoever subscribed.
    pub(crate) fn publish(&self, notification: Notification) {
        if self.notifications.send(notification).is_err() {
            count(&self.counters.notifications_dropped);
        }
    }

    /// Draws the conclusion from a failure: without its session the connection is of no use.
    pub(crate) fn note_failure(&self, error: &TransportError) {
        if error.kind == TransportErrorKind::SessionExpired && !self.recovers {
            self.ended.raise(error.clone());
        }
    }

    /// The same for a failure to send, which may notice the end of a process before the inbox tells.
    pub(crate) fn note_send_failure(&self, error: &TransportError) {
        if is_loss(&error.kind) && self.kind == TransportKind::Stdio {
            self.ended.raise(error.clone());
        }
        self.note_failure(error);
    }

    /// Ends the connection: no new calls, and those under way fail.
    pub(crate) fn end(&self, reason: TransportError) {
        self.ended.raise(reason.clone());
        // Whoever saw why it was lost may close it before its reader has come this far: the loss stays the reason.
        let lost = self
            .ended
            .get()
            .filter(|first| is_loss(&first.kind))
            .map_or(reason.kind, |first| first.kind.clone());
        let reason = TransportError::new(lost, Delivery::Unknown);
        self.aborted.raise(reason.clone());
        for waiter in self.pending().close(reason.clone()) {
            // A receiver that is gone has lost interest, which is fine.
            let _ = waiter.answer.send(Err(reason.clone().into()));
        }
    }

    /// Ends the connection at our own wish.
    pub(crate) fn shut(&self) {
        self.end(closed());
    }

    /// Tells the server that an answer is not wanted any more, with the headers of the request.
    pub(crate) fn cancel(self: &Arc<Self>, id: i64, reason: &str, headers: Vec<Header>) {
        let mut params = CancelledParams::of(id.into());
        params.reason = Some(reason.into());
        if let Ok(params) = RawJson::encode(&params) {
            let params = Some(params);
            self.reply(Message::Notification(Notification { method: Method::Cancelled, params }), headers);
        }
    }

    /// Sends a message nobody waits for.
    pub(crate) fn reply(self: &Arc<Self>, message: Message, headers: Vec<Header>) {
        if self.ended.get().is_some() {
            return;
        }
        let out = Outbound { version: self.version(), headers, ..Outbound::new(message) };
        let link = self.clone();
        self.in_background(async move {
            if let Err(error) = link.transport.send(out).await {
                tracing::debug!(%error, "a message to the server was lost");
            }
        });
    }

    /// Does something nobody waits for, within bounds of number and time.
    pub(crate) fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        let place = self.background.clone().try_acquire_owned();
        let (Ok(place), Ok(runtime)) = (place, Handle::try_current()) else {
            count(&self.counters.replies_dropped);
            return;
        };
        runtime.spawn(async move {
            let _place = place;
            // Best effort: whoever needs certainty does not do it in the background.
            let _ = tokio::time::timeout(REPLY_LIMIT, work).await;
        });
    }

    /// Reads the inbox until the connection is lost or closed.
    async fn read(self: Arc<Self>, inbox: Inbox) {
        // What has ended must not be asked again.
        let mut inbox = inbox.fuse();
        let reason = loop {
            let item = tokio::select! {
                biased;
                item = inbox.next() => item,
                reason = self.aborted.wait() => break reason,
            };
            match item {
                Some(Ok(incoming)) => self.accept(incoming),
                Some(Err(TransportError { kind: TransportErrorKind::Gap, .. })) => self.publish_gap(),
                Some(Err(error)) if matches!(error.kind, TransportErrorKind::Payload(_)) => {
                    count(&self.counters.bad_messages);
                    match error.answers.clone() {
                        // An answer all the same: whoever waits for it need not wait for the timeout.
                        Some(id) => self.deliver(&id, Err(CallError::Transport(error))),
                        None => tracing::warn!(%error, "ignored an unusable message"),
                    }
                }
                Some(Err(error)) => break error,
                None => break closed(),
            }
        };
        self.end(reason);
        // Reading on while the transport closes: a server that cannot write may not end.
        let rest = async {
            while inbox.next().await.is_some() {}
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = self.transport.close() => {}
            () = rest => {}
        }
    }

    fn accept(self: &Arc<Self>, Incoming { message, frame }: Incoming) {
        self.counters.active();
        match message {
            Message::Response(Response { id, result }) => self.deliver(&id, Ok(Answer::new(result, frame))),
            Message::Failure(Failure { id: Some(id), error }) => {
                self.deliver(&id, Err(CallError::Rpc { error, frame }));
            }
            Message::Failure(Failure { id: None, error }) => self.deliver_anonymous(error, frame),
            Message::Request(request) if self.is_echo(&request) => {
                self.deliver(&request.id, Err(CallError::echo()));
            }
            Message::Request(request) => {
                self.answer_request(request, None, Vec::new(), None);
            }
            Message::Notification(notification) => self.route(notification),
        }
    }

    /// Whether this is a probe of ours come back, and not a request of the server with an id like it.
    fn is_echo(&self, request: &Request) -> bool {
        let RequestId::Integer(id) = request.id else { return false };
        self.pending().get(id).is_some_and(|waiter| waiter.probe.as_ref() == Some(&request.method))
    }

    fn deliver(&self, id: &RequestId, outcome: Result<Answer, CallError>) {
        match self.pending().answer(id) {
            Owner::Waiter(waiter) => {
                // A receiver that is gone has just been cancelled.
                if waiter.answer.send(outcome).is_err() {
                    count(&self.counters.late_answers);
                }
            }
            Owner::Late => {
                if let RequestId::Integer(id) = id {
                    self.askers().settle(*id);
                }
                count(&self.counters.late_answers);
            }
            Owner::Unknown => count(&self.counters.unknown_answers),
        }
    }

    /// Some servers answer what they cannot read without its id. While only one request is under way,
    /// as during negotiation, it is clear which one is meant.
    fn deliver_anonymous(&self, error: RpcError, frame: Bytes) {
        match self.pending().take_only(|waiter| waiter.probe.is_some()) {
            Some(waiter) => {
                let _ = waiter.answer.send(Err(CallError::Rpc { error, frame }));
            }
            None => count(&self.counters.unknown_answers),
        }
    }

    fn route(&self, notification: Notification) {
        let params = notification.params.as_ref();
        let id = match notification.method {
            Method::Progress => {
                let token = params.and_then(|params| params.get("progressToken"));
                token.and_then(|token| id_of_token(&token.to::<String>().ok()?))
            }
            Method::SubscriptionsAcknowledged => {
                let id = params.and_then(|params| meta::get(params, meta::SUBSCRIPTION_ID));
                id.and_then(|id| id.to::<i64>().ok())
            }
            Method::Cancelled => return self.take_back(&notification, None),
            // It does not say which request it is about; with one under way there is no doubt (bridging §5).
            Method::LogMessage => {
                let pending = self.pending();
                let only = pending.only(|waiter| !waiter.listens).and_then(|waiter| waiter.events.as_ref());
                return match only.map(|events| events.try_send(notification.clone())) {
                    Some(Ok(())) => {}
                    _ => {
                        drop(pending);
                        self.publish(notification);
                    }
                };
            }
            _ => return self.publish(notification),
        };
        let pending = self.pending();
        let events = id.and_then(|id| pending.get(id)?.events.as_ref());
        // Not read quickly enough, or progress of a call that is over: only the latest is of interest.
        if events.is_none_or(|events| events.try_send(notification).is_err()) {
            count(&self.counters.notifications_dropped);
        }
    }

    /// What the server takes back: a request of its own, which is not answered any more, or in the stateless
    /// era its promise to tell of changes (wire reference §3.6).
    pub(crate) fn take_back(&self, cancelled: &Notification, version: Option<ProtocolVersion>) {
        let params = cancelled.params.as_ref().and_then(|params| params.to::<CancelledParams>().ok());
        let Some(id) = params.and_then(|params| params.request_id) else { return };
        if version.or(self.version()).is_some_and(|version| version.era() == Era::Stateless) {
            self.deliver(&id, Err(CallError::closed("the server ended the subscription", Delivery::Unknown)));
        } else {
            self.stop_serving(&id);
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending<Waiter, TransportError>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a call fails that comes after the end.
pub(crate) fn not_sent(reason: &TransportError) -> CallError {
    TransportError::new(reason.kind.clone(), Delivery::NotSent).into()
}

/// Whether the server is gone for good, rather than one session of it.
fn is_loss(kind: &TransportErrorKind) -> bool {
    matches!(kind, TransportErrorKind::Exited(_) | TransportErrorKind::Closed(_))
}

fn closed() -> TransportError {
    TransportError::new(TransportErrorKind::Closed("the connection was closed".into()), Delivery::Unknown)
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("kind", &self.kind).finish_non_exhaustive()
    }
}
