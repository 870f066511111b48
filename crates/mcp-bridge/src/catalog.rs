//! What one server offers: its lists, as it gave them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mcp_client::ServerProfile;
use mcp_protocol::header::ParamHeaders;
use mcp_protocol::result::Caching;
use mcp_protocol::{Method, RawJson};
use mcp_registry::{Exposure, NameFilter};
use mcp_transport::TransportKind;
use tokio::time::Instant;

use crate::guard::Verdict;

/// Youngest list that is read again because it may be out of date, where the server says how long it may be kept, and
/// where it does not.
const STALE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// The four lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListKind {
    /// Of tools.
    Tools,
    /// Of prompts.
    Prompts,
    /// Of resources.
    Resources,
    /// Of templates of resources.
    Templates,
}

impl ListKind {
    pub(crate) const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    pub(crate) fn of(method: &Method) -> Option<Self> {
        Some(match method {
            Method::ToolsList => Self::Tools,
            Method::PromptsList => Self::Prompts,
            Method::ResourcesList => Self::Resources,
            Method::ResourceTemplatesList => Self::Templates,
            _ => return None,
        })
    }

    pub(crate) fn method(self) -> Method {
        match self {
            Self::Tools => Method::ToolsList,
            Self::Prompts => Method::PromptsList,
            Self::Resources => Method::ResourcesList,
            Self::Templates => Method::ResourceTemplatesList,
        }
    }

    /// The member of the capabilities that offers it.
    pub(crate) fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources | Self::Templates => "resources",
        }
    }

    /// The notification of its changes.
    pub(crate) fn changed(self) -> Method {
        match self {
            Self::Tools => Method::ToolsListChanged,
            Self::Prompts => Method::PromptsListChanged,
            Self::Resources | Self::Templates => Method::ResourcesListChanged,
        }
    }

    /// The member of the result that has it.
    pub(crate) fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// What its server calls an item, by name, URI or template.
    pub(crate) fn name_of(self, item: &RawJson) -> Option<Box<str>> {
        item.get(self.key())?.to().ok()
    }

    /// The rules about what of it is shown.
    pub(crate) fn filter(self, exposure: &Exposure) -> &NameFilter {
        match self {
            Self::Tools => &exposure.tools,
            Self::Prompts => &exposure.prompts,
            Self::Resources | Self::Templates => &exposure.resources,
        }
    }

    /// The member that an entry is known by.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// One list as a server gave it.
#[derive(Debug, Clone, Default)]
pub(crate) struct List {
    pub(crate) items: Arc<[RawJson]>,
    pub(crate) caching: Option<Caching>,
    /// When; `None`: never.
    pub(crate) at: Option<Instant>,
    /// When it could not be read last.
    pub(crate) failed: Option<Instant>,
}

/// What a server offers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalog {
    /// What it said of itself; `None` while it is not connected and never was.
    pub(crate) profile: Option<Arc<ServerProfile>>,
    pub(crate) transport: Option<TransportKind>,
    pub(crate) lists: [List; 4],
    /// What was thought of each of the tools when they were listed.
    pub(crate) verdicts: Arc<[Verdict]>,
    /// Tools with arguments that clients over HTTP repeat in headers.
    pub(crate) mirrored: Arc<HashMap<Box<str>, Arc<ParamHeaders>>>,
    /// Some of it is what everybody sees, since it was not read for this kind of client yet.
    pub(crate) is_provisional: bool,
}

impl Catalog {
    pub(crate) fn list(&self, kind: ListKind) -> &List {
        &self.lists[kind.index()]
    }

    /// Whether a list may be out of date.
    pub(crate) fn is_stale(&self, kind: ListKind) -> bool {
        let Some(profile) = &self.profile else { return false };
        let list = self.list(kind);
        if list.failed.is_some_and(|failed| failed.elapsed() < STALE.0) {
            return false;
        }
        let Some(at) = list.at else { return true };
        let offered = profile.capabilities.as_ref().and_then(|all| all.get(kind.capability()));
        let Some(offered) = offered else { return false };
        let told = offered.get("listChanged").is_some_and(|told| told.as_str() == "true");
        let kept = list.caching.map_or(STALE.1, |said| said.ttl.max(STALE.0));
        !told && at.elapsed() >= kept
    }

    /// What was thought of a tool, by its place in the list.
    pub(crate) fn verdict(&self, at: usize) -> Verdict {
        self.verdicts.get(at).copied().unwrap_or(Verdict::Unjudged)
    }

    /// Whether each list was read.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_known() && self.lists.iter().all(|list| list.at.is_some())
    }

    /// The same with what another one has in place of what was not read yet.
    pub(crate) fn completed_by(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for (list, other) in all.lists.iter_mut().zip(&other.lists) {
            if list.at.is_none() {
                *list = other.clone();
            }
        }
        if self.list(ListKind::Tools).at.is_none() {
            all.verdicts = other.verdicts.clone();
            all.mirrored = other.mirrored.clone();
        }
        all.profile = all.profile.or_else(|| other.profile.clone());
        all.transport = all.transport.or(other.transport);
        all.is_provisional = true;
        all
    }

    /// Whether all is known that there is to know.
    pub(crate) fn is_known(&self) -> bool {
        self.profile.is_some()
    }
}
