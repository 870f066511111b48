//! The registry over HTTP: endpoints 1–10 of contract §6.2, and 22 of §6.3.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use mcp_api_types::{ForceQuery, Server, ServerList};
use mcp_config::{InvalidField, Registration};
use mcp_registry::{Definition, ServerRecord};
use mcp_transport::TransportKind;
use std::sync::Arc;

use crate::convert;
use crate::error::ApiError;
use crate::extract::{JsonText, Params, ServerPath};
use crate::state::ApiState;

type One = Result<Json<Server>, ApiError>;

/// `GET /servers`
pub(crate) async fn list(State(state): State<ApiState>) -> Json<ServerList> {
    list_of(&state, state.manager().table().servers())
}

/// `POST /servers`: registers a server or replaces the one of that name.
pub(crate) async fn register(
    State(state): State<ApiState>,
    JsonText(body): JsonText,
) -> Result<(StatusCode, Json<Server>), ApiError> {
    let text = String::from_utf8_lossy(&body);
    let definition = definition(&state, Registration::from_json(&text))?;
    let record = state.manager().register(definition)?;
    Ok((StatusCode::CREATED, Json(convert::server(state.manager(), &record))))
}

/// `PUT /servers/{name}`: replaces the definition of a server that is registered.
pub(crate) async fn update(
    State(state): State<ApiState>,
    ServerPath(name): ServerPath,
    JsonText(body): JsonText,
) -> One {
    let registered = state.manager().server(&name)?;
    let text = String::from_utf8_lossy(&body);
    let definition = definition(&state, Registration::replacing(registered.name(), &text))?;
    one(&state, state.manager().replace(definition)?)
}

/// The definition a body stands for, unless it may not be registered this way.
fn definition(
    state: &ApiState,
    registration: Result<Registration, Vec<InvalidField>>,
) -> Result<Definition, ApiError> {
    let policy = state.manager().policy();
    let definition = registration
        .and_then(|registration| registration.into_definition(policy))
        .map_err(ApiError::fields)?;
    if definition.endpoint.kind() == TransportKind::Stdio && !policy.allow_stdio_registration {
        return Err(ApiError::StdioNotAllowed);
    }
    Ok(definition)
}

/// `GET /servers/{name}`
pub(crate) async fn get(State(state): State<ApiState>, ServerPath(name): ServerPath) -> One {
    one(&state, state.manager().server(&name)?)
}

/// `DELETE /servers/{name}`
pub(crate) async fn delete(
    State(state): State<ApiState>,
    ServerPath(name): ServerPath,
) -> Result<StatusCode, ApiError> {
    let record = state.manager().server(&name)?;
    state.manager().unregister(&name).await?;
    // Whoever comes under that name next starts anew.
    if let Some(bridge) = state.bridge() {
        bridge.forget_tools(record.name());
    }
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /servers/{name}/health-check`
pub(crate) async fn check(
    State(state): State<ApiState>,
    ServerPath(name): ServerPath,
    Params(query): Params<ForceQuery>,
) -> One {
    let manager = state.manager();
    if query.force {
        manager.check_server_health(&name).await?;
        return one(&state, manager.server(&name)?);
    }
    one(&state, manager.health_check(&name).await?)
}

/// `POST /servers/health-check`
pub(crate) async fn check_all(
    State(state): State<ApiState>,
    Params(query): Params<ForceQuery>,
) -> Json<ServerList> {
    let manager = state.manager();
    if query.force {
        manager.check_all_servers_health().await;
        return list_of(&state, manager.table().servers());
    }
    list_of(&state, &manager.health_check_all().await)
}

/// `POST /servers/{name}/initialize`
pub(crate) async fn initialize(
    State(state): State<ApiState>,
    ServerPath(name): ServerPath,
    Params(query): Params<ForceQuery>,
) -> One {
    one(&state, state.manager().initialize(&name, query.force).await?)
}

/// `POST /servers/initialize`
pub(crate) async fn initialize_all(
    State(state): State<ApiState>,
    Params(query): Params<ForceQuery>,
) -> Json<ServerList> {
    list_of(&state, &state.manager().initialize_all(query.force).await)
}

/// `POST /servers/{name}/connect`
pub(crate) async fn connect(
    State(state): State<ApiState>,
    ServerPath(name): ServerPath,
    Params(query): Params<ForceQuery>,
) -> One {
    one(&state, state.manager().connect(&name, query.force).await?)
}

/// `POST /servers/connect`
pub(crate) async fn connect_all(
    State(state): State<ApiState>,
    Params(query): Params<ForceQuery>,
) -> Json<ServerList> {
    list_of(&state, &state.manager().connect_all(query.force).await)
}

pub(crate) fn one(state: &ApiState, record: Arc<ServerRecord>) -> One {
    Ok(Json(convert::server(state.manager(), &record)))
}

pub(crate) fn list_of(state: &ApiState, records: &[Arc<ServerRecord>]) -> Json<ServerList> {
    let items = records.iter().map(|record| convert::server(state.manager(), record)).collect();
    Json(ServerList { items, adapter_controls_available: state.manager().supports_session_controls() })
}
