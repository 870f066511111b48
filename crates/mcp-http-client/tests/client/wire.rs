//! What goes over the wire and what comes of it is the same with and without a proxy between.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use mcp_http_client::{ClientPool, HttpOptions, to_uri};
use mcp_transport::{Delivery, HttpEndpoint, TransportErrorKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::peer::send;

/// Endpoints at an address: reached directly, and through a proxy at the same address.
fn both_ways(address: SocketAddr) -> [HttpEndpoint; 2] {
    let direct = HttpEndpoint::new(format!("http://{address}/mcp").parse().unwrap());
    let mut proxied = direct.clone();
    proxied.proxy = Some(format!("http://{address}").parse().unwrap());
    [direct, proxied]
}

/// Reads a head, and a body if one is announced; `None` if the connection is closed instead.
pub(crate) async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut seen = Vec::new();
    loop {
        if stream.read_buf(&mut seen).await.unwrap() == 0 {
            assert!(seen.is_empty(), "the request is not complete");
            return None;
        }
        let text = String::from_utf8_lossy(&seen);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .split_once("content-length: ")
            .map_or(0, |(_, rest)| rest.lines().next().unwrap().parse().unwrap());
        if body.len() >= length {
            return Some(text.into_owned());
        }
    }
}

/// Answers every connection's first request with these bytes and closes it.
async fn start(answer: &'static [u8]) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await.unwrap();
            stream.write_all(answer).await.unwrap();
        }
    });
    (address, task)
}

#[tokio::test]
async fn requests_look_the_same_with_and_without_a_proxy() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let agent = concat!("mcp-gateway/", env!("CARGO_PKG_VERSION"));
    let bare = |method: &str, target: &str, rest: &str| {
        format!(
            "{method} {target} HTTP/1.1\r\naccept: */*\r\nuser-agent: {agent}\r\nhost: {address}\r\n{rest}\r\n"
        )
    };
    let at = |target: &str| {
        Request::builder().uri(to_uri(&format!("http://{address}{target}").parse().unwrap()).unwrap())
    };
    let none = Bytes::new;
    let rows = [
        (at("/mcp").body(none()), bare("GET", "/mcp", "")),
        (at("/mcp").method("DELETE").body(none()), bare("DELETE", "/mcp", "")),
        (at("").body(none()), bare("GET", "/", "")),
        (at("/a b/{c}?key=1%26&d='|#e").body(none()), bare("GET", "/a%20b/%7Bc%7D?key=1%26&d=%27|", "")),
        (
            at("/mcp").method("POST").header("content-length", "0").body(none()),
            format!(
                "POST /mcp HTTP/1.1\r\ncontent-length: 0\r\naccept: */*\r\nuser-agent: {agent}\r\nhost: {address}\r\n\r\n"
            ),
        ),
        (
            at("/mcp")
                .method("POST")
                .header("x-key", "1")
                .header("x-key", "2")
                .header("authorization", "Bearer own")
                .header("user-agent", "other/1")
                .header("accept", "application/json, text/event-stream")
                .body("hello".into()),
            format!(
                "POST /mcp HTTP/1.1\r\nx-key: 1\r\nx-key: 2\r\nauthorization: Bearer own\r\nuser-agent: other/1\r\n\
                 accept: application/json, text/event-stream\r\nhost: {address}\r\ncontent-length: 5\r\n\r\nhello"
            ),
        ),
    ];
    let pool = ClientPool::new(HttpOptions::default()).unwrap();
    for (request, expected) in rows {
        let request = request.unwrap();
        for endpoint in both_ways(address) {
            let client = pool.get(&endpoint).unwrap();
            let sending = send(&client, request.clone());
            let serving = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let seen = read_request(&mut stream).await.unwrap();
                stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await.unwrap();
                seen
            };
            let (answer, seen) = tokio::join!(sending, serving);
            assert_eq!(answer, Ok((204, String::new())));
            // A proxy is told the whole URL.
            let target = if endpoint.proxy.is_some() { format!(" http://{address}") } else { " ".to_owned() };
            assert_eq!(seen.replacen(&target, " ", 1), expected);
        }
    }
    for endpoint in both_ways(address) {
        let stats = pool.get(&endpoint).unwrap().stats();
        assert_eq!((stats.opened, stats.answers), (6, 6), "each was asked to close its connection");
    }
}

#[tokio::test]
async fn failures_read_the_same_with_and_without_a_proxy() {
    const CLOSED: &str = "the connection to TARGET broke before an answer came: ";
    const WITHIN: &str = "the connection to TARGET broke within the answer: ";
    let many: &'static str = {
        let fields: String = (0..101).map(|number| format!("x-{number}: 1\r\n")).collect();
        format!("HTTP/1.1 200 OK\r\n{fields}\r\n").leak()
    };
    let pool = ClientPool::new(HttpOptions::default()).unwrap();
    for (answer, expected) in [
        ("", format!("{CLOSED}connection closed before message completed")),
        ("HTTP/1.1 200 OK\r\nx", format!("{CLOSED}connection closed before message completed")),
        ("SSH-2.0-OpenSSH_9.6\r\n", format!("{CLOSED}invalid HTTP version parsed")),
        (many, format!("{CLOSED}message head is too large")),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello",
            format!("{WITHIN}end of file before message length reached"),
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello",
            format!("{WITHIN}unexpected EOF during chunk size line"),
        ),
    ] {
        let (address, task) = start(answer.as_bytes()).await;
        for endpoint in both_ways(address) {
            let client = pool.get(&endpoint).unwrap();
            let request = Request::post(client.uri()).body("hello".into()).unwrap();
            let error = send(&client, request).await.unwrap_err();
            assert!(matches!(error.kind, TransportErrorKind::Closed(_)), "{error:?}");
            assert_eq!(error.delivery, Delivery::Unknown, "{error}");
            assert_eq!(shown(&error.to_string(), address), expected);
        }
        task.abort();
    }
}

/// An error text without the target.
fn shown(text: &str, address: SocketAddr) -> String {
    let origin = format!("http://{address}");
    text.replacen(&format!("{origin} through {origin}"), "TARGET", 1).replacen(&origin, "TARGET", 1)
}

#[tokio::test]
async fn without_a_connection_nothing_was_sent() {
    let pool = ClientPool::new(HttpOptions::default()).unwrap();
    // Nobody listens any more.
    let gone = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    for endpoint in both_ways(gone) {
        let client = pool.get(&endpoint).unwrap();
        let error = send(&client, Request::get(client.uri()).body(Bytes::new()).unwrap()).await.unwrap_err();
        assert!(matches!(error.kind, TransportErrorKind::Connect(_)), "{error:?}");
        assert_eq!(error.delivery, Delivery::NotSent);
        let text = shown(&error.to_string(), gone);
        assert!(text.starts_with("cannot connect to TARGET: Connection refused"), "{text}");
    }
    let options = HttpOptions { connect_timeout: Duration::from_millis(100), ..HttpOptions::default() };
    let pool = ClientPool::new(options).unwrap();
    // Somebody listens and never says a word of TLS, or of what is to become of a tunnel.
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    for mut endpoint in both_ways(silent.local_addr().unwrap()) {
        endpoint.url.set_scheme("https").unwrap();
        let client = pool.get(&endpoint).unwrap();
        let error = send(&client, Request::get(client.uri()).body(Bytes::new()).unwrap()).await.unwrap_err();
        assert!(matches!(error.kind, TransportErrorKind::Connect(_)), "{error:?}");
        assert_eq!(error.delivery, Delivery::NotSent);
        let text = error.to_string();
        assert!(text.ends_with(": operation timed out"), "{text}");
    }
}

#[tokio::test]
async fn requests_that_cannot_be_sent_are_refused() {
    let address = "127.0.0.1:1".parse().unwrap();
    let pool = ClientPool::new(HttpOptions::default()).unwrap();
    for endpoint in both_ways(address) {
        let client = pool.get(&endpoint).unwrap();
        for uri in ["/mcp", "ftp://127.0.0.1/mcp", "127.0.0.1:1", "*"] {
            let request = Request::get(uri).body(Bytes::new()).unwrap();
            let error = send(&client, request).await.unwrap_err();
            assert_eq!(error.delivery, Delivery::NotSent, "{uri}");
            let expected = "!the request to TARGET has no http or https URL";
            let endpoint = matches!(error.kind, TransportErrorKind::Endpoint(_));
            assert_eq!(
                format!("{}{}", if endpoint { "!" } else { "" }, shown(&error.to_string(), address)),
                expected
            );
        }
    }
}
