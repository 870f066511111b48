//! A registry with its journal and the time.

use std::sync::Arc;
use std::time::Duration;

use mcp_protocol::Era;
use mcp_registry::{
    Candidates, Choice, ConnectionFilter, Definition, ErrorCategory, Failure, Handshake, Journal, KnownTool,
    Policy, Registry, RegistryChange, RegistryFilter, Selection, ServerKey, ServerRecord, Status, Timestamp,
};
use mcp_transport::{Endpoint, HttpEndpoint};

pub(crate) const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The default policy, but for what is adjusted.
pub(crate) fn policy(adjust: impl FnOnce(&mut Policy)) -> Policy {
    let mut policy = Policy::default();
    adjust(&mut policy);
    policy
}

pub(crate) fn definition(name: &str) -> Definition {
    let url = format!("https://{name}.example/mcp").parse().unwrap();
    Definition::new(name.parse().unwrap(), Endpoint::Http(HttpEndpoint::new(url)))
}

pub(crate) fn failure(text: &str) -> Failure {
    Failure::new(ErrorCategory::TransportError, text)
}

pub(crate) fn handshake() -> Handshake {
    Handshake {
        era: Era::Handshake,
        protocol_version: Some("2025-11-25".into()),
        server_info: None,
        capabilities: None,
        ttl: None,
    }
}

pub(crate) struct Core {
    pub(crate) registry: Registry,
    pub(crate) journal: Arc<Journal>,
    pub(crate) now: Timestamp,
}

impl Core {
    pub(crate) fn new(servers: &[&str], adjust: impl FnOnce(&mut Policy)) -> Self {
        let policy = policy(adjust);
        let journal = Arc::new(Journal::new(&policy));
        let mut registry = Registry::new(Arc::new(policy), journal.clone());
        for name in servers {
            registry.register(START, definition(name)).unwrap();
        }
        Self { registry, journal, now: START }
    }

    /// Registers a server that differs from the default.
    pub(crate) fn add(&mut self, name: &str, adjust: impl FnOnce(&mut Definition)) {
        let mut definition = definition(name);
        adjust(&mut definition);
        self.registry.register(self.now, definition).unwrap();
    }

    pub(crate) fn advance(&mut self, seconds: u64) {
        self.now = self.now + secs(seconds);
    }

    pub(crate) fn record(&self, name: &str) -> Arc<ServerRecord> {
        self.registry.get(name).unwrap().clone()
    }

    pub(crate) fn key(&self, name: &str) -> ServerKey {
        self.record(name).key()
    }

    pub(crate) fn fail(&mut self, name: &str) {
        let failure = Failure::new(ErrorCategory::HealthCheck, "timeout");
        self.registry.record_failure(self.now, &self.key(name), failure, None, false);
    }

    pub(crate) fn succeed(&mut self, name: &str) {
        self.registry.record_success(self.now, &self.key(name), None);
    }

    /// Connects and hands shakes, as a standalone handshake does.
    pub(crate) fn initialize(&mut self, name: &str) {
        let key = self.key(name);
        self.registry.connecting(self.now, &key);
        self.registry.handshake_succeeded(self.now, &key, handshake(), None, true);
    }

    /// The server's tools were listed; none says anything of its effects.
    pub(crate) fn list_tools(&mut self, name: &str, tools: &[&str]) {
        let tools = tools.iter().map(|&tool| (tool.into(), KnownTool::default())).collect();
        self.registry.tools_listed(self.now, &self.key(name), tools);
    }

    pub(crate) fn choice(&self, selection: Selection) -> Arc<Choice> {
        Arc::new(Choice { table: self.registry.table().clone(), selection: selection.into(), at: self.now })
    }

    /// Names of the candidates in their order.
    pub(crate) fn candidates(&self, selection: Selection) -> Vec<String> {
        Candidates::of(self.choice(selection)).map(|record| record.name().to_string()).collect()
    }

    pub(crate) fn choose(&self, preferred: &[&str]) -> Option<String> {
        self.registry.table().choose(&names(preferred)).map(|record| record.name().to_string())
    }

    pub(crate) fn transitions(&self) -> Vec<(Status, Status)> {
        let events = self.journal.connection_events(&ConnectionFilter::default());
        events.into_iter().map(|event| (event.from_status, event.to_status)).collect()
    }

    /// Every registry event in its order.
    pub(crate) fn changes(&self) -> Vec<RegistryChange> {
        let events = self.journal.registry_events(&RegistryFilter::default());
        events.into_iter().map(|event| event.change).collect()
    }
}

pub(crate) fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// A selection with a ranking.
pub(crate) fn preferring(servers: &[&str]) -> Selection {
    Selection { preferred: names(servers), ..Selection::default() }
}

/// A selection for a call of a tool.
pub(crate) fn calling(tool: &str) -> Selection {
    Selection { tool: Some(tool.into()), ..Selection::default() }
}
