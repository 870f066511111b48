//! The client that the official conformance suite tests: `mcp-client` and as little as possible around it.
//!
//! usage: `mcp-conformance-client URL`
//!
//! `MCP_CONFORMANCE_PROTOCOL_VERSION` says which era to speak, `MCP_CONFORMANCE_SCENARIO` what is tested,
//! and `MCP_CONFORMANCE_CONTEXT` which calls to make if not all of them. A server is used as far as it
//! offers something: everything is listed, each tool called, each resource read, each prompt got. What a
//! server answers is the suite's to judge; only a connection that fails, or a request without a usable
//! answer, is an error here.

#![expect(clippy::print_stderr, reason = "says why it failed")]

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use futures::future::try_join_all;
use mcp_client::{CallError, Client, ClientInfo, ConnectOptions, Outgoing, connect};
use mcp_protocol::{Era, EraPolicy, Limits, Method, ProtocolVersion, RawJson};
use mcp_transport::{Endpoint, HttpEndpoint};
use mcp_transport_http::{HttpConnector, HttpOptions};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Longer than any scenario keeps an answer back, shorter than the suite waits.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the client says it can do: the handler below answers all of it.
const CAPABILITIES: &str = r#"{"elicitation":{},"roots":{},"sampling":{}}"#;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mcp-conformance-client: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().next_back().unwrap_or_default().parse()?;
    let connector = HttpConnector::new(HttpOptions::default())?;
    let options = ConnectOptions {
        client_info: ClientInfo::new("mcp-conformance-client", env!("CARGO_PKG_VERSION")),
        capabilities: RawJson::parse(CAPABILITIES, &Limits::default())?,
        policy: policy(),
        ..ConnectOptions::default()
    };
    let client = connect(&connector, &Endpoint::Http(HttpEndpoint::new(url)), &options).await?;
    let result = match variable("MCP_CONFORMANCE_SCENARIO").as_str() {
        "http-custom-headers" => make_given_calls(&client).await,
        "json-schema-2020-12-preservation" => echo_schema(&client).await,
        _ => use_everything(&client).await,
    };
    client.close().await;
    result
}

/// The era of the revision the suite asks for; both if it asks for none.
fn policy() -> EraPolicy {
    match variable("MCP_CONFORMANCE_PROTOCOL_VERSION").as_str() {
        "" => EraPolicy::Auto,
        version if version == ProtocolVersion::LATEST_STATELESS.as_str() => EraPolicy::Only(Era::Stateless),
        _ => EraPolicy::Only(Era::Handshake),
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// The members of tools, resources and prompts that are needed to use them.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tool {
    name: String,
    #[serde(default = "RawJson::empty_object")]
    input_schema: RawJson,
}

#[derive(Debug, Deserialize)]
struct Resource {
    uri: String,
}

#[derive(Debug, Deserialize)]
struct Prompt {
    name: String,
    #[serde(default)]
    arguments: Vec<PromptArgument>,
}

#[derive(Debug, Deserialize)]
struct PromptArgument {
    name: String,
}

/// The params of `tools/call` and `prompts/get`.
#[derive(Debug, Serialize)]
struct Named<'a, T> {
    name: &'a str,
    arguments: T,
}

/// Lists what the server says it has, and uses all of it. Tools are called at the same time, which shows
/// whether one call takes what belongs to another.
async fn use_everything(client: &Client) -> Result<(), Box<dyn Error>> {
    let tools: Vec<Tool> = items(client, Method::ToolsList).await?;
    let calls = tools.iter().map(|tool| {
        let arguments = sample(&tool.input_schema);
        request(client, Method::ToolsCall, Named { name: &tool.name, arguments })
    });
    try_join_all(calls).await?;
    if offers(client, "resources") {
        for Resource { uri } in items(client, Method::ResourcesList).await? {
            request(client, Method::ResourcesRead, serde_json::json!({ "uri": uri })).await?;
        }
    }
    if offers(client, "prompts") {
        for Prompt { name, arguments } in items(client, Method::PromptsList).await? {
            let arguments: Map<_, _> =
                arguments.into_iter().map(|argument| (argument.name, "sample".into())).collect();
            request(client, Method::PromptsGet, Named { name: &name, arguments }).await?;
        }
    }
    Ok(())
}

/// Makes the calls of the context; the list of tools says which arguments are repeated in headers.
async fn make_given_calls(client: &Client) -> Result<(), Box<dyn Error>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Context {
        tool_calls: Vec<GivenCall>,
    }
    #[derive(Deserialize)]
    struct GivenCall {
        name: String,
        arguments: Value,
    }
    let context: Context = serde_json::from_str(&variable("MCP_CONFORMANCE_CONTEXT"))?;
    items::<Tool>(client, Method::ToolsList).await?;
    for GivenCall { name, arguments } in context.tool_calls {
        request(client, Method::ToolsCall, Named { name: &name, arguments }).await?;
    }
    Ok(())
}

/// Sends the schema of the first tool back to the second one.
async fn echo_schema(client: &Client) -> Result<(), Box<dyn Error>> {
    #[derive(Serialize)]
    struct Echo<'a> {
        schema: &'a RawJson,
    }
    let tools: Vec<Tool> = items(client, Method::ToolsList).await?;
    let [tool, echo] = &tools[..] else { return Err("there are not two tools".into()) };
    let arguments = Echo { schema: &tool.input_schema };
    request(client, Method::ToolsCall, Named { name: &echo.name, arguments }).await?;
    Ok(())
}

async fn items<T: serde::de::DeserializeOwned>(
    client: &Client,
    method: Method,
) -> Result<Vec<T>, Box<dyn Error>> {
    let items = client.list(method, PATIENCE).await?;
    Ok(items.iter().map(RawJson::to).collect::<Result<_, _>>()?)
}

/// Sends a request and waits for its answer. An error that the server answers with is an answer.
async fn request(client: &Client, method: Method, params: impl Serialize) -> Result<(), Box<dyn Error>> {
    let params = RawJson::encode(&params)?;
    match client.call(Outgoing::new(method, Some(params)), PATIENCE).await {
        Ok(_) | Err(CallError::Rpc { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn offers(client: &Client, capability: &str) -> bool {
    let profile = client.profile();
    profile.capabilities.as_ref().is_some_and(|capabilities| capabilities.get(capability).is_some())
}

/// Arguments that fit a schema of the simple kind: an object with a value of the right type for each of its
/// properties.
fn sample(schema: &RawJson) -> Map<String, Value> {
    let schema: Value = schema.to().unwrap_or_default();
    let properties = schema.get("properties").and_then(Value::as_object);
    let sample = |schema: &Value| match schema.get("type").and_then(Value::as_str) {
        Some("number" | "integer") => 1.into(),
        Some("boolean") => true.into(),
        Some("object") => Map::new().into(),
        Some("array") => Value::Array(Vec::new()),
        Some("null") => Value::Null,
        _ => "sample".into(),
    };
    properties.into_iter().flatten().map(|(name, schema)| (name.clone(), sample(schema))).collect()
}
