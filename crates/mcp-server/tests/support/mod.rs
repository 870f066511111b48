//! What the tests share: a service that does what the test says, a site with it on a socket, and a client.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod client;
mod desk;
pub(crate) use client::*;
#[allow(unused_imports, reason = "each test binary uses a part")]
pub(crate) use desk::Desk;

use std::future::ready;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request as HttpRequest, State};
use axum::response::Response;
use axum::routing::{any, get, post};
use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_protocol::header::ParamHeaders;
use mcp_protocol::{ErrorCode, Method, Notification, RawJson, Request, RpcError};
use mcp_serve_http::{ServeLimits, ServeReport, serve};
use mcp_server::{
    Conversation, Endpoint, FrontLimits, HttpFront, Opened, Opening, Outcome, Outlet, Principal, Service,
    StatelessCall,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) const BOUND: Duration = Duration::from_secs(10);
pub(crate) const BOTH: &str = "application/json, text/event-stream";
pub(crate) const MODERN: &str = "2026-07-28";

pub(crate) fn raw(value: &Value) -> RawJson {
    RawJson::encode(value).unwrap()
}

/// What reached the service.
pub(crate) enum Seen {
    Call(Held),
    Notified(Notification),
    /// An `initialize` with `late` in its params, which waits for the test.
    Opening(oneshot::Sender<()>),
    Ended,
}

/// A request that waits for what the test answers.
pub(crate) struct Held {
    pub(crate) request: Request,
    pub(crate) outlet: Outlet,
    answer: oneshot::Sender<Outcome>,
}

impl Held {
    pub(crate) fn answer(self, result: &Value) {
        self.answer.send(Ok(raw(result))).unwrap();
    }

    /// Answers a request that may be cancelled.
    pub(crate) fn answer_if_wanted(self, result: &Value) {
        let _ = self.answer.send(Ok(raw(result)));
    }

    pub(crate) fn fail(self, code: ErrorCode) {
        self.answer.send(Err(RpcError::new(code, "as the test wants"))).unwrap();
    }

    pub(crate) fn notify(&self, n: u32) {
        self.outlet.notify(progress(n));
    }

    /// Waits until the request is cancelled.
    pub(crate) async fn cancelled(mut self) {
        timeout(BOUND, self.answer.closed()).await.expect("the request is cancelled");
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.answer.is_closed()
    }
}

pub(crate) fn progress(n: u32) -> Notification {
    Notification {
        method: Method::Progress,
        params: Some(raw(&json!({ "progressToken": 1, "progress": n }))),
    }
}

/// Answers `tools/list` and the tool `echo` at once; hands other tools and `subscriptions/listen` to the test.
pub(crate) struct Script {
    seen: mpsc::Sender<Seen>,
    outlets: mpsc::Sender<Outlet>,
}

/// The test's side of a [`Script`].
pub(crate) struct Director {
    seen: mpsc::Receiver<Seen>,
    outlets: mpsc::Receiver<Outlet>,
}

pub(crate) fn script() -> (Arc<Script>, Director) {
    let (seen, watched) = mpsc::channel(100_000);
    let (outlets, opened) = mpsc::channel(100_000);
    (Arc::new(Script { seen, outlets }), Director { seen: watched, outlets: opened })
}

impl Director {
    pub(crate) async fn next(&mut self) -> Seen {
        timeout(BOUND, self.seen.recv()).await.expect("the service is asked").unwrap()
    }

    pub(crate) async fn held(&mut self) -> Held {
        loop {
            if let Seen::Call(held) = self.next().await {
                return held;
            }
        }
    }

    pub(crate) async fn opening(&mut self) -> oneshot::Sender<()> {
        loop {
            if let Seen::Opening(go_on) = self.next().await {
                return go_on;
            }
        }
    }

    pub(crate) async fn notified(&mut self) -> Notification {
        loop {
            if let Seen::Notified(notification) = self.next().await {
                return notification;
            }
        }
    }

    pub(crate) async fn ended(&mut self) {
        while !matches!(self.next().await, Seen::Ended) {}
    }

    /// Whether nothing reached the service that was not taken yet.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.seen.try_recv().is_err()
    }

    /// The way to the client of the session opened last, outside of requests.
    pub(crate) async fn outlet(&mut self) -> Outlet {
        timeout(BOUND, self.outlets.recv()).await.unwrap().unwrap()
    }
}

fn answer(seen: &mpsc::Sender<Seen>, request: Request, outlet: Outlet) -> BoxFuture<'static, Outcome> {
    let params = request.params.clone().unwrap_or_else(RawJson::empty_object);
    let name: String = params.get("name").and_then(|name| name.to().ok()).unwrap_or_default();
    outlet.trace(format!("trace-{}", request.id).into());
    match (&request.method, name.as_str()) {
        (Method::ToolsList, _) => ready(Ok(raw(&json!({ "tools": [] })))).boxed(),
        (Method::ToolsCall, "echo") => {
            ready(Ok(params.get("arguments").unwrap_or_else(RawJson::empty_object))).boxed()
        }
        (Method::ToolsCall, "panic") => async { panic!("as the test wants") }.boxed(),
        (Method::ToolsCall | Method::SubscriptionsListen, _) => {
            let (answer, answered) = oneshot::channel();
            let _ = seen.try_send(Seen::Call(Held { request, outlet, answer }));
            async move { answered.await.unwrap_or_else(|_| panic!("the test forgot a call")) }.boxed()
        }
        (Method::Other(_), _) => {
            ready(Err(RpcError::new(ErrorCode::METHOD_NOT_FOUND, "no such method"))).boxed()
        }
        _ => ready(Err(RpcError::new(ErrorCode::INTERNAL_ERROR, "as the test wants"))).boxed(),
    }
}

impl Service for Script {
    fn open(&self, opening: Opening) -> BoxFuture<'static, Result<Opened, RpcError>> {
        if opening.params.get("refuse").is_some() {
            return ready(Err(RpcError::new(ErrorCode::INVALID_PARAMS, "as the test wants"))).boxed();
        }
        if opening.params.get("panic").is_some() {
            return async { panic!("as the test wants") }.boxed();
        }
        let _ = self.outlets.try_send(opening.outlet);
        let result = raw(&json!({ "protocolVersion": opening.version, "capabilities": {} }));
        let conversation = Arc::new(Talk { seen: self.seen.clone() });
        let opened = Ok(Opened { result, conversation });
        if opening.params.get("late").is_none() {
            return ready(opened).boxed();
        }
        let (go_on, late) = oneshot::channel();
        let _ = self.seen.try_send(Seen::Opening(go_on));
        late.map(|_| opened).boxed()
    }

    fn call(&self, call: StatelessCall) -> BoxFuture<'static, Outcome> {
        answer(&self.seen, call.request, call.outlet)
    }

    fn mirrored(&self, _principal: &Principal, tool: &str) -> Option<Arc<ParamHeaders>> {
        let schema = json!({ "type": "object", "properties": { "region": { "type": "string", "x-mcp-header": "Region" } } });
        (tool == "echo").then(|| Arc::new(ParamHeaders::from_schema(&raw(&schema)).unwrap()))
    }
}

struct Talk {
    seen: mpsc::Sender<Seen>,
}

impl Conversation for Talk {
    fn call(&self, request: Request, outlet: Outlet) -> BoxFuture<'static, Outcome> {
        answer(&self.seen, request, outlet)
    }

    fn notified(&self, notification: Notification) {
        let _ = self.seen.try_send(Seen::Notified(notification));
    }

    fn end(&self) {
        let _ = self.seen.try_send(Seen::Ended);
    }
}

/// A request of the stateless era.
pub(crate) fn modern(id: u32, method: &str, mut params: Value) -> Value {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = MODERN.into();
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

pub(crate) fn plain(id: u32, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

pub(crate) fn tool(id: u32, name: &str) -> Value {
    plain(id, "tools/call", json!({ "name": name }))
}

pub(crate) fn cancel(id: u32) -> Value {
    json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } })
}

pub(crate) fn initialize(version: &str) -> Value {
    let params = json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": { "name": "t", "version": "0" } });
    plain(0, "initialize", params)
}

#[derive(Clone)]
struct Shared {
    front: HttpFront,
    service: Arc<Script>,
}

fn principal(request: &HttpRequest) -> Principal {
    let name = request.headers().get("x-principal").map(|name| name.to_str().unwrap().to_owned());
    name.map_or_else(Principal::anonymous, |name| Principal::named(&name))
}

async fn handle(State(shared): State<Shared>, request: HttpRequest) -> Response {
    let endpoint = Endpoint { key: request.uri().path().into(), service: shared.service };
    let principal = principal(&request);
    let (head, body) = request.into_parts();
    shared.front.handle(&endpoint, principal, &head, body).await
}

async fn open_sse(State(shared): State<Shared>, request: HttpRequest) -> Response {
    let endpoint = Endpoint { key: "/mcp".into(), service: shared.service };
    shared.front.open_sse(&endpoint, principal(&request), &request, "/messages")
}

async fn post_message(State(shared): State<Shared>, request: HttpRequest) -> Response {
    shared.front.post_message(&principal(&request), request).await
}

/// A front end on a socket.
pub(crate) struct Site {
    pub(crate) front: HttpFront,
    pub(crate) director: Director,
    pub(crate) client: Client,
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<ServeReport>,
}

impl Site {
    pub(crate) async fn start(limits: FrontLimits) -> Self {
        Self::start_with(limits, ServeLimits::default()).await
    }

    pub(crate) async fn start_with(limits: FrontLimits, serving: ServeLimits) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (service, director) = script();
        let front = HttpFront::new(limits);
        let router = Router::new()
            .route("/mcp", any(handle))
            .route("/other", any(handle))
            .route("/sse", get(open_sse))
            .route("/messages", post(post_message))
            .with_state(Shared { front: front.clone(), service });
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, router, serving, async move {
            let _ = stopped.await;
        }));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let client = Client { http, base: format!("http://{address}"), fields: Vec::new() };
        Self { front, director, client, address, stop, server }
    }

    pub(crate) async fn plain() -> Self {
        Self::start(FrontLimits::default()).await
    }

    pub(crate) async fn end(self) -> ServeReport {
        self.front.shutdown();
        let _ = self.stop.send(());
        timeout(BOUND, self.server).await.expect("serving ends").unwrap()
    }

    /// Waits for a figure.
    pub(crate) async fn until(&self, condition: impl Fn(mcp_server::FrontStats) -> bool) {
        until(|| condition(self.front.stats())).await;
    }
}

/// Waits for a condition.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    timeout(BOUND, waiting).await.expect("the condition holds in time");
}
