//! Failover of one call: what counts, what is tried next, how it ends. Source: contract §2.5, §4.2–§4.6.

use std::sync::Arc;
use std::time::Duration;

use mcp_protocol::{ErrorCode, Method, RetrySafety};
use mcp_transport::Delivery;

use crate::category::{ErrorCategory, Failure};
use crate::name::ServerName;
use crate::policy::{AmbiguousFailover, Policy, RpcErrorPolicy};
use crate::record::ServerRecord;
use crate::routing::{Candidates, Selection};

/// The part of an attempt that an entry of the trace is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Making sure a handshake is in force.
    Initialize,
    /// The call itself.
    Invoke,
}

impl Stage {
    /// The stable spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::Invoke => "invoke",
        }
    }
}

/// One entry of the trace (contract §4.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// On which server.
    pub server: ServerName,
    /// Which stage.
    pub stage: Stage,
    /// What went wrong; `None` on success.
    pub failure: Option<Failure>,
    /// How far a failed call got.
    pub delivery: Option<Delivery>,
    /// How long it took.
    pub duration: Duration,
}

/// A failed call, with what decides over the next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFailure {
    /// Class and text.
    pub failure: Failure,
    /// How far the call got.
    pub delivery: Delivery,
    /// The code of a JSON-RPC error.
    pub rpc_code: Option<ErrorCode>,
}

/// How a failed invocation ended (contract §4.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureCode {
    /// No server could be tried.
    NoCandidates,
    /// Servers are there, but all are known to lack the tool.
    NoServerOffersTool,
    /// Every candidate failed.
    AllCandidatesFailed,
    /// The last failure may have had effects, so nothing more was tried.
    AmbiguousNotRetried,
    /// Every failure was the caller's fault.
    CallerError,
    /// The overall deadline passed.
    DeadlineExceeded,
    /// The gateway is shutting down.
    ShuttingDown,
}

impl FailureCode {
    /// The stable spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCandidates => "no_candidates",
            Self::NoServerOffersTool => "no_server_offers_tool",
            Self::AllCandidatesFailed => "all_candidates_failed",
            Self::AmbiguousNotRetried => "ambiguous_not_retried",
            Self::CallerError => "caller_error",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::ShuttingDown => "shutting_down",
        }
    }
}

/// A failed invocation: what a caller gets (contract §4.6).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvocationError {
    /// For people.
    pub message: String,
    /// The requested method.
    pub method: Method,
    /// How it ended.
    pub code: FailureCode,
    /// What was tried, in order.
    pub attempts: Vec<Attempt>,
}

/// Whether a call may be repeated after an ambiguous failure (contract §2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallSafety {
    /// It may.
    Safe,
    /// Nobody said.
    Unknown,
    /// It may not.
    Unsafe,
}

impl CallSafety {
    /// What is known of a call on a server: the caller's word beats the tool's hints, and hints permit
    /// something only where the operator trusts them; untrusted ones can only forbid (W44).
    #[must_use]
    pub fn of(method: &Method, idempotent: Option<bool>, tool: Option<&str>, server: &ServerRecord) -> Self {
        match (method.retry_safety(), idempotent) {
            (RetrySafety::Safe, _) | (_, Some(true)) => return Self::Safe,
            (_, Some(false)) | (RetrySafety::Unsafe, None) => return Self::Unsafe,
            (RetrySafety::ByTool, None) => {}
        }
        let known = server.tools.as_ref().zip(tool).and_then(|(tools, tool)| tools.get(tool));
        let Some(hints) = known.map(|tool| tool.hints) else { return Self::Unknown };
        let harmless = hints.read_only == Some(true) || hints.idempotent == Some(true);
        let harmful = hints.read_only == Some(false)
            && hints.idempotent == Some(false)
            && hints.destructive == Some(true);
        match (harmless, harmful) {
            (true, _) if server.definition.trust_annotations => Self::Safe,
            (_, true) => Self::Unsafe,
            _ => Self::Unknown,
        }
    }
}

/// What follows from a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the failure is recorded against the server.
    pub blame_server: bool,
    /// Whether the next candidate may be tried.
    pub go_on: bool,
}

/// The trace of one invocation and the decisions it leads to. Pure: outcomes go in, verdicts come out.
#[derive(Debug)]
pub struct Plan {
    policy: Arc<Policy>,
    method: Method,
    attempts: Vec<Attempt>,
    callers_fault_only: bool,
    ambiguous_end: bool,
}

impl Plan {
    /// A plan for one call.
    #[must_use]
    pub fn new(policy: Arc<Policy>, method: Method) -> Self {
        Self {
            policy,
            method,
            attempts: Vec::with_capacity(2),
            callers_fault_only: true,
            ambiguous_end: false,
        }
    }

    /// A handshake is in force on the candidate.
    pub fn initialized(&mut self, server: &ServerName, duration: Duration) {
        self.push(server, Stage::Initialize, None, None, duration);
    }

    /// The candidate could not be made ready; the next one may be tried.
    pub fn not_initialized(&mut self, server: &ServerName, failure: Failure, duration: Duration) {
        self.callers_fault_only = false;
        self.push(server, Stage::Initialize, Some(failure), Some(Delivery::NotSent), duration);
    }

    /// The candidate answered the call.
    pub fn succeeded(&mut self, server: &ServerName, duration: Duration) {
        self.push(server, Stage::Invoke, None, None, duration);
    }

    /// The candidate failed the call.
    #[must_use]
    pub fn failed(
        &mut self,
        server: &ServerName,
        failure: CallFailure,
        safety: CallSafety,
        duration: Duration,
    ) -> Verdict {
        let callers_fault = self.policy.rpc_error_policy == RpcErrorPolicy::Classify
            && failure.failure.category == ErrorCategory::RpcError
            && failure.rpc_code.is_some_and(ErrorCode::is_callers_fault);
        let go_on = failure.delivery != Delivery::Unknown
            || match self.policy.ambiguous_failover {
                AmbiguousFailover::Always => true,
                AmbiguousFailover::UnlessUnsafe => safety != CallSafety::Unsafe,
                AmbiguousFailover::SafeOnly => safety == CallSafety::Safe,
            };
        self.callers_fault_only &= callers_fault;
        self.ambiguous_end |= !go_on;
        self.push(server, Stage::Invoke, Some(failure.failure), Some(failure.delivery), duration);
        Verdict { blame_server: !callers_fault, go_on }
    }

    /// The trace of a successful invocation.
    #[must_use]
    pub fn into_attempts(self) -> Vec<Attempt> {
        self.attempts
    }

    /// The error of an invocation that ran out of candidates or was stopped by a verdict.
    #[must_use]
    pub fn exhausted(self, candidates: &Candidates) -> InvocationError {
        if self.attempts.is_empty() {
            let (code, message) = nobody(candidates);
            return InvocationError { message, method: self.method, code, attempts: Vec::new() };
        }
        let code = match () {
            () if self.ambiguous_end => FailureCode::AmbiguousNotRetried,
            () if self.callers_fault_only => FailureCode::CallerError,
            () => FailureCode::AllCandidatesFailed,
        };
        self.end(code)
    }

    /// The error of an invocation that ended for another reason.
    #[must_use]
    pub fn end(self, code: FailureCode) -> InvocationError {
        let message = self.message(code);
        InvocationError { message, method: self.method, code, attempts: self.attempts }
    }

    fn message(&self, code: FailureCode) -> String {
        let lead = match code {
            FailureCode::NoCandidates => "no server is reachable",
            FailureCode::NoServerOffersTool => "no server offers the tool",
            FailureCode::ShuttingDown => return "the gateway is shutting down".into(),
            FailureCode::AllCandidatesFailed => "all candidates failed",
            FailureCode::AmbiguousNotRetried => "not retried, since the call may have been executed",
            FailureCode::CallerError => "every server refused the call",
            FailureCode::DeadlineExceeded => "the deadline of the call passed",
        };
        let failed: Vec<String> = self
            .attempts
            .iter()
            .filter_map(|attempt| {
                let failure = attempt.failure.as_ref()?;
                Some(format!("{}: {}: {}", attempt.server, attempt.stage.as_str(), failure.text))
            })
            .collect();
        if failed.is_empty() { lead.into() } else { format!("{lead}: {}", failed.join("; ")) }
    }

    fn push(
        &mut self,
        server: &ServerName,
        stage: Stage,
        failure: Option<Failure>,
        delivery: Option<Delivery>,
        duration: Duration,
    ) {
        self.attempts.push(Attempt { server: server.clone(), stage, failure, delivery, duration });
    }
}

/// Why there was no candidate at all.
fn nobody(candidates: &Candidates) -> (FailureCode, String) {
    let Selection { preferred, preferred_only, group, tool } = candidates.selection();
    if let Some(tool) = tool.as_ref().filter(|_| candidates.tool_is_offered_nowhere()) {
        return (
            FailureCode::NoServerOffersTool,
            format!("no server that could be asked offers the tool {tool:?}"),
        );
    }
    let message = match candidates.first_retry() {
        Some((first, at)) => format!(
            "no server is reachable: every one that could serve failed lately; the next retry is {} in {:.1?}",
            first.name(),
            at.since(candidates.chosen_at())
        ),
        None => {
            let group = group.as_ref().map(|group| format!(" in the group {group:?}")).unwrap_or_default();
            let only = if *preferred_only { format!(" among {preferred:?}") } else { String::new() };
            format!("no server is reachable: none is registered and enabled{group}{only}")
        }
    };
    (FailureCode::NoCandidates, message)
}
