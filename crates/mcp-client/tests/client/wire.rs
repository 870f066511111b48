//! A scripted server behind an in-memory transport: no sockets, no processes, no clock.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use mcp_client::{Client, ConnectError, ConnectOptions, connect};
use mcp_protocol::{Limits, Message, Method, RequestId};
use mcp_transport::{
    Connector, Delivery, Endpoint, HttpEndpoint, Inbox, Incoming, Outbound, Reply, StdioEndpoint, Transport,
    TransportError, TransportErrorKind, TransportKind,
};
use tokio::sync::{Notify, mpsc};

/// What a server does with one message. Over stdio it answers through [`Wire::push`].
pub(crate) type Handler = Arc<dyn Fn(&Outbound, &Wire) -> Result<Reply, TransportError> + Send + Sync>;

/// The server's side of one connection.
#[derive(Clone)]
pub(crate) struct Wire(Arc<Shared>);

struct Shared {
    kind: TransportKind,
    sent: Mutex<Vec<Outbound>>,
    inbox: Mutex<Option<mpsc::Sender<Result<Incoming, TransportError>>>>,
    changed: Notify,
    dropped: AtomicBool,
}

impl Wire {
    /// Sends a frame to the client's inbox.
    pub(crate) fn push(&self, frame: impl Into<String>) {
        self.push_item(Ok(incoming(frame)));
    }

    /// Ends the inbox with an error, as a process that ends does.
    pub(crate) fn fail(&self, kind: TransportErrorKind) {
        self.push_item(Err(TransportError::new(kind, Delivery::Unknown)));
        self.0.inbox.lock().unwrap().take();
    }

    pub(crate) fn push_item(&self, item: Result<Incoming, TransportError>) {
        let inbox = self.0.inbox.lock().unwrap();
        let inbox = inbox.as_ref().expect("the connection is open");
        inbox.try_send(item).expect("there is room in the inbox");
    }

    /// Everything the client has sent.
    pub(crate) fn sent(&self) -> Vec<Outbound> {
        self.0.sent.lock().unwrap().clone()
    }

    /// The methods of everything the client has sent; answers show as `answer`.
    pub(crate) fn methods(&self) -> Vec<String> {
        self.sent().iter().map(|out| method(out).map_or("answer".into(), |m| m.to_string())).collect()
    }

    /// Waits until a sent message satisfies the condition, and gives it.
    pub(crate) async fn wait_for(&self, fits: impl Fn(&Outbound) -> bool) -> Outbound {
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            if let Some(out) = self.0.sent.lock().unwrap().iter().find(|out| fits(out)) {
                return out.clone();
            }
            changed.await;
        }
    }

    /// Waits until so many messages with this method were sent, and gives them.
    pub(crate) async fn wait_for_many(&self, wanted: &Method, many: usize) -> Vec<Outbound> {
        self.wait_for_count(|out| method(out) == Some(wanted), many).await
    }

    /// Waits until so many messages that satisfy the condition were sent, and gives them.
    pub(crate) async fn wait_for_count(
        &self,
        fits: impl Fn(&Outbound) -> bool,
        many: usize,
    ) -> Vec<Outbound> {
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            let all: Vec<_> = self.sent().into_iter().filter(|out| fits(out)).collect();
            if all.len() >= many {
                return all;
            }
            changed.await;
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.inbox.lock().unwrap().is_none()
    }

    /// Waits until the transport is closed.
    pub(crate) async fn closed(&self) {
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            if self.is_closed() {
                return;
            }
            changed.await;
        }
    }

    /// Whether the transport was dropped.
    pub(crate) fn is_dropped(&self) -> bool {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

struct Scripted {
    wire: Wire,
    handler: Handler,
    inbox: Mutex<Option<Inbox>>,
    close_takes: Duration,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.wire.0.dropped.store(true, Ordering::Relaxed);
    }
}

impl Transport for Scripted {
    fn send(&self, out: Outbound) -> BoxFuture<'_, Result<Reply, TransportError>> {
        Box::pin(async move {
            if self.wire.is_closed() {
                let kind = TransportErrorKind::Closed("closed".into());
                return Err(TransportError::new(kind, Delivery::NotSent));
            }
            self.wire.0.sent.lock().unwrap().push(out.clone());
            let reply = (self.handler)(&out, &self.wire);
            self.wire.0.changed.notify_waiters();
            if self.wire.0.kind == TransportKind::Http && matches!(reply, Ok(Reply::Inbox)) {
                // Sending over HTTP lasts until the head of the answer, here for ever.
                std::future::pending::<()>().await;
            }
            reply
        })
    }

    fn take_inbox(&mut self) -> Option<Inbox> {
        self.inbox.get_mut().unwrap().take()
    }

    fn answers_on_inbox(&self) -> bool {
        self.wire.0.kind != TransportKind::Http
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if !self.close_takes.is_zero() {
                tokio::time::sleep(self.close_takes).await;
            }
            self.wire.0.inbox.lock().unwrap().take();
            self.wire.0.changed.notify_waiters();
        })
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        vec![("script", "yes".into())]
    }
}

/// Lets every task that can run do so.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// A server that can be connected to, more than once if it has more than one script.
pub(crate) struct Server {
    kind: TransportKind,
    scripts: Mutex<VecDeque<Result<Handler, TransportError>>>,
    wires: Mutex<Vec<Wire>>,
    open_takes: Duration,
    close_takes: Duration,
}

impl Server {
    pub(crate) fn new(kind: TransportKind, handler: impl Into<Script>) -> Self {
        Self::starts(kind, vec![handler.into()])
    }

    /// A server whose every start follows the next script.
    pub(crate) fn starts(kind: TransportKind, scripts: Vec<Script>) -> Self {
        let scripts = scripts.into_iter().map(|script| script.0).collect();
        Self {
            kind,
            scripts: Mutex::new(scripts),
            wires: Mutex::default(),
            open_takes: Duration::ZERO,
            close_takes: Duration::ZERO,
        }
    }

    /// The same, but slow to start.
    pub(crate) fn opening_within(self, open_takes: Duration) -> Self {
        Self { open_takes, ..self }
    }

    /// The same, but slow to end.
    pub(crate) fn closing_within(self, close_takes: Duration) -> Self {
        Self { close_takes, ..self }
    }

    pub(crate) async fn connect(&self, options: &ConnectOptions) -> Result<Client, ConnectError> {
        connect(self, &self.endpoint(), options).await
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        match self.kind {
            TransportKind::Stdio => Endpoint::Stdio(StdioEndpoint::new("server", [""; 0])),
            // As people write it down: which of the two transports it is shows when connecting.
            _ => Endpoint::Http(HttpEndpoint::new("http://127.0.0.1/mcp".parse().unwrap())),
        }
    }

    /// The connections opened so far, oldest first.
    pub(crate) fn wires(&self) -> Vec<Wire> {
        self.wires.lock().unwrap().clone()
    }

    /// The newest connection.
    pub(crate) fn wire(&self) -> Wire {
        self.wires().pop().expect("a connection was opened")
    }
}

impl Connector for Server {
    fn supports(&self, endpoint: &Endpoint) -> bool {
        endpoint.kind() == self.kind || self.kind == TransportKind::Sse
    }

    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
    ) -> BoxFuture<'a, Result<Box<dyn Transport>, TransportError>> {
        Box::pin(async move {
            if !self.open_takes.is_zero() {
                tokio::time::sleep(self.open_takes).await;
            }
            let script = self.scripts.lock().unwrap().pop_front();
            let handler = script.expect("a script for this start")?;
            let (sender, receiver) = mpsc::channel(4096);
            let wire = Wire(Arc::new(Shared {
                kind: endpoint.kind(),
                sent: Mutex::default(),
                inbox: Mutex::new(Some(sender)),
                changed: Notify::new(),
                dropped: AtomicBool::new(false),
            }));
            self.wires.lock().unwrap().push(wire.clone());
            let inbox = stream::unfold(receiver, async |mut receiver| {
                let item = receiver.recv().await?;
                Some((item, receiver))
            });
            let inbox = Mutex::new(Some(inbox.boxed()));
            let transport = Scripted { wire, handler, inbox, close_takes: self.close_takes };
            Ok(Box::new(transport) as Box<dyn Transport>)
        })
    }
}

/// What one start of a server does: follow a handler, or fail.
pub(crate) struct Script(Result<Handler, TransportError>);

impl<F> From<F> for Script
where
    F: Fn(&Outbound, &Wire) -> Result<Reply, TransportError> + Send + Sync + 'static,
{
    fn from(handler: F) -> Self {
        Self(Ok(Arc::new(handler)))
    }
}

impl From<TransportError> for Script {
    fn from(error: TransportError) -> Self {
        Self(Err(error))
    }
}

pub(crate) fn method(out: &Outbound) -> Option<&Method> {
    match &out.message {
        Message::Request(request) => Some(&request.method),
        Message::Notification(notification) => Some(&notification.method),
        _ => None,
    }
}

/// The id of a request.
pub(crate) fn id(out: &Outbound) -> RequestId {
    match &out.message {
        Message::Request(request) => request.id.clone(),
        other => panic!("no request: {other:?}"),
    }
}

/// The parameters of a request or notification as text; empty if there are none.
pub(crate) fn params(out: &Outbound) -> String {
    match &out.message {
        Message::Request(request) => request.params.as_ref(),
        Message::Notification(notification) => notification.params.as_ref(),
        _ => None,
    }
    .map_or(String::new(), |params| params.as_str().to_owned())
}

/// The same, read.
pub(crate) fn params_json(out: &Outbound) -> mcp_protocol::RawJson {
    mcp_protocol::RawJson::parse(params(out), &Limits::default()).expect("parameters")
}

pub(crate) fn incoming(frame: impl Into<String>) -> Incoming {
    let frame = Bytes::from(frame.into());
    Incoming { message: Message::parse(&frame, &Limits::default()).expect("a valid frame"), frame }
}

pub(crate) fn result(out: &Outbound, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, id(out))
}

pub(crate) fn error(out: &Outbound, code: i64, data: &str) -> String {
    let data = if data.is_empty() { String::new() } else { format!(r#","data":{data}"#) };
    format!(r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":{code},"message":"no"{data}}}}}"#, id(out))
}

/// A stream of frames of its own, as an HTTP answer.
pub(crate) fn own(frames: impl IntoIterator<Item = String>) -> Result<Reply, TransportError> {
    let items: Vec<_> = frames.into_iter().map(|frame| Ok(incoming(frame))).collect();
    Ok(Reply::Own(stream::iter(items).boxed()))
}

/// The same, broken off after the frames.
pub(crate) fn own_cut(frames: impl IntoIterator<Item = String>) -> Result<Reply, TransportError> {
    let items = frames.into_iter().map(|frame| Ok(incoming(frame)));
    let cut = Err(refuse(TransportErrorKind::Closed("cut".into()), Delivery::Unknown));
    Ok(Reply::Own(stream::iter(items.chain([cut]).collect::<Vec<_>>()).boxed()))
}

/// Over HTTP: no answer, not even its head.
pub(crate) fn no_head() -> Result<Reply, TransportError> {
    Ok(Reply::Inbox)
}

/// A stream of its own that stays silent and open.
pub(crate) fn own_silent() -> Result<Reply, TransportError> {
    Ok(Reply::Own(stream::pending().boxed()))
}

pub(crate) fn refuse(kind: TransportErrorKind, delivery: Delivery) -> TransportError {
    TransportError::new(kind, delivery)
}

pub(crate) fn status(status: u16) -> TransportError {
    let delivery = if status >= 500 { Delivery::Unknown } else { Delivery::Rejected };
    refuse(TransportErrorKind::Status { status, retry_after: None }, delivery)
}

pub(crate) const INITIALIZED: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"},"instructions":"be kind"}"#;
pub(crate) const DISCOVERED: &str = r#"{"resultType":"complete","supportedVersions":["2026-07-28","2025-11-25"],"capabilities":{"tools":{}},"ttlMs":60000,"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"m","version":"2"}}}"#;

/// Answers the handshake of either era on whichever channel the transport has; `None` for the rest.
pub(crate) fn handshake(era: mcp_protocol::Era, out: &Outbound) -> Option<Option<String>> {
    use mcp_protocol::Era::{Handshake, Stateless};
    match (method(out)?, era) {
        (Method::Initialize, Handshake) => Some(Some(result(out, INITIALIZED))),
        (Method::Initialized, Handshake) => Some(None),
        (Method::ServerDiscover, Stateless) => Some(Some(result(out, DISCOVERED))),
        (Method::ServerDiscover, Handshake) | (Method::Initialize, Stateless) => {
            Some(Some(error(out, -32601, "")))
        }
        _ => None,
    }
}

/// A stdio server of one era that leaves everything after the handshake to `rest`.
pub(crate) fn stdio(
    era: mcp_protocol::Era,
    rest: impl Fn(&Outbound, &Wire) + Send + Sync + 'static,
) -> impl Fn(&Outbound, &Wire) -> Result<Reply, TransportError> + Send + Sync + 'static {
    move |out, wire| {
        match handshake(era, out) {
            Some(Some(frame)) => wire.push(frame),
            Some(None) => {}
            None => rest(out, wire),
        }
        Ok(Reply::Inbox)
    }
}

/// The same over HTTP.
pub(crate) fn http(
    era: mcp_protocol::Era,
    rest: impl Fn(&Outbound) -> Result<Reply, TransportError> + Send + Sync + 'static,
) -> impl Fn(&Outbound, &Wire) -> Result<Reply, TransportError> + Send + Sync + 'static {
    move |out, _| match handshake(era, out) {
        Some(Some(frame)) => own([frame]),
        Some(None) => Ok(Reply::Accepted),
        None => rest(out),
    }
}
