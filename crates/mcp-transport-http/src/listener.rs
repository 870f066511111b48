//! The standalone stream of the handshake era: a `GET` on which the server says what belongs to no request.
//!
//! Source: MCP 2025-11-25, Transports, "Listening for Messages from the Server"; wire reference §4.2.

use std::collections::VecDeque;
use std::future;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures::{StreamExt, stream};
use mcp_http_client::Lane;
use mcp_protocol::Payload;
use mcp_transport::{Delivery, Inbox, Incoming, TransportError, TransportErrorKind};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::events::{Broken, Events};
use crate::messages::{parse, unusable};
use crate::resume::Resume;
use crate::session::Session;
use crate::wire::{Identity, Opened, Wire};

/// Whether the server can be heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ear {
    /// That is not known yet.
    Opening,
    /// Its stream is open.
    Open,
    /// Its stream is not open, or it offers none.
    Closed,
}

/// What to listen to.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// Nothing, for now.
    Nothing,
    /// A session, or a server without any.
    Session(Arc<Listening>),
    /// Nothing any more.
    Closed,
}

/// A session to listen in. It is not kept open by that.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) identity: Identity,
    pub(crate) session: Weak<Session>,
}

/// Follows the sessions of a connection, from one to the next, until it is closed. Nothing happens unless it
/// is polled.
pub(crate) struct Listener {
    wire: Arc<Wire>,
    target: watch::Receiver<Target>,
    current: Option<Current>,
    /// Read, and not given out yet; at most one batch.
    ready: VecDeque<Result<Incoming, TransportError>>,
    /// Whether a stream is open.
    ear: Arc<watch::Sender<Ear>>,
}

/// The stream of one session.
struct Current {
    listening: Arc<Listening>,
    state: State,
    resume: Resume,
    /// Whether it was open before.
    was_open: bool,
    /// Whether messages may be missing, which nobody was told yet.
    gap: bool,
}

enum State {
    Open(Box<Events>),
    /// To be opened at this time.
    Closed(Instant),
}

/// What there is to tell of a stream.
enum Step {
    Frame(Bytes),
    Unusable(TransportError),
    Gap,
    /// The server offers no stream, or none any more.
    Over,
}

impl Listener {
    pub(crate) fn new(
        wire: Arc<Wire>,
        target: watch::Receiver<Target>,
        ear: Arc<watch::Sender<Ear>>,
    ) -> Self {
        Self { wire, target, current: None, ready: VecDeque::new(), ear }
    }

    pub(crate) fn into_inbox(self) -> Inbox {
        stream::unfold(self, async |mut listener| listener.next().await.map(|item| (item, listener))).boxed()
    }

    async fn next(&mut self) -> Option<Result<Incoming, TransportError>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            let step = tokio::select! {
                biased;
                changed = self.target.changed() => {
                    changed.ok()?;
                    self.follow()?;
                    continue;
                }
                step = advance(&self.wire, &mut self.current, &self.ear) => step,
            };
            match step {
                Step::Frame(frame) => self.take_frame(&frame),
                Step::Unusable(error) => return Some(Err(error)),
                Step::Gap => return Some(Err(gap())),
                Step::Over => {
                    self.ear.send_replace(Ear::Closed);
                    // What the stream brought before, and might have brought since, is nobody's any more.
                    if self.current.take().is_some_and(|current| current.was_open) {
                        return Some(Err(gap()));
                    }
                }
            }
        }
    }

    /// Turns to another session; `None` if there will be none.
    fn follow(&mut self) -> Option<()> {
        self.current = match &*self.target.borrow_and_update() {
            Target::Nothing => None,
            Target::Session(listening) => Some(Current::new(listening.clone())),
            Target::Closed => return None,
        };
        Some(())
    }

    fn take_frame(&mut self, frame: &Bytes) {
        let mut take = |message| {
            self.ready.push_back(match message {
                Ok(message) => Ok(Incoming { message, frame: frame.clone() }),
                Err(error) => Err(unusable(&error)),
            });
        };
        match parse(frame, &self.wire.options.limits, true) {
            Ok(Payload::Single(message)) => take(Ok(message)),
            Ok(Payload::Batch(entries)) => entries.into_iter().for_each(take),
            Err(error) => take(Err(error)),
        }
    }
}

async fn advance(wire: &Wire, current: &mut Option<Current>, ear: &watch::Sender<Ear>) -> Step {
    match current {
        Some(current) => current.next(wire, ear).await,
        None => future::pending().await,
    }
}

impl Current {
    fn new(listening: Arc<Listening>) -> Self {
        let state = State::Closed(Instant::now());
        Self { listening, state, resume: Resume::default(), was_open: false, gap: false }
    }

    async fn next(&mut self, wire: &Wire, ear: &watch::Sender<Ear>) -> Step {
        loop {
            match &mut self.state {
                State::Open(events) => match events.next(&mut self.resume).await {
                    Ok(frame) => return Step::Frame(frame),
                    Err(Broken::Event(error)) => {
                        // It is lost, and after the last id it would come again.
                        self.resume.forget();
                        self.gap = true;
                        return Step::Unusable(error);
                    }
                    Err(broken) => {
                        tracing::debug!(origin = wire.client.origin(), ?broken, "the server's stream broke");
                        ear.send_replace(Ear::Closed);
                        self.gap |= self.resume.id().is_none();
                        self.state = State::Closed(Instant::now() + self.resume.broken());
                    }
                },
                State::Closed(until) => {
                    tokio::time::sleep_until(*until).await;
                    if let Some(step) = self.open(wire).await {
                        return step;
                    }
                    let is_open = matches!(self.state, State::Open(_));
                    ear.send_replace(if is_open { Ear::Open } else { Ear::Closed });
                    if is_open && std::mem::take(&mut self.gap) {
                        return Step::Gap;
                    }
                }
            }
        }
    }

    /// One attempt; the step if it was the last one.
    async fn open(&mut self, wire: &Wire) -> Option<Step> {
        let opened = wire.open(Lane::Stream, &self.listening.identity, self.resume.id()).await;
        match opened {
            Opened::Stream(body) => {
                self.was_open = true;
                self.resume.opened();
                self.state = State::Open(Box::new(Events::new(body, wire.options.max_event_bytes)));
                None
            }
            Opened::Gone => {
                if let Some(session) = self.listening.session.upgrade() {
                    session.end();
                }
                Some(Step::Over)
            }
            // The server may know the session and not the event any more: once more, from now on.
            Opened::Refused(_) if self.resume.id().is_some() => {
                self.resume.forget();
                self.gap = true;
                None
            }
            Opened::Refused(status) => {
                tracing::debug!(origin = wire.client.origin(), %status, "the server offers no stream");
                Some(Step::Over)
            }
            Opened::Failed(error, asked) => {
                // What the server says until then, nobody hears.
                self.gap |= self.resume.id().is_none();
                let wait = self.resume.broken();
                tracing::debug!(origin = wire.client.origin(), %error, "the server's stream cannot be opened");
                if wire.client.is_closed() {
                    return Some(Step::Over);
                }
                self.state = State::Closed(Instant::now() + wait.max(asked.unwrap_or_default()));
                None
            }
        }
    }
}

fn gap() -> TransportError {
    TransportError::new(TransportErrorKind::Gap, Delivery::NotSent)
}
