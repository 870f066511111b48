//! Clients with one stream for everything: the two-endpoint transport, and pipes.

use std::sync::Arc;

use mcp_protocol::{
    Era, EraPolicy, ErrorCode, Failure, Limits, Message, Method, Notification, RawJson, Request, RpcError,
};

use crate::call::Running;
use crate::flight::Refused;
use crate::frame::Frame;
use crate::opening;
use crate::peer::{Peer, Talk};
use crate::service::{StatelessCall, TransportShape};
use crate::store::COMMON;
use crate::text::answer_message;
use crate::{cancelled, ladder};

/// Takes what a line or a POST holds. What comes of it is said on the common stream.
pub(crate) fn receive(peer: &Arc<Peer>, text: &bytes::Bytes) -> Result<(), Failure> {
    let limits = Limits::default().with_max_bytes(peer.shared.limits.max_body);
    let batches = peer.conversation().is_some_and(|(version, _)| version.has_batches());
    let entries = match Frame::parse(text, &limits, batches) {
        Ok(Frame::Single(message)) => vec![Ok(message)],
        Ok(Frame::Batch(entries)) => entries,
        Err(error) => return Err(error.to_failure()),
    };
    for entry in entries {
        match entry {
            Ok(message) => take(peer, message),
            Err(failure) => peer.answer(COMMON, &Message::Failure(failure)),
        }
    }
    Ok(())
}

fn take(peer: &Arc<Peer>, message: Message) {
    let Some(message) = hold(peer, message) else { return };
    match message {
        Message::Request(request) => {
            let id = request.id.clone();
            if let Err(error) = answer(peer, request) {
                peer.answer(COMMON, &answer_message(id, Err(error)));
            }
        }
        Message::Notification(notification) => note(peer, notification),
        Message::Response(response) => peer.replied(Some(&response.id), Ok(response.result)),
        Message::Failure(failure) => peer.replied(failure.id.as_ref(), Err(failure.error)),
    }
}

/// While `initialize` is being answered, what belongs to the conversation waits for it.
fn hold(peer: &Peer, message: Message) -> Option<Message> {
    let waits = match &message {
        Message::Request(request) => {
            request.method != Method::Ping
                && request.method != Method::Initialize
                && !is_modern(peer, request)
        }
        Message::Notification(notification) => notification.method != Method::Cancelled,
        Message::Response(_) | Message::Failure(_) => false,
    };
    let mut state = peer.lock();
    match &mut state.talk {
        Talk::Opening(held) if waits && held.len() < peer.shared.limits.in_flight_per_session => {
            held.push(message);
            None
        }
        _ => Some(message),
    }
}

/// Whether a request is one of the stateless era, which only pipes have beside the other.
fn is_modern(peer: &Peer, request: &Request) -> bool {
    peer.shape == TransportShape::Stdio
        && match peer.service.eras() {
            EraPolicy::Auto => ladder::has_envelope(request),
            EraPolicy::Only(era) => era == Era::Stateless,
        }
}

fn note(peer: &Peer, notification: Notification) {
    if notification.method == Method::Cancelled {
        if let Some(id) = cancelled(&notification) {
            peer.cancel_id(&id);
        }
    } else if let Some((_, conversation)) = peer.conversation() {
        conversation.notified(notification);
    }
}

/// Begins to answer a request (wire reference §5.4).
fn answer(peer: &Arc<Peer>, request: Request) -> Result<(), RpcError> {
    if is_modern(peer, &request) {
        return answer_stateless(peer, request);
    }
    match request.method {
        Method::Ping => {
            peer.answer(COMMON, &answer_message(request.id, Ok(RawJson::empty_object())));
            Ok(())
        }
        Method::Initialize => initialize(peer, request),
        _ => {
            let Some((_, conversation)) = peer.conversation() else {
                return Err(match peer.lock().talk {
                    Talk::Opening(_) => Refused::Session.to_error(),
                    _ if request.method == Method::ServerDiscover => {
                        ladder::discover_without_envelope(peer.service.eras())
                    }
                    _ => RpcError::new(
                        ErrorCode::INVALID_PARAMS,
                        "send initialize first, or the _meta members of a stateless request",
                    ),
                });
            };
            let running = peer
                .start(Era::Handshake, request, COMMON, |request, outlet| conversation.call(request, outlet))
                .map_err(Refused::to_error)?;
            tokio::spawn(say_answer(running));
            Ok(())
        }
    }
}

fn answer_stateless(peer: &Arc<Peer>, request: Request) -> Result<(), RpcError> {
    let eras = peer.service.eras();
    let (meta, name) = ladder::envelope(&request, eras)?;
    ladder::revision(&meta, &request.method, eras)?;
    let begin = |request, outlet| {
        let (principal, transport) = (peer.principal.clone(), peer.shape);
        peer.service.call(StatelessCall { principal, transport, request, meta, name, outlet })
    };
    let running = peer.start(Era::Stateless, request, COMMON, begin).map_err(Refused::to_error)?;
    tokio::spawn(say_answer(running));
    Ok(())
}

/// Says the answer once it is there.
async fn say_answer(mut running: Running) {
    // It has its place until the answer waits for the client.
    let Some(answer) = (&mut running).await else { return };
    let call = &running.call;
    call.peer.answer(COMMON, &answer);
    if call.listens && matches!(answer, Message::Response(_)) {
        // There is no stream whose end would say it (wire reference A1).
        call.peer.say_cancelled(COMMON, call.id.clone());
    }
}

/// A second `initialize` starts over.
fn initialize(peer: &Arc<Peer>, request: Request) -> Result<(), RpcError> {
    let mut state = peer.lock();
    if matches!(state.talk, Talk::Opening(_)) {
        return Err(RpcError::new(ErrorCode::INVALID_REQUEST, "initialize is being answered already"));
    }
    let before = std::mem::replace(&mut state.talk, Talk::Opening(Vec::new()));
    let opener = Arc::clone(peer);
    let opening = tokio::spawn(async move {
        let _ends = EndsOpening(Arc::clone(&opener));
        let (answer, held) = opening::open(&opener, request).await;
        opener.answer(COMMON, &answer);
        let held = held.unwrap_or_else(|()| opener.not_opened());
        held.into_iter().for_each(|message| take(&opener, message));
    });
    state.opening = Some(opening.abort_handle());
    drop(state);
    if let Talk::Open(_, conversation) = before {
        peer.cancel(|call| call.era == Era::Handshake);
        conversation.end();
    }
    Ok(())
}

struct EndsOpening(Arc<Peer>);

impl Drop for EndsOpening {
    fn drop(&mut self) {
        self.0.opening_ended();
    }
}
