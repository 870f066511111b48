//! What all clients of one server share, and how a request is answered.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_protocol::header::ParamHeaders;
use mcp_protocol::{ErrorCode, Method, ProtocolVersion, Request, RequestId, RpcError};
use mcp_server::Outlet;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::answer::{Answer, Identity, Outcome, raw};
use crate::caller::Caller;
use crate::in_flight::InFlight;
use crate::news::Listener;
use crate::options::DemoOptions;
use crate::page::ListParams;
use crate::params::{read_params, required_params};
use crate::seal::Seal;
use crate::tools::{self, Tool};
use crate::{prompts, resources};

/// How long clients may keep lists.
const LIST_TTL: Duration = Duration::from_secs(60);

/// One demo server.
pub(crate) struct Demo {
    pub(crate) options: DemoOptions,
    pub(crate) identity: Identity,
    pub(crate) seal: Seal,
    /// Which arguments of which tools are mirrored; tools that are added mirror nothing.
    pub(crate) mirrored: BTreeMap<String, Arc<ParamHeaders>>,
    /// Stateless requests on a pipe, which has one client.
    pub(crate) on_pipe: InFlight,
    state: Mutex<State>,
    started: Instant,
    crash: watch::Sender<Option<u8>>,
    /// Whether the server goes away.
    stopping: watch::Sender<bool>,
}

/// What changes.
pub(crate) struct State {
    pub(crate) tools: Vec<Tool>,
    pub(crate) counter: u64,
    pub(crate) listeners: BTreeMap<u64, Listener>,
    pub(crate) next_listener: u64,
}

/// One request being answered.
pub(crate) struct Turn {
    pub(crate) id: RequestId,
    pub(crate) caller: Caller,
    pub(crate) outlet: Outlet,
}

/// How far a request got.
pub(crate) enum Step {
    /// It is answered.
    Done(Outcome),
    /// The answer comes later. Dropping the future cancels the request.
    Waits(BoxFuture<'static, Outcome>),
}

impl Demo {
    /// A server without clients.
    pub(crate) fn new(options: DemoOptions) -> Arc<Self> {
        let tools = tools::built_in(options.allow_crash);
        let state = State { tools: tools.clone(), counter: 0, listeners: BTreeMap::new(), next_listener: 0 };
        Arc::new(Self {
            identity: Identity { name: options.name.clone() },
            seal: Seal::default(),
            mirrored: tools.iter().filter_map(|tool| Some((tool.name.clone(), mirrored(tool)?))).collect(),
            on_pipe: InFlight::default(),
            state: Mutex::new(state),
            started: Instant::now(),
            crash: watch::Sender::new(None),
            stopping: watch::Sender::new(false),
            options,
        })
    }

    /// The time since the start.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends whoever serves this.
    pub(crate) fn crash(&self, status: u8) {
        self.crash.send_replace(Some(status));
    }

    pub(crate) fn has_crashed(&self) -> bool {
        self.crash.borrow().is_some()
    }

    /// Waits until the tool `crash` is called; the exit status.
    pub(crate) async fn crashed(&self) -> u8 {
        let mut crash = self.crash.subscribe();
        // The sender is here, so there is a status in the end.
        crash.wait_for(Option::is_some).await.ok().and_then(|status| *status).unwrap_or(1)
    }

    /// Ends every listen request with its result: the server is going away.
    pub(crate) fn shut_down(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits for that.
    pub(crate) fn shutting_down(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stopping = self.stopping.subscribe();
        async move {
            let _ = stopping.wait_for(|stops| *stops).await; // an error means the same
        }
    }

    /// Answers a request of either era. What it changes is changed, and what it tells is told, when this returns:
    /// requests of one client take effect in their order.
    pub(crate) fn answer(
        self: &Arc<Self>,
        turn: Turn,
        request: &Request,
    ) -> BoxFuture<'static, mcp_server::Outcome> {
        if request.method == Method::SubscriptionsListen && turn.caller.is_stateless() {
            return self.listen(turn, request);
        }
        let caller = turn.caller.clone();
        match self.dispatch(turn, request) {
            Step::Done(outcome) => ready(self.conclude(outcome, &caller)).boxed(),
            Step::Waits(work) => {
                let demo = Arc::clone(self);
                async move { demo.conclude(work.await, &caller) }.boxed()
            }
        }
    }

    /// An outcome as the caller's revision wants it.
    pub(crate) fn conclude(&self, outcome: Outcome, caller: &Caller) -> mcp_server::Outcome {
        outcome.map(|answer| answer.into_result(caller, &self.identity))
    }

    fn dispatch(self: &Arc<Self>, turn: Turn, request: &Request) -> Step {
        let version = turn.caller.version;
        if !request.method.exists_in(version) {
            return Step::Done(Err(method_not_found(&request.method)));
        }
        Step::Done(match request.method {
            Method::ToolsCall => return self.call_tool(turn, request),
            Method::ToolsList => {
                let tools = self.lock().tools.iter().map(|tool| tool.describe(version)).collect();
                self.list("tools", tools, request)
            }
            Method::ResourcesList => self.list("resources", resources::list(version), request),
            Method::ResourceTemplatesList => {
                self.list("resourceTemplates", resources::templates(version), request)
            }
            Method::PromptsList => self.list("prompts", prompts::list(version), request),
            Method::ResourcesRead => required_params::<UriParams>(request)
                .and_then(|params| resources::read(&params.uri, self.lock().counter, &turn.caller)),
            Method::PromptsGet => {
                required_params::<prompts::GetParams>(request).and_then(prompts::GetParams::answer)
            }
            Method::CompletionComplete => {
                required_params::<prompts::CompleteParams>(request).and_then(|params| params.answer())
            }
            Method::ServerDiscover => Ok(self.discover(version)),
            ref other => Err(method_not_found(other)),
        })
    }

    fn list(&self, member: &str, entries: Vec<serde_json::Value>, request: &Request) -> Outcome {
        let params: ListParams = read_params(request)?;
        let (page, next) = params.page(entries, self.options.page_size)?;
        let mut body = json!({ member: page });
        if let Some(next) = next {
            body["nextCursor"] = next.into();
        }
        Ok(Answer::cached(body, LIST_TTL))
    }
}

/// Which arguments of a tool are repeated in headers, if any.
fn mirrored(tool: &Tool) -> Option<Arc<ParamHeaders>> {
    let schema = &tool.describe(ProtocolVersion::LATEST_STATELESS)["inputSchema"];
    let headers = ParamHeaders::from_schema(&raw(schema)).ok()?;
    (!headers.is_empty()).then(|| Arc::new(headers))
}

/// The params of the methods that name one resource.
#[derive(Debug, Deserialize)]
pub(crate) struct UriParams {
    pub(crate) uri: String,
}

fn method_not_found(method: &Method) -> RpcError {
    RpcError::new(ErrorCode::METHOD_NOT_FOUND, &format!("unknown method {method}"))
}
