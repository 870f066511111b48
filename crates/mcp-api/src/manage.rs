//! Looking after servers: endpoints 23, 24, 27, 28 and 30 of contract §6.3.

use axum::Json;
use axum::extract::State;
use mcp_api_types::{
    CapabilitySnapshot, ItemList, Mark, MarkServer, RegistryStats, Server, ServerHealth, ValidationError,
};

use crate::convert;
use crate::error::ApiError;
use crate::extract::{Body, ServerPath, bounded};
use crate::servers::one;
use crate::state::ApiState;

/// Longest reason of a mark in bytes: it is kept with every event it causes.
const MAX_REASON: usize = 1024;

/// The error of a server that is marked without a reason. Source: contract §1.4.
const NO_REASON: &str = "health check failed";

/// `GET /servers/{name}/capabilities`: what it last said of itself; null before its first handshake.
pub(crate) async fn capabilities(
    State(state): State<ApiState>,
    ServerPath(name): ServerPath,
) -> Result<Json<Option<CapabilitySnapshot>>, ApiError> {
    let record = state.manager().server(&name)?;
    Ok(Json(record.capability_snapshot.as_deref().map(convert::snapshot)))
}

/// `GET /servers/{name}/health`: as last recorded, without a probe.
pub(crate) async fn health(
    State(state): State<ApiState>,
    ServerPath(name): ServerPath,
) -> Result<Json<ServerHealth>, ApiError> {
    Ok(Json(convert::health(&*state.manager().server(&name)?)))
}

/// `GET /health` under the base path: the same of every server.
pub(crate) async fn health_of_all(State(state): State<ApiState>) -> Json<ItemList<ServerHealth>> {
    let table = state.manager().table();
    Json(ItemList { items: table.servers().iter().map(|record| convert::health(record)).collect() })
}

/// `POST /servers/{name}/mark`: an operator's word on a server.
pub(crate) async fn mark(
    State(state): State<ApiState>,
    ServerPath(name): ServerPath,
    Body(MarkServer { mark, reason }): Body<MarkServer>,
) -> Result<Json<Server>, ApiError> {
    let (manager, reason) = (state.manager(), reason.filter(|reason| !reason.is_empty()));
    if let Some(reason) = &reason {
        bounded(["body".into(), "reason".into()], reason, MAX_REASON).map_err(ApiError::Invalid)?;
    }
    let record = match (mark, reason) {
        (Mark::Healthy, None) => manager.mark_healthy(&name),
        (Mark::Healthy, Some(_)) => {
            let msg = "must be left out: it is shown as an error, which a healthy server does not have";
            return Err(ApiError::Invalid(ValidationError::one(["body", "reason"], msg, "value_error")));
        }
        (Mark::Degraded, reason) => manager.mark_degraded(&name, reason.as_deref().unwrap_or(NO_REASON)),
        (Mark::Unavailable, reason) => {
            manager.mark_unavailable(&name, reason.as_deref().unwrap_or(NO_REASON))
        }
    };
    one(&state, record?)
}

/// `POST /servers/{name}/disconnect`
pub(crate) async fn disconnect(
    State(state): State<ApiState>,
    ServerPath(name): ServerPath,
) -> Result<Json<Server>, ApiError> {
    one(&state, state.manager().disconnect(&name).await?)
}

/// `POST /servers/{name}/reconnect`
pub(crate) async fn reconnect(
    State(state): State<ApiState>,
    ServerPath(name): ServerPath,
) -> Result<Json<Server>, ApiError> {
    one(&state, state.manager().reconnect(&name).await?)
}

/// `GET /stats`
pub(crate) async fn stats(State(state): State<ApiState>) -> Json<RegistryStats> {
    Json(convert::statistics(state.manager().statistics()))
}
