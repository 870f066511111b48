//! The tools servers offer.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use mcp_client::CallError;
use mcp_protocol::tool::ToolAnnotations;
use mcp_protocol::{Method, RawJson};
use mcp_registry::{KnownTool, KnownTools, ServerName, ServerRecord, ToolHints};

use crate::handshake::{Cause, Need};
use crate::link::Link;
use crate::manager::{Inner, Manager, UnknownServer};

/// The tools of one server, as far as they are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvailableTools {
    /// Their names, sorted; empty while they are not known.
    pub names: Vec<String>,
    /// Whether they are configured or were listed.
    pub known: bool,
}

impl Manager {
    /// Asks a server for its tools, all pages, and remembers them. A failure leaves what was known and is
    /// logged; it is no check result.
    ///
    /// # Errors
    /// [`UnknownServer`].
    pub async fn refresh_tools(&self, name: &str) -> Result<Arc<ServerRecord>, UnknownServer> {
        let link = self.link(name)?;
        if self.0.ready(&link, Need::Any, Cause::Itself).await.is_ok() {
            // Not the list that is being read, which may be from before whatever is to be seen.
            link.listings.settle().await;
            let work = || {
                let (inner, link) = (self.0.clone(), link.clone());
                async move { inner.list_tools(&link).await }
            };
            let _ = link.listings.run(work).await;
        }
        self.server(name)
    }

    /// The names of the tools servers are known to offer: of all servers, or of the one named; nothing for
    /// an unknown name. Source: contract §8.3.
    #[must_use]
    pub fn available_tools(&self, server: Option<&str>) -> BTreeMap<ServerName, AvailableTools> {
        let table = self.table();
        let asked =
            table.servers().iter().filter(|record| server.is_none_or(|name| record.name().as_str() == name));
        let tools = |record: &ServerRecord| AvailableTools {
            names: record.tools.iter().flat_map(|tools| tools.keys().map(ToString::to_string)).collect(),
            known: record.tools.is_some(),
        };
        asked.map(|record| (record.name().clone(), tools(record))).collect()
    }

    /// Asks every server for its tools; results in name order.
    pub async fn refresh_all_tools(&self) -> Vec<Arc<ServerRecord>> {
        self.for_all(|manager, name| async move { manager.refresh_tools(&name).await }).await
    }
}

impl Inner {
    /// Lists tools without making the caller wait.
    pub(crate) fn discover_tools(self: &Arc<Self>, link: &Arc<Link>) {
        let work = || {
            let (inner, link) = (self.clone(), link.clone());
            async move { inner.list_tools(&link).await }
        };
        // The first look starts it, and it goes on by itself.
        let _ = link.listings.run(work).now_or_never();
    }

    async fn list_tools(&self, link: &Link) {
        let Some(session) = link.session() else { return };
        session.touch(self.now());
        let listing = session.client().list(Method::ToolsList, link.definition().request_timeout);
        match self.counted(listing).await {
            Ok(items) => {
                let tools: KnownTools = items.into_iter().filter_map(known_tool).collect();
                let hints = tools.iter().map(|(name, tool)| (name.clone(), tool.hints)).collect();
                link.hints.store(Some(Arc::new(hints)));
                self.record(|registry, now| registry.tools_listed(now, &link.key, tools));
            }
            // A server without tools need not know the method.
            Err(CallError::Rpc { error, .. })
                if error.code() == Some(mcp_protocol::ErrorCode::METHOD_NOT_FOUND) =>
            {
                self.record(|registry, now| registry.tools_listed(now, &link.key, KnownTools::new()));
            }
            Err(error) => tracing::warn!(server = %link.key.name, %error, "listing tools failed"),
        }
    }
}

/// A listed tool by its name; `None` if it has none.
fn known_tool(tool: RawJson) -> Option<(Box<str>, KnownTool)> {
    let name: Box<str> = tool.get("name")?.to().ok()?;
    let annotations: Option<ToolAnnotations> = tool.get("annotations").and_then(|raw| raw.to().ok());
    let hints = annotations.map_or_else(ToolHints::default, |annotations| ToolHints {
        read_only: annotations.read_only_hint,
        idempotent: annotations.idempotent_hint,
        destructive: annotations.destructive_hint,
    });
    Some((name, KnownTool { listed: Some(tool), hints }))
}
