//! Liveness and readiness.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use mcp_api_types::{Health, Ready, ReadyState};

use crate::state::ApiState;

/// `GET /healthz` and `GET /api/v1/health`
pub(crate) async fn health() -> Json<Health> {
    Json(Health::default())
}

/// `GET /readyz`: 200 when ready, 503 while starting and draining.
pub(crate) async fn ready(State(state): State<ApiState>) -> (StatusCode, Json<Ready>) {
    let status = state.ready();
    let code = match status {
        ReadyState::Ready => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let version = Some(state.settings().version.to_owned());
    (code, Json(Ready { status, version, uptime_ms: Some(state.uptime_ms()) }))
}
