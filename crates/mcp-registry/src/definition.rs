//! What an operator says about a server.

use std::time::Duration;

use mcp_protocol::EraPolicy;
use mcp_transport::Endpoint;

use crate::exposure::Exposure;
use crate::name::ServerName;

/// How the health of a server is probed. Source: contract §3.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProbeKind {
    /// The health path of a URL first, an MCP-level probe where there is no such path.
    #[default]
    Auto,
    /// GET the health path; 2xx is healthy.
    HttpGet,
    /// `ping` (handshake era).
    McpPing,
    /// `server/discover` (stateless era).
    McpDiscover,
}

impl ProbeKind {
    /// The word the configuration uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::HttpGet => "http_get",
            Self::McpPing => "mcp_ping",
            Self::McpDiscover => "mcp_discover",
        }
    }
}

/// How many requests a server may be sent at most: a token bucket. Source: contract §7.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests that become due in each period; at least 1.
    pub requests: u32,
    /// The period; not zero.
    pub per: Duration,
    /// Most requests at once after a quiet time; at least 1.
    pub burst: u32,
}

impl Default for RateLimit {
    /// 10 a second, 20 at once.
    fn default() -> Self {
        Self { requests: 10, per: Duration::from_secs(1), burst: 20 }
    }
}

/// Whether clients of the MCP endpoint have sessions of their own at a server. Source: product §5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// One session serves them all.
    Shared,
    /// Each client session gets one.
    PerSession,
}

impl Sharing {
    /// The word the configuration uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::PerSession => "per_session",
        }
    }
}

/// What becomes of a tool whose definition is no longer the one seen first. Source: product §5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnToolChange {
    /// It is recorded.
    Allow,
    /// It is recorded and reported.
    #[default]
    Notify,
    /// It is recorded and reported, and the tool is not offered any more.
    Block,
}

impl OnToolChange {
    /// The word the configuration uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Notify => "notify",
            Self::Block => "block",
        }
    }
}

/// One server as configured. Whoever keeps it takes it apart field by field, so that a new one is not lost. Source:
/// contract §7.4.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// Key of the registry.
    pub name: ServerName,
    /// Where it is.
    pub endpoint: Endpoint,
    /// A disabled server is registered but never a candidate.
    pub enabled: bool,
    /// For people.
    pub description: Option<String>,
    /// Servers of one group stand in for one another.
    pub group: Option<ServerName>,
    /// 1 to 100; higher comes first in queries by priority.
    pub priority: u8,
    /// Whether the operator wants to hear at once when it is down.
    pub critical: bool,
    /// Which eras to try.
    pub protocol: EraPolicy,
    /// Limit of one request.
    pub request_timeout: Duration,
    /// Whether it is connected again by itself after it was lost. If not, it is once somebody asks for it: with a
    /// call, a check or a reconnect of their own. Source: contract §7.5, stdio.
    pub restart: bool,
    /// Limit of the requests sent to it; `None`: none.
    pub rate_limit: Option<RateLimit>,
    /// Attempts of a directed call beyond the first; `None`: the policy's.
    pub max_retries: Option<u32>,
    /// First wait of a directed call; `None`: the policy's.
    pub retry_delay: Option<Duration>,
    /// Path of the plain HTTP health probe.
    pub health_path: String,
    /// How it is probed.
    pub probe: ProbeKind,
    /// The only tools it is known to offer; `None`: ask it.
    pub tools: Option<Vec<String>>,
    /// Whether its tool annotations may permit a repeat.
    pub trust_annotations: bool,
    /// Whether a caller's token may travel to it on failover.
    pub forward_user_token: bool,
    /// Whether its tools are listed after each handshake.
    pub discover_tools: bool,
    /// Whether clients share a session there. `None`: they do, unless a client can be asked back (sampling,
    /// elicitation, roots) and the server speaks the handshake era over HTTP; that client gets its own.
    pub sharing: Option<Sharing>,
    /// What of it clients get to see, by its own names.
    pub exposure: Exposure,
    /// What becomes of tools it changes.
    pub on_tool_change: OnToolChange,
    /// `file` URIs that answer `roots/list` of a handshake server outside of any call; `None`: such a question is
    /// refused. Source: bridging §6.3.2.
    pub roots: Option<Vec<String>>,
}

impl Definition {
    /// A server with the defaults of contract §7.4.
    #[must_use]
    pub fn new(name: ServerName, endpoint: Endpoint) -> Self {
        Self {
            name,
            endpoint,
            enabled: true,
            description: None,
            group: None,
            priority: 50,
            critical: false,
            protocol: EraPolicy::Auto,
            request_timeout: Duration::from_secs(30),
            restart: true,
            rate_limit: None,
            max_retries: None,
            retry_delay: None,
            health_path: "/health".into(),
            probe: ProbeKind::Auto,
            tools: None,
            trust_annotations: false,
            forward_user_token: false,
            discover_tools: false,
            sharing: None,
            exposure: Exposure::default(),
            on_tool_change: OnToolChange::default(),
            roots: None,
        }
    }

    /// Whether a server of this definition can become one of the definition `new` as it stands, connected and with all
    /// that is known of it: nothing differs but what concerns clients of the gateway and people.
    #[must_use]
    pub fn carries_over(&self, new: &Self) -> bool {
        let Self {
            name,
            endpoint,
            enabled,
            description: _,
            group,
            priority: _,
            critical: _,
            protocol,
            request_timeout,
            restart,
            rate_limit,
            max_retries,
            retry_delay,
            health_path,
            probe,
            // They are part of what is known of it.
            tools,
            trust_annotations: _,
            forward_user_token,
            discover_tools,
            sharing: _,
            exposure: _,
            on_tool_change: _,
            // A server that was told of some asks again on a new connection.
            roots,
        } = self;
        (name, endpoint, enabled, group, protocol)
            == (&new.name, &new.endpoint, &new.enabled, &new.group, &new.protocol)
            && (request_timeout, restart, rate_limit) == (&new.request_timeout, &new.restart, &new.rate_limit)
            && (max_retries, retry_delay) == (&new.max_retries, &new.retry_delay)
            && (health_path, probe, tools) == (&new.health_path, &new.probe, &new.tools)
            && (forward_user_token, discover_tools) == (&new.forward_user_token, &new.discover_tools)
            && roots == &new.roots
    }

    /// The name clients see it under: that of its group, if it is in one. Source: product §4.
    #[must_use]
    pub fn owner(&self) -> &ServerName {
        self.group.as_ref().unwrap_or(&self.name)
    }
}
