//! Arguments of tools that are repeated in HTTP headers. Source: wire reference §3.8.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use mcp_protocol::RawJson;
use mcp_protocol::header::{InvalidAnnotation, ParamHeaders};
use mcp_transport::Header;

/// What the last tool list said about headers, by tool. Holds only tools that have any.
#[derive(Debug, Default)]
pub(crate) struct ToolHeaders(RwLock<HashMap<String, ParamHeaders>>);

impl ToolHeaders {
    /// Takes a complete tool list in place of the last one, and gives it back without the tools whose
    /// annotations are broken: they cannot be called as the specification demands.
    pub(crate) fn learn(&self, tools: Vec<RawJson>) -> Vec<RawJson> {
        let mut known = HashMap::new();
        let usable = tools
            .into_iter()
            .filter(|tool| match annotations(tool) {
                Ok(Some((name, headers))) => {
                    known.insert(name, headers);
                    true
                }
                Ok(None) => true,
                Err(error) => {
                    let name = tool.get("name");
                    tracing::warn!(tool = ?name, %error, "left out a tool");
                    false
                }
            })
            .collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = known;
        usable
    }

    /// The headers of a call; none if the tool is unknown.
    pub(crate) fn of_call(&self, tool: &str, params: Option<&RawJson>) -> Vec<Header> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(headers) = known.get(tool) else { return Vec::new() };
        let arguments = params.and_then(|params| params.get("arguments"));
        headers.values(arguments.as_ref()).into_iter().map(|(name, value)| Header::new(name, value)).collect()
    }
}

fn annotations(tool: &RawJson) -> Result<Option<(String, ParamHeaders)>, InvalidAnnotation> {
    let Some(schema) = tool.get("inputSchema") else { return Ok(None) };
    let headers = ParamHeaders::from_schema(&schema)?;
    let name = tool.get("name").and_then(|name| name.to::<String>().ok());
    Ok(name.filter(|_| !headers.is_empty()).map(|name| (name, headers)))
}
