//! Translation between revisions: pure functions of messages and versions.
//!
//! Payloads are edited member by member: what need not change stays byte for byte, and what need not change at all is
//! not copied. "Server" is the upstream server, "client" the downstream one, each with the revision of its own leg.
//! Source: bridging.md.

pub mod capabilities;
pub mod definition;
pub mod elicitation;
pub mod envelope;
pub mod error;
pub mod result;
pub mod sampling;

use mcp_protocol::{Members, RawJson};

use serde_json::value::RawValue;

/// The JSON value a text is known to hold.
fn json(text: &str) -> RawJson {
    serde_json::from_str(text).unwrap_or_else(|_| RawJson::empty_object())
}

/// The items of an array, unparsed; `None` if it is none.
fn items(array: &RawJson) -> Option<Vec<&RawValue>> {
    serde_json::from_str(array.as_str()).ok()
}

/// An array of values that are JSON already.
fn array<'a>(items: impl IntoIterator<Item = &'a str>) -> RawJson {
    let joined = items.into_iter().collect::<Vec<_>>().join(",");
    json(&format!("[{joined}]"))
}

/// A text block with the hints of the block it stands for.
fn text_block(text: &str, annotations: Option<RawJson>) -> RawJson {
    let mut members = Members::default();
    members.set_json("type", RawJson::string("text"));
    members.set_json("text", RawJson::string(text));
    if let Some(annotations) = annotations {
        members.set_json("annotations", annotations);
    }
    members.encode()
}

/// The text of a text block; `None` if it is of another kind.
fn text_of(block: &RawValue) -> Option<String> {
    let members = Members::parse(block.get()).ok()?;
    let is_text = members.get_text("type") == Some(r#""text""#);
    serde_json::from_str(members.get_text("text").filter(|_| is_text)?).ok()
}

/// A text with the name of the server it comes from in front, where several could be meant.
fn named(server: Option<&str>, text: &str) -> String {
    server.map_or_else(|| text.to_owned(), |server| format!("{server}: {text}"))
}
