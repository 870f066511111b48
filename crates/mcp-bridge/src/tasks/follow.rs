//! Following a task of a server to its end.

use std::collections::HashSet;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use mcp_client::ServerRequest;
use mcp_manager::{Refusal, Relayed};
use mcp_protocol::ProtocolVersion::V2026_07_28;
use mcp_protocol::result::Retry;
use mcp_protocol::task::{ExtensionTask, TaskStatus};
use mcp_protocol::{ErrorCode, Method, RawJson, RpcError};
use mcp_registry::{FailureCode, InvocationError};
use tokio::runtime::Handle as Runtime;

use super::Handle;
use super::drive::Drive;
use crate::convert::capabilities::{missing, needed_for};

/// Shortest and longest time between two looks at a task, and the one for servers that say none.
const LOOKS: (Duration, Duration, Duration) =
    (Duration::from_millis(50), Duration::from_secs(3600), Duration::from_secs(1));
/// Most looks in a row that come to nothing before a task counts as lost.
const MAX_MISSED: u32 = 10;
/// The first time and the longest until the next look then: about three minutes in all.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Most questions of one task.
const MAX_QUESTIONS: usize = 256;

/// A task that its server is told to give up if nobody waits for its end any more.
pub(super) struct Running<'a> {
    drive: &'a Drive,
    task: &'a Handle,
    ended: bool,
}

impl<'a> Running<'a> {
    pub(super) fn new(drive: &'a Drive, task: &'a Handle) -> Self {
        Self { drive, task, ended: false }
    }

    /// It has ended.
    pub(super) fn end(mut self) {
        self.ended = true;
    }

    /// Looks at a task until it has ended, and has its questions answered: what the call would have been answered with.
    pub(super) async fn follow(mut self) -> Result<Relayed, InvocationError> {
        let (drive, task) = (self.drive, self.task);
        let (mut wait, mut missed) = (LOOKS.2, 0);
        let mut known = HashSet::new();
        let mut asking = FuturesUnordered::new();
        loop {
            let mut relayed = match drive.ask(task, Method::TasksGet, None).await {
                Ok(relayed) => relayed,
                // It may go on all the same: servers come back.
                Err(error) => {
                    missed += 1;
                    if missed > MAX_MISSED
                        || drive.left().is_zero()
                        || error.code == FailureCode::ShuttingDown
                    {
                        return Err(error);
                    }
                    let pause = (PAUSES.0 * 2_u32.pow(missed - 1)).clamp(wait.min(PAUSES.1), PAUSES.1);
                    tokio::time::sleep(pause.min(drive.left())).await;
                    continue;
                }
            };
            missed = 0;
            let Ok(answer) = &mut relayed.outcome else {
                self.ended = true;
                return Ok(relayed);
            };
            let state: ExtensionTask = match answer.result.to() {
                Ok(state) => state,
                Err(error) => {
                    let text = format!("the state of the task cannot be read: {error}");
                    return Ok(refused(relayed, RpcError::new(ErrorCode::INTERNAL_ERROR, &text)));
                }
            };
            let wanted = state.poll_interval_ms.as_ref().and_then(|ms| u64::try_from(ms.as_i64()?).ok());
            wait = wanted.map_or(LOOKS.2, Duration::from_millis).clamp(LOOKS.0, LOOKS.1);
            if let Some(job) = &drive.job {
                job.heard(&state, wait);
            }
            self.ended = state.status.is_final();
            match state.status {
                TaskStatus::Completed => {
                    let result = state.result.unwrap_or_else(RawJson::empty_object);
                    return match answer.replace_result(result) {
                        Ok(()) => Ok(relayed),
                        Err(error) => {
                            let text = format!("the result of the task cannot be read: {error}");
                            Ok(refused(relayed, RpcError::new(ErrorCode::INTERNAL_ERROR, &text)))
                        }
                    };
                }
                TaskStatus::Failed => {
                    let error = state.error.as_ref().and_then(read_error);
                    let unknown = || RpcError::new(ErrorCode::INTERNAL_ERROR, "the task failed");
                    return Ok(refused(relayed, error.unwrap_or_else(unknown)));
                }
                TaskStatus::Cancelled => {
                    let error = RpcError::new(ErrorCode::INTERNAL_ERROR, "the task was cancelled");
                    return Ok(refused(relayed, error));
                }
                TaskStatus::InputRequired => {
                    let questions = state.input_requests.unwrap_or_else(RawJson::empty_object);
                    for (key, question) in questions.members().unwrap_or_default().texts() {
                        if known.contains(key) {
                            continue;
                        }
                        if known.len() >= MAX_QUESTIONS {
                            let text = format!("the task asked more than {MAX_QUESTIONS} questions");
                            return Ok(refused(relayed, RpcError::new(ErrorCode::INTERNAL_ERROR, &text)));
                        }
                        known.insert(Box::from(key));
                        asking.push(drive.put(key, question));
                    }
                }
                // What it has asked it does not want to know any more.
                _ => asking.clear(),
            }
            // Nothing is asked any more once the time is up, and what was asked last says so.
            let next_look = tokio::time::sleep(wait.min(drive.left()));
            tokio::pin!(next_look);
            loop {
                let (key, answer) = tokio::select! {
                    biased;
                    Some(answered) = asking.next() => answered,
                    () = &mut next_look => break,
                };
                let refused = match answer {
                    Ok(answer) => drive.tell(task, key, answer).await?,
                    Err(refusal) => Some(refusal),
                };
                if let Some(refusal) = refused {
                    return Ok(Relayed { outcome: Err(refusal), ..relayed });
                }
            }
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let is_known = || self.drive.job.as_ref().is_some_and(|job| job.is_taken_back());
        let Some(runtime) = Runtime::try_current().ok().filter(|_| !self.ended && !is_known()) else {
            return;
        };
        let cancel = self.drive.farewell(self.task);
        let manager = self.drive.manager.clone();
        runtime.spawn(async move {
            if let Err(error) = manager.relay(cancel).await {
                tracing::debug!(%error, "a task that nobody waits for could not be cancelled");
            }
        });
    }
}

impl Drive {
    /// Puts a question of a task to the client.
    fn put(&self, key: &str, question: &str) -> BoxFuture<'_, (Box<str>, Result<RawJson, Refusal>)> {
        let key = Box::<str>::from(key);
        let question: RawJson = serde_json::from_str(question).unwrap_or_else(|_| RawJson::empty_object());
        let method: Option<Box<str>> = question.get("method").and_then(|method| method.to().ok());
        let method = Method::from(method.as_deref().unwrap_or_default());
        let params = question.get("params");
        let party = self.relay.party.as_ref();
        let declared = party.map(|party| party.capabilities(V2026_07_28)).unwrap_or_default();
        let may_be_asked = missing(&needed_for(&method, params.as_ref()), &declared).is_none();
        async move {
            let answer = match self.relay.asker.as_ref().filter(|_| may_be_asked) {
                Some(asker) => {
                    asker.handler.handle(ServerRequest::new(method.clone(), params, V2026_07_28)).await
                }
                None => Err(RpcError::new(ErrorCode::METHOD_NOT_FOUND, "the client has not declared this")),
            };
            (key, answer.map_err(|error| Refusal::Unanswered { method, error }))
        }
        .boxed()
    }

    /// Tells the server an answer. What it refuses ends the call.
    async fn tell(
        &self,
        task: &Handle,
        key: Box<str>,
        answer: RawJson,
    ) -> Result<Option<Refusal>, InvocationError> {
        let stamped = Retry { responses: vec![(key, answer)], state: None }.stamp(None);
        let told = self.ask(task, Method::TasksUpdate, stamped.ok()).await?;
        Ok(told.outcome.err())
    }
}

/// The error that a task ended with.
fn read_error(raw: &RawJson) -> Option<RpcError> {
    let code = ErrorCode(raw.get("code")?.to().ok()?);
    let message: Box<str> = raw.get("message")?.to().ok()?;
    Some(match raw.get("data") {
        Some(data) => RpcError::with_data(code, &message, &data),
        None => RpcError::new(code, &message),
    })
}

fn refused(relayed: Relayed, error: RpcError) -> Relayed {
    Relayed { outcome: Err(Refusal::Rpc(error)), ..relayed }
}
