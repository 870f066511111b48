//! Routed calls: failover over candidates, with the trace of what was tried. Source: contract §4.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mcp_client::{Answer, CallError, Outgoing};
use mcp_protocol::{Method, RawJson};
use mcp_registry::{
    Attempt, CallFailure, CallSafety, Candidates, CorrelationId, ErrorCategory, Failure, FailureCode, Gate,
    InvocationError, Phase, Plan, Selection, ServerName, ServerRecord, Timestamp,
};
use mcp_transport::{Delivery, Header, TransportError, TransportErrorKind};

use crate::failure;
use crate::handshake::Need;
use crate::link::Link;
use crate::manager::{Inner, Manager};
use crate::session::Session;

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
    pub async fn call(&self, mut call: RoutedCall) -> Result<Invocation, InvocationError> {
        let inner = &self.0;
        let plan = Plan::new(inner.policy.clone(), call.method.clone());
        // Counted before the flag is read: shutdown sets the flag and then waits for the count.
        let _counted = inner.calls.token();
        if inner.closing.is_cancelled() {
            return Err(plan.end(FailureCode::ShuttingDown));
        }
        let request_id: CorrelationId = uuid::Uuid::new_v4().to_string().into();
        let now = inner.now();
        let selection = std::mem::take(&mut call.selection);
        let candidates = Candidates::new(inner.snapshot().table.clone(), selection, now);
        let run = Run {
            inner,
            call: &call,
            request_id: &request_id,
            deadline: now + inner.policy.max_call_deadline,
        };
        run.fail_over(plan, candidates).await
    }
}

/// Whose a failed attempt is.
enum Fault {
    /// The server's, on this session.
    Server(Arc<Session>),
    /// Nobody's, or recorded already.
    Nobody,
    /// The caller waited less than the server may take.
    Patience,
    /// The time of the whole call was up.
    Deadline,
}

/// An attempt that brought no answer.
struct Failed {
    failure: CallFailure,
    fault: Fault,
    /// The session was gone before it got the request: another one deserves a try.
    gone: Option<Arc<Session>>,
}

impl Failed {
    /// Not sent, for a reason that is recorded elsewhere.
    fn unsent(failure: Failure) -> Self {
        let failure = CallFailure { failure, delivery: Delivery::NotSent, rpc_code: None };
        Self { failure, fault: Fault::Nobody, gone: None }
    }
}

impl Run<'_> {
    async fn fail_over(
        &self,
        mut plan: Plan,
        mut candidates: Candidates,
    ) -> Result<Invocation, InvocationError> {
        while let Some(candidate) = candidates.next() {
            if let Some(code) = self.interrupted() {
                return Err(plan.end(code));
            }
            let name = candidate.name();
            let Some((link, record)) = self.make_ready(&candidate, &candidates, &mut plan).await else {
                continue;
            };
            if let Some(code) = self.interrupted() {
                return Err(plan.end(code));
            }
            let started = self.inner.now();
            let phase = PhaseGuard::start(self, name, Phase::InvokeStart);
            let outcome = self.send(&link).await;
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
                Err(Failed { failure, fault, .. }) => {
                    tracing::warn!(server = %name, request_id = %self.request_id, error = %failure.failure.text,
                        delivery = failure.delivery.as_str(), "call failed");
                    phase.fail(failure.failure.clone());
                    let tool = candidates.selection().tool.as_deref();
                    let safety = CallSafety::of(&self.call.method, self.call.idempotent, tool, &record);
                    let verdict = plan.failed(name, failure.clone(), safety, duration);
                    match fault {
                        Fault::Deadline => return Err(plan.end(FailureCode::DeadlineExceeded)),
                        Fault::Server(session) if verdict.blame_server => {
                            self.blame(&link, &session, failure.failure);
                        }
                        Fault::Patience => self.inner.suspect(&link),
                        Fault::Server(_) | Fault::Nobody => {}
                    }
                    if !verdict.go_on {
                        break;
                    }
                }
            }
        }
        if let Some(code) = self.interrupted() {
            return Err(plan.end(code));
        }
        Err(plan.exhausted(&candidates))
    }

    /// Why no further attempt is made, whatever candidates are left.
    fn interrupted(&self) -> Option<FailureCode> {
        if self.inner.cut.is_cancelled() {
            Some(FailureCode::ShuttingDown)
        } else if self.inner.now() >= self.deadline {
            Some(FailureCode::DeadlineExceeded)
        } else {
            None
        }
    }

    /// The initialize stage on one candidate. `None`: it failed, and the trace says so.
    async fn make_ready(
        &self,
        candidate: &ServerRecord,
        candidates: &Candidates,
        plan: &mut Plan,
    ) -> Option<(Arc<Link>, Arc<ServerRecord>)> {
        let (name, started) = (candidate.name(), self.inner.now());
        let phase = PhaseGuard::start(self, name, Phase::InitializeStart);
        let found = {
            let snapshot = self.inner.snapshot();
            snapshot.get(name.as_str()).map(|(record, link)| (link.clone(), record.clone()))
        };
        // Replaced since the call began: another server, which must qualify by itself.
        let found = found.filter(|(_, record)| {
            record.generation == candidate.generation || candidates.reason_to_skip(record).is_none()
        });
        let outcome = match &found {
            None => Err(Failure::new(ErrorCategory::InitializeError, "server not found")),
            Some((link, record)) => match Gate::of(record, started) {
                Gate::Cached if link.session().is_some() => Ok(()),
                // A record can be initialised while its session is gone: it just broke.
                Gate::Cached | Gate::Ordinary | Gate::Forced => self.wait_ready(link).await,
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

    /// The request itself. A session the server has forgotten (contract §7.5), or that we ended before the
    /// request was sent, is replaced once, silently: the request was not executed.
    async fn send(&self, link: &Arc<Link>) -> Result<Answer, Failed> {
        match self.send_once(link).await {
            Err(Failed { gone: Some(session), failure, .. }) => {
                tracing::info!(server = %link.key.name, reason = %failure.failure.text, "opening a new session");
                self.inner.drop_session(link, &session);
                self.wait_ready(link).await.map_err(Failed::unsent)?;
                self.send_once(link).await
            }
            outcome => outcome,
        }
    }

    /// One request on the session there is.
    async fn send_once(&self, link: &Arc<Link>) -> Result<Answer, Failed> {
        let Some(session) = link.session() else {
            let text = "the connection was lost before the request was sent";
            return Err(Failed::unsent(Failure::new(ErrorCategory::TransportError, text)));
        };
        let Some(_counted) = session.enter() else {
            let text = "the session was ended before the request was sent";
            let failed = Failed::unsent(Failure::new(ErrorCategory::TransportError, text));
            return Err(Failed { gone: Some(session.clone()), ..failed });
        };
        session.touch(&*self.inner.timer);
        let allowed = link.definition.request_timeout;
        let wanted = self.call.timeout.unwrap_or(allowed);
        let left = self.deadline.since(self.inner.now());
        let mut outgoing = Outgoing::new(self.call.method.clone(), Some(self.call.params.clone()));
        outgoing.headers.push(Header::new("X-Request-Id", &**self.request_id));
        let outcome = session.client().call(outgoing, wanted.min(left)).await;
        session.touch(&*self.inner.timer);
        outcome.map_err(|error| {
            let forgotten = matches!(
                &error,
                CallError::Transport(TransportError { kind: TransportErrorKind::SessionExpired, .. })
            );
            let unsent = session.was_ended() && error.delivery() == Delivery::NotSent;
            let gone = (forgotten || unsent).then(|| session.clone());
            let fault = match () {
                () if !error.is_timeout() => Fault::Server(session.clone()),
                () if left < wanted => Fault::Deadline,
                () if wanted < allowed => Fault::Patience,
                () => Fault::Server(session.clone()),
            };
            Failed { failure: failure::of_call(&error), fault, gone }
        })
    }

    /// Records a failure. A connection that broke is recorded once, however many calls it took with it,
    /// and only that connection is ended: another may be open by now.
    fn blame(&self, link: &Arc<Link>, session: &Arc<Session>, failure: Failure) {
        let mut session_lost = false;
        if failure.category.ends_session() {
            if !session.take_blame() {
                return;
            }
            session_lost = self.inner.drop_session(link, session);
        }
        self.inner.record(|registry, now| {
            registry.record_failure(now, &link.key, failure, Some(self.request_id), session_lost);
        });
    }
}

impl Inner {
    /// Records a success; without any lock if the server was healthy already.
    fn served(&self, link: &Link, request_id: &CorrelationId) {
        let settled = self.current(&link.key).is_none_or(|record| record.touch_if_settled(self.now()));
        if !settled {
            self.record(|registry, now| registry.record_success(now, &link.key, Some(request_id)));
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
