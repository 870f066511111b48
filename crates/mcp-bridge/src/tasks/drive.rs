//! Tasks driven to their end inside of a call, for clients that know none. Source: bridging §8.1 to §8.3.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use mcp_client::{Asker, RequestHandler, ServerRequest};
use mcp_manager::{Manager, Party, Refusal, Relay, Relayed};
use mcp_protocol::ProtocolVersion::{self, V2025_11_25, V2026_07_28};
use mcp_protocol::capability::ClientCapabilities;
use mcp_protocol::result::{ResultType, Retry};
use mcp_protocol::task::{EXTENSION, ExtensionTask, TaskStatus};
use mcp_protocol::{Era, ErrorCode, Method, RawJson, RpcError, meta};
use mcp_registry::{FailureCode, InvocationError, ServerRecord, Timestamp};
use tokio::runtime::Handle as Runtime;

use super::Handle;
use super::job::Job;
use crate::bridge::Inner;
use crate::client::{Turn, object};
use crate::convert::capabilities::{missing, needed_for};
use crate::route::{Target, only};

/// Shortest and longest time between two looks at a task, and the one for servers that say none.
const LOOKS: (Duration, Duration, Duration) =
    (Duration::from_millis(50), Duration::from_secs(3600), Duration::from_secs(1));
/// Time for a server to take note that nobody wants a task any more.
const FAREWELL: Duration = Duration::from_secs(10);

/// Most looks in a row that come to nothing before a task counts as lost.
const MAX_MISSED: u32 = 10;
/// The first time and the longest until the next look then: about three minutes in all.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Most questions of one task.
const MAX_QUESTIONS: usize = 256;

/// How a call may turn into a task that its client must not see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A server of 2025-11-25 may run the tool as a task, and the client may follow it.
    Hosted,
    /// A server of 2025-11-25 runs the tool as a task only.
    Required,
    /// A stateless server may refuse whoever knows no tasks.
    Insisted,
}

impl Way {
    fn of(turn: &Turn, target: &Target) -> Option<Self> {
        if turn.method != Method::ToolsCall {
            return None;
        }
        let supports = |wanted: &[&str]| {
            let execution = target.tool.as_ref().filter(|tool| tool.as_str().contains("\"taskSupport\""));
            let support = execution.and_then(|tool| tool.get("execution")?.get("taskSupport"));
            support.is_some_and(|support| wanted.contains(&support.as_str()))
        };
        match target.owner.version? {
            V2025_11_25
                if super::declared(&turn.client.capabilities)
                    && turn.client.version == V2026_07_28
                    && supports(&[r#""required""#, r#""optional""#]) =>
            {
                Some(Self::Hosted)
            }
            V2025_11_25 if turn.client.version != V2025_11_25 && supports(&[r#""required""#]) => {
                Some(Self::Required)
            }
            V2026_07_28 if turn.client.version.era() == Era::Handshake => Some(Self::Insisted),
            _ => None,
        }
    }
}

impl Inner {
    /// Passes a request on. If it has to run as a task and the client knows none, waits for the end of that.
    pub(crate) fn carry(
        &self,
        turn: &Turn,
        target: &Target,
        relay: Relay,
    ) -> impl Future<Output = Result<Relayed, InvocationError>> + Send + use<> {
        let (manager, way) = (self.manager.clone(), Way::of(turn, target));
        async move {
            let Some(way) = way else { return manager.relay(relay).await };
            let drive = Drive::new(manager, relay);
            match way {
                // In boxes, so that calls that become no tasks need no room for them.
                Way::Hosted => Box::pin(drive.begin()).await,
                Way::Required => Box::pin(drive.require()).await,
                Way::Insisted => Box::pin(drive.declare()).await,
            }
        }
    }
}

/// One call, and when it has to be over.
pub(super) struct Drive {
    manager: Manager,
    relay: Relay,
    deadline: Timestamp,
    /// What is to know how the call gets on.
    job: Option<Arc<Job>>,
}

impl Drive {
    fn new(manager: Manager, relay: Relay) -> Self {
        let deadline = manager.now() + relay.total;
        Self { manager, relay, deadline, job: None }
    }

    pub(super) fn of_job(manager: Manager, relay: Relay, job: Arc<Job>) -> Self {
        Self { job: Some(job), ..Self::new(manager, relay) }
    }

    /// Has the tool run as a task of 2025-11-25.
    async fn begin(&self) -> Result<Relayed, InvocationError> {
        // It is kept for as long as somebody may wait for it.
        let ttl = u64::try_from(self.relay.total.as_millis()).unwrap_or(u64::MAX);
        let wish = object([("ttl", RawJson::encode(&ttl).unwrap_or_else(|_| RawJson::empty_object()))]);
        let wished = |params: &RawJson| {
            let mut members = params.members().ok()?;
            members.set_json("task", wish);
            Some(members.encode())
        };
        let mut relay = self.relay.clone();
        relay.params = self.relay.params.as_ref().and_then(wished).or(relay.params);
        self.manager.relay(relay).await
    }

    /// The same, and waits for its result.
    async fn require(mut self) -> Result<Relayed, InvocationError> {
        let relayed = self.begin().await?;
        let task = relayed.outcome.as_ref().ok().and_then(|answer| answer.result.get("task"));
        // It may have been done at once, after all.
        let Some(task) = task.and_then(|task| Handle::of(relayed.server.as_str(), &task)) else {
            return Ok(relayed);
        };
        self.relay.asker = self.relay.asker.map(|asker| Asker { task: Some(task.id.clone()), ..asker });
        let running = Running { drive: &self, task: &task, ended: false };
        let mut relayed = running.drive.ask(&task, Method::TasksResult, None).await?;
        running.end();
        if let Ok(answer) = &mut relayed.outcome
            && let Ok(result) = meta::strip(&answer.result, &[meta::RELATED_TASK])
        {
            answer.result = result;
        }
        Ok(relayed)
    }

    /// Calls the tool as the client would; if its server insists on tasks, once more as somebody who knows them.
    async fn declare(mut self) -> Result<Relayed, InvocationError> {
        let relayed = self.manager.relay(self.relay.clone()).await?;
        let insists = match &relayed.outcome {
            Err(Refusal::Rpc(error)) => {
                error.code() == Some(ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY)
                    && error.required_capabilities().is_some_and(|needed| super::declared(&needed))
            }
            _ => false,
        };
        if !insists {
            return Ok(relayed);
        }
        self.relay.selection = only(relayed.server.as_str());
        self.know().await
    }

    /// Calls the tool as somebody who knows tasks; if it becomes one, waits for its end.
    pub(super) async fn know(mut self) -> Result<Relayed, InvocationError> {
        self.relay.party = self.relay.party.map(|party| Arc::new(Knowing(party)) as Arc<dyn Party>);
        let relayed = self.manager.relay(self.relay.clone()).await?;
        let is_task =
            |result: &RawJson| result.get("resultType").is_some_and(|kind| kind.to() == Ok(ResultType::Task));
        let task = relayed.outcome.as_ref().ok().filter(|answer| is_task(&answer.result));
        let Some(task) = task.and_then(|answer| Handle::of(relayed.server.as_str(), &answer.result)) else {
            return Ok(relayed);
        };
        let running = Running { drive: &self, task: &task, ended: false };
        if let Some(job) = &self.job {
            job.begun(self.farewell(&task));
        }
        running.follow().await
    }

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

    /// What tells the server that nobody waits for the task any more.
    fn farewell(&self, task: &Handle) -> Relay {
        let mut cancel = about(&self.relay, task, Method::TasksCancel, None, FAREWELL);
        (cancel.asker, cancel.sink, cancel.progress) = (None, None, false);
        cancel
    }

    fn left(&self) -> Duration {
        self.deadline.since(self.manager.now())
    }

    /// Asks the server about the task.
    async fn ask(
        &self,
        task: &Handle,
        method: Method,
        params: Option<RawJson>,
    ) -> Result<Relayed, InvocationError> {
        self.manager.relay(about(&self.relay, task, method, params, self.left())).await
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

/// A request about a task in place of the call that made it.
fn about(relay: &Relay, task: &Handle, method: Method, params: Option<RawJson>, total: Duration) -> Relay {
    let mut about = relay.clone();
    let params = params.unwrap_or_else(RawJson::empty_object);
    about.params = super::with_id(&params, &task.id).ok();
    about.method = method;
    about.tool = None;
    about.selection = only(&task.server);
    about.total = total;
    about
}

fn refused(relayed: Relayed, error: RpcError) -> Relayed {
    Relayed { outcome: Err(Refusal::Rpc(error)), ..relayed }
}

/// A task that its server is told to give up if nobody waits for its end any more.
struct Running<'a> {
    drive: &'a Drive,
    task: &'a Handle,
    ended: bool,
}

impl Running<'_> {
    fn end(mut self) {
        self.ended = true;
    }

    /// Looks at a task until it has ended, and has its questions answered: what the call would have been answered with.
    async fn follow(mut self) -> Result<Relayed, InvocationError> {
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
                    answer.result = state.result.unwrap_or_else(RawJson::empty_object);
                    return Ok(relayed);
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

/// A client that is able to do what it is able to, and knows tasks.
struct Knowing(Arc<dyn Party>);

impl Party for Knowing {
    fn seat(&self, server: &ServerRecord) -> Option<Arc<str>> {
        self.0.seat(server)
    }

    fn capabilities(&self, version: ProtocolVersion) -> ClientCapabilities {
        let capabilities = self.0.capabilities(version);
        match version.era() {
            Era::Stateless => capabilities.with(&["extensions", EXTENSION], RawJson::empty_object()),
            Era::Handshake => capabilities,
        }
    }

    fn handler(&self, server: &ServerRecord) -> Option<Arc<dyn RequestHandler>> {
        self.0.handler(server)
    }
}
