//! Streamable HTTP: both eras on one URL (wire reference §5.3).

mod handshake;
mod head;
mod mirror;
mod reply;
mod sessions;
mod stateless;
mod streams;
mod two;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method as HttpMethod, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use mcp_protocol::Era;

use crate::flight::Shared;
use crate::ladder;
use crate::limits::FrontLimits;
use crate::peer::Peer;
use crate::service::{Principal, Service, TransportShape};
use crate::stats::FrontStats;
use head::{accepts_both, is_handshake_version, json_body};
use mirror::{PROTOCOL_VERSION, single};
use reply::{not_allowed, refuse, refuse_transport};
use sessions::Sessions;

/// What a URL leads to.
#[derive(Clone)]
pub struct Endpoint {
    /// Tells endpoints apart: a session of one is unknown to every other.
    pub key: Arc<str>,
    /// What answers.
    pub service: Arc<dyn Service>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("key", &self.key).finish_non_exhaustive()
    }
}

/// The server's side of MCP over HTTP, for any number of endpoints. Clones share everything.
#[derive(Clone)]
pub struct HttpFront {
    shared: Arc<Shared>,
    sessions: Arc<Sessions>,
}

impl fmt::Debug for HttpFront {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpFront").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// Who asks whom, within one HTTP request.
struct Call<'a> {
    front: &'a HttpFront,
    endpoint: &'a Endpoint,
    principal: Principal,
}

impl Call<'_> {
    /// The session of a header.
    fn find(&self, id: &str) -> Option<Arc<Peer>> {
        let peer = self.front.sessions.find(id, &self.principal, Some(self.endpoint))?;
        // One of the two-endpoint transport has no streams for requests.
        (peer.shape == TransportShape::Http).then_some(peer)
    }

    fn has_era(&self, era: Era) -> bool {
        ladder::has_era(self.endpoint.service.eras(), era)
    }
}

impl HttpFront {
    /// A front end without sessions yet.
    #[must_use]
    pub fn new(limits: FrontLimits) -> Self {
        Self { shared: Shared::new(limits), sessions: Sessions::new() }
    }

    /// Answers one request to an endpoint. Who the client is, whether it may come in, and whether `Host` and
    /// `Origin` are fine was checked before.
    pub async fn handle(
        &self,
        endpoint: &Endpoint,
        principal: Principal,
        head: &Parts,
        body: Body,
    ) -> Response {
        let call = Call { front: self, endpoint, principal };
        match head.method {
            HttpMethod::POST => {
                if !accepts_both(&head.headers) {
                    let text = "accept must allow application/json and text/event-stream";
                    return refuse_transport(StatusCode::NOT_ACCEPTABLE, text);
                }
                match json_body(&head.headers, body, self.limits().max_body).await {
                    Ok(body) => post(&call, &head.headers, &body).await,
                    Err(refusal) => refusal,
                }
            }
            HttpMethod::GET if call.has_era(Era::Handshake) => streams::get(&call, &head.headers),
            HttpMethod::DELETE if call.has_era(Era::Handshake) => streams::delete(&call, &head.headers),
            _ if call.has_era(Era::Handshake) => not_allowed("POST, GET, DELETE"),
            _ => not_allowed("POST"),
        }
    }

    /// Figures about this front end.
    #[must_use]
    pub fn stats(&self) -> FrontStats {
        let counters = &self.shared.counters;
        FrontStats {
            sessions: self.sessions.count(),
            streams: counters.streams.load(Ordering::Relaxed),
            in_flight: self.shared.in_flight(),
            sessions_opened: counters.sessions_opened.get(),
            sessions_expired: counters.sessions_expired.get(),
            refused: counters.refused.get(),
            cancelled: counters.cancelled.get(),
            abandoned: counters.abandoned.get(),
            resumed: counters.resumed.get(),
            dropped: counters.dropped.get(),
        }
    }

    /// The server goes away: streams that wait for news end and nobody gets a new one, nor a new session. Calls go
    /// on to their end.
    pub fn shutdown(&self) {
        self.sessions.close();
    }

    fn is_closing(&self) -> bool {
        self.sessions.closing.load(Ordering::Relaxed)
    }

    fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    fn limits(&self) -> &FrontLimits {
        &self.shared.limits
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

/// Decides by the version header which era a POST belongs to, where there are both.
async fn post(call: &Call<'_>, headers: &HeaderMap, body: &Bytes) -> Response {
    let version = match single(headers, PROTOCOL_VERSION) {
        Ok(version) => version,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, None, error),
    };
    let foreign = version.filter(|version| !is_handshake_version(version));
    if call.has_era(Era::Stateless) && (foreign.is_some() || !call.has_era(Era::Handshake)) {
        stateless::post(call, headers, version.unwrap_or_default(), body).await
    } else {
        handshake::post(call, headers, foreign, body).await
    }
}
