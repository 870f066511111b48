//! The server behind everything: answers from memory, so that what is measured is the way to it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method as HttpMethod, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use mcp_protocol::{
    Era, ErrorCode, Failure as RpcFailure, Limits, Message, Method, ProtocolVersion, RawJson,
    Request as RpcRequest, Response as RpcResponse, RpcError,
};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::Failure;

/// The tool every call is for.
pub(crate) const TOOL: &str = "lookup";

/// Bytes of text in the answer.
const TEXT: usize = 200;

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
    opening: RawJson,
    tools: RawJson,
    answer: RawJson,
    calls: AtomicU64,
    connections: AtomicU64,
}

impl Upstream {
    /// Starts to listen.
    pub(crate) async fn start(era: Era) -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            era,
            opening: RawJson::encode(&opening(era))?,
            tools: RawJson::encode(&tools(era))?,
            answer: RawJson::encode(&answer(era))?,
            calls: AtomicU64::new(0),
            connections: AtomicU64::new(0),
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

/// The version an era is measured with: its newest.
pub(crate) fn version(era: Era) -> ProtocolVersion {
    match era {
        Era::Handshake => ProtocolVersion::LATEST_HANDSHAKE,
        Era::Stateless => ProtocolVersion::LATEST_STATELESS,
    }
}

/// The text of the answer.
pub(crate) fn text() -> String {
    "The quick brown fox jumps over the lazy dog. ".chars().cycle().take(TEXT).collect()
}

fn opening(era: Era) -> Value {
    let info = json!({"name": "benchmark", "version": "1.0.0"});
    let capabilities = json!({"tools": {}});
    match era {
        Era::Handshake => json!({
            "protocolVersion": version(era), "capabilities": capabilities, "serverInfo": info,
        }),
        Era::Stateless => json!({
            "resultType": "complete", "supportedVersions": [version(era)], "capabilities": capabilities,
            "ttlMs": 3_600_000, "cacheScope": "public",
            "_meta": {"io.modelcontextprotocol/serverInfo": info},
        }),
    }
}

fn tools(era: Era) -> Value {
    let tools = json!([{"name": TOOL, "inputSchema": {"type": "object"}}]);
    match era {
        Era::Handshake => json!({"tools": tools}),
        Era::Stateless => json!({
            "resultType": "complete", "tools": tools, "ttlMs": 3_600_000, "cacheScope": "public",
        }),
    }
}

fn answer(era: Era) -> Value {
    let content = json!([{"type": "text", "text": text()}]);
    match era {
        Era::Handshake => json!({"content": content}),
        Era::Stateless => json!({"resultType": "complete", "content": content}),
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
        if *request.method() != HttpMethod::POST {
            let healthy = *request.method() == HttpMethod::GET && request.uri().path() == "/health";
            return status(if healthy { StatusCode::OK } else { StatusCode::METHOD_NOT_ALLOWED });
        }
        let Ok(body) = request.into_body().collect().await else { return status(StatusCode::BAD_REQUEST) };
        match Message::parse(&body.to_bytes(), &Limits::default()) {
            Ok(Message::Request(request)) => self.answer(request),
            Ok(_) => status(StatusCode::ACCEPTED),
            Err(_) => status(StatusCode::BAD_REQUEST),
        }
    }

    fn answer(&self, request: RpcRequest) -> Response<Full<Bytes>> {
        let mut opens_session = false;
        let result = match (&request.method, self.era) {
            (Method::ToolsCall, _) => {
                self.calls.fetch_add(1, Ordering::Relaxed);
                &self.answer
            }
            (Method::ToolsList, _) => &self.tools,
            (Method::Initialize, Era::Handshake) => {
                opens_session = true;
                &self.opening
            }
            (Method::ServerDiscover, Era::Stateless) => &self.opening,
            (Method::Ping, Era::Handshake) => &RawJson::empty_object(),
            _ => {
                let error = RpcError::new(ErrorCode::METHOD_NOT_FOUND, "method not found");
                let failure = Message::Failure(RpcFailure { id: Some(request.id), error });
                return json_response(failure.encode());
            }
        };
        let answer = Message::Response(RpcResponse { id: request.id, result: result.clone() });
        let mut response = json_response(answer.encode());
        if opens_session {
            let name = HeaderName::from_static("mcp-session-id");
            response.headers_mut().insert(name, HeaderValue::from_static("benchmark"));
        }
        response
    }
}

fn json_response(body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
