//! One invocation: what routed and directed calls have in common. Source: contract §4.2, §4.5.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mcp_client::{Answer, CallError, Outgoing, Patience};
use mcp_protocol::result::may_require_input;
use mcp_protocol::{Era, Method, ProtocolVersion, RawJson};
use mcp_registry::{
    CallFailure, CallSafety, Choice, CorrelationId, ErrorCategory, Failure, FailureCode, Gate,
    InvocationError, Outcome, Phase, Plan, Selection, ServerRecord, Story, Timestamp, Verdict,
};
use mcp_transport::{Delivery, Header, TransportKind};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::call::{Invocation, new_request_id};
use crate::failure;
use crate::handshake::{Cause, Need, Unready};
use crate::lease::Leased;
use crate::link::Link;
use crate::manager::Inner;
use crate::phase::PhaseGuard;
use crate::relay::{Bridged, Refusal, Relayed};
use crate::session::Session;
use crate::user::{Authorization, MAX_POOL, MAX_SEATS, Occupant, Party, Seat, Sitting, UserContext};

/// What is asked for, whoever is asked.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) params: Option<RawJson>,
    pub(crate) idempotent: Option<bool>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) user: UserContext,
    /// The caller named the server.
    pub(crate) directed: bool,
    /// How it differs for a client of the gateway.
    pub(crate) bridged: Option<Bridged>,
}

/// An invocation under way. Dropped in the middle, it ends as abandoned.
pub(crate) struct Run<'a> {
    pub(crate) inner: &'a Arc<Inner>,
    pub(crate) request: Request,
    pub(crate) deadline: Timestamp,
    choice: Arc<Choice>,
    story: Arc<Story>,
    _counted: TaskTrackerToken,
}

/// A server that is ready for the request.
pub(crate) struct Target {
    pub(crate) link: Arc<Link>,
    pub(crate) record: Arc<ServerRecord>,
    access: Access,
    /// What spoke at the other end when the request was sent.
    pub(crate) met: Mutex<Option<Met>>,
}

/// A server as a request met it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Met {
    pub(crate) version: ProtocolVersion,
    pub(crate) transport: TransportKind,
}

/// On whose session a request goes out.
enum Access {
    /// On everybody's, with the user's token in its headers if the server keeps no sessions.
    Shared(Option<Authorization>),
    /// On the user's own.
    Own(Arc<Seat>, Occupant, Option<Leased>),
}

/// Whose a failed attempt is.
pub(crate) enum Fault {
    /// The server's, on this session.
    Server(Arc<Session>),
    /// The server's, unless that is recorded: it could not be made ready again.
    Unready(Unready),
    /// Nobody's, or recorded already.
    Nobody,
    /// The caller waited less than the server may take.
    Patience,
    /// The time of the whole call was up. `fair`: the server had a good part of it.
    Deadline { session: Arc<Session>, fair: bool },
}

/// An attempt that brought no answer.
pub(crate) struct Failed {
    pub(crate) failure: CallFailure,
    pub(crate) fault: Fault,
    /// What a client of the gateway is told, word for word; `None` unless the request was passed on.
    pub(crate) refusal: Option<Refusal>,
    /// Where the same request deserves another try at once, since it was not executed.
    elsewhere: Option<Elsewhere>,
}

/// A way to the same server that a request can still take.
enum Elsewhere {
    /// Another session: this one was gone before it got the request.
    Session(Arc<Session>),
    /// A session of the user's own: the shared one belongs to an era that has sessions after all.
    Seat(Occupant),
    /// Any session: there was none.
    AnySession,
}

impl Failed {
    fn unsent(Unready { failure, transient, .. }: Unready, fault: Fault) -> Self {
        Self { failure: CallFailure::unsent(failure, transient), fault, refusal: None, elsewhere: None }
    }
}

/// A server that was not made ready for the call.
struct NotReady {
    unready: Unready,
    /// The caller waited less than a handshake may take.
    impatient: bool,
}

/// The session was not there any more when the request was to be sent.
fn lost(text: &str) -> Unready {
    Unready::nobodys(Failure::new(ErrorCategory::TransportError, text), true)
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        if !self.story.has_ended() {
            self.finish(Outcome::Abandoned);
        }
    }
}

impl<'a> Run<'a> {
    /// Begins an invocation: from here on it is counted, and its story is kept. Refused once the manager is
    /// shutting down.
    pub(crate) fn begin(
        inner: &'a Arc<Inner>,
        request: Request,
        selection: impl Into<Arc<Selection>>,
    ) -> Result<(Self, Plan), InvocationError> {
        // Counted before the flag is read: shutdown sets the flag and then waits for the count.
        let counted = inner.calls.token();
        let bridged = request.bridged.as_ref();
        let request_id =
            bridged.map_or_else(|| new_request_id(&*inner.random), |bridged| bridged.request_id.clone());
        let now = inner.now();
        let table = inner.snapshot().table.clone();
        let choice = Arc::new(Choice { table, selection: selection.into(), at: now });
        let method = request.method.clone();
        let plan = Plan::new(inner.policy.clone(), request_id.clone(), method.clone());
        let tool = bridged.and_then(|bridged| bridged.tool.clone());
        let story = Story::new(request_id, method, choice.clone(), request.directed).of_tool(tool);
        let story = Arc::new(story);
        inner.journal.story(story.clone());
        let deadline = now + bridged.map_or(inner.policy.max_call_deadline, |bridged| bridged.total);
        let run = Self { inner, request, deadline, choice, story, _counted: counted };
        if inner.closing.is_cancelled() {
            let refused = plan.end(FailureCode::ShuttingDown);
            run.finish(Outcome::Failed(refused.code));
            return Err(refused);
        }
        Ok((run, plan))
    }

    /// Ends it.
    pub(crate) fn end(
        self,
        outcome: Result<Invocation, InvocationError>,
    ) -> Result<Invocation, InvocationError> {
        let ending = match &outcome {
            Ok(served) => Outcome::Served(served.server.clone()),
            Err(error) => Outcome::Failed(error.code),
        };
        self.finish(ending);
        outcome
    }

    /// The same for a request that was passed on: a refusal is an answer, too.
    pub(crate) fn end_relay(
        self,
        outcome: Result<Relayed, InvocationError>,
    ) -> Result<Relayed, InvocationError> {
        let ending = match &outcome {
            Ok(relayed) => Outcome::Served(relayed.server.clone()),
            Err(error) => Outcome::Failed(error.code),
        };
        self.finish(ending);
        outcome
    }

    fn finish(&self, outcome: Outcome) {
        self.story.end(self.inner.now(), outcome);
    }

    pub(crate) fn request_id(&self) -> &CorrelationId {
        &self.story.request_id
    }

    pub(crate) fn choice(&self) -> &Arc<Choice> {
        &self.choice
    }

    /// When it began.
    pub(crate) fn started(&self) -> Timestamp {
        self.choice.at
    }

    /// Why no further attempt is made, whatever could be tried.
    pub(crate) fn interrupted(&self, now: Timestamp) -> Option<FailureCode> {
        if self.inner.cut.is_cancelled() {
            Some(FailureCode::ShuttingDown)
        } else if now >= self.deadline {
            Some(FailureCode::DeadlineExceeded)
        } else {
            None
        }
    }

    /// The initialize stage on one server. `None`: it failed, and the trace says so. `now` goes on with it.
    pub(crate) async fn make_ready(
        &self,
        candidate: &ServerRecord,
        plan: &mut Plan,
        now: &mut Timestamp,
    ) -> Option<Target> {
        let name = candidate.name();
        let phase = PhaseGuard::start(self, name, Phase::InitializeStart, None, *now);
        let found = {
            let snapshot = self.inner.snapshot();
            snapshot.get(name.as_str()).map(|(record, link)| (link.clone(), record.clone()))
        };
        // Replaced since the call began: another server, which must qualify by itself.
        let found = found.filter(|(_, record)| {
            record.generation == candidate.generation || self.choice().reason_to_skip(record).is_none()
        });
        let outcome = match found {
            None => Err(Failure::new(ErrorCategory::InitializeError, "server not found")),
            Some((link, record)) => self.prepare(link, record).await,
        };
        match outcome {
            Ok(target) => {
                let duration = phase.succeed(now);
                plan.initialized(name, duration);
                Some(target)
            }
            Err(failure) => {
                let duration = phase.fail(failure.clone(), Delivery::NotSent, now);
                plan.not_initialized(name, failure, duration);
                None
            }
        }
    }

    async fn prepare(&self, link: Arc<Link>, record: Arc<ServerRecord>) -> Result<Target, Failure> {
        let access = match self.party() {
            Some(party) => self.access_of_party(party, &link, &record).await,
            None => self.access(&link, &record),
        };
        let access = access.map_err(|unready| unready.failure)?;
        let mut target = Target { link, record, access, met: Mutex::default() };
        if !self.is_ready(&target) {
            let cause = Cause::Invocation(self.request_id().clone());
            // In a box, so that calls need no room for it.
            let ready = Box::pin(self.wait_ready(&mut target, cause)).await;
            ready.map_err(|not_ready| not_ready.unready.failure)?;
        }
        Ok(target)
    }

    /// The session the request goes out on, as far as that is known before the handshake.
    fn access(&self, link: &Link, record: &ServerRecord) -> Result<Access, Unready> {
        match self.request.user.authorization(record, self.request.directed) {
            None => Ok(Access::Shared(None)),
            // Without sessions a header is all there is to a user.
            Some(user) if record.era == Some(Era::Stateless) && self.is_fresh(link, record) => {
                Ok(Access::Shared(Some(user)))
            }
            Some(user) => self.seat(link, Occupant::user(user)),
        }
    }

    fn party(&self) -> Option<&Arc<dyn Party>> {
        self.request.bridged.as_ref()?.party.as_ref()
    }

    /// The same for a party. Whether the server keeps sessions has to be known first.
    async fn access_of_party(
        &self,
        party: &Arc<dyn Party>,
        link: &Arc<Link>,
        record: &Arc<ServerRecord>,
    ) -> Result<Access, Unready> {
        let record = match record.era {
            Some(_) => record.clone(),
            None => {
                let cause = Cause::Invocation(self.request_id().clone());
                let left = self.deadline.since(self.inner.now());
                let ready = self.inner.ready(link, Need::Fresh, cause);
                tokio::time::timeout(left, ready).await.map_err(|_| {
                    let text = format!("the handshake took longer than {left:?}");
                    Unready::nobodys(Failure::new(ErrorCategory::NetworkTimeout, text), true)
                })??;
                self.inner.current(&link.key).unwrap_or_else(|| record.clone())
            }
        };
        let seat = party.seat(&record).filter(|_| record.era != Some(Era::Stateless));
        match seat {
            Some(seat) => self.seat_of_party(party, link, &seat).await,
            None => Ok(Access::Shared(None)),
        }
    }

    /// A seat of a party. On a channel where a question does not say which call it is about, a call that may lead to
    /// one needs a seat that nobody else's such call uses, or has left without an answer: the first one, or another
    /// beside it. Source: bridging §6.3.2.
    async fn seat_of_party(
        &self,
        party: &Arc<dyn Party>,
        link: &Arc<Link>,
        name: &Arc<str>,
    ) -> Result<Access, Unready> {
        let seat = |number| {
            let party = Sitting { seat: name.clone(), number, party: party.clone() };
            self.seat(link, Occupant { user: None, party: Some(party) })
        };
        let asker = self.request.bridged.as_ref().and_then(|bridged| bridged.asker.as_ref());
        // What is at the other end of a URL shows only there.
        let met = link.session().map(|session| session.client().transport());
        let shares = met.unwrap_or_else(|| link.definition().endpoint.kind()) != TransportKind::Http;
        let Some(asker) = asker.filter(|_| shares && may_require_input(&self.request.method)) else {
            return seat(1);
        };
        let mut first = None;
        let mut in_doubt = None;
        for number in 1..=MAX_POOL {
            let access = seat(number)?;
            if let Access::Own(seat, who, leased) = access {
                debug_assert!(leased.is_none(), "it was just taken");
                // One that was added is replaced before yet another one is opened.
                if in_doubt.is_some() && number > 2 && seat.session().is_none() {
                    break;
                }
                match seat.lease.try_take(asker.owner) {
                    Some(leased) if seat.owes_others(asker.owner) => {
                        in_doubt = Some(Access::Own(seat, who, Some(leased)));
                    }
                    Some(leased) => return Ok(Access::Own(seat, who, Some(leased))),
                    None => {
                        first.get_or_insert((seat, who));
                    }
                }
            }
        }
        // The last of them: the first ones are likely to hold more of what clients have done there.
        if let Some(access) = in_doubt {
            return Ok(self.settle_doubt(link, access, asker.owner));
        }
        let Some((seat, who)) = first else { return seat(1) };
        let wait = link.definition().request_timeout.min(self.deadline.since(self.inner.now()));
        match tokio::time::timeout(wait, seat.lease.take(asker.owner)).await {
            Ok(leased) => Ok(self.settle_doubt(link, Access::Own(seat, who, Some(leased)), asker.owner)),
            Err(_) => Err(lost(&format!(
                "{MAX_POOL} calls of other clients have held every connection for {wait:?}: over one connection the \
                 server can ask one client at a time"
            ))),
        }
    }

    /// Ends a connection on which the server may still ask about somebody else's call: the call gets another one.
    fn settle_doubt(&self, link: &Link, access: Access, owner: u64) -> Access {
        if let Access::Own(seat, ..) = &access
            && let Some(session) = seat.session().filter(|_| seat.owes_others(owner))
        {
            self.inner.give_up_session(link, &session);
        }
        access
    }

    fn seat(&self, link: &Link, who: Occupant) -> Result<Access, Unready> {
        let idle_since = self.inner.policy.adapter_session_stale_after.map(|limit| self.inner.now() - limit);
        let Some((seat, left)) = link.seats.seat(&who, idle_since) else {
            let text = format!(
                "{MAX_SEATS} users have calls under way on sessions of their own, which is the limit"
            );
            return Err(lost(&text));
        };
        for session in left {
            self.inner.end_session(session);
        }
        Ok(Access::Own(seat, who, None))
    }

    /// A user whose session was closed meanwhile, by an operator for example, gets another place.
    fn sit_down_again(&self, target: &mut Target) -> Result<(), Unready> {
        if let Access::Own(_, who, leased) = &target.access
            && target.lost_its_seat()
        {
            let leases = leased.is_some();
            target.access = self.seat(&target.link, who.clone())?;
            let asker = self.request.bridged.as_ref().and_then(|bridged| bridged.asker.as_ref());
            if let (Access::Own(seat, _, leased), true, Some(asker)) = (&mut target.access, leases, asker) {
                *leased = seat.lease.try_take(asker.owner);
            }
        }
        Ok(())
    }

    /// Whether the shared session can be used as it is. A record can be initialised while its session is
    /// gone: it just broke.
    fn is_fresh(&self, link: &Link, record: &ServerRecord) -> bool {
        Gate::of(record, self.inner.now()) == Gate::Cached && link.session().is_some()
    }

    fn is_ready(&self, target: &Target) -> bool {
        match &target.access {
            Access::Shared(_) => self.is_fresh(&target.link, &target.record),
            Access::Own(seat, who, _) => self.inner.is_fresh_for_user(seat, who, &target.record),
        }
    }

    /// Waits for a handshake as long as the caller's patience allows. The handshake itself goes on, for
    /// others and for the next call, and records its own outcome.
    async fn wait_ready(&self, target: &mut Target, cause: Cause) -> Result<(), NotReady> {
        let left = self.deadline.since(self.inner.now());
        let limit = self.request.timeout.map_or(left, |timeout| timeout.min(left));
        let ready = async {
            match self.ready(target, cause.clone()).await {
                // Closed under the handshake: once more, in another place.
                outcome if target.lost_its_seat() => {
                    tracing::debug!(server = %target.link.key.name, ?outcome, "a user's session was closed meanwhile");
                    self.ready(target, cause).await
                }
                outcome => outcome,
            }
        };
        match tokio::time::timeout(limit, ready).await {
            Ok(outcome) => outcome.map_err(|unready| NotReady { unready, impatient: false }),
            Err(_) => {
                let text = format!("the handshake took longer than {limit:?}");
                let unready = Unready::nobodys(Failure::new(ErrorCategory::NetworkTimeout, text), true);
                Err(NotReady { unready, impatient: true })
            }
        }
    }

    async fn ready(&self, target: &mut Target, cause: Cause) -> Result<(), Unready> {
        self.sit_down_again(target)?;
        match &target.access {
            Access::Shared(_) => self.inner.ready(&target.link, Need::Fresh, cause).await,
            Access::Own(seat, who, _) => self.inner.ready_for_user(&target.link, seat, who, cause).await,
        }
    }

    /// One attempt on a server. `number`: which of a directed call. `now` goes on with it.
    pub(crate) async fn attempt(
        &self,
        target: &mut Target,
        number: Option<u32>,
        now: &mut Timestamp,
    ) -> Result<(Answer, Duration), (Failed, Duration)> {
        let name = target.link.key.name.clone();
        let phase = PhaseGuard::start(self, &name, Phase::InvokeStart, number, *now);
        match self.send(target, *now).await {
            Ok(answer) => Ok((answer, phase.succeed(now))),
            Err(failed) => {
                let CallFailure { failure, delivery, .. } = &failed.failure;
                tracing::warn!(server = %name, request_id = %self.request_id(), error = %failure.text,
                    user = self.request.user.user_id.as_deref(), delivery = delivery.as_str(), "call failed");
                let duration = phase.fail(failure.clone(), *delivery, now);
                Err((failed, duration))
            }
        }
    }

    /// The request itself. A session the server has forgotten (contract §7.5), or that was gone before the
    /// request was sent, is replaced once, silently: the request was not executed.
    async fn send(&self, target: &mut Target, now: Timestamp) -> Result<Answer, Failed> {
        let failed = match self.send_once(target, now).await {
            Err(failed) if failed.elsewhere.is_some() => failed,
            outcome => return outcome,
        };
        let name = &target.link.key.name;
        tracing::info!(server = %name, reason = %failed.failure.failure.text, "opening a new session");
        match failed.elsewhere {
            Some(Elsewhere::Seat(who)) => {
                target.access =
                    self.seat(&target.link, who).map_err(|full| Failed::unsent(full, Fault::Nobody))?;
            }
            Some(Elsewhere::Session(session)) => self.inner.give_up_session(&target.link, &session),
            Some(Elsewhere::AnySession) | None => {}
        }
        // In boxes, so that calls need no room for them.
        Box::pin(self.make_ready_again(target)).await?;
        Box::pin(self.send_once(target, self.inner.now())).await
    }

    /// A handshake within the invoke stage. In a directed call only the end counts as a check result.
    async fn make_ready_again(&self, target: &mut Target) -> Result<(), Failed> {
        let cause = match self.request.directed {
            true => Cause::Attempt,
            false => Cause::Invocation(self.request_id().clone()),
        };
        self.wait_ready(target, cause).await.map_err(|NotReady { unready, impatient }| {
            let fault = if impatient { Fault::Patience } else { Fault::Unready(unready.clone()) };
            Failed::unsent(unready, fault)
        })
    }

    /// The request as the server gets it on this session; notes what the session says of the server.
    fn outgoing(&self, target: &Target, session: &Session) -> Outgoing {
        let mut outgoing = Outgoing::new(self.request.method.clone(), self.request.params.clone());
        outgoing.headers.push(Header::new("X-Request-Id", self.request_id().clone()));
        outgoing.headers.extend(target.user().map(Authorization::header));
        if let Some(bridged) = &self.request.bridged {
            let profile = session.client().profile();
            bridged.prepare(&mut outgoing, &profile);
            let met = Met { version: profile.version, transport: session.client().transport() };
            *target.met.lock().unwrap_or_else(PoisonError::into_inner) = Some(met);
        }
        outgoing
    }

    /// One request on the session there is.
    async fn send_once(&self, target: &Target, now: Timestamp) -> Result<Answer, Failed> {
        let Some(session) = target.session() else {
            let unready = lost("the connection was lost before the request was sent");
            let elsewhere = Some(Elsewhere::AnySession);
            return Err(Failed { elsewhere, ..Failed::unsent(unready, Fault::Nobody) });
        };
        let Some(_counted) = session.enter() else {
            let unready = lost("the session was ended before the request was sent");
            let elsewhere = Some(Elsewhere::Session(session.clone()));
            return Err(Failed { elsewhere, ..Failed::unsent(unready, Fault::Nobody) });
        };
        let user = target.user();
        // The server may have changed its era since the way was chosen. What somebody else opened is not
        // for this user.
        if let (Access::Shared(Some(user)), Era::Handshake) = (&target.access, session.client().profile().era)
        {
            let elsewhere = Some(Elsewhere::Seat(Occupant::user(user.clone())));
            return Err(Failed {
                elsewhere,
                ..Failed::unsent(lost("the server keeps sessions"), Fault::Nobody)
            });
        }
        session.touch(now);
        let allowed = target.link.definition().request_timeout;
        let wanted = self.request.timeout.unwrap_or(allowed);
        let left = self.deadline.since(now);
        let mut patience = Patience { idle: wanted.min(left), total: wanted.min(left) };
        if self.request.bridged.is_some() {
            patience.total = left;
            if self.request.method == Method::TasksResult {
                // It is answered when the task has ended.
                patience.idle = left;
            }
        }
        let calling = session.client().call_with(self.outgoing(target, &session), patience);
        let outcome = self.inner.counted(calling).await;
        session.touch(self.inner.now());
        outcome.map_err(|error| {
            let forgotten = failure::is_forgotten_session(&error);
            let unsent = session.was_ended() && error.delivery() == Delivery::NotSent;
            let elsewhere = (forgotten || unsent).then(|| Elsewhere::Session(session.clone()));
            let refusal = self.request.bridged.as_ref().and_then(|_| Refusal::of(&error));
            let fault = match () {
                // Who is asked for a user's sake answers for no server.
                () if matches!(error, CallError::Unanswered { .. }) => Fault::Nobody,
                // Nothing was sent: it is the request that is at fault.
                () if matches!(error, CallError::Invalid { frame: None, .. }) => Fault::Nobody,
                () if user.is_some() && failure::refuses_credentials(&error) => Fault::Nobody,
                () if failure::is_our_queue(&error) => Fault::Nobody,
                () if !error.is_timeout() => Fault::Server(session.clone()),
                // It did its part all along: people were asked, or it told of its progress.
                () if failure::timed_out_after(&error, patience.total) && patience.idle < patience.total => {
                    Fault::Deadline { session: session.clone(), fair: false }
                }
                () if left < wanted => {
                    let fair = left >= self.inner.policy.max_call_deadline / 2;
                    Fault::Deadline { session: session.clone(), fair }
                }
                () if wanted < allowed => Fault::Patience,
                () => Fault::Server(session.clone()),
            };
            Failed { failure: failure::of_call(&error), fault, refusal, elsewhere }
        })
    }

    /// Records what a failed attempt says of the server, if anything.
    pub(crate) fn settle(&self, target: &Target, failed: Failed, verdict: Verdict) {
        match failed.fault {
            Fault::Server(session) | Fault::Deadline { session, fair: true } if verdict.blame_server => {
                target.link.outcomes.note(true);
                self.blame(target, &session, failed.failure.failure);
            }
            Fault::Unready(unready) if unready.take_unrecorded() => {
                self.inner.record(|registry, now| {
                    let failure = failed.failure.failure;
                    registry.record_failure(now, &target.link.key, failure, Some(self.request_id()), false);
                });
            }
            Fault::Patience | Fault::Deadline { .. } => self.inner.suspect(&target.link),
            // It answered, if only to say what is wrong with the request.
            Fault::Server(_) => target.link.outcomes.note(false),
            Fault::Unready(_) | Fault::Nobody => {}
        }
    }

    /// What is known by now of repeating the call. A list of tools that is just being read is waited for: it
    /// may say that a repeat does harm.
    pub(crate) async fn safety(&self, target: &Target, failed: &Failed) -> CallSafety {
        let link = &target.link;
        let tool = self.choice.selection.tool.as_deref();
        let hints = || Some(*link.hints.load().as_ref()?.get(tool?)?);
        if failed.failure.delivery == Delivery::Unknown && hints().is_none() {
            let left = self.deadline.since(self.inner.now());
            // If it takes longer nothing is known of the tool.
            let _ =
                tokio::time::timeout(left.min(self.inner.policy.probe_timeout), link.listings.settle()).await;
        }
        CallSafety::of(
            &self.request.method,
            self.request.idempotent,
            hints(),
            link.definition().trust_annotations,
        )
    }

    /// Records a failure. A connection that broke is recorded once, however many calls it took with it,
    /// and only that connection is ended: another may be open by now.
    fn blame(&self, target: &Target, session: &Arc<Session>, failure: Failure) {
        let id = Some(self.request_id());
        if !failure.category.ends_session() {
            self.inner.record(|registry, now| {
                registry.record_failure(now, &target.link.key, failure, id, false);
            });
        } else if session.take_blame() {
            self.inner.fail_session(&target.link, session, failure, id);
        }
    }

    /// Records a success, without any lock if the server was healthy already.
    pub(crate) fn note_success(&self, target: &Target, now: Timestamp) {
        let key = &target.link.key;
        target.link.outcomes.note(false);
        let settled = self.inner.current(key).is_none_or(|record| record.touch_if_settled(now));
        if !settled {
            self.inner.record(|registry, now| registry.record_success(now, key, Some(self.request_id())));
        }
    }

    /// Puts an answer into shape.
    pub(crate) fn served(&self, target: &Target, answer: Answer, plan: Plan) -> Invocation {
        let key = &target.link.key;
        Invocation {
            server: key.name.clone(),
            method: self.request.method.clone(),
            request_id: self.request_id().clone(),
            result: answer.result,
            frame: answer.frame,
            attempts: plan.into_attempts(),
        }
    }
}

impl Target {
    /// Whether the user's session was closed, but not the server's registration.
    fn lost_its_seat(&self) -> bool {
        matches!(&self.access, Access::Own(seat, _, _) if seat.session.is_retired())
            && !self.link.is_retired()
    }

    fn session(&self) -> Option<Arc<Session>> {
        match &self.access {
            Access::Shared(_) => self.link.session(),
            Access::Own(seat, _, _) => seat.session(),
        }
    }

    fn user(&self) -> Option<&Authorization> {
        match &self.access {
            Access::Shared(user) => user.as_ref(),
            Access::Own(_, who, _) => who.user.as_ref(),
        }
    }
}
