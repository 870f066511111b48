//! The way to an endpoint without TLS: connections over HTTP/1.1 to one origin, kept for further requests.
//!
//! hyper-util's client does the same for any number of origins and both versions of HTTP. What it does for that with
//! every request is a good part of what a call costs where calls are many: to servers nearby, which have no TLS.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{Builder, SendRequest};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};
use tower::BoxError;

use crate::build;
use crate::direct::Connector;
use crate::options::HttpOptions;

type Sender = SendRequest<Full<Bytes>>;

/// The connections to the origin of an endpoint.
pub(crate) struct Kept(Arc<Shelf>);

struct Shelf {
    connector: Connector,
    home: Uri,
    /// The same as a request line has it.
    target: Uri,
    idle: Mutex<Idle>,
    /// Most idle connections.
    most: usize,
    /// How long they are kept.
    patience: Duration,
}

#[derive(Default)]
struct Idle {
    /// With the moment from which on each is idle: the first one since the longest time.
    connections: Vec<(Sender, Instant)>,
    /// Whether a task closes them in time.
    are_watched: bool,
}

/// There is no connection, and nothing was sent.
#[derive(Debug, thiserror::Error)]
#[error("not connected")]
pub(crate) struct NotConnected(#[source] BoxError);

impl Kept {
    /// `home`: the endpoint, without TLS.
    pub(crate) fn new(connector: Connector, home: Uri, options: &HttpOptions) -> Self {
        let target = home.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from);
        let (most, patience) = (build::max_idle(options), options.pool_idle_timeout);
        Self(Arc::new(Shelf { connector, home, target, idle: Mutex::default(), most, patience }))
    }

    /// Sends a request to the endpoint itself: its URI counts for nothing, and it has to have a `Host`. A kept
    /// connection that was closed before it could send anything is replaced.
    pub(crate) fn send(
        &self,
        mut request: Request<Bytes>,
    ) -> BoxFuture<'static, Result<Response<Lent>, BoxError>> {
        let shelf = self.0.clone();
        *request.uri_mut() = shelf.target.clone();
        let mut request = request.map(Full::new);
        Box::pin(async move {
            loop {
                let kept = shelf.take();
                let is_kept = kept.is_some();
                let mut sender = match kept {
                    Some(sender) => sender,
                    None => Box::pin(shelf.open()).await?,
                };
                // Whoever had it before may have read the answer sooner than the connection's task knows of it.
                if is_kept && sender.ready().await.is_err() {
                    continue;
                }
                let mut error = match sender.try_send_request(request).await {
                    Ok(response) => return Ok(response.map(|body| Lent::new(body, sender, &shelf))),
                    Err(error) => error,
                };
                match error.take_message().filter(|_| is_kept) {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                }
            }
        })
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("idle", &self.0.idle().connections.len()).finish_non_exhaustive()
    }
}

impl Shelf {
    async fn open(&self) -> Result<Sender, NotConnected> {
        let io = self.connector.open(self.home.clone()).await.map_err(NotConnected)?;
        let handshake = Builder::new().max_headers(build::MAX_HEADERS).handshake(io).await;
        let (sender, connection) = handshake.map_err(|error| NotConnected(error.into()))?;
        // What becomes of it is told to whoever waits for an answer.
        tokio::spawn(async move { connection.await.unwrap_or_else(|error| tracing::debug!(%error, "lost")) });
        Ok(sender)
    }

    /// The connection that was in use last.
    fn take(&self) -> Option<Sender> {
        let mut idle = self.idle();
        let (sender, since) = idle.connections.pop()?;
        if since.elapsed() < self.patience {
            return Some(sender);
        }
        // So is each of the others.
        idle.connections.clear();
        None
    }

    fn give_back(self: &Arc<Self>, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle();
        if idle.connections.len() >= self.most {
            return;
        }
        idle.connections.push((sender, Instant::now()));
        // An answer may be dropped where nothing can be spawned any more.
        if !idle.are_watched
            && let Ok(runtime) = Handle::try_current()
        {
            idle.are_watched = true;
            runtime.spawn(watch(Arc::downgrade(self), Instant::now() + self.patience));
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes the connections that have been idle for too long, and goes when there are none.
async fn watch(shelf: Weak<Shelf>, mut until: Instant) {
    loop {
        sleep_until(until).await;
        let Some(shelf) = shelf.upgrade() else { return };
        let mut idle = shelf.idle();
        idle.connections.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < shelf.patience);
        match idle.connections.first() {
            Some((_, since)) => until = *since + shelf.patience,
            None => {
                idle.are_watched = false;
                return;
            }
        }
    }
}

/// The body of an answer, with the connection it comes on, which is kept once the body was read to its end.
pub(crate) struct Lent {
    body: Incoming,
    has_ended: bool,
    sender: Option<Sender>,
    shelf: Weak<Shelf>,
}

impl Lent {
    fn new(body: Incoming, sender: Sender, shelf: &Arc<Shelf>) -> Self {
        Self { body, has_ended: false, sender: Some(sender), shelf: Arc::downgrade(shelf) }
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.has_ended = frame.is_none();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.has_ended || self.body.is_end_stream() {
            let lent = self.sender.take().zip(self.shelf.upgrade());
            if let Some((sender, shelf)) = lent {
                shelf.give_back(sender);
            }
        }
    }
}
