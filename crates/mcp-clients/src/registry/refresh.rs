//! Reading what a server offers.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use futures::StreamExt;
use mcp_protocol::resource::{Resource, ResourceContents};
use mcp_protocol::tool::ToolAnnotations;
use mcp_protocol::{ErrorCode, Method, RawJson};
use mcp_registry::{KnownTool, KnownTools, ToolHints};

use super::{ClientRegistry, Entry, RegistryError};
use crate::client::McpClient;
use crate::error::ClientError;

/// Resources of one server that are read at the same time.
const AT_ONCE: usize = 8;
/// Most resources of one server that are read.
const MAX_RESOURCES: usize = 1000;
/// Most bytes that are kept of the resources of one server.
const MAX_BYTES: usize = 64 << 20;

/// What a refresh found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Refreshed {
    /// How many tools there are; `None` if they could not be listed.
    pub tools: Option<usize>,
    /// How many resources were read.
    pub resources: usize,
    /// What could not be read, by its URI, or by the method for a whole list.
    pub unreadable: BTreeMap<String, ClientError>,
}

impl ClientRegistry {
    /// Lists the tools of a server and reads its resources. What cannot be read is told and does not hinder the
    /// rest: at most 1000 resources and 64 MiB are kept. Nothing happens, with a warning, to a server that is not
    /// connected.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn refresh_tools_and_resources(&self, name: &str) -> Result<Refreshed, RegistryError> {
        let entry = self.entry(name)?;
        let mut refreshed = Refreshed::default();
        if !entry.client.is_connected() {
            tracing::warn!(server = name, "not refreshed: it is not connected");
            return Ok(refreshed);
        }
        match listed(&entry.client, Method::ToolsList).await {
            Ok(items) => refreshed.tools = Some(self.keep_tools(&entry, items)),
            Err(error) => {
                refreshed.unreadable.insert(Method::ToolsList.to_string(), error);
            }
        }
        match listed(&entry.client, Method::ResourcesList).await {
            Ok(items) => read(&entry, &items, &mut refreshed).await,
            Err(error) => {
                refreshed.unreadable.insert(Method::ResourcesList.to_string(), error);
            }
        }
        Ok(refreshed)
    }

    fn keep_tools(&self, entry: &Entry, items: Vec<RawJson>) -> usize {
        let tools: KnownTools = items.into_iter().filter_map(known_tool).collect();
        let count = tools.len();
        self.0.registry().tools_listed(self.0.now(), &entry.key, tools);
        count
    }
}

/// A list; empty if the server does not know the method, as one without such a list need not.
async fn listed(client: &McpClient, method: Method) -> Result<Vec<RawJson>, ClientError> {
    match client.list_raw(method).await {
        Err(ClientError::Rpc(error)) if error.code() == Some(ErrorCode::METHOD_NOT_FOUND) => Ok(Vec::new()),
        outcome => outcome,
    }
}

/// Reads the listed resources and keeps their contents in the order of the list.
async fn read(entry: &Entry, items: &[RawJson], refreshed: &mut Refreshed) {
    if items.len() > MAX_RESOURCES {
        let text = format!("{} resources are listed; only the first {MAX_RESOURCES} were read", items.len());
        refreshed.unreadable.insert(Method::ResourcesList.to_string(), ClientError::unusable(text));
    }
    let resources = items.iter().filter_map(|item| item.to::<Resource>().ok());
    let reading = resources.take(MAX_RESOURCES).map(|resource| async move {
        let outcome = entry.client.read_resource(&resource.uri).await;
        (resource.uri, outcome)
    });
    let mut reading = futures::stream::iter(reading).buffered(AT_ONCE);
    let (mut kept, mut bytes) = (Vec::new(), 0);
    while let Some((uri, outcome)) = reading.next().await {
        let outcome = outcome.and_then(|contents| {
            let size = contents.iter().map(size_of).sum::<usize>();
            if bytes + size > MAX_BYTES {
                return Err(ClientError::unusable(format!("the resources have more than {MAX_BYTES} bytes")));
            }
            bytes += size;
            Ok(contents)
        });
        match outcome {
            Ok(contents) => {
                refreshed.resources += 1;
                kept.extend(contents);
            }
            Err(error) => {
                tracing::warn!(server = %entry.key.name, %error, "a resource could not be read");
                refreshed.unreadable.insert(uri.into(), error);
            }
        }
    }
    *entry.contents.lock().unwrap_or_else(PoisonError::into_inner) = kept.into();
}

fn size_of(contents: &ResourceContents) -> usize {
    match contents {
        ResourceContents::Text(text) => text.text.len(),
        ResourceContents::Blob(blob) => blob.blob.len(),
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
