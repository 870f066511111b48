//! Lists of one server, shown as they are.

use mcp_protocol::list::Page;
use mcp_protocol::{ProtocolVersion, RawJson};
use mcp_registry::{Exposure, ServerRecord};
use mcp_transport::TransportKind;

use crate::client::Turn;
use crate::convert::definition::{self, Route};
use crate::endpoint::Endpoint;
use crate::settings::Scope;
use crate::upstream::ListKind;

impl Endpoint {
    /// A page without what is not to be seen and with what the client's revision cannot take adapted; `None` if it
    /// stays as it is.
    pub(crate) fn shown_page(
        &self,
        turn: &Turn,
        kind: ListKind,
        server: ProtocolVersion,
        transport: TransportKind,
        result: &RawJson,
    ) -> Option<RawJson> {
        let exposure = self.exposure()?;
        let page = Page::read(&kind.method(), result).ok()?;
        let route = Route {
            server,
            client: turn.client.version,
            over_http: transport != TransportKind::Stdio,
            tasks: false,
        };
        let mut changed = false;
        let shown: Vec<RawJson> = page
            .items
            .iter()
            .filter_map(|item| {
                let shown = show(kind, item, &exposure, &route);
                changed |= shown.as_ref() != Some(item);
                shown
            })
            .collect();
        if !changed {
            return None;
        }
        let items = RawJson::encode(&shown).ok()?;
        let mut members = result.members().ok()?;
        members.set_json(kind.member(), items);
        Some(members.encode())
    }

    /// What may be seen of the one server or group.
    fn exposure(&self) -> Option<Exposure> {
        let Scope::One(name) = &*self.scope else { return None };
        let table = self.bridge.manager.table();
        let is_it = |record: &&std::sync::Arc<ServerRecord>| {
            record.name().as_str() == &**name || record.definition.owner().as_str() == &**name
        };
        table.servers().iter().find(is_it).map(|record| record.definition.exposure.clone())
    }
}

fn show(kind: ListKind, item: &RawJson, exposure: &Exposure, route: &Route) -> Option<RawJson> {
    let name: Option<Box<str>> = item.get(kind.key()).and_then(|name| name.to().ok());
    // What has no name is not ours to judge.
    if name.is_some_and(|name| !kind.filter(exposure).admits(&name)) {
        return None;
    }
    if kind != ListKind::Tools {
        return Some(item.clone());
    }
    definition::tool(item, route).inspect_err(|why| tracing::warn!(%why, "a tool is left out")).ok()
}
