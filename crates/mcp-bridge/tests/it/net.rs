//! Servers without sockets or processes: scripted ones and the demo server, each behind either kind of connection.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use mcp_protocol::{Limits, Message, Method, ProtocolVersion, Request, RequestId};
use mcp_transport::{
    Connector, Delivery, Endpoint, Inbox, Incoming, Outbound, Reply, Transport, TransportError,
    TransportErrorKind, TransportKind,
};
use mcp_transport_http::{HttpConnector, HttpOptions};
use mcp_transport_sse::SseConnector;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};

use crate::support::within;

/// The host of servers that are on a socket.
const LOOPBACK: &str = "127.0.0.1";
/// Messages that may wait on one stream.
const ROOM: usize = 4096;

/// What stands at the other end of connections.
pub(crate) trait Backend: Send + Sync {
    /// Takes a message of the client.
    fn take(self: Arc<Self>, wire: &Wire, message: &Message);
}

/// All servers of a test.
#[derive(Clone, Default)]
pub(crate) struct Net(Arc<Mutex<BTreeMap<String, Server>>>);

impl Net {
    pub(crate) fn add(&self, server: &Server) {
        self.0.lock().unwrap().insert(server.0.name.clone(), server.clone());
    }
}

/// One server, however often it is connected to.
#[derive(Clone)]
pub(crate) struct Server(Arc<ServerInner>);

struct ServerInner {
    name: String,
    kind: TransportKind,
    version: ProtocolVersion,
    backend: Arc<dyn Backend>,
    script: Option<Arc<Script>>,
    wires: Mutex<Vec<Wire>>,
    /// What the clients have sent, in order, and on which connection.
    log: Mutex<Vec<(Wire, Outbound)>>,
    /// How many requests of a method a test has taken.
    taken: Mutex<HashMap<String, usize>>,
    /// Methods that are refused with an HTTP status.
    refused: Mutex<HashMap<String, (u16, Delivery)>>,
    changed: Notify,
    down: AtomicBool,
    /// Where it listens, if it is on a socket.
    address: Option<SocketAddr>,
}

impl Server {
    /// A server that follows a script.
    pub(crate) fn scripted(name: &str, kind: TransportKind, version: ProtocolVersion) -> Self {
        let script = Arc::new(Script::new(name, version));
        Self::behind(name, kind, version, script.clone(), Some(script))
    }

    pub(crate) fn behind(
        name: &str,
        kind: TransportKind,
        version: ProtocolVersion,
        backend: Arc<dyn Backend>,
        script: Option<Arc<Script>>,
    ) -> Self {
        Self(Arc::new(ServerInner {
            name: name.into(),
            kind,
            version,
            backend,
            script,
            wires: Mutex::default(),
            log: Mutex::default(),
            taken: Mutex::default(),
            refused: Mutex::default(),
            changed: Notify::new(),
            down: AtomicBool::new(false),
            address: None,
        }))
    }

    /// The same on a socket.
    pub(crate) fn at(self, address: SocketAddr) -> Self {
        let mut inner = Arc::into_inner(self.0).unwrap();
        inner.address = Some(address);
        Self(Arc::new(inner))
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.0.address
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    pub(crate) fn kind(&self) -> TransportKind {
        self.0.kind
    }

    pub(crate) fn version(&self) -> ProtocolVersion {
        self.0.version
    }

    fn script(&self) -> &Script {
        self.0.script.as_ref().unwrap()
    }

    /// The same with other capabilities than tools, prompts, resources, logging and completions.
    pub(crate) fn capable(self, capabilities: Value) -> Self {
        *self.script().capabilities.lock().unwrap() = capabilities;
        self
    }

    /// The same with instructions.
    pub(crate) fn instructing(self, text: &str) -> Self {
        *self.script().instructions.lock().unwrap() = Some(text.into());
        self
    }

    /// The same with tools of these names.
    pub(crate) fn tools(self, names: &[&str]) -> Self {
        self.set_tools(names);
        self
    }

    pub(crate) fn set_tools(&self, names: &[&str]) {
        let tools = names.iter().map(|name| json!({"name": name, "inputSchema": {"type": "object"}}));
        self.set_pages("tools", vec![tools.collect()]);
    }

    /// The same with a list of entries: `tools`, `prompts`, `resources` or `resourceTemplates`.
    pub(crate) fn list(self, member: &'static str, entries: &[Value]) -> Self {
        self.set_pages(member, vec![entries.to_vec()]);
        self
    }

    pub(crate) fn set_pages(&self, member: &'static str, pages: Vec<Vec<Value>>) {
        self.script().lists.lock().unwrap().insert(member, pages);
    }

    /// The same, answering a method. What nothing answers waits until a test does.
    pub(crate) fn on(self, method: Method, answer: impl Fn(Asked) + Send + Sync + 'static) -> Self {
        self.script().on.lock().unwrap().insert(method.as_str().into(), Arc::new(answer));
        self
    }

    /// From now on a method is refused with an HTTP status.
    pub(crate) fn refuse(&self, method: &Method, status: u16, delivery: Delivery) {
        self.0.refused.lock().unwrap().insert(method.as_str().into(), (status, delivery));
    }

    /// From now on it cannot be connected to, or can again.
    pub(crate) fn set_down(&self, down: bool) {
        self.0.down.store(down, Ordering::Relaxed);
    }

    /// Ends all connections, as a crash does.
    pub(crate) fn crash(&self) {
        for wire in self.wires() {
            wire.crash();
        }
    }

    /// The connections so far, oldest first.
    pub(crate) fn wires(&self) -> Vec<Wire> {
        self.0.wires.lock().unwrap().clone()
    }

    /// The connections that are open.
    pub(crate) fn open(&self) -> Vec<Wire> {
        self.wires().into_iter().filter(|wire| !wire.is_closed()).collect()
    }

    /// The next request of a method that no test has taken yet.
    pub(crate) async fn next(&self, method: Method) -> Asked {
        let at = {
            let mut taken = self.0.taken.lock().unwrap();
            let at = taken.entry(method.as_str().into()).or_default();
            *at += 1;
            *at - 1
        };
        let what = format!("{method} number {at} at {}", self.name());
        within(&what, self.when(|| self.seen(&method).into_iter().nth(at))).await
    }

    /// All requests of a method so far.
    pub(crate) fn seen(&self, method: &Method) -> Vec<Asked> {
        let log = self.0.log.lock().unwrap();
        let asked = log.iter().filter_map(|(wire, out)| match &out.message {
            Message::Request(request) if request.method == *method => {
                Some(Asked { wire: wire.clone(), request: request.clone() })
            }
            _ => None,
        });
        asked.collect()
    }

    /// All parameters of notifications of a method so far.
    pub(crate) fn notified(&self, method: &Method) -> Vec<Value> {
        let log = self.0.log.lock().unwrap();
        let said = log.iter().filter_map(|(_, out)| match &out.message {
            Message::Notification(told) if told.method == *method => {
                Some(told.params.as_ref().map_or(Value::Null, |params| value(params.as_str())))
            }
            _ => None,
        });
        said.collect()
    }

    /// Waits for a value that may be there after the next message.
    pub(crate) async fn when<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            if let Some(found) = look() {
                return found;
            }
            changed.await;
        }
    }
}

pub(crate) fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The server's side of one connection.
#[derive(Clone)]
pub(crate) struct Wire(Arc<WireInner>);

type Sender = mpsc::Sender<Result<Incoming, TransportError>>;

struct WireInner {
    server: Server,
    number: usize,
    inbox: Mutex<Option<Sender>>,
    /// Streams of requests that are not answered yet.
    streams: Mutex<HashMap<RequestId, Sender>>,
    /// Requests whose stream was closed before the answer.
    left: Mutex<Vec<RequestId>>,
}

impl Wire {
    pub(crate) fn number(&self) -> usize {
        self.0.number
    }

    /// What the client declared when it opened the connection.
    pub(crate) fn capabilities(&self) -> Value {
        let opened = self.0.server.seen(&Method::Initialize);
        let opened = opened.iter().find(|asked| asked.wire.number() == self.number());
        opened.map_or(Value::Null, |asked| asked.params()["capabilities"].clone())
    }

    /// Sends a frame on account of a request, or of none.
    pub(crate) fn send(&self, within: Option<&RequestId>, frame: impl Into<Bytes>) {
        let frame = frame.into();
        let message = Message::parse(&frame, &Limits::default()).unwrap();
        let ends = matches!(&message, Message::Response(_) | Message::Failure(_));
        let item = Ok(Incoming { message, frame });
        let mut streams = self.0.streams.lock().unwrap();
        match within.filter(|_| self.0.server.kind() == TransportKind::Http) {
            Some(id) => {
                let stream = if ends { streams.remove(id) } else { streams.get(id).cloned() };
                if let Some(stream) = stream {
                    // Whoever has left does not read any more.
                    let _ = stream.try_send(item);
                }
            }
            None => {
                if let Some(inbox) = &*self.0.inbox.lock().unwrap() {
                    inbox.try_send(item).unwrap();
                }
            }
        }
    }

    /// Tells something that belongs to no request.
    pub(crate) fn tell(&self, method: &str, params: Value) {
        self.send(None, json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string());
    }

    /// Asks something on account of no request.
    pub(crate) fn ask(&self, id: i64, method: &str, params: Value) {
        let frame = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.send(None, frame.to_string());
    }

    /// Ends the connection, as a process does that ends.
    pub(crate) fn crash(&self) {
        let error =
            || TransportError::new(TransportErrorKind::Exited("exit status 1".into()), Delivery::Unknown);
        for (_, stream) in self.0.streams.lock().unwrap().drain() {
            let _ = stream.try_send(Err(error()));
        }
        if let Some(inbox) = self.0.inbox.lock().unwrap().take() {
            let _ = inbox.try_send(Err(error()));
        }
        self.0.server.0.changed.notify_waiters();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.inbox.lock().unwrap().is_none()
    }

    /// Waits until the client has ended the connection.
    pub(crate) async fn closed(&self) {
        within("the end of a connection", self.0.server.when(|| self.is_closed().then_some(()))).await;
    }

    /// The client's answer to a question of the server: its result, or its error.
    pub(crate) async fn answer_to(&self, id: i64) -> Result<Value, Value> {
        let id = RequestId::from(id);
        let look = || {
            let log = self.0.server.0.log.lock().unwrap();
            log.iter().filter(|(wire, _)| wire.0.number == self.0.number).find_map(|(_, out)| {
                match &out.message {
                    Message::Response(answer) if answer.id == id => Some(Ok(value(answer.result.as_str()))),
                    Message::Failure(answer) if answer.id.as_ref() == Some(&id) => {
                        Some(Err(value(answer.error.as_raw().as_str())))
                    }
                    _ => None,
                }
            })
        };
        within(&format!("the answer to the server's question {id}"), self.0.server.when(look)).await
    }

    fn is_cancelled(&self, id: &RequestId) -> bool {
        let log = self.0.server.0.log.lock().unwrap();
        let told = log.iter().filter(|(wire, _)| wire.0.number == self.0.number).any(|(_, out)| {
            matches!(&out.message, Message::Notification(told) if told.method == Method::Cancelled
                && told.params.as_ref().and_then(|params| params.get("requestId")?.to().ok()).as_ref() == Some(id))
        });
        told || self.0.left.lock().unwrap().contains(id)
    }
}

/// A request of the client at a server.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) wire: Wire,
    pub(crate) request: Request,
}

impl Asked {
    /// The parameters as they came.
    pub(crate) fn raw(&self) -> &str {
        self.request.params.as_ref().map_or("null", |params| params.as_str())
    }

    pub(crate) fn params(&self) -> Value {
        value(self.raw())
    }

    fn id(&self) -> Value {
        serde_json::to_value(&self.request.id).unwrap()
    }

    /// The result: JSON, as text or as a value.
    pub(crate) fn answer(&self, result: impl ToString) {
        let id = self.id();
        let frame = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{}}}"#, result.to_string());
        self.wire.send(Some(&self.request.id), frame);
    }

    pub(crate) fn fail(&self, code: i64, message: &str, data: Option<Value>) {
        let mut error = json!({"code": code, "message": message});
        if let Some(data) = data {
            error["data"] = data;
        }
        let frame = json!({"jsonrpc": "2.0", "id": self.id(), "error": error});
        self.wire.send(Some(&self.request.id), frame.to_string());
    }

    /// Tells something on the way to the answer.
    pub(crate) fn tell(&self, method: &str, params: Value) {
        let frame = json!({"jsonrpc": "2.0", "method": method, "params": params});
        self.wire.send(Some(&self.request.id), frame.to_string());
    }

    /// Tells of progress, with the token that came with the request.
    pub(crate) fn progress(&self, progress: u32) {
        let token = self.params()["_meta"]["progressToken"].clone();
        assert!(!token.is_null(), "nobody wants progress: {}", self.raw());
        self.tell("notifications/progress", json!({"progressToken": token, "progress": progress}));
    }

    /// Asks the client something on account of this request.
    pub(crate) fn ask(&self, id: i64, method: &str, params: Value) {
        let frame = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.wire.send(Some(&self.request.id), frame.to_string());
    }

    /// Takes a question back.
    pub(crate) fn take_back(&self, id: i64) {
        self.tell("notifications/cancelled", json!({"requestId": id, "reason": "changed my mind"}));
    }

    /// Waits until the client has cancelled the request.
    pub(crate) async fn cancelled(&self) {
        let look = || self.wire.is_cancelled(&self.request.id).then_some(());
        within("the cancellation of a request", self.wire.0.server.when(look)).await;
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.wire.is_cancelled(&self.request.id)
    }
}

impl Connector for Net {
    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
    ) -> BoxFuture<'a, Result<Box<dyn Transport>, TransportError>> {
        Box::pin(async move {
            let name = match endpoint {
                Endpoint::Http(http) if http.url.host_str() == Some(LOOPBACK) => {
                    return HttpConnector::new(HttpOptions::default()).unwrap().connect(endpoint).await;
                }
                Endpoint::Sse(_) => {
                    return SseConnector::new(HttpOptions::default()).unwrap().connect(endpoint).await;
                }
                Endpoint::Stdio(stdio) => stdio.command.clone(),
                Endpoint::Http(http) => http.url.host_str().unwrap().split('.').next().unwrap().to_owned(),
                other => panic!("{other:?}"),
            };
            let server = self.0.lock().unwrap().get(&name).cloned().unwrap();
            if server.0.down.load(Ordering::Relaxed) {
                let kind = TransportErrorKind::Connect("connection refused".into());
                return Err(TransportError::new(kind, Delivery::NotSent));
            }
            let (sender, receiver) = mpsc::channel(ROOM);
            let mut wires = server.0.wires.lock().unwrap();
            let wire = Wire(Arc::new(WireInner {
                server: server.clone(),
                number: wires.len(),
                inbox: Mutex::new(Some(sender)),
                streams: Mutex::default(),
                left: Mutex::default(),
            }));
            wires.push(wire.clone());
            server.0.changed.notify_waiters();
            Ok(Box::new(Line { wire, inbox: Mutex::new(Some(items(receiver))) }) as Box<dyn Transport>)
        })
    }
}

fn items(receiver: mpsc::Receiver<Result<Incoming, TransportError>>) -> Inbox {
    stream::unfold(receiver, async |mut receiver| {
        let item = receiver.recv().await?;
        Some((item, receiver))
    })
    .boxed()
}

/// The client's side of one connection.
struct Line {
    wire: Wire,
    inbox: Mutex<Option<Inbox>>,
}

impl Transport for Line {
    fn send(&self, out: Outbound) -> BoxFuture<'_, Result<Reply, TransportError>> {
        Box::pin(async move {
            let server = &self.wire.0.server;
            if self.wire.is_closed() {
                let kind = TransportErrorKind::Closed("closed".into());
                return Err(TransportError::new(kind, Delivery::NotSent));
            }
            server.0.log.lock().unwrap().push((self.wire.clone(), out.clone()));
            if let Message::Request(request) = &out.message
                && let Some((status, delivery)) =
                    server.0.refused.lock().unwrap().get(request.method.as_str())
            {
                let kind = TransportErrorKind::Status { status: *status, retry_after: None };
                return Err(TransportError::new(kind, *delivery));
            }
            let reply = match &out.message {
                Message::Request(request) if server.kind() == TransportKind::Http => {
                    let (sender, receiver) = mpsc::channel(ROOM);
                    self.wire.0.streams.lock().unwrap().insert(request.id.clone(), sender);
                    let open = Open { wire: self.wire.clone(), id: request.id.clone() };
                    let items = stream::unfold((receiver, open), async |(mut receiver, open)| {
                        let item = receiver.recv().await?;
                        Some((item, (receiver, open)))
                    });
                    Reply::Own(items.boxed())
                }
                Message::Request(_) => Reply::Inbox,
                _ => Reply::Accepted,
            };
            server.0.backend.clone().take(&self.wire, &out.message);
            server.0.changed.notify_waiters();
            Ok(reply)
        })
    }

    fn take_inbox(&mut self) -> Option<Inbox> {
        self.inbox.get_mut().unwrap().take()
    }

    fn answers_on_inbox(&self) -> bool {
        self.wire.0.server.kind() != TransportKind::Http
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.wire.0.inbox.lock().unwrap().take();
            self.wire.0.streams.lock().unwrap().clear();
            self.wire.0.server.0.changed.notify_waiters();
        })
    }
}

/// The stream of one request, until the client has no use for it any more.
struct Open {
    wire: Wire,
    id: RequestId,
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.wire.0.streams.lock().unwrap().remove(&self.id).is_some() {
            self.wire.0.left.lock().unwrap().push(self.id.clone());
            let server = &self.wire.0.server;
            server.0.changed.notify_waiters();
        }
    }
}

type Answer = Arc<dyn Fn(Asked) + Send + Sync>;

/// A server that answers what it was told to, and the usual around it: handshake, lists, subscriptions, levels.
pub(crate) struct Script {
    name: String,
    version: ProtocolVersion,
    capabilities: Mutex<Value>,
    instructions: Mutex<Option<String>>,
    lists: Mutex<HashMap<&'static str, Vec<Vec<Value>>>>,
    on: Mutex<HashMap<String, Answer>>,
}

impl Script {
    fn new(name: &str, version: ProtocolVersion) -> Self {
        let capabilities = json!({
            "tools": {"listChanged": true}, "prompts": {"listChanged": true},
            "resources": {"listChanged": true, "subscribe": true}, "logging": {}, "completions": {},
        });
        Self {
            name: name.into(),
            version,
            capabilities: Mutex::new(capabilities),
            instructions: Mutex::default(),
            lists: Mutex::default(),
            on: Mutex::default(),
        }
    }

    fn is_stateless(&self) -> bool {
        self.version == ProtocolVersion::LATEST_STATELESS
    }

    /// A result with the envelope of the server's era.
    fn wrap(&self, mut result: Value) -> Value {
        if self.is_stateless() {
            result["resultType"] = "complete".into();
            result["ttlMs"] = 60_000.into();
            result["cacheScope"] = "public".into();
            result["_meta"] =
                json!({"io.modelcontextprotocol/serverInfo": {"name": self.name, "version": "1"}});
        }
        result
    }

    fn introduction(&self, asked: &Asked) -> Value {
        let capabilities = self.capabilities.lock().unwrap().clone();
        let mut result = if asked.request.method == Method::Initialize {
            json!({
                "protocolVersion": self.version.as_str(), "capabilities": capabilities,
                "serverInfo": {"name": self.name, "version": "1"},
            })
        } else {
            self.wrap(json!({"supportedVersions": [self.version.as_str()], "capabilities": capabilities}))
        };
        if let Some(text) = &*self.instructions.lock().unwrap() {
            result["instructions"] = text.as_str().into();
        }
        result
    }

    fn page(&self, member: &'static str, asked: &Asked) -> Value {
        let lists = self.lists.lock().unwrap();
        let pages = lists.get(member).cloned().unwrap_or_default();
        let at: usize = asked.params()["cursor"].as_str().map_or(0, |cursor| cursor.parse().unwrap());
        let mut result = json!({member: pages.get(at).cloned().unwrap_or_default()});
        if at + 1 < pages.len() {
            result["nextCursor"] = (at + 1).to_string().into();
        }
        self.wrap(result)
    }

    fn listen(&self, asked: &Asked) {
        let mut wanted = asked.params()["notifications"].clone();
        let capabilities = self.capabilities.lock().unwrap().clone();
        let wanted = wanted.as_object_mut().unwrap();
        wanted.retain(|name, _| match name.as_str() {
            "resourceSubscriptions" => capabilities["resources"]["subscribe"] == true,
            list => capabilities[list.trim_end_matches("ListChanged")]["listChanged"] == true,
        });
        let meta = json!({"io.modelcontextprotocol/subscriptionId": asked.id()});
        let params = json!({"notifications": wanted, "_meta": meta});
        asked.tell("notifications/subscriptions/acknowledged", params);
    }
}

impl Backend for Script {
    fn take(self: Arc<Self>, wire: &Wire, message: &Message) {
        let Message::Request(request) = message else { return };
        let asked = Asked { wire: wire.clone(), request: request.clone() };
        let scripted = self.on.lock().unwrap().get(request.method.as_str()).cloned();
        if let Some(answer) = scripted {
            return answer(asked);
        }
        match &request.method {
            Method::Initialize if !self.is_stateless() => asked.answer(self.introduction(&asked)),
            Method::ServerDiscover if self.is_stateless() => asked.answer(self.introduction(&asked)),
            Method::Initialize | Method::ServerDiscover => asked.fail(-32601, "unknown method", None),
            Method::ToolsList => asked.answer(self.page("tools", &asked)),
            Method::PromptsList => asked.answer(self.page("prompts", &asked)),
            Method::ResourcesList => asked.answer(self.page("resources", &asked)),
            Method::ResourceTemplatesList => asked.answer(self.page("resourceTemplates", &asked)),
            Method::SubscriptionsListen => self.listen(&asked),
            Method::Ping
            | Method::LoggingSetLevel
            | Method::ResourcesSubscribe
            | Method::ResourcesUnsubscribe => {
                asked.answer(json!({}));
            }
            _ => {}
        }
    }
}
