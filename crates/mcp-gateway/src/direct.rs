//! `call` and `tools` without a running gateway: a manager of our own, for one command.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use mcp_api_types::{
    FailureCode, InvocationError, InvocationFailure, InvocationResult, InvokeTool, ServerTools,
    ValidationError,
};
use mcp_cli::{Direct, DirectError, DirectTarget};
use mcp_config::Config;
use mcp_manager::Manager;
use mcp_registry::{Definition, Policy, Selection, ServerName, ServerRecord};
use mcp_transport::{Endpoint, HttpEndpoint, StdioEndpoint};

use crate::signals::Signals;

/// Name of the only server where the command line names it by its address.
const ONLY: &str = "server";

/// Servers asked for their tools at the same time.
const AT_ONCE: usize = 16;

/// Does the work in this process.
pub(crate) struct InProcess;

impl Direct for InProcess {
    fn call<'a>(
        &'a self,
        target: &'a DirectTarget,
        request: InvokeTool,
    ) -> BoxFuture<'a, Result<InvocationResult, DirectError>> {
        Box::pin(async move {
            let manager = open(target)?;
            attended(&manager, call(&manager, request)).await
        })
    }

    fn tools<'a>(&'a self, target: &'a DirectTarget) -> BoxFuture<'a, Result<ServerTools, DirectError>> {
        Box::pin(async move {
            let manager = open(target)?;
            let listed = async { Ok((manager.refresh_all_tools().await, mcp_api::server_tools(&manager))) };
            let (records, tools) = attended(&manager, listed).await?;
            let failures: Vec<_> = records
                .iter()
                .filter_map(|record| Some(format!("{}: {}", record.name(), record.last_error.as_ref()?)))
                .collect();
            // Some servers' tools are better than none; all of them failing is a failure.
            if !failures.is_empty() && failures.len() == records.len() {
                return Err(DirectError::Connect(failures.join("; ")));
            }
            Ok(tools)
        })
    }
}

/// Does the work, unless a signal asks for the end; either way no server is left behind.
async fn attended<T>(
    manager: &Manager,
    work: impl Future<Output = Result<T, DirectError>>,
) -> Result<T, DirectError> {
    let outcome = match Signals::listen() {
        Ok(mut signals) => tokio::select! {
            outcome = work => outcome,
            signal = signals.next() => Err(DirectError::Connect(format!("interrupted by {signal}"))),
        },
        Err(error) => Err(DirectError::Connect(format!("signals cannot be watched: {error}"))),
    };
    manager.shutdown(Duration::ZERO).await;
    outcome
}

async fn call(manager: &Manager, request: InvokeTool) -> Result<InvocationResult, DirectError> {
    let routed = mcp_api::tool_call(request).map_err(|error| DirectError::Target(summary(&error)))?;
    let table = manager.table();
    if let Some(name) = routed.selection.preferred.iter().find(|name| table.get(name).is_none()) {
        return Err(DirectError::Target(format!("no server is named {name:?}")));
    }
    // With several servers it matters which of them offers the tool.
    if table.servers().len() > 1 {
        learn_tools(manager, &routed.selection).await;
    }
    let invocation =
        manager.call(routed).await.map_err(|error| DirectError::Call(mcp_api::invocation_failure(error)))?;
    serde_json::from_slice(&mcp_api::result_body(&invocation)).map_err(|error| {
        DirectError::Call(InvocationFailure {
            detail: InvocationError {
                message: format!("the answer of {} cannot be shown: {error}", invocation.server),
                method: invocation.method.as_str().to_owned(),
                code: FailureCode::AllCandidatesFailed,
                attempts: Vec::new(),
            },
        })
    })
}

/// Asks the servers that can come into question for their tools. The named ones come first, and if one of them
/// offers the tool nobody waits for the others.
async fn learn_tools(manager: &Manager, selection: &Selection) {
    let eligible = manager.table().servers().to_vec().into_iter().filter(|record| {
        let group = record.definition.group.as_ref().map(ServerName::as_str);
        record.definition.enabled && (selection.group.is_none() || selection.group.as_deref() == group)
    });
    let (named, others): (Vec<_>, Vec<_>) =
        eligible.partition(|record| selection.preferred.iter().any(|name| name == record.name().as_str()));
    let offered = ask_for_tools(manager, named, selection.tool.as_deref()).await;
    if !offered && !selection.preferred_only {
        ask_for_tools(manager, others, None).await;
    }
}

/// Whether one of the servers, all asked at once, offers the tool.
async fn ask_for_tools(manager: &Manager, servers: Vec<Arc<ServerRecord>>, tool: Option<&str>) -> bool {
    let asked = servers.into_iter().map(|record| {
        let manager = manager.clone();
        async move { manager.refresh_tools(record.name().as_str()).await }
    });
    let records: Vec<_> = futures::stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
    let offers = |record: &ServerRecord| {
        record.tools.as_ref().zip(tool).is_some_and(|(tools, tool)| tools.contains_key(tool))
    };
    records.iter().flatten().any(|record| offers(record))
}

fn summary(error: &ValidationError) -> String {
    error.detail.iter().map(|issue| issue.msg.as_str()).collect::<Vec<_>>().join("; ")
}

/// A manager over the servers the command line means.
fn open(target: &DirectTarget) -> Result<Manager, DirectError> {
    let (policy, networks, definitions) = match target {
        DirectTarget::Config(path) => {
            let config = Config::load(path, &mcp_config::process_env)
                .map_err(|error| DirectError::Config(crate::with_causes(&error)))?;
            (config.policy, config.gateway.outbound_allow, config.servers)
        }
        DirectTarget::Command { program, args } => {
            (Policy::default(), Vec::new(), vec![only(Endpoint::Stdio(StdioEndpoint::new(program, args)))?])
        }
        DirectTarget::Url(url) => {
            let url =
                url.parse().map_err(|error| DirectError::Target(format!("{url:?} is no URL: {error}")))?;
            (Policy::default(), Vec::new(), vec![only(Endpoint::Http(HttpEndpoint::new(url)))?])
        }
        _ => return Err(DirectError::Target("this build cannot reach such a server".into())),
    };
    let manager =
        crate::start::manager(policy, &networks).map_err(|failed| DirectError::Connect(failed.message))?;
    for definition in definitions {
        manager.register(definition).map_err(|error| DirectError::Config(error.to_string()))?;
    }
    Ok(manager)
}

fn only(endpoint: Endpoint) -> Result<Definition, DirectError> {
    let name = ONLY.parse().map_err(|error| DirectError::Target(format!("{error}")))?;
    let mut definition = Definition::new(name, endpoint);
    // Who gives the server's address along with a user's token means it to get the token.
    definition.forward_user_token = true;
    Ok(definition)
}
