//! The HTTP client of one server: how many exchanges it has under way, and when it is closed.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use mcp_protocol::{Message, Method};
use mcp_transport::{Delivery, TransportError, TransportErrorKind};
use reqwest::Request;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::body::Body;
use crate::failure;

/// Exchanges of [`Lane::Control`] under way at once.
const CONTROL_EXCHANGES: usize = 16;

/// How long before a message becomes useless waiting for a place ends. The sender watches the same moment:
/// what is known here, that nothing was sent, has to reach it first. Timers tick in milliseconds.
const NOTICE: Duration = Duration::from_millis(5);

/// The HTTP client of one server URL, from a [`ClientPool`](crate::ClientPool). Clones are the same client
/// and equal to each other, and to no other client.
#[derive(Clone)]
pub struct HttpClient(Arc<Inner>);

struct Inner {
    /// Scheme, host and port: what may be shown of the URL.
    origin: String,
    /// `None` once closed: its idle connections are closed with it.
    http: RwLock<Option<reqwest::Client>>,
    calls: Arc<Semaphore>,
    control: Arc<Semaphore>,
}

/// What an exchange waits behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Requests that may take as long as they like. They share the connections of the pool's limit.
    Call,
    /// What is over soon: handshakes, probes, everything without an answer, the end of a session. It must
    /// not wait for calls, because it may be what ends one, or tells whether the server is alive.
    Control,
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
    pub(crate) fn new(http: reqwest::Client, origin: String, max_connections: usize) -> Self {
        let calls = max_connections.clamp(1, Semaphore::MAX_PERMITS);
        Self(Arc::new(Inner {
            origin,
            http: RwLock::new(Some(http)),
            calls: Arc::new(Semaphore::new(calls)),
            control: Arc::new(Semaphore::new(CONTROL_EXCHANGES)),
        }))
    }

    /// Whether [`ClientPool::close`](crate::ClientPool::close) has closed it: nothing is sent any more, and
    /// exchanges under way go on to their end.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.calls.is_closed()
    }

    /// Scheme, host and port of the server: what may be shown of its URL.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.0.origin
    }

    pub(crate) fn close(&self) {
        self.0.http.write().unwrap_or_else(PoisonError::into_inner).take();
        self.0.calls.close();
        self.0.control.close();
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
        };
        let free = lane.clone().acquire_owned();
        let permit = match until.map(Instant::from_std) {
            None => free.await,
            Some(until) => {
                let now = Instant::now();
                // Even without any time to wait, a place that is free is taken.
                let patience = until.checked_sub(NOTICE).unwrap_or(now);
                tokio::time::timeout_at(patience, free)
                    .await
                    .map_err(|_| TransportError::busy(rounded(until.saturating_duration_since(now))))?
            }
        };
        let permit = permit.map_err(|_| closed())?;
        let http = self.0.http.read().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Place { http: http.ok_or_else(closed)?, client: self.clone(), permit })
    }
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
    http: reqwest::Client,
    client: HttpClient,
    permit: OwnedSemaphorePermit,
}

impl Place {
    /// Sends the request and waits for the head of the answer. The place stays taken until the body is
    /// read or dropped.
    ///
    /// # Errors
    /// [`TransportErrorKind::Connect`] if there is no connection, [`TransportErrorKind::Closed`] if it broke,
    /// [`TransportErrorKind::Endpoint`] if the request cannot be made. An answer of any status is none.
    pub async fn send(self, request: Request) -> Result<Body, TransportError> {
        match self.http.execute(request).await {
            Ok(response) => Ok(Body::new(response, self.client, self.permit)),
            Err(error) => Err(failure::sending(&error, self.client.origin())),
        }
    }
}
