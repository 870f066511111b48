//! Which path leads to which handler.

use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use axum::{Json, Router};
use mcp_api_types::{BASE_PATH, ErrorDetail};

use crate::auth::require_key;
use crate::state::ApiState;
use crate::{events, health, invoke, servers, sessions, tools};

/// Largest body of an invocation in bytes, of anything else a quarter of it (reliability §6).
const MAX_BODY: usize = 4 << 20;

/// All routes of the API. Everything but `/healthz` and `/readyz` asks for an API key if one is set.
///
/// Host and Origin checks belong in front of it (`mcp_serve_http::HostPolicy`).
pub fn router(state: ApiState) -> Router {
    let admin = Router::new()
        .route("/servers", get(servers::list).post(servers::register))
        .route("/servers/health-check", post(servers::check_all))
        .route("/servers/initialize", post(servers::initialize_all))
        .route("/servers/connect", post(servers::connect_all))
        .route("/servers/refresh-tools", post(tools::refresh_all))
        .route("/servers/{name}", get(servers::get).delete(servers::delete))
        .route("/servers/{name}/health-check", post(servers::check))
        .route("/servers/{name}/initialize", post(servers::initialize))
        .route("/servers/{name}/connect", post(servers::connect))
        .route("/servers/{name}/tools", get(tools::of_server))
        .route("/servers/{name}/refresh-tools", post(tools::refresh))
        .route("/servers/{name}/adapter/invalidate", post(sessions::invalidate))
        .route("/servers/{name}/adapter/refresh", post(sessions::refresh))
        .route("/server-tools", get(tools::all))
        .route("/events", get(events::connection))
        .route("/invocation-events", get(events::invocation))
        .route("/registry-events", get(events::registry))
        .route("/adapter-sessions", get(sessions::list))
        .layer(DefaultBodyLimit::max(MAX_BODY / 4));
    let invoke = Router::new()
        .route("/invoke/tool", post(invoke::tool))
        .route("/invoke/resource", post(invoke::resource))
        .layer(DefaultBodyLimit::max(MAX_BODY));
    Router::new()
        .nest(BASE_PATH, admin.merge(invoke))
        .route("/api/v1/health", get(health::health))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(state.clone(), require_key))
        // Added after the layer, so that it does not apply: the public list.
        .route("/healthz", get(health::health))
        .route("/readyz", get(health::ready))
        .with_state(state)
}

async fn not_found() -> (StatusCode, Json<ErrorDetail>) {
    (StatusCode::NOT_FOUND, Json(ErrorDetail::new("there is nothing at this path")))
}

async fn wrong_method() -> (StatusCode, Json<ErrorDetail>) {
    (StatusCode::METHOD_NOT_ALLOWED, Json(ErrorDetail::new("this path does not take that method")))
}
