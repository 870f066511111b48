//! What the scenarios share.

use std::sync::Arc;
use std::time::Duration;

use mcp_manager::{Invocation, Manager, RoutedCall, Setup};
use mcp_protocol::{Era, EraPolicy, Method, RawJson};
use mcp_registry::{
    ConnectionFilter, Definition, InvocationError, InvocationFilter, Phase, Policy, Selection, ServerRecord,
    Stage, Status,
};
use mcp_testkit::{ManualClock, ScriptedCluster};
use mcp_transport::{Endpoint, HttpEndpoint};
use serde_json::json;

/// A manager over scripted servers.
pub(crate) struct World {
    pub(crate) manager: Manager,
    pub(crate) cluster: ScriptedCluster,
    pub(crate) clock: ManualClock,
}

pub(crate) fn definition(name: &str) -> Definition {
    let url = format!("https://{name}.example/mcp").parse().unwrap();
    let mut definition = Definition::new(name.parse().unwrap(), Endpoint::Http(HttpEndpoint::new(url)));
    definition.protocol = EraPolicy::Only(Era::Handshake);
    definition
}

impl World {
    pub(crate) fn new(servers: &[&str], adjust: impl FnOnce(&mut Policy)) -> Self {
        let (cluster, clock) = (ScriptedCluster::new(), ManualClock::new());
        let mut policy = Policy::default();
        adjust(&mut policy);
        let manager = Manager::new(Setup {
            policy,
            client_info: mcp_client::ClientInfo::new("test", "0"),
            connector: Arc::new(cluster.clone()),
            timer: Arc::new(clock.clone()),
        });
        for name in servers {
            manager.register(definition(name)).unwrap();
        }
        Self { manager, cluster, clock }
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub(crate) async fn tool(&self, preferred: &[&str]) -> Result<Invocation, InvocationError> {
        self.call(Method::ToolsCall, preferred).await
    }

    pub(crate) async fn read(&self, preferred: &[&str]) -> Result<Invocation, InvocationError> {
        self.call(Method::ResourcesRead, preferred).await
    }

    pub(crate) async fn call(
        &self,
        method: Method,
        preferred: &[&str],
    ) -> Result<Invocation, InvocationError> {
        self.manager.call(routed(method, preferred)).await
    }

    pub(crate) fn record(&self, name: &str) -> Arc<ServerRecord> {
        self.manager.server(name).unwrap()
    }

    pub(crate) fn status(&self, name: &str) -> Status {
        self.record(name).status
    }

    /// (server, phase) of the invocation events after the first `skip` ones.
    pub(crate) fn phases(&self, skip: usize) -> Vec<(String, Phase)> {
        let events = self.manager.journal().invocation_events(&InvocationFilter::default());
        events.into_iter().skip(skip).map(|event| (event.server.to_string(), event.phase)).collect()
    }

    /// (server, new status) of the status changes after the first `skip` ones.
    pub(crate) fn transitions(&self, skip: usize) -> Vec<(String, Status)> {
        let events = self.manager.journal().connection_events(&ConnectionFilter::default());
        events.into_iter().skip(skip).map(|event| (event.server.to_string(), event.to_status)).collect()
    }

    /// (server, method) traffic after the first `skip` messages.
    pub(crate) fn traffic(&self, skip: usize) -> Vec<(String, String)> {
        self.cluster.calls().split_off(skip)
    }
}

pub(crate) fn routed(method: Method, preferred: &[&str]) -> RoutedCall {
    let params = match method {
        Method::ToolsCall => json!({"name": "search", "arguments": {"q": "x"}}),
        _ => json!({"uri": "demo://item"}),
    };
    let mut call = RoutedCall::new(method.clone(), RawJson::encode(&params).unwrap());
    call.selection = Selection {
        preferred: preferred.iter().map(ToString::to_string).collect(),
        tool: (method == Method::ToolsCall).then(|| "search".into()),
        ..Selection::default()
    };
    call
}

/// Attempts as (server, stage, category).
pub(crate) fn trace(error: &InvocationError) -> Vec<(String, Stage, Option<&'static str>)> {
    let entry = |attempt: &mcp_registry::Attempt| {
        let category = attempt.failure.as_ref().map(|failure| failure.category.as_str());
        (attempt.server.to_string(), attempt.stage, category)
    };
    error.attempts.iter().map(entry).collect()
}

/// Pairs of texts, for comparing with traffic.
pub(crate) fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect()
}

/// Expands a short notation: `("p", "IS IY VS VF")`.
pub(crate) fn phases(expected: &[(&str, &str)]) -> Vec<(String, Phase)> {
    let one = |word: &str| match word {
        "IS" => Phase::InitializeStart,
        "IY" => Phase::InitializeSuccess,
        "IF" => Phase::InitializeFailure,
        "VS" => Phase::InvokeStart,
        "VY" => Phase::InvokeSuccess,
        "VF" => Phase::InvokeFailure,
        other => panic!("no phase {other}"),
    };
    expected
        .iter()
        .flat_map(|(server, words)| words.split(' ').map(move |word| (server.to_string(), one(word))))
        .collect()
}
