//! Routed calls: failover over candidates, with the trace of what was tried. Source: contract §4.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use mcp_client::{Answer, CallError, Client, Outgoing};
use mcp_protocol::{Method, RawJson};
use mcp_registry::{
    Attempt, CallSafety, Candidates, CorrelationId, ErrorCategory, Failure, FailureCode, Gate,
    InvocationError, Phase, Plan, Selection, ServerName, ServerRecord, Timestamp,
};
use mcp_transport::{Header, TransportError, TransportErrorKind};

use crate::failure;
use crate::handshake::Need;
use crate::link::Link;
use crate::manager::{Inner, Manager};

/// One request to whichever server can serve it.
#[derive(Debug, Clone)]
pub struct RoutedCall {
    /// `tools/call`, `resources/read`, …
    pub method: Method,
    /// Its `params`, sent unchanged to every candidate.
    pub params: RawJson,
    /// Which servers, and in which order.
    pub selection: Selection,
    /// What the caller says about repeating the call; `None`: nothing.
    pub idempotent: Option<bool>,
    /// Limit of one attempt; `None`: the server's.
    pub timeout: Option<Duration>,
}

impl RoutedCall {
    /// A call to any server, with nothing said about repeating it.
    #[must_use]
    pub fn new(method: Method, params: RawJson) -> Self {
        Self { method, params, selection: Selection::default(), idempotent: None, timeout: None }
    }
}

/// An answered call (contract §4.3).
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Who answered.
    pub server: ServerName,
    /// The requested method.
    pub method: Method,
    /// Identifies the invocation in the events.
    pub request_id: CorrelationId,
    /// The `result` member.
    pub result: RawJson,
    /// The whole JSON-RPC response as it came.
    pub frame: Bytes,
    /// What was tried, in order; the last two entries are the successful ones.
    pub attempts: Vec<Attempt>,
}

/// What every step of one invocation needs.
struct Run<'a> {
    inner: &'a Arc<Inner>,
    call: &'a RoutedCall,
    request_id: &'a CorrelationId,
    deadline: Timestamp,
}

impl Manager {
    /// Calls the first candidate that can serve, moving on where contract §2.5 allows it.
    ///
    /// # Errors
    /// [`InvocationError`] with the trace of every attempt.
    pub async fn call(&self, call: RoutedCall) -> Result<Invocation, InvocationError> {
        let request_id: CorrelationId = uuid::Uuid::new_v4().to_string().into();
        self.call_as(call, request_id).await
    }

    /// As [`call`](Self::call), under an id the caller chose; it should be unique.
    ///
    /// # Errors
    /// [`InvocationError`] with the trace of every attempt.
    pub async fn call_as(
        &self,
        call: RoutedCall,
        request_id: CorrelationId,
    ) -> Result<Invocation, InvocationError> {
        let inner = &self.0;
        let plan = Plan::new(inner.policy.clone(), call.method.clone());
        let Some(_in_flight) = inner.enter() else { return Err(plan.end(FailureCode::ShuttingDown)) };
        let now = inner.now();
        let table = inner.snapshot().table.clone();
        let candidates = Candidates::new(table, call.selection.clone(), now);
        let run = Run {
            inner,
            call: &call,
            request_id: &request_id,
            deadline: now + inner.policy.max_call_deadline,
        };
        run.fail_over(plan, candidates).await
    }
}

impl Run<'_> {
    async fn fail_over(
        &self,
        mut plan: Plan,
        mut candidates: Candidates,
    ) -> Result<Invocation, InvocationError> {
        for candidate in candidates.by_ref() {
            if self.inner.now() >= self.deadline {
                return Err(plan.end(FailureCode::DeadlineExceeded));
            }
            let name = candidate.name();
            let Some((link, record)) = self.make_ready(name, &mut plan).await else { continue };
            let started = self.inner.now();
            if started >= self.deadline {
                return Err(plan.end(FailureCode::DeadlineExceeded));
            }
            let phase = PhaseGuard::start(self, name, Phase::InvokeStart);
            let (outcome, session) = self.send(&link).await;
            let duration = self.inner.now().since(started);
            match outcome {
                Ok(Answer { result, frame, .. }) => {
                    phase.succeed();
                    self.inner.served(&link, self.request_id);
                    plan.succeeded(name, duration);
                    return Ok(Invocation {
                        server: name.clone(),
                        method: self.call.method.clone(),
                        request_id: self.request_id.clone(),
                        result,
                        frame,
                        attempts: plan.into_attempts(),
                    });
                }
                Err(error) => {
                    let failure = failure::of_call(&error);
                    tracing::warn!(server = %name, request_id = %self.request_id, error = %failure.failure.text,
                        delivery = failure.delivery.as_str(), "call failed");
                    phase.fail(failure.failure.clone());
                    let tool = self.call.selection.tool.as_deref();
                    let safety = CallSafety::of(&self.call.method, self.call.idempotent, tool, &record);
                    let verdict = plan.failed(name, failure.clone(), safety, duration);
                    if verdict.blame_server {
                        self.blame(&link, session, failure.failure);
                    }
                    if !verdict.go_on {
                        break;
                    }
                }
            }
        }
        let offered_nowhere = candidates.tool_is_offered_nowhere();
        Err(plan.exhausted(offered_nowhere))
    }

    /// The initialize stage on one candidate. `None`: it failed, and the trace says so.
    async fn make_ready(&self, name: &ServerName, plan: &mut Plan) -> Option<(Arc<Link>, Arc<ServerRecord>)> {
        let started = self.inner.now();
        let phase = PhaseGuard::start(self, name, Phase::InitializeStart);
        let found = {
            let snapshot = self.inner.snapshot();
            snapshot.get(name.as_str()).map(|(record, link)| (link.clone(), record.clone()))
        };
        let outcome = match &found {
            None => Err(Failure::new(ErrorCategory::InitializeError, "server not found")),
            Some((link, record)) => match Gate::of(record, started) {
                Gate::Cached => Ok(()),
                Gate::Ordinary | Gate::Forced => self.wait_ready(link).await,
            },
        };
        let duration = self.inner.now().since(started);
        match outcome {
            Ok(()) => {
                phase.succeed();
                plan.initialized(name, duration);
                found
            }
            Err(failure) => {
                phase.fail(failure.clone());
                plan.not_initialized(name, failure, duration);
                None
            }
        }
    }

    /// Waits for a handshake as long as the caller's patience allows. The handshake itself goes on, for
    /// others and for the next call, and records its own outcome.
    async fn wait_ready(&self, link: &Arc<Link>) -> Result<(), Failure> {
        let left = self.deadline.since(self.inner.now());
        let limit = self.call.timeout.map_or(left, |timeout| timeout.min(left));
        let ready = self.inner.ready(link, Need::Fresh, Some(self.request_id.clone()));
        tokio::time::timeout(limit, ready).await.unwrap_or_else(|_| {
            Err(Failure::new(
                ErrorCategory::NetworkTimeout,
                format!("the handshake took longer than {limit:?}"),
            ))
        })
    }

    /// The request itself, and the session it went to. A session the server has forgotten is replaced
    /// once, silently (contract §7.5): a request it did not know the session of was not executed.
    async fn send(&self, link: &Arc<Link>) -> Sent {
        match self.send_once(link).await {
            (Err(error), Some(session)) if is_session_expired(&error) => {
                tracing::info!(server = %link.key.name, "the server ended the session, opening a new one");
                self.inner.drop_session(link, &session);
                self.send_once(link).await
            }
            sent => sent,
        }
    }

    async fn send_once(&self, link: &Arc<Link>) -> Sent {
        // A record can be initialised while its session is gone: it just broke, or the server ended it.
        if link.session().is_none()
            && let Err(failure) = self.wait_ready(link).await
        {
            return (Err(lost(&failure.text)), None);
        }
        let Some(session) = link.session() else {
            return (Err(lost("the connection was closed before the request was sent")), None);
        };
        link.touch(&*self.inner.timer);
        let left = self.deadline.since(self.inner.now());
        let limit = self.call.timeout.unwrap_or(link.definition.request_timeout).min(left);
        let mut outgoing = Outgoing::new(self.call.method.clone(), Some(self.call.params.clone()));
        outgoing.headers.push(Header::new("X-Request-Id", &**self.request_id));
        let outcome = session.call(outgoing, limit).await;
        link.touch(&*self.inner.timer);
        (outcome, Some(session))
    }

    /// Records a failure. Only the session the failed exchange ran on is closed: another may be open by now.
    fn blame(&self, link: &Arc<Link>, session: Option<Arc<Client>>, failure: Failure) {
        let broken = session.filter(|_| failure.category.ends_session());
        let session_lost = broken.is_some_and(|session| self.inner.drop_session(link, &session));
        self.inner.record(|registry, now| {
            registry.record_failure(now, &link.key, failure, Some(self.request_id), session_lost);
        });
    }
}

/// How a request went, and on which session.
type Sent = (Result<Answer, CallError>, Option<Arc<Client>>);

fn is_session_expired(error: &CallError) -> bool {
    matches!(error, CallError::Transport(TransportError { kind: TransportErrorKind::SessionExpired, .. }))
}

fn lost(reason: &str) -> CallError {
    CallError::Transport(TransportError::new(
        TransportErrorKind::Closed(reason.into()),
        mcp_transport::Delivery::NotSent,
    ))
}

impl Inner {
    /// Records a success; without any lock if the server was healthy already.
    fn served(&self, link: &Link, request_id: &CorrelationId) {
        let settled = self.current(&link.key).is_none_or(|record| record.touch_if_settled(self.now()));
        if !settled {
            self.record(|registry, now| registry.record_success(now, &link.key, Some(request_id)));
        }
    }

    /// Counts a call in; `None` while shutting down.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<InFlight> {
        // Counted first: shutdown sets the flag and then reads the count.
        let guard = InFlight(self.clone());
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        (!self.closing.load(Ordering::SeqCst)).then_some(guard)
    }
}

/// A call under way.
pub(crate) struct InFlight(Arc<Inner>);

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

/// Sees to it that a started phase ends in the events, even if the caller goes away in the middle.
struct PhaseGuard<'a> {
    run: &'a Run<'a>,
    server: &'a ServerName,
    start: Phase,
    ended: bool,
}

impl<'a> PhaseGuard<'a> {
    fn start(run: &'a Run<'a>, server: &'a ServerName, start: Phase) -> Self {
        let guard = Self { run, server, start, ended: false };
        guard.emit(start, None);
        guard
    }

    fn succeed(mut self) {
        self.ended = true;
        let phase = match self.start {
            Phase::InitializeStart => Phase::InitializeSuccess,
            _ => Phase::InvokeSuccess,
        };
        self.emit(phase, None);
    }

    fn fail(mut self, failure: Failure) {
        self.end_failed(failure);
    }

    fn end_failed(&mut self, failure: Failure) {
        self.ended = true;
        let phase = match self.start {
            Phase::InitializeStart => Phase::InitializeFailure,
            _ => Phase::InvokeFailure,
        };
        self.emit(phase, Some(failure));
    }

    fn emit(&self, phase: Phase, failure: Option<Failure>) {
        let Run { inner, call, request_id, .. } = self.run;
        inner.journal.invocation(inner.now(), self.server, &call.method, request_id, phase, failure);
    }
}

impl Drop for PhaseGuard<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.end_failed(Failure::new(ErrorCategory::Unknown, "cancelled by the caller"));
        }
    }
}
