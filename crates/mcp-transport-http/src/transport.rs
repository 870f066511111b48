//! A connection to one endpoint: messages out, sessions opened and ended.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::HeaderValue;
use http::{Method as Verb, Request};
use mcp_http_client::{Body, HttpOptions, Lane, PROTOCOL_VERSION, Place, SESSION_ID};
use mcp_protocol::{Message, Method, RetrySafety};
use mcp_transport::{Delivery, Inbox, Outbound, Reply, Transport, TransportError, TransportErrorKind};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::exchange::{Exchange, has_streams, is_initialize};
use crate::listener::{Ear, Listener, Listening, Target};
use crate::session::{Offer, Session, SessionSlot};
use crate::wire::{Identity, Wire};

/// Longest time spent on telling the server that a session has ended.
const FAREWELL_TIME: Duration = Duration::from_secs(2);

/// How often a read is sent at most while connections break.
const READ_ATTEMPTS: usize = 3;

/// Streamable HTTP to one endpoint.
///
/// A session is ended when a new one has replaced it and the last exchange running on it is over; closing
/// ends them all at once and refuses new messages. An exchange under way belongs to whoever holds its future
/// or stream, and ends when that is dropped.
pub(crate) struct HttpTransport {
    connection: Arc<Connection>,
    /// Until somebody takes it.
    inbox: Option<Listener>,
}

/// What the exchanges of one connection share.
#[derive(Debug)]
pub(crate) struct Connection {
    wire: Arc<Wire>,
    session: SessionSlot,
    /// Sessions being ended in the background, each within [`FAREWELL_TIME`].
    farewells: Mutex<JoinSet<()>>,
    /// What the inbox listens to.
    target: watch::Sender<Target>,
    /// Whether the server's own stream is open.
    ear: Arc<watch::Sender<Ear>>,
}

/// A message as it is sent.
struct Prepared {
    request: Request<Bytes>,
    exchange: Exchange,
    /// What to listen to once it was accepted.
    listening: Option<Arc<Listening>>,
}

impl HttpTransport {
    pub(crate) fn new(wire: Wire) -> Self {
        let wire = Arc::new(wire);
        let (target, listener) = watch::channel(Target::Nothing);
        let ear = Arc::new(watch::Sender::new(Ear::Closed));
        let inbox = Some(Listener::new(wire.clone(), listener, ear.clone()));
        let (session, farewells) = Default::default();
        let connection = Connection { wire, session, farewells, target, ear };
        Self { connection: Arc::new(connection), inbox }
    }
}

impl Transport for HttpTransport {
    fn send(&self, out: Outbound) -> BoxFuture<'_, Result<Reply, TransportError>> {
        self.connection.clone().send(out).boxed()
    }

    /// What belongs to no request, on the server's own stream if it offers one in the handshake era.
    fn take_inbox(&mut self) -> Option<Inbox> {
        self.inbox.take().map(Listener::into_inbox)
    }

    /// Every answer arrives in the exchange of its request.
    fn answers_on_inbox(&self) -> bool {
        false
    }

    fn listening(&self) -> BoxFuture<'_, ()> {
        let mut ear = self.connection.ear.subscribe();
        async move {
            // It fails only without a sender, and then there is nothing to wait for.
            let _ = ear.wait_for(|ear| *ear != Ear::Opening).await;
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.connection.close().boxed()
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let Connection { wire, session, ear, .. } = &*self.connection;
        let yes_no = |is: bool| if is { "yes" } else { "no" }.to_owned();
        let mut details = vec![
            ("origin", wire.client.origin().to_owned()),
            ("session", yes_no(session.is_open())),
            ("stream", yes_no(*ear.borrow() == Ear::Open)),
            ("exchanges", wire.client.stats().to_string()),
        ];
        details.extend(wire.client.remarks());
        details
    }
}

impl Connection {
    pub(crate) fn wire(&self) -> &Wire {
        &self.wire
    }

    pub(crate) fn options(&self) -> &HttpOptions {
        &self.wire.options
    }

    pub(crate) fn origin(&self) -> &str {
        self.wire.client.origin()
    }

    /// Uses the session a successful `initialize` opened, or none, instead of the one before.
    pub(crate) fn adopt(&self, offer: Option<Offer>) {
        self.listen_to(Target::Nothing);
        if let Some(old) = self.session.replace(offer) {
            self.release(old);
        }
    }

    /// Gives up one's hold on a session. Whoever gives up the last one ends it at the server: earlier,
    /// the exchanges still running on it would fail.
    pub(crate) fn release(&self, session: Arc<Session>) {
        let Some(session) = Arc::into_inner(session).filter(Session::end) else { return };
        // An exchange may be dropped where nothing can be sent any more.
        let Ok(runtime) = Handle::try_current() else { return };
        let mut farewells = self.farewells();
        while farewells.try_join_next().is_some() {}
        farewells.spawn_on(self.farewell(&session), &runtime);
    }

    #[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice")]
    fn send(self: Arc<Self>, out: Outbound) -> impl Future<Output = Result<Reply, TransportError>> + Send {
        async move {
            let lane = Lane::of(&out.message);
            let place = self.wire.client.place(lane, out.until).await?;
            // Only now: the wait may have outlasted the connection, or the session.
            if self.session.is_closed() {
                let kind = TransportErrorKind::Closed("the connection was closed".into());
                return Err(TransportError::new(kind, Delivery::NotSent));
            }
            let Prepared { request, exchange, listening } = self.prepare(&out)?;
            let answer = if is_read(&out.message) {
                // In a box, so that calls need no room for it.
                Box::pin(self.send_read(place, request, lane, out.until)).await?
            } else {
                place.send(request).await?
            };
            let reply = exchange.read(answer).await?;
            if let Some(listening) = listening {
                self.listen_to(Target::Session(listening));
            }
            Ok(reply)
        }
    }

    fn prepare(self: &Arc<Self>, out: &Outbound) -> Result<Prepared, TransportError> {
        let mut headers = self.wire.headers.for_message(&out.headers)?;
        let authorization = match out.headers.is_empty() {
            true => None,
            false => self.wire.headers.own_authorization(&headers),
        };
        if let Some(version) = out.version {
            headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(version.as_str()));
        }
        let session = if is_initialize(&out.message) { None } else { self.session.session_for(out.version) };
        if let Some(session) = &session {
            headers.insert(SESSION_ID, session.id().clone());
        }
        let listening = Self::listening(out, session.as_ref(), authorization.as_ref());
        let exchange = Exchange::new(self.clone(), out, session, authorization);
        let request = self.wire.request_with(Verb::POST, headers, out.message.encode());
        Ok(Prepared { request, exchange, listening: listening.map(Arc::new) })
    }

    /// Sends a message of which it does not matter how often the server gets it, and again if the connection
    /// breaks: most likely it was a kept one that the server was closing just then, and so may the next be (R36).
    async fn send_read(
        &self,
        place: Place,
        request: Request<Bytes>,
        lane: Lane,
        until: Option<Instant>,
    ) -> Result<Body, TransportError> {
        let again = request.clone();
        let mut sent = place.send(request).await;
        for _ in 1..READ_ATTEMPTS {
            let Err(TransportError { kind: TransportErrorKind::Closed(why), .. }) = &sent else { break };
            tracing::debug!(origin = self.origin(), %why, "sending a read once more");
            sent = match self.wire.client.place(lane, until).await {
                Ok(place) => place.send(again.clone()).await,
                Err(error) => Err(error),
            };
            // One that was sent before may have been executed, whatever became of this one.
            sent = sent.map_err(|error| TransportError { delivery: Delivery::Unknown, ..error });
        }
        sent
    }

    /// What to listen to once a message was accepted: the end of a handshake opens the server's own stream.
    fn listening(
        out: &Outbound,
        session: Option<&Arc<Session>>,
        authorization: Option<&HeaderValue>,
    ) -> Option<Listening> {
        let Message::Notification(notification) = &out.message else { return None };
        let version = out.version.filter(|version| has_streams(*version))?;
        if notification.method != Method::Initialized {
            return None;
        }
        let authorization = session.and_then(|session| session.authorization()).or(authorization).cloned();
        let id = session.map(|session| session.id().clone());
        let identity = Identity { session: id, version, authorization };
        Some(Listening { identity, session: session.map(Arc::downgrade).unwrap_or_default() })
    }

    fn listen_to(&self, next: Target) {
        // Before the listener turns to it: it says how that went.
        let opening = matches!(next, Target::Session(_));
        self.ear.send_replace(if opening { Ear::Opening } else { Ear::Closed });
        self.target.send_if_modified(|target| {
            let open = !matches!(target, Target::Closed);
            if open {
                *target = next;
            }
            open
        });
    }

    async fn close(&self) {
        self.listen_to(Target::Closed);
        let open = self.session.close();
        let mut farewells = std::mem::take(&mut *self.farewells());
        for session in open {
            farewells.spawn(self.farewell(&session));
        }
        while farewells.join_next().await.is_some() {}
    }

    /// Asks the server to end a session. A refusal (405: it does not support that) changes nothing.
    fn farewell(&self, session: &Session) -> impl Future<Output = ()> + Send + use<> {
        let (version, authorization) = (session.version(), session.authorization());
        let request = self.wire.request(Verb::DELETE, Some(session.id()), version, authorization);
        let client = self.wire.client.clone();
        async move {
            let origin = client.origin();
            let sending = async { client.place(Lane::Control, None).await?.send(request).await };
            match tokio::time::timeout(FAREWELL_TIME, sending).await {
                Ok(Ok(answer)) => tracing::debug!(origin, status = answer.status().as_u16(), "session ended"),
                Ok(Err(error)) => tracing::debug!(origin, %error, "session not ended"),
                Err(_) => tracing::debug!(origin, "session not ended in time"),
            }
        }
    }

    fn farewells(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.farewells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether it does not matter how often the server gets a message. A handshake twice would be a session twice.
fn is_read(message: &Message) -> bool {
    let Message::Request(request) = message else { return false };
    request.method != Method::Initialize && request.method.retry_safety() == RetrySafety::Safe
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpTransport").field(&self.connection).finish()
    }
}
