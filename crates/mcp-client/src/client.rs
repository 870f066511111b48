//! The client: one negotiated connection.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use mcp_protocol::logging::{LogLevel, SetLevelParams};
use mcp_protocol::result::may_require_input;
use mcp_protocol::{Era, EraPolicy, Message, Method, Notification, ProtocolVersion, RawJson};
use mcp_transport::{Header, Outbound, TransportError, TransportKind};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::answer::Answer;
use crate::call::{Call, Outgoing};
use crate::connect::{Attempt, Verdict};
use crate::core::negotiate::Negotiation;
use crate::deadline::{Deadline, Patience};
use crate::envelope::{Envelope, Sender, mirror};
use crate::error::{CallError, ConnectError};
use crate::exchange::{Cancel, Exchange, Prepared, progress_token};
use crate::link::{Connection, Link, REPLY_LIMIT, not_sent};
use crate::profile::ServerProfile;
use crate::rate::RateLimit;
use crate::recovery::Recovery;
use crate::stats::ClientStats;
use crate::tool_headers::ToolHeaders;

/// Time for reading the tool list again in the middle of a call without a limit of its own.
const REFRESH_LIMIT: Duration = Duration::from_secs(30);

/// One connection to one server. Clones share it; the last one to go closes it.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    connection: Arc<Connection>,
    envelope: Envelope,
    profile: RwLock<Arc<ServerProfile>>,
    tool_headers: ToolHeaders,
    rate_limit: Option<RateLimit>,
    /// The least level of log messages a stateless server is asked for with each request.
    log_level: RwLock<Option<LogLevel>>,
    recovery: Recovery,
}

impl Client {
    pub(crate) fn new(
        connection: Arc<Connection>,
        envelope: Envelope,
        profile: Arc<ServerProfile>,
        rate_limit: Option<RateLimit>,
    ) -> Self {
        Self(Arc::new(Inner {
            connection,
            envelope,
            profile: RwLock::new(profile),
            tool_headers: ToolHeaders::default(),
            rate_limit,
            log_level: RwLock::default(),
            recovery: Recovery::default(),
        }))
    }

    /// The transport in use. It differs from that of the endpoint where the server turned out to speak the
    /// two-endpoint transport of 2024-11-05 at the URL of a Streamable HTTP endpoint.
    #[must_use]
    pub fn transport(&self) -> TransportKind {
        self.link().kind
    }

    /// What the server said about itself at the last successful handshake.
    #[must_use]
    pub fn profile(&self) -> Arc<ServerProfile> {
        self.0.profile.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shakes hands again on the live connection: `initialize` and `notifications/initialized`, or
    /// `server/discover`. On success the new profile replaces the old one.
    ///
    /// # Errors
    /// [`ConnectError`]; the old profile and the connection stay as they are.
    pub async fn handshake(&self, timeout: Duration) -> Result<Arc<ServerProfile>, ConnectError> {
        self.handshake_with(&[], timeout).await
    }

    /// The same with further headers on its messages, like [`ConnectOptions::headers`]: the ones of the
    /// handshake that opened the connection were not kept.
    ///
    /// # Errors
    /// As for [`handshake`](Self::handshake).
    ///
    /// [`ConnectOptions::headers`]: crate::ConnectOptions::headers
    pub async fn handshake_with(
        &self,
        headers: &[Header],
        timeout: Duration,
    ) -> Result<Arc<ServerProfile>, ConnectError> {
        let (negotiation, first) =
            Negotiation::new(EraPolicy::Only(self.profile().era), None, self.link().kind);
        let deadline = Deadline::after(timeout);
        let mut attempt = Attempt::new(negotiation, &self.0.envelope, headers, None, deadline);
        match attempt.run(&self.0.connection, first).await {
            Verdict::Settled(profile) => {
                *self.0.profile.write().unwrap_or_else(PoisonError::into_inner) = profile.clone();
                if profile.era == Era::Handshake {
                    // Mostly it is a new session, which knows nothing of what the old one was asked for.
                    self.link().watch.replaced();
                    self.renew_level();
                }
                Ok(profile)
            }
            Verdict::Reopen { error, .. } => Err(attempt.failed(error, None)),
            Verdict::Failed { error, profile } => Err(attempt.failed(error, profile)),
        }
    }

    /// Sends a request and waits for its answer. Notifications on the way go to whoever
    /// [subscribed](Self::notifications), and are counted if nobody did.
    ///
    /// # Errors
    /// [`CallError`]; after `timeout`, which runs from now on, the request is cancelled on the wire and a late answer
    /// ignored.
    pub fn call(
        &self,
        request: Outgoing,
        timeout: Duration,
    ) -> impl Future<Output = Result<Answer, CallError>> + Send + use<> {
        self.call_until(request, Deadline::after(timeout))
    }

    /// The same with a limit that progress extends up to another one.
    ///
    /// # Errors
    /// As for [`call`](Self::call).
    pub fn call_with(
        &self,
        request: Outgoing,
        patience: Patience,
    ) -> impl Future<Output = Result<Answer, CallError>> + Send + use<> {
        self.call_until(request, Deadline::with(patience))
    }

    pub(crate) fn call_until(
        &self,
        request: Outgoing,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Answer, CallError>> + Send + use<> {
        // In a box, as it is the larger part of every call's future.
        Box::pin(Call::run(self.clone(), request, deadline))
    }

    /// Sends a request whose events are read one by one. No time limit: dropping the call cancels it.
    ///
    /// # Errors
    /// [`CallError`] if the request could not be sent.
    pub async fn start(&self, request: Outgoing) -> Result<Call, CallError> {
        Call::start(self.clone(), request, None).await
    }

    /// Sends a notification, within 10 s.
    ///
    /// # Errors
    /// [`CallError`] if it could not be sent. Nobody confirms that it was read.
    pub async fn notify(&self, method: Method, params: Option<RawJson>) -> Result<(), CallError> {
        let (version, deadline) = (self.profile().version, Deadline::after(REPLY_LIMIT));
        send_notification(self.link(), method, params, version, Vec::new(), deadline).await
    }

    /// Asks whether the server answers: `ping`, or `server/discover` where there is no `ping`.
    ///
    /// # Errors
    /// As for [`call`](Self::call).
    pub async fn ping(&self, timeout: Duration) -> Result<(), CallError> {
        let method = match self.profile().era {
            Era::Handshake => Method::Ping,
            Era::Stateless => Method::ServerDiscover,
        };
        self.call(Outgoing::new(method, None), timeout).await.map(|_| ())
    }

    /// Sets the least level of log messages the server is to send, with `logging/setLevel` or, in the
    /// stateless era, with every request from now on. Requests under way may want [more](Outgoing::log_level). They come as [`notifications`](Self::notifications).
    ///
    /// # Errors
    /// [`CallError`]; none in the stateless era.
    pub async fn set_log_level(&self, level: LogLevel, timeout: Duration) -> Result<(), CallError> {
        if self.profile().era == Era::Stateless {
            *self.0.log_level.write().unwrap_or_else(PoisonError::into_inner) = Some(level);
            return Ok(());
        }
        let level = self.link().levels.set(level);
        let params = RawJson::encode(&SetLevelParams::new(level));
        let params = params.map_err(|error| CallError::malformed(error.to_string()))?;
        self.call(Outgoing::new(Method::LoggingSetLevel, Some(params)), timeout).await.map(|_| ())
    }

    /// Waits until the connection is lost or closed, and says why. Any number may wait.
    ///
    /// HTTP has no standing connection: there only [`close`](Self::close) and an ended session count.
    pub async fn closed(&self) -> TransportError {
        self.link().ended.wait().await
    }

    /// Whether the connection is lost or closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.link().ended.get().is_some()
    }

    /// Closes the connection. Calls under way fail as closed. Idempotent.
    pub async fn close(&self) {
        self.link().shut();
        self.link().transport.close().await;
    }

    /// What did not end in order when the connection was closed, if the transport can tell.
    #[must_use]
    pub fn unclean_end(&self) -> Option<String> {
        self.link().transport.unclean_end()
    }

    /// A copy of the counters.
    #[must_use]
    pub fn stats(&self) -> ClientStats {
        self.link().counters.snapshot()
    }

    /// Facts worth showing to an operator: what the transport tells, and how many requests wait.
    #[must_use]
    pub fn details(&self) -> Vec<(&'static str, String)> {
        let mut details = self.link().transport.details();
        details.push(("waiting", self.link().waiting().to_string()));
        details
    }

    /// Everything the server tells from now on that no [`start`](Self::start)ed call is given: changed lists
    /// and resources, log messages, and progress of a [`call`](Self::call) that asked for it.
    #[must_use]
    pub fn notifications(&self) -> Notifications {
        let (receiver, link) = (self.link().subscribe(), self.link().clone());
        Notifications { receiver, link, missed: VecDeque::new() }
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        self.0.connection.link()
    }

    /// Whether calls repeat arguments in headers that only the tool list tells of.
    pub(crate) fn mirrors_arguments(&self) -> bool {
        self.link().kind == TransportKind::Http && self.profile().era == Era::Stateless
    }

    /// Whether a question may be about a request that somebody else has given up on this channel that all share: the
    /// server has neither answered it nor ended, and one like it, of the same method and name, has led to a question
    /// before. Source: bridging §6.3.2.
    #[must_use]
    pub fn owes_others(&self, owner: u64) -> bool {
        self.link().askers().owes_others(owner)
    }

    /// Whether the handler answers what the server may ask for before it goes on with such a request.
    pub(crate) fn answers(&self, request: &Outgoing) -> bool {
        let somebody = match &request.asker {
            Some(asker) => asker.resolves,
            None => self.link().host.handler.is_some(),
        };
        somebody && may_require_input(&request.method) && self.profile().era == Era::Stateless
    }

    pub(crate) fn recovery(&self) -> &Recovery {
        &self.0.recovery
    }

    /// The session to tell [`recover`](Self::recover) of, if forgotten ones are replaced.
    pub(crate) fn recovers_session(&self) -> Option<u64> {
        self.link().recovers.then(|| self.0.recovery.session())
    }

    /// After a new session took the place of a forgotten one.
    pub(crate) fn session_replaced(&self) {
        self.renew_level();
        if !self.link().watch.replaced() {
            self.link().publish_changes(&self.link().told());
        }
    }

    pub(crate) fn downgrade(&self) -> Weak<Inner> {
        Arc::downgrade(&self.0)
    }

    pub(crate) fn upgrade(inner: &Weak<Inner>) -> Option<Self> {
        inner.upgrade().map(Self)
    }

    /// What the tool list said about headers.
    pub(crate) fn tool_headers(&self) -> &ToolHeaders {
        &self.0.tool_headers
    }

    /// Reads the tool list again, for the headers its tools want.
    pub(crate) async fn refresh_tools(&self, deadline: Option<Deadline>) -> Result<(), CallError> {
        let deadline = deadline.unwrap_or_else(|| Deadline::after(REFRESH_LIMIT));
        self.list_until(Method::ToolsList, None, deadline).await.map(|_| ())
    }

    /// Puts a request into the shape of the era and sends it.
    #[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice")]
    pub(crate) fn open(
        &self,
        request: Outgoing,
        deadline: Option<Deadline>,
    ) -> impl Future<Output = Result<Exchange, CallError>> + Send {
        async move {
            let profile = self.profile();
            let link = self.link();
            if let Some(limit) = &self.0.rate_limit
                && !matches!(request.method, Method::Ping | Method::ServerDiscover)
            {
                tokio::select! {
                    biased;
                    reason = link.ended.wait() => return Err(not_sent(&reason)),
                    turn = limit.turn(deadline) => turn?,
                }
            }
            self.settle_session().await?;
            let id = link.next_id();
            let level = match request.log_level {
                Some(level) => self.leveled(id, level).await,
                None => None,
            };
            let token = request.progress.then(|| progress_token(id));
            let stateless = (profile.era == Era::Stateless).then_some(profile.version);
            let over_http = link.kind == TransportKind::Http;
            let own = || *self.0.log_level.read().unwrap_or_else(PoisonError::into_inner);
            let sender = Sender {
                capabilities: request.capabilities.as_ref(),
                log_level: request.log_level.or_else(own),
                token: token.as_deref(),
            };
            let result_types = stateless.map(|_| self.0.envelope.result_types(sender.capabilities));
            let params = request.params.as_ref();
            let (wrapped, name) = self.0.envelope.wrap(&request.method, params, stateless, sender)?;
            let mut mirrored = Vec::new();
            if stateless.is_some() && over_http {
                mirrored = mirror(&request.method, name.as_deref());
                if let (Method::ToolsCall, Some(tool)) = (&request.method, &name) {
                    mirrored.extend(self.0.tool_headers.of_call(tool, params));
                }
            }
            let silent = request.method == Method::Initialize || (stateless.is_some() && over_http);
            let prepared = Prepared {
                id,
                events: request.progress
                    || request.sink.is_some()
                    || request.method == Method::SubscriptionsListen,
                asker: request.asker,
                level,
                method: request.method,
                params: wrapped,
                version: Some(profile.version),
                headers: request.headers,
                mirrored,
                cancel: if silent { Cancel::Silently } else { Cancel::ByNotification },
                probe: false,
                result_types,
                deadline,
            };
            Exchange::open(self.0.connection.clone(), prepared).await
        }
    }
}

/// Sends a notification under the version agreed on, with these headers and those that mirror it, before
/// the deadline.
pub(crate) async fn send_notification(
    link: &Arc<Link>,
    method: Method,
    params: Option<RawJson>,
    version: ProtocolVersion,
    mut headers: Vec<Header>,
    deadline: Deadline,
) -> Result<(), CallError> {
    link.check_open()?;
    if link.kind == TransportKind::Http && version.era() == Era::Stateless {
        headers.extend(mirror(&method, None));
    }
    let message = Message::Notification(Notification { method, params });
    link.counters.active();
    let out = Outbound { message, version: Some(version), headers, until: Some(deadline.at.into_std()) };
    let sending = async {
        match link.transport.send(out).await {
            Ok(_) => Ok(()),
            Err(error) => {
                link.note_send_failure(&error);
                Err(error.into())
            }
        }
    };
    deadline.bound(sending).await
}

/// Notifications of the server, in the order they came.
///
/// A subscriber that falls behind loses the oldest ones, which are counted; it is told instead that everything
/// the server tells of may have changed.
#[derive(Debug)]
pub struct Notifications {
    receiver: broadcast::Receiver<Notification>,
    /// What may have been missed.
    missed: VecDeque<Notification>,
    /// The link alone: a subscription does not keep the connection open.
    link: Arc<Link>,
}

impl Notifications {
    /// The next notification; `None` once the connection has ended. Cancel safe.
    pub async fn recv(&mut self) -> Option<Notification> {
        loop {
            if let Some(change) = self.missed.pop_front() {
                return Some(change);
            }
            let received = tokio::select! {
                biased;
                received = self.receiver.recv() => received,
                _ = self.link.ended.wait() => return None,
            };
            match received {
                Ok(notification) => return Some(notification),
                Err(RecvError::Closed) => return None,
                Err(RecvError::Lagged(lost)) => {
                    self.link.counters.notifications_dropped.fetch_add(lost, Ordering::Relaxed);
                    self.missed = self.link.told().changes().into();
                }
            }
        }
    }
}
