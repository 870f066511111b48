//! What waits for a place in the pool until its time is over. Source: contract §8.1.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, poll_immediate};
use mcp_client::{CallError, Client, ConnectOptions, Outgoing, connect};
use mcp_protocol::{Era, EraPolicy, Message, Method, Request};
use mcp_transport::{Connector, Delivery, Endpoint, Outbound, Transport, TransportError, TransportErrorKind};
use mcp_transport_http::HttpConnector;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::peer::{Peer, Recorded, Seen, Step, answer, exchange, failure_of, json};
use crate::pool::{call, id_of, is_call, limited, result_for};

const LIMIT: Duration = Duration::from_secs(30);

/// A server of the handshake era that answers a call once it is told to.
async fn slow_server(told: &Arc<Notify>) -> Peer {
    let told = told.clone();
    Peer::start(move |seen| match seen {
        seen if is_call(seen) => [vec![Step::Await(told.clone())], result_for(seen)].concat(),
        seen if seen.body.contains("\"initialize\"") => json(&initialized(seen)),
        seen if seen.body.contains("\"ping\"") => result_for(seen),
        _ => answer(202, "", ""),
    })
    .await
}

fn initialized(seen: &Recorded) -> String {
    let id = id_of(seen);
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"protocolVersion":"2025-11-25","capabilities":{{}},"serverInfo":{{"name":"s","version":"1"}}}}}}"#
    )
}

async fn client_of(peer: &Peer) -> Client {
    let connector = HttpConnector::new(limited(1)).unwrap();
    let handshake = EraPolicy::Only(Era::Handshake);
    let options = ConnectOptions { policy: handshake, ..ConnectOptions::default() };
    connect(&connector, &Endpoint::Http(peer.endpoint()), &options).await.unwrap()
}

#[tokio::test]
async fn n1_a_call_that_ran_out_of_time_in_the_queue_was_not_sent() {
    let told = Arc::new(Notify::new());
    let mut peer = slow_server(&told).await;
    let client = client_of(&peer).await;
    while !peer.request().await.body.contains("notifications/initialized") {}
    let before = client.stats();

    let mut first = Box::pin(client.call(Outgoing::new(Method::ToolsCall, None), 2 * LIMIT));
    tokio::select! {
        outcome = &mut first => panic!("nothing was answered: {outcome:?}"),
        seen = peer.request() => assert!(is_call(&seen)),
    }
    // From here on nothing moves but the clock.
    tokio::time::pause();
    let begun = Instant::now();
    let error = client.call(Outgoing::new(Method::ToolsCall, None), LIMIT).await.unwrap_err();
    let waited = begun.elapsed();
    tokio::time::resume();
    assert_eq!(error, CallError::Transport(TransportError::busy(LIMIT)));
    assert_eq!((error.delivery(), error.is_timeout()), (Delivery::NotSent, false));
    assert!(waited < LIMIT && LIMIT - waited < Duration::from_millis(10), "waited {waited:?}");
    assert_eq!(client.stats().requests_sent - before.requests_sent, 1);

    client.ping(LIMIT).await.unwrap();
    assert!(peer.request().await.body.contains("\"ping\""), "no cancellation came before it");
    told.notify_one();
    assert_eq!(first.await.unwrap().result.as_str(), "{}", "the first is unharmed");
    // The place is free again, and the next in line is no ghost of the one that gave up.
    told.notify_one();
    client.call(Outgoing::new(Method::ToolsCall, None), LIMIT).await.unwrap();
    assert!(is_call(&peer.request().await));
    assert!(peer.rest().is_empty(), "nothing else was sent");
}

/// Sixteen short messages are the most; what opens a connection may have to wait for them.
#[tokio::test]
async fn n1_a_handshake_that_ran_out_of_time_in_the_queue_was_not_sent() {
    let mut peer = Peer::answering([Step::AwaitClose]).await;
    let connector = HttpConnector::new(limited(1)).unwrap();
    let endpoint = Endpoint::Http(peer.endpoint());
    let transport = connector.connect(&endpoint).await.unwrap();
    let ping = |id: i64| Message::Request(Request { id: id.into(), method: Method::Ping, params: None });
    let mut hanging = Box::pin(join_all((1..=16).map(|id| transport.send(Outbound::new(ping(id))))));
    for _ in 1..=16 {
        tokio::select! {
            replies = &mut hanging => panic!("nothing was answered: {replies:?}"),
            _ = peer.request() => {}
        }
    }
    tokio::time::pause();
    let options = ConnectOptions::default();
    let error = connect(&connector, &endpoint, &options).await.unwrap_err();
    tokio::time::resume();
    assert_eq!(error.error, CallError::Transport(TransportError::busy(options.handshake_timeout)));
    assert!(peer.rest().is_empty(), "{:?}", error.tried);
}

#[tokio::test]
async fn a_free_place_is_taken_even_without_time_to_wait() {
    let told = Arc::new(Notify::new());
    let mut peer = slow_server(&told).await;
    let connector = HttpConnector::new(limited(1)).unwrap();
    let transport: Box<dyn Transport> = connector.connect(&Endpoint::Http(peer.endpoint())).await.unwrap();
    let at_once = |id| Outbound { until: Some(Instant::now().into_std()), ..call(id) };
    let mut first = Box::pin(exchange(&*transport, at_once(1)));
    tokio::select! {
        answers = &mut first => panic!("nothing was answered: {answers:?}"),
        seen = peer.request() => assert_eq!(id_of(&seen), 1),
    }
    let (kind, delivery) = failure_of(transport.send(at_once(2)).await);
    assert!(matches!(kind, TransportErrorKind::Busy { limit } if limit.is_zero()), "{kind:?}");
    assert_eq!(delivery, Delivery::NotSent);
    let mut patient = transport.send(call(3));
    assert!(poll_immediate(&mut patient).await.is_none(), "without a limit it waits");
    told.notify_one();
    assert!(first.await[0].contains("result"));
    told.notify_one();
    patient.await.unwrap();
    assert!(matches!(peer.seen().await, Seen::Request(seen) if id_of(&seen) == 3));
}
