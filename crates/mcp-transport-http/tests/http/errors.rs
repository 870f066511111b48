//! Error statuses and connections that fail.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use mcp_protocol::{Message, Method, Notification};
use mcp_transport::{Delivery, HttpEndpoint, Outbound, TransportErrorKind};
use mcp_transport_http::HttpOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::peer::{
    Peer, RESULT, Step, answer, assert_items, connect, events_head, exchange, failure_of, json, outbound,
    request,
};

fn notification() -> Outbound {
    Outbound::new(Message::Notification(Notification {
        method: Method::from("notifications/x"),
        params: None,
    }))
}

#[tokio::test]
async fn a_json_rpc_error_is_read_whatever_the_status() {
    let failure =
        r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32022,"message":"no","data":{"supported":[]}}}"#;
    let json_head = "Content-Type: application/json\r\n";
    for (status, head, body) in [
        (400, json_head, failure.to_owned()),
        (404, json_head, failure.to_owned()),
        (400, json_head, failure.replace(r#""id":7,"#, "")),
        (400, json_head, failure.replace(r#""id":7"#, r#""id":null"#)),
        (400, "Content-Type: text/plain\r\n", failure.to_owned()),
        (500, "", failure.to_owned()),
    ] {
        let peer = Peer::answering(answer(status, head, &body)).await;
        assert_items(
            &exchange(&*peer.connect().await, request()).await,
            &[failure],
            &format!("{status} {body}"),
        );
    }
}

#[tokio::test]
async fn j8_other_error_statuses_say_how_far_the_message_got() {
    let json_head = "Content-Type: application/json\r\n";
    let error = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"hunter2"}}"#;
    let other_id = r#"{"jsonrpc":"2.0","id":8,"error":{"code":-32000,"message":"no"}}"#;
    let large = format!("{}{error}", " ".repeat(64 << 10));
    for (status, head, body, retry_after, delivery) in [
        (400, "", "", None, Delivery::Rejected),
        (400, json_head, r#"{"error":"no"}"#, None, Delivery::Rejected),
        (400, json_head, RESULT, None, Delivery::Rejected),
        (400, json_head, other_id, None, Delivery::Rejected),
        (400, json_head, &large, None, Delivery::Rejected),
        (401, json_head, error, None, Delivery::Rejected),
        (403, json_head, error, None, Delivery::Rejected),
        (404, "Content-Type: text/html\r\n", "<p>hunter2</p>", None, Delivery::Rejected),
        (405, "Allow: GET\r\n", "", None, Delivery::Rejected),
        (429, "Retry-After: 3\r\n", "", Some(3), Delivery::Rejected),
        (500, "Content-Type: text/html\r\n", "<p>hunter2</p>", None, Delivery::Unknown),
        (502, "", "", None, Delivery::Unknown),
        (503, "Retry-After: 7\r\n", "", Some(7), Delivery::Unknown),
        (304, "", "", None, Delivery::Rejected),
    ] {
        let peer = Peer::answering(answer(status, head, body)).await;
        let retry_after = retry_after.map(Duration::from_secs);
        let expected = (TransportErrorKind::Status { status, retry_after }, delivery);
        assert_eq!(failure_of(peer.connect().await.send(request()).await), expected, "{status} {body}");
    }
}

#[tokio::test]
async fn a_refused_notification_is_a_status() {
    let error = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no"}}"#;
    let peer = Peer::answering(answer(400, "Content-Type: application/json\r\n", error)).await;
    let expected = (TransportErrorKind::Status { status: 400, retry_after: None }, Delivery::Rejected);
    assert_eq!(failure_of(peer.connect().await.send(notification()).await), expected);
}

/// The status is an answer, even if its body never ends or never comes.
#[tokio::test]
async fn an_error_body_is_not_waited_for_long() {
    let head = b"HTTP/1.1 503 Later\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n".to_vec();
    let peer = Peer::answering([Step::Write(head), Step::AwaitClose]).await;
    let expected = (TransportErrorKind::Status { status: 503, retry_after: None }, Delivery::Unknown);
    assert_eq!(failure_of(peer.connect().await.send(request()).await), expected);
}

#[tokio::test]
async fn j14_redirects_are_not_followed_and_credentials_stay_here() {
    let mut target = Peer::answering(json(RESULT)).await;
    let elsewhere = format!("http://{}/mcp?hunter2", target.address);
    let long = format!("/{}", "x".repeat(200));
    for status in [301, 302, 303, 307, 308] {
        for (location, expected) in [
            (&*elsewhere, "another origin"),
            ("//hunter2.example/mcp", "another origin"),
            ("https://localhost/hunter2", "another origin"),
            ("file:///hunter2", "another origin"),
            ("/mcp/?hunter2", "/mcp/"),
            ("v2#hunter2", "/v2"),
            (&long, &long[..80]),
        ] {
            let mut peer = Peer::answering(answer(status, &format!("Location: {location}\r\n"), "")).await;
            let mut endpoint = peer.endpoint();
            endpoint.headers = vec![("X-Api-Key".into(), "hunter2".into())];
            let transport = connect(endpoint, HttpOptions::default()).await;
            let kind = TransportErrorKind::Redirect { status, target: expected.into() };
            assert_eq!(failure_of(transport.send(request()).await), (kind, Delivery::Rejected), "{location}");
            assert_eq!(peer.request().await.header("x-api-key"), Some("hunter2"));
            assert!(peer.rest().is_empty() && target.rest().is_empty(), "{status} {location}");
        }
    }
    let looping = Peer::answering(answer(307, "Location: /mcp\r\n", "")).await;
    let expected = "!redirect rejected http status 307, a redirect to /mcp, which is not followed";
    assert_items(&exchange(&*looping.connect().await, request()).await, &[expected], "itself");
}

#[tokio::test]
async fn without_a_connection_nothing_is_sent() {
    // The port was free a moment ago, so nobody listens there.
    let nobody = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    let no_tls = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let plain = no_tls.local_addr().unwrap();
    let greeter = tokio::spawn(async move {
        let (mut stream, _) = no_tls.accept().await.unwrap();
        stream.write_all(b"220 hello\r\n").await.unwrap();
        stream
    });
    // The system accepts the connection, and then nothing comes.
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let stalled = silent.local_addr().unwrap();

    let options = HttpOptions { connect_timeout: Duration::from_millis(300), ..HttpOptions::default() };
    for (scheme, address, text) in
        [("http", nobody, "refused"), ("https", plain, "does not speak TLS"), ("https", stalled, "timed out")]
    {
        let url = format!("{scheme}://{address}/hunter2?key=hunter2");
        let transport = connect(HttpEndpoint::new(url.parse().unwrap()), options.clone()).await;
        let found = exchange(&*transport, request()).await;
        let expected = format!("!connect not_sent cannot connect to {scheme}://{address}: ");
        assert_items(&found, &[&expected], text);
        assert!(found[0].contains(text), "{found:?}");
    }
    greeter.await.unwrap();
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_the_delivery_unknown() {
    let half =
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{RESULT}");
    let half = Step::Write(half.into());
    let chunk = Step::Write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n: hi\n\r\n".to_vec());
    let before = "!closed unknown the connection to http://127.0.0.1:";
    let table: [(&str, Vec<Step>, &str); 7] = [
        ("closed before the head", vec![Step::Close], "broke before an answer came"),
        ("reset before the head", vec![Step::Reset], "broke before an answer came"),
        ("no HTTP", vec![Step::Write(b"hello\r\n\r\n".to_vec()), Step::Close], "broke before an answer came"),
        ("JSON cut short", vec![half.clone(), Step::Close], "broke within the answer"),
        ("JSON reset", vec![half, Step::Reset], "broke within the answer"),
        ("chunks cut short", vec![chunk.clone(), Step::Close], "broke within the answer"),
        ("events reset", vec![chunk, Step::Reset], "broke within the answer"),
    ];
    for (row, steps, text) in table {
        let peer = Peer::answering(steps).await;
        let found = exchange(&*peer.connect().await, request()).await;
        assert_items(&found, &[before], row);
        assert!(found[0].contains(text), "{row}: {found:?}");
    }
}

/// The server may have executed what was written, so only a read is sent again, on other connections.
#[tokio::test]
async fn r36_on_a_kept_connection_that_breaks_only_a_read_is_tried_again() {
    const BROKEN: &str = "!closed unknown the connection to http://127.0.0.1:";
    for (method, breaks, answer, connections) in [
        (Method::ToolsCall, 1, BROKEN, &[0, 0][..]),
        (Method::Initialize, 1, BROKEN, &[0, 0]),
        (Method::Ping, 1, RESULT, &[0, 0, 1]),
        (Method::Ping, 2, RESULT, &[0, 0, 1, 2]),
        (Method::Ping, 3, BROKEN, &[0, 0, 1, 2]),
    ] {
        let left = AtomicUsize::new(breaks);
        let broken = method.as_str().to_owned();
        let mut peer = Peer::start(move |seen| {
            let breaks = seen.body.contains(&broken)
                && left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
            if breaks { vec![Step::Reset] } else { json(RESULT) }
        })
        .await;
        let transport = peer.connect().await;
        assert_items(&exchange(&*transport, request()).await, &[RESULT], "opens the connection");
        let found = exchange(&*transport, outbound(method.clone(), None)).await;
        assert_items(&found, &[answer], method.as_str());
        for connection in connections {
            assert_eq!(peer.request().await.connection, *connection, "{method} {breaks}");
        }
        assert!(peer.rest().is_empty(), "{method} {breaks}");
    }
}

/// A server that goes away while it executes a read: that the read cannot be sent again does not undo it.
#[tokio::test]
async fn r36_a_read_that_may_have_been_executed_is_not_unsent() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap()).parse().unwrap();
    let server = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        drop(listener);
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains("tools/list") {
            assert!(tcp.read_buf(&mut seen).await.unwrap() > 0, "the request is not complete");
        }
    });
    let transport = connect(HttpEndpoint::new(url), HttpOptions::default()).await;
    let found = exchange(&*transport, request()).await;
    server.await.unwrap();
    assert_items(&found, &["!connect unknown cannot connect to http://127.0.0.1:"], "gone");
}

#[tokio::test]
async fn j14_secrets_show_neither_in_debug_nor_in_errors() {
    let mut peer = Peer::answering([events_head(), Step::Close]).await;
    let mut endpoint = peer.endpoint();
    endpoint.headers = vec![("Authorization".into(), "Bearer hunter2".into())];
    let connector = mcp_transport_http::HttpConnector::new(HttpOptions::default()).unwrap();
    assert!(!format!("{connector:?}").contains("hunter2"));
    let transport = connect(endpoint, HttpOptions::default()).await;
    // `exchange` checks the error text for the secret in the header and in the URL.
    assert_items(
        &exchange(&*transport, request()).await,
        &["!closed unknown http://127.0.0.1:"],
        "early end",
    );
    assert_eq!(peer.request().await.header("authorization"), Some("Bearer hunter2"));
    assert!(!format!("{:?}", transport.details()).contains("hunter2"));
}
