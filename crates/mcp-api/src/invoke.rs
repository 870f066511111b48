//! Calls over HTTP: endpoints 11 and 12 of contract §6.2, and 26 of §6.3.

use std::num::NonZeroU64;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use mcp_api_types::{CallOnServer, InvocationFailure, InvokeResource, InvokeTool, Location, ValidationError};
use mcp_manager::{DirectedCall, Invocation, RoutedCall, UserContext};
use mcp_protocol::{Method, RawJson};
use mcp_registry::{CorrelationId, InvocationError, Selection, ServerName};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::convert;
use crate::error::ApiError;
use crate::extract::{Body, ToolPath, bounded};
use crate::state::ApiState;

/// Most names in a preference.
const MAX_PREFERRED: usize = 1024;

/// Longest name of a tool in bytes: it is kept with the story of its call.
const MAX_TOOL: usize = 1024;

/// `POST /invoke/tool`
pub(crate) async fn tool(
    State(state): State<ApiState>,
    Body(request): Body<InvokeTool>,
) -> Result<Response, ApiError> {
    let mut call = tool_call(request).map_err(ApiError::Invalid)?;
    if let Some(bridge) = state.bridge() {
        bridge.restrict(&mut call.selection)?;
    }
    Ok(respond(&state.manager().call(call).await?))
}

/// `POST /invoke/resource`
pub(crate) async fn resource(
    State(state): State<ApiState>,
    Body(request): Body<InvokeResource>,
) -> Result<Response, ApiError> {
    let call = resource_call(request).map_err(ApiError::Invalid)?;
    Ok(respond(&state.manager().call(call).await?))
}

/// `POST /servers/{name}/tools/{tool}/call`
pub(crate) async fn on_server(
    State(state): State<ApiState>,
    ToolPath { server, tool }: ToolPath,
    Body(request): Body<CallOnServer>,
) -> Result<Response, ApiError> {
    bounded(["path".into(), "tool".into()], &tool, MAX_TOOL).map_err(ApiError::Invalid)?;
    if let Some(bridge) = state.bridge() {
        let only = vec![server.clone()];
        let tool = Some(tool.as_str().into());
        bridge.restrict(&mut Selection { preferred: only, preferred_only: true, tool, group: None })?;
    }
    let call = DirectedCall {
        arguments: encode(&request.parameters).map_err(ApiError::Invalid)?,
        idempotent: request.idempotent,
        timeout: timeout(request.timeout_ms),
        user: user(request.user_context),
        ..DirectedCall::new(server, tool)
    };
    Ok(respond(&state.manager().call_tool_on_server(call).await?))
}

/// The call that a request body of `POST /invoke/tool` stands for.
///
/// # Errors
/// What is wrong with the body, as the 422 answer has it.
pub fn tool_call(request: InvokeTool) -> Result<RoutedCall, ValidationError> {
    #[derive(Serialize)]
    struct Params<'a> {
        name: &'a str,
        arguments: &'a RawValue,
    }
    bounded(["body".into(), "tool_name".into()], &request.tool_name, MAX_TOOL)?;
    let params = encode(&Params { name: &request.tool_name, arguments: &request.arguments })?;
    let selection = Selection {
        preferred: request.preferred_servers.unwrap_or_default(),
        preferred_only: request.preferred_only,
        group: request.group,
        tool: Some(request.tool_name.into()),
    };
    let call = routed_call(Method::ToolsCall, params, selection)?;
    let (idempotent, timeout) = (request.idempotent, timeout(request.timeout_ms));
    Ok(RoutedCall { idempotent, timeout, user: user(request.user_context), ..call })
}

fn resource_call(request: InvokeResource) -> Result<RoutedCall, ValidationError> {
    #[derive(Serialize)]
    struct Params<'a> {
        uri: &'a str,
    }
    let params = encode(&Params { uri: &request.uri })?;
    let selection = Selection {
        preferred: request.preferred_servers.unwrap_or_default(),
        preferred_only: request.preferred_only,
        group: request.group,
        tool: None,
    };
    let call = routed_call(Method::ResourcesRead, params, selection)?;
    let (idempotent, timeout) = (request.idempotent, timeout(request.timeout_ms));
    Ok(RoutedCall { idempotent, timeout, user: user(request.user_context), ..call })
}

fn routed_call(method: Method, params: RawJson, selection: Selection) -> Result<RoutedCall, ValidationError> {
    if selection.preferred.len() > MAX_PREFERRED {
        let reason = format!("at most {MAX_PREFERRED} servers can be preferred");
        return Err(ValidationError::one(["body", "preferred_servers"], reason, "too_long"));
    }
    for (at, name) in (0..).zip(&selection.preferred) {
        let loc = ["body".into(), "preferred_servers".into(), Location::Position(at)];
        bounded(loc, name, ServerName::MAX_LEN)?;
    }
    if let Some(group) = &selection.group {
        bounded(["body".into(), "group".into()], group, ServerName::MAX_LEN)?;
    }
    Ok(RoutedCall { selection, ..RoutedCall::new(method, params) })
}

fn timeout(ms: Option<NonZeroU64>) -> Option<Duration> {
    ms.map(|ms| Duration::from_millis(ms.get()))
}

fn user(context: Option<mcp_api_types::UserContext>) -> UserContext {
    context.map_or_else(UserContext::default, |context| UserContext {
        user_id: context.user_id,
        token: context.token,
    })
}

/// A failed call as the 503 answer has it.
#[must_use]
pub fn invocation_failure(error: InvocationError) -> InvocationFailure {
    InvocationFailure { detail: convert::invocation_error(error) }
}

fn encode(params: &impl Serialize) -> Result<RawJson, ValidationError> {
    RawJson::encode(params).map_err(|error| ValidationError::one(["body"], error.to_string(), "value_error"))
}

fn respond(invocation: &Invocation) -> Response {
    let id = request_id(&invocation.request_id);
    ([(header::CONTENT_TYPE, "application/json")], id, result_body(invocation)).into_response()
}

/// The header that names the invocation, in every answer of one; a failure has it nowhere else.
pub(crate) fn request_id(id: &CorrelationId) -> [(HeaderName, String); 1] {
    [(HeaderName::from_static("x-request-id"), id.to_string())]
}

/// The body of contract §4.3, spliced from the bytes that came from the server. Typed, it is
/// `mcp_api_types::InvocationResult`; going through that type would scan a large result twice more.
#[must_use]
pub fn result_body(invocation: &Invocation) -> Bytes {
    let attempts: Vec<_> = invocation.attempts.iter().map(convert::attempt).collect();
    let mut body = BytesMut::with_capacity(2 * invocation.frame.len() + 512);
    let text = |body: &mut BytesMut, name: &str, value: &str| {
        body.put_slice(name.as_bytes());
        // Writing a string to memory cannot fail.
        body.put_slice(&serde_json::to_vec(value).unwrap_or_default());
    };
    text(&mut body, "{\"server\":", invocation.server.as_str());
    text(&mut body, ",\"method\":", invocation.method.as_str());
    text(&mut body, ",\"request_id\":", &invocation.request_id);
    body.put_slice(b",\"result\":");
    body.put_slice(invocation.result.as_bytes());
    body.put_slice(b",\"raw_response\":");
    body.put_slice(invocation.frame.trim_ascii());
    body.put_slice(b",\"attempts\":");
    body.put_slice(&serde_json::to_vec(&attempts).unwrap_or_default());
    body.put_slice(b"}");
    body.freeze()
}
