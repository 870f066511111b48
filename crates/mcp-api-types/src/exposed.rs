//! What clients of the MCP endpoint see of all servers as one, and single fetches on an operator's behalf.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::invoke::{empty_object, object};

/// The query of `GET /exposed`. Unknown keys are refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExposedQuery {
    /// What this view shows, instead of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<String>,
    /// Only entries of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ExposedKind>,
}

/// The body of `GET /exposed`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExposedList {
    /// By kind; what is shown in the order of the list, then what is hidden.
    pub items: Vec<ExposedEntry>,
    /// Servers and groups whose lists are not known, or out of reach.
    pub missing: Vec<String>,
}

/// One tool, prompt, resource or template.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExposedEntry {
    /// What it is.
    pub kind: ExposedKind,
    /// The name, or URI, that clients use.
    pub exposed: String,
    /// Whether that is a shortened name, from which those of the owner and the tool cannot be read.
    pub shortened: bool,
    /// Whose it is: a server or a group.
    pub owner: String,
    /// The servers of the owner that list it.
    pub servers: Vec<String>,
    /// The name, or URI, its servers know it by.
    pub name: String,
    /// Why clients do not see it; null if they do.
    pub hidden: Option<Hiding>,
    /// Whose the name, or URI, is, with [`Hiding::Taken`].
    pub taken_by: Option<String>,
    /// As its server lists it.
    pub definition: Box<RawValue>,
}

/// What an [`ExposedEntry`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ExposedKind {
    /// A tool.
    Tool,
    /// A prompt.
    Prompt,
    /// A resource.
    Resource,
    /// A template of resources.
    Template,
}

impl ExposedKind {
    /// The word for it in JSON and in queries.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Resource => "resource",
            Self::Template => "template",
        }
    }
}

/// Why clients do not see an [`ExposedEntry`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Hiding {
    /// The name, or URI, is in use.
    Taken,
    /// It is a tool whose definition is not the one that was approved.
    Withheld,
}

/// The body of `POST /resources/read`. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadResource {
    /// What to read.
    pub uri: String,
    /// Among what this view shows, instead of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<String>,
}

/// The body of `POST /prompts/get`. Unknown keys are refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetPrompt {
    /// The name clients know it by.
    pub name: String,
    /// An object of texts.
    #[serde(default = "empty_object", deserialize_with = "object")]
    pub arguments: Box<RawValue>,
    /// Among what this view shows, instead of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<String>,
}

/// What was fetched.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fetched {
    /// Under which id the request is found in traces and events.
    pub request_id: Option<String>,
    /// The result, as the server gave it.
    pub result: Box<RawValue>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_the_documented_shape() {
        let text = concat!(
            r#"{"items":[{"kind":"tool","exposed":"a__t","shortened":false,"owner":"a","servers":["a"],"name":"t","#,
            r#""hidden":"taken","taken_by":"b","definition":{"name":"t", "n":1.0}}],"missing":["c"]}"#
        );
        let list: ExposedList = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&list).unwrap(), text);
        for kind in [ExposedKind::Tool, ExposedKind::Prompt, ExposedKind::Resource, ExposedKind::Template] {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("{:?}", kind.as_str()));
        }
        let prompt: GetPrompt = serde_json::from_str(r#"{"name":"p"}"#).unwrap();
        assert_eq!(serde_json::to_string(&prompt).unwrap(), r#"{"name":"p","arguments":{}}"#);
        assert!(serde_json::from_str::<ReadResource>(r#"{"uri":"x:","views":"v"}"#).is_err());
    }
}
