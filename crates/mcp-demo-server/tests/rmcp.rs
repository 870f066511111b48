//! An independent client, the official Rust SDK, against both front ends in both eras.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(deprecated, reason = "sampling and roots are deprecated, and served until they are removed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mcp_demo_server::{DemoOptions, HttpEnd, StdioEnd, serve_http, serve_stdio};
use mcp_protocol::{Era, EraPolicy};
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, CreateMessageRequestParams,
    CreateMessageResult, ElicitRequestParams, ElicitResult, ElicitationAction, ErrorData,
    GetPromptRequestParams, Implementation, ListRootsResult, ProgressNotificationParam, ProtocolVersion,
    ReadResourceRequestParams, Root, SamplingMessage, ServerNotification, SubscriptionFilter,
};
use rmcp::service::{NotificationContext, RequestContext, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt, RoleClient};
use serde_json::{Value, json};
use tokio::io::duplex;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const BOUND: Duration = Duration::from_secs(20);

/// A client that answers whatever it is asked.
#[derive(Clone, Default)]
struct Willing {
    progress: Arc<AtomicUsize>,
}

impl ClientHandler for Willing {
    fn get_info(&self) -> ClientConfig {
        let capabilities: ClientCapabilities =
            serde_json::from_value(json!({ "elicitation": {}, "sampling": {}, "roots": {} })).unwrap();
        ClientConfig::new(capabilities, Implementation::new("willing", "0"))
    }

    async fn create_elicitation(
        &self,
        _request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(json!({ "answer": "blue" })))
    }

    async fn create_message(
        &self,
        _request: CreateMessageRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        Ok(CreateMessageResult::new(SamplingMessage::assistant_text("hello"), "model".into()))
    }

    async fn list_roots(&self, _context: RequestContext<RoleClient>) -> Result<ListRootsResult, ErrorData> {
        Ok(ListRootsResult::new(vec![Root::new("file:///workspace")]))
    }

    async fn on_progress(
        &self,
        _params: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.progress.fetch_add(1, Ordering::SeqCst);
    }
}

type Client = RunningService<RoleClient, Willing>;

fn lifecycle(era: Era) -> ClientLifecycleMode {
    match era {
        Era::Handshake => ClientLifecycleMode::Initialize,
        Era::Stateless => {
            ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] }
        }
    }
}

async fn over_pipe(era: Era, options: DemoOptions) -> (Client, JoinHandle<std::io::Result<StdioEnd>>) {
    let (ours, theirs) = duplex(1 << 16);
    let (reader, writer) = tokio::io::split(theirs);
    let server = tokio::spawn(serve_stdio(options, reader, writer));
    let client = Willing::default().serve_with_lifecycle(ours, lifecycle(era));
    (timeout(BOUND, client).await.unwrap().unwrap(), server)
}

async fn over_http(era: Era) -> (Client, oneshot::Sender<()>, JoinHandle<HttpEnd>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve_http(DemoOptions::default(), listener, async move {
        let _ = stopped.await;
    }));
    let transport = StreamableHttpClientTransport::from_uri(url);
    let client = Willing::default().serve_with_lifecycle(transport, lifecycle(era));
    (timeout(BOUND, client).await.unwrap().unwrap(), stop, server)
}

async fn call(client: &Client, name: &'static str, arguments: Value) -> CallToolResult {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    let params = CallToolRequestParams::new(name).with_arguments(arguments);
    timeout(BOUND, client.call_tool(params)).await.unwrap().unwrap()
}

fn text(result: &CallToolResult) -> String {
    result.content[0].as_text().unwrap().text.clone()
}

/// What any client does on any server.
async fn exercise(client: &Client, era: Era) {
    assert_eq!(client.list_all_tools().await.unwrap().len(), 14, "all pages");
    assert_eq!(client.list_all_resources().await.unwrap().len(), 7);
    assert_eq!(client.list_all_resource_templates().await.unwrap().len(), 1);
    assert_eq!(client.list_all_prompts().await.unwrap().len(), 2);

    let sum = call(client, "add", json!({ "a": 2, "b": 40 })).await;
    assert_eq!(sum.structured_content, Some(json!({ "sum": 42 })));
    let who = call(client, "whoami", json!({})).await;
    assert_eq!(who.structured_content.unwrap()["era"], era.to_string());
    assert_eq!(call(client, "fail", json!({})).await.is_error, Some(true));
    assert_eq!(text(&call(client, "route", json!({ "region": "eu" })).await), "routed to eu");
    assert_eq!(text(&call(client, "slow", json!({ "ms": 50, "steps": 3 })).await), "took 50ms");

    assert_eq!(text(&call(client, "ask_user", json!({})).await), "The user answered: blue");
    assert_eq!(text(&call(client, "sample", json!({})).await), "model says: hello");
    assert_eq!(text(&call(client, "list_roots", json!({})).await), "file:///workspace");

    let read = client.read_resource(ReadResourceRequestParams::new("demo://items/7")).await.unwrap();
    assert_eq!(read.contents.len(), 1);
    assert!(client.read_resource(ReadResourceRequestParams::new("demo://nope")).await.is_err());
    let prompt = client.get_prompt(GetPromptRequestParams::new("greeting")).await.unwrap();
    assert_eq!(prompt.messages.len(), 1);
    let styles = client.complete_prompt_simple("essay", "style", "fr").await.unwrap();
    assert_eq!(styles, ["friendly"]);
}

/// `subscriptions/listen`, which the stateless era has for news.
async fn listen(client: &Client) {
    let mut filter = SubscriptionFilter::default();
    filter.resource_subscriptions = Some(vec!["demo://counter".to_owned()]);
    let mut subscription = timeout(BOUND, client.listen(filter)).await.unwrap().unwrap();
    call(client, "increment", json!({})).await;
    let news = timeout(BOUND, subscription.next()).await.unwrap().unwrap().unwrap();
    assert!(matches!(news, ServerNotification::ResourceUpdatedNotification(_)), "{news:?}");
}

#[tokio::test]
async fn both_eras_over_a_pipe() {
    for era in [Era::Handshake, Era::Stateless] {
        let (client, server) = over_pipe(era, DemoOptions::default()).await;
        exercise(&client, era).await;
        if era == Era::Stateless {
            listen(&client).await;
        }
        assert!(client.service().progress.load(Ordering::SeqCst) >= 3, "{era}");
        client.cancel().await.unwrap();
        assert_eq!(timeout(BOUND, server).await.unwrap().unwrap().unwrap(), StdioEnd::Eof);
    }
}

#[tokio::test]
async fn both_eras_over_http() {
    for era in [Era::Handshake, Era::Stateless] {
        let (client, stop, server) = over_http(era).await;
        exercise(&client, era).await;
        if era == Era::Stateless {
            listen(&client).await;
        }
        assert!(client.service().progress.load(Ordering::SeqCst) >= 3, "{era}");
        client.cancel().await.unwrap();
        stop.send(()).unwrap();
        let HttpEnd::Shutdown(report) = timeout(BOUND, server).await.unwrap().unwrap() else {
            panic!("crash")
        };
        assert_eq!(report.cut, 0, "{era}");
    }
}

#[tokio::test]
async fn a_probing_client_finds_the_era_that_is_served() {
    for (policy, era) in [
        (EraPolicy::Auto, Era::Stateless),
        (EraPolicy::Only(Era::Stateless), Era::Stateless),
        (EraPolicy::Only(Era::Handshake), Era::Handshake),
    ] {
        let options = DemoOptions { protocol: policy, ..DemoOptions::default() };
        let (ours, theirs) = duplex(1 << 16);
        let (reader, writer) = tokio::io::split(theirs);
        tokio::spawn(serve_stdio(options, reader, writer));
        let probing = ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: Some(ProtocolVersion::V_2025_11_25),
        };
        let client = Willing::default().serve_with_lifecycle(ours, probing);
        let client = timeout(BOUND, client).await.unwrap().unwrap();
        let who = call(&client, "whoami", json!({})).await;
        assert_eq!(who.structured_content.unwrap()["era"], era.to_string(), "{policy:?}");
        client.cancel().await.unwrap();
    }
}
