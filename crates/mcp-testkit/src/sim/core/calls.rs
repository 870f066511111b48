//! Calls, driven as the manager drives them, with other operations in between.

use std::sync::Arc;

use mcp_registry::{
    AmbiguousFailover, Attempt, CallFailure, CallRetry, CallSafety, Candidates, Choice, CorrelationId,
    Ending, ErrorCategory, Failure, FailureCode, Gate, InvocationEvent, InvocationFilter, Outcome, Part,
    Phase, Plan, ResetRetryOn, RpcErrorPolicy, ServerKey, ServerName, ServerRecord, Skip, Stage, Story,
    Verdict,
};
use mcp_transport::Delivery;

use super::World;
use super::checks::{Check, Fault, holds, newest, same};
use super::model::{self, Model};
use super::ops::{self, Call, Op};
use crate::assert::{self, Shape};

/// JSON-RPC codes that are the caller's fault (contract §4.5).
const CALLERS_FAULT: [i64; 8] = [-32700, -32600, -32601, -32602, -32020, -32021, -32022, -32002];

const FAILOVER: &str = "failover follows the policy (contract §2.5, §4.2)";
const CANDIDATES: &str = "candidates are those of the start of the call (contract §4.1)";
const RETRY: &str = "directed calls are repeated by the policy (contract §2.4)";

/// One call under way.
struct Under {
    id: CorrelationId,
    call: Call,
    directed: bool,
    choice: Arc<Choice>,
    story: Arc<Story>,
    /// Every server at the start, with the reason if it is no candidate.
    considered: Vec<(ServerKey, Option<Skip>)>,
    /// How the call ends if nobody can be tried.
    nobody: FailureCode,
    /// What the trace must hold.
    attempts: Vec<Attempt>,
    callers_fault: bool,
    stopped: bool,
}

/// How a call ended.
enum End {
    Served(ServerName),
    Interrupted(FailureCode),
    Exhausted,
}

impl World {
    fn begin(&mut self, call: Call, directed: bool) -> (Under, Plan) {
        self.calls += 1;
        let id: CorrelationId = format!("call {}", self.calls).into();
        let plan = Plan::new(self.policy.clone(), id.clone(), call.method.clone());
        let nobody = match call.selection.tool {
            Some(_) if self.model.offered_nowhere(&call.selection) => FailureCode::NoServerOffersTool,
            _ => FailureCode::NoCandidates,
        };
        let (table, selection) = (self.registry.table().clone(), call.selection.clone());
        let choice = Arc::new(Choice { table, selection: selection.into(), at: self.model.now });
        let story = Arc::new(Story::new(id.clone(), call.method.clone(), choice.clone(), directed));
        self.journal.story(story.clone());
        let considered = self.model.considered(&call.selection);
        let under = Under {
            id,
            call,
            directed,
            choice,
            story,
            considered,
            nobody,
            attempts: Vec::new(),
            callers_fault: true,
            stopped: false,
        };
        (under, plan)
    }

    /// A routed call.
    pub(super) fn call(&mut self, call: Call) -> Check {
        let (mut under, mut plan) = self.begin(call, false);
        let fit = under.considered.iter().filter(|(_, skip)| skip.is_none());
        let mut expected = fit.map(|(key, _)| key.clone()).collect::<Vec<_>>().into_iter();
        for candidate in Candidates::of(under.choice.clone()) {
            same(CANDIDATES, "the next one", &Some(candidate.key()), &expected.next())?;
            if !under.attempts.is_empty() && self.dice.chance(3) {
                let code = *self.dice.pick(&[FailureCode::DeadlineExceeded, FailureCode::ShuttingDown]);
                return self.finish(plan, &under, &End::Interrupted(code));
            }
            self.meanwhile()?;
            let Some(record) = self.make_ready(&candidate, &mut plan, &mut under)? else { continue };
            self.meanwhile()?;
            let Some((failed, verdict)) = self.attempt(&record, None, &mut plan, &mut under)? else {
                return self.finish(plan, &under, &End::Served(record.name().clone()));
            };
            self.settle(&record, failed, verdict, &under)?;
            if under.stopped {
                return self.finish(plan, &under, &End::Exhausted);
            }
        }
        same(CANDIDATES, "the next one", &None, &expected.next())?;
        self.finish(plan, &under, &End::Exhausted)
    }

    /// A directed call: attempt after attempt on one server.
    pub(super) fn directed(&mut self, key: &ServerKey, call: Call) -> Check {
        let Some(server) =
            self.registry.get(key.name.as_str()).filter(|record| record.key() == *key).cloned()
        else {
            return Ok(());
        };
        let (mut under, mut plan) = self.begin(call, true);
        let Some(record) = self.make_ready(&server, &mut plan, &mut under)? else {
            return self.finish(plan, &under, &End::Interrupted(FailureCode::AllCandidatesFailed));
        };
        let retry = CallRetry::of(&self.policy, &record.definition);
        for number in 1.. {
            plan.number(number);
            let Some((failed, verdict)) = self.attempt(&record, Some(number), &mut plan, &mut under)? else {
                return self.finish(plan, &under, &End::Served(record.name().clone()));
            };
            let wait = retry.wait(number, &failed);
            let expected = model::call_wait(&self.policy, &record.definition, number, &failed);
            same(RETRY, format_args!("the wait after attempt {number}"), &wait, &expected)?;
            let Some(wait) = wait.filter(|_| verdict.go_on) else {
                self.settle(&record, failed, verdict, &under)?;
                break;
            };
            if verdict.blame_server {
                self.step(Op::AttemptFailed(record.key()))?;
            }
            self.step(Op::Advance(wait.min(ops::LONGEST_STEP)))?;
            self.meanwhile()?;
        }
        self.finish(plan, &under, &End::Exhausted)
    }

    /// Other operations, while the call waits.
    fn meanwhile(&mut self) -> Check {
        while self.dice.chance(30) {
            let op = self.draw();
            if !matches!(op, Op::Call(_) | Op::Directed(..)) {
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
        plan: &mut Plan,
        under: &mut Under,
    ) -> Result<Option<Arc<ServerRecord>>, Fault> {
        let name = candidate.name();
        self.phase(under, name, Phase::InitializeStart, None, None);
        let found = self.registry.get(name.as_str()).cloned().filter(|record| {
            record.generation == candidate.generation || under.choice.reason_to_skip(record).is_none()
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
                self.phase(under, name, Phase::InitializeSuccess, None, None);
                plan.initialized(name, duration);
                Ok(found)
            }
            Some(failure) => {
                self.phase(under, name, Phase::InitializeFailure, None, Some(failure.clone()));
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

    /// The invoke stage; `None` if the call was answered.
    fn attempt(
        &mut self,
        record: &ServerRecord,
        number: Option<u32>,
        plan: &mut Plan,
        under: &mut Under,
    ) -> Result<Option<(CallFailure, Verdict)>, Fault> {
        let (name, key) = (record.name(), record.key());
        self.phase(under, name, Phase::InvokeStart, number, None);
        self.meanwhile()?;
        let duration = ops::short(&self.dice);
        let attempt = Attempt {
            server: name.clone(),
            stage: Stage::Invoke,
            failure: None,
            delivery: None,
            duration,
            attempt: number,
        };
        if self.dice.chance(35) {
            self.phase(under, name, Phase::InvokeSuccess, number, None);
            under.attempts.push(attempt);
            plan.succeeded(name, duration);
            self.served(&key, under)?;
            return Ok(None);
        }
        let failed = ops::call_failure(&self.dice);
        self.phase(under, name, Phase::InvokeFailure, number, Some(failed.failure.clone()));
        let (failure, delivery) = (Some(failed.failure.clone()), Some(failed.delivery));
        under.attempts.push(Attempt { failure, delivery, ..attempt });
        let Call { method, idempotent, selection } = &under.call;
        let tool = selection.tool.as_deref();
        let hints = tool.and_then(|tool| record.tool_hints(tool));
        let safety = CallSafety::of(method, *idempotent, hints, record.definition.trust_annotations);
        if let Some(server) = self.model.current(&key).filter(|_| self.unchanged(record)) {
            let expected = Model::safety(server, method, *idempotent, tool);
            same(FAILOVER, "the safety of a repeat", &safety, &expected)?;
        }
        let expected = self.verdict(&failed, safety);
        let verdict = plan.failed(name, failed.clone(), safety, duration);
        same(FAILOVER, "the verdict", &verdict, &expected)?;
        under.callers_fault &= !expected.blame_server;
        under.stopped |= !expected.go_on;
        Ok(Some((failed, verdict)))
    }

    /// Records the outcome of a failed attempt that is the last one on its server.
    fn settle(
        &mut self,
        record: &ServerRecord,
        failed: CallFailure,
        verdict: Verdict,
        under: &Under,
    ) -> Check {
        if !verdict.blame_server {
            return Ok(());
        }
        let (key, cause, lost) = (record.key(), Some(under.id.clone()), self.dice.chance(50));
        self.step(Op::Failure { key, failure: failed.failure, cause, lost })
    }

    /// Whether a record is still the current one, so that the model can be asked about it.
    fn unchanged(&self, record: &ServerRecord) -> bool {
        let current = self.registry.get(record.name().as_str());
        current
            .is_some_and(|current| current.tools == record.tools && current.definition == record.definition)
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
    fn finish(&mut self, plan: Plan, under: &Under, end: &End) -> Check {
        let expected = match end {
            End::Served(_) => None,
            End::Interrupted(code) => Some(*code),
            End::Exhausted if under.attempts.is_empty() => Some(under.nobody),
            End::Exhausted if under.stopped => Some(FailureCode::AmbiguousNotRetried),
            End::Exhausted if under.callers_fault => Some(FailureCode::CallerError),
            End::Exhausted => Some(FailureCode::AllCandidatesFailed),
        };
        let (ending, outcome) = match end {
            End::Served(server) => {
                same(FAILOVER, "the trace", &plan.into_attempts(), &under.attempts)?;
                (assert::Ending::Success, Outcome::Served(server.clone()))
            }
            End::Interrupted(_) | End::Exhausted => {
                let error = match end {
                    End::Interrupted(code) => plan.end(*code),
                    _ => plan.exhausted(&under.choice),
                };
                same(FAILOVER, "the code", &Some(error.code), &expected)?;
                same(FAILOVER, "the method", &error.method, &under.call.method)?;
                same(FAILOVER, "the request id", &error.request_id, &under.id)?;
                same(FAILOVER, "the trace", &error.attempts, &under.attempts)?;
                named_in_turn(&error.message, error.code, &under.attempts)?;
                let untried = under.attempts.is_empty();
                let ending = if untried { assert::Ending::Untried } else { assert::Ending::Failure };
                (ending, Outcome::Failed(error.code))
            }
        };
        under.story.end(self.model.now, outcome.clone());
        under.story.end(self.model.now, Outcome::Abandoned);
        if self.model.phases.len() <= self.policy.max_invocation_events {
            same(FAILOVER, "the events", &self.shape(under)?, &ending)?;
        }
        self.explain(under, outcome)
    }

    /// What the events of the call say.
    fn shape(&self, under: &Under) -> Result<assert::Ending, Fault> {
        let filter = InvocationFilter { request_id: Some(&under.id), ..InvocationFilter::default() };
        let shape = if under.directed { Shape { attempts: 10 } } else { Shape::ROUTED };
        shape
            .ending(&self.journal.invocation_events(&filter))
            .map_err(|illegal| Fault::new("phases are legal (contract §5.2)", illegal.to_string()))
    }

    /// The story of the call can be told, as far as its events are retained.
    fn explain(&self, under: &Under, outcome: Outcome) -> Check {
        const STORY: &str = "an invocation can be explained from what is retained";
        let Some(told) = self.journal.explain(&under.id) else {
            return Err(Fault::new(STORY, format!("{} is forgotten at once", under.id)));
        };
        let code = match &outcome {
            Outcome::Failed(code) => Some(*code),
            Outcome::Served(_) | Outcome::Abandoned => None,
        };
        same(STORY, "the ending", &told.story.ending(), &Some(&Ending { at: self.model.now, outcome }))?;
        let retained = newest(&self.model.phases, self.policy.max_invocation_events);
        let mut steps: Vec<_> = retained.iter().filter(|step| step.request_id == under.id).cloned().collect();
        let retained = newest(&self.model.transitions, self.policy.max_connection_events);
        let caused = |id: &Option<CorrelationId>| id.as_ref() == Some(&under.id);
        let transitions = retained.iter().filter(|event| caused(&event.correlation_id)).count();
        same(STORY, "the number of transitions", &told.transitions.len(), &transitions)?;

        let part = |key: &ServerKey, skip: Option<Skip>| match skip {
            _ if steps.iter().any(|step| step.server == key.name) => Part::Tried,
            Some(_) if under.directed && under.call.selection.preferred == [key.name.as_str()] => {
                Part::NotTried
            }
            Some(_) if under.directed => Part::Skipped(Skip::NotPreferred),
            Some(skip) => Part::Skipped(skip),
            None => Part::NotTried,
        };
        let mut parts: Vec<_> =
            under.considered.iter().map(|(key, skip)| (key.clone(), part(key, *skip))).collect();
        parts.sort_by_key(|(_, part)| matches!(part, Part::Skipped(_)));
        let found: Vec<_> = told.considered().into_iter().map(|each| (each.key, each.part)).collect();
        same(STORY, "what was considered", &found, &parts)?;

        let all = self.model.phases.iter().filter(|step| step.request_id == under.id).count();
        let unknowable = steps.is_empty() && code == Some(FailureCode::ShuttingDown);
        let truncated = told.is_truncated() == (steps.len() < all) || unknowable;
        holds(STORY, truncated, || format!("{} of {all} steps, but: {}", steps.len(), told.is_truncated()))?;
        let nobody = matches!(code, Some(FailureCode::NoCandidates | FailureCode::NoServerOffersTool));
        same(STORY, "whether it says why nobody was asked", &told.reason_for_nobody().is_some(), &nobody)?;
        for (step, told) in steps.iter_mut().zip(&told.steps) {
            step.seq = told.seq;
        }
        same(STORY, "its steps", &told.steps, &steps)
    }

    /// A step of the call, in the journal and in the model.
    fn phase(
        &mut self,
        under: &Under,
        server: &ServerName,
        phase: Phase,
        attempt: Option<u32>,
        failure: Option<Failure>,
    ) {
        let method = under.call.method.clone();
        let event = InvocationEvent::new(self.model.now, server.clone(), method, under.id.clone(), phase);
        let event = InvocationEvent { failure, attempt, ..event };
        self.journal.invocation(event.clone());
        self.model.phases.push(event);
    }
}

/// A message names what failed, in the order in which it failed.
fn named_in_turn(message: &str, code: FailureCode, attempts: &[Attempt]) -> Check {
    let mut rest = message;
    let failures = attempts.iter().filter_map(|attempt| Some((attempt, attempt.failure.as_ref()?)));
    for (attempt, failure) in failures.filter(|_| code != FailureCode::ShuttingDown) {
        let part = format!("{}: {}: {}", attempt.server, attempt.stage.as_str(), failure.text);
        let at = rest.find(&part);
        holds(FAILOVER, at.is_some(), || format!("{message:?} does not name {part:?} in its turn"))?;
        rest = &rest[at.map_or(0, |at| at + part.len())..];
    }
    Ok(())
}
