//! The HTTP client of one server: how many exchanges it has under way, and when it is closed.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode, Uri};
use mcp_protocol::{Message, Method};
use mcp_transport::{Delivery, HttpEndpoint, TransportError, TransportErrorKind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::Instant;
use url::Url;

use crate::body::Body;
use crate::build::{Clients, Files, Settings};
use crate::carrier::{BoxError, Content, Sending};
use crate::connections::Connections;
use crate::endpoint::{same_origin, to_uri};
use crate::failure::{self, unusable};
use crate::stats::ClientStats;
use crate::tokens::Tokens;

/// Exchanges of [`Lane::Control`] under way at once.
const CONTROL_EXCHANGES: usize = 16;

/// Exchanges of [`Lane::Stream`] under way at once: one for each session with the server.
const STREAMS: usize = 256;

/// How long before a message becomes useless waiting for a place ends. The sender watches the same moment:
/// what is known here, that nothing was sent, has to reach it first. Timers tick in milliseconds.
const NOTICE: Duration = Duration::from_millis(5);

/// The HTTP client of one server URL, from a [`ClientPool`](crate::ClientPool). Clones are the same client
/// and equal to each other, and to no other client.
#[derive(Clone)]
pub struct HttpClient(Arc<Inner>);

struct Inner {
    settings: Arc<Settings>,
    url: Url,
    /// The same as requests take it.
    uri: Uri,
    /// Scheme, host and port: what may be shown of the URL.
    origin: String,
    /// The same for failures, with the proxy on the way.
    target: String,
    /// The origin of the proxy.
    proxy: Option<String>,
    /// Whether any certificate is accepted.
    unverified: bool,
    /// `None` once closed: its idle connections are closed with it.
    clients: RwLock<Option<Arc<Clients>>>,
    files: Option<Files>,
    tokens: Option<Arc<Tokens>>,
    calls: Arc<Semaphore>,
    control: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    waiting: AtomicUsize,
    connections: Connections,
}

/// What an exchange waits behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Requests that may take as long as they like. They share the connections of the pool's limit.
    Call,
    /// What is over soon: handshakes, probes, everything without an answer, the end of a session. It must
    /// not wait for calls, because it may be what ends one, or tells whether the server is alive.
    Control,
    /// Event streams that stay open for as long as a session and belong to no call. They must neither take
    /// the places of calls nor, being many if users have sessions of their own, those of control messages.
    Stream,
}

impl Lane {
    /// The lane of an MCP message.
    #[must_use]
    pub fn of(message: &Message) -> Self {
        match message {
            Message::Request(request) => match request.method {
                Method::Initialize | Method::Ping | Method::ServerDiscover => Self::Control,
                _ => Self::Call,
            },
            _ => Self::Control,
        }
    }
}

impl HttpClient {
    pub(crate) fn new(
        settings: Arc<Settings>,
        endpoint: &HttpEndpoint,
        tokens: Option<Arc<Tokens>>,
    ) -> Result<Self, TransportError> {
        let files = Files::of(endpoint);
        let uri = to_uri(&endpoint.url)?;
        let connections = Connections::default();
        let clients = Arc::new(settings.clients(endpoint, &connections)?);
        let origin = endpoint.url.origin().ascii_serialization();
        let proxy = endpoint.proxy.as_ref().map(|proxy| proxy.origin().ascii_serialization());
        let target =
            proxy.as_ref().map_or_else(|| origin.clone(), |proxy| format!("{origin} through {proxy}"));
        Ok(Self(Arc::new(Inner {
            calls: Arc::new(Semaphore::new(call_places(&settings))),
            control: Arc::new(Semaphore::new(CONTROL_EXCHANGES)),
            streams: Arc::new(Semaphore::new(STREAMS)),
            settings,
            url: endpoint.url.clone(),
            uri,
            origin,
            target,
            proxy,
            unverified: endpoint.tls.danger_skip_verify,
            clients: RwLock::new(Some(clients)),
            files,
            tokens,
            waiting: AtomicUsize::new(0),
            connections,
        })))
    }

    /// What an operator should see of how the server is reached, as facts of a transport.
    #[must_use]
    pub fn remarks(&self) -> Vec<(&'static str, String)> {
        let Inner { unverified, proxy, .. } = &*self.0;
        let tls = unverified.then(|| ("tls", "certificates are not verified".to_owned()));
        tls.into_iter().chain(proxy.clone().map(|proxy| ("proxy", proxy))).collect()
    }

    /// What it is doing.
    #[must_use]
    pub fn stats(&self) -> ClientStats {
        let inner = &*self.0;
        let calls_limit = call_places(&inner.settings);
        let (opened, answers) = inner.connections.counts();
        ClientStats {
            calls: calls_limit.saturating_sub(inner.calls.available_permits()),
            calls_limit,
            control: CONTROL_EXCHANGES.saturating_sub(inner.control.available_permits()),
            control_limit: CONTROL_EXCHANGES,
            streams: STREAMS.saturating_sub(inner.streams.available_permits()),
            streams_limit: STREAMS,
            waiting: inner.waiting.load(Ordering::Relaxed),
            opened,
            answers,
        }
    }

    /// Whether [`ClientPool::close`](crate::ClientPool::close) has closed it: nothing is sent any more, and
    /// exchanges under way go on to their end.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.calls.is_closed()
    }

    /// The URL of the endpoint, for requests.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.0.uri
    }

    /// Scheme, host and port of the server: what may be shown of its URL.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.0.origin
    }

    pub(crate) fn close(&self) {
        self.0.clients.write().unwrap_or_else(PoisonError::into_inner).take();
        self.0.calls.close();
        self.0.control.close();
        self.0.streams.close();
    }

    /// Whether nobody has this client but the one who asks.
    pub(crate) fn is_unused(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Waits for a place among the exchanges under way, first come first served, until 5 ms before the given
    /// time. Dropping the future gives up the place in the queue.
    ///
    /// # Errors
    /// [`TransportErrorKind::Busy`] if none was free in time, [`TransportErrorKind::Closed`] if the client was
    /// closed.
    pub async fn place(
        &self,
        lane: Lane,
        until: Option<std::time::Instant>,
    ) -> Result<Place, TransportError> {
        let lane = match lane {
            Lane::Call => &self.0.calls,
            Lane::Control => &self.0.control,
            Lane::Stream => &self.0.streams,
        };
        // Even without any time to wait, a place that is free is taken. None is while somebody waits.
        let permit = match lane.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(TryAcquireError::Closed) => return Err(closed()),
            Err(TryAcquireError::NoPermits) => self.wait(lane, until.map(Instant::from_std)).await?,
        };
        if self.0.files.as_ref().is_some_and(Files::changed) {
            let inner = self.0.clone();
            // It runs to its end even if we leave: nobody is told of this change again.
            let _ = tokio::task::spawn_blocking(move || inner.read_files()).await;
        }
        let clients = self.0.clients.read().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Place { clients: clients.ok_or_else(closed)?, client: self.clone(), permit })
    }

    async fn wait(
        &self,
        lane: &Arc<Semaphore>,
        until: Option<Instant>,
    ) -> Result<OwnedSemaphorePermit, TransportError> {
        let free = lane.clone().acquire_owned();
        let _waiting = Waiting::of(&self.0.waiting);
        let permit = match until {
            None => free.await,
            Some(until) => {
                let now = Instant::now();
                let patience = until.checked_sub(NOTICE).unwrap_or(now);
                tokio::time::timeout_at(patience, free)
                    .await
                    .map_err(|_| TransportError::busy(rounded(until.saturating_duration_since(now))))?
            }
        };
        permit.map_err(|_| closed())
    }

    pub(crate) fn target(&self) -> &str {
        &self.0.target
    }
}

impl Inner {
    /// Whether a request goes to the origin of the endpoint, whose address was checked when the client was asked
    /// for. That of another URL is checked here.
    fn is_own(&self, uri: &Uri) -> Result<bool, TransportError> {
        if uri.authority() == self.uri.authority() && uri.scheme() == self.uri.scheme() {
            return Ok(true);
        }
        let target = &self.target;
        let url = Url::parse(&uri.to_string()).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.ok_or_else(|| unusable(format!("the request to {target} has no http or https URL")))?;
        let checked = self.settings.resolver.policy.check_url(&url);
        checked.map_err(|refused| unusable(format!("{target} cannot be used: {refused}")))?;
        Ok(same_origin(&url, &self.url))
    }

    /// Makes the clients anew, unless they were closed.
    fn read_files(&self) {
        let made = self.files.as_ref().and_then(|files| files.read(&self.settings, &self.connections));
        let Some(made) = made else { return };
        if let Some(clients) = &mut *self.clients.write().unwrap_or_else(PoisonError::into_inner) {
            *clients = Arc::new(made);
        }
    }
}

/// One more that waits for a place, while it exists.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn of(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn call_places(settings: &Settings) -> usize {
    settings.options.pool_max_connections.clamp(1, Semaphore::MAX_PERMITS)
}

/// To the millisecond, as people give limits: what the sender took to come here is noise.
fn rounded(time: Duration) -> Duration {
    let millis = (time + Duration::from_micros(500)).as_millis();
    u64::try_from(millis).map_or(time, Duration::from_millis)
}

fn closed() -> TransportError {
    let kind = TransportErrorKind::Closed("the HTTP client was closed".into());
    TransportError::new(kind, Delivery::NotSent)
}

impl PartialEq for HttpClient {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for HttpClient {}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

/// A place among the exchanges under way. Whoever has it may send one request.
#[derive(Debug)]
pub struct Place {
    clients: Arc<Clients>,
    client: HttpClient,
    permit: OwnedSemaphorePermit,
}

impl Place {
    /// Sends the request and waits for the head of the answer. The place stays taken until the body is
    /// read or dropped.
    ///
    /// If the endpoint has authorization, a request to its origin that has no `Authorization` of its own gets
    /// it. If the server refuses the token with 401, it is renewed and the request sent once more.
    ///
    /// # Errors
    /// [`TransportErrorKind::Connect`] if there is no connection, or no token for now;
    /// [`TransportErrorKind::Closed`] if the connection broke; [`TransportErrorKind::Endpoint`] if the request
    /// cannot be made, if the address is refused or no token is to be had. An answer of any status is none.
    pub fn send(self, request: Request<Bytes>) -> impl Future<Output = Result<Body, TransportError>> + Send {
        // All that is waited for with the request in hand is the rare case: the future has no room for it.
        let sending = self.begin(request);
        async move {
            let (elsewhere, sending) = sending?;
            let response = match sending {
                Begun::Plain(sending) => self.answered(sending.await)?,
                Begun::WithToken(held) => Box::pin(self.send_with_token(*held)).await?,
            };
            Ok(Body::new(elsewhere, response, self.client, self.permit))
        }
    }

    fn begin(&self, request: Request<Bytes>) -> Result<(Option<Box<Uri>>, Begun), TransportError> {
        let inner = &*self.client.0;
        let elsewhere = (*request.uri() != inner.uri).then(|| Box::new(request.uri().clone()));
        let own = match &elsewhere {
            None => true,
            Some(uri) => inner.is_own(uri)?,
        };
        let tokens = inner.tokens.as_ref().zip(self.clients.tokens.as_ref());
        let tokens = tokens.filter(|_| own && !request.headers().contains_key(AUTHORIZATION));
        let begun = match tokens {
            None => Begun::Plain(self.clients.mcp.send(request)),
            Some((tokens, http)) => {
                let (tokens, http) = (tokens.clone(), http.clone());
                Begun::WithToken(Box::new(Held { request, tokens, http }))
            }
        };
        Ok((elsewhere, begun))
    }

    /// Sends the request with a token, and once more with another one if that is refused.
    async fn send_with_token(&self, held: Held) -> Result<Response<Content>, TransportError> {
        let Held { mut request, tokens, http } = held;
        let token = tokens.get(&http, None).await?;
        let mut again = request.clone();
        request.headers_mut().insert(AUTHORIZATION, token.header().clone());
        let response = self.execute(request).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        drop(response);
        let token = tokens.get(&http, Some(&token)).await?;
        again.headers_mut().insert(AUTHORIZATION, token.header().clone());
        self.execute(again).await
    }

    async fn execute(&self, request: Request<Bytes>) -> Result<Response<Content>, TransportError> {
        self.answered(self.clients.mcp.send(request).await)
    }

    fn answered(
        &self,
        response: Result<Response<Content>, BoxError>,
    ) -> Result<Response<Content>, TransportError> {
        let inner = &*self.client.0;
        let response = response
            .map_err(|error| failure::sending(&*error, &inner.target, !inner.connections.have_answered()))?;
        inner.connections.answered();
        Ok(response)
    }
}

/// A request that is about to be answered, or waits for a token.
enum Begun {
    Plain(Sending),
    WithToken(Box<Held>),
}

/// A request that waits for a token.
struct Held {
    request: Request<Bytes>,
    tokens: Arc<Tokens>,
    /// For the token endpoint.
    http: reqwest::Client,
}
