//! Failover of one call: what counts, what is tried next, how it ends. Source: contract §2.5, §4.2–§4.6.

use std::sync::Arc;
use std::time::Duration;

use mcp_protocol::{ErrorCode, Method, RetrySafety};
use mcp_transport::Delivery;

use crate::category::{ErrorCategory, Failure};
use crate::event::CorrelationId;
use crate::name::ServerName;
use crate::policy::{AmbiguousFailover, Policy, RpcErrorPolicy};
use crate::record::ToolHints;
use crate::routing::{Choice, Selection};

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
    /// Which attempt of a directed call it is, from 1; `None` in a routed call, which tries a server once.
    pub attempt: Option<u32>,
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
    /// Whether the same request may well succeed on the same server a little later (contract §2.4).
    pub transient: bool,
    /// How long the server asked to be left alone.
    pub retry_after: Option<Duration>,
}

impl CallFailure {
    /// A request that was not sent.
    #[must_use]
    pub fn unsent(failure: Failure, transient: bool) -> Self {
        Self { failure, delivery: Delivery::NotSent, rpc_code: None, transient, retry_after: None }
    }
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
    /// Identifies the invocation in the events.
    pub request_id: CorrelationId,
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
    /// What is known of a call: the caller's word (`idempotent`) beats the tool's `hints`, and those permit
    /// something only where the operator trusts the server's annotations (`trusted`); untrusted ones can only
    /// forbid (W44). `hints` is `None` if the tool is not known.
    #[must_use]
    pub fn of(method: &Method, idempotent: Option<bool>, hints: Option<ToolHints>, trusted: bool) -> Self {
        match (method.retry_safety(), idempotent) {
            (RetrySafety::Safe, _) | (_, Some(true)) => return Self::Safe,
            (_, Some(false)) | (RetrySafety::Unsafe, None) => return Self::Unsafe,
            (RetrySafety::ByTool, None) => {}
        }
        let Some(hints) = hints else { return Self::Unknown };
        let harmless = hints.read_only == Some(true) || hints.idempotent == Some(true);
        let harmful = hints.read_only == Some(false)
            && hints.idempotent == Some(false)
            && hints.destructive == Some(true);
        match (harmless, harmful) {
            (true, _) if trusted => Self::Safe,
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
    ambiguous_failover: AmbiguousFailover,
    request_id: CorrelationId,
    method: Method,
    attempts: Vec<Attempt>,
    attempt: Option<u32>,
    callers_fault_only: bool,
    ambiguous_end: bool,
}

impl Plan {
    /// A plan for one call.
    #[must_use]
    pub fn new(policy: Arc<Policy>, request_id: CorrelationId, method: Method) -> Self {
        Self {
            ambiguous_failover: policy.ambiguous_failover,
            policy,
            request_id,
            method,
            attempts: Vec::with_capacity(2),
            attempt: None,
            callers_fault_only: true,
            ambiguous_end: false,
        }
    }

    /// Numbers the attempts that follow: those of a directed call, on one and the same server.
    pub fn number(&mut self, attempt: u32) {
        self.attempt = Some(attempt);
    }

    /// The same under another rule for calls whose outcome is unknown than the policy's.
    #[must_use]
    pub fn with_failover(mut self, rule: AmbiguousFailover) -> Self {
        self.ambiguous_failover = rule;
        self
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
        let go_on = self.ambiguous_failover.allows_another(failure.delivery, safety);
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
    pub fn exhausted(self, choice: &Choice) -> InvocationError {
        if self.attempts.is_empty() {
            let (code, message) = nobody(choice);
            let Self { request_id, method, attempts, .. } = self;
            return InvocationError { request_id, message, method, code, attempts };
        }
        let code = match () {
            () if self.ambiguous_end => FailureCode::AmbiguousNotRetried,
            () if self.callers_fault_only => FailureCode::CallerError,
            () => FailureCode::AllCandidatesFailed,
        };
        self.end(code)
    }

    /// The error of a directed call to a disabled server.
    #[must_use]
    pub fn refused_as_disabled(self, server: &ServerName) -> InvocationError {
        InvocationError { message: disabled(server.as_str()), ..self.end(FailureCode::NoCandidates) }
    }

    /// The error of an invocation that ended for another reason.
    #[must_use]
    pub fn end(self, code: FailureCode) -> InvocationError {
        let message = self.message(code);
        let Self { request_id, method, attempts, .. } = self;
        InvocationError { request_id, message, method, code, attempts }
    }

    fn message(&self, code: FailureCode) -> String {
        let lead = match code {
            FailureCode::AllCandidatesFailed if self.attempt.is_some() => "the call failed",
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
        // The handshake comes before the first attempt and is not repeated as a stage.
        let attempt = self.attempt.filter(|_| stage == Stage::Invoke);
        self.attempts.push(Attempt { server: server.clone(), stage, failure, delivery, duration, attempt });
    }
}

/// Why a directed call was not even tried.
pub(crate) fn disabled(server: &str) -> String {
    format!("the server {server:?} is disabled")
}

/// Why there was no candidate at all.
pub(crate) fn nobody(choice: &Choice) -> (FailureCode, String) {
    let Selection { preferred, preferred_only, group, tool } = &*choice.selection;
    if let Some(tool) = tool.as_ref().filter(|_| choice.tool_is_offered_nowhere()) {
        return (
            FailureCode::NoServerOffersTool,
            format!("no server that could be asked offers the tool {tool:?}"),
        );
    }
    let message = match choice.first_retry() {
        Some((first, at)) => format!(
            "no server is reachable: every one that could serve failed lately; the next retry is {} in {:.1?}",
            first.name(),
            at.since(choice.at)
        ),
        None => {
            let group = group.as_ref().map(|group| format!(" in the group {group:?}")).unwrap_or_default();
            let only = if *preferred_only { format!(" among {preferred:?}") } else { String::new() };
            format!("no server is reachable: none is registered and enabled{group}{only}")
        }
    };
    (FailureCode::NoCandidates, message)
}
