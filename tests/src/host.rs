//! What the test clients answer when a server asks.

use futures::future::BoxFuture;
use mcp_client::{RequestHandler, ServerRequest};
use mcp_protocol::{ErrorCode, InvalidJson, Method, RawJson, RpcError};
use serde_json::{Map, Value, json};

/// A user who is called Ada and agrees to everything, a model that answers `42`, and one folder.
#[derive(Debug, Clone, Copy, Default)]
pub struct Host;

impl Host {
    /// What it can do, as the `ClientCapabilities` object to declare.
    ///
    /// # Errors
    /// None: what is encoded is JSON.
    pub fn capabilities() -> Result<RawJson, InvalidJson> {
        RawJson::encode(&json!({ "elicitation": {}, "roots": {}, "sampling": {} }))
    }

    fn answer(&self, request: &ServerRequest) -> Result<Value, RpcError> {
        match request.method {
            Method::ElicitationCreate => Ok(json!({ "action": "accept", "content": form(request) })),
            Method::SamplingCreateMessage => {
                let content = json!({ "type": "text", "text": "42" });
                Ok(
                    json!({ "role": "assistant", "content": content, "model": "deep-thought", "stopReason": "endTurn" }),
                )
            }
            Method::RootsList => {
                Ok(json!({ "roots": [{ "uri": "file:///srv/project", "name": "project" }] }))
            }
            _ => Err(RpcError::new(ErrorCode::METHOD_NOT_FOUND, "nobody answers this")),
        }
    }
}

impl RequestHandler for Host {
    fn handle(&self, request: ServerRequest) -> BoxFuture<'_, Result<RawJson, RpcError>> {
        Box::pin(async move {
            let answer = self.answer(&request)?;
            RawJson::encode(&answer)
                .map_err(|error| RpcError::new(ErrorCode::INTERNAL_ERROR, &error.to_string()))
        })
    }
}

/// The answer to the form of an elicitation.
fn form(request: &ServerRequest) -> Map<String, Value> {
    let schema = request.params.as_ref().and_then(|params| params.get("requestedSchema")?.to::<Value>().ok());
    schema.map(|schema| filled_in(&schema)).unwrap_or_default()
}

/// A form filled in: fields with a default have it, others that are required a value of their type.
pub fn filled_in(schema: &Value) -> Map<String, Value> {
    let required = |name: &str| {
        let required = schema["required"].as_array();
        required.is_some_and(|required| required.iter().any(|required| required == name))
    };
    let value = |(name, field): (&String, &Value)| {
        let default = field.get("default").cloned();
        let value = default.or_else(|| required(name).then(|| sample(field)))?;
        Some((name.clone(), value))
    };
    schema["properties"].as_object().into_iter().flatten().filter_map(value).collect()
}

fn sample(field: &Value) -> Value {
    match field["type"].as_str() {
        Some("number" | "integer") => 1.into(),
        Some("boolean") => true.into(),
        _ => "Ada".into(),
    }
}
