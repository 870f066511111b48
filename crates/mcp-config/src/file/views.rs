//! What the MCP endpoint makes of the servers of a file.

use std::collections::BTreeSet;

use mcp_registry::Definition;

use super::{Reader, placed};
use crate::diagnostic::Finding;
use crate::invalid::InvalidField;
use crate::name::any_name;
use crate::read::dotted;
use crate::tree::{Entry, Node, Value};
use crate::view::{View, ViewSpec};

/// Most views.
const MAX_VIEWS: usize = 1000;

impl Reader {
    /// Names without a prefix are told apart only if they all belong to one.
    pub(super) fn check_single(&mut self, servers: &[Definition], prefix_at: Option<usize>) {
        let enabled = servers.iter().filter(|server| server.enabled);
        let owners: BTreeSet<&str> = enabled.map(|server| server.owner().as_str()).collect();
        if owners.len() < 2 {
            return;
        }
        let shown: Vec<String> = owners.iter().take(8).map(|owner| format!("`{owner}`")).collect();
        let more = if owners.len() > shown.len() { ", …" } else { "" };
        let reason = format!(
            "`false` is for a single server or group, there are {}: {}{more}; leave it out, or disable the others",
            owners.len(),
            shown.join(", ")
        );
        let message = dotted(&["gateway"], &InvalidField::new(["prefix"], reason));
        self.findings.push(Finding { at: prefix_at, message });
    }

    /// The section of that name. Patterns in it are about `servers`.
    pub(super) fn views(&mut self, document: &mut Node, servers: &[Definition]) -> Vec<View> {
        const SECTION: &str = "views";
        let Some(views) = document.take(SECTION) else { return Vec::new() };
        let Value::Table(entries) = views.node.value else {
            let field = InvalidField::new([SECTION], "must be a table of views");
            self.findings.push(Finding::at(views.node.at, dotted(&[], &field)));
            return Vec::new();
        };
        if let Some(first) = entries.get(MAX_VIEWS) {
            self.findings.push(Finding::at(first.key_at, format!("more than {MAX_VIEWS} views")));
        }
        let mut views = Vec::with_capacity(entries.len());
        for mut entry in entries {
            let key = entry.key.clone();
            let path = [SECTION, &key];
            let name = any_name(&key);
            if let Err(reason) = &name {
                self.findings.push(Finding::at(entry.key_at, dotted(&path, &InvalidField::new([], reason))));
            }
            let spec = self.structure::<ViewSpec>(&mut entry.node, &path);
            let (Ok(name), Some(spec)) = (name, spec) else { continue };
            let (view, wrong) = spec.into_view(name);
            self.values(&path, &entry, wrong);
            // Takes a while with many servers, and warnings of a wrong file are not shown.
            if self.findings.is_empty() {
                self.warn_about_nothing(&view, &entry, &path, servers);
            }
            views.push(view);
        }
        views
    }

    /// A pattern that fits no server may be a slip.
    fn warn_about_nothing(&mut self, view: &View, entry: &Entry, path: &[&str], servers: &[Definition]) {
        for (index, glob) in view.servers.allow.iter().flatten().enumerate() {
            if servers.iter().any(|server| glob.matches(server.owner().as_str())) {
                continue;
            }
            let member = servers.iter().find(|server| glob.matches(server.name.as_str()));
            let reason = match member {
                Some(server) => format!(
                    "fits no server or group; `{}` goes by the name of its group, `{}`",
                    server.name,
                    server.owner()
                ),
                None => "fits no server or group of this file".to_owned(),
            };
            let field = InvalidField::new(["servers", &index.to_string()], reason);
            self.warnings.extend(placed(path, entry, vec![field]));
        }
    }
}
