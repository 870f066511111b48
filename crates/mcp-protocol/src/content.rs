//! Content blocks: what tools, prompts and models say.

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

use crate::json::RawJson;
use crate::number::Number;
use crate::resource::{Icon, ResourceContents};
use crate::structure::{structure, words};

words! {
    /// Who said something, or who should see it.
    pub open enum Role {
        /// The person, or the client speaking for them.
        User "user",
        /// The model.
        Assistant "assistant",
    }
}

structure! {
    /// Hints on how to use a piece of content. Source: schema, `Annotations`.
    pub struct Annotations {
        /// Who it is for.
        opt audience "audience": Vec<Role>;
        /// From 0 (optional) to 1 (needed).
        opt priority "priority": Number;
        /// ISO 8601 time of the last change; since 2025-06-18.
        opt last_modified "lastModified": Box<str>;
    }
}

structure! {
    /// Text.
    pub struct TextContent ("type" = "text") {
        /// The text.
        req text "text": Box<str>;
        /// How to use it.
        opt annotations "annotations": Annotations;
        /// Metadata; since 2025-06-18.
        opt meta "_meta": RawJson;
    }
}

structure! {
    /// An image.
    pub struct ImageContent ("type" = "image") {
        /// The bytes in Base64.
        req data "data": Box<str>;
        /// The media type.
        req mime_type "mimeType": Box<str>;
        /// How to use it.
        opt annotations "annotations": Annotations;
        /// Metadata; since 2025-06-18.
        opt meta "_meta": RawJson;
    }
}

structure! {
    /// A sound; since 2025-03-26.
    pub struct AudioContent ("type" = "audio") {
        /// The bytes in Base64.
        req data "data": Box<str>;
        /// The media type.
        req mime_type "mimeType": Box<str>;
        /// How to use it.
        opt annotations "annotations": Annotations;
        /// Metadata; since 2025-06-18.
        opt meta "_meta": RawJson;
    }
}

structure! {
    /// A resource the client may read; since 2025-06-18.
    pub struct ResourceLink ("type" = "resource_link") {
        /// Where it is.
        req uri "uri": Box<str>;
        /// Its programmatic name.
        req name "name": Box<str>;
        /// Its name for people.
        opt title "title": Box<str>;
        /// What it is, for models.
        opt description "description": Box<str>;
        /// The media type.
        opt mime_type "mimeType": Box<str>;
        /// Size of the raw content in bytes.
        opt size "size": Number;
        /// How to use it.
        opt annotations "annotations": Annotations;
        /// Pictures; since 2025-11-25.
        opt icons "icons": Vec<Icon>;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}

structure! {
    /// The contents of a resource.
    pub struct EmbeddedResource ("type" = "resource") {
        /// The contents.
        req resource "resource": ResourceContents;
        /// How to use it.
        opt annotations "annotations": Annotations;
        /// Metadata; since 2025-06-18.
        opt meta "_meta": RawJson;
    }
}

structure! {
    /// A model's wish to call a tool; sampling only, since 2025-11-25.
    pub struct ToolUseContent ("type" = "tool_use") {
        /// Names this use; the result refers to it.
        req id "id": Box<str>;
        /// The tool.
        req name "name": Box<str>;
        /// Its arguments, an object.
        req input "input": RawJson;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}

structure! {
    /// What a tool said to a model; sampling only, since 2025-11-25.
    pub struct ToolResultContent ("type" = "tool_result") {
        /// The use it answers.
        req tool_use_id "toolUseId": Box<str>;
        /// Content blocks. They stay unparsed, so that reading never recurses.
        req content "content": Vec<RawJson>;
        /// The result as data; `null` is a value.
        any structured_content "structuredContent": RawJson;
        /// Whether the tool failed.
        opt is_error "isError": bool;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}

/// One block of content, told by its `type`. Which kinds a revision has: wire reference §2.4.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ContentBlock {
    /// Text.
    Text(TextContent),
    /// An image.
    Image(ImageContent),
    /// A sound.
    Audio(AudioContent),
    /// A resource to read.
    ResourceLink(ResourceLink),
    /// The contents of a resource.
    Resource(EmbeddedResource),
    /// A wish to call a tool (sampling).
    ToolUse(ToolUseContent),
    /// A tool's answer (sampling).
    ToolResult(ToolResultContent),
    /// A kind this build does not know, as it came.
    Other(RawJson),
}

impl ContentBlock {
    /// A block of text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(TextContent::new(text))
    }

    /// The text of a text block.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(content) => Some(&content.text),
            _ => None,
        }
    }
}

impl Serialize for ContentBlock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(content) => content.serialize(serializer),
            Self::Image(content) => content.serialize(serializer),
            Self::Audio(content) => content.serialize(serializer),
            Self::ResourceLink(content) => content.serialize(serializer),
            Self::Resource(content) => content.serialize(serializer),
            Self::ToolUse(content) => content.serialize(serializer),
            Self::ToolResult(content) => content.serialize(serializer),
            Self::Other(content) => content.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ContentBlock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawJson::deserialize(deserializer)?;
        let kind: Box<str> = raw
            .get("type")
            .and_then(|kind| kind.to().ok())
            .ok_or_else(|| D::Error::custom("a content block must be an object with a string \"type\""))?;
        match &*kind {
            "text" => raw.to().map(Self::Text),
            "image" => raw.to().map(Self::Image),
            "audio" => raw.to().map(Self::Audio),
            "resource_link" => raw.to().map(Self::ResourceLink),
            "resource" => raw.to().map(Self::Resource),
            "tool_use" => raw.to().map(Self::ToolUse),
            "tool_result" => raw.to().map(Self::ToolResult),
            _ => Ok(Self::Other(raw)),
        }
        .map_err(D::Error::custom)
    }
}

/// The content of a sampling message: one block, or since 2025-11-25 a list of blocks.
///
/// Which of the two it was is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OneOrMany {
    /// A single block.
    One(Box<ContentBlock>),
    /// A list.
    Many(Vec<ContentBlock>),
}

impl OneOrMany {
    /// The blocks, however they were written.
    #[must_use]
    pub fn blocks(&self) -> &[ContentBlock] {
        match self {
            Self::One(block) => std::slice::from_ref(&**block),
            Self::Many(blocks) => blocks,
        }
    }
}

impl Serialize for OneOrMany {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::One(block) => block.serialize(serializer),
            Self::Many(blocks) => blocks.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawJson::deserialize(deserializer)?;
        match raw.kind() {
            crate::json::JsonKind::Array => raw.to().map(Self::Many),
            _ => raw.to().map(|block| Self::One(Box::new(block))),
        }
        .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_told_by_its_type() {
        let block: ContentBlock = serde_json::from_str(r#"{"text":"hi","type":"text"}"#).unwrap();
        assert_eq!(block.as_text(), Some("hi"));
        let odd = r#"{"type":"hologram", "data":1.0}"#;
        let block: ContentBlock = serde_json::from_str(odd).unwrap();
        assert_eq!(serde_json::to_string(&block).unwrap(), odd);
        for bad in
            ["{}", "7", r#"{"type":1}"#, r#"{"type":"text"}"#, r#"{"type":"text","type":"text","text":""}"#]
        {
            assert!(serde_json::from_str::<ContentBlock>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_block_stays_one_and_a_list_stays_a_list() {
        for text in [r#"{"type":"text","text":"a"}"#, r#"[{"type":"text","text":"a"}]"#] {
            let content: OneOrMany = serde_json::from_str(text).unwrap();
            assert_eq!(content.blocks().len(), 1);
            assert_eq!(serde_json::to_string(&content).unwrap(), text);
        }
    }
}
