//! A server that does exactly what a test says, and what tests say to the transport.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use mcp_http_client::HttpOptions;
use mcp_protocol::{Message, Method, Notification, ProtocolVersion, Request};
use mcp_transport::{
    Connector, Endpoint, HttpEndpoint, Inbox, Incoming, Outbound, SseEndpoint, Transport, TransportError,
    TransportErrorKind,
};
use mcp_transport_sse::SseConnector;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::task::JoinHandle;

pub(crate) const BOUND: Duration = Duration::from_secs(10);

thread_local! {
    /// One for every test, as each runs in a thread of its own: reading the system's certificates is slow.
    static CONNECTOR: SseConnector = SseConnector::new(HttpOptions::default()).unwrap();
}

/// What the server does after it has read a request.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Writes the bytes.
    Write(Vec<u8>),
    /// Writes what the test says, until it says no more.
    Relay(Arc<Mutex<mpsc::Receiver<Vec<u8>>>>),
    /// Writes the bytes again and again until the client is gone.
    Flood(&'static [u8]),
    /// Waits until the test says so.
    Await(Arc<Notify>),
    /// Waits until the client closes the connection, and reports it.
    AwaitClose,
    /// Closes the connection.
    Close,
    /// Closes it with a TCP reset.
    Reset,
}

/// What the server saw.
#[derive(Debug)]
pub(crate) enum Seen {
    Request(Recorded),
    /// The client closed the connection in a [`Step::AwaitClose`].
    Closed,
}

/// A request as it was received. Header names in lower case.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Recorded {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// A server on a port of its own; gone when dropped.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    seen: mpsc::Receiver<Seen>,
    task: JoinHandle<()>,
}

impl Peer {
    /// Answers every request with what `script` returns for it.
    pub(crate) async fn start(script: impl Fn(&Recorded) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (report, seen) = mpsc::channel(1024);
        let script = Arc::new(script);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, script.clone(), report.clone()));
            }
        });
        Self { address, seen, task }
    }

    /// Opens streams with these steps; messages are accepted.
    pub(crate) async fn streaming(steps: impl Into<Vec<Step>>) -> Self {
        let steps = steps.into();
        Self::start(move |request| if is_post(request) { accepted() } else { steps.clone() }).await
    }

    /// A stream on which the test says what comes after the `endpoint` event, and what answers a message.
    pub(crate) async fn live(
        posted: impl Fn(&Recorded) -> Vec<Step> + Send + Sync + 'static,
    ) -> (Self, mpsc::Sender<Vec<u8>>) {
        let (say, said) = mpsc::channel(1024);
        let said = Arc::new(Mutex::new(said));
        let peer = Self::start(move |request| match is_post(request) {
            true => posted(request),
            false => vec![head(), Step::Write(ENDPOINT.into()), Step::Relay(Arc::clone(&said))],
        });
        (peer.await, say)
    }

    pub(crate) async fn seen(&mut self) -> Seen {
        let seen = tokio::time::timeout(BOUND, self.seen.recv()).await;
        seen.expect("the server sees something in time").unwrap()
    }

    pub(crate) async fn request(&mut self) -> Recorded {
        match self.seen().await {
            Seen::Request(request) => request,
            Seen::Closed => panic!("the client closed a connection instead of sending a request"),
        }
    }

    pub(crate) fn endpoint(&self) -> SseEndpoint {
        let url = format!("http://{}/base/sse?key=hunter2", self.address);
        SseEndpoint::new(HttpEndpoint::new(url.parse().unwrap()))
    }

    pub(crate) async fn try_connect(&self) -> Result<Box<dyn Transport>, TransportError> {
        try_connect(&CONNECTOR.with(SseConnector::clone), self.endpoint()).await
    }

    pub(crate) async fn connect(&self) -> (Box<dyn Transport>, Inbox) {
        let mut transport = self.try_connect().await.unwrap();
        let inbox = transport.take_inbox().unwrap();
        assert!(transport.take_inbox().is_none());
        (transport, inbox)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn is_post(request: &Recorded) -> bool {
    request.method == "POST"
}

async fn serve(
    mut stream: TcpStream,
    script: Arc<impl Fn(&Recorded) -> Vec<Step>>,
    report: mpsc::Sender<Seen>,
) {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await {
        let steps = script(&request);
        report.send(Seen::Request(request)).await.unwrap();
        for step in steps {
            match step {
                Step::Write(bytes) => {
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                Step::Relay(said) => {
                    let mut said = said.lock().await;
                    while let Some(bytes) = said.recv().await {
                        stream.write_all(&bytes).await.unwrap();
                    }
                    return;
                }
                Step::Flood(bytes) => {
                    let block = bytes.repeat(64 * 1024 / bytes.len());
                    while stream.write_all(&block).await.is_ok() {}
                    return;
                }
                Step::Await(told) => told.notified().await,
                Step::AwaitClose => {
                    let mut byte = [0];
                    assert!(matches!(stream.read(&mut byte).await, Ok(0) | Err(_)), "nothing is pipelined");
                    report.send(Seen::Closed).await.unwrap();
                    return;
                }
                Step::Close => return,
                Step::Reset => {
                    stream.set_zero_linger().unwrap();
                    return;
                }
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Recorded> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer.drain(..head_end + 4).collect()).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let mut start = lines.next()?.split(' ');
    let (method, target) = (start.next()?.to_owned(), start.next()?.to_owned());
    let headers: BTreeMap<_, _> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    while buffer.len() < length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8(buffer.drain(..length).collect()).unwrap();
    Some(Recorded { method, target, headers, body })
}

/// A whole answer with a `Content-Length`. `head` holds further header lines, each ended by CRLF.
pub(crate) fn answer(status: u16, head: &str, body: &str) -> Vec<Step> {
    let length = body.len();
    let text = format!("HTTP/1.1 {status} Status\r\nContent-Length: {length}\r\n{head}\r\n{body}");
    vec![Step::Write(text.into())]
}

/// What a message is answered with.
pub(crate) fn accepted() -> Vec<Step> {
    answer(202, "Content-Type: text/plain\r\n", "Accepted")
}

/// The head of a stream that ends with its connection.
pub(crate) fn head() -> Step {
    Step::Write(
        b"HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\nConnection: close\r\n\r\n"
            .to_vec(),
    )
}

pub(crate) const ENDPOINT: &str = "event: endpoint\ndata: /base/messages?session_id=hunter2\n\n";

/// An event that holds a message.
pub(crate) fn event(message: &str) -> Vec<u8> {
    format!("event: message\ndata: {message}\n\n").into()
}

/// The successful answer to [`request`] with this id.
pub(crate) fn result(id: i64) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"ok":true}}}}"#)
}

/// `tools/list` in the newest handshake revision.
pub(crate) fn request(id: i64) -> Outbound {
    let message = Message::Request(Request { id: id.into(), method: Method::ToolsList, params: None });
    Outbound { version: Some(ProtocolVersion::LATEST_HANDSHAKE), ..Outbound::new(message) }
}

pub(crate) fn notification() -> Outbound {
    Outbound::new(Message::Notification(Notification { method: Method::Initialized, params: None }))
}

pub(crate) async fn try_connect(
    connector: &SseConnector,
    endpoint: SseEndpoint,
) -> Result<Box<dyn Transport>, TransportError> {
    let transport = tokio::time::timeout(BOUND, connector.connect(&Endpoint::Sse(endpoint))).await.unwrap();
    if let Err(error) = &transport {
        assert_eq!(error.delivery.as_str(), "not_sent", "{error:?}");
    }
    transport
}

/// The failure to connect, as [`show_error`].
pub(crate) fn refusal(outcome: Result<Box<dyn Transport>, TransportError>) -> String {
    match outcome {
        Ok(transport) => panic!("connected: {:?}", transport.details()),
        Err(error) => show_error(&error),
    }
}

/// The next item of the inbox: a message as JSON text, or an error as [`show_error`]; `None` at the end.
pub(crate) async fn next(inbox: &mut Inbox) -> Option<String> {
    let item = tokio::time::timeout(BOUND, inbox.next()).await.expect("something comes in time")?;
    Some(show(item))
}

pub(crate) fn show(item: Result<Incoming, TransportError>) -> String {
    item.map_or_else(
        |error| show_error(&error),
        |incoming| String::from_utf8(incoming.message.encode().into()).unwrap(),
    )
}

/// `!kind delivery text`
pub(crate) fn show_error(error: &TransportError) -> String {
    let kind = match &error.kind {
        TransportErrorKind::Endpoint(_) => "endpoint",
        TransportErrorKind::Connect(_) => "connect",
        TransportErrorKind::Closed(_) => "closed",
        TransportErrorKind::Timeout { .. } => "timeout",
        TransportErrorKind::Status { .. } => "status",
        TransportErrorKind::Redirect { .. } => "redirect",
        TransportErrorKind::SessionExpired => "session",
        TransportErrorKind::Payload(_) => "payload",
        other => panic!("not expected of this transport: {other:?}"),
    };
    let text = error.to_string();
    assert!(!format!("{error:?}").contains("hunter2"), "a secret shows in {error:?}");
    format!("!{kind} {} {text}", error.delivery.as_str())
}
