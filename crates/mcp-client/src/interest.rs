//! What a server is to tell of.

use std::collections::BTreeSet;

use mcp_protocol::subscription::SubscriptionFilter;
use mcp_protocol::{Method, Notification, RawJson};

use crate::profile::ServerProfile;

/// Changes to be told of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Interest {
    /// Of the list of tools.
    pub tools: bool,
    /// Of the list of prompts.
    pub prompts: bool,
    /// Of the lists of resources and templates.
    pub resources: bool,
    /// Of these resources.
    pub uris: BTreeSet<String>,
    /// Of these tasks, by their ids; stateless era only, where the request has to declare the extension. What is lost
    /// on the way is not made up for: whoever needs to know has to ask for the state of the task.
    pub tasks: BTreeSet<String>,
}

impl Interest {
    /// All lists, and no resource by itself.
    #[must_use]
    pub fn in_lists() -> Self {
        Self { tools: true, prompts: true, resources: true, ..Self::default() }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The notifications by which a server says that everything here has changed. To be passed on when it
    /// may have: after an interruption nothing is said again.
    #[must_use]
    pub fn changes(&self) -> Vec<Notification> {
        #[derive(serde::Serialize)]
        struct Updated<'a> {
            uri: &'a str,
        }
        let lists = [
            (self.tools, Method::ToolsListChanged),
            (self.prompts, Method::PromptsListChanged),
            (self.resources, Method::ResourcesListChanged),
        ];
        let lists = lists.into_iter().filter(|(told, _)| *told);
        let lists = lists.map(|(_, method)| Notification { method, params: None });
        let updates = self.uris.iter().filter_map(|uri| {
            let params = RawJson::encode(&Updated { uri }).ok()?;
            Some(Notification { method: Method::ResourcesUpdated, params: Some(params) })
        });
        lists.chain(updates).collect()
    }

    /// The lists whose changes a server of the handshake era declares to tell of.
    pub(crate) fn declared(profile: &ServerProfile) -> Self {
        let declares = |list: &str| {
            let capability = profile.capabilities.as_ref().and_then(|all| all.get(list));
            capability.and_then(|list| list.get("listChanged")?.to::<bool>().ok()).unwrap_or(false)
        };
        Self {
            tools: declares("tools"),
            prompts: declares("prompts"),
            resources: declares("resources"),
            ..Self::default()
        }
    }

    /// What of this and of `other` is the same.
    pub(crate) fn and(&self, other: &Self) -> Self {
        Self {
            tools: self.tools && other.tools,
            prompts: self.prompts && other.prompts,
            resources: self.resources && other.resources,
            uris: self.uris.intersection(&other.uris).cloned().collect(),
            tasks: self.tasks.intersection(&other.tasks).cloned().collect(),
        }
    }

    /// Adds another one.
    pub(crate) fn add(&mut self, other: &Self) {
        self.tools |= other.tools;
        self.prompts |= other.prompts;
        self.resources |= other.resources;
        self.uris.extend(other.uris.iter().cloned());
        self.tasks.extend(other.tasks.iter().cloned());
    }

    pub(crate) fn to_filter(&self) -> SubscriptionFilter {
        let wanted = |wanted: bool| wanted.then_some(true);
        let mut filter = SubscriptionFilter::new();
        filter.tools_list_changed = wanted(self.tools);
        filter.prompts_list_changed = wanted(self.prompts);
        filter.resources_list_changed = wanted(self.resources);
        if !self.uris.is_empty() {
            filter.resource_subscriptions = Some(self.uris.iter().map(|uri| uri.as_str().into()).collect());
        }
        if !self.tasks.is_empty() {
            filter.task_ids = Some(self.tasks.iter().map(|id| id.as_str().into()).collect());
        }
        filter
    }

    pub(crate) fn of_filter(filter: &SubscriptionFilter) -> Self {
        let uris = filter.resource_subscriptions.iter().flatten();
        let tasks = filter.task_ids.iter().flatten();
        Self {
            tools: filter.tools_list_changed == Some(true),
            prompts: filter.prompts_list_changed == Some(true),
            resources: filter.resources_list_changed == Some(true),
            uris: uris.map(|uri| uri.clone().into_string()).collect(),
            tasks: tasks.map(|id| id.clone().into_string()).collect(),
        }
    }
}
