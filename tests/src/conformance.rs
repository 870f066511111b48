//! What the programs that the official conformance suite tests do alike.
//!
//! The suite starts a program with the URL of its server as the last argument and says in variables of the
//! environment which scenario it plays. Most scenarios want no more than that a server's tools are listed
//! and called, so that is what is done for all of them; the exceptions are in [`tool_calls`].

use std::error::Error;
use std::time::Duration;

use futures::future::join_all;
use mcp_protocol::{Era, ProtocolVersion};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use url::Url;

/// Longer than any scenario keeps an answer back, shorter than the suite waits.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// What a program ends with.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// The URL of the suite's server.
///
/// # Errors
/// If the last argument is none.
pub fn server_url() -> Outcome<Url> {
    Ok(std::env::args().next_back().unwrap_or_default().parse()?)
}

/// The scenario that is played.
#[must_use]
pub fn scenario() -> String {
    variable("MCP_CONFORMANCE_SCENARIO")
}

/// The era of the revision the suite asks for; `None` if it asks for none.
#[must_use]
pub fn era() -> Option<Era> {
    match variable("MCP_CONFORMANCE_PROTOCOL_VERSION").as_str() {
        "" => None,
        version if version == ProtocolVersion::LATEST_STATELESS.as_str() => Some(Era::Stateless),
        _ => Some(Era::Handshake),
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// The members of a tool that are needed to call it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tool {
    name: String,
    input_schema: Box<RawValue>,
}

/// The params of `tools/call`.
#[derive(Debug, Serialize, Deserialize)]
pub struct ToolCall {
    /// The tool.
    pub name: String,
    /// A JSON object.
    pub arguments: Box<RawValue>,
}

/// The calls that the scenario wants of a client that has listed these tools: the ones the suite names, the
/// schema of the first tool as an argument of the second, or one of each tool.
///
/// # Errors
/// If the suite's list of calls cannot be read.
pub fn tool_calls(tools: &[Tool]) -> Outcome<Vec<ToolCall>> {
    match (scenario().as_str(), tools) {
        ("http-custom-headers", _) => {
            let context: Context = serde_json::from_str(&variable("MCP_CONFORMANCE_CONTEXT"))?;
            Ok(context.tool_calls)
        }
        ("json-schema-2020-12-preservation", [tool, echo]) => {
            let arguments = RawValue::from_string(format!(r#"{{"schema":{}}}"#, tool.input_schema))?;
            Ok(vec![ToolCall { name: echo.name.clone(), arguments }])
        }
        _ => tools
            .iter()
            .map(|tool| Ok(ToolCall { name: tool.name.clone(), arguments: sample(tool)? }))
            .collect(),
    }
}

/// What the suite says about `http-custom-headers`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Context {
    tool_calls: Vec<ToolCall>,
}

/// Arguments that fit a schema of the simple kind: an object with a value of the right type for each of its
/// properties.
fn sample(tool: &Tool) -> Result<Box<RawValue>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Schema {
        #[serde(default)]
        properties: Map<String, Value>,
    }
    let schema: Schema = serde_json::from_str(tool.input_schema.get())?;
    let sample = |schema: &Value| match schema.get("type").and_then(Value::as_str) {
        Some("number" | "integer") => 1.into(),
        Some("boolean") => true.into(),
        Some("object") => Map::new().into(),
        Some("array") => Value::Array(Vec::new()),
        Some("null") => Value::Null,
        _ => "sample".into(),
    };
    let arguments: Map<_, _> =
        schema.properties.iter().map(|(name, schema)| (name.clone(), sample(schema))).collect();
    serde_json::value::to_raw_value(&arguments)
}

/// Makes the calls of the scenario all at the same time, which shows whether one takes what belongs to
/// another.
///
/// # Errors
/// As for [`tool_calls`], and the first error of a call.
pub async fn call_tools<F: Future<Output = Outcome>>(
    tools: &[Tool],
    call: impl Fn(ToolCall) -> F,
) -> Outcome {
    join_all(tool_calls(tools)?.into_iter().map(call)).await.into_iter().collect()
}
