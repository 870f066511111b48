//! Documents of MCP clients, rewritten into the shape of our own.
//!
//! Claude Desktop, Claude Code, Cursor, Windsurf, Cline and others keep `{"mcpServers": {…}}`, VS Code
//! `{"servers": {…}, "inputs": […]}` with a `type` in each server. What has no meaning here is ignored
//! with a warning, never refused: the document is another program's and must work unchanged.

use std::collections::HashSet;

use mcp_registry::ServerName;

use crate::diagnostic::Finding;
use crate::environment::has_client_reference;
use crate::invalid::{printable, quoted};
use crate::name::server_name;
use crate::tree::{Entry, Node, Value};

/// The key that holds the servers, if the document is a client's.
pub(crate) fn servers_key(document: &Node) -> Option<&'static str> {
    if document.entry("mcpServers").is_some() {
        return Some("mcpServers");
    }
    let servers = &document.entry("servers")?.node;
    let typed = servers.entries().iter().any(|server| server.node.entry("type").is_some());
    let ours = BESIDE.iter().any(|key| document.entry(key).is_some());
    ((typed || document.entry("inputs").is_some()) && !ours).then_some("servers")
}

/// Sections of our own that may stand beside the servers.
const BESIDE: [&str; 3] = ["gateway", "policy", "views"];

/// Rewrites the document in place and says what was ignored. Sections of our own are kept.
pub(crate) fn rewrite(document: &mut Node, key: &'static str) -> Vec<Finding> {
    let mut warnings = Vec::new();
    let Value::Table(entries) = &mut document.value else { return warnings };
    let kept = |entry: &Entry| entry.key == key || BESIDE.contains(&&*entry.key);
    let ignored: Vec<Entry> = entries.extract_if(.., |entry| !kept(entry)).collect();
    if let Some(first) = ignored.first() {
        let mut names: Vec<String> = ignored.iter().take(8).map(|entry| printable(&entry.key)).collect();
        if ignored.len() > names.len() {
            names.push(format!("{} more", ignored.len() - names.len()));
        }
        warnings.push(Finding::at(first.key_at, format!("ignored beside `{key}`: {}", names.join(", "))));
    }
    if let Some(servers) = entries.iter_mut().find(|entry| entry.key == key)
        && let Value::Table(servers) = &mut servers.node.value
    {
        servers.retain_mut(|server| Rewrite { key, warnings: &mut warnings }.server(server));
        rename(servers, key, &mut warnings);
    }
    warnings
}

struct Rewrite<'a> {
    key: &'static str,
    warnings: &'a mut Vec<Finding>,
}

impl Rewrite<'_> {
    /// Rewrites one server. False if it has to be left out.
    fn server(&mut self, server: &mut Entry) -> bool {
        let Value::Table(keys) = &mut server.node.value else { return true };
        let stdio = keys.iter().any(|entry| entry.key == "command");
        // Gemini has both `url` (SSE) and `httpUrl`.
        let other_url = keys.iter().any(|entry| matches!(&*entry.key, "httpUrl" | "serverUrl"));
        let mut rewritten = Vec::with_capacity(keys.len());
        for mut entry in std::mem::take(keys) {
            match &*entry.key {
                _ if matches!(entry.node.value, Value::Null) => continue,
                "type" | "transport" => {
                    let Some(transport) = transport(&entry.node.value) else {
                        let reason = "left out: its transport is not supported; \
                                      there is `stdio`, `http` and `sse`";
                        self.warn(&[&server.key], entry.node.at, reason);
                        return false;
                    };
                    entry.key = "transport".into();
                    entry.node.value = Value::Text(transport.into());
                }
                "disabled" if let Value::Bool(disabled) = entry.node.value => {
                    entry.key = "enabled".into();
                    entry.node.value = Value::Bool(!disabled);
                }
                "serverUrl" | "httpUrl" if !stdio => entry.key = "url".into(),
                "command" | "enabled" | "description" => {}
                // The two keys a warning asks for: what a client does without them, we refuse.
                "allow_env" if stdio => {}
                "allow_insecure_http" if !stdio => {}
                "args" | "env" if stdio => with_texts(&mut entry.node.value),
                "cwd" if stdio => {}
                "url" if !stdio && !other_url => {}
                "headers" if !stdio => with_texts(&mut entry.node.value),
                "timeout" => {
                    let reason =
                        "ignored: clients disagree on its unit; `request_timeout` in `policy` applies";
                    self.warn(&[&server.key, "timeout"], entry.key_at, reason);
                    continue;
                }
                key => {
                    self.warn(&[&server.key, key], entry.key_at, "ignored: it has no meaning here");
                    continue;
                }
            }
            rewritten.push(entry);
        }
        *keys = rewritten;
        if let Some(at) = client_reference(&server.node) {
            let reason = "left out: it asks its client for a value, as `${input:…}` does; \
                          write the value or `${NAME}` instead";
            self.warn(&[&server.key], at, reason);
            return false;
        }
        true
    }

    fn warn(&mut self, path: &[&str], at: usize, reason: &str) {
        let path: Vec<String> =
            std::iter::once(self.key).chain(path.iter().copied()).map(str::to_owned).collect();
        self.warnings.push(Finding::at(at, format!("{}: {reason}", quoted(&path))));
    }
}

/// Our word for the transports of clients.
fn transport(value: &Value) -> Option<&'static str> {
    let Value::Text(text) = value else { return None };
    match &*text.to_ascii_lowercase().replace(['-', '_'], "") {
        "stdio" | "local" => Some("stdio"),
        "http" | "streamablehttp" => Some("http"),
        "sse" => Some("sse"),
        _ => None,
    }
}

/// Turns the numbers and booleans of a list or table into the texts that clients make of them.
fn with_texts(value: &mut Value) {
    let convert = |node: &mut Node| match node.value {
        Value::Integer(number) => node.value = Value::Text(number.to_string()),
        Value::Float(number) => node.value = Value::Text(number.to_string()),
        Value::Bool(value) => node.value = Value::Text(value.to_string()),
        _ => {}
    };
    match value {
        Value::List(items) => items.iter_mut().for_each(convert),
        Value::Table(entries) => entries.iter_mut().map(|entry| &mut entry.node).for_each(convert),
        _ => {}
    }
}

fn client_reference(node: &Node) -> Option<usize> {
    match &node.value {
        Value::Text(text) => has_client_reference(text).then_some(node.at),
        Value::List(items) => items.iter().find_map(client_reference),
        Value::Table(entries) => entries.iter().find_map(|entry| client_reference(&entry.node)),
        _ => None,
    }
}

/// Gives servers whose names are not valid here a name that is, the same each time.
fn rename(servers: &mut [Entry], key: &str, warnings: &mut Vec<Finding>) {
    let valid = |name: &str| server_name(name).is_ok();
    let mut taken: HashSet<String> =
        servers.iter().map(|server| server.key.clone()).filter(|name| valid(name)).collect();
    for server in servers {
        let Err(reason) = server_name(&server.key) else { continue };
        let stem = resembling(&server.key);
        let mut name = stem.clone();
        let mut seed = server.key.clone();
        while !valid(&name) || taken.contains(&name) {
            name = distinguished(&stem, &seed);
            seed.clone_from(&name);
        }
        let message = format!(
            "{}: goes by the name `{name}` here: {reason}",
            quoted(&[key.to_owned(), server.key.clone()])
        );
        warnings.push(Finding::at(server.key_at, message));
        taken.insert(name.clone());
        server.key = name;
    }
}

/// The valid characters of a name, runs of others replaced by one `-`. Empty if there are none, and possibly
/// still reserved.
fn resembling(original: &str) -> String {
    let mut name = String::new();
    for c in original.chars() {
        let c = if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
        let joins = matches!(c, '_' | '-');
        if !(joins && name.ends_with(['_', '-'])) {
            name.push(c);
        }
    }
    let name = name.trim_start_matches(['.', '_', '-']);
    let name = &name[..name.len().min(ServerName::MAX_LEN)];
    name.trim_end_matches(['_', '-']).to_owned()
}

/// A name made unique by a hash (FNV-1a) of the original, which does not depend on the other names.
fn distinguished(name: &str, original: &str) -> String {
    let hash = original.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let suffix = format!("{hash:016x}");
    let room = ServerName::MAX_LEN - suffix.len() - 1;
    let stem = if name.is_empty() { "server" } else { &name[..name.len().min(room)] };
    format!("{}-{suffix}", stem.trim_end_matches(['_', '-']))
}

#[cfg(test)]
mod tests;
