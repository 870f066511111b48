//! Tools that need something of the client: its user, its model, its directories.

use mcp_protocol::{Method, ProtocolVersion, RawJson};
use mcp_server::AskError;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{Answer, Outcome, invalid_params};
use crate::caller::Caller;

/// What is asked of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    User,
    Model,
    Roots,
}

impl Question {
    /// The question behind a tool.
    pub(crate) fn of_tool(name: &str) -> Option<Self> {
        match name {
            "ask_user" => Some(Self::User),
            "sample" => Some(Self::Model),
            "list_roots" => Some(Self::Roots),
            _ => None,
        }
    }

    /// Whether the client said it can answer.
    pub(crate) fn is_offered_by(self, caller: &Caller) -> bool {
        match self {
            Self::User => caller.abilities.elicitation,
            Self::Model => caller.abilities.sampling,
            Self::Roots => caller.abilities.roots,
        }
    }

    /// The `ClientCapabilities` needed.
    pub(crate) fn capabilities(self) -> Value {
        match self {
            Self::User => json!({ "elicitation": { "form": {} } }),
            Self::Model => json!({ "sampling": {} }),
            Self::Roots => json!({ "roots": {} }),
        }
    }

    /// The request that puts the question.
    pub(crate) fn method(self) -> Method {
        match self {
            Self::User => Method::ElicitationCreate,
            Self::Model => Method::SamplingCreateMessage,
            Self::Roots => Method::RootsList,
        }
    }

    /// The params of that request.
    pub(crate) fn params(self, text: &str, version: ProtocolVersion) -> Option<Value> {
        match self {
            Self::User => {
                let mut params = json!({
                    "message": text,
                    "requestedSchema": {
                        "type": "object",
                        "properties": { "answer": { "type": "string", "title": "Answer" } },
                        "required": ["answer"],
                    },
                });
                if version >= ProtocolVersion::V2025_11_25 {
                    params["mode"] = "form".into();
                }
                Some(params)
            }
            Self::Model => Some(json!({
                "messages": [{ "role": "user", "content": { "type": "text", "text": text } }],
                "maxTokens": 100,
            })),
            Self::Roots => None,
        }
    }

    /// The tool's result, from the client's.
    pub(crate) fn conclude(self, result: &RawJson) -> Outcome {
        let malformed =
            |error| invalid_params(&format!("the answer to {} is malformed: {error}", self.method()));
        match self {
            Self::User => conclude_elicitation(result.to().map_err(malformed)?),
            Self::Model => {
                let sampled: Sampled = result.to().map_err(malformed)?;
                Ok(Answer::text(format!("{} says: {}", sampled.model, sampled.text())))
            }
            Self::Roots => {
                let roots: Roots = result.to().map_err(malformed)?;
                let lines: Vec<_> = roots.roots.iter().map(|root| root.uri.as_str()).collect();
                Ok(Answer::text(if lines.is_empty() { "no roots".to_owned() } else { lines.join("\n") }))
            }
        }
    }

    /// The tool's result if the client refused.
    pub(crate) fn refused(self, error: &AskError) -> Answer {
        Answer::tool_error(format!("the client refused {}: {error}", self.method()))
    }
}

fn conclude_elicitation(result: Elicited) -> Outcome {
    match (result.action, result.content) {
        (Action::Accept, Some(Form { answer })) => Ok(Answer::text(format!("The user answered: {answer}"))),
        (Action::Accept, None) => Err(invalid_params("an accepted form needs its content")),
        (Action::Decline, _) => Ok(Answer::text("The user declined to answer.")),
        (Action::Cancel, _) => Ok(Answer::text("The user dismissed the question.")),
    }
}

#[derive(Deserialize)]
struct Elicited {
    action: Action,
    #[serde(default)]
    content: Option<Form>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Accept,
    Decline,
    Cancel,
}

#[derive(Deserialize)]
struct Form {
    #[serde(default)]
    answer: String,
}

#[derive(Deserialize)]
struct Sampled {
    model: String,
    content: Value,
}

impl Sampled {
    /// The text of the answer; since 2025-11-25 the content may be a list of blocks.
    fn text(&self) -> String {
        let blocks = match &self.content {
            Value::Array(blocks) => blocks.as_slice(),
            one => std::slice::from_ref(one),
        };
        let texts: Vec<_> = blocks.iter().filter_map(|block| block["text"].as_str()).collect();
        texts.join("\n")
    }
}

#[derive(Deserialize)]
struct Roots {
    roots: Vec<Root>,
}

#[derive(Deserialize)]
struct Root {
    uri: String,
}
