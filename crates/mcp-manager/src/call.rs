//! Routed calls, and failover over candidates for them and for relayed ones, with the trace of what was tried.
//! Source: contract §4.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mcp_client::Answer;
use mcp_protocol::{Method, RawJson};
use mcp_registry::{
    Attempt, CallSafety, Candidates, CorrelationId, FailureCode, InvocationError, Plan, Selection,
    ServerName, Verdict,
};
use uuid::Uuid;

use crate::manager::Manager;
use crate::relay::Refusal;
use crate::run::{Fault, Request, Run, Target};
use crate::user::UserContext;

/// One request to whichever server can serve it.
#[derive(Debug, Clone)]
pub struct RoutedCall {
    /// `tools/call`, `resources/read`, …
    pub method: Method,
    /// Its `params`, the same for every candidate but for what `_meta` says of the sender.
    pub params: RawJson,
    /// Which servers, and in which order.
    pub selection: Selection,
    /// What the caller says about repeating the call; `None`: nothing.
    pub idempotent: Option<bool>,
    /// Limit of one attempt; `None`: the server's.
    pub timeout: Option<Duration>,
    /// On whose behalf. The token goes only to servers with `forward_user_token` (contract §8.5).
    pub user: UserContext,
}

impl RoutedCall {
    /// A call to any server, with nothing said about repeating it.
    #[must_use]
    pub fn new(method: Method, params: RawJson) -> Self {
        Self {
            method,
            params,
            selection: Selection::default(),
            idempotent: None,
            timeout: None,
            user: UserContext::default(),
        }
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

impl Manager {
    /// Calls the first candidate that can serve, moving on where contract §2.5 allows it.
    ///
    /// # Errors
    /// [`InvocationError`] with the trace of every attempt.
    pub async fn call(&self, call: RoutedCall) -> Result<Invocation, InvocationError> {
        let RoutedCall { method, params, selection, idempotent, timeout, user } = call;
        let request = Request {
            method,
            params: Some(params),
            idempotent,
            timeout,
            user,
            directed: false,
            bridged: None,
        };
        let (run, plan) = Run::begin(&self.0, request, selection)?;
        let shape = |target: &Target, said, plan: Plan| match said {
            Ok(answer) => Ok(run.served(target, answer, plan)),
            // Refusals are those of relayed requests.
            Err(_) => Err(plan.exhausted(run.choice())),
        };
        let outcome = run.fail_over(plan, shape).await;
        run.end(outcome)
    }
}

impl Run<'_> {
    /// Tries one candidate after the other, until one answers. `said` puts what it said into shape; a refusal is an
    /// answer to requests that are passed on, and to them alone.
    #[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice")]
    pub(crate) fn fail_over<T>(
        &self,
        mut plan: Plan,
        said: impl FnOnce(&Target, Result<Answer, Refusal>, Plan) -> Result<T, InvocationError> + Send,
    ) -> impl Future<Output = Result<T, InvocationError>> + Send {
        async move {
            let mut now = self.started();
            for candidate in Candidates::of(self.choice().clone()) {
                if let Some(code) = self.interrupted(now) {
                    return Err(plan.end(code));
                }
                let Some(mut target) = self.make_ready(&candidate, &mut plan, &mut now).await else {
                    continue;
                };
                if let Some(code) = self.interrupted(now) {
                    return Err(plan.end(code));
                }
                let name = target.link.key.name.clone();
                let (mut failed, duration) = match self.attempt(&mut target, None, &mut now).await {
                    Ok((answer, duration)) => {
                        plan.succeeded(&name, duration);
                        self.note_success(&target, now);
                        return said(&target, Ok(answer), plan);
                    }
                    Err(failed) => failed,
                };
                if let Some(refusal) = failed.refusal.take() {
                    // Nobody's failure: the trace tells of it all the same.
                    let verdict = plan.failed(&name, failed.failure.clone(), CallSafety::Unsafe, duration);
                    self.settle(&target, failed, Verdict { blame_server: false, ..verdict });
                    return said(&target, Err(refusal), plan);
                }
                // In a box, so that calls need no room for it.
                let safety = Box::pin(self.safety(&target, &failed)).await;
                now = self.inner.now();
                let verdict = plan.failed(&name, failed.failure.clone(), safety, duration);
                let out_of_time = matches!(failed.fault, Fault::Deadline { .. });
                self.settle(&target, failed, verdict);
                if out_of_time {
                    return Err(plan.end(FailureCode::DeadlineExceeded));
                }
                if !verdict.go_on {
                    break;
                }
            }
            match self.interrupted(now) {
                Some(code) => Err(plan.end(code)),
                None => Err(plan.exhausted(self.choice())),
            }
        }
    }
}

/// The name of a request in events, traces and headers: a UUID v4 (contract §0.2).
pub(crate) fn new_request_id(random: &dyn mcp_registry::Random) -> CorrelationId {
    let bits = (u128::from(random.u64()) << 64) | u128::from(random.u64());
    let id = uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid();
    Arc::from(&*id.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
}
