//! J8: connections are kept for the next request, or are not.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::ConnectInfo;
use axum::http::header::CONTENT_TYPE;
use futures::StreamExt;
use mcp_protocol::{Message, Method, Request, RequestId};
use mcp_transport::{Connector, Endpoint, HttpEndpoint, Outbound, Reply};
use mcp_transport_http::{HttpConnector, HttpOptions};
use tokio::net::TcpListener;

const REQUESTS: usize = 5;

#[tokio::test]
async fn j8_with_keep_alive_off_each_request_has_a_connection_of_its_own() {
    let clients = Arc::new(Mutex::new(Vec::new()));
    let seen = clients.clone();
    let answer = async move |ConnectInfo(client): ConnectInfo<SocketAddr>| {
        seen.lock().unwrap().push(client);
        ([(CONTENT_TYPE, "application/json")], r#"{"jsonrpc":"2.0","id":1,"result":{}}"#)
    };
    let router = axum::Router::new().fallback(answer);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap()).parse().unwrap();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let server = tokio::spawn(async move { axum::serve(listener, service).await });

    let connector = HttpConnector::new(HttpOptions { pool_max_idle: 0, ..HttpOptions::default() }).unwrap();
    let transport = connector.connect(&Endpoint::Http(HttpEndpoint::new(url))).await.unwrap();
    for _ in 0..REQUESTS {
        let request = Request { id: RequestId::from(1), method: Method::Ping, params: None };
        let reply = transport.send(Outbound::new(Message::Request(request))).await.unwrap();
        let Reply::Own(answers) = reply else { panic!("{reply:?}") };
        let answers: Vec<_> = answers.collect().await;
        assert!(matches!(&answers[..], [Ok(answer)] if matches!(answer.message, Message::Response(_))));
    }
    let mut connections = clients.lock().unwrap().clone();
    connections.sort_unstable();
    connections.dedup();
    assert_eq!(connections.len(), REQUESTS, "each came from a port of its own");
    server.abort();
}
