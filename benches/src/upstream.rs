//! The minimal server over HTTP: answers from memory, so that what is measured is the way to it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method as HttpMethod, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use mcp_protocol::{Era, Limits, Message, Method, Request as RpcRequest, header};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::Failure;
use crate::answers::{Answers, Reply, Shape, TOOL};

/// How the sessions it opens are called, before their numbers.
const SESSION: &str = "bench-";

/// A minimal MCP server of one era on a loopback port, in this process.
pub(crate) struct Upstream {
    era: Era,
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Ends with the upstream.
    _accepting: JoinSet<()>,
}

struct Shared {
    era: Era,
    answers: Answers,
    calls: AtomicU64,
    connections: AtomicU64,
    sessions: AtomicU64,
}

impl Upstream {
    /// Starts to listen; offers the tool of the calls and `others` more.
    pub(crate) async fn start(era: Era, others: usize) -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            era,
            answers: Answers::new(era, others)?,
            calls: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            sessions: AtomicU64::new(0),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { era, address, shared, _accepting: accepting })
    }

    pub(crate) fn era(&self) -> Era {
        self.era
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tool calls answered so far.
    pub(crate) fn calls(&self) -> u64 {
        self.shared.calls.load(Ordering::Relaxed)
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Without file descriptors there is nothing to measure: callers will fail and say so.
            Ok((stream, _)) = listener.accept() => {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(shared.respond(request).await) }
    });
    if stream.set_nodelay(true).is_ok() {
        // A peer that goes away is its own business.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }
}

impl Shared {
    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        match parts.method {
            HttpMethod::POST => {}
            HttpMethod::GET if parts.uri.path() == "/health" => return status(StatusCode::OK),
            HttpMethod::DELETE if self.is_in_session(&parts.headers) => return status(StatusCode::OK),
            _ => return status(StatusCode::METHOD_NOT_ALLOWED),
        }
        let Ok(body) = body.collect().await else { return status(StatusCode::BAD_REQUEST) };
        match Message::parse(&body.to_bytes(), &Limits::default()) {
            Ok(Message::Request(request)) => self.answer(&parts.headers, &request),
            Ok(_) => status(StatusCode::ACCEPTED),
            Err(_) => status(StatusCode::BAD_REQUEST),
        }
    }

    fn answer(&self, headers: &HeaderMap, request: &RpcRequest) -> Response<Full<Bytes>> {
        let opens_session = request.method == Method::Initialize && self.era == Era::Handshake;
        if !opens_session && !self.is_in_order(headers, request) {
            return status(StatusCode::BAD_REQUEST);
        }
        if request.method == Method::ToolsCall {
            self.calls.fetch_add(1, Ordering::Relaxed);
        }
        let mut response = http_response(self.answers.to(request));
        if opens_session {
            let number = self.sessions.fetch_add(1, Ordering::Relaxed);
            if let Ok(id) = HeaderValue::from_str(&format!("{SESSION}{number}")) {
                response.headers_mut().insert(header::SESSION_ID, id);
            }
        }
        response
    }

    /// Whether the headers belong to the request: a session that was opened, or the name of what is called.
    fn is_in_order(&self, headers: &HeaderMap, request: &RpcRequest) -> bool {
        match self.era {
            Era::Handshake => self.is_in_session(headers),
            Era::Stateless => {
                let name = headers.get(header::NAME).map(HeaderValue::as_bytes);
                request.method != Method::ToolsCall || name == Some(TOOL.as_bytes())
            }
        }
    }

    fn is_in_session(&self, headers: &HeaderMap) -> bool {
        let id = headers
            .get(header::SESSION_ID)
            .and_then(|id| id.to_str().ok()?.strip_prefix(SESSION)?.parse().ok());
        id.is_some_and(|id: u64| id < self.sessions.load(Ordering::Relaxed))
    }
}

fn http_response(reply: Reply) -> Response<Full<Bytes>> {
    let (kind, body) = match reply.shape {
        Shape::Json => ("application/json", reply.message),
        Shape::Stream | Shape::Progress => {
            let mut body = BytesMut::with_capacity(reply.message.len() + 256);
            for message in reply.notice.iter().chain([&reply.message]) {
                body.put_slice(b"event: message\ndata: ");
                body.put_slice(message);
                body.put_slice(b"\n\n");
            }
            ("text/event-stream", body.freeze())
        }
    };
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
