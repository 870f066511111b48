//! A routed call, driven as the manager drives one, with other operations in between.

use std::sync::Arc;

use mcp_protocol::Method;
use mcp_registry::{
    AmbiguousFailover, Attempt, CallFailure, CallSafety, Candidates, CorrelationId, ErrorCategory, Failure,
    FailureCode, Gate, InvocationEvent, InvocationFilter, Phase, Plan, ResetRetryOn, RpcErrorPolicy,
    ServerKey, ServerName, ServerRecord, Stage, Verdict,
};
use mcp_transport::Delivery;

use super::World;
use super::checks::{Check, Fault, holds, same};
use super::model::Model;
use super::ops::{self, Call, Op};
use crate::assert::{Ending, Shape};

/// JSON-RPC codes that are the caller's fault (contract §4.5).
const CALLERS_FAULT: [i64; 8] = [-32700, -32600, -32601, -32602, -32020, -32021, -32022, -32002];

const FAILOVER: &str = "failover follows the policy (contract §2.5, §4.2)";
const CANDIDATES: &str = "candidates are those of the start of the call (contract §4.1)";

/// What one call went through.
struct Under {
    id: CorrelationId,
    call: Call,
    /// What the trace must hold.
    attempts: Vec<Attempt>,
    callers_fault: bool,
    stopped: bool,
}

impl World {
    pub(super) fn call(&mut self, call: Call) -> Check {
        self.calls += 1;
        let id: CorrelationId = format!("call {}", self.calls).into();
        let mut plan = Plan::new(self.policy.clone(), id.clone(), call.method.clone());
        let expected = self.model.candidates(&call.selection);
        let nobody = match call.selection.tool {
            Some(_) if self.model.offered_nowhere(&call.selection) => FailureCode::NoServerOffersTool,
            _ => FailureCode::NoCandidates,
        };
        let table = self.registry.table().clone();
        let mut candidates = Candidates::new(table, call.selection.clone(), self.model.now);
        let mut under = Under { id, call, attempts: Vec::new(), callers_fault: true, stopped: false };
        let mut interrupted = None;
        let mut tried = Vec::new();
        let mut served = false;
        while let Some(candidate) = candidates.next() {
            same(
                CANDIDATES,
                "the next one",
                &Some(&candidate.key()),
                &expected.get(tried.len()).as_ref().copied(),
            )?;
            tried.push(candidate.key());
            if self.dice.chance(3) {
                interrupted =
                    Some(*self.dice.pick(&[FailureCode::DeadlineExceeded, FailureCode::ShuttingDown]));
                break;
            }
            self.meanwhile()?;
            let Some(record) = self.make_ready(&candidate, &candidates, &mut plan, &mut under)? else {
                continue;
            };
            self.meanwhile()?;
            if self.attempt(&record, &mut plan, &mut under)? {
                served = true;
                break;
            }
            if under.stopped {
                break;
            }
        }
        if !served && interrupted.is_none() && !under.stopped {
            same(CANDIDATES, "their number", &tried.len(), &expected.len())?;
        }
        self.finish(plan, &candidates, under, served, interrupted, nobody)
    }

    /// Other operations, while the call waits.
    fn meanwhile(&mut self) -> Check {
        while self.dice.chance(30) {
            let op = self.draw();
            if !matches!(op, Op::Call(_)) {
                let doing = std::mem::take(&mut self.doing);
                self.step(op)?;
                self.doing = doing;
            }
        }
        Ok(())
    }

    /// The initialize stage.
    fn make_ready(
        &mut self,
        candidate: &ServerRecord,
        candidates: &Candidates,
        plan: &mut Plan,
        under: &mut Under,
    ) -> Result<Option<Arc<ServerRecord>>, Fault> {
        let name = candidate.name();
        self.phase(under, name, Phase::InitializeStart, None);
        let found = self.registry.get(name.as_str()).cloned().filter(|record| {
            record.generation == candidate.generation || candidates.choice().reason_to_skip(record).is_none()
        });
        let duration = ops::short(&self.dice);
        let failure = match &found {
            None => Some(Failure::new(ErrorCategory::InitializeError, "server not found")),
            Some(record) => match Gate::of(record, self.model.now) {
                Gate::Cached => None,
                Gate::Ordinary | Gate::Forced => self.handshake(&record.key(), under)?,
            },
        };
        let delivery = failure.is_some().then_some(Delivery::NotSent);
        under.attempts.push(Attempt {
            server: name.clone(),
            stage: Stage::Initialize,
            failure: failure.clone(),
            delivery,
            duration,
            attempt: None,
        });
        match failure {
            None => {
                self.phase(under, name, Phase::InitializeSuccess, None);
                plan.initialized(name, duration);
                Ok(found)
            }
            Some(failure) => {
                self.phase(under, name, Phase::InitializeFailure, Some(failure.clone()));
                under.callers_fault = false;
                plan.not_initialized(name, failure, duration);
                Ok(None)
            }
        }
    }

    fn handshake(&mut self, key: &ServerKey, under: &Under) -> Result<Option<Failure>, Fault> {
        self.step(Op::Connecting(key.clone()))?;
        self.meanwhile()?;
        let (key, cause) = (key.clone(), Some(under.id.clone()));
        if self.dice.chance(60) {
            let record = self.policy.reset_retry_on == ResetRetryOn::Handshake;
            self.step(Op::Handshake { key, handshake: ops::handshake(&self.dice), cause, record })?;
            return Ok(None);
        }
        let failure = ops::failure(&self.dice);
        let partial = self.dice.chance(30).then(|| ops::handshake(&self.dice));
        self.step(Op::HandshakeFailed { key, failure: failure.clone(), cause, partial, record: true })?;
        Ok(Some(failure))
    }

    /// The invoke stage; true if the call was answered.
    fn attempt(&mut self, record: &ServerRecord, plan: &mut Plan, under: &mut Under) -> Result<bool, Fault> {
        let (name, key) = (record.name(), record.key());
        self.phase(under, name, Phase::InvokeStart, None);
        self.meanwhile()?;
        let duration = ops::short(&self.dice);
        let attempt = Attempt {
            server: name.clone(),
            stage: Stage::Invoke,
            failure: None,
            delivery: None,
            duration,
            attempt: None,
        };
        if self.dice.chance(35) {
            self.phase(under, name, Phase::InvokeSuccess, None);
            under.attempts.push(attempt);
            plan.succeeded(name, duration);
            self.served(&key, under)?;
            return Ok(true);
        }
        let failed = ops::call_failure(&self.dice);
        self.phase(under, name, Phase::InvokeFailure, Some(failed.failure.clone()));
        under.attempts.push(Attempt {
            failure: Some(failed.failure.clone()),
            delivery: Some(failed.delivery),
            ..attempt
        });
        let Call { method, idempotent, selection } = &under.call;
        let tool = selection.tool.as_deref();
        let safety = CallSafety::of(method, *idempotent, tool, record);
        if let Some(server) = self.model.current(&key).filter(|_| self.unchanged(record)) {
            let expected = Model::safety(server, method, *idempotent, tool);
            same(FAILOVER, "the safety of a repeat", &safety, &expected)?;
        }
        let expected = self.verdict(&failed, safety);
        let verdict = plan.failed(name, failed.clone(), safety, duration);
        same(FAILOVER, "the verdict", &verdict, &expected)?;
        under.callers_fault &= !expected.blame_server;
        under.stopped = !expected.go_on;
        if verdict.blame_server {
            let (failure, lost) = (failed.failure, self.dice.chance(50));
            self.step(Op::Failure { key, failure, cause: Some(under.id.clone()), lost })?;
        }
        Ok(false)
    }

    /// Whether a record is still the current one, so that the model can be asked about it.
    fn unchanged(&self, record: &ServerRecord) -> bool {
        self.registry.get(record.name().as_str()).is_some_and(|current| current.tools == record.tools)
    }

    /// The table of contract §2.5 and the blame of §4.5.
    fn verdict(&self, failed: &CallFailure, safety: CallSafety) -> Verdict {
        let callers_fault = self.policy.rpc_error_policy == RpcErrorPolicy::Classify
            && failed.failure.category == ErrorCategory::RpcError
            && failed.rpc_code.is_some_and(|code| CALLERS_FAULT.contains(&code.0));
        let column = match safety {
            CallSafety::Safe => 0,
            CallSafety::Unknown => 1,
            CallSafety::Unsafe => 2,
        };
        let allowed = match self.policy.ambiguous_failover {
            AmbiguousFailover::Always => [true, true, true],
            AmbiguousFailover::UnlessUnsafe => [true, true, false],
            AmbiguousFailover::SafeOnly => [true, false, false],
        };
        let ambiguous = failed.delivery == Delivery::Unknown;
        Verdict { blame_server: !callers_fault, go_on: !ambiguous || allowed[column] }
    }

    /// Records a success the short way where that is allowed.
    fn served(&mut self, key: &ServerKey, under: &Under) -> Check {
        let record = self.registry.get(key.name.as_str()).filter(|record| record.key() == *key).cloned();
        let settled = record.map(|record| record.touch_if_settled(self.model.now));
        if let (Some(settled), Some(server)) = (settled, self.model.current(key)) {
            let expected = server.failures == 0 && server.consecutive == 0;
            same("a success may be recorded the short way on a sound server", "it", &settled, &expected)?;
        }
        if settled == Some(true) {
            self.model.success(key, None);
            return self.compare();
        }
        self.step(Op::Success(key.clone(), Some(under.id.clone())))
    }

    /// The end of the call, and what it left behind.
    fn finish(
        &mut self,
        plan: Plan,
        candidates: &Candidates,
        under: Under,
        served: bool,
        interrupted: Option<FailureCode>,
        nobody: FailureCode,
    ) -> Check {
        let shape = self.shape(&under)?;
        if served {
            same(FAILOVER, "the trace", &plan.into_attempts(), &under.attempts)?;
            return same(FAILOVER, "the events", &shape, &Some(Ending::Success).filter(|_| shape.is_some()));
        }
        let expected = match interrupted {
            Some(code) => code,
            None if under.attempts.is_empty() => nobody,
            None if under.stopped => FailureCode::AmbiguousNotRetried,
            None if under.callers_fault => FailureCode::CallerError,
            None => FailureCode::AllCandidatesFailed,
        };
        let error = match interrupted {
            Some(code) => plan.end(code),
            None => plan.exhausted(candidates.choice()),
        };
        same(FAILOVER, "the code", &error.code, &expected)?;
        same(FAILOVER, "the method", &error.method, &under.call.method)?;
        same(FAILOVER, "the trace", &error.attempts, &under.attempts)?;
        let mut rest = error.message.as_str();
        let failures = under.attempts.iter().filter_map(|attempt| Some((attempt, attempt.failure.as_ref()?)));
        for (attempt, failure) in failures.filter(|_| expected != FailureCode::ShuttingDown) {
            let part = format!("{}: {}: {}", attempt.server, attempt.stage.as_str(), failure.text);
            let at = rest.find(&part);
            holds(FAILOVER, at.is_some(), || {
                format!("{:?} does not name {part:?} in its turn", error.message)
            })?;
            rest = &rest[at.map_or(0, |at| at + part.len())..];
        }
        let ended = if under.attempts.is_empty() { Ending::Untried } else { Ending::Failure };
        same(FAILOVER, "the events", &shape, &Some(ended).filter(|_| shape.is_some()))
    }

    /// What the events of the call say; `None` if some are forgotten already.
    fn shape(&self, under: &Under) -> Result<Option<Ending>, Fault> {
        if self.model.phases.len() > self.policy.max_invocation_events {
            return Ok(None);
        }
        let filter = InvocationFilter { request_id: Some(&under.id), ..InvocationFilter::default() };
        let events = self.journal.invocation_events(&filter);
        let ending = Shape::ROUTED.ending(&events);
        ending
            .map(Some)
            .map_err(|illegal| Fault::new("phases are legal (contract §5.2)", illegal.to_string()))
    }

    /// A step of the call, in the journal and in the model.
    fn phase(&mut self, under: &Under, server: &ServerName, phase: Phase, failure: Option<Failure>) {
        let method: &Method = &under.call.method;
        let now = self.model.now;
        let event = InvocationEvent {
            seq: 0,
            timestamp: now,
            server: server.clone(),
            method: method.clone(),
            request_id: under.id.clone(),
            phase,
            failure,
            duration: None,
            delivery: None,
            attempt: None,
        };
        self.journal.invocation(event.clone());
        self.model.phases.push(event);
    }
}
