//! Tools as a server lists them, for a client of another revision. Source: bridging §10.2.
//!
//! Prompts, resources and templates pass as they are: what is newer in them than the client is one more member to it.

use ProtocolVersion::{V2025_11_25, V2026_07_28};
use mcp_protocol::header::{InvalidAnnotation, ParamHeaders};
use mcp_protocol::{InvalidJson, ProtocolVersion, RawJson};

use super::result::StructuredOutput;
use super::{array, items, json};

/// The most broken annotations that are taken off a tool; one with more is left out.
pub const MAX_BROKEN_ANNOTATIONS: usize = 16;

/// Between whom a definition is passed on.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The server's revision.
    pub server: ProtocolVersion,
    /// The client's revision.
    pub client: ProtocolVersion,
    /// Whether the server is reached over HTTP.
    pub over_http: bool,
    /// Whether the client may run tools as tasks of 2025-11-25.
    pub tasks: bool,
}

/// Why a tool is left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeftOut {
    /// Clients could not call it as the specification demands.
    #[error(transparent)]
    Annotation(#[from] InvalidAnnotation),
    /// It is no proper object.
    #[error("the tool cannot be read: {0}")]
    Malformed(#[from] InvalidJson),
}

/// A tool as the client's revision has it; the same bytes if nothing changes.
///
/// # Errors
/// [`LeftOut`] if the client must not be shown it.
pub fn tool(tool: &RawJson, route: &Route) -> Result<RawJson, LeftOut> {
    let mut members = tool.members()?;
    let mut changed = false;
    match execution(route) {
        Execution::Stays => {}
        Execution::Hidden => changed |= members.remove("execution"),
        Execution::Optional => {
            members.set_json("execution", json(r#"{"taskSupport":"optional"}"#));
            changed = true;
        }
    }
    let schema = tool.get("outputSchema");
    if !StructuredOutput::of(schema.as_ref(), route.server, route.client).shows_schema() {
        changed |= members.remove("outputSchema");
    }
    if let Some(schema) = tool.get("inputSchema")
        && let Some(repaired) = input_schema(&schema, route)?
    {
        members.set_json("inputSchema", repaired);
        changed = true;
    }
    Ok(if changed { members.encode() } else { tool.clone() })
}

/// What becomes of `execution`, which speaks of the tasks of 2025-11-25 alone.
enum Execution {
    Stays,
    Hidden,
    /// The tool may run as a task, which its server has other words for (bridging §8.2).
    Optional,
}

/// A client that knows those tasks and may not use them would take `taskSupport: "required"` for a tool that it cannot
/// call.
fn execution(route: &Route) -> Execution {
    match (route.client, route.server) {
        (V2025_11_25, V2026_07_28) if route.tasks => Execution::Optional,
        (V2025_11_25, V2025_11_25) if route.tasks => Execution::Stays,
        (V2026_07_28, _) | (V2025_11_25, V2025_11_25 | V2026_07_28) | (_, V2025_11_25) => Execution::Hidden,
        _ => Execution::Stays,
    }
}

/// The schema without broken `x-mcp-header` annotations; `None` if it can stay as it is.
fn input_schema(schema: &RawJson, route: &Route) -> Result<Option<RawJson>, InvalidAnnotation> {
    let has_meaning = route.over_http && route.server == V2026_07_28;
    if !has_meaning && route.client != V2026_07_28 {
        return Ok(None);
    }
    let mut broken = match ParamHeaders::from_schema(schema) {
        Ok(_) => return Ok(None),
        Err(error) => error,
    };
    if has_meaning {
        return Err(broken);
    }
    let mut repaired = schema.clone();
    for _ in 0..MAX_BROKEN_ANNOTATIONS {
        let Some(without) = place_of(&broken).and_then(|at| without_annotation(&repaired, at)) else { break };
        repaired = without;
        broken = match ParamHeaders::from_schema(&repaired) {
            Ok(_) => return Ok(Some(repaired)),
            Err(error) => error,
        };
    }
    Err(broken)
}

/// The names that lead to the annotated schema, as a JSON pointer; empty for the root.
fn place_of(error: &InvalidAnnotation) -> Option<&str> {
    let at = match error {
        InvalidAnnotation::Token { at, .. }
        | InvalidAnnotation::Repeated { at, .. }
        | InvalidAnnotation::Type { at }
        | InvalidAnnotation::Unreachable { at } => at,
        _ => return None,
    };
    Some(if at.starts_with('/') { at } else { "" })
}

/// The value without the annotation at a JSON pointer; `None` if there is none.
fn without_annotation(value: &RawJson, at: &str) -> Option<RawJson> {
    let Some(path) = at.strip_prefix('/') else {
        let mut members = value.members().ok()?;
        return members.remove("x-mcp-header").then(|| members.encode());
    };
    let (name, rest) = path.find('/').map_or((path, ""), |end| path.split_at(end));
    let name = name.replace("~1", "/").replace("~0", "~");
    if let Some(list) = items(value) {
        let index: usize = name.parse().ok()?;
        let edited = without_annotation(&json(list.get(index)?.get()), rest)?;
        let texts = list.iter().enumerate();
        return Some(array(texts.map(|(at, item)| if at == index { edited.as_str() } else { item.get() })));
    }
    let edited = without_annotation(&value.get(&name)?, rest)?;
    let mut members = value.members().ok()?;
    members.set_json(&name, edited);
    Some(members.encode())
}

#[cfg(test)]
mod tests;
