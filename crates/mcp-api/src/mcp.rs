//! The MCP endpoints: which path leads to which. Source: product §4.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::future::RouteFuture;
use axum::routing::{any, get, post};
use axum::{Json, Router};
use futures::FutureExt;
use futures::future::{BoxFuture, Either};
use mcp_api_types::ErrorDetail;
use mcp_bridge::{Bridge, Scope};
use mcp_server::{Endpoint, HttpFront, Principal};
use tower::Service;

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
    endpoints: ArcSwap<HashMap<Box<str>, (Scope, Endpoint)>>,
}

/// The MCP endpoints, `/mcp`, `/mcp/{server}`, `/mcp/views/{name}`, `/sse` and `/messages`, beside other routes. They
/// ask for an API key if there are any; whose key it is decides whose sessions are whose.
///
/// Host and Origin checks belong in front of it (`mcp_serve_http::HostPolicy`).
#[must_use]
pub fn mcp_site(bridge: Bridge, front: HttpFront, keys: ApiKeys, others: Router) -> McpSite {
    let mcp = Mcp(Arc::new(Shared { bridge, front, keys, endpoints: ArcSwap::default() }));
    let routes = Router::new()
        .route("/mcp/{server}", any(one))
        .route("/mcp/views/{view}", any(view))
        .route("/sse", get(stream))
        .route(MESSAGES, post(message))
        .with_state(mcp.clone());
    McpSite { mcp, routes: others.merge(routes) }
}

/// The MCP endpoints beside other routes; made by [`mcp_site`].
///
/// A call takes a short way: a path under `/mcp` that is written plainly needs no router.
#[derive(Clone)]
pub struct McpSite {
    mcp: Mcp,
    routes: Router,
}

impl Service<Request> for McpSite {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<BoxFuture<'static, Result<Response, Infallible>>, RouteFuture<Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Some(path) = plain_path(request.uri().path()) else {
            return Either::Right(self.routes.call(request));
        };
        let entered = self.mcp.enter(path, &request);
        let mcp = self.mcp.clone();
        Either::Left(mcp.answer(entered, request).map(Ok).boxed())
    }
}

impl fmt::Debug for McpSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpSite").finish_non_exhaustive()
    }
}

/// What comes after `/mcp/` and before the name of a view.
const VIEWS: &str = "views/";

/// What comes after `/mcp/`, if it is one name or that of a view, without anything that has to be decoded.
fn plain_path(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/mcp")?;
    if rest.is_empty() {
        return Some(rest);
    }
    let path = rest.strip_prefix('/')?;
    let name = path.strip_prefix(VIEWS).unwrap_or(path);
    (!name.is_empty() && !name.contains(['/', '%'])).then_some(path)
}

/// Who comes to which endpoint, or why nobody does.
type Entered = Result<(Endpoint, Principal), Box<Response>>;

/// A name in a path. What is wrong with it is nobody's business who has no key.
type Name = Result<Path<String>, PathRejection>;

/// A name; one that is no text, or has a slash in it, becomes another that nobody has.
fn text(name: Name) -> String {
    let name = name.ok().map(|Path(name)| name).filter(|name| !name.contains('/'));
    name.unwrap_or_else(|| char::REPLACEMENT_CHARACTER.into())
}

async fn one(State(mcp): State<Mcp>, server: Name, request: Request) -> Response {
    let entered = mcp.enter(&text(server), &request);
    mcp.answer(entered, request).await
}

async fn view(State(mcp): State<Mcp>, view: Name, request: Request) -> Response {
    let path = format!("{VIEWS}{}", text(view));
    let entered = mcp.enter(&path, &request);
    mcp.answer(entered, request).await
}

async fn stream(State(mcp): State<Mcp>, request: Request) -> Response {
    match mcp.enter("", &request) {
        Ok((endpoint, principal)) => mcp.0.front.open_sse(&endpoint, principal, &request, MESSAGES),
        Err(refusal) => *refusal,
    }
}

async fn message(State(mcp): State<Mcp>, request: Request) -> Response {
    match mcp.principal(&request) {
        None => unauthorized(),
        Some(principal) => mcp.0.front.post_message(&principal, request).await,
    }
}

impl Mcp {
    fn answer(self, entered: Entered, request: Request) -> impl Future<Output = Response> + Send {
        // Here, so that the future does not hold it twice.
        let (head, body) = request.into_parts();
        async move {
            match entered {
                Ok((endpoint, principal)) => self.0.front.handle(&endpoint, principal, &head, body).await,
                Err(refusal) => *refusal,
            }
        }
    }

    /// `path` is what comes after `/mcp/`, decoded.
    fn enter(&self, path: &str, request: &Request) -> Entered {
        let principal = self.principal(request).ok_or_else(|| Box::new(unauthorized()))?;
        let endpoint = self.endpoint(path).ok_or_else(|| Box::new(nowhere(path)))?;
        Ok((endpoint, principal))
    }

    fn principal(&self, request: &Request) -> Option<Principal> {
        if self.0.keys.is_empty() {
            return Some(Principal::anonymous());
        }
        self.0.keys.whose(presented(request.headers())?).map(|name| Principal::named(&name))
    }

    /// The endpoint of a path, if there is one at the moment.
    fn endpoint(&self, path: &str) -> Option<Endpoint> {
        if let Some((scope, known)) = self.0.endpoints.load().get(path) {
            return self.0.bridge.has(scope).then(|| known.clone());
        }
        let scope = match path.strip_prefix(VIEWS) {
            _ if path.is_empty() => Scope::All,
            Some(view) => Scope::View(view.into()),
            None => Scope::One(path.into()),
        };
        let endpoint = Endpoint { key: path.into(), service: self.0.bridge.endpoint(&scope)? };
        self.0.endpoints.rcu(|known| {
            let mut known = HashMap::clone(known);
            if known.len() >= MOST {
                known.clear();
            }
            known.insert(path.into(), (scope.clone(), endpoint.clone()));
            known
        });
        Some(endpoint)
    }
}

fn nowhere(path: &str) -> Response {
    let detail = format!("there is no MCP endpoint /mcp/{path}: no server, group or view has that name");
    (StatusCode::NOT_FOUND, Json(ErrorDetail::new(detail))).into_response()
}

#[cfg(test)]
mod tests {
    use super::plain_path;

    #[test]
    fn what_is_written_plainly_needs_no_router() {
        for (path, plain) in [
            ("/mcp", Some("")),
            ("/mcp/files", Some("files")),
            ("/mcp/views", Some("views")),
            ("/mcp/views/work", Some("views/work")),
            ("/mcp/", None),
            ("/mcp/views/", None),
            ("/mcp/a/b", None),
            ("/mcp/views/a/b", None),
            ("/mcp/a%20b", None),
            ("/mcpx", None),
            ("/api/v1/mcp", None),
        ] {
            assert_eq!(plain_path(path), plain, "{path}");
        }
    }
}
