//! A call that runs as a task of ours: a server of another revision does the work, the client comes for the result.
//! Source: bridging §8.2, wire reference §2.9.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_client::{RequestHandler, ServerRequest};
use mcp_manager::{Manager, Relay};
use mcp_protocol::task::{ExtensionTask, TaskStatus};
use mcp_protocol::{ErrorCode, Members, Method, Notification, RawJson, RpcError};
use mcp_registry::Timestamp;
use mcp_server::{Outcome, Outlet, Principal};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::Turn;
use crate::endpoint::Endpoint;
use crate::settings::Scope;

/// How long one is kept: the shortest, the longest, and where the client does not say.
const TTL: (Duration, Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(24 * 3600), Duration::from_secs(3600));
/// How often a client is to ask, unless the server says otherwise.
const POLL: Duration = Duration::from_secs(1);

/// Whose a task is. Clients without credentials are told apart by nothing but their sessions, so that such a task ends
/// with its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    Session(u64),
    Principal(Principal),
}

impl Holder {
    pub(crate) fn of(turn: &Turn) -> Self {
        match turn.client.principal.as_str() {
            "" => Self::Session(turn.owner),
            _ => Self::Principal(turn.client.principal.clone()),
        }
    }
}

/// One call, from its beginning until its result is not kept any more.
pub(crate) struct Job {
    pub(crate) id: Box<str>,
    pub(super) holder: Holder,
    pub(super) scope: Arc<Scope>,
    /// What the client knows the server as, where several could be meant.
    pub(crate) server_name: Option<Box<str>>,
    manager: Manager,
    /// Where the client is told of changes.
    outlet: Outlet,
    pub(super) created: Timestamp,
    ttl: Duration,
    pub(crate) expires: Instant,
    state: watch::Sender<State>,
    /// Those who wait for the result, and who is asked through each. The first of them is.
    attendants: watch::Sender<Vec<(u64, Arc<dyn RequestHandler>)>>,
    next_attendant: AtomicU64,
    /// The server was told that nobody wants it any more.
    taken_back: AtomicBool,
    /// The work is at an end.
    pub(crate) stopped: CancellationToken,
    /// It is not kept any more.
    pub(crate) gone: CancellationToken,
}

struct State {
    status: TaskStatus,
    message: Option<Box<str>>,
    updated: Timestamp,
    poll: Duration,
    /// How many questions wait for an answer.
    questions: usize,
    /// Takes back the task that the server has made of the call.
    cancel: Option<Relay>,
    /// The server has taken it back.
    is_cancelled: bool,
    outcome: Option<Outcome>,
    /// The client has got it.
    is_collected: bool,
}

impl Job {
    pub(super) fn new(
        endpoint: &Endpoint,
        holder: Holder,
        server_name: Option<Box<str>>,
        outlet: &Outlet,
        ttl: Duration,
    ) -> Self {
        let manager = &endpoint.bridge.manager;
        let created = manager.now();
        let gone = CancellationToken::new();
        let state = State {
            status: TaskStatus::Working,
            message: None,
            updated: created,
            poll: POLL,
            questions: 0,
            cancel: None,
            is_cancelled: false,
            outcome: None,
            is_collected: false,
        };
        Self {
            id: uuid::Uuid::new_v4().simple().to_string().into(),
            holder,
            scope: endpoint.scope.clone(),
            server_name,
            manager: manager.clone(),
            outlet: outlet.clone(),
            created,
            ttl,
            expires: Instant::now() + ttl,
            state: watch::Sender::new(state),
            attendants: watch::Sender::default(),
            next_attendant: AtomicU64::default(),
            taken_back: AtomicBool::default(),
            stopped: gone.child_token(),
            gone,
        }
    }

    /// How long a client wants a task to be kept.
    pub(crate) fn ttl(wish: Option<f64>) -> Duration {
        let wish = wish.and_then(|millis| Duration::try_from_secs_f64(millis / 1000.0).ok());
        wish.unwrap_or(TTL.2).clamp(TTL.0, TTL.1)
    }

    /// The task as its client sees it.
    pub(crate) fn task(&self) -> RawJson {
        self.encode(&self.state.borrow())
    }

    fn encode(&self, state: &State) -> RawJson {
        let number = |time: Duration| {
            let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            RawJson::encode(&millis).unwrap_or_else(|_| RawJson::empty_object())
        };
        let mut task = Members::default();
        task.set_json("taskId", RawJson::string(&self.id));
        task.set_json("status", RawJson::string(state.status.as_str()));
        if let Some(message) = &state.message {
            task.set_json("statusMessage", RawJson::string(message));
        }
        task.set_json("createdAt", RawJson::string(&self.created.to_string()));
        task.set_json("lastUpdatedAt", RawJson::string(&state.updated.to_string()));
        task.set_json("ttl", number(self.ttl));
        task.set_json("pollInterval", number(state.poll));
        task.encode()
    }

    /// Changes what is known of it, and tells the client if it stands elsewhere now. What has ended does not change:
    /// says whether it was still running.
    fn change(&self, change: impl FnOnce(&mut State)) -> bool {
        let (mut was_running, mut told) = (false, None);
        self.state.send_if_modified(|state| {
            was_running = !state.status.is_final();
            if !was_running {
                return false;
            }
            let before = state.status.clone();
            change(state);
            if !state.status.is_final() {
                state.status = match state.questions {
                    0 => TaskStatus::Working,
                    _ => TaskStatus::InputRequired,
                };
            }
            if state.status == before {
                return false;
            }
            state.updated = self.manager.now();
            told = Some(self.encode(state));
            true
        });
        // Of one that is not kept any more there is nothing to tell.
        let is_kept = !self.gone.is_cancelled() && Instant::now() < self.expires;
        if let Some(params) = told.filter(|_| is_kept) {
            self.outlet.notify(Notification { method: Method::TasksStatus, params: Some(params) });
        }
        was_running
    }

    /// The server has made a task of the call: how to take that back.
    pub(super) fn begun(&self, cancel: Relay) {
        self.change(|state| state.cancel = Some(cancel));
    }

    /// The server says where its task stands.
    pub(super) fn heard(&self, told: &ExtensionTask, poll: Duration) {
        self.change(|state| {
            state.message.clone_from(&told.status_message);
            state.poll = poll;
            state.is_cancelled = told.status == TaskStatus::Cancelled;
        });
    }

    /// The call has been answered.
    pub(crate) fn end(&self, outcome: Outcome) {
        let is_error = |result: &RawJson| result.get("isError").is_some_and(|flag| flag.as_str() == "true");
        self.change(|state| {
            state.status = match &outcome {
                _ if state.is_cancelled => TaskStatus::Cancelled,
                Ok(result) if !is_error(result) => TaskStatus::Completed,
                Ok(_) => TaskStatus::Failed,
                Err(error) => {
                    state.message = error.message().map(Into::into);
                    TaskStatus::Failed
                }
            };
            state.outcome = Some(outcome);
        });
    }

    /// How to take back what the server has made of it; the inner one is `None` where it has made no task.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn to_cancel(&self) -> Result<Option<Relay>, RpcError> {
        let state = self.state.borrow();
        if state.status.is_final() { Err(ended(&state.status)) } else { Ok(state.cancel.clone()) }
    }

    /// Ends it without a result, whatever the server makes of it. `told`: the server knows.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn cancel(&self, told: bool) -> Result<RawJson, RpcError> {
        self.taken_back.fetch_or(told, Ordering::SeqCst);
        let was_running = self.change(|state| {
            state.status = TaskStatus::Cancelled;
            state.outcome = Some(Err(RpcError::new(ErrorCode::INTERNAL_ERROR, "the task was cancelled")));
        });
        if !was_running {
            return Err(ended(&self.state.borrow().status));
        }
        self.stopped.cancel();
        Ok(self.task())
    }

    /// Whether its server need not be told that nobody wants it any more.
    pub(super) fn is_taken_back(&self) -> bool {
        self.taken_back.load(Ordering::SeqCst)
    }

    /// Waits for its end: what the call was answered with; `None`: it is not kept any more.
    pub(crate) async fn outcome(&self) -> Option<Outcome> {
        let mut state = self.state.subscribe();
        tokio::select! {
            biased;
            () = self.gone.cancelled() => return None,
            ended = state.wait_for(|state| state.status.is_final()) => drop(ended),
        }
        let mut outcome = None;
        self.state.send_if_modified(|state| {
            state.is_collected = true;
            outcome.clone_from(&state.outcome);
            false
        });
        outcome
    }

    /// From now on, until what comes back is dropped, what the server asks can be asked here.
    pub(crate) fn attend(&self, attendant: Arc<dyn RequestHandler>) -> Attending<'_> {
        let number = self.next_attendant.fetch_add(1, Ordering::Relaxed);
        self.attendants.send_modify(|all| all.push((number, attendant)));
        Attending { job: self, number }
    }

    /// Bytes of its result.
    pub(super) fn size(&self) -> usize {
        match &self.state.borrow().outcome {
            Some(Ok(result)) => result.as_bytes().len(),
            Some(Err(error)) => error.as_raw().as_bytes().len(),
            None => 0,
        }
    }

    /// Whether the client has got its result.
    pub(super) fn is_collected(&self) -> bool {
        self.state.borrow().is_collected
    }

    fn asks(&self, more: bool) {
        self.change(|state| {
            state.questions = if more { state.questions + 1 } else { state.questions.saturating_sub(1) };
        });
    }
}

fn ended(status: &TaskStatus) -> RpcError {
    let text = format!("the task has ended already: it is {}", status.as_str());
    RpcError::new(ErrorCode::INVALID_PARAMS, &text)
}

/// One who waits for the result of a task.
pub(crate) struct Attending<'a> {
    job: &'a Job,
    number: u64,
}

impl Drop for Attending<'_> {
    fn drop(&mut self) {
        self.job.attendants.send_modify(|all| all.retain(|(number, _)| *number != self.number));
    }
}

/// A question that waits for an answer.
struct Asking<'a>(&'a Job);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.asks(false);
    }
}

/// Asks whoever waits for the result; once more if that one leaves before it has answered.
impl RequestHandler for Job {
    fn handle(&self, request: ServerRequest) -> BoxFuture<'_, Result<RawJson, RpcError>> {
        async move {
            self.asks(true);
            let _asking = Asking(self);
            let mut attendants = self.attendants.subscribe();
            loop {
                let first = attendants.borrow_and_update().first().cloned();
                let Some((number, attendant)) = first else {
                    // It cannot fail: the sender is this job's.
                    let _ = attendants.changed().await;
                    continue;
                };
                let left = async {
                    let is_other =
                        |all: &Vec<(u64, _)>| all.first().is_none_or(|(first, _)| *first != number);
                    drop(attendants.wait_for(is_other).await);
                };
                tokio::select! {
                    biased;
                    () = left => {}
                    answer = attendant.handle(request.clone()) => return answer,
                }
            }
        }
        .boxed()
    }
}
