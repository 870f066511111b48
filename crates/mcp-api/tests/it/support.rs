//! A router over scripted servers, called in process.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header, response};
use http_body_util::BodyExt;
use mcp_api::{ApiKeys, ApiState, Settings};
use mcp_manager::{Manager, Setup};
use mcp_protocol::{Era, EraPolicy};
use mcp_registry::{Definition, Policy};
use mcp_testkit::{ManualClock, ScriptedCluster};
use mcp_transport::{Endpoint, HttpEndpoint};
use serde_json::Value;
use tower::ServiceExt;

pub(crate) struct World {
    pub(crate) cluster: ScriptedCluster,
    pub(crate) clock: ManualClock,
    pub(crate) manager: Manager,
    pub(crate) state: ApiState,
    router: Router,
}

impl World {
    pub(crate) fn new(servers: &[&str], adjust: impl FnOnce(&mut Policy)) -> Self {
        Self::with_keys(servers, adjust, ApiKeys::default())
    }

    pub(crate) fn with_keys(servers: &[&str], adjust: impl FnOnce(&mut Policy), api_keys: ApiKeys) -> Self {
        let (cluster, clock) = (ScriptedCluster::new(), ManualClock::new());
        let mut policy = Policy::default();
        adjust(&mut policy);
        let manager = Manager::new(Setup {
            policy,
            client_info: mcp_client::ClientInfo::new("test", "0"),
            connector: Arc::new(cluster.clone()),
            timer: Arc::new(clock.clone()),
        });
        for name in servers {
            let url = format!("https://{name}.example/mcp").parse().unwrap();
            let mut definition =
                Definition::new(name.parse().unwrap(), Endpoint::Http(HttpEndpoint::new(url)));
            definition.protocol = EraPolicy::Only(Era::Handshake);
            manager.register(definition).unwrap();
        }
        let state = ApiState::new(manager.clone(), Settings { api_keys, version: "0.0.0" });
        let router = mcp_api::router(state.clone());
        Self { cluster, clock, manager, state, router }
    }

    /// Sends a request; an empty answer body is `Null`.
    pub(crate) async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let (head, value) = self.exchange(request).await;
        (head.status, value)
    }

    /// Sends a request and gives the head of the answer, too.
    pub(crate) async fn exchange(&self, request: Request<Body>) -> (response::Parts, Value) {
        let (head, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        (head, value)
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> (u16, Value) {
        self.ask("POST", path, body).await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_owned()))
            .unwrap();
        let (status, value) = self.send(request).await;
        (status.as_u16(), value)
    }
}
