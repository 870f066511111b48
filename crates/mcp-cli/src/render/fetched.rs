//! Prompts and resources, as far as a terminal can show them.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Block, decoded_len, json_lines, size};
use crate::text::{self, Line, Span, Style};

#[derive(Deserialize)]
struct Prompt<'a> {
    #[serde(borrow)]
    messages: Vec<Message<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    role: String,
    #[serde(borrow)]
    content: &'a RawValue,
}

#[derive(Deserialize)]
struct Resource {
    contents: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    uri: String,
    #[serde(rename = "mimeType")]
    mime_type: Option<String>,
    text: Option<String>,
    blob: Option<String>,
}

/// The result of `prompts/get`: every message under the role that says it.
pub(crate) fn messages(json: &str) -> Vec<Line> {
    let Ok(prompt) = serde_json::from_str::<Prompt<'_>>(json) else { return json_lines(json) };
    let lines = prompt.messages.into_iter().flat_map(|message| {
        let mut lines = vec![vec![Span::new(Style::Strong, format!("{}:", message.role))]];
        lines.extend(Block::read(message.content).lines());
        lines
    });
    lines.collect()
}

/// The result of `resources/read`: texts as they are, anything else in a few words.
pub(crate) fn contents(json: &str) -> Vec<Line> {
    let Ok(resource) = serde_json::from_str::<Resource>(json) else { return json_lines(json) };
    let lines = resource.contents.into_iter().flat_map(|Part { uri, mime_type, text, blob }| match text {
        Some(text) => text::lines(Style::Plain, &text),
        None => {
            let kind = mime_type.unwrap_or_else(|| "no type given".into());
            let len = size(decoded_len(&blob.unwrap_or_default()));
            vec![vec![Span::faint(format!("[resource {uri}, {kind}, {len}]"))]]
        }
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::text;

    #[test]
    fn messages_stand_under_their_roles() {
        let json = r#"{"messages":[{"role":"user","content":{"type":"text","text":"one\ntwo"}},
            {"role":"assistant","content":{"type":"image","data":"AAAA","mimeType":"image/png"}},
            {"role":"user","content":{"type":"new"}}]}"#;
        assert_eq!(
            text(&messages(json)),
            "user:\none\ntwo\nassistant:\n[image image/png, 3 B]\nuser:\n{\"type\":\"new\"}\n"
        );
        assert_eq!(text(&messages(r#"{"messages":1}"#)), "{\"messages\":1}\n");
    }

    #[test]
    fn contents_are_shown_as_they_are_where_they_are_text() {
        let json = r#"{"contents":[{"uri":"x:1","text":"a\u001b[2Jb\nc"},{"uri":"x:2","blob":"AAAA"}]}"#;
        let shown = text(&contents(json));
        assert!(
            shown.ends_with("\nc\n[resource x:2, no type given, 3 B]\n") && !shown.contains('\u{1b}'),
            "{shown:?}"
        );
        assert_eq!(text(&contents("[]")), "[]\n");
    }
}
