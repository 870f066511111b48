//! The two-endpoint transport of 2024-11-05 (wire reference §4.4).

use std::sync::Arc;

use axum::extract::Request;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::{self, StreamExt};

use super::handshake::read;
use super::head::{EVENTS, accepts, json_body};
use super::reply::{events, refuse, refuse_full, refuse_transport, unknown_session};
use super::sessions::Sessions;
use super::{Endpoint, HttpFront};
use crate::flight::Refused;
use crate::peer::Peer;
use crate::serial;
use crate::service::{Principal, TransportShape};
use crate::store::COMMON;

/// The parameter of the query that names the session.
const SESSION: &str = "session_id=";

impl HttpFront {
    /// Answers a GET with the stream of a new session, whose client posts its messages to `messages_path`, a path
    /// without a query. The session ends with its stream.
    ///
    /// Only the handshake era has this transport. Source: wire reference §4.4.
    pub fn open_sse(
        &self,
        endpoint: &Endpoint,
        principal: Principal,
        request: &Request,
        messages_path: &str,
    ) -> Response {
        if !accepts(request.headers(), EVENTS) {
            return refuse_transport(StatusCode::NOT_ACCEPTABLE, "accept must allow text/event-stream");
        }
        let place = match self.sessions.place(&self.shared) {
            Ok(place) => place,
            Err(refused) => return refuse_full(None, refused),
        };
        let peer = Peer::new(&self.shared, principal, Arc::clone(&endpoint.service), TransportShape::Sse);
        let Ok(reader) = peer.attach(COMMON, None) else { return unknown_session() };
        let id = place.take(endpoint, peer);
        // Relative, so that it is right behind a proxy that has another name for us.
        let first = Bytes::from(format!("event: endpoint\ndata: {messages_path}?{SESSION}{id}\n\n"));
        let session = EndsWithStream { sessions: Arc::clone(&self.sessions), id };
        let rest = read(reader, self.shared.limits.keep_alive).map(move |text| {
            let _ = &session;
            text
        });
        events(stream::iter([first]).chain(rest))
    }

    /// Takes a message that a client of [`open_sse`](Self::open_sse) posts. What comes of it goes on its stream.
    pub async fn post_message(&self, principal: &Principal, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let Some(id) = session_id(&parts.uri) else {
            return refuse_transport(StatusCode::BAD_REQUEST, "the query must name the session_id");
        };
        let body = match json_body(&parts.headers, body, self.shared.limits.max_body).await {
            Ok(body) => body,
            Err(refusal) => return refusal,
        };
        let peer = self.sessions.find(id, principal, None);
        let Some(peer) = peer.filter(|peer| peer.shape == TransportShape::Sse) else {
            return unknown_session();
        };
        if peer.is_full() {
            return refuse_full(None, Refused::Unread);
        }
        match serial::receive(&peer, &body) {
            Ok(()) => (StatusCode::ACCEPTED, "Accepted").into_response(),
            Err(failure) => refuse(StatusCode::BAD_REQUEST, failure.id, failure.error),
        }
    }
}

/// Which stream a message belongs to. Our ids need no percent encoding.
fn session_id(uri: &Uri) -> Option<&str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix(SESSION))
}

struct EndsWithStream {
    sessions: Arc<Sessions>,
    id: Arc<str>,
}

impl Drop for EndsWithStream {
    fn drop(&mut self) {
        self.sessions.end(&self.id);
    }
}
