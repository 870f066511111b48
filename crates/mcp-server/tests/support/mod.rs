//! What the tests share: a service that does what the test says, a site with it on a socket, and a client.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::future::ready;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request as HttpRequest, State};
use axum::response::Response;
use axum::routing::{any, get, post};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
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
        let _ = self.outlets.try_send(opening.outlet);
        let result = raw(&json!({ "protocolVersion": opening.version, "capabilities": {} }));
        let conversation = Arc::new(Talk { seen: self.seen.clone() });
        ready(Ok(Opened { result, conversation })).boxed()
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
    shared.front.handle(&endpoint, principal(&request), request).await
}

async fn open_sse(State(shared): State<Shared>, request: HttpRequest) -> Response {
    let endpoint = Endpoint { key: "sse".into(), service: shared.service };
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

/// A client with header fields of its own.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    fields: Vec<(&'static str, String)>,
}

impl Client {
    pub(crate) fn with(&self, name: &'static str, value: &str) -> Self {
        let mut client = self.clone();
        client.fields.push((name, value.to_owned()));
        client
    }

    pub(crate) fn session_id(&self) -> String {
        self.fields.iter().rfind(|(name, _)| *name == "mcp-session-id").unwrap().1.clone()
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: String,
    ) -> reqwest::Response {
        let url = format!("{}{path}", self.base);
        let mut request = self.http.request(method.parse().unwrap(), url).body(body);
        let own = self.fields.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in own.chain(fields.iter().copied()) {
            request = request.header(name, value);
        }
        timeout(BOUND, request.send()).await.expect("an answer comes").unwrap()
    }

    pub(crate) async fn post_to(&self, path: &str, message: &Value) -> reqwest::Response {
        let fields = [("content-type", "application/json"), ("accept", BOTH)];
        self.send("POST", path, &fields, message.to_string()).await
    }

    pub(crate) async fn post(&self, message: &Value) -> reqwest::Response {
        self.post_to("/mcp", message).await
    }

    /// Posts a request of the stateless era with the headers it needs.
    pub(crate) async fn modern(&self, id: u32, method: &str, params: Value) -> reqwest::Response {
        let name = params.get("name").or(params.get("uri")).and_then(Value::as_str).map(str::to_owned);
        let mut client = self.with("mcp-protocol-version", MODERN).with("mcp-method", method);
        if let Some(name) = name {
            client = client.with("mcp-name", &name);
        }
        client.post(&modern(id, method, params)).await
    }

    /// Opens a session; a client in it.
    pub(crate) async fn initialize(&self, version: &str) -> Self {
        let answer = self.post(&initialize(version)).await;
        assert_eq!(answer.status(), 200);
        let id = answer.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        let session = self.with("mcp-session-id", &id);
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(session.post(&initialized).await.status(), 202);
        session
    }

    pub(crate) async fn get(&self, last_event: Option<&str>) -> reqwest::Response {
        let mut fields = vec![("accept", "text/event-stream")];
        fields.extend(last_event.map(|id| ("last-event-id", id)));
        self.send("GET", "/mcp", &fields, String::new()).await
    }

    pub(crate) async fn delete(&self) -> u16 {
        self.send("DELETE", "/mcp", &[], String::new()).await.status().as_u16()
    }
}

pub(crate) async fn body(response: reqwest::Response) -> Value {
    assert_eq!(response.headers()["content-type"], "application/json");
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

/// The status, and the code of the error in the body.
pub(crate) async fn refusal(response: reqwest::Response) -> (u16, i64) {
    let status = response.status().as_u16();
    (status, body(response).await["error"]["code"].as_i64().unwrap())
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) data: Option<String>,
}

impl Event {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(self.data.as_deref().unwrap()).unwrap()
    }
}

/// Reads a stream.
pub(crate) struct Events {
    stream: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    text: String,
}

impl Events {
    pub(crate) fn of(response: reqwest::Response) -> Self {
        assert_eq!(response.status(), 200);
        let headers = response.headers();
        assert_eq!(headers["content-type"], "text/event-stream");
        assert_eq!(headers["cache-control"], "no-cache");
        assert_eq!(headers["x-accel-buffering"], "no");
        Self { stream: Box::pin(response.bytes_stream()), text: String::new() }
    }

    /// The next event or comment (which has nothing); `None` at the end.
    pub(crate) async fn next_raw(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    event
                        .lines()
                        .find_map(|line| line.strip_prefix(name))
                        .map(|text| text.trim_start().to_owned())
                };
                let event = Event { id: field("id:"), name: field("event:"), data: field("data:") };
                self.text = rest.to_owned();
                return Some(event);
            }
            let chunk = timeout(BOUND, self.stream.next()).await.expect("the stream goes on")?;
            self.text.push_str(std::str::from_utf8(&chunk.ok()?).unwrap());
        }
    }

    /// The next event with a message.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            let event = self.next_raw().await?;
            if event.data.as_ref().is_some_and(|data| !data.is_empty()) {
                return Some(event);
            }
        }
    }

    pub(crate) async fn message(&mut self) -> Value {
        self.next().await.expect("an event comes").json()
    }

    pub(crate) async fn ends(mut self) {
        assert_eq!(self.next().await, None);
    }
}
