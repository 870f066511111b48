//! What makes a stream, and what does not.

use std::sync::Arc;
use std::time::Duration;

use mcp_http_client::HttpOptions;
use mcp_transport::{Connector, Connectors, Endpoint, Header, OpenMethod};
use mcp_transport_sse::SseConnector;
use secrecy::SecretString;
use tokio::sync::Notify;

use crate::peer::*;

#[tokio::test]
async fn the_stream_is_asked_for_and_names_where_to_post() {
    let (mut peer, _say) = Peer::live(|_| accepted()).await;
    let (transport, _inbox) = peer.connect().await;
    let opened = peer.request().await;
    assert_eq!((opened.method.as_str(), opened.target.as_str()), ("GET", "/base/sse?key=hunter2"));
    assert_eq!(opened.header("accept"), Some("text/event-stream"));
    assert_eq!(opened.header("accept-encoding"), Some("identity"));
    assert_eq!(opened.body, "");
    transport.send(request(1)).await.unwrap();
    assert_eq!(peer.request().await.target, "/base/messages?session_id=hunter2");
    let details = transport.details();
    let origin = format!("http://{}", peer.address);
    let expected = [("origin", &*origin), ("messages", "/base/messages"), ("last_event", "none")];
    assert_eq!(details, expected.map(|(key, value)| (key, value.to_owned())), "without what may be secret");
}

#[tokio::test]
async fn whose_stream_it_is_is_said_when_it_is_opened_and_not_kept() {
    let (mut peer, _say) = Peer::live(|_| accepted()).await;
    let mut endpoint = peer.endpoint();
    endpoint.http.headers.push(("authorization".into(), SecretString::from("Bearer ours")));
    let endpoint = Endpoint::Sse(endpoint);
    let connector = SseConnector::new(HttpOptions::default()).unwrap();
    let connectors = Connectors::new().with("sse", Arc::new(connector));
    let headers = [Header::secret("Authorization", "Bearer theirs")];
    let transport = connectors.connect_with(&endpoint, &headers).await.unwrap();
    let opened = peer.request().await;
    assert_eq!(opened.header("authorization"), Some("Bearer theirs"));
    assert_eq!((opened.header("accept"), opened.header("content-type")), (Some("text/event-stream"), None));
    transport.send(request(1)).await.unwrap();
    assert_eq!(
        peer.request().await.header("authorization"),
        Some("Bearer ours"),
        "each message says its own"
    );
}

#[tokio::test]
async fn a_stream_can_be_opened_by_post() {
    let (mut peer, _say) = Peer::live(|_| accepted()).await;
    drop(peer.connect().await);
    assert_eq!(peer.request().await.method, "GET");
    let mut peer = Peer::streaming([]).await;
    let mut endpoint = peer.endpoint();
    endpoint.open_method = OpenMethod::Post;
    endpoint.http.headers.push(("X-Key".into(), SecretString::from("hunter2")));
    let connector = SseConnector::new(HttpOptions::default()).unwrap();
    assert_eq!(refusal(try_connect(&connector, endpoint).await), "!status not_sent http status 202");
    let opened = peer.request().await;
    assert_eq!((opened.method.as_str(), opened.header("content-length")), ("POST", Some("0")));
    assert_eq!(opened.header("x-key"), Some("hunter2"));
}

#[tokio::test]
async fn j6_only_200_with_an_event_stream_will_do() {
    let stream = "Content-Type: text/event-stream\r\n";
    for (steps, refused) in [
        (
            answer(200, "Content-Type: application/json\r\n", "{}"),
            "!payload not_sent expected a stream of text/event-stream, got \"application/json\"",
        ),
        (
            answer(200, "Content-Type: text/event-streams\r\n", ENDPOINT),
            "!payload not_sent expected a stream of text/event-stream, got \"text/event-streams\"",
        ),
        (answer(200, "", ENDPOINT), "!payload not_sent expected a stream of text/event-stream, got none"),
        (
            answer(200, &format!("{stream}Content-Encoding: gzip\r\n"), ENDPOINT),
            "!payload not_sent the event stream is encoded as \"gzip\", which was not asked for",
        ),
        (answer(500, stream, ENDPOINT), "!status not_sent http status 500"),
        (answer(201, stream, ENDPOINT), "!status not_sent http status 201"),
        (answer(404, "", ""), "!status not_sent http status 404"),
        (
            answer(302, "Location: /elsewhere\r\n", ""),
            "!redirect not_sent http status 302, a redirect to /elsewhere, which is not followed",
        ),
        (vec![Step::Close], "!closed not_sent the connection to http://"),
        (vec![Step::Reset], "!closed not_sent the connection to http://"),
    ] {
        let mut peer = Peer::streaming(steps.clone()).await;
        let found = refusal(peer.try_connect().await);
        assert!(found.starts_with(refused), "{steps:?}: {found}");
        peer.request().await;
    }
}

#[tokio::test]
async fn a_wait_the_server_names_is_passed_on() {
    let peer = Peer::streaming(answer(503, "Retry-After: 7\r\n", "")).await;
    let error = peer.try_connect().await.err().unwrap();
    let kind =
        mcp_transport::TransportErrorKind::Status { status: 503, retry_after: Some(Duration::from_secs(7)) };
    assert_eq!(error.kind, kind);
}

#[tokio::test]
async fn j6_an_endpoint_event_that_does_not_fit_is_refused() {
    let payload = "!payload not_sent the `endpoint` event";
    for (events, refused) in [
        (
            "event: endpoint\ndata: http://evil.example/m\n\n",
            format!(
                "{payload} names another origin than that of the stream: http://evil.example, not http://"
            ),
        ),
        ("event: endpoint\ndata: https://127.0.0.1/m\n\n", format!("{payload} names another origin")),
        ("event: endpoint\ndata: //evil.example\n\n", format!("{payload} names another origin")),
        (
            "event: endpoint\ndata: javascript:hunter2\n\n",
            format!("{payload} names another origin than that of the stream: null"),
        ),
        ("event: endpoint\ndata: http://[\n\n", format!("{payload} holds no usable URL")),
        ("event: endpoint\ndata\n\nevent: endpoint\ndata: \n\n", "!closed not_sent http://".into()),
        ("event: error\ndata: hunter2\n\n", "!closed not_sent http://".into()),
        ("data: {}\n\n: x\n\n", "!closed not_sent http://".into()),
        ("", "!closed not_sent http://".into()),
        ("event: endpoint\ndata: \u{0}/m\n\n", String::new()),
    ] {
        let peer = Peer::streaming([head(), Step::Write(events.into()), Step::Close]).await;
        match peer.try_connect().await {
            // A NUL is escaped, which is the server's business.
            Ok(_) => assert_eq!(refused, "", "{events:?}"),
            Err(error) => {
                let found = show_error(&error);
                assert!(!refused.is_empty() && found.starts_with(&refused), "{events:?}: {found}");
            }
        }
    }
}

#[tokio::test]
async fn j6_an_endpoint_event_that_does_not_come_is_given_up() {
    let never = Arc::new(Notify::new());
    let connector =
        SseConnector::new(HttpOptions::default()).unwrap().open_timeout(Duration::from_millis(300));
    for (steps, refused) in [
        (vec![Step::Await(never.clone())], "!timeout not_sent no answer within 300ms".to_owned()),
        (
            vec![head(), Step::Await(never.clone())],
            "did not name its message endpoint within 300ms: no `endpoint` event came".to_owned(),
        ),
        (
            vec![head(), Step::Write(b": x\n\ndata: {}\n\n".to_vec()), Step::Await(never)],
            "no `endpoint` event came".to_owned(),
        ),
    ] {
        let peer = Peer::streaming(steps).await;
        let found = refusal(try_connect(&connector, peer.endpoint()).await);
        assert!(found.ends_with(&refused) && !found.contains("hunter2"), "{found}");
    }
}

#[tokio::test]
async fn s38_a_stream_that_never_begins_is_bounded() {
    let peer = Peer::streaming([head(), Step::Flood(b"x")]).await;
    let options = HttpOptions { max_event_bytes: 4096, ..HttpOptions::default() };
    let connector = SseConnector::new(options).unwrap();
    let found = refusal(try_connect(&connector, peer.endpoint()).await);
    assert_eq!(found, "!payload not_sent an event exceeds the limit of 4096 bytes");
}

#[tokio::test]
async fn nobody_there_and_endpoints_that_cannot_be_used() {
    let peer = Peer::streaming([]).await;
    let mut gone = peer.endpoint();
    let mut secret = peer.endpoint();
    secret.http.url.set_password(Some("hunter2")).unwrap();
    let mut header = peer.endpoint();
    header.http.headers.push(("Host".into(), SecretString::from("hunter2")));
    drop(peer);
    // The port was free a moment ago, so nobody listens there.
    gone.http.url.set_port(Some(1)).unwrap();
    let connector = SseConnector::new(HttpOptions::default()).unwrap();
    for (endpoint, refused) in [
        (gone, "!connect not_sent cannot connect to http://127.0.0.1:1"),
        (secret, "!endpoint not_sent the URL holds credentials"),
        (header, "!endpoint not_sent header \"Host\" frames the message"),
    ] {
        let found = refusal(try_connect(&connector, endpoint).await);
        assert!(found.starts_with(refused), "{found}");
    }
}

#[tokio::test]
async fn health_is_asked_beside_the_stream() {
    let mut peer = Peer::start(|_| answer(204, "", "")).await;
    let connector = SseConnector::new(HttpOptions::default()).unwrap();
    let endpoint = Endpoint::Sse(peer.endpoint());
    assert_eq!(connector.health(&endpoint, "/health").await, Some(Ok(204)));
    assert_eq!(peer.request().await.target, "/base/health");
    assert!(connector.session_controls(&endpoint));
}
