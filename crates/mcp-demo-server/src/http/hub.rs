//! One core shared by all HTTP exchanges, and where its messages go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use mcp_protocol::{Failure, Message, Method, ProtocolVersion, RequestId};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::mailbox::{MailReader, Mailbox};
use super::sessions::{Full, Sessions};
use crate::core::{DemoServer, Effect, PeerId};
use crate::options::DemoOptions;

/// Messages waiting for one HTTP response to be written.
const QUEUE: usize = 256;
/// Places kept free for answers: a batch has at most this many. What does not fit beside is dropped.
const KEPT_FOR_ANSWERS: usize = 100;

/// The core, its clients, and the streams to them.
#[derive(Debug)]
pub(crate) struct Hub {
    state: Mutex<State>,
    started: Instant,
    /// Something happened that may have changed the next deadline, or the hub is gone.
    changed: Arc<Notify>,
    crashed: watch::Sender<Option<u8>>,
}

#[derive(Debug)]
struct State {
    core: DemoServer,
    sessions: Sessions,
    /// Where the messages of a request in flight go.
    exchanges: HashMap<(PeerId, RequestId), mpsc::Sender<Message>>,
    mailboxes: HashMap<PeerId, Arc<Mailbox>>,
    /// Where everything goes that is said to a client of the two-endpoint transport.
    streams: HashMap<PeerId, mpsc::Sender<Message>>,
}

/// The receiving end of one or more requests of one POST.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) messages: mpsc::Receiver<Message>,
    /// Requests without an answer yet.
    pub(crate) open: usize,
}

impl Hub {
    /// A hub whose deadlines are kept by a task of the current runtime until the hub is dropped.
    pub(crate) fn start(options: DemoOptions) -> Arc<Self> {
        let state = State {
            core: DemoServer::new(options),
            sessions: Sessions::default(),
            exchanges: HashMap::new(),
            mailboxes: HashMap::new(),
            streams: HashMap::new(),
        };
        let changed = Arc::new(Notify::new());
        let hub = Arc::new(Self {
            state: Mutex::new(state),
            started: Instant::now(),
            changed: Arc::clone(&changed),
            crashed: watch::Sender::new(None),
        });
        tokio::spawn(keep_deadlines(Arc::downgrade(&hub), changed));
        hub
    }

    /// Resolves when the tool `crash` was called, with the exit status.
    pub(crate) fn crashed(&self) -> watch::Receiver<Option<u8>> {
        self.crashed.subscribe()
    }

    /// A client for one stateless exchange; it is gone when the guard is dropped, and its call with it.
    pub(crate) fn open_stateless(self: &Arc<Self>) -> StatelessPeer {
        StatelessPeer { peer: self.lock().core.open_peer(), hub: Arc::clone(self) }
    }

    /// `initialize`: the answer, and the id of the session if there is one now.
    pub(crate) fn initialize(&self, request: Message) -> Result<(Option<Message>, Option<String>), Full> {
        let mut state = self.lock();
        let now = self.started.elapsed();
        state.expire(now);
        let peer = state.core.open_peer();
        let answer = state.core.receive(now, peer, request).into_iter().find_map(|effect| match effect {
            Effect::Send { message, .. } => Some(message),
            Effect::Crash { .. } => None,
        });
        if !matches!(answer, Some(Message::Response(_))) {
            state.core.close_peer(peer);
            return Ok((answer, None));
        }
        match state.sessions.open(now, peer) {
            Ok(id) => {
                state.mailboxes.insert(peer, Arc::default());
                Ok((answer, Some(id)))
            }
            Err(Full) => {
                state.core.close_peer(peer);
                Err(Full)
            }
        }
    }

    /// The client behind a session id, and the revision agreed with it.
    pub(crate) fn session(&self, id: &str) -> Option<(PeerId, ProtocolVersion)> {
        let mut state = self.lock();
        let now = self.started.elapsed();
        state.expire(now);
        let peer = state.sessions.find(now, id)?;
        Some((peer, state.core.session_version(peer)?))
    }

    /// `DELETE`: whether there was such a session.
    pub(crate) fn end_session(&self, id: &str) -> bool {
        let mut state = self.lock();
        let peer = state.sessions.close(id);
        if let Some(peer) = peer {
            state.forget(peer);
        }
        peer.is_some()
    }

    /// The stream of messages that belong to no request; `None` if the session has one already.
    pub(crate) fn mail(&self, peer: PeerId) -> Option<MailReader> {
        self.lock().mailboxes.get(&peer)?.read()
    }

    /// A client of the two-endpoint transport, known until its stream is dropped.
    pub(crate) fn open_stream(self: &Arc<Self>) -> Result<SessionStream, Full> {
        let (sender, messages) = mpsc::channel(QUEUE);
        let mut state = self.lock();
        let now = self.started.elapsed();
        state.expire(now);
        let peer = state.core.open_peer();
        match state.sessions.open(now, peer) {
            Ok(id) => {
                state.streams.insert(peer, sender);
                Ok(SessionStream { hub: Arc::clone(self), id, messages })
            }
            Err(Full) => {
                state.core.close_peer(peer);
                Err(Full)
            }
        }
    }

    /// The client whose stream has this session id, and the revision agreed with it, if any is yet.
    pub(crate) fn stream_peer(&self, id: &str) -> Option<(PeerId, Option<ProtocolVersion>)> {
        let mut state = self.lock();
        let peer = state.sessions.find(self.started.elapsed(), id)?;
        Some((peer, state.core.session_version(peer)))
    }

    /// Gives messages of a client of the two-endpoint transport to the core; what comes back goes on its
    /// stream. What was no message is answered there as well.
    pub(crate) fn receive_on_stream(&self, peer: PeerId, entries: Vec<Result<Message, Failure>>) {
        let mut state = self.lock();
        let now = self.started.elapsed();
        for entry in entries {
            match entry {
                Ok(message) => {
                    let effects = state.core.receive(now, peer, message);
                    self.deliver(&mut state, effects);
                }
                Err(failure) => state.say(peer, Message::Failure(failure)),
            }
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Gives messages of one POST to the core. What comes back for its requests arrives in the exchange.
    pub(crate) fn receive(&self, peer: PeerId, messages: Vec<Message>) -> Exchange {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let mut open = 0;
        let mut state = self.lock();
        let now = self.started.elapsed();
        for message in messages {
            if let Message::Request(request) = &message {
                open += 1;
                let key = (peer, request.id.clone());
                if let Some(first) = state.exchanges.get(&key).cloned() {
                    // The core refuses the second request of an id; the refusal is for this exchange.
                    let refusal = state.core.receive(now, peer, message);
                    state.exchanges.insert(key.clone(), sender.clone());
                    self.deliver(&mut state, refusal);
                    state.exchanges.insert(key, first);
                    continue;
                }
                state.exchanges.insert(key, sender.clone());
            }
            let cancelled = cancelled_id(&message);
            let effects = state.core.receive(now, peer, message);
            self.deliver(&mut state, effects);
            if let Some(id) = cancelled {
                // It will have no answer, so its stream ends here.
                state.exchanges.remove(&(peer, id));
            }
        }
        drop(state);
        self.changed.notify_one();
        Exchange { messages: receiver, open }
    }

    /// The server goes away: streams that wait for news end.
    pub(crate) fn shut_down(&self) {
        let mut state = self.lock();
        let farewells = state.core.shut_down();
        self.deliver(&mut state, farewells);
        for mailbox in state.mailboxes.values() {
            mailbox.close();
        }
        state.streams.clear();
    }

    /// Does what is due and says when to come back.
    fn run_due(&self) -> Option<Instant> {
        let mut state = self.lock();
        let effects = state.core.on_deadline(self.started.elapsed());
        self.deliver(&mut state, effects);
        state.core.next_deadline().map(|due| self.started + due)
    }

    fn deliver(&self, state: &mut State, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Crash { status } => {
                    self.crashed.send_replace(Some(status));
                }
                Effect::Send { peer, message, .. } if state.streams.contains_key(&peer) => {
                    state.say(peer, message);
                }
                Effect::Send { peer, within: Some(id), message } => state.send(peer, id, message),
                Effect::Send { peer, within: None, message } => {
                    if let Some(mailbox) = state.mailboxes.get(&peer) {
                        mailbox.post(message);
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.changed.notify_one();
    }
}

impl State {
    fn send(&mut self, peer: PeerId, id: RequestId, message: Message) {
        let is_answer = is_answer(&message);
        let key = (peer, id);
        let Some(exchange) = self.exchanges.get(&key) else { return };
        if is_answer || exchange.capacity() > KEPT_FOR_ANSWERS {
            // Fails only if the client is gone, which in the handshake era does not end the call.
            let _ = exchange.try_send(message);
        }
        if is_answer {
            self.exchanges.remove(&key);
        }
    }

    /// Puts a message on the stream of a client. One that lets its answers lie loses its stream, and with it
    /// the session: it would wait for what it cannot get any more.
    fn say(&mut self, peer: PeerId, message: Message) {
        let Some(stream) = self.streams.get(&peer) else { return };
        let is_answer = is_answer(&message);
        if (is_answer || stream.capacity() > KEPT_FOR_ANSWERS)
            && let Err(TrySendError::Full(_)) = stream.try_send(message)
        {
            tracing::debug!("a client does not read its stream, it ends");
            self.streams.remove(&peer);
        }
    }

    fn forget(&mut self, peer: PeerId) {
        self.core.close_peer(peer);
        self.streams.remove(&peer);
        self.exchanges.retain(|(of, _), _| *of != peer);
        if let Some(mailbox) = self.mailboxes.remove(&peer) {
            mailbox.close();
        }
    }

    fn expire(&mut self, now: Duration) {
        let (mailboxes, exchanges, streams) = (&self.mailboxes, &self.exchanges, &self.streams);
        let busy = |peer| {
            streams.contains_key(&peer)
                || mailboxes.get(&peer).is_some_and(|mailbox| mailbox.is_read())
                || exchanges.keys().any(|(of, _)| *of == peer)
        };
        for peer in self.sessions.expire(now, busy) {
            self.forget(peer);
        }
    }
}

/// One stateless exchange. Dropping it, as a client that leaves does, cancels the call.
#[derive(Debug)]
pub(crate) struct StatelessPeer {
    hub: Arc<Hub>,
    peer: PeerId,
}

impl StatelessPeer {
    pub(crate) fn id(&self) -> PeerId {
        self.peer
    }
}

impl Drop for StatelessPeer {
    fn drop(&mut self) {
        self.hub.lock().forget(self.peer);
    }
}

/// The stream of one client of the two-endpoint transport. Dropping it ends the session and its calls.
#[derive(Debug)]
pub(crate) struct SessionStream {
    hub: Arc<Hub>,
    /// What the client names in its POSTs.
    pub(crate) id: String,
    pub(crate) messages: mpsc::Receiver<Message>,
}

impl Drop for SessionStream {
    fn drop(&mut self) {
        self.hub.end_session(&self.id);
    }
}

pub(crate) fn is_answer(message: &Message) -> bool {
    matches!(message, Message::Response(_) | Message::Failure(_))
}

fn cancelled_id(message: &Message) -> Option<RequestId> {
    match message {
        Message::Notification(notification) if notification.method == Method::Cancelled => {
            notification.params.as_ref()?.get("requestId")?.to().ok()
        }
        _ => None,
    }
}

async fn keep_deadlines(hub: Weak<Hub>, changed: Arc<Notify>) {
    while let Some(due) = hub.upgrade().map(|hub| hub.run_due()) {
        let Some(due) = due else {
            changed.notified().await;
            continue;
        };
        tokio::select! {
            () = sleep_until(due) => {}
            () = changed.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use mcp_protocol::Request;

    use super::*;

    #[tokio::test]
    async fn a_stream_that_nobody_reads_is_bounded_and_ends() {
        let hub = Hub::start(DemoOptions::default());
        let mut stream = hub.open_stream().unwrap();
        let (peer, version) = hub.stream_peer(&stream.id).unwrap();
        assert_eq!(version, None);
        for id in 0..=QUEUE {
            let id = RequestId::Integer(i64::try_from(id).unwrap());
            let ping = Request { id, method: Method::Ping, params: None };
            hub.receive_on_stream(peer, vec![Ok(Message::Request(ping))]);
        }
        let mut read = 0;
        while let Some(message) = stream.messages.recv().await {
            assert!(is_answer(&message));
            read += 1;
        }
        assert_eq!(read, QUEUE, "it ends after what was queued");
        let id = stream.id.clone();
        drop(stream);
        assert!(hub.stream_peer(&id).is_none());
    }
}
