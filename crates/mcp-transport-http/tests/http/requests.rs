//! What goes out.

use mcp_protocol::{Message, Method, Notification, ProtocolVersion, RequestId, Response};
use mcp_transport::{Header, Outbound, Reply};
use mcp_transport_http::HttpOptions;

use crate::peer::{
    Peer, RESULT, answer, assert_items, connect, exchange, initialize, json, outbound, request,
};

#[tokio::test]
async fn a_request_is_posted_with_the_headers_of_the_protocol() {
    let mut peer = Peer::answering(json(RESULT)).await;
    let transport = peer.connect().await;
    assert_items(&exchange(&*transport, request()).await, &[RESULT], "answer");
    let seen = peer.request().await;
    assert_eq!((&*seen.method, &*seen.target), ("POST", "/mcp?key=hunter2"));
    assert_eq!(seen.body, r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#);
    for (name, value) in [
        ("content-type", Some("application/json")),
        ("accept", Some("application/json, text/event-stream")),
        ("accept-encoding", Some("identity")),
        ("mcp-protocol-version", Some("2025-11-25")),
        ("user-agent", Some(concat!("mcp-gateway/", env!("CARGO_PKG_VERSION")))),
        ("mcp-session-id", None),
        ("cookie", None),
        ("referer", None),
        ("transfer-encoding", None),
    ] {
        assert_eq!(seen.header(name), value, "{name}");
    }
}

#[tokio::test]
async fn the_version_header_names_what_is_agreed() {
    let mut peer = Peer::answering(json(RESULT)).await;
    let transport = peer.connect().await;
    for version in [None].into_iter().chain(ProtocolVersion::ALL.map(Some)) {
        exchange(&*transport, outbound(Method::Ping, version)).await;
        let seen = peer.request().await;
        assert_eq!(seen.header("mcp-protocol-version"), version.map(ProtocolVersion::as_str));
    }
}

#[tokio::test]
async fn j8_configured_headers_are_sent_and_overridden_by_the_messages_own() {
    let mut peer = Peer::answering(json(RESULT)).await;
    let mut endpoint = peer.endpoint();
    endpoint.headers = vec![
        ("Authorization".into(), "Bearer configured".into()),
        ("X-Api-Key".into(), "k1".into()),
        ("User-Agent".into(), "configured/1".into()),
    ];
    let transport = connect(endpoint, HttpOptions::default()).await;
    exchange(&*transport, request()).await;
    let seen = peer.request().await;
    assert_eq!(seen.header("authorization"), Some("Bearer configured"));
    assert_eq!(seen.header("x-api-key"), Some("k1"));
    assert_eq!(seen.header("user-agent"), Some("configured/1"));

    let mut out = request();
    out.headers = vec![
        Header::new("authorization", "Bearer own"),
        Header::new("Mcp-Method", "tools/list"),
        Header::new("Mcp-Name", "=?base64?w6k=?="),
        Header::new("Mcp-Param-Empty", ""),
    ];
    exchange(&*transport, out).await;
    let seen = peer.request().await;
    assert_eq!(seen.header("authorization"), Some("Bearer own"));
    assert_eq!(seen.header("x-api-key"), Some("k1"));
    assert_eq!(seen.header("mcp-method"), Some("tools/list"));
    assert_eq!(seen.header("mcp-name"), Some("=?base64?w6k=?="));
    assert_eq!(seen.header("mcp-param-empty"), Some(""));
}

#[tokio::test]
async fn the_user_agent_is_an_option() {
    let mut peer = Peer::answering(json(RESULT)).await;
    let options = HttpOptions { user_agent: "other/2".into(), ..HttpOptions::default() };
    let transport = connect(peer.endpoint(), options).await;
    exchange(&*transport, request()).await;
    assert_eq!(peer.request().await.header("user-agent"), Some("other/2"));
}

#[tokio::test]
async fn a_bad_header_of_a_message_is_refused_before_it_is_sent() {
    let mut peer = Peer::answering(json(RESULT)).await;
    let transport = peer.connect().await;
    for value in ["a\r\nX-Smuggled: hunter2", "hunter2\0", "hunter2 caf\u{e9}"] {
        let mut out = request();
        out.headers = vec![Header::new("Mcp-Name", value)];
        let expected = "!endpoint not_sent the value of header \"Mcp-Name\"";
        assert_items(&exchange(&*transport, out).await, &[expected], value);
    }
    assert!(peer.rest().is_empty());
}

#[tokio::test]
async fn m6_notifications_and_responses_are_accepted_with_any_success() {
    let notification =
        Message::Notification(Notification { method: Method::from("notifications/x"), params: None });
    let result = mcp_protocol::RawJson::empty_object();
    let response = Message::Response(Response { id: RequestId::from("s1"), result });
    for (status, head, body) in [
        (202, "", ""),
        (200, "", ""),
        (204, "", ""),
        (200, "Content-Type: text/html\r\n", "<p>thanks</p>"),
        (200, "Content-Type: application/json\r\n", "null"),
    ] {
        for message in [&notification, &response] {
            let mut peer = Peer::answering(answer(status, head, body)).await;
            let transport = peer.connect().await;
            let reply = transport.send(Outbound::new(message.clone())).await;
            assert!(matches!(reply, Ok(Reply::Accepted)), "{status} {body:?}: {reply:?}");
            assert_eq!(peer.request().await.body.as_bytes(), message.encode());
        }
    }
}

#[tokio::test]
async fn connections_are_shared_by_the_transports_of_a_connector() {
    use mcp_transport::{Connector, Endpoint};

    let mut peer = Peer::answering(json(RESULT)).await;
    let connector = mcp_transport_http::HttpConnector::new(HttpOptions::default()).unwrap();
    for _ in 0..3 {
        let transport = connector.connect(&Endpoint::Http(peer.endpoint())).await.unwrap();
        assert_items(&exchange(&*transport, initialize()).await, &[RESULT], "answer");
        assert_eq!(peer.request().await.connection, 0);
    }
}
