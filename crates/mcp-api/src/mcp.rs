//! The MCP endpoints: which path leads to which. Source: product §4.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use mcp_api_types::ErrorDetail;
use mcp_bridge::{Bridge, Scope};
use mcp_server::{Endpoint, HttpFront, Principal};

use crate::auth::{ApiKeys, presented, unauthorized};

/// Where clients of the two-endpoint transport post their messages.
const MESSAGES: &str = "/messages";
/// Most endpoints whose services are kept at hand; there are not more servers than this.
const MOST: usize = 4096;

/// What the routes share.
#[derive(Clone)]
struct Mcp(Arc<Shared>);

struct Shared {
    bridge: Bridge,
    front: HttpFront,
    keys: ApiKeys,
    /// By their paths, without `/mcp`.
    endpoints: ArcSwap<HashMap<Box<str>, Endpoint>>,
}

/// The routes of the MCP endpoints: `/mcp`, `/mcp/{server}`, `/mcp/views/{name}`, `/sse` and `/messages`. They ask for
/// an API key if there are any; whose key it is decides whose sessions are whose.
///
/// Host and Origin checks belong in front of it (`mcp_serve_http::HostPolicy`).
pub fn mcp_router(bridge: Bridge, front: HttpFront, keys: ApiKeys) -> Router {
    let endpoints = ArcSwap::default();
    Router::new()
        .route("/mcp", any(aggregate))
        .route("/mcp/{server}", any(one))
        .route("/mcp/views/{view}", any(view))
        .route("/sse", get(stream))
        .route(MESSAGES, post(message))
        .with_state(Mcp(Arc::new(Shared { bridge, front, keys, endpoints })))
}

/// A name in a path. What is wrong with it is nobody's business who has no key.
type Name = Result<Path<String>, PathRejection>;

/// A name; one that is no text becomes another that nobody has.
fn text(name: Name) -> String {
    name.map_or_else(|_| char::REPLACEMENT_CHARACTER.into(), |Path(name)| name)
}

async fn aggregate(State(mcp): State<Mcp>, request: Request) -> Response {
    mcp.serve("", || Scope::All, request).await
}

async fn one(State(mcp): State<Mcp>, server: Name, request: Request) -> Response {
    let server = text(server);
    mcp.serve(&server, || Scope::One(server.as_str().into()), request).await
}

async fn view(State(mcp): State<Mcp>, view: Name, request: Request) -> Response {
    let view = text(view);
    mcp.serve(&format!("views/{view}"), || Scope::View(view.as_str().into()), request).await
}

async fn stream(State(mcp): State<Mcp>, request: Request) -> Response {
    match (mcp.principal(&request), mcp.endpoint("", || Scope::All)) {
        (None, _) => unauthorized(),
        (_, None) => nowhere(""),
        (Some(principal), Some(endpoint)) => mcp.0.front.open_sse(&endpoint, principal, &request, MESSAGES),
    }
}

async fn message(State(mcp): State<Mcp>, request: Request) -> Response {
    match mcp.principal(&request) {
        None => unauthorized(),
        Some(principal) => mcp.0.front.post_message(&principal, request).await,
    }
}

impl Mcp {
    async fn serve(&self, path: &str, scope: impl FnOnce() -> Scope, request: Request) -> Response {
        let Some(principal) = self.principal(&request) else { return unauthorized() };
        match self.endpoint(path, scope) {
            Some(endpoint) => self.0.front.handle(&endpoint, principal, request).await,
            None => nowhere(path),
        }
    }

    fn principal(&self, request: &Request) -> Option<Principal> {
        if self.0.keys.is_empty() {
            return Some(Principal::anonymous());
        }
        self.0.keys.whose(presented(request.headers())?).map(|name| Principal::named(&name))
    }

    /// The endpoint of a path, if there is one at the moment.
    fn endpoint(&self, path: &str, scope: impl FnOnce() -> Scope) -> Option<Endpoint> {
        let scope = scope();
        if !self.0.bridge.has(&scope) {
            return None;
        }
        if let Some(known) = self.0.endpoints.load().get(path) {
            return Some(known.clone());
        }
        let endpoint = Endpoint { key: path.into(), service: self.0.bridge.endpoint(&scope)? };
        self.0.endpoints.rcu(|known| {
            let mut known = HashMap::clone(known);
            if known.len() >= MOST {
                known.clear();
            }
            known.insert(path.into(), endpoint.clone());
            known
        });
        Some(endpoint)
    }
}

fn nowhere(path: &str) -> Response {
    let detail = format!("there is no MCP endpoint /mcp/{path}: no server, group or view has that name");
    (StatusCode::NOT_FOUND, Json(ErrorDetail::new(detail))).into_response()
}
