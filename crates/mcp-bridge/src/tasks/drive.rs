//! Tasks driven to their end inside of a call, for clients that know none. Source: bridging §8.1 to §8.3.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use mcp_client::{Asker, RequestHandler, ServerRequest};
use mcp_manager::{Manager, Party, Refusal, Relay, Relayed};
use mcp_protocol::ProtocolVersion::{self, V2025_11_25, V2026_07_28};
use mcp_protocol::capability::ClientCapabilities;
use mcp_protocol::result::{ResultType, Retry};
use mcp_protocol::task::{EXTENSION, ExtensionTask, TaskStatus};
use mcp_protocol::{Era, ErrorCode, Method, RawJson, RpcError, meta};
use mcp_registry::{InvocationError, ServerRecord, Timestamp};
use tokio::runtime::Handle as Runtime;

use super::Handle;
use crate::bridge::Inner;
use crate::client::{Turn, object};
use crate::convert::capabilities::{missing, needed_for};
use crate::route::{Target, only};

/// Shortest and longest time between two looks at a task, and the one for servers that say none.
const LOOKS: (Duration, Duration, Duration) =
    (Duration::from_millis(50), Duration::from_secs(30), Duration::from_secs(1));
/// Time for a server to take note that nobody wants a task any more.
const FAREWELL: Duration = Duration::from_secs(10);

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
            let deadline = manager.now() + relay.total;
            let drive = Drive { manager, relay, deadline };
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
struct Drive {
    manager: Manager,
    relay: Relay,
    deadline: Timestamp,
}

impl Drive {
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
        let capabilities = match &self.relay.party {
            Some(party) => party.capabilities(relayed.version),
            None => ClientCapabilities::default(),
        };
        let capabilities = capabilities.with(&["extensions", EXTENSION], RawJson::empty_object());
        self.relay.party = Some(Arc::new(Knowing(capabilities)));
        self.relay.selection = only(relayed.server.as_str());
        let relayed = self.manager.relay(self.relay.clone()).await?;
        let is_task =
            |result: &RawJson| result.get("resultType").is_some_and(|kind| kind.to() == Ok(ResultType::Task));
        let task = relayed.outcome.as_ref().ok().filter(|answer| is_task(&answer.result));
        let Some(task) = task.and_then(|answer| Handle::of(relayed.server.as_str(), &answer.result)) else {
            return Ok(relayed);
        };
        let running = Running { drive: &self, task: &task, ended: false };
        let relayed = running.drive.follow(&task).await?;
        running.end();
        Ok(relayed)
    }

    /// Looks at a task until it has ended, and has its questions answered: what the call would have been answered with.
    async fn follow(&self, task: &Handle) -> Result<Relayed, InvocationError> {
        let mut answered = Vec::new();
        loop {
            let mut relayed = self.ask(task, Method::TasksGet, None).await?;
            let Ok(answer) = &mut relayed.outcome else { return Ok(relayed) };
            let state: ExtensionTask = match answer.result.to() {
                Ok(state) => state,
                Err(error) => {
                    let text = format!("the state of the task cannot be read: {error}");
                    return Ok(refused(relayed, RpcError::new(ErrorCode::INTERNAL_ERROR, &text)));
                }
            };
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
                    if let Some(questions) = &state.input_requests
                        && let Err(error) = self.answer(task, questions, &mut answered).await?
                    {
                        return Ok(Relayed { outcome: Err(error), ..relayed });
                    }
                }
                _ => {}
            }
            let wait = state.poll_interval_ms.and_then(|ms| u64::try_from(ms.as_i64()?).ok());
            let wait = wait.map_or(LOOKS.2, Duration::from_millis).clamp(LOOKS.0, LOOKS.1);
            // Nothing is asked any more once the time is up, and what was asked last says so.
            tokio::time::sleep(wait.min(self.left())).await;
        }
    }

    /// Has questions answered that were not answered before, and tells the server. The inner error ends the call.
    async fn answer(
        &self,
        task: &Handle,
        questions: &RawJson,
        answered: &mut Vec<String>,
    ) -> Result<Result<(), Refusal>, InvocationError> {
        let members = questions.members().unwrap_or_default();
        let new: Vec<_> =
            members.texts().filter(|(key, _)| !answered.iter().any(|known| known == key)).collect();
        if new.is_empty() {
            return Ok(Ok(()));
        }
        let party = self.relay.party.as_ref();
        let declared = party.map(|party| party.capabilities(V2026_07_28)).unwrap_or_default();
        let asked = new.iter().map(async |(key, _)| {
            let question = questions.get(key).unwrap_or_else(RawJson::empty_object);
            let method: Option<Box<str>> = question.get("method").and_then(|method| method.to().ok());
            let method = Method::from(method.as_deref().unwrap_or_default());
            let params = question.get("params");
            let may_be_asked = missing(&needed_for(&method, params.as_ref()), &declared).is_none();
            let answer = match self.relay.asker.as_ref().filter(|_| may_be_asked) {
                Some(asker) => {
                    asker.handler.handle(ServerRequest::new(method.clone(), params, V2026_07_28)).await
                }
                None => Err(RpcError::new(ErrorCode::METHOD_NOT_FOUND, "the client has not declared this")),
            };
            answer
                .map(|answer| ((*key).into(), answer))
                .map_err(|error| Refusal::Unanswered { method, error })
        });
        let mut responses = Vec::new();
        for answer in join_all(asked).await {
            match answer {
                Ok(answer) => responses.push(answer),
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
        answered.extend(new.iter().map(|(key, _)| (*key).to_owned()));
        let stamped = Retry { responses, state: None }.stamp(None);
        let told = self.ask(task, Method::TasksUpdate, stamped.ok()).await?;
        Ok(told.outcome.map(|_| ()))
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
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let Some(runtime) = Runtime::try_current().ok().filter(|_| !self.ended) else { return };
        let mut cancel = about(&self.drive.relay, self.task, Method::TasksCancel, None, FAREWELL);
        (cancel.asker, cancel.sink, cancel.progress) = (None, None, false);
        let manager = self.drive.manager.clone();
        runtime.spawn(async move {
            if let Err(error) = manager.relay(cancel).await {
                tracing::debug!(%error, "a task that nobody waits for could not be cancelled");
            }
        });
    }
}

/// A client that knows tasks, at a stateless server.
struct Knowing(ClientCapabilities);

impl Party for Knowing {
    fn seat(&self, _server: &ServerRecord) -> Option<Arc<str>> {
        None
    }

    fn capabilities(&self, _version: ProtocolVersion) -> ClientCapabilities {
        self.0.clone()
    }

    fn handler(&self, _server: &ServerRecord) -> Option<Arc<dyn RequestHandler>> {
        None
    }
}
