//! Lists of one server, shown as they are.

use std::sync::Arc;

use mcp_manager::Relayed;
use mcp_protocol::RawJson;
use mcp_protocol::list::{InvalidPage, Page};
use mcp_registry::{Exposure, ServerRecord};
use mcp_transport::TransportKind;

use crate::catalog::ListKind;
use crate::client::Turn;
use crate::convert::definition::{self, Route};
use crate::endpoint::Endpoint;
use crate::settings::Scope;

impl Endpoint {
    /// A page without what is not to be seen and with what the client's revision cannot take adapted; `None` if it
    /// stays as it is.
    ///
    /// # Errors
    /// What cannot be read cannot be looked through either.
    pub(crate) fn shown_page(
        &self,
        turn: &Turn,
        kind: ListKind,
        relayed: &Relayed,
        result: &RawJson,
    ) -> Result<Option<RawJson>, InvalidPage> {
        let Some((record, exposure)) = self.exposure(relayed) else { return Ok(None) };
        let page = Page::read(&kind.method(), result)?;
        let route = Route {
            server: relayed.version,
            client: turn.client.version,
            over_http: relayed.transport != TransportKind::Stdio,
            tasks: turn.client.shelf.directory().runs_tasks(&relayed.server),
        };
        let watchman = &self.bridge.watchman;
        let verdicts = match kind {
            ListKind::Tools => watchman.look(&record, &page.items),
            _ => [].into(),
        };
        let mut changed = false;
        let shown: Vec<RawJson> = page
            .items
            .iter()
            .enumerate()
            .filter_map(|(at, item)| {
                let name = kind.name_of(item);
                let offered = verdicts.get(at).is_none_or(|verdict| {
                    watchman.offers(&record, name.as_deref().unwrap_or_default(), *verdict)
                });
                let shown = if offered { show(kind, item, name.as_deref(), &exposure, &route) } else { None };
                changed |= shown.as_ref() != Some(item);
                shown
            })
            .collect();
        if !changed {
            return Ok(None);
        }
        let items = RawJson::encode(&shown)?;
        let mut members = result.members()?;
        members.set_json(kind.member(), items);
        Ok(Some(members.encode()))
    }

    /// The server that answered, and what may be seen of it.
    fn exposure(&self, relayed: &Relayed) -> Option<(Arc<ServerRecord>, Exposure)> {
        let Scope::One(name) = &*self.scope else { return None };
        let table = self.bridge.manager.table();
        let is_it = |record: &&Arc<ServerRecord>| {
            record.name().as_str() == &**name || record.definition.owner().as_str() == &**name
        };
        let first = table.servers().iter().find(is_it)?;
        // If it is gone by now, another one of its kind says what its operator wants.
        let record = table.get(relayed.server.as_str()).unwrap_or(first);
        Some((record.clone(), record.definition.exposure.clone()))
    }
}

fn show(
    kind: ListKind,
    item: &RawJson,
    name: Option<&str>,
    exposure: &Exposure,
    route: &Route,
) -> Option<RawJson> {
    // What has no name is not ours to judge.
    if name.is_some_and(|name| !kind.filter(exposure).admits(name)) {
        return None;
    }
    if kind != ListKind::Tools {
        return Some(item.clone());
    }
    definition::tool(item, route).inspect_err(|why| tracing::warn!(%why, "a tool is left out")).ok()
}
