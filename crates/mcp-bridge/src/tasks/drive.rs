//! Tasks driven to their end inside of a call, for clients that know none. Source: bridging §8.1 to §8.3.

use std::sync::Arc;
use std::time::Duration;

use mcp_client::{Asker, RequestHandler};
use mcp_manager::{Manager, Party, Refusal, Relay, Relayed};
use mcp_protocol::ProtocolVersion::{self, V2025_11_25, V2026_07_28};
use mcp_protocol::capability::ClientCapabilities;
use mcp_protocol::result::{Envelope, ResultType};
use mcp_protocol::task::EXTENSION;
use mcp_protocol::{Era, ErrorCode, Method, RawJson, meta};
use mcp_registry::{InvocationError, ServerRecord, Timestamp};

use super::Handle;
use super::follow::Running;
use super::job::Job;
use crate::bridge::Inner;
use crate::client::{Turn, object};
use crate::route::{Target, only};

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
    pub(super) manager: Manager,
    pub(super) relay: Relay,
    deadline: Timestamp,
    /// What is to know how the call gets on.
    pub(super) job: Option<Arc<Job>>,
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
        let running = Running::new(&self, &task);
        let mut relayed = self.ask(&task, Method::TasksResult, None).await?;
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
        let is_task = |envelope: &Envelope| envelope.result_type == ResultType::Task;
        let answer = relayed.outcome.as_ref().ok();
        let task = answer.filter(|answer| answer.envelope.as_ref().is_some_and(is_task));
        let Some(task) = task.and_then(|answer| Handle::of(relayed.server.as_str(), &answer.result)) else {
            return Ok(relayed);
        };
        let running = Running::new(&self, &task);
        if let Some(job) = &self.job {
            job.begun(self.farewell(&task));
        }
        running.follow().await
    }

    /// What tells the server that nobody waits for the task any more.
    pub(super) fn farewell(&self, task: &Handle) -> Relay {
        let mut cancel = about(&self.relay, task, Method::TasksCancel, None, FAREWELL);
        (cancel.asker, cancel.sink, cancel.progress) = (None, None, false);
        cancel
    }

    pub(super) fn left(&self) -> Duration {
        self.deadline.since(self.manager.now())
    }

    /// Asks the server about the task.
    pub(super) async fn ask(
        &self,
        task: &Handle,
        method: Method,
        params: Option<RawJson>,
    ) -> Result<Relayed, InvocationError> {
        self.manager.relay(about(&self.relay, task, method, params, self.left())).await
    }
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
