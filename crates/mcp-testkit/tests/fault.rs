//! The upstreams and the proxy themselves, byte by byte, without any client of ours.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use mcp_protocol::Era;
use mcp_testkit::fault::{AtLimit, Kind, Proxy, RESULT, Step, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

fn call(nonce: &str) -> String {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"work","arguments":{{"nonce":"{nonce}"}}}}}}"#
    );
    format!("POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Sends a request on a connection of its own.
async fn send(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Everything up to the end of the connection, and how it ended, if not in order.
async fn rest(stream: &mut TcpStream) -> (String, Option<ErrorKind>) {
    let mut bytes = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the connection ends");
    (String::from_utf8(bytes).unwrap(), end.err().map(|error| error.kind()))
}

/// The same of a connection that has no more requests.
async fn answer(address: SocketAddr, text: &str) -> String {
    let mut stream = send(address, text).await;
    stream.shutdown().await.unwrap();
    rest(&mut stream).await.0
}

fn result(nonce: &str) -> String {
    RESULT.replace("$ID", "7").replace("$NONCE", nonce)
}

#[tokio::test]
async fn it_works_until_it_is_told_otherwise() {
    let upstream = Upstream::start(Kind::Http(Era::Stateless));
    upstream.plan_once("b", [Step::Execute, Step::Close]);
    for (nonce, expected) in [("a", result("a")), ("b", String::new()), ("c", result("c"))] {
        let answer = answer(upstream.address(), &call(nonce)).await;
        assert!(answer.ends_with(&expected) && answer.is_empty() == expected.is_empty(), "{nonce}: {answer}");
        assert_eq!(upstream.ledger().history().executed_by(nonce), ["upstream"]);
        assert_eq!(upstream.ledger().received(nonce).len(), 1);
    }
}

#[tokio::test]
async fn half_a_body_announces_the_whole_and_half_an_event_is_half_of_its_bytes() {
    let upstream = Upstream::start(Kind::Http(Era::Stateless));
    let whole = result("a");
    upstream.plan_once("a", [Step::HalfJson(RESULT.into()), Step::Close]);
    let (answer, _) = rest(&mut send(upstream.address(), &call("a")).await).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("Content-Length: {}", whole.len())), "{head}");
    assert_eq!(body, &whole[..whole.len() / 2]);

    upstream.plan_once("a", [Step::HalfEvent(RESULT.into()), Step::Close]);
    let (answer, _) = rest(&mut send(upstream.address(), &call("a")).await).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let event = format!("event: message\ndata: {whole}\n\n");
    let half = &event[..event.len() / 2];
    assert!(head.contains("text/event-stream"), "{head}");
    assert_eq!(body, format!("{:x}\r\n{half}\r\n", half.len()));
}

#[tokio::test]
async fn a_reset_is_one_and_a_death_closes_the_port_until_it_is_revived() {
    let upstream = Upstream::start(Kind::Http(Era::Stateless));
    upstream.plan_once("a", [Step::Reset]);
    let (_, end) = rest(&mut send(upstream.address(), &call("a")).await).await;
    assert_eq!(end, Some(ErrorKind::ConnectionReset));

    upstream.plan_once("b", [Step::Exit(0)]);
    let mut other = TcpStream::connect(upstream.address()).await.unwrap();
    upstream.ledger().until("both connections", |ledger| (ledger.connections() == 2).then_some(())).await;
    let mut stream = send(upstream.address(), &call("b")).await;
    for stream in [&mut stream, &mut other] {
        assert_eq!(rest(stream).await.0, "");
    }
    upstream.is_down().await;
    let refused = TcpStream::connect(upstream.address()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

    upstream.revive().await;
    assert!(answer(upstream.address(), &call("c")).await.ends_with(&result("c")));
}

#[tokio::test]
async fn sessions_are_given_out_asked_for_and_forgotten() {
    let upstream = Upstream::start(Kind::Http(Era::Handshake));
    let status = async |session: Option<&str>| {
        let session = session.map(|id| format!("Mcp-Session-Id: {id}\r\n")).unwrap_or_default();
        let request = call("a").replace("Host: h\r\n", &session);
        answer(upstream.address(), &request).await["HTTP/1.1 ".len()..][..3].to_owned()
    };
    let session = upstream.open_session();
    assert_eq!(status(Some(&session)).await, "200");
    assert_eq!(status(Some("another")).await, "404");
    assert_eq!(status(None).await, "400");
    upstream.forget_sessions();
    assert_eq!(status(Some(&session)).await, "404");
}

#[tokio::test]
async fn answers_of_two_endpoints_come_on_the_stream() {
    let upstream = Upstream::start(Kind::Sse);
    let mut stream = send(upstream.address(), "GET /mcp HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut seen = String::new();
    let mut until = async |what: &str| {
        while !seen.contains(what) {
            let mut chunk = [0; 1024];
            let read = timeout(PATIENCE, stream.read(&mut chunk)).await.expect("more comes").unwrap();
            assert_ne!(read, 0, "the stream ended before {what}: {seen}");
            seen.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
        }
        seen.clone()
    };
    let opened = until("\n\n\r\n").await;
    let at = opened.find("/messages").unwrap();
    let target = opened[at..].lines().next().unwrap().to_owned();
    let accepted = answer(upstream.address(), &call("a").replace("/mcp", &target)).await;
    assert!(accepted.starts_with("HTTP/1.1 202 "), "{accepted}");
    until(&result("a")).await;
}

#[tokio::test]
async fn the_proxy_slices_limits_stalls_and_breaks() {
    let upstream = Upstream::start(Kind::Http(Era::Stateless));
    let proxy = Proxy::start(upstream.address());
    proxy.set(|rules| rules.slice = 1);
    let mut stream = send(proxy.address(), &call("a")).await;
    let mut head = [0; 17];
    timeout(PATIENCE, stream.read_exact(&mut head)).await.unwrap().unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK\r\n", "pieces make a whole");

    proxy.set(|rules| (rules.slice, rules.limit) = (0, Some((20, AtLimit::Close))));
    let (cut, end) = rest(&mut send(proxy.address(), &call("b")).await).await;
    assert_eq!((cut.len(), end), (20, None));
    proxy.set(|rules| rules.limit = Some((0, AtLimit::Reset)));
    let (cut, end) = rest(&mut send(proxy.address(), &call("c")).await).await;
    assert_eq!((cut.len(), end), (0, Some(ErrorKind::ConnectionReset)));

    proxy.set(|rules| (rules.limit, rules.stalled) = (None, true));
    let mut stream = send(proxy.address(), &call("d")).await;
    proxy.set(|rules| rules.stalled = false);
    upstream.ledger().came("d", 1).await;
    proxy.reset_all();
    assert_eq!(rest(&mut stream).await.1, Some(ErrorKind::ConnectionReset));
    timeout(PATIENCE, proxy.has_open(0)).await.unwrap();
}
