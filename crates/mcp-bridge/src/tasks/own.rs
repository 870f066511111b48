//! Tasks of 2025-11-25 at stateless servers that know the extension. Source: bridging §8.2.
//!
//! Every such call is a task of ours from its first moment, whether the server makes one of it, answers at once or has
//! to know more first: which of these it will be nobody knows, and the client is not kept waiting for it.

use std::sync::Arc;

use mcp_client::{Asker, NotificationSink};
use mcp_protocol::ProtocolVersion::V2025_11_25;
use mcp_protocol::{ErrorCode, InvalidJson, Method, Notification, Number, RawJson, RpcError};
use mcp_server::{Outcome, Outlet};

use super::classic::{AskAbout, has_extension, related, wishes};
use super::drive::Drive;
use super::job::Job;
use super::unknown;
use crate::call::{Manner, Mouth, Passed, no_answer, unreadable};
use crate::client::{Turn, object};
use crate::convert::error::{InternalError, reason};
use crate::endpoint::{Endpoint, bad_cursor};
use crate::route::Target;

/// What is said during a task: on the way that the client has beside its requests, and that it is about the task.
fn sink(turn: &Turn, outlet: &Outlet, id: &str) -> Option<NotificationSink> {
    if turn.ear.token.is_none() && turn.ear.level.is_none() {
        return None;
    }
    let (sink, id) = (Mouth::new(outlet.clone(), turn.ear.clone()).sink(), Box::<str>::from(id));
    Some(Arc::new(move |notification: Notification| {
        let params = notification.params.as_ref().and_then(|params| related(params, &id).ok());
        sink(Notification { params: params.or(notification.params), method: notification.method });
    }))
}

impl Endpoint {
    /// Begins a call as a task, if the client wants that and the server knows the extension: the first answer.
    /// `outlet` is the client's session.
    pub(crate) fn begin_task(&self, turn: &Turn, outlet: &Outlet) -> Option<Outcome> {
        if turn.client.version != V2025_11_25 || !wishes(turn) {
            return None;
        }
        // Where nobody is found, that is the answer to a call without a task, too.
        let target = self.targets(turn).ok()?.into_iter().next()?;
        let directory = turn.client.shelf.directory();
        let shown = directory.shown.iter().find(|shown| shown.owner.name == target.owner.name)?;
        if !shown.catalog.profile.as_ref().is_some_and(|profile| has_extension(profile)) {
            return None;
        }
        Some(self.begin_task_at(turn, target, outlet))
    }

    fn begin_task_at(&self, turn: &Turn, target: Target, outlet: &Outlet) -> Outcome {
        let invalid = |error: InvalidJson| RpcError::new(ErrorCode::INVALID_PARAMS, &error.to_string());
        let params = turn.params.clone().unwrap_or_else(RawJson::empty_object);
        let wish = params.get("task").and_then(|task| task.get("ttl")?.to::<Number>().ok());
        let ttl = Job::ttl(wish.map(|wish| wish.as_f64()));
        let mut members = params.members().map_err(invalid)?;
        members.remove("task");
        let call = Turn { params: Some(members.encode()), outlet: outlet.clone(), ..turn.clone() };
        let params = self.bridge.params(&call, &target)?;

        let name = (!self.is_one()).then(|| target.owner.name.as_str().into());
        let jobs = self.bridge.jobs.clone();
        let job = match jobs.open(self, turn, name, outlet, ttl) {
            Ok(job) if !self.bridge.closing.is_cancelled() => job,
            Ok(job) => {
                jobs.forget(&job);
                return Err(busy("the gateway is about to end"));
            }
            Err(full) => return Err(busy(&full)),
        };
        let asker = turn.client.kind.profile.can_be_asked().then(|| Asker {
            owner: turn.owner,
            handler: job.clone(),
            resolves: true,
            task: None,
        });
        let manner = Manner { asker, sink: sink(turn, outlet, &job.id) };
        let mut relay = self.bridge.relay(turn, &target, params, manner);
        // The task is given up before.
        relay.total = ttl * 2;
        let created = object([("task", job.task())]);
        let drive = Drive::of_job(self.bridge.manager.clone(), relay, job.clone());
        let (this, own) = (self.clone(), job);
        tokio::spawn(async move {
            let work = async {
                let relayed = drive.know().await;
                match this.bridge.conclude(&this.scope, &call, &target, relayed) {
                    Passed::Done(outcome) => outcome,
                    Passed::Asks { .. } | Passed::AsksFirst(_) => {
                        Err(unreadable(&call, "it asks for something that the client has not declared"))
                    }
                }
            };
            tokio::select! {
                biased;
                () = own.stopped.cancelled() => {}
                () = tokio::time::sleep_until(own.expires) => {}
                outcome = work => own.end(outcome),
            }
            tokio::select! {
                () = own.gone.cancelled() => {}
                () = tokio::time::sleep_until(own.expires) => {}
            }
            jobs.forget(&own);
        });
        Ok(turn.signed(created))
    }

    /// Answers a request about a task of ours.
    pub(super) async fn own_task(
        &self,
        turn: &Turn,
        job: &Job,
        asks: impl FnOnce(Option<Box<str>>) -> Asker,
    ) -> Outcome {
        match turn.method {
            Method::TasksGet => Ok(job.task()),
            Method::TasksCancel => self.cancel_task(job).await,
            _ => {
                let _attending = turn.client.kind.profile.can_be_asked().then(|| {
                    let inner = asks(job.server_name.clone()).handler;
                    job.attend(Arc::new(AskAbout { inner, ours: (&*job.id).into(), theirs: None }))
                });
                let result = job.outcome().await.ok_or_else(unknown)??;
                related(&result, &job.id).map_err(|error| unreadable(turn, &error.to_string()))
            }
        }
    }

    /// Takes a task back. Where the server has made one of it, it is told first: whether it goes on all the same makes
    /// no difference to the client.
    async fn cancel_task(&self, job: &Job) -> Outcome {
        let cancel = job.to_cancel()?;
        let tells = cancel.is_some();
        if let Some(cancel) = cancel {
            let told = self.bridge.manager.relay(cancel).await.map_err(|error| no_answer(&error))?;
            if let Err(refusal) = told.outcome {
                tracing::debug!(?refusal, "the server does not take a task back");
            }
        }
        job.cancel(tells)
    }

    /// The tasks of a client. Source: wire reference §2.9.
    pub(crate) fn list_tasks(&self, turn: &Turn) -> Outcome {
        let directory = turn.client.shelf.directory();
        if !self.offers(&directory, &turn.client).has(&["tasks", "list"]) {
            let text = "unknown method tasks/list: tasks are listed where all of them are the gateway's, and for clients \
                        with an API key";
            return Err(RpcError::new(ErrorCode::METHOD_NOT_FOUND, text));
        }
        // There are never more than fit on one page.
        if !matches!(mcp_protocol::list::cursor_of(turn.params.as_ref()), Ok(None)) {
            return Err(bad_cursor());
        }
        let tasks: Vec<_> = self.bridge.jobs.of(turn, &self.scope).iter().map(|job| job.task()).collect();
        let tasks = RawJson::encode(&tasks);
        let tasks = tasks.map_err(|error| RpcError::new(ErrorCode::INTERNAL_ERROR, &error.to_string()))?;
        Ok(object([("tasks", tasks)]))
    }
}

fn busy(text: &str) -> RpcError {
    InternalError::new(reason::UPSTREAM_BUSY, text).to_error()
}
