//! One client for each URL, each with a limit. Source: contract §8.1.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::poll_immediate;
use futures::stream::FuturesUnordered;
use mcp_protocol::{Message, Method, Notification, ProtocolVersion, RawJson, Request, Response};
use mcp_transport::{
    Connector, Delivery, Endpoint, HttpEndpoint, Outbound, Reply, Transport, TransportErrorKind,
};
use mcp_transport_http::{ClientPool, HttpClient, HttpConnector, HttpOptions};
use tokio::sync::{Barrier, Notify};
use url::Url;

use crate::peer::{
    Peer, RESULT, Recorded, Seen, Step, answer, connect, events_head, exchange, failure_of, json, outbound,
    request,
};

fn url(text: &str) -> Url {
    text.parse().unwrap()
}

fn get(pool: &ClientPool, text: &str) -> HttpClient {
    pool.get(&HttpEndpoint::new(url(text))).unwrap()
}

pub(crate) fn limited(pool_max_connections: usize) -> HttpOptions {
    HttpOptions { pool_max_connections, ..HttpOptions::default() }
}

pub(crate) fn call(id: i64) -> Outbound {
    let message = Message::Request(Request { id: id.into(), method: Method::ToolsCall, params: None });
    Outbound { version: Some(ProtocolVersion::LATEST_HANDSHAKE), ..Outbound::new(message) }
}

pub(crate) fn id_of(seen: &Recorded) -> i64 {
    RawJson::parse(seen.body.clone(), &Default::default()).unwrap().get("id").unwrap().to().unwrap()
}

pub(crate) fn result_for(seen: &Recorded) -> Vec<Step> {
    json(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, id_of(seen)))
}

pub(crate) fn is_call(seen: &Recorded) -> bool {
    seen.body.contains("tools/call")
}

#[tokio::test]
async fn n1_the_same_url_has_the_same_client() {
    let pool = ClientPool::new(HttpOptions::default()).unwrap();
    let first = get(&pool, "http://127.0.0.1:3000/mcp");
    for (other, same) in [
        ("http://127.0.0.1:3000/mcp", true),
        ("HTTP://127.0.0.1:3000/x/../mcp#part", true),
        ("http://127.0.0.1:3000/mcp/", false),
        ("http://127.0.0.1:3000/mcp?key=1", false),
        ("http://127.0.0.1:3001/mcp", false),
        ("http://localhost:3000/mcp", false),
    ] {
        assert_eq!(get(&pool, other) == first, same, "{other}");
    }
    assert_eq!(get(&pool, "http://localhost:80"), get(&pool, "http://LOCALHOST/"));
}

#[tokio::test]
async fn n1_clients_are_closed_one_by_one_and_all_together() {
    let pool = ClientPool::new(HttpOptions::default()).unwrap();
    let [a, b] = ["http://127.0.0.1:1/", "http://127.0.0.1:2/"].map(|text| get(&pool, text));
    assert_eq!(pool.len(), 2);
    pool.close(&url("http://127.0.0.1:3/"));
    assert_eq!(pool.len(), 2, "an unknown URL");
    pool.close(&url("http://127.0.0.1:1"));
    assert_eq!((pool.len(), a.is_closed(), b.is_closed()), (1, true, false));
    pool.close_all();
    assert!(pool.is_empty() && b.is_closed());
    let anew = get(&pool, "http://127.0.0.1:1/");
    assert!(anew != a && !anew.is_closed());
}

#[tokio::test(flavor = "multi_thread")]
async fn n1_concurrent_first_calls_make_one_client() {
    let pool = ClientPool::new(HttpOptions::default()).unwrap();
    let together = Arc::new(Barrier::new(50));
    let calls = (0..50).map(|_| {
        let (pool, together) = (pool.clone(), together.clone());
        tokio::spawn(async move {
            together.wait().await;
            get(&pool, "http://127.0.0.1:1/mcp")
        })
    });
    let clients = futures::future::try_join_all(calls).await.unwrap();
    assert!(clients.iter().all(|client| *client == clients[0]));
    assert_eq!(pool.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_nobody_holds_goes_away() {
    let pool = ClientPool::new(HttpOptions::default()).unwrap();
    let idle = HttpOptions::default().pool_idle_timeout;
    let held = get(&pool, "http://127.0.0.1:1/");
    drop(get(&pool, "http://127.0.0.1:2/"));
    tokio::time::advance(idle - Duration::from_millis(1)).await;
    get(&pool, "http://127.0.0.1:3/");
    assert_eq!(pool.len(), 3);
    tokio::time::advance(Duration::from_millis(1)).await;
    get(&pool, "http://127.0.0.1:3/");
    assert_eq!(pool.len(), 2, "the second is gone");
    tokio::time::advance(idle).await;
    assert_eq!(get(&pool, "http://127.0.0.1:1/"), held, "held all the time");
    assert_eq!(pool.len(), 1, "the third is gone");
}

#[tokio::test]
async fn j8_n1_no_more_calls_than_connections_and_the_others_follow_in_order() {
    let told = Arc::new(Notify::new());
    let mut peer = Peer::start({
        let told = told.clone();
        move |seen| [vec![Step::Await(told.clone())], result_for(seen)].concat()
    })
    .await;
    let transport = connect(peer.endpoint(), limited(2)).await;
    let mut calls: FuturesUnordered<_> = (1..=6).map(|id| exchange(&*transport, call(id))).collect();

    let mut order = Vec::new();
    for under_way in 2..=6 {
        // The first round shows two requests, each further one the successor of the call just answered.
        while order.len() < under_way {
            tokio::select! {
                seen = peer.request() => order.push(id_of(&seen)),
                answered = calls.next() => panic!("nothing was answered yet: {answered:?}"),
            }
        }
        assert!(peer.rest().is_empty(), "at most 2 under way, seen {order:?}");
        told.notify_one();
        assert!(calls.next().await.unwrap()[0].contains("result"));
    }
    told.notify_one();
    assert!(calls.next().await.unwrap()[0].contains("result"));
    assert!(calls.next().await.is_none());
    order[..2].sort_unstable();
    assert_eq!(order, [1, 2, 3, 4, 5, 6]);
}

/// A connection that is not ready soon after its answer was read is replaced, which on a busy machine may happen.
#[tokio::test(flavor = "multi_thread")]
async fn j8_n1_many_callers_share_few_connections() {
    let mut peer = Peer::start(result_for).await;
    let transport: Arc<dyn Transport> = connect(peer.endpoint(), limited(4)).await.into();
    let callers = (0..32).map(|caller| {
        let transport = transport.clone();
        tokio::spawn(async move {
            for id in caller * 8..(caller + 1) * 8 {
                let answers = exchange(&*transport, call(id)).await;
                assert!(answers[0].contains(&format!(r#""id":{id},"#)), "{answers:?}");
            }
        })
    });
    futures::future::try_join_all(callers).await.unwrap();
    let seen = peer.rest();
    let connections: BTreeSet<_> = seen
        .iter()
        .filter_map(|seen| match seen {
            Seen::Request(request) => Some(request.connection),
            Seen::Closed => None,
        })
        .collect();
    assert_eq!(seen.len(), 32 * 8);
    assert!((1..=8).contains(&connections.len()), "{connections:?}");
}

/// However a call ends, the next one gets its place.
#[tokio::test]
async fn n1_the_end_of_a_call_makes_room() {
    let half = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{".to_vec();
    let answer_and_more = Step::Write(format!("data: {RESULT}\n\n").into());
    let table: Vec<(&str, Vec<Step>)> = vec![
        ("answered", json(RESULT)),
        ("refused", answer(500, "", "no")),
        ("moved", answer(301, "Location: /\r\n", "")),
        ("broken off", vec![Step::Reset]),
        ("unusable", answer(200, "Content-Type: text/html\r\n", "no")),
        ("events that go on", vec![events_head(), answer_and_more, Step::AwaitClose]),
        ("dropped before the head", vec![Step::AwaitClose]),
        ("dropped in a body", vec![Step::Write(half), Step::AwaitClose]),
        ("dropped in the events", vec![events_head(), Step::AwaitClose]),
    ];
    for (row, steps) in table {
        let mut peer = Peer::start(move |seen| match is_call(seen) {
            true => json(&RESULT.replace('7', "1")),
            false => steps.clone(),
        })
        .await;
        let transport = connect(peer.endpoint(), limited(1)).await;
        let mut first = Box::pin(exchange(&*transport, request()));
        let dropped = row.starts_with("dropped");
        tokio::select! {
            biased;
            ended = &mut first => assert!(!dropped, "{row}: {ended:?}"),
            () = async { drop(peer.request().await) }, if dropped => {}
        }
        if dropped {
            let mut second = Box::pin(exchange(&*transport, call(1)));
            assert!(poll_immediate(&mut second).await.is_none(), "{row}: there is no room for it");
            drop(first);
            assert!(second.await[0].contains("result"), "{row}");
        } else {
            let second = tokio::time::timeout(Duration::from_secs(10), exchange(&*transport, call(1))).await;
            assert!(second.expect(row)[0].contains("result"), "{row}");
        }
    }
}

#[tokio::test]
async fn n1_what_may_end_a_call_does_not_wait_for_it() {
    const V: Option<ProtocolVersion> = Some(ProtocolVersion::LATEST_HANDSHAKE);
    let mut peer = Peer::start(|seen| match seen {
        seen if is_call(seen) => vec![Step::AwaitClose],
        seen if seen.body.contains("\"initialize\"") => {
            answer(200, "Content-Type: application/json\r\nMcp-Session-Id: s\r\n", RESULT)
        }
        seen if seen.method == "POST" => json(RESULT),
        _ => answer(200, "", ""),
    })
    .await;
    let connector = HttpConnector::new(limited(1)).unwrap();
    let endpoint = Endpoint::Http(peer.endpoint());
    let transport = connector.connect(&endpoint).await.unwrap();
    let mut hanging = transport.send(call(1));
    tokio::select! {
        reply = &mut hanging => panic!("it is never answered: {reply:?}"),
        seen = peer.request() => assert!(is_call(&seen)),
    }
    // One that waits, so that nothing of what follows could come before it in a queue.
    let mut waiting = transport.send(call(2));
    assert!(poll_immediate(&mut waiting).await.is_none());

    let cancelled = Message::Notification(Notification { method: Method::Cancelled, params: None });
    let pong = Message::Response(Response { id: 3.into(), result: RawJson::empty_object() });
    for (out, word) in [
        (outbound(Method::Initialize, None), "initialize"),
        (outbound(Method::Ping, V), "ping"),
        (outbound(Method::ServerDiscover, V), "server/discover"),
        (Outbound { version: V, ..Outbound::new(cancelled) }, "cancelled"),
        (Outbound { version: V, ..Outbound::new(pong) }, "result"),
    ] {
        exchange(&*transport, out).await;
        assert!(peer.request().await.body.contains(word), "{word}");
    }
    assert_eq!(connector.health(&endpoint, "/health").await, Some(Ok(200)));
    assert_eq!(peer.request().await.target, "/health");
    transport.close().await;
    assert_eq!(peer.request().await.method, "DELETE");

    drop(hanging);
    let (kind, delivery) = failure_of(waiting.await);
    assert!(matches!(kind, TransportErrorKind::Closed(_)) && delivery == Delivery::NotSent);
}

#[tokio::test]
async fn a_closed_client_refuses_those_who_wait_and_lets_the_others_end() {
    let told = Arc::new(Notify::new());
    let mut peer = Peer::start({
        let told = told.clone();
        move |_| vec![Step::Await(told.clone()), Step::Write(event_answer()), Step::Close]
    })
    .await;
    let connector = HttpConnector::new(limited(1)).unwrap();
    let endpoint = Endpoint::Http(peer.endpoint());
    let transport = connector.connect(&endpoint).await.unwrap();
    let mut running = Box::pin(exchange(&*transport, request()));
    tokio::select! {
        ended = &mut running => panic!("nothing was answered: {ended:?}"),
        _ = peer.request() => {}
    }
    let mut waiting = transport.send(call(1));
    assert!(poll_immediate(&mut waiting).await.is_none());

    connector.pool().close(&peer.endpoint().url);
    let expected = TransportErrorKind::Closed("the HTTP client was closed".into());
    assert_eq!(failure_of(waiting.await), (expected.clone(), Delivery::NotSent));
    assert_eq!(failure_of(transport.send(request()).await), (expected, Delivery::NotSent));
    told.notify_one();
    assert_eq!(running.await, [RESULT]);
    assert!(peer.rest().is_empty());

    let anew = connector.connect(&endpoint).await.unwrap();
    told.notify_one();
    assert!(matches!(anew.send(request()).await, Ok(Reply::Own(_))));
    assert!(matches!(peer.seen().await, Seen::Request(_)));
}

fn event_answer() -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: {RESULT}\n\n"
    )
    .into()
}
