//! Keeping servers that were registered at run time in a file. Source: contract §7.3, last paragraph.

use std::path::PathBuf;

use mcp_protocol::{Era, EraPolicy};
use mcp_registry::{
    Definition, Exposure, Glob, Kept, NameFilter, Policy, RateLimit, ServerName, Sharing, Store, StoreError,
};
use mcp_transport::{Endpoint, HttpEndpoint, OpenMethod, SseEndpoint, StdioEndpoint, TlsSettings};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::registration::Registration;
use crate::whole_file::WholeFile;

/// Version of the format.
const VERSION: u32 = 1;

/// Keeps servers in a JSON file that only its owner may read: `{"version", "servers": [{"name", "config",
/// "left_out"}]}`, where `config` has the keys of `POST /servers`. Secrets are not in it.
///
/// It is a [`WholeFile`].
#[derive(Debug, Clone)]
pub struct StateFile {
    file: WholeFile,
    policy: Policy,
}

#[derive(Serialize, Deserialize)]
struct State {
    version: u32,
    servers: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    name: String,
    config: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<String>,
}

impl StateFile {
    /// A store in this file, which need not exist. `policy` has the defaults that all servers share, and says
    /// what may be registered.
    #[must_use]
    pub fn new(path: PathBuf, policy: Policy) -> Self {
        Self { file: WholeFile::new(path), policy }
    }

    fn error(&self, doing: &str, error: impl std::fmt::Display) -> StoreError {
        StoreError(format!("cannot {doing} the state file {}: {error}", self.file.path().display()))
    }

    fn restore(&self, entry: Entry) -> Result<Kept, StoreError> {
        let Entry { name, config, left_out } = entry;
        let wrong = |what: String| {
            let advice = "mend the file, or move it away to start without what is kept in it";
            self.error("read", format!("server {name:?}: {what}; {advice}"))
        };
        let key: ServerName =
            name.parse().map_err(|error: mcp_registry::InvalidServerName| wrong(error.to_string()))?;
        let definition = Registration::replacing(&key, &Value::Object(config).to_string())
            .and_then(|registration| registration.into_definition(&self.policy))
            .map_err(|fields| wrong(fields.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")))?;
        if matches!(definition.endpoint, Endpoint::Stdio(_)) && !self.policy.allow_stdio_registration {
            return Err(wrong("it is a command, which needs `policy.allow_stdio_registration`".into()));
        }
        Ok(Kept { definition, left_out })
    }
}

impl Store for StateFile {
    fn save(&self, servers: &[Kept]) -> Result<(), StoreError> {
        let entry = |kept: &Kept| Entry {
            name: kept.definition.name.to_string(),
            config: config(&kept.definition, &self.policy),
            left_out: kept.left_out.clone(),
        };
        let state = State { version: VERSION, servers: servers.iter().map(entry).collect() };
        let mut bytes = serde_json::to_vec_pretty(&state).map_err(|error| self.error("write", error))?;
        bytes.push(b'\n');
        self.file.write(&bytes).map_err(|error| self.error("write", error))
    }

    fn load(&self) -> Result<Vec<Kept>, StoreError> {
        let Some(bytes) = self.file.read().map_err(|error| self.error("read", error))? else {
            return Ok(Vec::new());
        };
        let state: State = serde_json::from_slice(&bytes).map_err(|error| {
            self.error("read", format!("{error}; move it away to start without what is kept in it"))
        })?;
        if state.version != VERSION {
            let version = state.version;
            return Err(self.error("read", format!("it has version {version}, this gateway reads {VERSION}")));
        }
        state.servers.into_iter().map(|entry| self.restore(entry)).collect()
    }
}

/// The keys a definition would be registered with. What a policy gives to all servers is left to it.
fn config(definition: &Definition, policy: &Policy) -> Map<String, Value> {
    let millis = |duration: std::time::Duration| duration.as_millis() as u64;
    // Without `..`: a field that is new must not be forgotten here.
    let Definition {
        name: _,
        endpoint,
        enabled,
        description,
        group,
        priority,
        critical,
        protocol,
        request_timeout,
        restart,
        rate_limit,
        max_retries,
        retry_delay,
        health_path,
        probe,
        tools,
        trust_annotations,
        forward_user_token,
        discover_tools,
        sharing,
        exposure,
        on_tool_change,
        roots,
    } = definition;
    let mut keys = vec![
        ("transport", json!(endpoint.kind().to_string())),
        ("enabled", json!(enabled)),
        ("description", json!(description)),
        ("group", json!(group.as_ref().map(ServerName::as_str))),
        ("priority", json!(priority)),
        ("critical", json!(critical)),
        ("max_retries", json!(max_retries)),
        ("retry_delay_ms", json!(retry_delay.map(millis))),
        ("health_path", json!(health_path)),
        ("probe", json!(probe.as_str())),
        ("tools", json!(tools)),
        ("trust_annotations", json!(trust_annotations)),
        ("forward_user_token", json!(forward_user_token)),
        ("discover_tools", json!(discover_tools)),
        ("protocol", json!(era_policy(*protocol))),
        ("sharing", json!(sharing.map(Sharing::as_str))),
        ("on_tool_change", json!(on_tool_change.as_str())),
        ("roots", json!(roots)),
    ];
    keys.extend(exposure_keys(exposure));
    if *request_timeout != policy.request_timeout {
        keys.push(("timeout_ms", json!(millis(*request_timeout))));
    }
    if let Some(RateLimit { requests, per, burst }) = rate_limit {
        let limit = json!({"requests": requests, "per_ms": millis(*per), "burst": burst});
        keys.push(("rate_limit", limit));
    }
    match endpoint {
        Endpoint::Stdio(StdioEndpoint { command, args, env: _, inherit_env, allow_env, cwd }) => {
            keys.extend([
                ("command", json!(command)),
                ("args", json!(args)),
                ("inherit_env", json!(inherit_env)),
                ("allow_env", json!(allow_env)),
                ("cwd", json!(cwd)),
                ("restart", json!(restart)),
            ])
        }
        Endpoint::Sse(SseEndpoint { http, heartbeat, open_method }) => {
            keys.extend(http_keys(http));
            let method = match open_method {
                OpenMethod::Get => "get",
                OpenMethod::Post => "post",
            };
            keys.push(("open_method", json!(method)));
            let heartbeat = heartbeat.unwrap_or_default();
            if heartbeat != policy.sse_heartbeat {
                keys.push(("heartbeat_ms", json!(millis(heartbeat))));
            }
        }
        other => keys.extend(other.http().into_iter().flat_map(http_keys)),
    }
    let keys = keys.into_iter().filter(|(_, value)| !value.is_null());
    keys.map(|(key, value)| (key.to_owned(), value)).collect()
}

fn exposure_keys(exposure: &Exposure) -> [(&'static str, Value); 6] {
    let list = |globs: &[Glob]| json!(globs.iter().map(Glob::as_str).collect::<Vec<_>>());
    let allowed = |filter: &NameFilter| filter.allow.as_deref().map_or(Value::Null, list);
    let denied = |filter: &NameFilter| if filter.deny.is_empty() { Value::Null } else { list(&filter.deny) };
    let Exposure { tools, prompts, resources } = exposure;
    [
        ("allow_tools", allowed(tools)),
        ("deny_tools", denied(tools)),
        ("allow_prompts", allowed(prompts)),
        ("deny_prompts", denied(prompts)),
        ("allow_resources", allowed(resources)),
        ("deny_resources", denied(resources)),
    ]
}

fn http_keys(endpoint: &HttpEndpoint) -> [(&'static str, Value); 4] {
    let HttpEndpoint { url, headers: _, allow_insecure_http, auth: _, tls, proxy } = endpoint;
    let TlsSettings { ca_file, cert_file, key_file, danger_skip_verify } = tls;
    let files = [("ca_file", ca_file), ("cert_file", cert_file), ("key_file", key_file)];
    let mut trust: Map<String, Value> =
        files.into_iter().filter_map(|(key, file)| Some((key.to_owned(), json!(file.as_ref()?)))).collect();
    if *danger_skip_verify {
        trust.insert("danger_skip_verify".to_owned(), json!(true));
    }
    [
        ("url", json!(url.as_str())),
        ("allow_insecure_http", json!(allow_insecure_http)),
        ("tls", if trust.is_empty() { Value::Null } else { trust.into() }),
        ("proxy", json!(proxy.as_ref().map(url::Url::as_str))),
    ]
}

fn era_policy(policy: EraPolicy) -> &'static str {
    match policy {
        EraPolicy::Auto => "auto",
        EraPolicy::Only(Era::Handshake) => "legacy",
        EraPolicy::Only(Era::Stateless) => "modern",
    }
}
