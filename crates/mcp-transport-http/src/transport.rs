//! A connection to one endpoint: messages out, sessions opened and ended.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_http_client::{Headers, HttpClient, HttpOptions, Lane, PROTOCOL_VERSION, SESSION_ID};
use mcp_transport::{Delivery, Inbox, Outbound, Reply, Transport, TransportError, TransportErrorKind};
use reqwest::header::HeaderValue;
use reqwest::{Method, Request};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use url::Url;

use crate::exchange::{Exchange, is_initialize};
use crate::session::{Session, SessionSlot};

/// Longest time spent on telling the server that a session has ended.
const FAREWELL_TIME: Duration = Duration::from_secs(2);

/// Streamable HTTP to one endpoint.
///
/// A session is ended when a new one has replaced it and the last exchange running on it is over; closing
/// ends them all at once and refuses new messages. An exchange under way belongs to whoever holds its future
/// or stream, and ends when that is dropped.
#[derive(Debug)]
pub(crate) struct HttpTransport {
    connection: Arc<Connection>,
}

/// What the exchanges of one connection share.
pub(crate) struct Connection {
    client: HttpClient,
    options: Arc<HttpOptions>,
    url: Url,
    headers: Headers,
    session: SessionSlot,
    /// Sessions being ended in the background, each within [`FAREWELL_TIME`].
    farewells: Mutex<JoinSet<()>>,
}

impl HttpTransport {
    pub(crate) fn new(client: HttpClient, options: Arc<HttpOptions>, url: Url, headers: Headers) -> Self {
        let session = SessionSlot::default();
        let farewells = Mutex::default();
        let connection = Connection { client, options, url, headers, session, farewells };
        Self { connection: Arc::new(connection) }
    }
}

impl Transport for HttpTransport {
    fn send(&self, out: Outbound) -> BoxFuture<'_, Result<Reply, TransportError>> {
        self.connection.clone().send(out).boxed()
    }

    /// There is none: every message arrives in the exchange of a request.
    fn take_inbox(&mut self) -> Option<Inbox> {
        None
    }

    fn answers_on_inbox(&self) -> bool {
        false
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.connection.close().boxed()
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let session = if self.connection.session.is_open() { "yes" } else { "no" };
        vec![("origin", self.connection.origin().to_owned()), ("session", session.to_owned())]
    }
}

impl Connection {
    pub(crate) fn options(&self) -> &HttpOptions {
        &self.options
    }

    pub(crate) fn origin(&self) -> &str {
        self.client.origin()
    }

    /// Uses the session a successful `initialize` opened, or none, instead of the one before.
    pub(crate) fn adopt(&self, id: Option<HeaderValue>) {
        if let Some(old) = self.session.replace(id) {
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

    async fn send(self: Arc<Self>, out: Outbound) -> Result<Reply, TransportError> {
        let place = self.client.place(Lane::of(&out.message), out.until).await?;
        // Only now: the wait may have outlasted the connection, or the session.
        if self.session.is_closed() {
            let kind = TransportErrorKind::Closed("the connection was closed".into());
            return Err(TransportError::new(kind, Delivery::NotSent));
        }
        let mut headers = self.headers.for_message(&out.headers)?;
        if let Some(version) = out.version {
            headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(version.as_str()));
        }
        let session = if is_initialize(&out.message) { None } else { self.session.session_for(out.version) };
        if let Some(session) = &session {
            headers.insert(SESSION_ID, session.id().clone());
        }
        let exchange = Exchange::new(self.clone(), &out, session);
        let mut request = Request::new(Method::POST, self.url.clone());
        *request.headers_mut() = headers;
        *request.body_mut() = Some(out.message.encode().into());
        exchange.read(place.send(request).await?).await
    }

    async fn close(&self) {
        let open = self.session.close();
        let mut farewells = std::mem::take(&mut *self.farewells());
        for session in open {
            farewells.spawn(self.farewell(&session));
        }
        while farewells.join_next().await.is_some() {}
    }

    /// Asks the server to end a session. A refusal (405: it does not support that) changes nothing.
    fn farewell(&self, session: &Session) -> impl Future<Output = ()> + Send + use<> {
        let mut headers = self.headers.base();
        if let Some(version) = session.version() {
            headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(version.as_str()));
        }
        headers.insert(SESSION_ID, session.id().clone());
        let mut request = Request::new(Method::DELETE, self.url.clone());
        *request.headers_mut() = headers;
        let client = self.client.clone();
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

/// Without the URL, whose path and query may hold a key.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("origin", &self.origin())
            .field("headers", &self.headers)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
