//! Real sockets against short limits. Every wait is for an event, with an upper bound.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use mcp_serve_http::{HostPolicy, ServeLimits, ServeReport, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

const SHORT: Duration = Duration::from_millis(200);
const BOUND: Duration = Duration::from_secs(10);

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<ServeReport>,
}

impl Server {
    async fn start(router: Router, limits: ServeLimits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            let _ = stopped.await;
        };
        let ended = tokio::spawn(serve(listener, router, limits, shutdown));
        Self { address, stop, ended }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn stop(self) -> ServeReport {
        self.stop.send(()).unwrap();
        timeout(BOUND, self.ended).await.unwrap().unwrap()
    }
}

fn limits() -> ServeLimits {
    // Long where a test is not about it, so that only the limit under test can end the connection.
    let long = Duration::from_secs(60);
    ServeLimits { head_timeout: long, keep_alive: long, grace: long, ..ServeLimits::default() }
}

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

/// Everything until the server closes the connection, in whatever way.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    match timeout(BOUND, stream.read_to_end(&mut bytes)).await.expect("the server closes in time") {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error}"),
    }
    String::from_utf8(bytes).unwrap()
}

/// Reads until `text` came.
async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut bytes = Vec::new();
    while !String::from_utf8_lossy(&bytes).contains(text) {
        let read = timeout(BOUND, stream.read_buf(&mut bytes)).await.unwrap().unwrap();
        assert_ne!(read, 0, "closed before {text:?}: {}", String::from_utf8_lossy(&bytes));
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let server = Server::start(hello(), ServeLimits { head_timeout: SHORT, ..limits() }).await;
    let mut client = server.connect().await;
    let since = Instant::now();
    assert_eq!(read_to_end(&mut client).await, "");
    assert!(since.elapsed() >= SHORT / 2, "closed by the deadline, not at once");
    assert_eq!(server.stop().await, ServeReport { accepted: 1, finished: 0, cut: 0 });
}

#[tokio::test]
async fn a_trickled_head_is_closed() {
    let server = Server::start(hello(), ServeLimits { head_timeout: SHORT, ..limits() }).await;
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let (mut reader, mut writer) = client.into_split();
    let trickle = async {
        let mut pace = tokio::time::interval(SHORT / 20);
        loop {
            pace.tick().await;
            if writer.write_all(b"a: b\r\n").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let closed = async {
        let mut bytes = Vec::new();
        let _ = timeout(BOUND, reader.read_to_end(&mut bytes)).await.expect("closed in time");
    };
    tokio::select! {
        () = closed => {}
        () = trickle => unreachable!("it trickles for ever"),
    }
}

#[tokio::test]
async fn an_idle_kept_alive_connection_is_closed() {
    let server = Server::start(hello(), ServeLimits { keep_alive: SHORT, ..limits() }).await;
    let mut client = server.connect().await;
    for _ in 0..2 {
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        read_until(&mut client, "hello").await;
    }
    assert_eq!(read_to_end(&mut client).await, "");
}

#[tokio::test]
async fn a_second_head_that_never_ends_is_closed() {
    let server = Server::start(hello(), ServeLimits { keep_alive: SHORT, ..limits() }).await;
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    read_until(&mut client, "hello").await;
    client.write_all(b"GET / HT").await.unwrap();
    assert!(!read_to_end(&mut client).await.contains("200 OK"));
}

#[tokio::test]
async fn an_answer_that_takes_long_is_not_taken_for_an_idle_client() {
    let pieces = async || {
        let pace = tokio::time::interval(SHORT);
        let pieces = futures::stream::unfold((pace, 0), async |(mut pace, piece)| {
            pace.tick().await;
            (piece < 4)
                .then(|| (Ok::<_, std::convert::Infallible>(format!("piece {piece}\n")), (pace, piece + 1)))
        });
        Body::from_stream(pieces)
    };
    let router = Router::new().route("/", get(pieces));
    let server = Server::start(router, ServeLimits { keep_alive: SHORT / 2, ..limits() }).await;
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    read_until(&mut client, "piece 3").await;
    let since = Instant::now();
    read_to_end(&mut client).await;
    assert!(since.elapsed() < BOUND / 2, "then it is idle");
    server.stop().await;
}

#[tokio::test]
async fn a_slow_reader_of_a_large_answer_gets_all_of_it() {
    const SIZE: usize = 24 << 20;
    let router = Router::new().route("/", get(async || vec![b'x'; SIZE]));
    let server = Server::start(router, ServeLimits { keep_alive: SHORT / 2, ..limits() }).await;
    for connection in ["keep-alive", "close"] {
        let mut client = server.connect().await;
        let head = format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: {connection}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        let mut pace = tokio::time::interval(SHORT);
        let mut bytes = Vec::new();
        while bytes.len() < SIZE {
            pace.tick().await;
            let mut part = (&mut client).take(8 << 20);
            let read = timeout(BOUND, part.read_to_end(&mut bytes)).await.unwrap().unwrap();
            assert_ne!(read, 0, "{connection}: closed after {} bytes", bytes.len());
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_slow_handler_is_not_taken_for_an_idle_client() {
    let (router, _entered, released) = gated();
    let limits = ServeLimits { head_timeout: SHORT, keep_alive: SHORT, ..limits() };
    let server = Server::start(router, limits).await;
    let mut client = server.connect().await;
    client.write_all(b"GET /gated HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(timeout(SHORT * 3, client.read_u8()).await.is_err(), "open while the handler works");
    released.notify_one();
    assert!(read_to_end(&mut client).await.contains("one"));
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let echo = async |body: Result<String, _>| match body {
        Ok(body) => body,
        Err(_) => "no body".to_owned(),
    };
    for (body_idle, body_total) in [(SHORT, Duration::from_secs(60)), (Duration::from_secs(60), SHORT)] {
        let router = Router::new().route("/", axum::routing::post(echo));
        let server = Server::start(router, ServeLimits { body_idle, body_total, ..limits() }).await;
        let mut client = server.connect().await;
        client.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nab").await.unwrap();
        assert!(read_to_end(&mut client).await.contains("no body"));

        let mut client = server.connect().await;
        client.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nab").await.unwrap();
        client.write_all(b"cd").await.unwrap();
        assert!(read_until(&mut client, "abcd").await.contains("200 OK"));
    }
}

#[tokio::test]
async fn a_head_beyond_its_size_is_refused() {
    let server = Server::start(hello(), ServeLimits { max_headers: 5, ..limits() }).await;
    for (fields, status) in [
        ("a: b\r\n".repeat(4), "200 OK"),
        ("a: b\r\n".repeat(5), "431 "),
        (format!("a: {}\r\n", "b".repeat(40_000)), "431 "),
    ] {
        let mut client = server.connect().await;
        let head = format!("GET / HTTP/1.1\r\nhost: x\r\n{fields}\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        let answer = read_until(&mut client, "\r\n").await;
        assert!(answer.contains(status), "{} bytes of fields: {answer}", fields.len());
    }
}

#[tokio::test]
async fn connections_beyond_the_cap_wait_for_a_place() {
    let server = Server::start(hello(), ServeLimits { max_connections: 1, ..limits() }).await;
    let mut first = server.connect().await;
    first.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    read_until(&mut first, "hello").await;
    let mut second = server.connect().await;
    second.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(timeout(SHORT, second.read_u8()).await.is_err(), "no place yet");
    drop(first);
    assert!(read_to_end(&mut second).await.contains("ello"));
    assert_eq!(server.stop().await.accepted, 2);
}

/// A handler that says when it was entered and waits to be let go.
fn gated() -> (Router, Arc<Notify>, Arc<Notify>) {
    let (entered, released) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (in_handler, gate) = (Arc::clone(&entered), Arc::clone(&released));
    let handler = async move || {
        in_handler.notify_one();
        gate.notified().await;
        "done"
    };
    (hello().route("/gated", get(handler)), entered, released)
}

#[tokio::test]
async fn requests_in_flight_finish_and_idle_connections_close_at_once() {
    let (router, entered, released) = gated();
    let server = Server::start(router, limits()).await;
    let address = server.address;
    let mut silent = server.connect().await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    read_until(&mut idle, "hello").await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /gated HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    timeout(BOUND, entered.notified()).await.unwrap();

    server.stop.send(()).unwrap();
    assert_eq!(read_to_end(&mut idle).await, "");
    assert_eq!(read_to_end(&mut silent).await, "");
    let refused = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

    released.notify_one();
    let answer = read_to_end(&mut busy).await;
    assert!(answer.contains("connection: close") && answer.ends_with("done"), "{answer}");
    let report = timeout(BOUND, server.ended).await.unwrap().unwrap();
    assert_eq!(report, ServeReport { accepted: 3, finished: 3, cut: 0 });
}

#[tokio::test]
async fn what_outlasts_the_grace_is_cut() {
    let (router, entered, _released) = gated();
    let server = Server::start(router, ServeLimits { grace: SHORT, ..limits() }).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /gated HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    timeout(BOUND, entered.notified()).await.unwrap();
    assert_eq!(server.stop().await, ServeReport { accepted: 1, finished: 0, cut: 1 });
    assert_eq!(read_to_end(&mut busy).await, "");
}

#[tokio::test]
async fn a_panic_ends_its_connection_only() {
    async fn broken() -> &'static str {
        panic!("on purpose")
    }
    let server = Server::start(hello().route("/broken", get(broken)), limits()).await;
    let mut first = server.connect().await;
    first.write_all(b"GET /broken HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(read_to_end(&mut first).await, "");
    let mut second = server.connect().await;
    second.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    read_until(&mut second, "hello").await;
}

#[tokio::test]
async fn the_guard_comes_first() {
    let router = Router::new().route("/", get("hello")).layer(HostPolicy::loopback().layer());
    let server = Server::start(router, limits()).await;
    for (fields, status, body) in [
        ("host: localhost", "200", "hello"),
        ("host: evil.example", "421", r#""code":-32600"#),
        ("host: localhost\r\norigin: http://evil.example", "403", r#""detail":"requests from"#),
    ] {
        let mut client = server.connect().await;
        let head = format!("GET / HTTP/1.1\r\n{fields}\r\nconnection: close\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        let answer = read_to_end(&mut client).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{fields}: {answer}");
        assert!(answer.contains(body), "{fields}: {answer}");
    }
}
