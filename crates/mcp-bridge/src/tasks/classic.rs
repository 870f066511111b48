//! Tasks of 2025-11-25 between a client and a server that both have them. Source: bridging §8, wire reference §2.9.
//!
//! Such servers list no tasks for us: theirs are those of all our clients.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_client::{Asker, RequestHandler, ServerProfile, ServerRequest};
use mcp_manager::Relayed;
use mcp_protocol::ProtocolVersion::V2025_11_25;
use mcp_protocol::capability::ServerCapabilities;
use mcp_protocol::task::EXTENSION;
use mcp_protocol::{
    Era, ErrorCode, InvalidJson, JsonKind, Members, Method, Notification, ProtocolVersion, RawJson, RpcError,
    meta,
};
use mcp_registry::ServerName;
use mcp_server::Outcome;

use super::{Handle, no_tasks, unknown, with_id};
use crate::bridge::Inner;
use crate::call::{Manner, unreadable};
use crate::client::{Turn, object};
use crate::endpoint::Endpoint;
use crate::mark::Mark;
use crate::settings::Scope;

/// Most tasks of one session whose changes its client is told of.
const MAX_REMEMBERED: usize = 1000;

static WISH: Mark = Mark::new("task");

/// The capability that a server has which runs tools as tasks.
const OF_TOOLS: [&str; 4] = ["tasks", "requests", "tools", "call"];

fn capabilities(profile: &ServerProfile) -> Option<ServerCapabilities> {
    ServerCapabilities::from_raw(profile.capabilities.clone()?).ok()
}

/// Whether clients of 2025-11-25 may run the tools of a server as tasks: its own, or ours.
pub(crate) fn runs_tasks(profile: &ServerProfile) -> bool {
    let has_own = |capabilities: ServerCapabilities| capabilities.has(&OF_TOOLS);
    has_extension(profile) || profile.version == V2025_11_25 && capabilities(profile).is_some_and(has_own)
}

/// Whether it is a stateless server that knows tasks.
pub(super) fn has_extension(profile: &ServerProfile) -> bool {
    let has = |capabilities: ServerCapabilities| capabilities.extension(EXTENSION).is_some();
    profile.version.era() == Era::Stateless && capabilities(profile).is_some_and(has)
}

/// What a client is offered, with tasks if a server has them: those of its own revision. Lists are offered where all
/// tasks are ours, and are for clients alone that are somebody.
pub(crate) fn with_tasks(
    offered: ServerCapabilities,
    servers: &[(ProtocolVersion, ServerCapabilities)],
    client: ProtocolVersion,
) -> ServerCapabilities {
    let having = |path: &[&str]| {
        let mut servers = servers.iter().filter(|(version, _)| *version == V2025_11_25);
        servers.any(|(_, server)| server.has(path))
    };
    let theirs = having(&OF_TOOLS);
    if client.era() == Era::Stateless {
        return match theirs && offered.extension(EXTENSION).is_none() {
            true => offered.with(&["extensions", EXTENSION], RawJson::empty_object()),
            false => offered,
        };
    }
    let extended = |(version, server): &(ProtocolVersion, ServerCapabilities)| {
        version.era() == Era::Stateless && server.extension(EXTENSION).is_some()
    };
    let ours = servers.iter().any(extended);
    if client != V2025_11_25 || !(theirs || ours) {
        return offered;
    }
    let parts: [(&[&str], bool); 3] = [
        (&OF_TOOLS, true),
        (&["tasks", "cancel"], ours || having(&["tasks", "cancel"])),
        (&["tasks", "list"], !theirs),
    ];
    let parts = parts.into_iter().filter(|(_, is_offered)| *is_offered);
    parts.fold(offered, |offered, (path, _)| offered.with(path, RawJson::empty_object()))
}

/// Whether a client wants a call to run as a task.
pub(super) fn wishes(turn: &Turn) -> bool {
    let wish = || WISH.of(turn.params.as_ref()?);
    turn.method == Method::ToolsCall && wish().is_some_and(|task| task.kind() == JsonKind::Object)
}

/// The parameters without the wish for a task, if there is one in them that means nothing in the client's revision: a
/// server might take it seriously.
pub(crate) fn without_wish(turn: &Turn) -> Result<Option<RawJson>, InvalidJson> {
    if turn.client.version == V2025_11_25 || !wishes(turn) {
        return Ok(None);
    }
    let Some(params) = &turn.params else { return Ok(None) };
    let mut members = params.members()?;
    members.remove("task");
    Ok(Some(members.encode()))
}

/// Whether a result is the first answer to a call that goes on as a task.
pub(crate) fn is_created(turn: &Turn, server: ProtocolVersion, result: &RawJson) -> bool {
    server == V2025_11_25
        && turn.client.version == V2025_11_25
        && wishes(turn)
        && result.get("task").is_some()
}

/// A message about a task, with another id of it where it says so.
pub(super) fn related(message: &RawJson, id: &str) -> Result<RawJson, InvalidJson> {
    let reference = match meta::get(message, meta::RELATED_TASK) {
        Some(reference) => with_id(&reference, id)?,
        None => object([("taskId", RawJson::string(id))]),
    };
    meta::set(message, meta::RELATED_TASK, reference)
}

/// Asks a client on account of a task, each side knowing it by its own id.
pub(super) struct AskAbout {
    pub(super) inner: Arc<dyn RequestHandler>,
    pub(super) ours: Arc<str>,
    /// `None`: the server's answers need not say what they are about.
    pub(super) theirs: Option<Box<str>>,
}

impl RequestHandler for AskAbout {
    fn handle(&self, request: ServerRequest) -> BoxFuture<'_, Result<RawJson, RpcError>> {
        let internal = |error: InvalidJson| RpcError::new(ErrorCode::INTERNAL_ERROR, &error.to_string());
        async move {
            let mut request = request;
            let params = request.params.unwrap_or_else(RawJson::empty_object);
            request.params = Some(related(&params, &self.ours).map_err(internal)?);
            let answer = self.inner.handle(request).await?;
            let answer = match &self.theirs {
                Some(theirs) => related(&answer, theirs),
                None => meta::strip(&answer, &[meta::RELATED_TASK]),
            };
            answer.map_err(internal)
        }
        .boxed()
    }
}

impl Inner {
    /// The first answer to a call that goes on as a task of 2025-11-25, with an id of ours.
    pub(crate) fn classic_task_created(
        &self,
        scope: &Scope,
        turn: &Turn,
        relayed: &Relayed,
        result: &RawJson,
    ) -> Outcome {
        let invalid = |error: InvalidJson| unreadable(turn, &error.to_string());
        let task = result.get("task").unwrap_or_else(RawJson::empty_object);
        let task = self.task_of_ours(scope, turn, relayed, &task)?;
        let id: Option<Box<str>> = task.get("taskId").and_then(|id| id.to().ok());
        let mut members: Members<'_> = result.members().map_err(invalid)?;
        members.set_json("task", task);
        let created = members.encode();
        let created = match id.filter(|_| meta::get(&created, meta::RELATED_TASK).is_some()) {
            Some(id) => related(&created, &id).map_err(invalid)?,
            None => created,
        };
        Ok(turn.signed(created))
    }
}

impl Endpoint {
    /// Answers a request of a client of 2025-11-25 about a task. `asks` makes who is asked on account of it, by what
    /// the client knows the server as.
    pub(crate) async fn classic_task(
        &self,
        turn: &Turn,
        asks: impl FnOnce(Option<Box<str>>) -> Asker,
    ) -> Outcome {
        let id = turn.text("taskId");
        let own = id.as_deref().and_then(|id| self.bridge.jobs.find(turn, &self.scope, id));
        if let Some(job) = own {
            return self.own_task(turn, &job, asks).await;
        }
        let handle = id.as_deref().and_then(|id| self.open_task(turn, id));
        if handle.is_none() {
            let directory = turn.client.shelf.directory();
            if !self.capabilities(&directory, turn.client.version).has(&OF_TOOLS) {
                return Err(no_tasks(&turn.method));
            }
        }
        let Some((id, handle)) = id.zip(handle) else { return Err(unknown()) };
        let Some(target) = self.task_target(turn, &handle) else { return Err(unknown()) };
        let name = (!self.is_one()).then(|| target.owner.name.as_str().into());
        let may_ask = turn.method == Method::TasksResult && turn.client.kind.profile.can_be_asked();
        let asker = may_ask.then(|| {
            let asker = asks(name);
            let about = AskAbout { inner: asker.handler, ours: id.clone(), theirs: Some(handle.id.clone()) };
            Asker { handler: Arc::new(about), task: Some(handle.id.clone()), ..asker }
        });
        let relayed = self.relay_task(turn, &target, &handle, Manner { asker, sink: None }).await?;
        let result = match &relayed.outcome {
            Ok(answer) => answer.result.clone(),
            Err(_) => return self.refused(turn, &target, relayed),
        };
        let told = match turn.method {
            Method::TasksResult => related(&result, &id),
            _ => with_id(&result, &id),
        };
        told.map(|told| turn.signed(told)).map_err(|error| unreadable(turn, &error.to_string()))
    }

    /// The task that a result speaks of, and what the client knows it by.
    fn created_task(&self, turn: &Turn, result: &RawJson) -> Option<(Handle, Box<str>)> {
        let id: Box<str> = result.get("task")?.get("taskId")?.to().ok()?;
        Some((self.open_task(turn, &id)?, id))
    }
}

/// The tasks of one session, so that its client can be told of their changes.
#[derive(Debug, Default)]
pub(crate) struct Remembered(VecDeque<(Handle, Box<str>)>);

impl Remembered {
    /// Takes note of a task, if a result speaks of one.
    pub(crate) fn note(&mut self, endpoint: &Endpoint, turn: &Turn, outcome: &Outcome) {
        let Some(task) = outcome.as_ref().ok().filter(|_| wishes(turn)) else { return };
        let Some(task) = endpoint.created_task(turn, task) else { return };
        if self.0.len() >= MAX_REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(task);
    }

    /// What the client is told of the change of a task; `None` if it is not one of its own.
    pub(crate) fn hear(&self, server: &ServerName, told: &Notification) -> Option<Notification> {
        let params = told.params.as_ref()?;
        let id: Box<str> = params.get("taskId")?.to().ok()?;
        let is_it = |handle: &Handle| handle.id == id && &*handle.server == server.as_str();
        let (_, ours) = self.0.iter().rev().find(|(handle, _)| is_it(handle))?;
        Some(Notification { method: told.method.clone(), params: Some(with_id(params, ours).ok()?) })
    }
}
