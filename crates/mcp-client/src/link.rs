//! The connection itself: what all calls on it share.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use mcp_protocol::cancel::CancelledParams;
use mcp_protocol::{
    Era, ErrorCode, Failure, Message, Method, Notification, ProtocolVersion, RawJson, Request, RequestId,
    Response, RpcError,
};
use mcp_transport::{
    Delivery, Header, Inbox, Incoming, Outbound, Transport, TransportError, TransportErrorKind, TransportKind,
};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};

use crate::answer::Answer;
use crate::core::pending::{Owner, Pending};
use crate::error::CallError;
use crate::exchange::{Shared, channels, id_of_token};
use crate::signal::Signal;
use crate::stats::{Counters, count};

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
    /// What was asked for, if that was to find out what is at the other end: then an error without id may
    /// be the answer, and an echo is to be told from a request of the server.
    pub(crate) probe: Option<Method>,
}

/// Owns a [`Link`]; dropping the last reference closes it.
#[derive(Debug)]
pub(crate) struct Connection(Arc<Link>);

impl Connection {
    /// Takes over a transport and starts reading its inbox, if it has one.
    pub(crate) fn new(mut transport: Box<dyn Transport>, kind: TransportKind) -> Arc<Self> {
        let inbox = transport.take_inbox();
        let link = Arc::new(Link {
            transport,
            kind,
            has_inbox: inbox.is_some(),
            ids: AtomicI64::new(1),
            pending: Mutex::new(Pending::new()),
            version: RwLock::new(None),
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

/// What calls, the reader and background tasks share.
pub(crate) struct Link {
    pub(crate) transport: Box<dyn Transport>,
    pub(crate) kind: TransportKind,
    has_inbox: bool,
    ids: AtomicI64,
    /// Never locked across an await.
    pending: Mutex<Pending<Waiter, TransportError>>,
    /// `None` before one is agreed on.
    version: RwLock<Option<ProtocolVersion>>,
    /// No new call is possible.
    pub(crate) ended: Signal,
    /// Calls under way are over as well.
    pub(crate) aborted: Signal,
    pub(crate) counters: Counters,
    notifications: broadcast::Sender<Notification>,
    background: Arc<Semaphore>,
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
        wants_progress: bool,
        probe: Option<Method>,
    ) -> Result<Option<Shared>, CallError> {
        self.check_open()?;
        if !self.has_inbox {
            return Ok(None);
        }
        let (waiter, shared) = channels(wants_progress, probe);
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

    /// How many requests wait for an answer on the inbox.
    pub(crate) fn waiting(&self) -> usize {
        self.pending().len()
    }

    /// Sets the version agreed on, for messages that belong to no call.
    pub(crate) fn agree(&self, version: ProtocolVersion) {
        *self.version.write().unwrap_or_else(PoisonError::into_inner) = Some(version);
    }

    fn version(&self) -> Option<ProtocolVersion> {
        *self.version.read().unwrap_or_else(PoisonError::into_inner)
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
        if error.kind == TransportErrorKind::SessionExpired {
            self.ended.raise(error.clone());
        }
    }

    /// Ends the connection: no new calls, and those under way fail.
    pub(crate) fn end(&self, reason: TransportError) {
        self.ended.raise(reason.clone());
        let reason = TransportError::new(reason.kind, Delivery::Unknown);
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

    /// Answers a request of the server: `ping`, or that we offer nothing else.
    ///
    /// `version` and `headers` are those of the request of ours it came along with, if it did. In the stateless era only
    /// clients send requests and only servers answer (wire reference §1.1 and §4.3): there it is ignored.
    pub(crate) fn answer_request(
        self: &Arc<Self>,
        request: Request,
        version: Option<ProtocolVersion>,
        headers: &[Header],
    ) {
        let Request { id, method, .. } = request;
        if version.or(self.version()).is_some_and(|version| version.era() == Era::Stateless) {
            tracing::debug!(%method, "ignored a request of a stateless server");
            return count(&self.counters.requests_ignored);
        }
        let answer = if method == Method::Ping {
            Message::Response(Response { id, result: RawJson::empty_object() })
        } else {
            tracing::debug!(%method, "refused a request of the server");
            let error = RpcError::new(ErrorCode::METHOD_NOT_FOUND, "Method not found");
            Message::Failure(Failure { id: Some(id), error })
        };
        self.reply(answer, headers.to_vec());
    }

    /// Sends a message nobody waits for.
    fn reply(self: &Arc<Self>, message: Message, headers: Vec<Header>) {
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
    fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
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
            Message::Response(Response { id, result }) => self.deliver(&id, Ok(Answer { result, frame })),
            Message::Failure(Failure { id: Some(id), error }) => {
                self.deliver(&id, Err(CallError::Rpc { error, frame }));
            }
            Message::Failure(Failure { id: None, error }) => self.deliver_anonymous(error, frame),
            Message::Request(request) if self.is_echo(&request) => {
                self.deliver(&request.id, Err(CallError::echo()));
            }
            Message::Request(request) => self.answer_request(request, None, &[]),
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
            Owner::Late => count(&self.counters.late_answers),
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
        if notification.method != Method::Progress {
            return self.publish(notification);
        }
        let token = notification.params.as_ref().and_then(|params| params.get("progressToken"));
        let token = token.and_then(|token| token.to::<String>().ok());
        let pending = self.pending();
        let events =
            token.and_then(|token| id_of_token(&token)).and_then(|id| pending.get(id)?.events.as_ref());
        // Not read quickly enough, or progress of a call that is over: only the latest is of interest.
        if events.is_none_or(|events| events.try_send(notification).is_err()) {
            count(&self.counters.notifications_dropped);
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending<Waiter, TransportError>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a call fails that comes after the end.
fn not_sent(reason: &TransportError) -> CallError {
    TransportError::new(reason.kind.clone(), Delivery::NotSent).into()
}

fn closed() -> TransportError {
    TransportError::new(TransportErrorKind::Closed("the connection was closed".into()), Delivery::Unknown)
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("kind", &self.kind).finish_non_exhaustive()
    }
}
