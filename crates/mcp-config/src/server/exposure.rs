//! What clients of the MCP endpoint get to see of a server, and how they share it.

use mcp_protocol::{Era, EraPolicy};
use mcp_registry::{Exposure, Glob, InvalidGlob, NameFilter, OnToolChange, Sharing};
use url::Url;

use super::ServerSpec;
use crate::checks::Checks;

pub(super) const SHARINGS: [(&str, Sharing); 2] =
    [(Sharing::Shared.as_str(), Sharing::Shared), (Sharing::PerSession.as_str(), Sharing::PerSession)];

pub(super) const ON_TOOL_CHANGE: [(&str, OnToolChange); 3] = [
    (OnToolChange::Allow.as_str(), OnToolChange::Allow),
    (OnToolChange::Notify.as_str(), OnToolChange::Notify),
    (OnToolChange::Block.as_str(), OnToolChange::Block),
];

/// Most patterns in one list.
const MAX_GLOBS: usize = 1000;

/// Most static roots.
const MAX_ROOTS: usize = 100;

/// The patterns of a list; those that are wrong are left out.
pub(crate) fn globs(field: &str, texts: &[String], checks: &mut Checks) -> Vec<Glob> {
    if texts.len() > MAX_GLOBS {
        checks.fail([field], format!("holds more than {MAX_GLOBS} patterns"));
        return Vec::new();
    }
    let glob = |(index, text): (usize, &String)| {
        let parsed = text.parse().map_err(|error: InvalidGlob| error.to_string());
        checks.valid([field, &index.to_string()], parsed)
    };
    texts.iter().enumerate().filter_map(glob).collect()
}

/// The names that fit a list; without one all.
pub(crate) fn only(field: &str, allow: Option<&[String]>, checks: &mut Checks) -> NameFilter {
    NameFilter { allow: allow.map(|texts| globs(field, texts, checks)), deny: Vec::new() }
}

impl ServerSpec {
    pub(super) fn check_exposure(&self, checks: &mut Checks) -> Exposure {
        let mut exposure = Exposure::default();
        for (target, allow, allowed, deny, denied) in [
            (&mut exposure.tools, "allow_tools", &self.allow_tools, "deny_tools", &self.deny_tools),
            (&mut exposure.prompts, "allow_prompts", &self.allow_prompts, "deny_prompts", &self.deny_prompts),
            (
                &mut exposure.resources,
                "allow_resources",
                &self.allow_resources,
                "deny_resources",
                &self.deny_resources,
            ),
        ] {
            *target = only(allow, allowed.as_deref(), checks);
            target.deny = globs(deny, denied.as_deref().unwrap_or_default(), checks);
        }
        exposure
    }

    /// They are given out as written.
    pub(super) fn check_roots(&self, protocol: Option<EraPolicy>, checks: &mut Checks) {
        let Some(roots) = &self.roots else { return };
        checks.ensure(protocol != Some(EraPolicy::Only(Era::Stateless)), ["roots"], ONLY_HANDSHAKE);
        if roots.len() > MAX_ROOTS {
            checks.fail(["roots"], format!("holds more than {MAX_ROOTS} roots"));
            return;
        }
        for (index, root) in roots.iter().enumerate() {
            let fits = root.starts_with("file:///") && Url::parse(root).is_ok();
            checks.ensure(fits, ["roots", &index.to_string()], NO_ROOT);
        }
    }
}

const ONLY_HANDSHAKE: &str =
    "is for servers of the handshake era, this one is `modern`: it asks within calls only";
const NO_ROOT: &str = "must be the URI of a folder or file, such as `file:///srv/data`";
