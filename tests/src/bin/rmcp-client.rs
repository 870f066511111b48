//! An MCP client on the `rmcp` SDK, so that the gateway has an independent client on a machine with Rust alone.
//!
//! usage: `rmcp-client PLAN`, where PLAN is JSON, see `tests/it/interop/clients.rs`
//!
//! It tries what it is told, in order, and prints what came of it.

#![expect(
    deprecated,
    reason = "sampling, roots and subscriptions to resources are what servers of today use"
)]
#![expect(clippy::print_stdout, reason = "prints what came of it")]

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mcp_tests::host;
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientCapabilities, ClientConfig, ClientRequest,
    CreateMessageRequestParams, CreateMessageResult, ElicitRequestParams, ElicitResult, ElicitationAction,
    Implementation, ListRootsResult, ProgressNotificationParam, ProtocolVersion,
    ResourceUpdatedNotificationParam, Role, Root, SamplingMessage, SamplingMessageContentBlock, ServerResult,
    SubscribeRequestParams, SubscriptionFilter,
};
use rmcp::service::{
    ClientLifecycleMode, ClientServiceExt as _, NotificationContext, PeerRequestOptions, RequestContext,
    RunningService,
};
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use rmcp::{ClientHandler, ErrorData, RoleClient};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::timeout;

/// For one attempt; only a hang takes this long.
const LIMIT: Duration = Duration::from_secs(10);

/// For a notification that is due.
const MOMENT: Duration = Duration::from_millis(500);

/// What to do, and how to reach the server.
#[derive(Debug, Deserialize)]
struct Plan {
    url: Option<String>,
    command: Option<Vec<String>>,
    era: String,
    tries: Vec<Try>,
}

#[derive(Debug, Clone, Deserialize)]
struct Try {
    #[serde(default)]
    column: String,
    #[serde(default)]
    method: String,
    #[serde(default)]
    params: Value,
    /// A tool that tells how often a call was cancelled.
    counter: Option<String>,
    uri: Option<String>,
    change: Option<Box<Self>>,
}

/// The host: a user who is called Ada and agrees to everything, a model that answers `42`, and one folder.
#[derive(Debug, Clone, Default)]
struct Host {
    reports: Arc<Mutex<Vec<f64>>>,
    reported: watch::Sender<u64>,
    updated: watch::Sender<Option<String>>,
}

impl ClientHandler for Host {
    fn get_info(&self) -> ClientConfig {
        let capabilities =
            ClientCapabilities::builder().enable_elicitation().enable_sampling().enable_roots().build();
        ClientConfig::new(capabilities, Implementation::new("rmcp-client", "1.0.0"))
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let ElicitRequestParams::FormElicitationParams { requested_schema, .. } = request else {
            return Ok(ElicitResult::new(ElicitationAction::Decline));
        };
        let content = host::filled_in(&json(&requested_schema)?);
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(Value::Object(content)))
    }

    async fn create_message(
        &self,
        _: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let message = SamplingMessage::new(Role::Assistant, SamplingMessageContentBlock::text("42"));
        Ok(CreateMessageResult::new(message, "deep-thought".to_owned()).with_stop_reason("endTurn"))
    }

    async fn list_roots(&self, _: RequestContext<RoleClient>) -> Result<ListRootsResult, ErrorData> {
        Ok(roots())
    }

    async fn on_progress(&self, params: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).push(params.progress);
        self.reported.send_modify(|count| *count += 1);
    }

    async fn on_resource_updated(
        &self,
        params: ResourceUpdatedNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.updated.send_replace(Some(params.uri));
    }
}

fn roots() -> ListRootsResult {
    ListRootsResult::new(vec![Root::new("file:///srv/project").with_name("project")])
}

fn json(value: impl serde::Serialize) -> Result<Value, ErrorData> {
    serde_json::to_value(value).map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

/// An error of any kind, told.
type Told = Box<dyn Error + Send + Sync>;

/// A client that is connected.
struct Client {
    service: RunningService<RoleClient, Host>,
    handshake: bool,
}

impl Client {
    async fn connect(plan: &Plan) -> Result<Self, Told> {
        let lifecycle = match plan.era.as_str() {
            "handshake" => ClientLifecycleMode::Initialize,
            _ => ClientLifecycleMode::Auto {
                preferred_versions: vec![ProtocolVersion::V_2026_07_28],
                legacy_version: None,
            },
        };
        let host = Host::default();
        let service = match (&plan.url, plan.command.as_deref()) {
            (Some(url), _) => {
                let transport = StreamableHttpClientTransport::from_uri(url.as_str());
                host.serve_with_lifecycle(transport, lifecycle).await?
            }
            (None, Some([program, args @ ..])) => {
                let mut command = Command::new(program);
                command.args(args);
                host.serve_with_lifecycle(TokioChildProcess::new(command)?, lifecycle).await?
            }
            _ => return Err("the plan has neither a URL nor a command".into()),
        };
        let mut client = Self { service, handshake: false };
        client.handshake = client.revision().as_str() < ProtocolVersion::V_2026_07_28.as_str();
        Ok(client)
    }

    fn revision(&self) -> String {
        self.service.peer_info().map(|info| info.protocol_version.to_string()).unwrap_or_default()
    }

    async fn attempt(&self, what: &Try) -> Result<Value, Told> {
        match what.column.as_str() {
            "tools" => Ok(json(self.service.list_all_tools().await?)?),
            "prompts" => Ok(json(self.service.list_all_prompts().await?)?),
            "resources" => Ok(json(self.service.list_all_resources().await?)?),
            "templates" => Ok(json(self.service.list_all_resource_templates().await?)?),
            "progress" => self.progress(what).await,
            "cancel" => self.cancel(what).await,
            "subscribe" => self.subscribe(what).await,
            _ => self.request(what).await,
        }
    }

    async fn request(&self, what: &Try) -> Result<Value, Told> {
        match what.method.as_str() {
            "tools/call" => Ok(json(self.service.call_tool(params(what)?).await?)?),
            "prompts/get" => Ok(json(self.service.get_prompt(params(what)?).await?)?),
            "resources/read" => Ok(json(self.service.read_resource(params(what)?).await?)?),
            method => Err(format!("nobody asks for {method}").into()),
        }
    }

    async fn progress(&self, what: &Try) -> Result<Value, Told> {
        let reports = || self.service.service().reports.lock().unwrap_or_else(PoisonError::into_inner);
        reports().clear();
        let result = self.request(what).await?;
        // Handlers run beside the call, which may be over before the last report is handled.
        let mut reported = self.service.service().reported.subscribe();
        let _ = timeout(MOMENT, reported.wait_for(|_| reports().len() >= 3)).await;
        // They run beside each other, too, so their order is nobody's.
        let mut reports = reports().clone();
        reports.sort_by(f64::total_cmp);
        Ok(json!({ "result": result, "reports": reports }))
    }

    /// Gives up a call that has shown that it runs, and looks whether the server noticed, where it tells.
    async fn cancel(&self, what: &Try) -> Result<Value, Told> {
        let counted = async |tool: &String| {
            let params = json!({ "name": tool, "arguments": {} });
            let result = self.request(&Try { params, ..what.clone() }).await?;
            Ok::<_, Told>(result["content"].clone())
        };
        let before = match &what.counter {
            Some(tool) => Some(counted(tool).await?),
            None => None,
        };
        let mut reported = self.service.service().reported.subscribe();
        let mut params: CallToolRequestParams = params(what)?;
        loop {
            let request = ClientRequest::CallToolRequest(CallToolRequest::new(params.clone()));
            let mut call =
                self.service.send_cancellable_request(request, PeerRequestOptions::no_options()).await?;
            tokio::select! {
                changed = reported.changed() => {
                    changed?;
                    call.cancel(None).await?;
                    break;
                }
                answer = &mut call.rx => match answer?? {
                    // A server may ask for the roots as soon as it is connected to, whatever it is called for.
                    ServerResult::InputRequiredResult(question) => {
                        let keys = question.input_requests.unwrap_or_default().into_keys();
                        let roots = json(roots())?;
                        params.input_responses = Some(keys.map(|key| (key, roots.clone())).collect());
                        params.request_state = question.request_state;
                    }
                    answer => return Err(format!("the call did not wait: {answer:?}").into()),
                },
            }
        }
        let Some(tool) = &what.counter else {
            self.service.list_tools(None).await?;
            return Ok(json!({ "noticed": null }));
        };
        while Some(counted(tool).await?) == before {
            tokio::task::yield_now().await;
        }
        Ok(json!({ "noticed": true }))
    }

    /// Servers may agree before they listen to changes themselves, so the resource is changed until one is told.
    async fn subscribe(&self, what: &Try) -> Result<Value, Told> {
        let (Some(uri), Some(change)) = (&what.uri, &what.change) else {
            return Err("the plan has no resource to subscribe to".into());
        };
        if self.handshake {
            let mut updated = self.service.service().updated.subscribe();
            self.service.subscribe(SubscribeRequestParams::new(uri)).await?;
            loop {
                self.request(change).await?;
                let told = updated.wait_for(|updated| updated.as_ref() == Some(uri));
                if timeout(MOMENT, told).await.is_ok() {
                    return Ok(json!({ "told": true }));
                }
            }
        }
        let mut changes =
            self.service.listen(SubscriptionFilter::builder().resource_subscription(uri).build()).await?;
        loop {
            self.request(change).await?;
            if let Ok(change) = timeout(MOMENT, changes.next()).await {
                return change?.map(|_| json!({ "told": true })).ok_or("the subscription ended".into());
            }
        }
    }
}

fn params<T: DeserializeOwned>(what: &Try) -> Result<T, Told> {
    Ok(serde_json::from_value(what.params.clone())?)
}

#[tokio::main]
async fn main() -> Result<(), Told> {
    // The library has none of its own.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let plan: Plan = serde_json::from_str(&std::env::args().nth(1).ok_or("usage: rmcp-client PLAN")?)?;
    let client = Client::connect(&plan).await?;
    let mut outcomes = Vec::new();
    for what in &plan.tries {
        outcomes.push(match timeout(LIMIT, client.attempt(what)).await {
            Ok(Ok(result)) => json!({ "result": result }),
            Ok(Err(error)) => json!({ "failed": error.to_string() }),
            Err(_) => json!({ "failed": format!("nothing came of it within {LIMIT:?}") }),
        });
    }
    println!("{}", json!({ "revision": client.revision(), "outcomes": outcomes }));
    client.service.cancel().await?;
    Ok(())
}
