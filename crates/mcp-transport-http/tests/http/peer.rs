//! A server that does exactly what a test says, byte by byte, and what tests say to the transport.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::StreamExt;
use mcp_protocol::{Message, Method, ProtocolVersion, Request};
use mcp_transport::{
    Connector, Delivery, Endpoint, HttpEndpoint, Incoming, Outbound, Reply, Transport, TransportError,
    TransportErrorKind,
};
use mcp_transport_http::{HttpConnector, HttpOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

thread_local! {
    /// One for every test, as each runs in a thread of its own: reading the system's certificates is slow.
    static CONNECTOR: HttpConnector = HttpConnector::new(HttpOptions::default()).unwrap();
}

/// What the server does after it has read a request.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Writes the bytes.
    Write(Vec<u8>),
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
    /// The client closed the connection in a [`Step::AwaitClose`] or [`Step::Flood`].
    Closed,
}

/// A request as it was received. Header names in lower case, repeated ones joined by `|`.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
    /// Which connection it came on, counted from 0.
    pub(crate) connection: usize,
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
    /// Requests for event streams, which come when they like.
    streams: mpsc::Receiver<Recorded>,
    task: JoinHandle<()>,
}

impl Peer {
    /// Answers every request with what `script` returns for it.
    pub(crate) async fn start(script: impl Fn(&Recorded) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (report, seen) = mpsc::channel(1024);
        let (stream_report, streams) = mpsc::channel(1024);
        let script = Arc::new(script);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let reports = (report.clone(), stream_report.clone());
                connections.spawn(serve(stream, number, script.clone(), reports));
            }
        });
        Self { address, seen, streams, task }
    }

    /// Answers every request alike.
    pub(crate) async fn answering(steps: impl Into<Vec<Step>>) -> Self {
        let steps = steps.into();
        Self::start(move |_| steps.clone()).await
    }

    pub(crate) async fn seen(&mut self) -> Seen {
        let seen = tokio::time::timeout(std::time::Duration::from_secs(10), self.seen.recv()).await;
        seen.expect("the server sees something within 10 s").unwrap()
    }

    pub(crate) async fn request(&mut self) -> Recorded {
        match self.seen().await {
            Seen::Request(request) => request,
            Seen::Closed => panic!("the client closed a connection instead of sending a request"),
        }
    }

    /// The next `GET` for an event stream, which is not among what is [`seen`](Self::seen).
    pub(crate) async fn stream(&mut self) -> Recorded {
        let seen = tokio::time::timeout(std::time::Duration::from_secs(10), self.streams.recv()).await;
        seen.expect("a stream is asked for within 10 s").unwrap()
    }

    /// The same, if there was one up to now.
    pub(crate) fn stream_up_to_now(&mut self) -> Option<Recorded> {
        self.streams.try_recv().ok()
    }

    /// Whatever was seen up to now and not asked for.
    pub(crate) fn rest(&mut self) -> Vec<Seen> {
        std::iter::from_fn(|| self.seen.try_recv().ok()).collect()
    }

    pub(crate) fn endpoint(&self) -> HttpEndpoint {
        HttpEndpoint::new(format!("http://{}/mcp?key=hunter2", self.address).parse().unwrap())
    }

    pub(crate) async fn connect(&self) -> Box<dyn Transport> {
        let connector = CONNECTOR.with(HttpConnector::clone);
        connector.connect(&Endpoint::Http(self.endpoint())).await.unwrap()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    connection: usize,
    script: Arc<impl Fn(&Recorded) -> Vec<Step>>,
    (report, stream_report): (mpsc::Sender<Seen>, mpsc::Sender<Recorded>),
) {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer, connection).await {
        let steps = script(&request);
        if request.header("accept") == Some("text/event-stream") {
            stream_report.send(request).await.unwrap();
        } else {
            report.send(Seen::Request(request)).await.unwrap();
        }
        for step in steps {
            match step {
                Step::Write(bytes) => {
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                Step::Flood(bytes) => {
                    let block = bytes.repeat(64 * 1024 / bytes.len());
                    while stream.write_all(&block).await.is_ok() {}
                    report.send(Seen::Closed).await.unwrap();
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

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>, connection: usize) -> Option<Recorded> {
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
    let mut headers = BTreeMap::<String, String>::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        headers
            .entry(name.to_ascii_lowercase())
            .and_modify(|before| *before = format!("{before}|{value}"))
            .or_insert(value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    while buffer.len() < length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8(buffer.drain(..length).collect()).unwrap();
    Some(Recorded { method, target, headers, body, connection })
}

/// A whole answer with a `Content-Length`. `head` holds further header lines, each ended by CRLF.
pub(crate) fn answer(status: u16, head: &str, body: &str) -> Vec<Step> {
    let length = body.len();
    let text = format!("HTTP/1.1 {status} Status\r\nContent-Length: {length}\r\n{head}\r\n{body}");
    vec![Step::Write(text.into())]
}

/// 200 with a JSON body.
pub(crate) fn json(body: &str) -> Vec<Step> {
    answer(200, "Content-Type: application/json\r\n", body)
}

/// 200 and the head of an event stream that ends with the connection.
pub(crate) fn events_head() -> Step {
    Step::Write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n".to_vec())
}

/// 200 with an event stream that ends with the connection.
pub(crate) fn events(body: &[u8]) -> Vec<Step> {
    vec![events_head(), Step::Write(body.to_vec()), Step::Close]
}

/// The successful answer to [`request`].
pub(crate) const RESULT: &str = r#"{"jsonrpc":"2.0","id":7,"result":{"ok":true}}"#;

/// `tools/list` with id 7 in the newest handshake revision.
pub(crate) fn request() -> Outbound {
    outbound(Method::ToolsList, Some(ProtocolVersion::LATEST_HANDSHAKE))
}

/// `initialize` with id 7.
pub(crate) fn initialize() -> Outbound {
    outbound(Method::Initialize, None)
}

pub(crate) fn outbound(method: Method, version: Option<ProtocolVersion>) -> Outbound {
    let message = Message::Request(Request { id: 7.into(), method, params: None });
    Outbound { version, ..Outbound::new(message) }
}

pub(crate) async fn connect(endpoint: HttpEndpoint, options: HttpOptions) -> Box<dyn Transport> {
    HttpConnector::new(options).unwrap().connect(&Endpoint::Http(endpoint)).await.unwrap()
}

/// Sends and collects the answers: each message as JSON text, each error as `!kind delivery text`.
pub(crate) async fn exchange(transport: &dyn Transport, out: Outbound) -> Vec<String> {
    match transport.send(out).await {
        Ok(Reply::Own(answers)) => answers.map(show).collect().await,
        Ok(other) => vec![format!("{other:?}")],
        Err(error) => vec![show_error(&error)],
    }
}

pub(crate) fn show(item: Result<Incoming, TransportError>) -> String {
    item.map_or_else(
        |error| show_error(&error),
        |incoming| String::from_utf8(incoming.message.encode().into()).unwrap(),
    )
}

pub(crate) fn show_error(error: &TransportError) -> String {
    let kind = match &error.kind {
        TransportErrorKind::Endpoint(_) => "endpoint",
        TransportErrorKind::Connect(_) => "connect",
        TransportErrorKind::Closed(_) => "closed",
        TransportErrorKind::Status { .. } => "status",
        TransportErrorKind::Redirect { .. } => "redirect",
        TransportErrorKind::Gap => "gap",
        TransportErrorKind::SessionExpired => "session",
        TransportErrorKind::Payload(_) => "payload",
        other => panic!("not expected of this transport: {other:?}"),
    };
    let text = error.to_string();
    assert!(!format!("{error:?}").contains("hunter2"), "a secret shows in {error:?}");
    format!("!{kind} {} {text}", error.delivery.as_str())
}

/// Whether the items are those expected; an expected error `!…` needs to be the start only.
#[track_caller]
pub(crate) fn assert_items(found: &[String], expected: &[&str], row: &str) {
    let fits = |found: &String, expected: &&str| {
        found == expected || (expected.starts_with('!') && found.starts_with(*expected))
    };
    let all = found.len() == expected.len() && found.iter().zip(expected).all(|(f, e)| fits(f, e));
    assert!(all, "{row}: found {found:#?}, expected {expected:#?}");
}

pub(crate) fn failure_of(result: Result<Reply, TransportError>) -> (TransportErrorKind, Delivery) {
    let error = result.expect_err("the send fails");
    (error.kind, error.delivery)
}
