//! The client over this transport, against the demo server.

use std::time::Duration;

use futures::future::join_all;
use mcp_client::{CallError, CallEvent, Client, ConnectOptions, Outgoing, connect};
use mcp_demo_server::{DemoOptions, HttpEnd, serve_sse};
use mcp_http_client::HttpOptions;
use mcp_protocol::{Era, EraPolicy, Limits, Message, Method, ProtocolVersion, RawJson};
use mcp_transport::{Delivery, Endpoint, HttpEndpoint, SseEndpoint, TransportErrorKind, TransportKind};
use mcp_transport_sse::SseConnector;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::peer::{BOUND, Peer, accepted, answer, event};

struct Site {
    endpoint: Endpoint,
    connector: SseConnector,
    stop: oneshot::Sender<()>,
    server: JoinHandle<HttpEnd>,
}

impl Site {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/sse", listener.local_addr().unwrap()).parse().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve_sse(DemoOptions::default(), listener, async move {
            let _ = stopped.await;
        }));
        let endpoint = Endpoint::Sse(SseEndpoint::new(HttpEndpoint::new(url)));
        Self { endpoint, connector: SseConnector::new(HttpOptions::default()).unwrap(), stop, server }
    }

    async fn connect(&self) -> Client {
        connect(&self.connector, &self.endpoint, &ConnectOptions::default()).await.unwrap()
    }

    async fn end(self) -> HttpEnd {
        let _ = self.stop.send(());
        timeout(BOUND, self.server).await.unwrap().unwrap()
    }
}

fn call(params: &str) -> Outgoing {
    let params = RawJson::parse(params.to_owned(), &Limits::default()).unwrap();
    Outgoing::new(Method::ToolsCall, Some(params))
}

#[tokio::test]
async fn a_client_connects_lists_and_calls() {
    let site = Site::start().await;
    let client = site.connect().await;
    assert_eq!(client.transport(), TransportKind::Sse);
    assert_eq!(client.profile().version, ProtocolVersion::LATEST_HANDSHAKE);
    let tools = client.list(Method::ToolsList, BOUND).await.unwrap();
    assert!(tools.len() > 5, "more than one page");
    client.ping(BOUND).await.unwrap();

    let mut slow = call(r#"{"name":"slow","arguments":{"ms":20,"steps":3}}"#);
    slow.progress = true;
    let mut running = client.start(slow).await.unwrap();
    let mut progress = 0;
    while let Some(Ok(CallEvent::Notification(_))) = timeout(BOUND, running.next()).await.unwrap() {
        progress += 1;
    }
    assert_eq!(progress, 3);
    client.close().await;
    assert!(matches!(client.ping(BOUND).await, Err(CallError::Transport(_))));
}

#[tokio::test]
async fn s29_concurrent_calls_get_their_own_answers() {
    let site = Site::start().await;
    let clients = [site.connect().await, site.connect().await];
    let calls = (0..50).map(|n| {
        let client = &clients[n % 2];
        async move {
            let params = format!(r#"{{"name":"echo","arguments":{{"message":"<{n}>"}}}}"#);
            let answer = client.call(call(&params), BOUND).await.unwrap();
            assert!(answer.result.as_str().contains(&format!("<{n}>")), "{n}");
        }
    });
    join_all(calls).await;
}

#[tokio::test]
async fn a_cancelled_call_leaves_the_connection_as_it_was() {
    let site = Site::start().await;
    let client = site.connect().await;
    let slow = call(r#"{"name":"slow","arguments":{"seconds":60}}"#);
    let error = client.call(slow, Duration::from_millis(50)).await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    client.ping(BOUND).await.unwrap();
}

#[tokio::test]
async fn calls_under_way_fail_with_their_server_and_another_one_can_be_connected() {
    let site = Site::start().await;
    let client = site.connect().await;
    let slow = client.call(call(r#"{"name":"slow","arguments":{"seconds":60}}"#), BOUND);
    let end = async {
        // Answered after the call is under way.
        client.ping(BOUND).await.unwrap();
        site.end().await
    };
    let (failed, end) = tokio::join!(slow, end);
    let Err(CallError::Transport(error)) = failed else { panic!("{failed:?}") };
    assert_eq!(error.delivery, Delivery::Unknown);
    let HttpEnd::Shutdown(report) = end else { panic!("no crash") };
    assert_eq!(report.cut, 0);
    assert!(client.is_closed());
    let site = Site::start().await;
    site.connect().await.ping(BOUND).await.unwrap();
}

/// One message refused with 404 says nothing of another that was accepted: it must not look unexecuted.
#[tokio::test]
async fn r13_a_call_under_way_may_have_been_executed_when_the_session_is_forgotten() {
    let (mut peer, say) = Peer::live(|posted| match posted.body.contains(r#""name":"refused""#) {
        true => answer(404, "", ""),
        false => accepted(),
    })
    .await;
    let connector = SseConnector::new(HttpOptions::default()).unwrap();
    let endpoint = Endpoint::Sse(peer.endpoint());
    let options = ConnectOptions { policy: EraPolicy::Only(Era::Handshake), ..ConnectOptions::default() };
    let greet = async {
        assert_eq!(peer.request().await.method, "GET");
        let body = peer.request().await.body;
        let Ok(Message::Request(initialize)) = Message::parse(&body.into(), &Limits::default()) else {
            panic!("not a request")
        };
        let greeting = format!(
            r#"{{"jsonrpc":"2.0","id":{},"result":{{"protocolVersion":"2025-06-18","capabilities":{{}}}}}}"#,
            initialize.id
        );
        say.send(event(&greeting)).await.unwrap();
        assert!(peer.request().await.body.contains("notifications/initialized"));
    };
    let (client, ()) = tokio::join!(connect(&connector, &endpoint, &options), greet);
    let client = client.unwrap();

    let mut accepted = client.start(call(r#"{"name":"accepted"}"#)).await.unwrap();
    let Err(CallError::Transport(refused)) = client.call(call(r#"{"name":"refused"}"#), BOUND).await else {
        panic!("the server refuses it")
    };
    assert_eq!((refused.kind, refused.delivery), (TransportErrorKind::SessionExpired, Delivery::Rejected));
    let Some(Err(CallError::Transport(lost))) = timeout(BOUND, accepted.next()).await.unwrap() else {
        panic!("nothing can come any more")
    };
    assert!(matches!(lost.kind, TransportErrorKind::Closed(_)), "{lost:?}");
    assert_eq!(lost.delivery, Delivery::Unknown);
}
