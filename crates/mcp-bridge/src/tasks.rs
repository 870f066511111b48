//! Tasks: calls that outlive their answer. Source: bridging §8, wire reference §2.9, §3.10.
//!
//! A client never learns the id that a server gave a task: any other client that shares our credentials there could
//! use it. It gets one of ours, which says whose the task is and where, sealed, so that nothing has to be kept.

use std::sync::Arc;

use mcp_manager::Relayed;
use mcp_protocol::capability::ClientCapabilities;
use mcp_protocol::result::{Caching, ResultType};
use mcp_protocol::task::EXTENSION;
use mcp_protocol::{Era, ErrorCode, InvalidJson, Method, RawJson, RpcError};
use mcp_registry::{ServerName, Timestamp};
use mcp_server::{Outcome, Principal};

use crate::Digest;
use crate::bridge::Inner;
use crate::call::{Manner, Passed, unreadable};
use crate::client::Turn;
use crate::convert::capabilities::{missing, needed_for};
use crate::convert::envelope;
use crate::endpoint::Endpoint;
use crate::route::{Target, only};
use crate::seal::Context;
use crate::settings::Scope;
use crate::state::with_names;

mod classic;
mod drive;
mod follow;
mod host;
mod job;
mod jobs;
mod own;
mod watch;
pub(crate) use classic::{Remembered, is_created, runs_tasks, with_tasks, without_wish};
pub(crate) use host::{Hosts, is_hosted};
pub(crate) use jobs::Jobs;
pub(crate) use watch::Watched;

/// Longest id of a server's task, in bytes: ours is a third longer and has to fit into a header.
const MAX_ID: usize = 2048;

/// A task as its server knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Handle {
    pub(crate) server: Box<str>,
    pub(crate) id: Box<str>,
}

impl Handle {
    /// The task that a result speaks of, if it names one that can be sealed.
    fn of(server: &str, task: &RawJson) -> Option<Self> {
        let id: Box<str> = task.get("taskId")?.to().ok()?;
        (id.len() <= MAX_ID).then(|| Self { server: server.into(), id })
    }

    fn encode(&self) -> Vec<u8> {
        [self.server.as_bytes(), b"\n", self.id.as_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (server, id) = std::str::from_utf8(bytes).ok()?.split_once('\n')?;
        Some(Self { server: server.into(), id: id.into() })
    }
}

/// Whether a client has declared the extension.
pub(crate) fn declared(capabilities: &ClientCapabilities) -> bool {
    capabilities.extension(EXTENSION).is_some()
}

fn context<'a>(principal: &'a Principal, endpoint: &'a str) -> Context<'a> {
    let params = Digest::of([].into_iter());
    Context { purpose: "task", principal, endpoint, method: &Method::TasksGet, params }
}

/// What a client is told whose task is unknown, somebody else's, or gone: the same in every case.
fn unknown() -> RpcError {
    RpcError::new(
        ErrorCode::INVALID_PARAMS,
        "params.taskId is not the id of a task of yours, or it has expired",
    )
}

/// What a client is told where nobody has tasks.
fn no_tasks(method: &Method) -> RpcError {
    RpcError::new(ErrorCode::METHOD_NOT_FOUND, &format!("unknown method {method}: no server here has tasks"))
}

/// An object with another id of its task.
fn with_id(task: &RawJson, id: &str) -> Result<RawJson, InvalidJson> {
    let mut members = task.members()?;
    members.set_json("taskId", RawJson::string(id));
    Ok(members.encode())
}

impl Inner {
    /// An id of ours. It never expires: how long a task is kept is its server's affair.
    fn task_id(&self, scope: &Scope, turn: &Turn, handle: &Handle) -> Result<String, RpcError> {
        let endpoint = scope.name();
        let context = context(&turn.client.principal, &endpoint);
        let sealed = self.sealer.seal(&context, Timestamp::from_micros(i64::MAX), &handle.encode());
        sealed.map_err(|error| RpcError::new(ErrorCode::INTERNAL_ERROR, &error.to_string()))
    }

    /// The first answer to a call that goes on as a task, with an id of ours.
    pub(crate) fn task_created(
        &self,
        scope: &Scope,
        turn: &Turn,
        relayed: &Relayed,
        result: &RawJson,
    ) -> Outcome {
        if !declared(&turn.client.capabilities) {
            return Err(unreadable(
                turn,
                "it makes a task of the call, which the client has not declared to know",
            ));
        }
        Ok(turn.signed(self.task_of_ours(scope, turn, relayed, result)?))
    }

    /// A task with an id of ours in place of its server's.
    fn task_of_ours(
        &self,
        scope: &Scope,
        turn: &Turn,
        relayed: &Relayed,
        task: &RawJson,
    ) -> Result<RawJson, RpcError> {
        let Some(handle) = Handle::of(relayed.server.as_str(), task) else {
            return Err(unreadable(turn, &format!("its taskId is no text of at most {MAX_ID} bytes")));
        };
        let id = self.task_id(scope, turn, &handle)?;
        with_id(task, &id).map_err(|error| unreadable(turn, &error.to_string()))
    }
}

impl Endpoint {
    /// The task that an id of ours stands for.
    pub(crate) fn open_task(&self, turn: &Turn, id: &str) -> Option<Handle> {
        let endpoint = self.scope.name();
        let context = context(&turn.client.principal, &endpoint);
        let opened = self.bridge.sealer.open(&context, self.bridge.manager.now(), id).ok()?;
        Handle::decode(&opened)
    }

    /// Where a task is.
    fn task_target(&self, turn: &Turn, handle: &Handle) -> Option<Target> {
        let record = self.bridge.manager.server(&handle.server).ok()?;
        let directory = turn.client.shelf.directory();
        let owners = directory.shown.iter().map(|shown| &shown.owner).chain(&directory.missing);
        let owner = owners.into_iter().find(|owner| owner.name == *record.definition.owner())?;
        Some(Target { selection: only(&handle.server), ..Target::of(owner) })
    }

    /// Answers a request of a stateless client about a task.
    pub(crate) async fn task(&self, turn: &Turn) -> Outcome {
        let (id, handle) = self.named_task(turn)?;
        let Some(target) = self.task_target(turn, &handle) else { return Err(unknown()) };
        if target.owner.version.is_some_and(|version| version.era() == Era::Handshake) {
            return self.hosted_task(turn, &target, &id, &handle).await;
        }
        let relayed = self.relay_task(turn, &target, &handle, Manner::default()).await?;
        let result = match &relayed.outcome {
            Ok(answer) => answer.result.clone(),
            Err(_) => return self.refused(turn, &target, relayed),
        };
        let told = match turn.method {
            Method::TasksGet => self.state(turn, &target, &id, &result),
            _ => acknowledgement(turn, &relayed, &result),
        };
        told.map(|told| turn.signed(told)).map_err(|error| unreadable(turn, &error.to_string()))
    }

    /// The task that a request names, if its client may ask about it. Source: wire reference §3.9, §3.10.
    fn named_task(&self, turn: &Turn) -> Result<(Arc<str>, Handle), RpcError> {
        let id = turn.text("taskId");
        let handle = id.as_deref().and_then(|id| self.open_task(turn, id));
        if handle.is_none() && !self.offers_tasks(turn) {
            return Err(no_tasks(&turn.method));
        }
        if !declared(&turn.client.capabilities) {
            return Err(undeclared());
        }
        id.zip(handle).ok_or_else(unknown)
    }

    /// Whether some server has tasks for clients of this kind.
    pub(crate) fn offers_tasks(&self, turn: &Turn) -> bool {
        let directory = turn.client.shelf.directory();
        self.capabilities(&directory, turn.client.version).extension(EXTENSION).is_some()
    }

    /// Passes a request about a task on to its server.
    async fn relay_task(
        &self,
        turn: &Turn,
        target: &Target,
        handle: &Handle,
        manner: Manner,
    ) -> Result<Relayed, RpcError> {
        self.relay_as(turn, target, handle, turn.method.clone(), manner).await
    }

    /// The same by another method.
    async fn relay_as(
        &self,
        turn: &Turn,
        target: &Target,
        handle: &Handle,
        method: Method,
        manner: Manner,
    ) -> Result<Relayed, RpcError> {
        let invalid = |error: InvalidJson| RpcError::new(ErrorCode::INVALID_PARAMS, &error.to_string());
        let params = self.bridge.params(turn, target)?.unwrap_or_else(RawJson::empty_object);
        let params = with_id(&params, &handle.id).map_err(invalid)?;
        let mut relay = self.bridge.relay(turn, target, Some(params), manner);
        relay.method = method;
        self.bridge.manager.relay(relay).await.map_err(|error| crate::call::no_answer(&error))
    }

    /// What the client is told of a server's refusal.
    fn refused(&self, turn: &Turn, target: &Target, relayed: Relayed) -> Outcome {
        match self.bridge.conclude(&self.scope, turn, target, Ok(relayed)) {
            Passed::Done(outcome) => outcome,
            Passed::Asks { .. } | Passed::AsksFirst(_) => {
                Err(unreadable(turn, &format!("{} cannot ask anything", turn.method)))
            }
        }
    }

    /// The state of a task with the client's id, and with the questions that the client can be asked.
    fn state(&self, turn: &Turn, target: &Target, id: &str, task: &RawJson) -> Result<RawJson, InvalidJson> {
        let mut members = task.members()?;
        members.set_json("taskId", RawJson::string(id));
        // Some servers repeat the kind of the first answer (wire reference §3.10).
        if task.get("resultType").is_none_or(|kind| kind.to() != Ok(ResultType::Complete)) {
            members.set_json("resultType", RawJson::string("complete"));
        }
        let server = (!self.is_one()).then_some(&target.owner.name);
        if let Some(questions) = questions(task, &turn.client.capabilities, server)? {
            members.set_json("inputRequests", questions);
        }
        Ok(members.encode())
    }
}

/// What a task asks, as the client is to see it, with the name of the server where several could be meant; `None` if
/// that is as it is. Source: bridging §1 rule 7, §6.4.
fn questions(
    task: &RawJson,
    declared: &ClientCapabilities,
    server: Option<&ServerName>,
) -> Result<Option<RawJson>, InvalidJson> {
    let Some(asked) = task.get("inputRequests") else { return Ok(None) };
    let mut kept = asked.members()?;
    let before = kept.len();
    let may_be_asked = |question: &RawJson| {
        let method = question.get("method").and_then(|method| method.to::<Box<str>>().ok());
        let method = Method::from(method.as_deref().unwrap_or_default());
        let needed = needed_for(&method, question.get("params").as_ref());
        missing(&needed, declared).is_none()
    };
    kept.retain(|key| asked.get(key).is_some_and(|question| may_be_asked(&question)));
    let dropped = before - kept.len();
    if dropped > 0 {
        tracing::info!(dropped, "a task asks for what the client has not declared");
    }
    let kept = if dropped > 0 { kept.encode() } else { asked.clone() };
    let named = server.and_then(|server| with_names(server, &kept));
    Ok(named.or_else(|| (dropped > 0).then_some(kept)))
}

/// The empty result of a request that only has to arrive.
fn acknowledgement(turn: &Turn, relayed: &Relayed, result: &RawJson) -> Result<RawJson, InvalidJson> {
    let said = relayed.outcome.as_ref().ok().and_then(|answer| answer.envelope.as_ref());
    let (server, client) = (relayed.version, turn.client.version);
    envelope::seal(result, said, &turn.method, Caching::default(), None, server, client)
}

/// What a client is told that has not declared the extension and uses it.
pub(crate) fn undeclared() -> RpcError {
    let needed = ClientCapabilities::default().with(&["extensions", EXTENSION], RawJson::empty_object());
    RpcError::missing_capability(&needed)
}
