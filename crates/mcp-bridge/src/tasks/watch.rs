//! Tasks that a stateless client listens to. Source: bridging §7, wire reference §3.10.

use std::sync::Arc;
use std::time::Duration;

use mcp_protocol::capability::ClientCapabilities;
use mcp_protocol::{ErrorCode, RawJson, RpcError, meta};
use mcp_registry::ServerName;

use super::{Handle, declared, questions, undeclared};
use crate::client::Turn;
use crate::endpoint::Endpoint;
use crate::upstream::{Upstream, Wish};

/// Time for a server to agree to tell of a task.
const WATCH_LIMIT: Duration = Duration::from_secs(5);
/// Most tasks in one subscription.
const MAX_WATCHED: usize = 100;

/// A task whose server has agreed to tell of it, until this is dropped.
pub(crate) struct Watched {
    /// What the client knows it by.
    pub(crate) id: Box<str>,
    handle: Handle,
    upstream: Arc<Upstream>,
    capabilities: ClientCapabilities,
    /// What the client knows the server as, where several could be meant.
    server_name: Option<ServerName>,
}

impl Watched {
    /// What the client is told of a notification of a server; `None` if it is not about this task.
    pub(crate) fn hear(&self, from: &Upstream, params: &RawJson) -> Option<RawJson> {
        let is_it = from.server == self.upstream.server
            && params.get("taskId").and_then(|id| id.to::<Box<str>>().ok()).as_ref() == Some(&self.handle.id);
        if !is_it {
            return None;
        }
        let asked = questions(params, &self.capabilities, self.server_name.as_ref()).ok()?;
        let params = meta::strip(params, &[meta::SUBSCRIPTION_ID]).ok()?;
        let mut members = params.members().ok()?;
        members.set_json("taskId", RawJson::string(&self.id));
        if let Some(asked) = asked {
            members.set_json("inputRequests", asked);
        }
        Some(members.encode())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.upstream.unwant(&Wish::Task(self.handle.id.clone()));
    }
}

impl Endpoint {
    /// Asks the servers to tell of tasks: those that agreed. Tasks that are not the client's are left out.
    ///
    /// # Errors
    /// There are too many, or the client has not declared to know tasks.
    pub(crate) async fn watch_tasks(&self, turn: &Turn, ids: &[Box<str>]) -> Result<Vec<Watched>, RpcError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        if !declared(&turn.client.capabilities) {
            return Err(undeclared());
        }
        if ids.len() > MAX_WATCHED {
            let text = format!("a subscription has at most {MAX_WATCHED} tasks");
            return Err(RpcError::new(ErrorCode::INVALID_PARAMS, &text));
        }
        let asked = ids.iter().map(|id| &**id).map(async |id: &str| {
            let handle = self.open_task(turn, id)?;
            let target = self.task_target(turn, &handle)?;
            let upstreams = turn.client.shelf.upstreams();
            let upstream =
                upstreams.into_iter().find(|known| known.server.name.as_str() == &*handle.server)?;
            let wish = Wish::Task(handle.id.clone());
            if let Err(error) = upstream.want(wish, WATCH_LIMIT).await {
                tracing::debug!(%error, request_id = %turn.request_id, "the server does not tell of a task");
                return None;
            }
            Some(Watched {
                id: id.into(),
                handle,
                upstream,
                capabilities: turn.client.capabilities.clone(),
                server_name: (!self.is_one()).then(|| target.owner.name.clone()),
            })
        });
        Ok(futures::future::join_all(asked).await.into_iter().flatten().collect())
    }
}
