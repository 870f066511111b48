//! What a client is asked.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use mcp_protocol::{Era, Message, Method, RawJson, Request, RequestId, RpcError};
use tokio::sync::oneshot;

use crate::call::Call;
use crate::flight::Shared;
use crate::peer::{Peer, State};
use crate::service::AskError;
use crate::store::{COMMON, Full, Kind};

/// What a client was asked and has not answered yet.
pub(crate) struct Question {
    reply: oneshot::Sender<Result<RawJson, RpcError>>,
    stream: u64,
    text: Bytes,
}

impl Peer {
    /// Asks the client.
    pub(crate) fn ask(
        self: &Arc<Self>,
        call: Option<&Call>,
        method: Method,
        params: Option<RawJson>,
    ) -> BoxFuture<'static, Result<RawJson, AskError>> {
        // It is taken back also by a caller that never waits.
        let asked = self
            .pose(call, method, params)
            .map(|(id, reply)| (Asking { peer: Arc::clone(self), id, open: true }, reply));
        Box::pin(async move {
            let (mut asking, reply) = asked?;
            let reply = reply.await;
            asking.open = false;
            match reply {
                Ok(reply) => reply.map_err(AskError::Refused),
                Err(_) => Err(AskError::Unreachable("it is gone")),
            }
        })
    }

    fn pose(
        &self,
        call: Option<&Call>,
        method: Method,
        params: Option<RawJson>,
    ) -> Result<(i64, oneshot::Receiver<Result<RawJson, RpcError>>), AskError> {
        let limits = &self.shared.limits;
        let mut state = self.lock();
        if call.is_some_and(|call| call.era == Era::Stateless) {
            return Err(AskError::Unreachable("clients of the stateless era answer no questions"));
        }
        if state.ended || state.mute {
            return Err(AskError::Unreachable("it is gone"));
        }
        if call.is_some_and(|call| !call.is_open()) {
            return Err(AskError::Unreachable("the request has ended"));
        }
        if state.questions.len() >= limits.in_flight_per_session {
            return Err(AskError::Unreachable("too many questions wait for it"));
        }
        let own = call.map_or(COMMON, |call| call.stream);
        // A client that left the stream of its request may come back to it, unless it never had it.
        let lost_own =
            call.is_some_and(Call::is_abandoned) || state.store.is_left(own) && state.store.is_read(COMMON);
        let stream = if lost_own { COMMON } else { own };
        let id = state.next_question;
        state.next_question += 1;
        let request = Request { id: RequestId::Integer(id), method, params };
        let text = self.form().write(&Message::Request(request));
        let mut lost = Vec::new();
        let said = state.store.say(stream, Kind::Question(id), text.clone(), limits, &mut lost);
        state.lose(&lost);
        said.map_err(|Full| AskError::Unreachable("it does not read what waits for it"))?;
        let (reply, replied) = oneshot::channel();
        state.questions.insert(id, Question { reply, stream, text });
        Ok((id, replied))
    }

    /// The client has answered a question.
    pub(crate) fn replied(&self, id: Option<&RequestId>, reply: Result<RawJson, RpcError>) {
        let Some(RequestId::Integer(id)) = id else { return };
        if let Some(question) = self.lock().questions.remove(id) {
            let _ = question.reply.send(reply); // whoever asked may have gone
        }
    }

    /// Nobody waits for the answer of a question any more.
    fn take_back(&self, id: i64) {
        let mut state = self.lock();
        let Some(question) = state.questions.remove(&id) else { return };
        if state.store.take_back(question.stream, id) {
            return; // it never went out
        }
        drop(state);
        self.say_cancelled(question.stream, RequestId::Integer(id));
    }
}

impl State {
    /// Moves questions that wait where nobody reads to the common stream, which is about to be read.
    pub(crate) fn gather_questions(&mut self, shared: &Shared) {
        let mut lost = Vec::new();
        let mut moving: Vec<_> = self.questions.iter_mut().collect();
        moving.sort_unstable_by_key(|(id, _)| **id);
        for (&id, question) in moving {
            if question.stream == COMMON
                || !self.store.is_left(question.stream)
                || !self.store.take_back(question.stream, id)
            {
                continue;
            }
            question.stream = COMMON;
            let said =
                self.store.say(COMMON, Kind::Question(id), question.text.clone(), &shared.limits, &mut lost);
            if said.is_err() {
                lost.push(id);
            }
        }
        self.lose(&lost);
    }
}

/// A question without an answer yet. Dropping it takes the question back.
struct Asking {
    peer: Arc<Peer>,
    id: i64,
    open: bool,
}

impl Drop for Asking {
    fn drop(&mut self) {
        if self.open {
            self.peer.take_back(self.id);
        }
    }
}
