//! The keys of `gateway` that concern the MCP endpoint.

use std::time::Duration;

use crate::checks::{Checks, set};
use crate::gateway::GatewaySpec;

/// How the MCP endpoint serves its clients. Source: product §4, bridging §4, §6.3 and §11.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BridgeSettings {
    /// Whether tools and prompts are called `owner__name` (true). A file that says otherwise has at most one owner,
    /// a server or a group, that is enabled.
    pub prefix: bool,
    /// Most sessions of clients at once (20 000).
    pub max_sessions: usize,
    /// How long a session may be unused (30 minutes).
    pub session_idle_timeout: Duration,
    /// How long a call that a server asked something during is held for its client (10 minutes).
    pub park_timeout: Duration,
    /// Most such calls of one principal (64); 0: none is held.
    pub max_parked: usize,
    /// Most entries on a page of an aggregated list (1000).
    pub page_size: usize,
    /// How long a client waits for slow servers when it opens a session, or asks for a list that is not known yet
    /// (1 second).
    pub list_wait: Duration,
}

impl Default for BridgeSettings {
    fn default() -> Self {
        Self {
            prefix: true,
            max_sessions: 20_000,
            session_idle_timeout: Duration::from_secs(30 * 60),
            park_timeout: Duration::from_secs(10 * 60),
            max_parked: 64,
            page_size: 1000,
            list_wait: Duration::from_secs(1),
        }
    }
}

impl GatewaySpec {
    /// The settings; a wrong key leaves its default.
    pub(crate) fn bridge(&self, checks: &mut Checks) -> BridgeSettings {
        let mut settings = BridgeSettings::default();
        set(&mut settings.prefix, self.prefix);
        for (target, field, value, range) in [
            (&mut settings.max_sessions, "max_sessions", self.max_sessions, 1..=1_000_000),
            (&mut settings.max_parked, "max_parked", self.max_parked, 0..=65_535),
            (&mut settings.page_size, "page_size", self.page_size, 1..=100_000),
        ] {
            set(target, checks.within([field], value, range));
        }
        for (target, field, value, least) in [
            (&mut settings.session_idle_timeout, "session_idle_timeout", self.session_idle_timeout, 1),
            (&mut settings.park_timeout, "park_timeout", self.park_timeout, 1),
            (&mut settings.list_wait, "list_wait", self.list_wait, 0),
        ] {
            set(target, checks.millis([field], value, least));
        }
        settings
    }
}
