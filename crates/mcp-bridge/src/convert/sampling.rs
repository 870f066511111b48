//! Requests for a model's answer, from a server to a client of another revision, and the answer back.
//! Source: bridging §10.4, §4.3.

use ProtocolVersion::{V2025_03_26, V2025_11_25};
use mcp_protocol::{InvalidJson, JsonKind, Members, ProtocolVersion, RawJson};

use super::capabilities::Profile;
use super::{array, items, json, text_block, text_of};

/// Between whom a request is passed on.
#[derive(Debug, Clone, Copy)]
pub struct Route<'a> {
    /// The server's revision.
    pub server: ProtocolVersion,
    /// The client's revision.
    pub client: ProtocolVersion,
    /// What the client lets servers do.
    pub profile: &'a Profile,
    /// Whether the client sees several servers as one. To it "this server" would be all of them, so that no context
    /// is asked for then.
    pub aggregated: bool,
}

/// Why a client cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unaskable {
    /// The client's model is given no tools.
    #[error("the client declares no sampling with tools")]
    Tools,
    /// A kind of content that the revision does not have.
    #[error("clients of {client} know no {kind:?} content in sampling")]
    Content {
        /// The client's revision.
        client: ProtocolVersion,
        /// The kind.
        kind: Box<str>,
    },
    /// The request is malformed.
    #[error("the sampling request is malformed: {0}")]
    Malformed(#[from] InvalidJson),
}

/// Why an answer cannot be passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAnswer {
    /// The server takes one block, and these cannot be made one.
    #[error("the client answered with content that servers of {server} do not know")]
    Content {
        /// The server's revision.
        server: ProtocolVersion,
    },
    /// It is no sampling result.
    #[error("the sampling result is malformed: {0}")]
    Malformed(#[from] InvalidJson),
}

/// Puts the params of `sampling/createMessage` the way the client's revision has them; the same bytes if nothing
/// changes.
///
/// # Errors
/// [`Unaskable`] if the client's revision, or the client, has no way to be asked this.
pub fn to_client(params: &RawJson, route: &Route<'_>) -> Result<RawJson, Unaskable> {
    let mut members = params.members()?;
    let mut changed = false;
    let context = members.get_text("includeContext").unwrap_or("null");
    if route.aggregated && !matches!(context, "null" | r#""none""#) {
        members.set_json("includeContext", RawJson::string("none"));
        changed = true;
    }
    let has_tools = route.profile.samples_with_tools();
    if !has_tools {
        let tools = params.get("tools").filter(|tools| tools.kind() != JsonKind::Null);
        if tools.is_some_and(|tools| items(&tools).is_none_or(|tools| !tools.is_empty())) {
            return Err(Unaskable::Tools);
        }
        changed |= members.remove("tools") | members.remove("toolChoice");
    }
    if route.client != V2025_11_25 {
        changed |= members.remove("task");
    }
    if (route.server > route.client || !has_tools)
        && let Some(messages) = messages(params, route.client, has_tools)?
    {
        members.set_json("messages", messages);
        changed = true;
    }
    Ok(if changed { members.encode() } else { params.clone() })
}

/// The messages with one block each, where the client knows no more; `None` if they can stay as they are.
fn messages(params: &RawJson, client: ProtocolVersion, tools: bool) -> Result<Option<RawJson>, Unaskable> {
    let Some(messages) = params.get("messages") else { return Ok(None) };
    let mut split = Vec::new();
    let mut changed = false;
    for message in items(&messages).unwrap_or_default() {
        let mut members = Members::parse(message.get()).map_err(Unaskable::Malformed)?;
        let content = json(members.get_text("content").unwrap_or("null"));
        let Some(blocks) = items(&content) else {
            check(content.as_str(), client, tools)?;
            split.push(json(message.get()));
            continue;
        };
        for block in &blocks {
            check(block.get(), client, tools)?;
        }
        if client >= V2025_11_25 {
            split.push(json(message.get()));
            continue;
        }
        for block in blocks {
            members.set_json("content", json(block.get()));
            split.push(members.encode());
        }
        changed = true;
    }
    Ok(changed.then(|| array(split.iter().map(RawJson::as_str))))
}

/// Refuses blocks that the client does not know. Kinds that no revision has are left to it.
fn check(block: &str, client: ProtocolVersion, tools: bool) -> Result<(), Unaskable> {
    let kind = kind_of(block).unwrap_or_default();
    match &*kind {
        "tool_use" | "tool_result" if !tools => Err(Unaskable::Tools),
        "audio" if client < V2025_03_26 => Err(Unaskable::Content { client, kind }),
        _ => Ok(()),
    }
}

fn kind_of(block: &str) -> Option<Box<str>> {
    serde_json::from_str(Members::parse(block).ok()?.get_text("type")?).ok()
}

/// The answer for the server, from the client's result of `sampling/createMessage`; the same bytes if nothing
/// changes. Servers before 2025-11-25 take one block: a list of texts becomes one text.
///
/// # Errors
/// [`InvalidAnswer`] if the result is none, or cannot be put into one block.
pub fn to_server(result: &RawJson, server: ProtocolVersion) -> Result<RawJson, InvalidAnswer> {
    let mut members = result.members()?;
    for name in ["role", "model"] {
        json(members.get_text(name).unwrap_or("null")).to::<Box<str>>()?;
    }
    let content = result.get("content").unwrap_or_else(|| json("null"));
    if !matches!(content.kind(), JsonKind::Object | JsonKind::Array) {
        return Err(InvalidJson::NotAnObject { found: content.kind() }.into());
    }
    if server >= V2025_11_25 {
        return Ok(result.clone());
    }
    let is_known = |block: &str| match kind_of(block).as_deref() {
        Some("text" | "image") => true,
        Some("audio") => server >= V2025_03_26,
        _ => false,
    };
    let unknown = InvalidAnswer::Content { server };
    let Some(blocks) = items(&content) else {
        return if is_known(content.as_str()) { Ok(result.clone()) } else { Err(unknown) };
    };
    let one = match blocks.as_slice() {
        [block] if is_known(block.get()) => json(block.get()),
        blocks => {
            let texts: Option<Vec<String>> = blocks.iter().map(|block| text_of(block)).collect();
            text_block(&texts.ok_or(unknown)?.join("\n"), None)
        }
    };
    members.set_json("content", one);
    Ok(members.encode())
}

#[cfg(test)]
mod tests;
