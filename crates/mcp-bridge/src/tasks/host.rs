//! Tasks of servers of 2025-11-25 for stateless clients that know the extension. Source: bridging §8.1.
//!
//! Such a server asks on the stream of `tasks/result`. From the first time a task waits for its client until it has
//! ended, that request is kept open, and what the server asks there is what `tasks/get` tells.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mcp_client::Asker;
use mcp_manager::{Refusal, Relayed};
use mcp_protocol::ProtocolVersion::{self, V2025_11_25};
use mcp_protocol::result::{InputRequired, Retry};
use mcp_protocol::task::TaskStatus;
use mcp_protocol::{Era, ErrorCode, InvalidJson, JsonKind, Members, Method, RawJson, RpcError, meta};
use mcp_server::Outcome;

use super::{Handle, declared, with_id};
use crate::bridge::Inner;
use crate::call::{Manner, unreadable};
use crate::client::Turn;
use crate::convert::capabilities::{missing, needed_for};
use crate::endpoint::Endpoint;
use crate::held::Questions;
use crate::route::Target;
use crate::settings::Scope;

/// Time for a question to arrive after its server says that it asks.
const ARRIVAL: Duration = Duration::from_millis(500);
/// Most tasks that are waited for on account of their questions.
const MAX_HOSTED: usize = 1000;

/// The tasks whose questions are waited for.
#[derive(Default)]
pub(crate) struct Hosts(Mutex<HashMap<Handle, Arc<Questions>>>);

impl Hosts {
    fn all(&self) -> MutexGuard<'_, HashMap<Handle, Arc<Questions>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends with the request that the questions come on.
struct Hosting {
    hosts: Arc<Hosts>,
    handle: Handle,
}

impl Drop for Hosting {
    fn drop(&mut self) {
        self.hosts.all().remove(&self.handle);
    }
}

/// Whether a result is the first answer to a call that goes on as a task for a stateless client.
pub(crate) fn is_hosted(turn: &Turn, server: ProtocolVersion, result: &RawJson) -> bool {
    server == V2025_11_25
        && turn.client.version.era() == Era::Stateless
        && turn.method == Method::ToolsCall
        && declared(&turn.client.capabilities)
        && result.get("task").is_some_and(|task| task.kind() == JsonKind::Object)
}

/// A task in the words of the extension.
fn flat(task: &RawJson, kind: &str, id: &str) -> Result<RawJson, InvalidJson> {
    let task = meta::strip(task, &[meta::RELATED_TASK])?;
    let mut members: Members<'_> = task.members()?;
    members.set_json("taskId", RawJson::string(id));
    for (theirs, ours) in [("ttl", "ttlMs"), ("pollInterval", "pollIntervalMs")] {
        if let Some(value) = task.get(theirs) {
            members.remove(theirs);
            members.set_json(ours, value);
        }
    }
    members.set_json("resultType", RawJson::string(kind));
    Ok(members.encode())
}

impl Inner {
    /// The first answer to a call that goes on as a task of 2025-11-25, for a stateless client.
    pub(crate) fn hosted_task_created(
        &self,
        scope: &Scope,
        turn: &Turn,
        relayed: &Relayed,
        result: &RawJson,
    ) -> Outcome {
        let task = result.get("task").unwrap_or_else(RawJson::empty_object);
        let task = self.task_of_ours(scope, turn, relayed, &task)?;
        let id: Box<str> = task.get("taskId").and_then(|id| id.to().ok()).unwrap_or_default();
        let created = flat(&task, "task", &id).map_err(|error| unreadable(turn, &error.to_string()))?;
        Ok(self.of_gateway(turn, created))
    }

    /// A result that no stateless server has put its name to.
    fn of_gateway(&self, turn: &Turn, result: RawJson) -> RawJson {
        turn.signed(meta::set(&result, meta::SERVER_INFO, self.server_info.clone()).unwrap_or(result))
    }
}

impl Endpoint {
    /// Answers a request of a stateless client about a task of a server of 2025-11-25.
    pub(super) async fn hosted_task(
        &self,
        turn: &Turn,
        target: &Target,
        id: &str,
        handle: &Handle,
    ) -> Outcome {
        let done = RawJson::empty_object;
        let told = match turn.method {
            Method::TasksGet => self.hosted_state(turn, target, id, handle).await?,
            Method::TasksUpdate => {
                let questions = self.bridge.hosts.all().get(handle).cloned();
                let retry = turn.params.as_ref().map(Retry::read).transpose();
                let retry =
                    retry.map_err(|error| RpcError::new(ErrorCode::INVALID_PARAMS, &error.to_string()))?;
                if let Some((questions, retry)) = questions.zip(retry) {
                    questions.answer(&retry.responses)?;
                }
                done()
            }
            _ => {
                let relayed =
                    self.relay_as(turn, target, handle, Method::TasksCancel, Manner::default()).await?;
                let ended = |error: &RpcError| error.code() == Some(ErrorCode::INVALID_PARAMS);
                match &relayed.outcome {
                    Ok(_) => done(),
                    // What has ended already cannot be taken back, and is as good as it.
                    Err(Refusal::Rpc(error)) if ended(error) => done(),
                    Err(_) => return self.refused(turn, target, relayed),
                }
            }
        };
        let mut members = told.members().map_err(|error| unreadable(turn, &error.to_string()))?;
        members.set_json("resultType", RawJson::string("complete"));
        Ok(self.bridge.of_gateway(turn, members.encode()))
    }

    /// The state of a task, with its outcome or its questions.
    async fn hosted_state(&self, turn: &Turn, target: &Target, id: &str, handle: &Handle) -> Outcome {
        let invalid = |error: InvalidJson| unreadable(turn, &error.to_string());
        let relayed = self.relay_as(turn, target, handle, Method::TasksGet, Manner::default()).await?;
        let state = match &relayed.outcome {
            Ok(answer) => flat(&answer.result, "complete", id).map_err(invalid)?,
            Err(_) => return self.refused(turn, target, relayed),
        };
        let status: Option<TaskStatus> = state.get("status").and_then(|status| status.to().ok());
        let mut members = state.members().map_err(invalid)?;
        let set_status = |members: &mut Members<'_>, status: &TaskStatus| {
            members.set_json("status", RawJson::string(status.as_str()));
        };
        match status {
            Some(TaskStatus::Completed | TaskStatus::Failed) => {
                let ended =
                    self.relay_as(turn, target, handle, Method::TasksResult, Manner::default()).await?;
                match ended.outcome {
                    Ok(answer) => {
                        set_status(&mut members, &TaskStatus::Completed);
                        let result = meta::strip(&answer.result, &[meta::RELATED_TASK]).map_err(invalid)?;
                        members.set_json("result", result);
                    }
                    Err(Refusal::Rpc(error)) => {
                        set_status(&mut members, &TaskStatus::Failed);
                        members.set_json("error", error.as_raw().clone());
                    }
                    Err(Refusal::Unanswered { .. }) => return self.refused(turn, target, ended),
                }
            }
            Some(TaskStatus::InputRequired) => match self.asked(turn, target, handle).await {
                Some(questions) => members.set_json("inputRequests", questions),
                // It says so before it asks, or after.
                None => set_status(&mut members, &TaskStatus::Working),
            },
            _ => {}
        }
        Ok(members.encode())
    }

    /// What a task asks that this client can be asked; `None`: nothing, at the moment.
    async fn asked(&self, turn: &Turn, target: &Target, handle: &Handle) -> Option<RawJson> {
        let questions = self.host(turn, target, handle)?;
        // Whatever comes of it, what is asked by then is told.
        let _ = tokio::time::timeout(ARRIVAL, questions.asked()).await;
        let mut requests = questions.requests();
        requests.retain(|request| {
            let needed = needed_for(&request.method, request.params.as_ref());
            missing(&needed, &turn.client.capabilities).is_none()
        });
        if requests.is_empty() {
            return None;
        }
        InputRequired { requests, state: None }.encode().get("inputRequests")
    }

    /// Waits for what a task asks from now on, if nobody does yet. `None`: too many are waited for.
    fn host(&self, turn: &Turn, target: &Target, handle: &Handle) -> Option<Arc<Questions>> {
        let hosts = &self.bridge.hosts;
        let mut all = hosts.all();
        let full = all.len() >= MAX_HOSTED;
        let place = match all.entry(handle.clone()) {
            Entry::Occupied(known) => return Some(known.get().clone()),
            Entry::Vacant(place) => place,
        };
        if full {
            tracing::warn!("the questions of {MAX_HOSTED} tasks are waited for, which is the limit");
            return None;
        }
        let name = (!self.is_one()).then(|| target.owner.name.as_str().into());
        let questions = Questions::new(turn.client.version, turn.client.kind.profile.clone(), name);
        let asker = Asker {
            owner: turn.owner,
            handler: questions.clone(),
            resolves: false,
            task: Some(handle.id.clone()),
        };
        let params = with_id(&RawJson::empty_object(), &handle.id).ok();
        let mut relay = self.bridge.relay(turn, target, params, Manner { asker: Some(asker), sink: None });
        relay.method = Method::TasksResult;
        relay.progress = false;
        place.insert(questions.clone());
        let hosting = Hosting { hosts: hosts.clone(), handle: handle.clone() };
        let manager = self.bridge.manager.clone();
        tokio::spawn(async move {
            // The outcome is asked for again when the client wants to know it.
            if let Err(error) = manager.relay(relay).await {
                tracing::debug!(%error, "a task is not waited for any more");
            }
            drop(hosting);
        });
        Some(questions)
    }
}
