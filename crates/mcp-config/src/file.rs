//! A whole configuration file.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mcp_registry::{Definition, Policy};
use serde::de::DeserializeOwned;

use crate::client;
use crate::diagnostic::{ConfigError, Diagnostic, Finding, positioned};
use crate::environment::{Dialect, Env, has_secret_reference, substitute};
use crate::gateway::{GatewaySettings, GatewaySpec};
use crate::invalid::InvalidField;
use crate::name::server_name;
use crate::policy::PolicySpec;
use crate::read::{Fault, dotted, read, unknown_key};
use crate::server::{GROUP_IS_SERVER, ServerSpec};
use crate::tree::{Entry, Node, Value};
use crate::view::View;
use crate::{from_json, from_toml};

mod views;

/// Largest accepted file in bytes: 1 MiB.
pub const MAX_BYTES: usize = 1 << 20;

/// What a configuration file says, checked, with its defaults filled in.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Config {
    /// How clients reach the gateway.
    pub gateway: GatewaySettings,
    /// The parameters all servers share.
    pub policy: Policy,
    /// The servers, in the order of the file. Their names are distinct.
    pub servers: Vec<Definition>,
    /// The views, in the order of the file. Their names are distinct.
    pub views: Vec<View>,
    /// The file it was read from.
    pub source: Option<PathBuf>,
    /// What was ignored or looks wrong.
    pub warnings: Vec<Diagnostic>,
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// TOML.
    Toml,
    /// JSON with the same keys, or the document of an MCP client. Comments and trailing commas are fine.
    Json,
}

impl Format {
    /// By the extension; without a telling one JSON if the text starts with `{`, which TOML cannot.
    #[must_use]
    pub fn of(path: &Path, text: &str) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => Self::Toml,
            Some("json" | "jsonc") => Self::Json,
            _ if text.trim_start_matches('\u{feff}').trim_start().starts_with('{') => Self::Json,
            _ => Self::Toml,
        }
    }
}

/// The file to use: `explicit` (`--config`), `$MCP_GATEWAY_CONFIG`, `mcp-gateway.toml` in `dir`,
/// `mcp-gateway/config.toml` in `$XDG_CONFIG_HOME` (by default `~/.config`). The first two need not exist:
/// who names a file wants to hear that it is missing.
#[must_use]
pub fn locate(explicit: Option<&Path>, dir: &Path, env: Env<'_>) -> Option<PathBuf> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(named) = explicit.map(Path::to_owned).or_else(|| set("MCP_GATEWAY_CONFIG")) {
        return Some(named);
    }
    // The XDG specification has relative paths ignored.
    let base = set("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
    let base = base.or_else(|| set("HOME").map(|home| home.join(".config")));
    let places = [Some(dir.join("mcp-gateway.toml")), base.map(|base| base.join("mcp-gateway/config.toml"))];
    places.into_iter().flatten().find(|path| path.is_file())
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or it is wrong; then everything that is wrong with it.
    pub fn load(path: &Path, env: Env<'_>) -> Result<Self, ConfigError> {
        let bytes =
            read_bounded(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let origin = path.display().to_string();
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(error.as_bytes());
                let finding = Finding::at(valid, "not UTF-8; save the file in that encoding");
                return Err(ConfigError::Invalid(positioned(vec![finding], &text, &origin.into())));
            }
        };
        let mut config = Self::parse(&text, Format::of(path, &text), &origin, env)?;
        config.source = Some(path.to_owned());
        Ok(config)
    }

    /// Checks the text of a file. `origin` is what errors call the file.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn parse(text: &str, format: Format, origin: &str, env: Env<'_>) -> Result<Self, ConfigError> {
        let origin: Arc<str> = origin.into();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = Reader::default();
        let config = reader.document(text, format, env);
        let Reader { findings, warnings, .. } = reader;
        match config {
            Some(mut config) if findings.is_empty() => {
                config.warnings = positioned(warnings, text, &origin);
                Ok(config)
            }
            _ => Err(ConfigError::Invalid(positioned(findings, text, &origin))),
        }
    }
}

/// One byte more than allowed is enough to see that there are too many.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads the sections of a document and collects what is wrong.
#[derive(Default)]
struct Reader {
    findings: Vec<Finding>,
    warnings: Vec<Finding>,
    /// Values are not checked when variables are missing: they would be wrong for that reason alone.
    values_unknown: bool,
    /// The document is a client's: a server that cannot be reached as it is must not spoil the others.
    lenient: bool,
}

impl Reader {
    fn document(&mut self, text: &str, format: Format, env: Env<'_>) -> Option<Config> {
        if text.len() > MAX_BYTES {
            self.findings.push(Finding { at: None, message: format!("larger than {MAX_BYTES} bytes") });
            return None;
        }
        let parsed = match format {
            Format::Toml => from_toml::parse(text),
            Format::Json => from_json::parse_relaxed(text).map_err(|finding| vec![finding]),
        };
        let mut document = parsed.map_err(|findings| self.findings.extend(findings)).ok()?;
        if !matches!(document.value, Value::Table(_)) {
            self.findings.push(Finding::at(document.at, "must be a JSON object"));
            return None;
        }
        let client = (format == Format::Json).then(|| client::servers_key(&document)).flatten();
        if let Some(key) = client {
            self.warnings = client::rewrite(&mut document, key);
        }
        self.warn_about_arguments(&document, client.unwrap_or("servers"));
        self.lenient = client.is_some();
        let dialect = if client.is_some() { Dialect::Client } else { Dialect::Own };
        self.findings.extend(substitute(&mut document, text, dialect, env));
        self.values_unknown = !self.findings.is_empty();

        let policy = self.section(&mut document, "policy", PolicySpec::into_policy);
        let prefix_at = document.entry("gateway").and_then(|entry| entry.node.entry("prefix"));
        let prefix_at = prefix_at.map(|entry| entry.node.at);
        let gateway = self.section(&mut document, "gateway", GatewaySpec::into_settings);
        let servers = self.servers(&mut document, client.unwrap_or("servers"), &policy);
        if !gateway.bridge.prefix {
            self.check_single(&servers, prefix_at);
        }
        let views = self.views(&mut document, &servers);
        for entry in document.entries() {
            let reason = unknown_key(&entry.key, &["gateway", "policy", "servers", "views"]);
            let field = InvalidField { path: vec![entry.key.clone()], reason };
            self.findings.push(Finding::at(entry.key_at, dotted(&[], &field)));
        }
        Some(Config { gateway, policy, servers, views, source: None, warnings: Vec::new() })
    }

    /// Arguments of a process can be read by every user of the machine.
    fn warn_about_arguments(&mut self, document: &Node, section: &str) {
        let servers = document.entry(section).into_iter().flat_map(|servers| servers.node.entries());
        for server in servers {
            let Some(Entry { node: Node { value: Value::List(args), .. }, .. }) = server.node.entry("args")
            else {
                continue;
            };
            for (index, arg) in args.iter().enumerate() {
                if matches!(&arg.value, Value::Text(text) if has_secret_reference(text)) {
                    let reason =
                        "shows a secret in the list of processes; pass it in `env` if the program can";
                    let field = InvalidField::new(["args", &index.to_string()], reason);
                    self.warnings.push(Finding::at(arg.at, dotted(&[section, &server.key], &field)));
                }
            }
        }
    }

    /// A table at the top level.
    fn section<S: DeserializeOwned + Default, T: Default>(
        &mut self,
        document: &mut Node,
        name: &str,
        check: impl FnOnce(S) -> (T, Vec<InvalidField>),
    ) -> T {
        let Some(mut entry) = document.take(name) else { return T::default() };
        let spec = self.structure(&mut entry.node, &[name]);
        let Some(spec) = spec else { return T::default() };
        let (checked, wrong) = check(spec);
        self.values(&[name], &entry, wrong);
        checked
    }

    /// Reads a table; `None` if there is something wrong with its keys or types, or its values cannot be
    /// judged.
    fn structure<S: DeserializeOwned + Default>(&mut self, node: &mut Node, section: &[&str]) -> Option<S> {
        let (spec, faults) = read(node);
        let sound = faults.is_empty() && !self.values_unknown;
        self.faults(section, faults);
        sound.then_some(spec)
    }

    fn faults(&mut self, section: &[&str], faults: Vec<Fault>) {
        let finding = |Fault { field, at, .. }| Finding { at, message: dotted(section, &field) };
        self.findings.extend(faults.into_iter().map(finding));
    }

    fn values(&mut self, section: &[&str], entry: &Entry, wrong: Vec<InvalidField>) {
        self.findings.extend(placed(section, entry, wrong));
    }

    fn servers(&mut self, document: &mut Node, section: &str, policy: &Policy) -> Vec<Definition> {
        let Some(servers) = document.take(section) else { return Vec::new() };
        let Value::Table(entries) = servers.node.value else {
            let field = InvalidField::new([section], "must be a table of servers");
            self.findings.push(Finding::at(servers.node.at, dotted(&[], &field)));
            return Vec::new();
        };
        if let Some(first) = entries.get(policy.max_servers) {
            let message =
                format!("more than {} servers; raise `max_servers` in `policy`", policy.max_servers);
            self.findings.push(Finding::at(first.key_at, message));
        }
        let names: HashSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
        let mut definitions = Vec::with_capacity(entries.len());
        for mut entry in entries {
            let key = entry.key.clone();
            let path = [section, &key];
            let name = server_name(&key);
            if let Err(reason) = &name {
                let field = InvalidField::new([], reason);
                self.findings.push(Finding::at(entry.key_at, dotted(&path, &field)));
            }
            let (spec, faults) = read::<ServerSpec>(&mut entry.node);
            let sound = faults.is_empty();
            self.faults(&path, faults);
            let Ok(name) = name else { continue };
            if self.values_unknown {
                continue;
            }
            let (definition, refused) = spec.judge(name, policy);
            if !sound {
                // The keys that could not be read are missing now. What that alone may bring about is left out:
                // mistakes of the whole (no `command`) and refusals (an unread `allow_env`).
                let mut wrong = definition.err().unwrap_or_default();
                wrong.retain(|field| !field.path.is_empty());
                self.values(&path, &entry, wrong);
                continue;
            }
            let kind = if self.lenient { &mut self.warnings } else { &mut self.findings };
            kind.extend(placed(&path, &entry, refused));
            match definition {
                Ok(definition) => {
                    self.check_among_others(&definition, &entry, &path, &names);
                    self.warn_about_timeout(&definition, &entry, &path, policy);
                    self.warn_about_verification(&definition, &entry, &path);
                    definitions.push(definition);
                }
                Err(wrong) => self.values(&path, &entry, wrong),
            }
        }
        definitions
    }

    /// One request may last as long as the whole call: a server that hangs is then the only one tried.
    fn warn_about_timeout(&mut self, definition: &Definition, entry: &Entry, path: &[&str], policy: &Policy) {
        if definition.request_timeout < policy.max_call_deadline {
            return;
        }
        let reason = format!(
            "reaches `policy.max_call_deadline` ({} ms): a call that hangs here leaves no time for another server",
            policy.max_call_deadline.as_millis()
        );
        self.warnings.extend(placed(path, entry, vec![InvalidField::new(["timeout_ms"], reason)]));
    }

    /// Source: contract §7.8: whoever skips this is told at each start.
    fn warn_about_verification(&mut self, definition: &Definition, entry: &Entry, path: &[&str]) {
        if definition.endpoint.http().is_some_and(|http| http.tls.danger_skip_verify) {
            let reason = "whoever is on the way to the server can read and change everything; \
                          trust its certificate with `ca_file` instead";
            let field = InvalidField::new(["tls", "danger_skip_verify"], reason);
            self.warnings.extend(placed(path, entry, vec![field]));
        }
    }

    /// What shows only beside the other servers.
    fn check_among_others(
        &mut self,
        definition: &Definition,
        entry: &Entry,
        path: &[&str],
        names: &HashSet<String>,
    ) {
        if definition.group.as_ref().is_some_and(|group| names.contains(group.as_str())) {
            self.values(path, entry, vec![InvalidField::new(["group"], GROUP_IS_SERVER)]);
        }
    }
}

/// Findings at the values they are about.
fn placed(section: &[&str], entry: &Entry, wrong: Vec<InvalidField>) -> impl Iterator<Item = Finding> {
    wrong.into_iter().map(|field| {
        let at = entry.node.locate(&field.path).unwrap_or(entry.key_at);
        Finding::at(at, dotted(section, &field))
    })
}
