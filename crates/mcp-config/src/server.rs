//! The keys of one server.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mcp_protocol::{Era, EraPolicy};
use mcp_registry::{Definition, Policy, ProbeKind, ServerName};
use secrecy::SecretString;
use serde::Deserialize;

use crate::checks::{Checks, set};
use crate::invalid::InvalidField;
use crate::name::owner_name;

mod auth;
mod endpoint;
mod exposure;
mod http;
mod limit;

pub use auth::AuthSpec;
pub(crate) use exposure::only;
use exposure::{ON_TOOL_CHANGE, SHARINGS};
pub use http::TlsSpec;
pub use limit::RateLimitSpec;

/// The keys of one server as written, in a file or in the body of `POST /servers`. Unknown ones are
/// refused. A missing key means its default. Source: contract §7.4.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ServerSpec {
    /// `stdio`, `http` or `sse`; by default what `command` or `url` says.
    pub transport: Option<String>,
    /// Whether calls may go to it (true).
    pub enabled: Option<bool>,
    /// For people.
    pub description: Option<String>,
    /// The group of servers that stand in for one another.
    pub group: Option<String>,
    /// 1 to 100 (50); higher is preferred.
    pub priority: Option<u64>,
    /// Whether its failure is reported at once (false).
    pub critical: Option<bool>,
    /// Limit of one request in milliseconds (the policy's `request_timeout`).
    pub timeout_ms: Option<u64>,
    /// Attempts of a directed call beyond the first, 0 to 9 (the policy's).
    pub max_retries: Option<u64>,
    /// First wait between such attempts in milliseconds (the policy's).
    pub retry_delay_ms: Option<u64>,
    /// Path of the plain HTTP health probe (`/health`).
    pub health_path: Option<String>,
    /// `auto`, `http_get`, `mcp_ping` or `mcp_discover`.
    pub probe: Option<String>,
    /// The only tools it is known to offer.
    pub tools: Option<Vec<String>>,
    /// Whether its tool annotations may permit a repeat (false).
    pub trust_annotations: Option<bool>,
    /// Whether a caller's token may travel to it on failover (false).
    pub forward_user_token: Option<bool>,
    /// Whether its tools are listed after each handshake (true).
    pub discover_tools: Option<bool>,
    /// `auto`, `legacy` or `modern`.
    pub protocol: Option<String>,
    /// `shared` or `per_session`, whether clients share a session there; by default what they need.
    pub sharing: Option<String>,
    /// Patterns of the only tools clients get to see.
    pub allow_tools: Option<Vec<String>>,
    /// Patterns of tools they do not get to see, even if allowed.
    pub deny_tools: Option<Vec<String>>,
    /// Patterns of the only prompts clients get to see.
    pub allow_prompts: Option<Vec<String>>,
    /// Patterns of prompts they do not get to see, even if allowed.
    pub deny_prompts: Option<Vec<String>>,
    /// Patterns of the only URIs of resources, and of templates, clients get to see.
    pub allow_resources: Option<Vec<String>>,
    /// Patterns of those they do not get to see, even if allowed.
    pub deny_resources: Option<Vec<String>>,
    /// `allow`, `notify` or `block` (`notify`): what becomes of tools it changes.
    pub on_tool_change: Option<String>,
    /// `file` URIs for a handshake server that asks for roots outside of any call.
    pub roots: Option<Vec<String>>,
    /// http: the endpoint; one without a path gets `/mcp`. sse: the event stream.
    pub url: Option<String>,
    /// http, sse: headers sent with every request.
    pub headers: Option<BTreeMap<String, SecretString>>,
    /// http, sse: whether plain `http` to a host that is not loopback is accepted (false).
    pub allow_insecure_http: Option<bool>,
    /// http, sse: the credentials sent with every request.
    pub auth: Option<AuthSpec>,
    /// http, sse: whom to trust, and who we are.
    pub tls: Option<TlsSpec>,
    /// http, sse: the URL of the proxy all requests go through.
    pub proxy: Option<String>,
    /// http, sse: limit of the requests sent (none).
    pub rate_limit: Option<RateLimitSpec>,
    /// sse: how often the server sends something at least, in milliseconds (the policy's `sse_heartbeat`); 0:
    /// it may be silent for ever.
    pub heartbeat_ms: Option<u64>,
    /// sse: `get` or `post`, the method that opens the stream (`get`).
    pub open_method: Option<String>,
    /// stdio: the program.
    pub command: Option<String>,
    /// stdio: its arguments.
    pub args: Option<Vec<String>>,
    /// stdio: variables added to its environment.
    pub env: Option<BTreeMap<String, SecretString>>,
    /// stdio: names of further variables it inherits.
    pub inherit_env: Option<Vec<String>>,
    /// stdio: names that `env` and `inherit_env` may hold although such a variable makes programs load foreign
    /// code.
    pub allow_env: Option<Vec<String>>,
    /// stdio: its working directory.
    pub cwd: Option<PathBuf>,
    /// stdio: whether it is started again by itself after it ended (true).
    pub restart: Option<bool>,
}

/// The definition or every field that is wrong, and the fields for which the transport would refuse the server.
pub(crate) type Judgement = (Result<Definition, Vec<InvalidField>>, Vec<InvalidField>);

/// Most names in `tools`.
const MAX_TOOLS: usize = 10_000;

const PROTOCOLS: [(&str, EraPolicy); 3] = [
    ("auto", EraPolicy::Auto),
    ("legacy", EraPolicy::Only(Era::Handshake)),
    ("modern", EraPolicy::Only(Era::Stateless)),
];

const PROBES: [(&str, ProbeKind); 4] = [
    (ProbeKind::Auto.as_str(), ProbeKind::Auto),
    (ProbeKind::HttpGet.as_str(), ProbeKind::HttpGet),
    (ProbeKind::McpPing.as_str(), ProbeKind::McpPing),
    (ProbeKind::McpDiscover.as_str(), ProbeKind::McpDiscover),
];

impl ServerSpec {
    /// Checks every key and fills in the defaults; `policy` has those that all servers share.
    ///
    /// # Errors
    ///
    /// Every field that is wrong, and every one for which the transport would refuse the server.
    pub fn into_definition(self, name: ServerName, policy: &Policy) -> Result<Definition, Vec<InvalidField>> {
        match self.judge(name, policy) {
            (Ok(definition), refused) if refused.is_empty() => Ok(definition),
            (Ok(_), refused) => Err(refused),
            (Err(mut wrong), refused) => {
                wrong.extend(refused);
                Err(wrong)
            }
        }
    }

    /// The same, with what the transport would refuse told apart: it spoils the server, not the file.
    pub(crate) fn judge(self, name: ServerName, policy: &Policy) -> Judgement {
        let mut refused = Checks::default();
        let definition = self.define(name, policy, &mut refused);
        (definition, refused.into_faults())
    }

    fn define(
        self,
        name: ServerName,
        policy: &Policy,
        refused: &mut Checks,
    ) -> Result<Definition, Vec<InvalidField>> {
        let mut checks = Checks::default();
        let group = self.check_group(&name, &mut checks);
        let priority = checks.within(["priority"], self.priority, 1..=100);
        let protocol = checks.word(["protocol"], self.protocol.as_deref(), &PROTOCOLS);
        let stateless_sse =
            self.transport.as_deref() == Some("sse") && protocol == Some(EraPolicy::Only(Era::Stateless));
        checks.ensure(!stateless_sse, ["protocol"], "`modern` does not exist over `sse`; leave it out");
        let probe = checks.word(["probe"], self.probe.as_deref(), &PROBES);
        let request_timeout = checks.millis(["timeout_ms"], self.timeout_ms, 1);
        let max_retries = checks.within(["max_retries"], self.max_retries, 0..=9);
        let retry_delay = checks.millis(["retry_delay_ms"], self.retry_delay_ms, 0);
        let rate_limit = self.rate_limit.as_ref().and_then(|limit| limit.check(&mut checks));
        self.check_health_path(&mut checks);
        self.check_tools(&mut checks);
        let sharing = checks.word(["sharing"], self.sharing.as_deref(), &SHARINGS);
        let on_tool_change = checks.word(["on_tool_change"], self.on_tool_change.as_deref(), &ON_TOOL_CHANGE);
        let exposure = self.check_exposure(&mut checks);
        self.check_roots(protocol, &mut checks);
        let faults = checks.into_faults();
        let endpoint = match endpoint::endpoint(&self, policy, refused) {
            Ok(endpoint) if faults.is_empty() => endpoint,
            Ok(_) => return Err(faults),
            Err(mut all) => {
                all.extend(faults);
                return Err(all);
            }
        };

        let mut definition = Definition::new(name, endpoint);
        definition.sharing = sharing;
        definition.exposure = exposure;
        definition.roots = self.roots;
        definition.description = self.description;
        definition.group = group;
        definition.request_timeout = request_timeout.unwrap_or(policy.request_timeout);
        definition.rate_limit = rate_limit;
        definition.max_retries = max_retries;
        definition.retry_delay = retry_delay;
        definition.tools = self.tools;
        set(&mut definition.enabled, self.enabled);
        set(&mut definition.priority, priority);
        set(&mut definition.critical, self.critical);
        set(&mut definition.restart, self.restart);
        set(&mut definition.protocol, protocol);
        set(&mut definition.health_path, self.health_path);
        set(&mut definition.probe, probe);
        set(&mut definition.on_tool_change, on_tool_change);
        set(&mut definition.trust_annotations, self.trust_annotations);
        set(&mut definition.forward_user_token, self.forward_user_token);
        // Unlike the contract's library default: a gateway that does not know its servers' tools would send a
        // call to a server that never had the tool (docs/architecture.md, "Deviations").
        definition.discover_tools = self.discover_tools.unwrap_or(true);
        Ok(definition)
    }

    fn check_group(&self, name: &ServerName, checks: &mut Checks) -> Option<ServerName> {
        let group = checks.valid(["group"], owner_name(self.group.as_deref()?))?;
        checks.ensure(group != *name, ["group"], GROUP_IS_SERVER);
        Some(group)
    }

    fn check_health_path(&self, checks: &mut Checks) {
        let Some(path) = &self.health_path else { return };
        let plain = |c: char| c.is_ascii_graphic() && c != '#';
        let fits = path.starts_with('/') && path.chars().all(plain);
        checks.ensure(fits, ["health_path"], "must be a URL path: a `/` first, no spaces, no `#`");
    }

    fn check_tools(&self, checks: &mut Checks) {
        let Some(tools) = &self.tools else { return };
        checks.ensure(tools.len() <= MAX_TOOLS, ["tools"], "names more than 10000 tools");
        if let Some(index) = tools.iter().position(String::is_empty) {
            checks.fail(["tools", &index.to_string()], "must not be empty");
        }
    }
}

/// Servers and groups share one set of names. Source: product, "HTTP surface".
pub(crate) const GROUP_IS_SERVER: &str =
    "must not be the name of a server: servers and groups share one set of names";
