//! An MCP server on the `rmcp` SDK, so that tests have an independent peer on a machine with Rust alone.
//!
//! usage: `rmcp-server stdio|http [--handshake-only]`
//!
//! Over HTTP it listens on a free loopback port, prints the URL of its endpoint as its first line, and
//! ends when its standard input does, so that it never outlives the test that started it.

#![expect(
    deprecated,
    reason = "sampling, roots and subscriptions to resources are what servers of today use"
)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "prints its address, or its usage")]

use std::borrow::Cow;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rmcp::handler::server::tool::InputResponses;
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::model::{
    CallToolResponse, CallToolResult, ContentBlock, CreateMessageRequest, CreateMessageRequestParams,
    ElicitRequest, ElicitRequestParams, GetPromptRequestParams, GetPromptResponse, GetPromptResult,
    Implementation, InputRequest, InputRequests, InputRequiredResult, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListRootsRequest, PaginatedRequestParams,
    ProgressNotificationParam, Prompt, PromptArgument, PromptMessage, ProtocolVersion,
    ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, Resource, ResourceContents,
    ResourceTemplate, ResourceUpdatedNotificationParam, Role, SamplingMessage, ServerCapabilities,
    ServerConfig, ServerRequest, SubscribeRequestParams, SubscriptionFilter, UnsubscribeRequestParams,
};
use rmcp::service::{RequestContext, SubscriptionContext};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt, schemars, tool, tool_handler, tool_router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

/// The resource that `count` changes.
const COUNTER: &str = "peer://counter";

/// Which revisions the server speaks: all that the SDK knows, or those with a handshake.
#[derive(Debug, Clone, Copy)]
enum Revisions {
    All,
    HandshakeOnly,
}

#[derive(Debug, Clone)]
struct Peer {
    revisions: Revisions,
    figures: Arc<Figures>,
}

/// What the servers of all sessions count together.
#[derive(Debug, Default)]
struct Figures {
    /// Calls of `steps` that were cancelled.
    cancelled: AtomicU64,
    /// Calls of `count`.
    counter: watch::Sender<u64>,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct Echo {
    message: String,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct Add {
    a: i64,
    b: i64,
}

#[derive(Debug, Serialize, schemars::JsonSchema)]
struct Sum {
    total: i64,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct Fail {
    reason: String,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct Slow {
    ms: u64,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct Steps {
    steps: u32,
    step_ms: u64,
}

#[tool_router]
impl Peer {
    fn new(revisions: Revisions, figures: Arc<Figures>) -> Self {
        Self { revisions, figures }
    }

    #[tool(description = "Returns the message", annotations(read_only_hint = true))]
    async fn echo(&self, Parameters(Echo { message }): Parameters<Echo>) -> String {
        format!("Echo: {message}")
    }

    #[tool(description = "Adds two numbers; the result is structured", annotations(read_only_hint = true))]
    async fn add(&self, Parameters(Add { a, b }): Parameters<Add>) -> Json<Sum> {
        Json(Sum { total: a + b })
    }

    #[tool(description = "Fails with the given reason")]
    async fn fail(&self, Parameters(Fail { reason }): Parameters<Fail>) -> CallToolResult {
        CallToolResult::error(vec![ContentBlock::text(reason)])
    }

    #[tool(description = "Answers after the given number of milliseconds")]
    async fn slow(&self, Parameters(Slow { ms }): Parameters<Slow>) -> String {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        format!("waited {ms} ms")
    }

    #[tool(description = "Takes `steps` times `step_ms` milliseconds and reports progress after each step")]
    async fn steps(
        &self,
        Parameters(Steps { steps, step_ms }): Parameters<Steps>,
        context: RequestContext<RoleServer>,
    ) -> String {
        for step in 1..=steps {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(step_ms)) => {}
                () = context.ct.cancelled() => {
                    self.figures.cancelled.fetch_add(1, Ordering::Relaxed);
                    return "cancelled".to_owned();
                }
            }
            if let Some(token) = context.meta.get_progress_token() {
                let progress = ProgressNotificationParam::new(token, step.into());
                let _ = context.peer.notify_progress(progress.with_total(steps.into())).await;
            }
        }
        format!("{steps} steps done")
    }

    #[tool(description = "How many calls of `steps` were cancelled")]
    async fn cancelled(&self) -> String {
        self.figures.cancelled.load(Ordering::Relaxed).to_string()
    }

    #[tool(description = "Adds one to the counter")]
    async fn count(&self) -> String {
        self.figures.counter.send_modify(|counter| *counter += 1);
        self.figures.counter.borrow().to_string()
    }

    #[tool(description = "Greets the user after asking for their name")]
    async fn greet(
        &self,
        InputResponses(answers): InputResponses,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let schema =
            json!({ "type": "object", "properties": { "name": { "type": "string" } }, "required": ["name"] });
        let question = ElicitRequestParams::FormElicitationParams {
            meta: None,
            message: "What is your name?".to_owned(),
            requested_schema: serde_json::from_value(schema).map_err(internal)?,
        };
        let question = InputRequest::Elicitation(ElicitRequest::new(question));
        answered(question, answers, &context, |answer| format!("Hello, {}", text(&answer["content"]["name"])))
            .await
    }

    #[tool(description = "Asks the model of the client")]
    async fn ask(
        &self,
        InputResponses(answers): InputResponses,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let message = SamplingMessage::user_text("What is the answer?");
        let question = CreateMessageRequest::new(CreateMessageRequestParams::new(vec![message], 10));
        let question = InputRequest::CreateMessage(question);
        answered(question, answers, &context, |answer| {
            format!("It said: {}", text(&answer["content"]["text"]))
        })
        .await
    }

    #[tool(description = "Where the client lets servers work")]
    async fn roots(
        &self,
        InputResponses(answers): InputResponses,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let question = InputRequest::ListRoots(ListRootsRequest::default());
        answered(question, answers, &context, |answer| text(&answer["roots"][0]["uri"]).to_owned()).await
    }
}

/// Asks the client, and makes its answer a text: with a request of ours in the handshake era, else with the
/// result, upon which the call comes again with the answer.
async fn answered(
    question: InputRequest,
    answers: Option<rmcp::model::InputResponses>,
    context: &RequestContext<RoleServer>,
    tell: impl FnOnce(Value) -> String,
) -> Result<CallToolResponse, ErrorData> {
    let stateless =
        context.protocol_version().is_some_and(|version| version >= ProtocolVersion::V_2026_07_28);
    let answer = if stateless {
        let Some(answer) = answers.and_then(|mut answers| answers.remove("it")) else {
            let questions = InputRequests::from([("it".to_owned(), question)]);
            return Ok(InputRequiredResult::from_input_requests(questions).into());
        };
        answer
    } else {
        let question = match question {
            InputRequest::CreateMessage(request) => ServerRequest::CreateMessageRequest(request),
            InputRequest::Elicitation(request) => ServerRequest::ElicitRequest(request),
            InputRequest::ListRoots(request) => ServerRequest::ListRootsRequest(request),
            other => return Err(internal(format!("{other:?} is no question"))),
        };
        let answer = context.peer.send_request(question).await.map_err(internal)?;
        serde_json::to_value(answer).map_err(internal)?
    };
    Ok(CallToolResult::success(vec![ContentBlock::text(tell(answer))]).into())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("nothing")
}

fn internal(error: impl std::fmt::Display) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}

#[tool_handler]
impl ServerHandler for Peer {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_prompts()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_tools()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("rmcp-peer", "1.0.0"))
            .with_instructions("A peer for tests")
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        match self.revisions {
            Revisions::All => Cow::Borrowed(ProtocolVersion::KNOWN_VERSIONS),
            Revisions::HandshakeOnly => ProtocolVersion::known_up_to(&ProtocolVersion::V_2025_11_25).into(),
        }
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(vec![Resource::new(COUNTER, "counter")]))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let square = ResourceTemplate::new("peer://square/{number}", "square");
        Ok(ListResourceTemplatesResult::with_all_items(vec![square]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let number = request.uri.strip_prefix("peer://square/").and_then(|number| number.parse::<u32>().ok());
        let text = match number {
            Some(number) => (u64::from(number) * u64::from(number)).to_string(),
            None if request.uri == COUNTER => self.figures.counter.borrow().to_string(),
            None => return Err(ErrorData::resource_not_found(request.uri, None)),
        };
        Ok(ReadResourceResult::new(vec![ResourceContents::text(text, request.uri)]).into())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let topic = vec![PromptArgument::new("topic").with_required(true)];
        Ok(ListPromptsResult::with_all_items(vec![Prompt::new(
            "review",
            Some("Asks for a review"),
            Some(topic),
        )]))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let arguments = Value::from(request.arguments.unwrap_or_default());
        let text = format!("Please review {}.", text(&arguments["topic"]));
        Ok(GetPromptResult::new(vec![PromptMessage::new_text(Role::User, text)]).into())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut counter = self.figures.counter.subscribe();
        loop {
            tokio::select! {
                () = context.cancelled() => return Ok(()),
                changed = counter.changed() => changed.map_err(internal)?,
            }
            context.sink().notify_resource_updated(COUNTER).await.map_err(internal)?;
        }
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let mut counter = self.figures.counter.subscribe();
        tokio::spawn(async move {
            while counter.changed().await.is_ok() {
                let updated = ResourceUpdatedNotificationParam::new(request.uri.clone());
                if context.peer.notify_resource_updated(updated).await.is_err() {
                    break;
                }
            }
        });
        Ok(())
    }

    async fn unsubscribe(
        &self,
        _: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args[..] {
        ["stdio"] => stdio(Revisions::All).await,
        ["stdio", "--handshake-only"] => stdio(Revisions::HandshakeOnly).await,
        ["http"] => http(Revisions::All).await,
        ["http", "--handshake-only"] => http(Revisions::HandshakeOnly).await,
        _ => Err("usage: rmcp-server stdio|http [--handshake-only]".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn stdio(revisions: Revisions) -> Result<(), Box<dyn Error>> {
    Peer::new(revisions, Arc::default()).serve(rmcp::transport::stdio()).await?.waiting().await?;
    Ok(())
}

async fn http(revisions: Revisions) -> Result<(), Box<dyn Error>> {
    // rmcp checks `Host` by itself, `Origin` only with a list.
    let config = StreamableHttpServerConfig::default().with_allowed_origins(["http://127.0.0.1:*"]);
    let figures = Arc::<Figures>::default();
    let peer = move || Ok(Peer::new(revisions, figures.clone()));
    let service: StreamableHttpService<Peer, LocalSessionManager> =
        StreamableHttpService::new(peer, Default::default(), config);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}/mcp", listener.local_addr()?);
    let server = axum::serve(listener, axum::Router::new().nest_service("/mcp", service));
    tokio::select! {
        result = server.into_future() => result?,
        result = end_of_stdin() => result?,
    }
    Ok(())
}

async fn end_of_stdin() -> std::io::Result<()> {
    let mut buffer = [0; 1024];
    while tokio::io::stdin().read(&mut buffer).await? > 0 {}
    Ok(())
}
