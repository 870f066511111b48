//! A front end without sockets, so that time can be the test's.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use mcp_server::{Endpoint, FrontLimits, HttpFront, Principal};
use serde_json::{Value, json};

use super::{BOTH, Director, initialize, plain, script};

/// A front end with one endpoint.
pub(crate) struct Desk {
    pub(crate) front: HttpFront,
    pub(crate) endpoint: Endpoint,
}

impl Desk {
    pub(crate) fn new(limits: FrontLimits) -> (Self, Director) {
        let (service, director) = script();
        let endpoint = Endpoint { key: "a".into(), service };
        (Self { front: HttpFront::new(limits), endpoint }, director)
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        session: Option<&str>,
        message: Option<&Value>,
    ) -> Response {
        let mut request = Request::builder().method(method).header("accept", BOTH);
        if let Some(session) = session {
            request = request.header("mcp-session-id", session);
        }
        let body = message.map_or_else(Body::empty, |message| Body::from(message.to_string()));
        let request = request.header("content-type", "application/json").body(body).unwrap();
        let (head, body) = request.into_parts();
        self.front.handle(&self.endpoint, Principal::anonymous(), &head, body).await
    }

    pub(crate) async fn initialize(&self) -> String {
        let answer = self.send("POST", None, Some(&initialize("2025-11-25"))).await;
        answer.headers()["mcp-session-id"].to_str().unwrap().to_owned()
    }

    pub(crate) async fn ping(&self, session: &str) -> u16 {
        let ping = plain(1, "ping", json!({}));
        self.send("POST", Some(session), Some(&ping)).await.status().as_u16()
    }
}
