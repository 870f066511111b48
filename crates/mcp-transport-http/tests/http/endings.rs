//! Dropping exchanges and closing the transport.

use futures::StreamExt;
use futures::future::poll_immediate;
use mcp_transport::{Delivery, Reply, TransportErrorKind};

use crate::peer::{Peer, RESULT, Seen, Step, events_head, failure_of, json, request, show};

#[tokio::test]
async fn dropping_the_answers_closes_the_exchange() {
    let mut peer = Peer::answering([events_head(), Step::AwaitClose]).await;
    let transport = peer.connect().await;
    let Ok(Reply::Own(answers)) = transport.send(request()).await else { panic!() };
    peer.request().await;
    assert!(peer.rest().is_empty());
    drop(answers);
    assert!(matches!(peer.seen().await, Seen::Closed));
}

#[tokio::test]
async fn dropping_the_send_closes_the_exchange() {
    // Before the head, and within a JSON body.
    let half = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{".to_vec();
    for steps in [vec![Step::AwaitClose], vec![Step::Write(half), Step::AwaitClose]] {
        let mut peer = Peer::answering(steps).await;
        let transport = peer.connect().await;
        let mut send = transport.send(request());
        tokio::select! {
            reply = &mut send => panic!("no answer was sent: {reply:?}"),
            seen = peer.request() => assert_eq!(seen.method, "POST"),
        }
        assert!(poll_immediate(&mut send).await.is_none());
        drop(send);
        assert!(matches!(peer.seen().await, Seen::Closed));
    }
}

/// A server that keeps its stream open after the answer does not keep the connection.
#[tokio::test]
async fn a_stream_that_goes_on_after_the_answer_is_closed() {
    let answer = Step::Write(format!("data: {RESULT}\n\n").into());
    let mut peer = Peer::answering([events_head(), answer, Step::AwaitClose]).await;
    let transport = peer.connect().await;
    let Ok(Reply::Own(answers)) = transport.send(request()).await else { panic!() };
    assert_eq!(answers.map(show).collect::<Vec<_>>().await, [RESULT]);
    peer.request().await;
    assert!(matches!(peer.seen().await, Seen::Closed));
}

#[tokio::test]
async fn after_close_nothing_is_sent() {
    let mut peer = Peer::answering(json(RESULT)).await;
    let mut transport = peer.connect().await;
    let inbox = transport.take_inbox().unwrap();
    assert!(transport.take_inbox().is_none() && !transport.answers_on_inbox());
    transport.close().await;
    transport.close().await;
    assert_eq!(inbox.map(show).collect::<Vec<_>>().await, [""; 0]);
    let expected = TransportErrorKind::Closed("the connection was closed".into());
    assert_eq!(failure_of(transport.send(request()).await), (expected, Delivery::NotSent));
    assert!(peer.rest().is_empty());
}
