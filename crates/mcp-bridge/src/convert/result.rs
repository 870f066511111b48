//! Results of a server, as the client's revision has them. Source: bridging §10.1.

use ProtocolVersion::{V2025_03_26, V2025_06_18, V2026_07_28};
use mcp_protocol::content::{AudioContent, ResourceLink};
use mcp_protocol::{InvalidJson, JsonKind, Members, Method, ProtocolVersion, RawJson};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{array, items, json, text_block, text_of};

/// What a client gets of a tool's results as data. The one answer decides both whether the tool is listed with its
/// `outputSchema` and what of `structuredContent` stays: the handshake era demands the content where there is a
/// schema. Source: bridging §10.1, "Consistency".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StructuredOutput {
    /// Whatever the server sends.
    All,
    /// Objects; values of other kinds are told as text.
    Objects,
    /// Nothing: all is told as text, and the tool has no schema.
    Nothing,
}

impl StructuredOutput {
    /// The decision for a tool with that `outputSchema`.
    #[must_use]
    pub fn of(schema: Option<&RawJson>, server: ProtocolVersion, client: ProtocolVersion) -> Self {
        if client == V2026_07_28 || server <= client {
            return Self::All;
        }
        let is_of_objects = |schema: &RawJson| {
            schema.get("type").is_some_and(|kind| kind.to::<Box<str>>().as_deref() == Ok("object"))
        };
        if client < V2025_06_18 || !schema.is_none_or(is_of_objects) { Self::Nothing } else { Self::Objects }
    }

    /// Whether the tool is listed with its schema.
    #[must_use]
    pub fn shows_schema(self) -> bool {
        self != Self::Nothing
    }

    fn keeps(self, value: &RawJson) -> bool {
        match self {
            Self::All => true,
            Self::Objects => value.kind() == JsonKind::Object,
            Self::Nothing => false,
        }
    }
}

/// The complete result of a method, without regard to the envelope. `output_schema` is that of the tool that was
/// called, as its server lists it; `None` also where it is not known.
///
/// If nothing changes, the result comes back as it was, not copied.
///
/// # Errors
/// [`InvalidJson`] if the result, or a message of a prompt, is no proper object.
pub fn to_client(
    result: &RawJson,
    method: &Method,
    output_schema: Option<&RawJson>,
    server: ProtocolVersion,
    client: ProtocolVersion,
) -> Result<RawJson, InvalidJson> {
    if server <= client {
        return Ok(result.clone());
    }
    match method {
        Method::ToolsCall => {
            let output = StructuredOutput::of(output_schema, server, client);
            tool_result(result, output, client)
        }
        Method::PromptsGet => prompt(result, client),
        _ => Ok(result.clone()),
    }
}

fn tool_result(
    result: &RawJson,
    output: StructuredOutput,
    client: ProtocolVersion,
) -> Result<RawJson, InvalidJson> {
    let lost = result.get("structuredContent").filter(|value| !output.keeps(value));
    if lost.is_none() && client >= V2025_06_18 {
        return Ok(result.clone());
    }
    let content = result.get("content");
    let blocks = content.as_ref().and_then(items).unwrap_or_default();
    let older: Vec<_> = blocks.iter().map(|block| older_block(block, client)).collect();
    if lost.is_none() && older.iter().all(Option::is_none) {
        return Ok(result.clone());
    }
    let untold = lost.as_ref().filter(|value| !is_told(&blocks, value));
    let as_text = untold.map(|value| text_block(value.as_str(), None));
    let texts =
        blocks.iter().zip(&older).map(|(block, older)| older.as_ref().map_or(block.get(), RawJson::as_str));
    let content = array(texts.chain(as_text.as_ref().map(RawJson::as_str)));
    let mut members = result.members()?;
    if lost.is_some() {
        members.remove("structuredContent");
    }
    members.set_json("content", content);
    Ok(members.encode())
}

fn prompt(result: &RawJson, client: ProtocolVersion) -> Result<RawJson, InvalidJson> {
    if client >= V2025_06_18 {
        return Ok(result.clone());
    }
    let Some(messages) = result.get("messages") else { return Ok(result.clone()) };
    let messages = items(&messages).unwrap_or_default();
    let mut changed = false;
    let mut older = Vec::with_capacity(messages.len());
    for message in messages {
        let mut members = Members::parse(message.get())?;
        match members.get("content").and_then(|block| older_block(block, client)) {
            Some(block) => {
                members.set_json("content", block);
                older.push(members.encode());
                changed = true;
            }
            None => older.push(json(message.get())),
        }
    }
    if !changed {
        return Ok(result.clone());
    }
    let mut members = result.members()?;
    members.set_json("messages", array(older.iter().map(RawJson::as_str)));
    Ok(members.encode())
}

/// A block in the place of one that the client's revision does not have; `None` if it has it, or if no revision does.
fn older_block(block: &RawValue, client: ProtocolVersion) -> Option<RawJson> {
    if client >= V2025_06_18 {
        return None;
    }
    let members = Members::parse(block.get()).ok()?;
    let kind: Box<str> = serde_json::from_str(members.get_text("type")?).ok()?;
    let text = match &*kind {
        "resource_link" => link(&serde_json::from_str(block.get()).ok()?),
        "audio" if client < V2025_03_26 => sound(&serde_json::from_str(block.get()).ok()?),
        _ => return None,
    };
    Some(text_block(&text, members.get_text("annotations").map(json)))
}

fn link(link: &ResourceLink) -> String {
    let name = link.title.as_deref().unwrap_or(&link.name);
    match link.description.as_deref() {
        Some(description) => format!("{name}: {}\n{description}", link.uri),
        None => format!("{name}: {}", link.uri),
    }
}

fn sound(sound: &AudioContent) -> String {
    format!("[audio, {}, left out: this client's protocol revision has no audio]", sound.mime_type)
}

/// Whether one of the blocks is text that holds the value as JSON.
fn is_told(blocks: &[&RawValue], value: &RawJson) -> bool {
    // Read once, however many blocks there are.
    let read: Option<Value> = value.to().ok();
    let says = |text: String| {
        text.trim() == value.as_str() || read.is_some() && serde_json::from_str(&text).ok() == read
    };
    blocks.iter().filter_map(|block| text_of(block)).any(says)
}

#[cfg(test)]
mod tests;
