//! The server over the two-endpoint transport of 2024-11-05: `GET /sse` opens a stream for all that the server
//! says, and its first event names the path to post messages to (wire reference §4.4).

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use mcp_protocol::{Era, EraPolicy, Limits, ProtocolVersion};

use super::hub::Hub;
use super::reply::{refuse, refuse_transport, session_stream};
use super::{accepts, json_body};
use crate::frame::Frame;
use crate::options::DemoOptions;

/// The stream.
const STREAM: &str = "/sse";
/// Where messages are posted.
const MESSAGES: &str = "/messages";

/// Only the handshake era has this transport, whatever the options say.
pub(super) fn routes(options: DemoOptions) -> (Router, Arc<Hub>) {
    let guard = options.hosts.clone().layer();
    let hub = Hub::start(DemoOptions { protocol: EraPolicy::Only(Era::Handshake), ..options });
    let routes = Router::new().route(STREAM, get(open)).route(MESSAGES, post(receive));
    (routes.layer(guard).with_state(Arc::clone(&hub)), hub)
}

async fn open(State(hub): State<Arc<Hub>>, headers: HeaderMap) -> Response {
    if !accepts(&headers, "text/event-stream") {
        return refuse_transport(StatusCode::NOT_ACCEPTABLE, "accept must allow text/event-stream");
    }
    match hub.open_stream() {
        Ok(session) => {
            // Relative, so that it is right behind a proxy that has another name for us.
            let endpoint = format!("{MESSAGES}?session_id={}", session.id);
            session_stream(session, &endpoint)
        }
        Err(_) => refuse_transport(StatusCode::SERVICE_UNAVAILABLE, "too many sessions, try again later"),
    }
}

async fn receive(State(hub): State<Arc<Hub>>, uri: Uri, headers: HeaderMap, body: Body) -> Response {
    let Some(session) = session_id(&uri) else {
        return refuse_transport(StatusCode::BAD_REQUEST, "the query must name the session_id");
    };
    let body = match json_body(&headers, body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let Some((peer, version)) = hub.stream_peer(session) else {
        return refuse_transport(StatusCode::NOT_FOUND, "the session is unknown or has ended");
    };
    let batches = version.is_some_and(ProtocolVersion::has_batches);
    match Frame::parse(&body, &Limits::default(), batches) {
        Ok(frame) => {
            hub.receive_on_stream(peer, frame.entries);
            (StatusCode::ACCEPTED, "Accepted").into_response()
        }
        Err(error) => refuse(StatusCode::BAD_REQUEST, error.to_failure()),
    }
}

/// Which stream a message belongs to. Our ids need no percent encoding.
fn session_id(uri: &Uri) -> Option<&str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix("session_id="))
}
