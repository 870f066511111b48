//! Requests without a proxy, on hyper's client itself. What `reqwest` does around it for every request (it parses
//! the URL again and again, and gets ready to follow redirects) takes time and is of no use here.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{ACCEPT, HeaderValue, USER_AGENT};
use http::uri::Scheme;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::legacy::{Client, Error, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tower::{BoxError, Service};

use crate::address::Resolver;
use crate::build::{self, Settings};
use crate::carrier::Content;
use crate::connections::Connections;
use crate::failure;
use crate::kept::{Kept, Lent};

/// How often a request is sent once more at most that the server said it has not looked at.
const RESENT: usize = 2;

/// The HTTP client for one TLS configuration.
#[derive(Debug)]
pub(crate) struct Direct {
    /// For the origin of the endpoint, if it is reached without TLS.
    kept: Option<Kept>,
    client: Client<Connector, Full<Bytes>>,
    user_agent: HeaderValue,
}

impl Direct {
    /// `home`: the endpoint.
    pub(crate) fn new(
        settings: &Settings,
        home: Uri,
        tls: rustls::ClientConfig,
        connections: Connections,
    ) -> Self {
        let options = &settings.options;
        let mut http = HttpConnector::new_with_resolver(settings.resolver.clone());
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(options.connect_timeout));
        http.set_keepalive(Some(build::KEEPALIVE));
        http.set_keepalive_interval(Some(build::KEEPALIVE_INTERVAL));
        http.set_keepalive_retries(Some(build::KEEPALIVE_RETRIES));
        #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
        http.set_tcp_user_timeout(Some(build::UNACKNOWLEDGED));
        let http = HttpsConnector::from((http, tls));
        let connector = Connector(Arc::new(Opening { http, limit: options.connect_timeout, connections }));
        let kept = Kept::new(connector.clone(), home, options);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(options.pool_idle_timeout)
            .pool_max_idle_per_host(build::max_idle(options))
            .http1_max_headers(build::MAX_HEADERS)
            .http2_max_header_list_size(build::MAX_HEADER_LIST)
            .http2_keep_alive_interval(build::PING_INTERVAL)
            .http2_keep_alive_timeout(build::PING_TIMEOUT)
            .build(connector);
        Self { kept, client, user_agent: settings.user_agent.clone() }
    }

    /// Sends a request.
    pub(crate) fn send(&self, mut request: Request<Bytes>) -> Sending {
        let headers = request.headers_mut();
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        headers.entry(USER_AGENT).or_insert_with(|| self.user_agent.clone());
        if let Some(kept) = self.kept.as_ref().filter(|kept| kept.leads_to(request.uri())) {
            return Sending::Kept(kept.send(request));
        }
        // Only over TLS can it be HTTP/2, in which servers say what they have not looked at.
        if request.uri().scheme() != Some(&Scheme::HTTPS) {
            return Sending::Once(self.client.request(request.map(Full::new)));
        }
        let client = self.client.clone();
        let again = async move {
            let mut sent = client.request(request.clone().map(Full::new)).await;
            for _ in 0..RESENT {
                if !sent.as_ref().is_err_and(is_untouched) {
                    break;
                }
                sent = client.request(request.clone().map(Full::new)).await;
            }
            sent
        };
        Sending::Again(again.boxed())
    }
}

/// A request under way, until the head of its answer.
pub(crate) enum Sending {
    /// To the origin of the endpoint, without TLS.
    Kept(BoxFuture<'static, Result<Response<Lent>, BoxError>>),
    /// To another one without TLS.
    Once(ResponseFuture),
    /// With TLS, perhaps more than once.
    Again(BoxFuture<'static, Result<Response<Incoming>, Error>>),
}

impl Future for Sending {
    type Output = Result<Response<Content>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Kept(sending) => sending.poll_unpin(cx).map(|sent| Ok(sent?.map(Content::Kept))),
            Self::Once(sending) => sending.poll_unpin(cx).map(|sent| Ok(sent?.map(Content::Direct))),
            Self::Again(sending) => sending.poll_unpin(cx).map(|sent| Ok(sent?.map(Content::Direct))),
        }
    }
}

/// Whether the server said that it has not looked at the request and never will: it is about to close the
/// connection, or has no room for another stream. Source: RFC 9113 §6.8, §8.7.
fn is_untouched(error: &Error) -> bool {
    failure::find::<h2::Error>(error).is_some_and(|error| {
        let closing = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
        let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (closing || refused)
    })
}

/// Opens connections. Every request clones it.
#[derive(Debug, Clone)]
pub(crate) struct Connector(Arc<Opening>);

/// What it opens.
type Stream = Plain<MaybeHttpsStream<TokioIo<TcpStream>>>;

impl Connector {
    /// Opens a connection to the origin of a URL.
    pub(crate) fn open(&self, to: Uri) -> BoxFuture<'static, Result<Stream, BoxError>> {
        let this = self.0.clone();
        let opened = tokio::time::timeout(this.limit, this.http.clone().call(to));
        async move {
            let stream = opened.await.unwrap_or_else(|_| Err(TimedOut.into()))?;
            this.connections.opened();
            Ok(Plain(stream))
        }
        .boxed()
    }
}

#[derive(Debug)]
struct Opening {
    http: HttpsConnector<HttpConnector<Resolver>>,
    /// For name resolution, TCP and TLS together.
    limit: Duration,
    connections: Connections,
}

#[derive(Debug, thiserror::Error)]
#[error("operation timed out")]
struct TimedOut;

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        self.open(to)
    }
}

/// A connection that does not tell each answer what its addresses are, which would cost every request a map of its own.
pub(crate) struct Plain<S>(S);

impl<S: Connection> Connection for Plain<S> {
    fn connected(&self) -> Connected {
        let plain = Connected::new();
        if self.0.connected().is_negotiated_h2() { plain.negotiated_h2() } else { plain }
    }
}

impl<S: Read + Unpin> Read for Plain<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: Write + Unpin> Write for Plain<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
