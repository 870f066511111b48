//! The prompts on offer, and completion of their arguments.

use std::collections::BTreeMap;

use mcp_protocol::ProtocolVersion;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{Answer, Outcome, invalid_params};
use crate::resources::{ITEM_TEMPLATE, LAST_ITEM};

const STYLES: [&str; 5] = ["brief", "detailed", "formal", "friendly", "funny"];
const TOPICS: [&str; 4] = ["failover", "gateways", "gardening", "protocols"];
/// Most values a completion may hold (every revision's schema).
const MOST_VALUES: usize = 100;

/// Every prompt, as a revision describes it.
pub(crate) fn list(version: ProtocolVersion) -> Vec<Value> {
    let titled = |mut described: Value, title: &str| {
        if version >= ProtocolVersion::V2025_06_18 {
            described["title"] = title.into();
        }
        described
    };
    let topic = json!({ "name": "topic", "description": "What it is about", "required": true });
    let style = json!({ "name": "style", "description": "How it is written", "required": false });
    vec![
        titled(json!({ "name": "greeting", "description": "A friendly greeting" }), "Greeting"),
        titled(
            json!({
                "name": "essay",
                "description": "Asks for a short essay",
                "arguments": [titled(topic, "Topic"), titled(style, "Style")],
            }),
            "Essay",
        ),
    ]
}

/// The params of `prompts/get`.
#[derive(Debug, Deserialize)]
pub(crate) struct GetParams {
    name: String,
    #[serde(default)]
    arguments: Option<BTreeMap<String, String>>,
}

impl GetParams {
    /// `prompts/get`
    pub(crate) fn answer(self) -> Outcome {
        let arguments = self.arguments.unwrap_or_default();
        let (description, text) = match self.name.as_str() {
            "greeting" => ("A friendly greeting", "Say hello to me.".to_owned()),
            "essay" => {
                let topic = arguments
                    .get("topic")
                    .ok_or_else(|| invalid_params("the argument \"topic\" is missing"))?;
                let style = arguments.get("style").map_or("brief", String::as_str);
                ("Asks for a short essay", format!("Write a {style} essay about {topic}."))
            }
            name => return Err(invalid_params(&format!("unknown prompt {name:?}"))),
        };
        let message = json!({ "role": "user", "content": { "type": "text", "text": text } });
        Ok(Answer::new(json!({ "description": description, "messages": [message] })))
    }
}

/// The params of `completion/complete`.
#[derive(Debug, Deserialize)]
pub(crate) struct CompleteParams {
    #[serde(rename = "ref")]
    reference: Reference,
    argument: Argument,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
enum Reference {
    #[serde(rename = "ref/prompt")]
    Prompt { name: String },
    #[serde(rename = "ref/resource")]
    Resource { uri: String },
}

#[derive(Debug, Deserialize)]
struct Argument {
    name: String,
    value: String,
}

impl CompleteParams {
    /// `completion/complete`: the known values that start with what was typed.
    pub(crate) fn answer(&self) -> Outcome {
        let known: Vec<String> = match (&self.reference, self.argument.name.as_str()) {
            (Reference::Prompt { name }, "style") if name == "essay" => owned(&STYLES),
            (Reference::Prompt { name }, "topic") if name == "essay" => owned(&TOPICS),
            (Reference::Resource { uri }, "id") if uri == ITEM_TEMPLATE => {
                (1..=LAST_ITEM).map(|id| id.to_string()).collect()
            }
            (reference, argument) => {
                return Err(invalid_params(&format!("nothing completes {argument:?} of {reference:?}")));
            }
        };
        let mut values: Vec<_> =
            known.into_iter().filter(|value| value.starts_with(&self.argument.value)).collect();
        let total = values.len();
        values.truncate(MOST_VALUES);
        let completion = json!({ "values": values, "total": total, "hasMore": total > MOST_VALUES });
        Ok(Answer::new(json!({ "completion": completion })))
    }
}

fn owned(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}
