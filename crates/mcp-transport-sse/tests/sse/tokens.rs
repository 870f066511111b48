//! Tokens on the stream and on messages.

use std::sync::atomic::{AtomicUsize, Ordering};

use mcp_http_client::HttpOptions;
use mcp_transport::{Auth, ClientAuthentication, ClientCredentials, Reply};
use mcp_transport_sse::SseConnector;

use crate::peer::*;

/// The first token is good for the first stream only, the second for everything.
#[tokio::test]
async fn a_refused_token_is_renewed_on_the_stream_and_on_messages() {
    let fetched = AtomicUsize::new(0);
    let streams = AtomicUsize::new(0);
    let peer = Peer::start(move |request| {
        if request.target == "/token" {
            let number = fetched.fetch_add(1, Ordering::Relaxed) + 1;
            let token = format!(r#"{{"access_token":"t{number}","token_type":"Bearer","expires_in":3600}}"#);
            return answer(200, "Content-Type: application/json\r\n", &token);
        }
        let first = !is_post(request) && streams.fetch_add(1, Ordering::Relaxed) == 0;
        match request.header("authorization") {
            Some("Bearer t1") if first => vec![head(), Step::Write(ENDPOINT.into()), Step::AwaitClose],
            Some("Bearer t2") if is_post(request) => accepted(),
            Some("Bearer t2") => vec![head(), Step::Write(ENDPOINT.into()), Step::AwaitClose],
            _ => answer(401, "", ""),
        }
    });
    let mut peer = peer.await;
    let mut endpoint = peer.endpoint();
    endpoint.http.auth = Some(Auth::ClientCredentials(
        ClientCredentials {
            token_url: format!("http://{}/token", peer.address).parse().unwrap(),
            client_id: "me".into(),
            client_secret: "hunter2".into(),
            scope: None,
            resource: None,
            method: ClientAuthentication::Basic,
        }
        .into(),
    ));
    let connector = SseConnector::new(HttpOptions::default()).unwrap();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let transport = try_connect(&connector, endpoint.clone()).await.unwrap();
        assert!(matches!(transport.send(request(1)).await, Ok(Reply::Inbox)));
        transport.close().await;
        while let Seen::Request(request) = peer.seen().await {
            let token = request.header("authorization").unwrap_or_default().replace("Bearer ", "");
            seen.push(match &*request.target {
                "/token" => "token".to_owned(),
                _ => format!("{} {token}", request.method),
            });
        }
    }
    assert_eq!(seen, ["token", "GET t1", "POST t1", "token", "POST t2", "GET t2", "POST t2"]);
}
