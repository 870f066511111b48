//! Making a server ready: connect, handshake, watch. Source: contract §3.1–§3.3.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use mcp_client::{Client, ConnectError, ConnectOptions, ServerProfile};
use mcp_protocol::ProtocolVersion;
use mcp_registry::{
    CorrelationId, ErrorCategory, Failure, Gate, Handshake, Loss, Policy, ResetRetryOn, ServerRecord,
    StartLimit, Status,
};
use mcp_transport::TransportKind;

use crate::diagnostics::SessionControlError;
use crate::failure;
use crate::link::Link;
use crate::manager::{Inner, Manager, UnknownServer};
use crate::session::Session;
use crate::shutdown::HANDSHAKE_GIVEN_UP;
use crate::user::{Authorization, Occupant, Seat, Sitting};

/// Longest time for the answer to a question of a server, behind which there may be a person (reliability §6).
const ANSWER_LIMIT: Duration = Duration::from_secs(600);

/// Whether a handshake in force is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Yes, if it is fresh and the server healthy (the gate of §3.2).
    Fresh,
    /// Yes, even if it is stale.
    Any,
    /// No: do it again.
    Another,
}

/// On whose account a handshake is made, which decides what is recorded of it.
#[derive(Debug, Clone)]
pub(crate) enum Cause {
    /// Its own: both outcomes are check results.
    Itself,
    /// An invocation's: a success is one too, unless the policy counts only the call's own.
    Invocation(CorrelationId),
    /// One of several attempts of something whose final outcome is recorded.
    Attempt,
}

impl Cause {
    pub(crate) fn correlation(&self) -> Option<&CorrelationId> {
        match self {
            Self::Invocation(id) => Some(id),
            Self::Itself | Self::Attempt => None,
        }
    }

    pub(crate) fn records_success(&self, policy: &Policy) -> bool {
        match self {
            Self::Itself => true,
            Self::Invocation(_) => policy.reset_retry_on == ResetRetryOn::Handshake,
            Self::Attempt => false,
        }
    }

    pub(crate) fn records_failure(&self) -> bool {
        !matches!(self, Self::Attempt)
    }
}

/// A server that could not be made ready.
#[derive(Debug, Clone)]
pub(crate) struct Unready {
    pub(crate) failure: Failure,
    /// Whether it may well be ready a little later (contract §2.4).
    pub(crate) transient: bool,
    /// Whether it is recorded. Shared by all who waited for the same handshake: one failure, one record.
    recorded: Arc<AtomicBool>,
}

impl Unready {
    fn new(failure: Failure, transient: bool, recorded: bool) -> Self {
        Self { failure, transient, recorded: Arc::new(AtomicBool::new(recorded)) }
    }

    /// Something that is no check result, whoever waited.
    pub(crate) fn nobodys(failure: Failure, transient: bool) -> Self {
        Self::new(failure, transient, true)
    }

    /// Whether it is still to be recorded; true once.
    pub(crate) fn take_unrecorded(&self) -> bool {
        !self.recorded.swap(true, Ordering::Relaxed)
    }
}

/// What a look at a server came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The handshake in force was enough.
    Enough,
    /// There was another one.
    Done,
}

impl Manager {
    /// Hands shakes with a server, unless it is initialised and `force` is false. Ignores the retry
    /// window. The outcome is in the record.
    ///
    /// # Errors
    /// [`UnknownServer`].
    pub async fn initialize(&self, name: &str, force: bool) -> Result<Arc<ServerRecord>, UnknownServer> {
        let link = self.link(name)?;
        let need = if force { Need::Another } else { Need::Any };
        // A failure is in the record, where the caller looks for it.
        let _ = self.0.ready(&link, need, Cause::Itself).await;
        self.server(name)
    }

    /// Closes a server's session, when the calls on it have ended; says whether there was one (contract
    /// §3.7).
    ///
    /// # Errors
    /// [`SessionControlError`].
    pub async fn invalidate(&self, name: &str) -> Result<bool, SessionControlError> {
        let link = self.controlled_link(name)?;
        let sessions = self.0.disconnect(&link);
        let any = !sessions.is_empty();
        self.0.end_or_drain(sessions).await;
        Ok(any)
    }

    /// Closes a server's session and opens a new one.
    ///
    /// # Errors
    /// [`SessionControlError`].
    pub async fn refresh(&self, name: &str) -> Result<Arc<ServerRecord>, SessionControlError> {
        self.invalidate(name).await?;
        Ok(self.initialize(name, true).await?)
    }
}

impl Inner {
    /// Sees to it that a handshake is in force. One at a time per server; callers that come meanwhile
    /// share its outcome.
    pub(crate) async fn ready(
        self: &Arc<Self>,
        link: &Arc<Link>,
        need: Need,
        cause: Cause,
    ) -> Result<(), Unready> {
        loop {
            let work = || {
                let (inner, link, cause) = (self.clone(), link.clone(), cause.clone());
                async move { inner.shake_hands(&link, need, cause).await }
            };
            match link.handshakes.run(work).await {
                // Somebody else's look at the server found nothing to do; we want it done.
                Some(Ok(Outcome::Enough)) if need == Need::Another => {}
                Some(Ok(_)) => return Ok(()),
                Some(Err(unready)) => {
                    self.record_unready(link, &unready, &cause);
                    return Err(unready);
                }
                None => return Err(unexpected_end()),
            }
        }
    }

    /// Records a failed handshake that whoever made it had no reason to record.
    fn record_unready(&self, link: &Link, unready: &Unready, cause: &Cause) {
        if cause.records_failure() && unready.take_unrecorded() {
            let failure = unready.failure.clone();
            self.record(|registry, now| {
                registry.record_failure(now, &link.key, failure, cause.correlation(), false);
            });
        }
    }

    /// Whether the session of a user with one of their own can be used as it is (the gate of §3.2).
    pub(crate) fn is_fresh_for_user(&self, seat: &Seat, who: &Occupant, record: &ServerRecord) -> bool {
        if who.party.is_some() {
            // It may hold what its client has done there so far: it is kept for as long as it is open.
            return seat.session().is_some();
        }
        let fresh = |session: Arc<Session>| match self.policy.max_initialization_age {
            Some(age) => self.now() < session.opened_at() + age,
            None => true,
        };
        record.status == Status::Healthy && seat.session().is_some_and(fresh)
    }

    /// The same as [`ready`](Self::ready) for a user with a session of their own. What it says of the server
    /// is recorded; the server's own connection is another one.
    pub(crate) async fn ready_for_user(
        self: &Arc<Self>,
        link: &Arc<Link>,
        seat: &Arc<Seat>,
        who: &Occupant,
        cause: Cause,
    ) -> Result<(), Unready> {
        let work = || {
            let (inner, link, seat) = (self.clone(), link.clone(), seat.clone());
            let (who, cause) = (who.clone(), cause.clone());
            async move { inner.shake_hands_for_user(&link, &seat, &who, &cause).await }
        };
        let outcome = seat.handshakes.run(work).await.unwrap_or_else(|| Err(unexpected_end()));
        if let Err(unready) = &outcome {
            self.record_unready(link, unready, &cause);
        }
        outcome
    }

    async fn shake_hands_for_user(
        &self,
        link: &Link,
        seat: &Seat,
        who: &Occupant,
        cause: &Cause,
    ) -> Result<(), Unready> {
        // The end of the manager waits for it.
        let _counted = self.endings.token();
        let Some(record) = self.current(&link.key) else { return Err(gone()) };
        if seat.session.is_retired() {
            let failure = Failure::new(ErrorCategory::TransportError, "the user's session was closed");
            return Err(Unready::nobodys(failure, true));
        }
        if self.cut.is_cancelled() {
            return Err(shut_down());
        }
        // Another handshake may have ended between the caller's look and this one.
        if self.is_fresh_for_user(seat, who, &record) {
            return Ok(());
        }
        let mut options = self.connect_options(link, &record);
        options.headers.extend(who.user.as_ref().map(Authorization::header));
        if let Some(Sitting { party, .. }) = &who.party {
            let version = record.protocol_version.as_deref().and_then(|version| version.parse().ok());
            let version = version.unwrap_or(ProtocolVersion::LATEST_HANDSHAKE);
            options.capabilities = party.capabilities(version).as_raw().clone();
            options.handler = party.handler(&record);
            options.handler_timeout = ANSWER_LIMIT;
        }
        match self.connect(link, &options).await.ok_or_else(shut_down)? {
            Ok(client) => {
                if cause.records_success(&self.policy) {
                    self.record(|registry, now| registry.record_success(now, &link.key, cause.correlation()));
                }
                let session = Arc::new(Session::new(link.key.name.clone(), client, self.now()));
                if let Some(superseded) = seat.session.install(session) {
                    self.end_session(superseded);
                }
                Ok(())
            }
            Err(error) => {
                // Credentials the server does not take are the user's affair.
                let nobodys =
                    failure::refuses_credentials(&error.error) || failure::is_our_queue(&error.error);
                let transient = failure::is_transient(&error.error);
                Err(Unready::new(failure::of_connect(&error), transient, nobodys))
            }
        }
    }

    async fn shake_hands(
        self: &Arc<Self>,
        link: &Arc<Link>,
        need: Need,
        cause: Cause,
    ) -> Result<Outcome, Unready> {
        // The end of the manager waits for it.
        let _counted = self.endings.token();
        let Some(record) = self.current(&link.key).filter(|_| !link.is_retired()) else {
            return Err(gone());
        };
        if self.cut.is_cancelled() {
            return Err(shut_down());
        }
        // Another handshake may have ended between the caller's look and this one.
        let enough = match need {
            Need::Fresh => Gate::of(&record, self.now()) == Gate::Cached && link.session().is_some(),
            Need::Any => record.initialized && link.session().is_some(),
            Need::Another => false,
        };
        if enough {
            return Ok(Outcome::Enough);
        }
        let key = &link.key;
        self.record(|registry, now| registry.connecting(now, key));
        match self.open(link, &record).await {
            Ok((profile, opened)) => {
                let counts = cause.records_success(&self.policy);
                // In one step, so that a loss is told only of what is there.
                let (new, unwanted) = self.record(|registry, now| {
                    let handshake = handshake(&profile);
                    registry.handshake_succeeded(now, key, handshake, cause.correlation(), counts);
                    match opened {
                        Opened::New(session) => (Some(session.clone()), link.install(session)),
                        Opened::Still(session) => {
                            // Detached meanwhile by a call that failed on it.
                            if !link.holds(&session) {
                                registry.connection_lost(now, key, Loss::Lazy);
                            }
                            (None, None)
                        }
                    }
                });
                tracing::info!(server = %key.name, era = %profile.era, version = %profile.version, "connected");
                self.settle_in(link, new, unwanted);
                if link.definition().discover_tools {
                    self.discover_tools(link);
                }
                Ok(Outcome::Done)
            }
            Err(Refused { failure, transient, nobodys, partial, tried }) => {
                let counts = cause.records_failure() && !nobodys;
                self.record(|registry, now| {
                    registry.handshake_failed(
                        now,
                        key,
                        failure.clone(),
                        cause.correlation(),
                        partial,
                        counts,
                    );
                });
                tracing::warn!(server = %key.name, error = %failure.text, ?tried, "handshake failed");
                Err(Unready::new(failure, transient, counts || nobodys))
            }
        }
    }

    /// A handshake on the open session, or on a new one, which is then returned as well.
    async fn open(
        self: &Arc<Self>,
        link: &Arc<Link>,
        record: &ServerRecord,
    ) -> Result<(Arc<ServerProfile>, Opened), Refused> {
        if let Some(session) = link.session() {
            session.touch(self.now());
            match self.counted(session.client().handshake(self.policy.handshake_timeout)).await {
                // Detached meanwhile by a call that failed on it, it serves nobody.
                Ok(profile) if link.holds(&session) => return Ok((profile, Opened::Still(session))),
                Ok(_) => {}
                // A server may refuse a second handshake on a session, in whatever way, and somebody may have
                // ended the session meanwhile: a new one decides. Calls on the old one go on.
                Err(error) if failure::is_refusal(&error.error) || session.was_ended() => {
                    tracing::debug!(server = %link.key.name, %error, "no second handshake on the session");
                    self.give_up_session(link, &session);
                }
                Err(error) => {
                    self.drop_session(link, &session);
                    return Err(error.into());
                }
            }
        }
        if link.definition().endpoint.kind() == TransportKind::Stdio {
            let mut starts = link.starts.lock().unwrap_or_else(PoisonError::into_inner);
            starts.try_start(self.now()).map_err(Refused::start)?;
        }
        let options = self.connect_options(link, record);
        let connected = self.connect(link, &options).await.ok_or_else(Refused::shut_down)?;
        let client = connected.inspect_err(|error| link.remember(error.details.clone()))?;
        let profile = client.profile();
        let session = Session::new(link.key.name.clone(), client, self.now());
        Ok((profile, Opened::New(Arc::new(session))))
    }

    /// A new connection. `None`: the manager ended before it was ready, so it was given up.
    async fn connect(&self, link: &Link, options: &ConnectOptions) -> Option<Result<Client, ConnectError>> {
        if self.cut.is_cancelled() {
            return None;
        }
        let definition = link.definition();
        let connecting = mcp_client::connect(&*self.connector, &definition.endpoint, options);
        let given_up = async {
            self.cut.cancelled().await;
            tokio::time::sleep(HANDSHAKE_GIVEN_UP).await;
        };
        tokio::select! {
            biased;
            outcome = self.counted(connecting) => Some(outcome),
            () = given_up => None,
        }
    }

    fn connect_options(&self, link: &Link, record: &ServerRecord) -> ConnectOptions {
        let limit = self.policy.handshake_timeout;
        ConnectOptions {
            client_info: self.client_info.clone(),
            policy: link.definition().protocol,
            hint: record.era,
            handshake_timeout: limit,
            // A server that does not answer the probe of the other era is asked in its own soon enough.
            probe_timeout: limit / 2,
            // A session the server has forgotten is replaced here, where it is recorded.
            recover_session: false,
            rate_limit: link.rate_limit.clone(),
            ..ConnectOptions::default()
        }
    }

    /// Watches a session that was put in place, and ends the one that is not.
    fn settle_in(
        self: &Arc<Self>,
        link: &Arc<Link>,
        new: Option<Arc<Session>>,
        unwanted: Option<Arc<Session>>,
    ) {
        match (new, unwanted) {
            // The registration ended meanwhile.
            (Some(new), Some(unwanted)) if Arc::ptr_eq(&unwanted, &new) => {
                self.end_session(unwanted);
            }
            (new, superseded) => {
                if let Some(superseded) = superseded {
                    self.end_session(superseded);
                }
                if let Some(new) = new {
                    self.watch(link, new);
                }
            }
        }
    }

    /// Takes all sessions of a server away, by intent.
    pub(crate) fn disconnect(&self, link: &Link) -> Vec<Arc<Session>> {
        self.record(|registry, now| {
            registry.disconnected(now, &link.key);
            link.take()
        })
    }

    /// Detaches a session that is of no more use, a user's or everybody's, and ends it.
    fn drop_session(&self, link: &Link, session: &Arc<Session>) {
        if link.take_if(session) || link.seats.take_if(session) {
            self.end_session(session.clone());
        }
    }

    /// Records a failure on a session, which ends it.
    pub(crate) fn fail_session(
        &self,
        link: &Link,
        session: &Arc<Session>,
        failure: Failure,
        correlation: Option<&CorrelationId>,
    ) {
        let broke = session.client().is_closed();
        let detached = self.record(|registry, now| {
            let shared = link.take_if(session);
            registry.record_failure(now, &link.key, failure, correlation, shared);
            if shared && broke {
                // A process that ended under a call is started again like one that ended by itself.
                registry.connection_lost(now, &link.key, loss_of(session));
            }
            shared || link.seats.take_if(session)
        });
        if detached {
            self.end_session(session.clone());
        }
    }

    /// Detaches a session in whose place comes another at once, and ends it: nobody's fault.
    pub(crate) fn give_up_session(&self, link: &Link, session: &Arc<Session>) {
        let detached = self.record(|registry, now| {
            let shared = link.take_if(session);
            if shared {
                registry.reconnecting(now, &link.key);
            }
            shared || link.seats.take_if(session)
        });
        if detached {
            self.end_session(session.clone());
        }
    }

    /// Tells the registry when the session breaks by itself.
    fn watch(self: &Arc<Self>, link: &Arc<Link>, session: Arc<Session>) {
        self.follow_changes(link, &session);
        let (inner, link) = (Arc::downgrade(self), Arc::downgrade(link));
        tokio::spawn(async move {
            let error = session.client().closed().await;
            let (Some(inner), Some(link)) = (inner.upgrade(), link.upgrade()) else { return };
            let lost = inner.record(|registry, now| {
                // Whoever ends a session on purpose takes it out of the link first.
                let lost = link.take_if(&session);
                if lost {
                    registry.connection_lost(now, &link.key, loss_of(&session));
                }
                lost
            });
            if lost {
                let mut details = session.client().details();
                details.push(("ended", failure::shorten(error.to_string())));
                link.remember(details);
                tracing::warn!(server = %link.key.name, %error, "connection lost");
                // A call may have noticed it first, with the connection itself still to be closed. Its calls end
                // by themselves, and what they say of the server counts.
                inner.endings.spawn(async move { session.client().close().await });
            }
        });
    }
}

/// What follows when a connection breaks by itself.
fn loss_of(session: &Session) -> Loss {
    match session.client().transport() {
        // What is lost with the connection is the session, of which the server would tell us things.
        TransportKind::Stdio | TransportKind::Sse => Loss::Restartable,
        _ => Loss::Lazy,
    }
}

fn gone() -> Unready {
    let failure = Failure::new(ErrorCategory::InitializeError, "server not found");
    Unready::nobodys(failure, false)
}

/// Nobody would close what is opened now.
fn shut_down() -> Unready {
    let failure = Failure::new(ErrorCategory::InitializeError, "the gateway is shut down");
    Unready::nobodys(failure, false)
}

/// The task of a handshake panicked, or its runtime ended.
fn unexpected_end() -> Unready {
    let failure = Failure::new(ErrorCategory::InitializeError, "the handshake ended unexpectedly");
    Unready::nobodys(failure, false)
}

/// What a handshake was made on.
enum Opened {
    /// A session of its own, not yet in place.
    New(Arc<Session>),
    /// The one that was open already.
    Still(Arc<Session>),
}

/// A handshake that failed.
struct Refused {
    failure: Failure,
    transient: bool,
    /// It says nothing about the server.
    nobodys: bool,
    /// What the server said, if only the final notification could not be sent.
    partial: Option<Handshake>,
    tried: Vec<String>,
}

impl Refused {
    fn shut_down() -> Self {
        let failure = shut_down().failure;
        Self { failure, transient: false, nobodys: true, partial: None, tried: Vec::new() }
    }

    fn start(wait: Duration) -> Self {
        let starts = StartLimit::STARTS;
        let text =
            format!("started {starts} times within a minute; the next start is possible in {wait:.1?}");
        let failure = Failure::new(ErrorCategory::TransportError, text);
        Self { failure, transient: true, nobodys: false, partial: None, tried: Vec::new() }
    }
}

impl From<ConnectError> for Refused {
    fn from(error: ConnectError) -> Self {
        let partial = error.profile.as_deref().map(handshake);
        let transient = failure::is_transient(&error.error);
        let nobodys = failure::is_our_queue(&error.error);
        Self { failure: failure::of_connect(&error), transient, nobodys, partial, tried: error.tried }
    }
}

fn handshake(profile: &ServerProfile) -> Handshake {
    Handshake {
        era: profile.era,
        protocol_version: Some(profile.protocol_version.clone()).filter(|version| !version.is_empty()),
        server_info: profile.server_info.clone(),
        capabilities: profile.capabilities.clone(),
        ttl: profile.ttl,
    }
}
