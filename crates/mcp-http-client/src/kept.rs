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
use http::header::{HOST, HeaderValue};
use http::uri::Scheme;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{Builder, SendRequest};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tower::BoxError;

use crate::build;
use crate::direct::Connector;
use crate::options::HttpOptions;

/// How long a kept connection may take to be ready. Whoever had it before may have read the answer sooner than the
/// connection's task knows of it; what takes longer is one whose server has answered without reading the request.
const SETTLING: Duration = Duration::from_millis(20);

/// The connections to the origin of an endpoint.
pub(crate) struct Kept(Arc<Shelf>);

struct Shelf {
    connector: Connector,
    home: Uri,
    host: HeaderValue,
    idle: Mutex<Idle>,
    /// Most idle connections.
    most: usize,
    /// How long they are kept.
    patience: Duration,
}

#[derive(Default)]
struct Idle {
    /// With the moment from which on each is idle: the first one since the longest time.
    lines: Vec<(Line, Instant)>,
    /// The task that closes them in time.
    watch: Option<AbortHandle>,
}

/// An open connection, which is closed when this is dropped: without being woken, its task might not see that.
struct Line {
    sender: SendRequest<Full<Bytes>>,
    task: AbortHandle,
}

/// There is no connection, and nothing was sent.
#[derive(Debug, thiserror::Error)]
#[error("not connected")]
pub(crate) struct NotConnected(#[source] BoxError);

impl Kept {
    /// `home`: the endpoint. `None` if it is reached with TLS.
    pub(crate) fn new(connector: Connector, home: Uri, options: &HttpOptions) -> Option<Self> {
        let authority = home.authority().filter(|_| home.scheme() == Some(&Scheme::HTTP))?;
        let host = match authority.port() {
            Some(port) => format!("{}:{port}", authority.host()),
            None => authority.host().to_owned(),
        };
        let host = HeaderValue::try_from(host).ok()?;
        let (most, patience) = (build::max_idle(options), options.pool_idle_timeout);
        Some(Self(Arc::new(Shelf { connector, home, host, idle: Mutex::default(), most, patience })))
    }

    /// Whether a URL is of the origin that the connections lead to.
    pub(crate) fn leads_to(&self, uri: &Uri) -> bool {
        let home = &self.0.home;
        uri.scheme() == home.scheme() && uri.authority() == home.authority()
    }

    /// Sends a request to this origin. A kept connection that was closed before it could send anything is replaced.
    pub(crate) fn send(
        &self,
        mut request: Request<Bytes>,
    ) -> BoxFuture<'static, Result<Response<Lent>, BoxError>> {
        let shelf = self.0.clone();
        request.headers_mut().entry(HOST).or_insert_with(|| shelf.host.clone());
        // A request line has the path alone.
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
        let mut request = request.map(Full::new);
        Box::pin(async move {
            loop {
                let kept = shelf.take();
                let is_kept = kept.is_some();
                let mut line = match kept {
                    Some(line) => line,
                    None => Box::pin(shelf.open()).await?,
                };
                if is_kept && !line.is_ready().await {
                    continue;
                }
                let mut error = match line.sender.try_send_request(request).await {
                    Ok(response) => return Ok(response.map(|body| Lent::new(body, line, &shelf))),
                    Err(error) => error,
                };
                match error.take_message() {
                    Some(unsent) if is_kept => request = unsent,
                    Some(_) => return Err(NotConnected(error.into_error().into()).into()),
                    None => return Err(error.into_error().into()),
                }
            }
        })
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("idle", &self.0.idle().lines.len()).finish_non_exhaustive()
    }
}

impl Line {
    /// Whether it can take another request.
    async fn is_ready(&mut self) -> bool {
        timeout(SETTLING, self.sender.ready()).await.is_ok_and(|ready| ready.is_ok())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shelf {
    async fn open(&self) -> Result<Line, NotConnected> {
        let io = self.connector.open(self.home.clone()).await.map_err(NotConnected)?;
        let handshake = Builder::new().max_headers(build::MAX_HEADERS).handshake(io).await;
        let (sender, connection) = handshake.map_err(|error| NotConnected(error.into()))?;
        // What becomes of it is told to whoever waits for an answer.
        let lost = |error| tracing::debug!(%error, "a connection broke");
        let task = tokio::spawn(async move { connection.await.unwrap_or_else(lost) });
        Ok(Line { sender, task: task.abort_handle() })
    }

    /// The connection that was in use last.
    fn take(&self) -> Option<Line> {
        let mut idle = self.idle();
        let (line, since) = idle.lines.pop()?;
        if since.elapsed() < self.patience {
            return Some(line);
        }
        // So is each of the others.
        idle.lines.clear();
        None
    }

    fn give_back(self: &Arc<Self>, line: Line) {
        if line.sender.is_closed() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.idle();
        if idle.lines.len() >= self.most {
            return;
        }
        idle.lines.push((line, now));
        let is_watched = idle.watch.as_ref().is_some_and(|watch| !watch.is_finished());
        // An answer may be dropped where nothing can be spawned any more.
        if !is_watched
            && let Some(until) = now.checked_add(self.patience)
            && let Ok(runtime) = Handle::try_current()
        {
            idle.watch = Some(runtime.spawn(watch(Arc::downgrade(self), until)).abort_handle());
        }
    }

    /// Closes what has been idle for too long. Gives the moment from which on that is so for another one.
    fn tidy(&self) -> Option<Instant> {
        let mut idle = self.idle();
        idle.lines.retain(|(line, since)| !line.sender.is_closed() && since.elapsed() < self.patience);
        let next = idle.lines.first().and_then(|(_, since)| since.checked_add(self.patience));
        if next.is_none() {
            // Under the same lock: who comes next begins to watch anew.
            idle.watch = None;
        }
        next
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        if let Some(watch) = self.idle().watch.take() {
            watch.abort();
        }
    }
}

/// Closes the connections that have been idle for too long, until there are none.
async fn watch(shelf: Weak<Shelf>, until: Instant) {
    let mut next = Some(until);
    while let Some(until) = next {
        sleep_until(until).await;
        next = shelf.upgrade().and_then(|shelf| shelf.tidy());
    }
}

/// The body of an answer, with the connection it comes on, which is kept once the body was read to its end.
pub(crate) struct Lent {
    body: Incoming,
    has_ended: bool,
    line: Option<Line>,
    shelf: Weak<Shelf>,
}

impl Lent {
    fn new(body: Incoming, line: Line, shelf: &Arc<Shelf>) -> Self {
        Self { body, has_ended: false, line: Some(line), shelf: Arc::downgrade(shelf) }
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
            let lent = self.line.take().zip(self.shelf.upgrade());
            if let Some((line, shelf)) = lent {
                shelf.give_back(line);
            }
        }
    }
}
