//! The tools servers offer.

use std::sync::Arc;

use mcp_client::CallError;
use mcp_protocol::tool::ToolAnnotations;
use mcp_protocol::{Method, RawJson};
use mcp_registry::{KnownTool, KnownTools, ServerRecord, ToolHints};

use crate::handshake::Need;
use crate::link::Link;
use crate::manager::{Inner, Manager, UnknownServer};

impl Manager {
    /// Asks a server for its tools, all pages, and remembers them. A failure leaves what was known and is
    /// logged; it is no check result.
    ///
    /// # Errors
    /// [`UnknownServer`].
    pub async fn refresh_tools(&self, name: &str) -> Result<Arc<ServerRecord>, UnknownServer> {
        let link = self.link(name)?;
        if self.0.ready(&link, Need::Any, None).await.is_ok() {
            self.0.list_tools(&link).await;
        }
        self.server(name)
    }

    /// Asks every server for its tools; results in name order.
    pub async fn refresh_all_tools(&self) -> Vec<Arc<ServerRecord>> {
        self.for_all(|manager, name| async move { manager.refresh_tools(&name).await }).await
    }
}

impl Inner {
    /// Lists tools without making the caller wait.
    pub(crate) fn discover_tools(self: &Arc<Self>, link: &Arc<Link>) {
        let (inner, link) = (self.clone(), link.clone());
        tokio::spawn(async move { inner.list_tools(&link).await });
    }

    async fn list_tools(&self, link: &Link) {
        let Some(session) = link.session() else { return };
        session.touch(&*self.timer);
        match session.client().list(Method::ToolsList, link.definition.request_timeout).await {
            Ok(items) => {
                let tools = items.into_iter().filter_map(known_tool).collect();
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
