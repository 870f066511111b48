//! What the scenarios share.

use std::sync::Arc;
use std::time::Duration;

use mcp_manager::{Invocation, Manager, RoutedCall, Setup};
use mcp_protocol::{Era, EraPolicy, Method, RawJson};
use mcp_registry::{
    ConnectionEvent, ConnectionFilter, Definition, InvocationError, InvocationEvent, InvocationFilter, Phase,
    Policy, Selection, ServerRecord, Stage, Status, Timestamp,
};
use mcp_testkit::assert::{Ending, Shape, assert_connection_filters, assert_invocation_filters};
use mcp_testkit::{ManualClock, ScriptedCluster};
use mcp_transport::{Connector, Endpoint, HttpEndpoint};
use serde_json::json;

/// Both methods that scenarios marked ‖ run with.
pub(crate) const METHODS: [Method; 2] = [Method::ToolsCall, Method::ResourcesRead];

/// The usual two servers, in either order of preference.
pub(crate) const PB: [&str; 2] = ["primary", "backup"];
pub(crate) const BP: [&str; 2] = ["backup", "primary"];

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
        Self::over(|cluster| Arc::new(cluster), servers, adjust)
    }

    /// A world that reaches its servers through a connector made of the scripted one.
    pub(crate) fn over(
        connector: impl FnOnce(ScriptedCluster) -> Arc<dyn Connector>,
        servers: &[&str],
        adjust: impl FnOnce(&mut Policy),
    ) -> Self {
        let (cluster, clock) = (ScriptedCluster::new(), ManualClock::new());
        let mut policy = Policy::default();
        adjust(&mut policy);
        let manager = Manager::new(Setup {
            policy,
            client_info: mcp_client::ClientInfo::new("test", "0"),
            connector: connector(cluster.clone()),
            timer: Arc::new(clock.clone()),
            random: Arc::new(mcp_testkit::Dice::new(1)),
        });
        for name in servers {
            manager.register(definition(name)).unwrap();
        }
        Self { manager, cluster, clock }
    }

    /// `primary` and `backup`.
    pub(crate) fn pair(unreachable_after: u32) -> Self {
        Self::new(&PB, |policy| policy.unreachable_after = unreachable_after)
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Lets background work run until it waits for the clock.
    pub(crate) async fn settle(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    /// An operator says the server failed.
    pub(crate) fn fail(&self, name: &str) {
        self.manager.mark_degraded(name, "manual degrade").unwrap();
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

    /// Makes a request and tells what it did. The filters of both event streams are checked on the way.
    pub(crate) async fn request(&self, method: &Method, preferred: &[&str]) -> Seen {
        let journal = self.manager.journal();
        let invocations = journal.invocation_events(&InvocationFilter::default()).len();
        let changes = journal.connection_events(&ConnectionFilter::default()).len();
        let traffic = self.cluster.calls().len();
        let outcome = self.call(method.clone(), preferred).await;
        let events = journal.invocation_events(&InvocationFilter::default()).split_off(invocations);
        let id = match &outcome {
            Ok(served) => served.request_id.to_string(),
            Err(error) => error.request_id.to_string(),
        };
        assert!(events.iter().all(|event| *event.request_id == *id && event.method == *method));
        let of_request = ConnectionFilter { correlation_id: Some(&id), ..Default::default() };
        let caused = journal.connection_events(&of_request);
        assert_eq!(caused, journal.connection_events(&ConnectionFilter::default()).split_off(changes));
        let ending = Shape::ROUTED.ending(&events).unwrap();
        let expected = match &outcome {
            Ok(_) => Ending::Success,
            Err(error) if error.attempts.is_empty() => Ending::Untried,
            Err(_) => Ending::Failure,
        };
        assert_eq!(ending, expected);
        for record in self.manager.table().servers() {
            self.assert_filters(&id, method, record.name().as_str(), &events, &caused);
        }
        Seen {
            outcome,
            phases: spell_phases(&events),
            transitions: spell_transitions(&caused),
            traffic: self.traffic(traffic),
            id,
            events,
        }
    }

    /// Filters by server, id, method and limit give just the request's part of both streams.
    fn assert_filters(
        &self,
        id: &str,
        method: &Method,
        server: &str,
        events: &[InvocationEvent],
        caused: &[ConnectionEvent],
    ) {
        let journal = self.manager.journal();
        let phases = events.iter().filter(|event| event.server.as_str() == server).map(|event| event.phase);
        let phases: Vec<_> = phases.collect();
        for other in METHODS {
            let expected: &[Phase] = if other == *method { &phases } else { &[] };
            assert_invocation_filters(journal, id, server, Some(other.as_str()), expected);
        }
        assert_invocation_filters(journal, id, server, None, &phases);
        let changes = caused.iter().filter(|event| event.server.as_str() == server);
        let statuses: Vec<_> = changes.map(|event| event.to_status).collect();
        assert_connection_filters(journal, id, server, &statuses);
    }

    pub(crate) fn record(&self, name: &str) -> Arc<ServerRecord> {
        self.manager.server(name).unwrap()
    }

    pub(crate) fn status(&self, name: &str) -> Status {
        self.record(name).status
    }

    /// Status and count of consecutive failures.
    pub(crate) fn standing(&self, name: &str) -> (Status, u32) {
        let record = self.record(name);
        (record.status, record.retry_count)
    }

    /// The invocation events after the first `skip` ones, spelled out.
    pub(crate) fn phases(&self, skip: usize) -> String {
        let events = self.manager.journal().invocation_events(&InvocationFilter::default());
        spell_phases(&events[skip..])
    }

    /// The status changes after the first `skip` ones, spelled out.
    pub(crate) fn transitions(&self, skip: usize) -> String {
        let events = self.manager.journal().connection_events(&ConnectionFilter::default());
        spell_transitions(&events[skip..])
    }

    /// The traffic after the first `skip` messages, spelled out.
    pub(crate) fn traffic(&self, skip: usize) -> String {
        spell(self.cluster.calls().into_iter().skip(skip).map(|(server, method)| {
            let word = word(&method).to_owned();
            (server, word)
        }))
    }

    /// The session a server was last spoken to on.
    pub(crate) fn last_session(&self, name: &str) -> String {
        let traffic = self.cluster.traffic();
        traffic.into_iter().rfind(|entry| entry.server == name).unwrap().session
    }
}

/// What one request did.
pub(crate) struct Seen {
    pub(crate) outcome: Result<Invocation, InvocationError>,
    /// Its invocation events as they are.
    pub(crate) events: Vec<InvocationEvent>,
    /// Its id in the events, if it left any.
    pub(crate) id: String,
    /// Its invocation events spelled out, like `primary IS IF, backup IS IY VS VY`.
    pub(crate) phases: String,
    /// The status changes under its id spelled out, like `primary H→D, backup D→H`.
    pub(crate) transitions: String,
    /// What the servers saw of it, like `primary init ready tool`.
    pub(crate) traffic: String,
}

impl Seen {
    /// Who served.
    pub(crate) fn server(&self) -> &str {
        self.outcome.as_ref().unwrap().server.as_str()
    }

    pub(crate) fn error(&self) -> &InvocationError {
        self.outcome.as_ref().unwrap_err()
    }

    /// Position and category of the failed phases.
    pub(crate) fn errors(&self) -> Vec<(usize, &'static str)> {
        let categories = self.events.iter().map(InvocationEvent::error_category).enumerate();
        categories.filter_map(|(at, category)| Some((at, category?.as_str()))).collect()
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

/// So many seconds after the start.
pub(crate) fn at(seconds: u64) -> Option<Timestamp> {
    Some(ManualClock::START + Duration::from_secs(seconds))
}

/// Attempts as (server, stage, category).
pub(crate) fn trace(error: &InvocationError) -> Vec<(String, Stage, Option<&'static str>)> {
    let entry = |attempt: &mcp_registry::Attempt| {
        let category = attempt.failure.as_ref().map(|failure| failure.category.as_str());
        (attempt.server.to_string(), attempt.stage, category)
    };
    error.attempts.iter().map(entry).collect()
}

/// How traffic spells a method.
pub(crate) fn word(method: &str) -> &str {
    match method {
        "initialize" => "init",
        "notifications/initialized" => "ready",
        "tools/call" => "tool",
        "resources/read" => "read",
        other => other,
    }
}

/// Servers with what they did, one after the other: `primary IS IF, backup IS IY VS VY`.
pub(crate) fn spell(items: impl IntoIterator<Item = (String, String)>) -> String {
    let (mut text, mut last) = (String::new(), String::new());
    for (server, word) in items {
        if server != last {
            text += if text.is_empty() { "" } else { ", " };
            text += &server;
            last = server;
        }
        text += " ";
        text += &word;
    }
    text
}

pub(crate) fn spell_phases(events: &[InvocationEvent]) -> String {
    let word = |phase| match phase {
        Phase::InitializeStart => "IS",
        Phase::InitializeSuccess => "IY",
        Phase::InitializeFailure => "IF",
        Phase::InvokeStart => "VS",
        Phase::InvokeSuccess => "VY",
        Phase::InvokeFailure => "VF",
    };
    spell(events.iter().map(|event| (event.server.to_string(), word(event.phase).to_owned())))
}

fn spell_transitions(events: &[ConnectionEvent]) -> String {
    let letter = |status| match status {
        Status::Healthy => 'H',
        Status::Degraded => 'D',
        Status::Unreachable => 'X',
    };
    let change =
        |event: &ConnectionEvent| format!("{}→{}", letter(event.from_status), letter(event.to_status));
    spell(events.iter().map(|event| (event.server.to_string(), change(event))))
}
