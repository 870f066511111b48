//! Many clients at once, calls that end in two ways at once, and clients that do not read.

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use mcp_protocol::{Method, Notification};
use mcp_serve_http::ServeLimits;
use mcp_server::{FrontLimits, Outlet};
use serde_json::{Value, json};
use support::{Client, Desk, Site, body, raw, tool};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_of_one_id_get_their_own_answers() {
    let site = Site::plain().await;
    let sessions = join_all((0..20).map(|_| site.client.initialize("2025-11-25"))).await;
    let call = async |client: Client, n: u32, envelope: bool| {
        let arguments = json!({ "name": "echo", "arguments": { "n": n } });
        let answer = if envelope {
            client.modern(1, "tools/call", arguments).await
        } else {
            client.post(&support::plain(1, "tools/call", arguments)).await
        };
        assert_eq!(body(answer).await["result"]["n"], n);
    };
    let calls = (0..1000).map(|n| {
        let (client, envelope) = match sessions.get(n as usize % 40) {
            Some(session) => (session.clone(), false),
            None => (site.client.clone(), true),
        };
        call(client, n, envelope)
    });
    join_all(calls).await;
    assert_eq!(site.front.stats().in_flight, 0);
    site.end().await;
}

#[tokio::test]
async fn a_thousand_clients_wait_at_once() {
    // However long it takes, the answers are single messages.
    let patient = FrontLimits { stream_after: FrontLimits::default().keep_alive, ..FrontLimits::default() };
    let (desk, mut director) = Desk::new(patient);
    let desk = Arc::new(desk);
    let mut asking = Vec::new();
    for n in 0..1000_u32 {
        let (desk, session) = (Arc::clone(&desk), desk.initialize().await);
        asking.push(tokio::spawn(async move {
            let message = support::plain(1, "tools/call", json!({ "name": "held", "n": n }));
            let answer = desk.send("POST", Some(&session), Some(&message)).await;
            (n, axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap())
        }));
    }
    let mut held = Vec::new();
    for _ in 0..1000 {
        held.push(director.held().await);
    }
    assert_eq!(desk.front.stats().in_flight, 1000);
    for held in held.into_iter().rev() {
        let n: u32 = held.request.params.as_ref().unwrap().get("n").unwrap().to().unwrap();
        held.answer(&json!({ "n": n }));
    }
    for answer in join_all(asking).await {
        let (n, answer) = answer.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!((&answer["id"], &answer["result"]["n"]), (&json!(1), &json!(n)));
    }
    assert_eq!(desk.front.stats().in_flight, 0);
}

/// Whichever of the two comes first, there is one outcome, and nothing is left behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_races_the_answer() {
    let (desk, mut director) = Desk::new(FrontLimits::default());
    let desk = Arc::new(desk);
    let session: Arc<str> = desk.initialize().await.into();
    let mut answered = 0;
    for _ in 0..2000 {
        let asking = tokio::spawn({
            let (desk, session) = (Arc::clone(&desk), Arc::clone(&session));
            async move {
                let answer = desk.send("POST", Some(&session), Some(&tool(1, "held"))).await;
                let is_json = answer.headers()["content-type"] == "application/json";
                (is_json, axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap())
            }
        });
        let held = director.held().await;
        let cancelling = tokio::spawn({
            let (desk, session) = (Arc::clone(&desk), Arc::clone(&session));
            async move { desk.send("POST", Some(&session), Some(&support::cancel(1))).await.status() }
        });
        held.answer_if_wanted(&json!({}));
        let (is_json, text) = asking.await.unwrap();
        assert_eq!(cancelling.await.unwrap(), 202);
        assert_eq!(is_json, text.ends_with(b"\"result\":{}}"), "{text:?}");
        answered += u64::from(is_json);
        assert_eq!(desk.front.stats().in_flight, 0);
    }
    assert_eq!(answered + desk.front.stats().cancelled, 2000);
}

#[tokio::test]
async fn fifty_calls_of_one_id_in_one_session() {
    let mut site = Site::plain().await;
    let session = site.client.initialize("2025-11-25").await;
    let asking: Vec<_> = (0..50)
        .map(|n| {
            let session = session.clone();
            let message = support::plain(1, "tools/call", json!({ "name": "held", "n": n }));
            tokio::spawn(async move { (n, session.post(&message).await) })
        })
        .collect();
    let mut held = Vec::new();
    for _ in 0..50 {
        held.push(site.director.held().await);
    }
    for held in held.into_iter().rev() {
        let n: u32 = held.request.params.as_ref().unwrap().get("n").unwrap().to().unwrap();
        held.answer(&json!({ "n": n }));
    }
    for answer in asking {
        let (n, answer) = answer.await.unwrap();
        assert_eq!(body(answer).await["result"]["n"], n);
    }
    site.end().await;
}

/// Notifies a client that never reads until the buffers are full, then the queue, and what is more is dropped.
async fn fill(site: &Site, outlet: &Outlet) {
    let (text, before) = ("x".repeat(1 << 18), site.front.stats().dropped);
    for n in 0.. {
        if site.front.stats().dropped > before {
            break;
        }
        let params = Some(raw(&json!({ "n": n, "text": text })));
        outlet.notify(Notification { method: Method::LogMessage, params });
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_call_goes_on_whose_client_does_not_read() {
    let mut site = Site::start(FrontLimits::default()).await;
    let session = site.client.initialize("2025-06-18").await;
    for id in [1, 2] {
        let waiting = tokio::spawn({
            let session = session.clone();
            async move { session.post(&tool(id, "held")).await }
        });
        let held = site.director.held().await;
        held.notify(1);
        let unread = waiting.await.unwrap();
        fill(&site, &held.outlet).await;
        if id == 1 {
            held.answer(&json!({}));
        } else {
            assert_eq!(session.post(&support::cancel(id)).await.status(), 202);
            held.cancelled().await;
        }
        site.until(|stats| stats.in_flight == 0).await;
        drop(unread);
    }
    site.end().await;
}

#[tokio::test]
async fn a_slow_reader_stalls_alone_and_loses_its_stream() {
    let serving = ServeLimits { write_stall: Duration::from_millis(200), ..ServeLimits::default() };
    let mut site = Site::start_with(FrontLimits::default(), serving).await;
    let slow = site.client.initialize("2025-06-18").await;
    let outlet = site.director.outlet().await;
    let mut socket = TcpStream::connect(site.address).await.unwrap();
    let head = format!(
        "GET /mcp HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nMcp-Session-Id: {}\r\n\r\n",
        slow.session_id()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    site.until(|stats| stats.streams == 1).await;
    fill(&site, &outlet).await;
    let good = site.client.initialize("2025-06-18").await;
    assert_eq!(good.post(&tool(1, "echo")).await.status(), 200);
    site.until(|stats| stats.streams == 0).await;
    drop(socket);
    assert_eq!(slow.post(&tool(1, "echo")).await.status(), 200, "the session is still there");
    site.end().await;
}
