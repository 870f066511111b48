//! What can be chosen about a demo server.

use mcp_protocol::{Era, EraPolicy, ProtocolVersion};
use mcp_serve_http::HostPolicy;

/// Settings of one demo server.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// The name in `serverInfo`, and what the tool `whoami` says.
    pub name: String,
    /// Which eras are served.
    pub protocol: EraPolicy,
    /// Entries on one page of a list, at least 1. Small by default, so that clients have to follow cursors.
    pub page_size: usize,
    /// Whether the tool `crash` is offered, which makes the front end with an exit status.
    pub allow_crash: bool,
    /// Over HTTP: the names this server may be addressed by.
    pub hosts: HostPolicy,
}

impl Default for DemoOptions {
    /// `demo`, both eras, five entries a page, no `crash`, loopback names.
    fn default() -> Self {
        Self {
            name: "demo".to_owned(),
            protocol: EraPolicy::Auto,
            page_size: 5,
            allow_crash: false,
            hosts: HostPolicy::loopback(),
        }
    }
}

impl DemoOptions {
    /// Whether the era is served.
    pub(crate) fn serves(&self, era: Era) -> bool {
        match self.protocol {
            EraPolicy::Auto => true,
            EraPolicy::Only(only) => only == era,
        }
    }

    /// The revisions served, newest first (wire reference, A2).
    pub(crate) fn versions(&self) -> Vec<ProtocolVersion> {
        ProtocolVersion::ALL.into_iter().rev().filter(|version| self.serves(version.era())).collect()
    }
}
