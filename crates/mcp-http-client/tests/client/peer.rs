//! A server that answers as a test says, plain or with TLS.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mcp_http_client::{ClientPool, HttpClient, HttpOptions, Lane};
use mcp_transport::{HttpEndpoint, TransportError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// A request as it was received.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
    pub(crate) version: Version,
    /// Whether it came with a client certificate.
    pub(crate) certified: bool,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub(crate) type Answer = Response<Full<Bytes>>;
type Script = Arc<dyn Fn(Seen) -> BoxFuture<'static, Answer> + Send + Sync>;

/// A server on a port of its own; gone when dropped.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    tls: Arc<Mutex<Option<Arc<ServerConfig>>>>,
    task: JoinHandle<()>,
}

impl Peer {
    pub(crate) async fn start(script: impl Fn(Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_slow(move |seen| futures::future::ready(script(seen)).boxed()).await
    }

    /// Answers when the future is ready.
    pub(crate) async fn start_slow(
        script: impl Fn(Seen) -> BoxFuture<'static, Answer> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, connections, tls) = (Arc::default(), Arc::<AtomicUsize>::default(), Arc::default());
        let site = Site { script: Arc::new(script), seen: Arc::clone(&seen) };
        let task = tokio::spawn(accept(listener, connections.clone(), Arc::clone(&tls), site));
        Self { address, seen, connections, tls, task }
    }

    /// Answers `hello` with TLS, over what the client prefers of the protocols.
    pub(crate) async fn start_tls(config: ServerConfig) -> Self {
        let peer = Self::start(|_| text(200, "hello")).await;
        peer.use_tls(config);
        peer
    }

    /// From the next connection on.
    pub(crate) fn use_tls(&self, config: ServerConfig) {
        *self.tls.lock().unwrap() = Some(Arc::new(config));
    }

    /// Takes what was seen up to now.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    /// How many connections were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn url(&self, scheme: &str, host: &str) -> url::Url {
        format!("{scheme}://{host}:{}/mcp", self.address.port()).parse().unwrap()
    }

    pub(crate) fn endpoint(&self) -> HttpEndpoint {
        HttpEndpoint::new(self.url("http", "127.0.0.1"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Site {
    script: Script,
    seen: Arc<Mutex<Vec<Seen>>>,
}

async fn accept(
    listener: TcpListener,
    connections: Arc<AtomicUsize>,
    tls: Arc<Mutex<Option<Arc<ServerConfig>>>>,
    site: Site,
) {
    let mut serving = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.fetch_add(1, Ordering::Relaxed);
        let (config, site) = (tls.lock().unwrap().clone(), site.clone());
        serving.spawn(async move {
            let Some(config) = config else { return serve(stream, false, false, site).await };
            let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else { return };
            let (_, session) = stream.get_ref();
            let certified = session.peer_certificates().is_some();
            let two = session.alpn_protocol() == Some(b"h2");
            serve(stream, certified, two, site).await;
        });
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    certified: bool,
    two: bool,
    site: Site,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let site = site.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let seen = Seen {
                method: head.method.to_string(),
                target: head.uri.to_string(),
                headers: head.headers,
                body: String::from_utf8(body.into()).unwrap(),
                version: head.version,
                certified,
            };
            site.seen.lock().unwrap().push(seen.clone());
            Ok::<_, Infallible>((site.script)(seen).await)
        }
    });
    let stream = TokioIo::new(stream);
    // A client that goes away is no failure of a test.
    let _ = match two {
        true => {
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(stream, service)
                .await
        }
        false => hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await,
    };
}

pub(crate) fn text(status: u16, body: &str) -> Answer {
    Response::builder().status(status).body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()
}

pub(crate) fn client(endpoint: &HttpEndpoint) -> Result<HttpClient, TransportError> {
    ClientPool::new(HttpOptions::default()).unwrap().get(endpoint)
}

/// One `GET` of the endpoint's URL: the status and the body.
pub(crate) async fn get(
    client: &HttpClient,
    endpoint: &HttpEndpoint,
) -> Result<(u16, String), TransportError> {
    send(client, Request::get(endpoint.url.as_str()).body(Bytes::new()).unwrap()).await
}

pub(crate) async fn send(
    client: &HttpClient,
    request: Request<Bytes>,
) -> Result<(u16, String), TransportError> {
    let answer = client.place(Lane::Call, None).await?.send(request).await?;
    let status = answer.status().as_u16();
    Ok((status, String::from_utf8(answer.read(1 << 20).await?.into()).unwrap()))
}
