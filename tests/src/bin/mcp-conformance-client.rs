//! The client that the official conformance suite tests: `mcp-client` and as little as possible around it.
//!
//! usage: `mcp-conformance-client URL`
//!
//! A server is used as far as it offers something: everything is listed, each tool called, each resource
//! read, each prompt got. What a server answers is the suite's to judge; only a connection that fails, or a
//! request without a usable answer, is an error here.

#![expect(clippy::print_stderr, reason = "says why it failed")]

use std::process::ExitCode;
use std::sync::Arc;

use mcp_client::{CallError, Client, ClientInfo, ConnectOptions, Outgoing, connect};
use mcp_protocol::{EraPolicy, Method, RawJson};
use mcp_tests::conformance::{Outcome, PATIENCE, call_tools, era, server_url};
use mcp_tests::host::Host;
use mcp_transport::{Endpoint, HttpEndpoint};
use mcp_transport_http::{HttpConnector, HttpOptions};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

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

async fn run() -> Outcome {
    let connector = HttpConnector::new(HttpOptions::default())?;
    let options = ConnectOptions {
        client_info: ClientInfo::new("mcp-conformance-client", env!("CARGO_PKG_VERSION")),
        capabilities: Host::capabilities()?,
        handler: Some(Arc::new(Host)),
        policy: era().map_or(EraPolicy::Auto, EraPolicy::Only),
        ..ConnectOptions::default()
    };
    let client = connect(&connector, &Endpoint::Http(HttpEndpoint::new(server_url()?)), &options).await?;
    let result = use_everything(&client).await;
    client.close().await;
    result
}

/// Lists what the server has, and uses all of it.
async fn use_everything(client: &Client) -> Outcome {
    let tools = items(client, Method::ToolsList).await?;
    call_tools(&tools, |call| request(client, Method::ToolsCall, call)).await?;
    if offers(client, "resources") {
        for Resource { uri } in items(client, Method::ResourcesList).await? {
            request(client, Method::ResourcesRead, json!({ "uri": uri })).await?;
        }
    }
    if offers(client, "prompts") {
        for Prompt { name, arguments } in items(client, Method::PromptsList).await? {
            let arguments: Map<_, _> =
                arguments.into_iter().map(|argument| (argument.name, Value::from("sample"))).collect();
            request(client, Method::PromptsGet, json!({ "name": name, "arguments": arguments })).await?;
        }
    }
    Ok(())
}

/// The member of a resource that is needed to read it.
#[derive(Debug, Deserialize)]
struct Resource {
    uri: String,
}

/// The members of a prompt that are needed to get it.
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

async fn items<T: DeserializeOwned>(client: &Client, method: Method) -> Outcome<Vec<T>> {
    let items = client.list(method, PATIENCE).await?;
    Ok(items.iter().map(RawJson::to).collect::<Result<_, _>>()?)
}

/// Sends a request and waits for its answer. An error that the server answers with is an answer.
async fn request(client: &Client, method: Method, params: impl Serialize) -> Outcome {
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
