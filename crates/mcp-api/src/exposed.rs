//! What clients of the MCP endpoint see, and fetching single things as they would.

use axum::Json;
use axum::response::{IntoResponse, Response};
use mcp_api_types as api;
use mcp_api_types::{ExposedList, ExposedQuery, Fetched, GetPrompt, ReadResource, ValidationError};
use mcp_bridge::{Bridge, ExposedEntry, Hiding, ListKind};
use mcp_protocol::{ErrorCode, Method, RawJson, RpcError};
use serde::Serialize;

use crate::convert;
use crate::error::ApiError;
use crate::extract::{Body, Params, TheBridge, bounded};
use crate::invoke::request_id;

/// Longest name or URI in bytes: it is kept with the story of its request.
const MAX_NAME: usize = 8192;

/// `GET /exposed`
pub(crate) async fn list(
    TheBridge(bridge): TheBridge,
    Params(query): Params<ExposedQuery>,
) -> Result<Json<ExposedList>, ApiError> {
    let exposed = bridge.exposed(query.view.as_deref()).await;
    let exposed = exposed.ok_or_else(|| ApiError::UnknownView(query.view.unwrap_or_default()))?;
    let entries = exposed.entries.iter().map(entry);
    let items = entries.filter(|entry| query.kind.is_none_or(|kind| entry.kind == kind)).collect();
    Ok(Json(ExposedList { items, missing: exposed.missing.iter().map(ToString::to_string).collect() }))
}

fn entry(entry: &ExposedEntry) -> api::ExposedEntry {
    let (hidden, taken_by) = match &entry.hidden {
        None => (None, None),
        Some(Hiding::Taken { by }) => (Some(api::Hiding::Taken), Some(by.to_string())),
        Some(Hiding::Withheld) => (Some(api::Hiding::Withheld), None),
    };
    api::ExposedEntry {
        kind: match entry.kind {
            ListKind::Tools => api::ExposedKind::Tool,
            ListKind::Prompts => api::ExposedKind::Prompt,
            ListKind::Resources => api::ExposedKind::Resource,
            ListKind::Templates => api::ExposedKind::Template,
        },
        exposed: entry.exposed.to_string(),
        shortened: entry.shortened,
        owner: entry.owner.to_string(),
        servers: entry.servers.iter().map(ToString::to_string).collect(),
        name: entry.name.to_string(),
        hidden,
        taken_by,
        definition: convert::raw(&entry.definition).unwrap_or_default(),
    }
}

/// `POST /resources/read`
pub(crate) async fn read(
    TheBridge(bridge): TheBridge,
    Body(ReadResource { uri, view }): Body<ReadResource>,
) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct Wanted<'a> {
        uri: &'a str,
    }
    fetch(&bridge, view, Method::ResourcesRead, "uri", &uri, &Wanted { uri: &uri }).await
}

/// `POST /prompts/get`
pub(crate) async fn prompt(
    TheBridge(bridge): TheBridge,
    Body(GetPrompt { name, arguments, view }): Body<GetPrompt>,
) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct Wanted<'a> {
        name: &'a str,
        arguments: &'a serde_json::value::RawValue,
    }
    fetch(&bridge, view, Method::PromptsGet, "name", &name, &Wanted { name: &name, arguments: &arguments })
        .await
}

async fn fetch(
    bridge: &Bridge,
    view: Option<String>,
    method: Method,
    key: &'static str,
    name: &str,
    params: &impl Serialize,
) -> Result<Response, ApiError> {
    bounded(["body".into(), key.into()], name, MAX_NAME).map_err(ApiError::Invalid)?;
    let invalid =
        |key: &str, why: String| ApiError::Invalid(ValidationError::one(["body", key], why, "value_error"));
    let params = RawJson::encode(params).map_err(|error| invalid(key, error.to_string()))?;
    let Some((outcome, id)) = bridge.fetch(view.as_deref(), method, params).await else {
        return Err(ApiError::UnknownView(view.unwrap_or_default()));
    };
    let result = outcome.map_err(|error| match error.code() {
        Some(ErrorCode::INVALID_PARAMS | ErrorCode::RESOURCE_NOT_FOUND | ErrorCode::METHOD_NOT_FOUND) => {
            invalid(key, message(&error))
        }
        _ => ApiError::Unfetched { message: message(&error), request_id: id.clone() },
    })?;
    let result = convert::raw(&result).unwrap_or_default();
    let body = Json(Fetched { request_id: id.as_deref().map(str::to_owned), result });
    Ok(match &id {
        Some(id) => (request_id(id), body).into_response(),
        None => body.into_response(),
    })
}

fn message(error: &RpcError) -> String {
    error.message().unwrap_or_else(|| error.to_string())
}
