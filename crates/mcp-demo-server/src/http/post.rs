//! POST: which era a body belongs to, and what happens to it (wire reference §5.3, §3.9).

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use mcp_protocol::header::{PROTOCOL_VERSION, SESSION_ID};
use mcp_protocol::meta::RequestMeta;
use mcp_protocol::{Era, ErrorCode, Failure, Limits, Message, Method, ProtocolVersion, Request, RpcError};

use super::Endpoint;
use super::hub::Hub;
use super::mirror::{self, single};
use super::reply::{Reply, refuse, refuse_transport};
use crate::caller::{Caller, is_stateless};
use crate::core::PeerId;
use crate::frame::Frame;
use crate::stateless::unsupported_version;

/// Answers a POST whose media types are fine.
pub(crate) async fn post(endpoint: &Endpoint, headers: &HeaderMap, body: &Bytes) -> Response {
    let version = match single(headers, PROTOCOL_VERSION) {
        Ok(version) => version,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, Failure { id: None, error }),
    };
    let handshake = version.is_none_or(is_handshake_version);
    let (legacy, modern) = (endpoint.serves(Era::Handshake), endpoint.serves(Era::Stateless));
    if modern && (!handshake || !legacy) {
        stateless(endpoint, headers, body).await
    } else {
        in_session(endpoint, headers, version.filter(|_| !handshake), body).await
    }
}

/// Whether a header names a revision with a handshake.
pub(crate) fn is_handshake_version(version: &str) -> bool {
    version.parse::<ProtocolVersion>().is_ok_and(|version| version.era() == Era::Handshake)
}

async fn stateless(endpoint: &Endpoint, headers: &HeaderMap, body: &Bytes) -> Response {
    let request = match Message::parse(body, &Limits::default()) {
        Ok(Message::Request(request)) => request,
        // Nothing over HTTP depends on a notification of the client: cancelling is leaving.
        Ok(Message::Notification(_)) => return accepted(),
        Ok(Message::Response(_) | Message::Failure(_)) => {
            return refuse_transport(StatusCode::BAD_REQUEST, "in this revision clients send no responses");
        }
        Err(error) => return refuse(StatusCode::BAD_REQUEST, error.to_failure()),
    };
    if let Err(error) = climb(endpoint, headers, &request) {
        return refuse(StatusCode::BAD_REQUEST, Failure { id: Some(request.id), error });
    }
    let peer = endpoint.hub.open_stateless();
    let exchange = endpoint.hub.receive(peer.id(), vec![Message::Request(request)]);
    let reply = Reply { exchange, era: Era::Stateless, is_batch: false, _cancels_on_drop: Some(peer) };
    reply.into_response(Vec::new()).await
}

/// Steps 3 to 7 of the ladder as far as headers are concerned; the core does the rest.
fn climb(endpoint: &Endpoint, headers: &HeaderMap, request: &Request) -> Result<(), RpcError> {
    if request.method == Method::Initialize && !endpoint.serves(Era::Handshake) && !is_stateless(request) {
        // A client of the handshake era learns which versions would be served.
        let requested: Option<String> =
            request.params.as_ref().and_then(|params| params.get("protocolVersion")?.to().ok());
        return Err(unsupported_version(&requested.unwrap_or_default(), &endpoint.options));
    }
    let meta = RequestMeta::read(request.params.as_ref()).map_err(|invalid| invalid.to_error())?;
    mirror::check(headers, request, &meta.protocol_version)?;
    if Caller::stateless(&meta).is_some() {
        mirror::check_params(headers, request, &endpoint.mirrored)?;
    }
    Ok(())
}

/// A body of the handshake era. `foreign` is a version header that names no revision of it.
async fn in_session(
    endpoint: &Endpoint,
    headers: &HeaderMap,
    foreign: Option<&str>,
    body: &Bytes,
) -> Response {
    let session = match headers
        .get(SESSION_ID)
        .map(|id| id.to_str().ok().and_then(|id| endpoint.hub.session(id)))
    {
        None => None,
        Some(Some(session)) => Some(session),
        Some(None) => return refuse_transport(StatusCode::NOT_FOUND, "the session is unknown or has ended"),
    };
    let batches = session.is_some_and(|(_, version)| version.has_batches());
    let frame = match Frame::parse(body, &Limits::default(), batches) {
        Ok(frame) => frame,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, error.to_failure()),
    };
    if let [Ok(Message::Request(request))] = &frame.entries[..] {
        if endpoint.serves(Era::Stateless) && is_stateless(request) {
            let error = RpcError::new(
                ErrorCode::HEADER_MISMATCH,
                "the body is a stateless request, but header mcp-protocol-version does not say so",
            );
            return refuse(StatusCode::BAD_REQUEST, Failure { id: Some(request.id.clone()), error });
        }
        if request.method == Method::Initialize && foreign.is_none() {
            return initialize(&endpoint.hub, request.clone());
        }
    }
    if let Some(foreign) = foreign {
        return refuse(StatusCode::BAD_REQUEST, unsupported_header(&frame, foreign));
    }
    match session {
        Some((peer, _)) => converse(&endpoint.hub, peer, frame).await,
        None => refuse(StatusCode::BAD_REQUEST, without_session(endpoint, &frame)),
    }
}

fn initialize(hub: &Hub, request: Request) -> Response {
    match hub.initialize(Message::Request(request)) {
        Ok((Some(answer), session)) => {
            let status = if session.is_some() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
            let mut response = super::reply::json(status, answer.encode());
            if let Some(id) = session.and_then(|id| HeaderValue::from_str(&id).ok()) {
                response.headers_mut().insert(SESSION_ID, id);
            }
            response
        }
        Ok((None, _)) => refuse_transport(StatusCode::INTERNAL_SERVER_ERROR, "no answer"),
        Err(_) => refuse_transport(StatusCode::SERVICE_UNAVAILABLE, "too many sessions, try again later"),
    }
}

async fn converse(hub: &Arc<Hub>, peer: PeerId, frame: Frame) -> Response {
    let (messages, early): (Vec<_>, Vec<_>) = frame.entries.into_iter().partition(Result::is_ok);
    let early = early.into_iter().filter_map(Result::err).map(Message::Failure).collect();
    let exchange = hub.receive(peer, messages.into_iter().flatten().collect());
    let reply = Reply { exchange, era: Era::Handshake, is_batch: frame.is_batch, _cancels_on_drop: None };
    reply.into_response(early).await
}

/// The error for a version header that names no revision served here.
fn unsupported_header(frame: &Frame, version: &str) -> Failure {
    if is_discover(frame) {
        // What a client that probes for the stateless era expects of a server without it.
        return about(frame, ErrorCode::METHOD_NOT_FOUND, "unknown method server/discover");
    }
    let text = format!("header mcp-protocol-version: {version:?} is not supported");
    about(frame, ErrorCode::INVALID_REQUEST, &text)
}

/// The error for a request that would need a session.
fn without_session(endpoint: &Endpoint, frame: &Frame) -> Failure {
    match (is_discover(frame), endpoint.serves(Era::Stateless)) {
        (true, true) => {
            about(frame, ErrorCode::INVALID_PARAMS, "params._meta of a stateless request is missing")
        }
        (true, false) => about(frame, ErrorCode::METHOD_NOT_FOUND, "unknown method server/discover"),
        (false, _) => {
            about(frame, ErrorCode::INVALID_REQUEST, "send initialize first: the session id is missing")
        }
    }
}

fn is_discover(frame: &Frame) -> bool {
    matches!(&frame.entries[..], [Ok(Message::Request(request))] if request.method == Method::ServerDiscover)
}

fn about(frame: &Frame, code: ErrorCode, text: &str) -> Failure {
    let id = match &frame.entries[..] {
        [Ok(Message::Request(request))] => Some(request.id.clone()),
        _ => None,
    };
    Failure { id, error: RpcError::new(code, text) }
}

pub(crate) fn accepted() -> Response {
    axum::response::IntoResponse::into_response(StatusCode::ACCEPTED)
}
