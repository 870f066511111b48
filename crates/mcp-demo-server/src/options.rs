//! What can be chosen about a demo server.

use mcp_protocol::{EraPolicy, ProtocolVersion};
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
    /// The revisions served, newest first (wire reference, A2).
    pub(crate) fn versions(&self) -> Vec<ProtocolVersion> {
        let is_served = |version: &ProtocolVersion| match self.protocol {
            EraPolicy::Auto => true,
            EraPolicy::Only(era) => version.era() == era,
        };
        ProtocolVersion::ALL.into_iter().rev().filter(is_served).collect()
    }
}
