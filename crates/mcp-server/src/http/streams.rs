//! GET and DELETE: the streams of a session, and its end (wire reference §4.2).

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, StreamExt};

use super::Call;
use super::handshake::read;
use super::head::{EVENTS, accepts, is_handshake_version};
use super::mirror::{LAST_EVENT_ID, PROTOCOL_VERSION, SESSION_ID, single};
use super::reply::{events, not_allowed, refuse, refuse_full, refuse_transport, unknown_session};
use crate::flight::Refused;
use crate::store::{COMMON, Unreadable, parse_event_id};
use crate::text::COMMENT;

/// What an endpoint allows those who have no session.
const ALLOWED: &str = "POST";

/// A stream of a session: the one for what belongs to no request, or the one that was left after an event.
pub(super) fn get(call: &Call<'_>, headers: &HeaderMap) -> Response {
    with_session(headers, |id| open(call, headers, id))
}

fn open(call: &Call<'_>, headers: &HeaderMap, id: &str) -> Response {
    if !accepts(headers, EVENTS) {
        return refuse_transport(StatusCode::NOT_ACCEPTABLE, "accept must allow text/event-stream");
    }
    let Some(peer) = call.find(id) else { return unknown_session() };
    let last = match single(headers, LAST_EVENT_ID).map(|last| last.map(parse_event_id)) {
        Ok(None) => None,
        Ok(Some(Some(last))) => Some(last),
        Ok(Some(None)) | Err(_) => return unknown_event(),
    };
    let stream = last.map_or(COMMON, |(stream, _)| stream);
    if stream == COMMON && call.front.is_closing() {
        return refuse_full(None, Refused::ShuttingDown);
    }
    let reader = match peer.attach(stream, last.map(|(_, number)| number)) {
        Ok(reader) => reader,
        Err(Unreadable::Taken) => {
            return refuse_transport(StatusCode::CONFLICT, "the session has a stream already");
        }
        Err(Unreadable::Unknown) => return unknown_event(),
    };
    if last.is_some() {
        call.front.shared().counters.resumed.add();
    }
    // The comment at once tells the client (and every proxy) that the stream is open.
    let first = stream::iter([COMMENT]);
    events(first.chain(read(reader, call.front.limits().keep_alive)))
}

/// Ends a session.
pub(super) fn delete(call: &Call<'_>, headers: &HeaderMap) -> Response {
    with_session(headers, |id| {
        if call.find(id).is_some() && call.front.sessions().end(id) {
            StatusCode::NO_CONTENT.into_response()
        } else {
            unknown_session()
        }
    })
}

fn unknown_event() -> Response {
    let text = "last-event-id names no event of this session that is still kept";
    refuse_transport(StatusCode::BAD_REQUEST, text)
}

/// Does what a client of the handshake era asks of the session it names.
fn with_session(headers: &HeaderMap, act: impl FnOnce(&str) -> Response) -> Response {
    match single(headers, SESSION_ID) {
        Err(error) => refuse(StatusCode::BAD_REQUEST, None, error),
        Ok(Some(id)) if speaks_handshake(headers) => act(id),
        Ok(_) => not_allowed(ALLOWED),
    }
}

/// Whether the version header is absent or names a revision with a handshake.
fn speaks_handshake(headers: &HeaderMap) -> bool {
    single(headers, PROTOCOL_VERSION).is_ok_and(|version| version.is_none_or(is_handshake_version))
}
