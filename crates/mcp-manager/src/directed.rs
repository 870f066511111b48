//! Directed calls: a tool of one named server, tried again there. Source: contract §2.4, §8.4.

use std::time::Duration;

use futures::FutureExt;
use mcp_protocol::tool::CallToolParams;
use mcp_protocol::{JsonKind, Method, RawJson};
use mcp_registry::{CallRetry, FailureCode, InvocationError, Plan, Selection, ServerRecord, Status};

use crate::call::Invocation;
use crate::manager::{Manager, UnknownServer};
use crate::run::{Fault, Request, Run, Target};
use crate::user::UserContext;

/// A call of one tool on one server.
#[derive(Debug, Clone)]
pub struct DirectedCall {
    /// The server.
    pub server: String,
    /// Its tool.
    pub tool: String,
    /// The arguments: a JSON object.
    pub arguments: RawJson,
    /// What the caller says about repeating the call; `None`: nothing.
    pub idempotent: Option<bool>,
    /// Limit of one attempt; `None`: the server's.
    pub timeout: Option<Duration>,
    /// On whose behalf. The token goes to the server named, whatever its `forward_user_token`.
    pub user: UserContext,
}

impl DirectedCall {
    /// A call without arguments, with nothing said about repeating it.
    #[must_use]
    pub fn new(server: impl Into<String>, tool: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            tool: tool.into(),
            arguments: RawJson::empty_object(),
            idempotent: None,
            timeout: None,
            user: UserContext::default(),
        }
    }
}

/// Why a directed call brought no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectedError {
    /// There is no such server. Nothing was sent.
    #[error(transparent)]
    UnknownServer(#[from] UnknownServer),
    /// The server is known not to offer the tool. Nothing was sent.
    #[error("the server {server:?} offers no tool named {requested:?}")]
    UnknownTool {
        /// The server.
        server: String,
        /// What was asked for.
        requested: String,
        /// What it offers, sorted.
        available: Vec<String>,
    },
    /// The arguments are no JSON object, or too large with the rest of the request. Nothing was sent.
    #[error("the arguments cannot be sent: {reason}")]
    InvalidArguments {
        /// What is wrong with them.
        reason: String,
    },
    /// It was tried, or could not be.
    #[error(transparent)]
    Failed(#[from] InvocationError),
}

impl Manager {
    /// Calls a tool of one server: no failover, but further attempts on the same server where contract §2.4
    /// and §2.5 allow them. The server's retry window does not stand in the way. One check result is
    /// recorded, from the final outcome.
    ///
    /// # Errors
    /// [`DirectedError`].
    pub async fn call_tool_on_server(&self, call: DirectedCall) -> Result<Invocation, DirectedError> {
        let DirectedCall { server, tool, arguments, idempotent, timeout, user } = call;
        let record = self.server(&server)?;
        if let Some(tools) = record.tools.as_ref().filter(|tools| !tools.contains_key(&*tool)) {
            let available = tools.keys().map(ToString::to_string).collect();
            return Err(DirectedError::UnknownTool { server, requested: tool, available });
        }
        let params = params(&tool, arguments)?;
        let request = Request {
            method: Method::ToolsCall,
            params: Some(params),
            idempotent,
            timeout,
            user,
            directed: true,
            bridged: None,
        };
        let selection =
            Selection { preferred: vec![server], preferred_only: true, group: None, tool: Some(tool.into()) };
        let (run, plan) = Run::begin(&self.0, request, selection)?;
        let outcome = run.insist(plan, &record).await;
        Ok(run.end(outcome)?)
    }
}

fn params(tool: &str, arguments: RawJson) -> Result<RawJson, DirectedError> {
    let invalid = |reason: String| DirectedError::InvalidArguments { reason };
    if arguments.kind() != JsonKind::Object {
        return Err(invalid("they must be a JSON object".into()));
    }
    let mut params = CallToolParams::new(tool);
    params.arguments = Some(arguments);
    RawJson::encode(&params).map_err(|error| invalid(error.to_string()))
}

impl Run<'_> {
    /// Attempt after attempt on one server.
    async fn insist(&self, mut plan: Plan, server: &ServerRecord) -> Result<Invocation, InvocationError> {
        let name = server.name();
        if !server.definition.enabled {
            return Err(plan.refused_as_disabled(name));
        }
        if server.status != Status::Healthy {
            tracing::warn!(server = %name, status = server.status.as_str(), "calling a server that is not healthy");
        }
        let mut now = self.started();
        let Some(mut target) = self.make_ready(server, &mut plan, &mut now).await else {
            let code = self.interrupted(now).unwrap_or(FailureCode::AllCandidatesFailed);
            return Err(plan.end(code));
        };
        let retry = CallRetry::of(&self.inner.policy, &target.link.definition());
        for attempt in 1.. {
            if let Some(code) = self.interrupted(now) {
                return Err(plan.end(code));
            }
            plan.number(attempt);
            let (failed, duration) = match self.attempt(&mut target, Some(attempt), &mut now).await {
                Ok((answer, duration)) => {
                    plan.succeeded(name, duration);
                    self.note_success(&target, now);
                    return Ok(self.served(&target, answer, plan));
                }
                Err(failed) => failed,
            };
            let safety = self.safety(&target, &failed).await;
            now = self.inner.now();
            let verdict = plan.failed(name, failed.failure.clone(), safety, duration);
            if matches!(failed.fault, Fault::Deadline { .. }) {
                self.settle(&target, failed, verdict);
                return Err(plan.end(FailureCode::DeadlineExceeded));
            }
            let wait = retry.wait(attempt, &failed.failure).filter(|_| verdict.go_on);
            let at = now + wait.unwrap_or_default();
            // A wait to the end of the call's time would leave none for the attempt.
            let Some(wait) = wait.filter(|_| at < self.deadline) else {
                self.settle(&target, failed, verdict);
                break;
            };
            self.count(&target, &failed, verdict);
            let tool = self.choice().selection.tool.as_deref();
            tracing::warn!(server = %name, tool, attempt, ?wait, category = %failed.failure.failure.category,
                request_id = %self.request_id(), "trying again");
            self.pause(at).await;
            now = self.inner.now();
        }
        Err(plan.exhausted(self.choice()))
    }

    /// An attempt failed that is not the last: it counts, but it is no check result.
    fn count(&self, target: &Target, failed: &crate::run::Failed, verdict: mcp_registry::Verdict) {
        if verdict.blame_server
            && !matches!(failed.fault, Fault::Nobody | Fault::Patience | Fault::Deadline { .. })
        {
            self.inner.record(|registry, _| registry.attempt_failed(&target.link.key));
        }
    }

    /// Waits until `at`, or until calls are cut short.
    async fn pause(&self, at: mcp_registry::Timestamp) {
        futures::select_biased! {
            () = self.inner.timer.sleep_until(at).fuse() => {}
            () = self.inner.cut.cancelled().fuse() => {}
        }
    }
}
