//! Which path leads to which handler.

use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use mcp_api_types::{BASE_PATH, ErrorDetail};

use crate::auth::require_key;
use crate::error::ApiError;
use crate::extract::no_parameters;
use crate::state::ApiState;
use crate::{changes, events, explain, exposed, health, invoke, manage, reload, servers, sessions, tools};

/// Largest body of an invocation in bytes, of anything else a quarter of it (reliability §6).
const MAX_BODY: usize = 4 << 20;

/// All routes of the API. Everything but `/healthz` and `/readyz` asks for an API key if one is set.
///
/// Host and Origin checks belong in front of it (`mcp_serve_http::HostPolicy`).
pub fn router(state: ApiState) -> Router {
    // Full paths instead of nesting, and no guard where there is nothing to guard: each layer is work done
    // for every call.
    let register = |router: Router<ApiState>, (path, route): (&str, _)| {
        router.route(&format!("{BASE_PATH}{path}"), route)
    };
    let plain = admin_routes().into_iter().fold(Router::new(), register).layer(from_fn(without_parameters));
    let admin = asking_routes().into_iter().fold(plain, register).layer(DefaultBodyLimit::max(MAX_BODY / 4));
    let calls = [
        ("/invoke/tool", post(invoke::tool)),
        ("/invoke/resource", post(invoke::resource)),
        ("/servers/{name}/tools/{tool}/call", post(invoke::on_server)),
        ("/resources/read", post(exposed::read)),
        ("/prompts/get", post(exposed::prompt)),
    ];
    let invoke = calls.into_iter().fold(Router::new(), register).layer(DefaultBodyLimit::max(MAX_BODY));
    let open = admin
        .merge(invoke)
        .route("/api/v1/health", get(health::health))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method);
    let api = if state.settings().api_keys.is_empty() {
        open
    } else {
        open.layer(from_fn_with_state(state.clone(), require_key))
    };
    let public = Router::new()
        .route("/healthz", get(health::health))
        .route("/readyz", get(health::ready))
        .method_not_allowed_fallback(wrong_method);
    api.merge(public).with_state(state)
}

/// Registry, events and sessions, without parameters in the query. A literal segment in the place of `{name}`
/// belongs in [`mcp_config::RESERVED_NAMES`].
fn admin_routes() -> Vec<(&'static str, MethodRouter<ApiState>)> {
    vec![
        ("/servers", get(servers::list).post(servers::register)),
        ("/servers/refresh-tools", post(tools::refresh_all)),
        ("/servers/{name}", get(servers::get).put(servers::update).delete(servers::delete)),
        ("/servers/{name}/capabilities", get(manage::capabilities)),
        ("/servers/{name}/health", get(manage::health)),
        ("/servers/{name}/mark", post(manage::mark)),
        ("/servers/{name}/disconnect", post(manage::disconnect)),
        ("/servers/{name}/reconnect", post(manage::reconnect)),
        ("/servers/{name}/tools", get(tools::of_server)),
        ("/servers/{name}/refresh-tools", post(tools::refresh)),
        ("/servers/{name}/adapter/invalidate", post(sessions::invalidate)),
        ("/servers/{name}/adapter/refresh", post(sessions::refresh)),
        ("/server-tools", get(tools::all)),
        ("/health", get(manage::health_of_all)),
        ("/stats", get(manage::stats)),
        ("/invocations/{request_id}", get(explain::explain)),
        ("/reload", post(reload::reload)),
        ("/tool-changes/approve", post(changes::approve)),
    ]
}

/// The others, which take parameters and know them.
fn asking_routes() -> Vec<(&'static str, MethodRouter<ApiState>)> {
    vec![
        ("/servers/health-check", post(servers::check_all)),
        ("/servers/initialize", post(servers::initialize_all)),
        ("/servers/connect", post(servers::connect_all)),
        ("/servers/{name}/health-check", post(servers::check)),
        ("/servers/{name}/initialize", post(servers::initialize)),
        ("/servers/{name}/connect", post(servers::connect)),
        ("/events", get(events::connection)),
        ("/invocation-events", get(events::invocation)),
        ("/registry-events", get(events::registry)),
        ("/adapter-sessions", get(sessions::list)),
        ("/tool-changes", get(changes::list)),
        ("/exposed", get(exposed::list)),
    ]
}

async fn without_parameters(request: Request, next: Next) -> Result<Response, ApiError> {
    no_parameters(request.uri())?;
    Ok(next.run(request).await)
}

async fn not_found() -> (StatusCode, Json<ErrorDetail>) {
    (StatusCode::NOT_FOUND, Json(ErrorDetail::new("there is nothing at this path")))
}

async fn wrong_method() -> (StatusCode, Json<ErrorDetail>) {
    (StatusCode::METHOD_NOT_ALLOWED, Json(ErrorDetail::new("this path does not take that method")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mcp_config::RESERVED_NAMES;

    use super::*;

    #[test]
    fn no_server_can_be_named_like_a_path() {
        let literal: BTreeSet<&str> = admin_routes()
            .into_iter()
            .chain(asking_routes())
            .filter_map(|(path, _)| path.strip_prefix("/servers/")?.split('/').next())
            .filter(|segment| !segment.starts_with('{'))
            .collect();
        assert_eq!(literal, BTreeSet::from(RESERVED_NAMES));
    }
}
