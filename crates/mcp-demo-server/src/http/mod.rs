//! The server over HTTP: Streamable HTTP with both eras on one endpoint, and the transport before it.

mod hub;
mod mailbox;
mod mirror;
mod post;
mod reply;
mod sessions;
mod sse;

use std::error::Error;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method as HttpMethod, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use http_body_util::LengthLimitError;
use mcp_protocol::Era;
use mcp_protocol::header::{PROTOCOL_VERSION, SESSION_ID};
use mcp_serve_http::{ServeLimits, ServeReport, serve};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::options::DemoOptions;
use hub::Hub;
use mirror::{Mirrored, single};
use reply::{mail_stream, refuse_transport};

/// The path of the endpoint.
const PATH: &str = "/mcp";
/// Largest request body in bytes (reliability document §6).
const MAX_BODY: usize = 4 << 20;

/// How an HTTP server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpEnd {
    /// `shutdown` resolved; what became of the connections.
    Shutdown(ServeReport),
    /// The tool `crash` was called; the process should exit with this status.
    Crash {
        /// The exit status.
        status: u8,
    },
}

/// What handlers share.
#[derive(Debug, Clone)]
struct Endpoint {
    hub: Arc<Hub>,
    options: Arc<DemoOptions>,
    mirrored: Arc<Mirrored>,
}

impl Endpoint {
    fn serves(&self, era: Era) -> bool {
        self.options.serves(era)
    }
}

/// The endpoint at `/mcp`, behind its Host and Origin guard.
///
/// The tool `crash` is not offered: a router has nothing it could end. Must be called within a tokio
/// runtime, where a task keeps the time of slow calls until the router is dropped.
pub fn router(options: DemoOptions) -> Router {
    routes(DemoOptions { allow_crash: false, ..options }).0
}

/// Serves the endpoint at `/mcp` on `listener` until `shutdown` resolves or the tool `crash` is called.
pub async fn serve_http(
    options: DemoOptions,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> HttpEnd {
    attend(routes(options), listener, shutdown).await
}

/// Serves the two-endpoint transport of 2024-11-05 on `listener`, with its stream at `/sse`, until `shutdown`
/// resolves or the tool `crash` is called. It has the revisions with a handshake only, whatever
/// [`DemoOptions::protocol`] says.
pub async fn serve_sse(
    options: DemoOptions,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> HttpEnd {
    attend(sse::routes(options), listener, shutdown).await
}

async fn attend(
    (router, hub): (Router, Arc<Hub>),
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> HttpEnd {
    let mut crashed = hub.crashed();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = serve(listener, router, ServeLimits::default(), async move {
        let _ = stopped.await; // an error means that `stop` is gone, which is the same
    });
    tokio::pin!(serving, shutdown);
    let mut stop = Some(stop);
    loop {
        tokio::select! {
            report = &mut serving => return HttpEnd::Shutdown(report),
            () = &mut shutdown, if stop.is_some() => {
                stop = None;
                // Streams that only wait for news would hold up the end for all of the grace.
                hub.shut_down();
            }
            Ok(status) = crashed.wait_for(Option::is_some) => {
                return HttpEnd::Crash { status: status.unwrap_or(1) };
            }
        }
    }
}

fn routes(options: DemoOptions) -> (Router, Arc<Hub>) {
    let guard = options.hosts.clone().layer();
    let hub = Hub::start(options.clone());
    let mirrored = Arc::new(Mirrored::of_built_in_tools());
    let endpoint = Endpoint { hub: Arc::clone(&hub), options: Arc::new(options), mirrored };
    (Router::new().route(PATH, any(handle)).layer(guard).with_state(endpoint), hub)
}

async fn handle(State(endpoint): State<Endpoint>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match parts.method {
        HttpMethod::POST => receive(&endpoint, &parts.headers, body).await,
        HttpMethod::GET if endpoint.serves(Era::Handshake) => get(&endpoint, &parts.headers),
        HttpMethod::DELETE if endpoint.serves(Era::Handshake) => delete(&endpoint, &parts.headers),
        _ => not_allowed(&endpoint),
    }
}

async fn receive(endpoint: &Endpoint, headers: &HeaderMap, body: Body) -> Response {
    if !(accepts(headers, "application/json") && accepts(headers, "text/event-stream")) {
        let text = "accept must allow application/json and text/event-stream";
        return refuse_transport(StatusCode::NOT_ACCEPTABLE, text);
    }
    match json_body(headers, body).await {
        Ok(body) => post::post(endpoint, headers, &body).await,
        Err(refusal) => refusal,
    }
}

/// The whole body, if it is JSON by its media type and not too large.
async fn json_body(headers: &HeaderMap, body: Body) -> Result<Bytes, Response> {
    if media_type(headers.get(header::CONTENT_TYPE)).as_deref() != Some("application/json") {
        let text = "content-type must be application/json";
        return Err(refuse_transport(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    to_bytes(body, MAX_BODY).await.map_err(|error| {
        if error.source().is_some_and(|cause| cause.is::<LengthLimitError>()) {
            refuse_transport(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large")
        } else {
            refuse_transport(StatusCode::BAD_REQUEST, "the body did not come to its end")
        }
    })
}

/// The stream of a session.
fn get(endpoint: &Endpoint, headers: &HeaderMap) -> Response {
    let (Some(id), true) = (session_id(headers), speaks_handshake(headers)) else {
        return not_allowed(endpoint);
    };
    if !accepts(headers, "text/event-stream") {
        return refuse_transport(StatusCode::NOT_ACCEPTABLE, "accept must allow text/event-stream");
    }
    let Some((peer, _)) = endpoint.hub.session(id) else {
        return refuse_transport(StatusCode::NOT_FOUND, "the session is unknown or has ended");
    };
    match endpoint.hub.mail(peer) {
        Some(mail) => mail_stream(mail),
        None => refuse_transport(StatusCode::CONFLICT, "the session has a stream already"),
    }
}

/// Ends a session.
fn delete(endpoint: &Endpoint, headers: &HeaderMap) -> Response {
    let (Some(id), true) = (session_id(headers), speaks_handshake(headers)) else {
        return not_allowed(endpoint);
    };
    if endpoint.hub.end_session(id) {
        StatusCode::NO_CONTENT.into_response()
    } else {
        refuse_transport(StatusCode::NOT_FOUND, "the session is unknown or has ended")
    }
}

fn not_allowed(endpoint: &Endpoint) -> Response {
    let allowed = if endpoint.serves(Era::Handshake) { "POST, GET, DELETE" } else { "POST" };
    let mut response = refuse_transport(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

fn session_id(headers: &HeaderMap) -> Option<&str> {
    headers.get(SESSION_ID)?.to_str().ok()
}

/// Whether the version header is absent or names a revision with a handshake.
fn speaks_handshake(headers: &HeaderMap) -> bool {
    single(headers, PROTOCOL_VERSION).is_ok_and(|version| version.is_none_or(post::is_handshake_version))
}

/// Whether an `Accept` header allows a media type. Absent means that it does not: clients must say.
fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let kind = wanted.split('/').next().unwrap_or_default();
    let ranges = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    ranges.flat_map(|value| value.split(',')).any(|range| {
        let range = range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        range == wanted || range == "*/*" || range.strip_suffix("/*") == Some(kind)
    })
}

fn media_type(value: Option<&HeaderValue>) -> Option<String> {
    let text = value?.to_str().ok()?;
    Some(text.split(';').next()?.trim().to_ascii_lowercase())
}
