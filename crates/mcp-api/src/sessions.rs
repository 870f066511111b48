//! Adapter sessions: endpoints 15–17 of contract §6.2.

use axum::Json;
use axum::extract::State;
use mcp_api_types::{AdapterSessionList, AdapterSessionQuery, Server};

use crate::convert;
use crate::error::ApiError;
use crate::events::newest;
use crate::extract::{Params, ServerPath};
use crate::servers::one;
use crate::state::ApiState;

/// `GET /adapter-sessions`
pub(crate) async fn list(
    State(state): State<ApiState>,
    Params(query): Params<AdapterSessionQuery>,
) -> Json<AdapterSessionList> {
    let manager = state.manager();
    let table = manager.table();
    let mut items: Vec<_> = table
        .servers()
        .iter()
        .map(|record| record.name().as_str())
        .filter(|name| query.server.as_deref().is_none_or(|wanted| wanted == *name))
        .filter_map(|name| Some(convert::adapter_session_item(name, manager.session_state(name).ok()?)))
        .filter(|item| query.freshness.is_none_or(|wanted| wanted == item.freshness))
        .filter(|item| item.active || !query.active_only)
        .collect();
    if let Some(limit) = newest(query.limit) {
        items.drain(..items.len().saturating_sub(limit));
    }
    Json(AdapterSessionList { adapter_controls_available: manager.supports_session_controls(), items })
}

/// `POST /servers/{name}/adapter/invalidate`
pub(crate) async fn invalidate(
    State(state): State<ApiState>,
    ServerPath(name): ServerPath,
) -> Result<Json<Server>, ApiError> {
    state.manager().invalidate(&name).await?;
    one(&state, state.manager().server(&name)?)
}

/// `POST /servers/{name}/adapter/refresh`
pub(crate) async fn refresh(
    State(state): State<ApiState>,
    ServerPath(name): ServerPath,
) -> Result<Json<Server>, ApiError> {
    one(&state, state.manager().refresh(&name).await?)
}
