//! The keys of one view.

use mcp_registry::{Exposure, NameFilter, ServerName};
use serde::Deserialize;

use crate::checks::Checks;
use crate::invalid::InvalidField;
use crate::server::only;

/// A part of the aggregated endpoint under a path of its own, `/mcp/views/NAME`. Source: product §4.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct View {
    /// The last part of its path.
    pub name: ServerName,
    /// For people.
    pub description: Option<String>,
    /// Which servers and groups it has. Servers in a group go by the name of the group.
    pub servers: NameFilter,
    /// What it has of them, by the names clients see.
    pub exposure: Exposure,
}

/// The keys as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ViewSpec {
    description: Option<String>,
    servers: Option<Vec<String>>,
    tools: Option<Vec<String>>,
    prompts: Option<Vec<String>>,
    resources: Option<Vec<String>>,
}

impl ViewSpec {
    /// The view, and what is wrong with it.
    pub(crate) fn into_view(self, name: ServerName) -> (View, Vec<InvalidField>) {
        let mut checks = Checks::default();
        // An empty list could also be meant to say that nothing is left out.
        let empty = self.servers.as_ref().is_some_and(Vec::is_empty);
        checks.ensure(!empty, ["servers"], "is empty; leave it out to have all servers in the view");
        let mut filter = |field, texts: Option<Vec<String>>| only(field, texts.as_deref(), &mut checks);
        let view = View {
            name,
            description: self.description,
            servers: filter("servers", self.servers),
            exposure: Exposure {
                tools: filter("tools", self.tools),
                prompts: filter("prompts", self.prompts),
                resources: filter("resources", self.resources),
            },
        };
        (view, checks.into_faults())
    }
}
