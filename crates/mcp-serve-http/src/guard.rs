//! The policy as a layer in front of handlers.

use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures::future::{Either, Ready, ready};
use tower::{Layer, Service};

use crate::host_policy::{HostPolicy, Refusal};

/// Puts a [`HostGuard`] in front of a service; made by [`HostPolicy::layer`].
#[derive(Debug, Clone)]
pub struct HostGuardLayer {
    policy: Arc<HostPolicy>,
    allowed: Arc<OnceLock<HeaderValue>>,
}

impl HostGuardLayer {
    pub(crate) fn new(policy: HostPolicy) -> Self {
        Self { policy: Arc::new(policy), allowed: Arc::default() }
    }
}

impl<S> Layer<S> for HostGuardLayer {
    type Service = HostGuard<S>;

    fn layer(&self, inner: S) -> Self::Service {
        HostGuard { inner, policy: Arc::clone(&self.policy), allowed: Arc::clone(&self.allowed) }
    }
}

/// Answers requests that the policy refuses; the inner service does not see them.
#[derive(Debug, Clone)]
pub struct HostGuard<S> {
    inner: S,
    policy: Arc<HostPolicy>,
    /// The first host that was allowed: nearly all requests name it, and need no reading of it.
    allowed: Arc<OnceLock<HeaderValue>>,
}

impl<S> HostGuard<S> {
    fn check(&self, target: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let only = hosts.next().filter(|_| hosts.next().is_none() && target.authority().is_none());
        if only.is_none() || only != self.allowed.get() {
            self.policy.check_host(target, headers)?;
            if let Some(host) = only {
                self.allowed.get_or_init(|| host.clone());
            }
        }
        self.policy.check_origin(headers)
    }
}

impl<S: Service<Request, Response = Response>> Service<Request> for HostGuard<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match self.check(request.uri(), request.headers()) {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(refusal) => {
                tracing::debug!(%refusal, "request refused");
                Either::Right(ready(Ok(refusal.into_response())))
            }
        }
    }
}

/// 421 for the host, 403 for the origin. The body is a JSON-RPC error without id, as MCP wants it, and has
/// a `detail` member, as the REST API's errors have.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Origin => StatusCode::FORBIDDEN,
        };
        let text = self.to_string();
        let body = serde_json::json!({
            "jsonrpc": "2.0",
            "error": { "code": -32600, "message": text },
            "detail": text,
        });
        (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
    }
}
