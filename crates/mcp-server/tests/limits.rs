//! What clients may take (reliability document §6), and many of them at once.

mod support;

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use mcp_protocol::{Method, Notification};
use mcp_server::{FrontLimits, Principal};
use serde_json::{Value, json};
use support::{
    BOTH, Client, Desk, Events, Held, Site, body, initialize, modern, progress, raw, refusal, tool,
};
use tokio::time::advance;

type Waiting = tokio::task::JoinHandle<reqwest::Response>;

async fn hold(site: &mut Site, client: &Client, message: Value) -> (Waiting, Held) {
    let client = client.clone();
    let waiting = tokio::spawn(async move { client.post(&message).await });
    (waiting, site.director.held().await)
}

#[tokio::test]
async fn a_session_has_so_many_calls() {
    let limits = FrontLimits { in_flight_per_session: 3, ..FrontLimits::default() };
    let mut site = Site::start(limits).await;
    let session = site.client.initialize("2025-11-25").await;
    let mut held = Vec::new();
    for id in 1..=3 {
        held.push(hold(&mut site, &session, tool(id, "held")).await);
    }
    let refused = session.post(&tool(4, "held")).await;
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refusal(refused).await, (429, -32603));
    assert_eq!(site.client.initialize("2025-11-25").await.post(&tool(1, "echo")).await.status(), 200);
    let (waiting, first) = held.remove(0);
    first.answer(&json!({}));
    assert_eq!(waiting.await.unwrap().status(), 200);
    assert_eq!(session.post(&tool(5, "echo")).await.status(), 200);
    assert_eq!(site.front.stats().refused, 1);
    for (waiting, held) in held {
        held.answer(&json!({}));
        waiting.await.unwrap();
    }
    site.end().await;
}

#[tokio::test]
async fn a_principal_and_everybody_have_so_many_calls() {
    let limits = FrontLimits { in_flight_per_principal: 2, in_flight: 3, ..FrontLimits::default() };
    let mut site = Site::start(limits).await;
    let of = |name: &str| {
        let client = site.client.with("x-principal", name).with("mcp-protocol-version", "2026-07-28");
        client.with("mcp-method", "tools/call").with("mcp-name", "held")
    };
    let (a, b) = (of("a"), of("b"));
    let call = || modern(1, "tools/call", json!({ "name": "held" }));
    let first = hold(&mut site, &a, call()).await;
    let second = hold(&mut site, &a, call()).await;
    assert_eq!(refusal(a.post(&call()).await).await, (429, -32603));
    let third = hold(&mut site, &b, call()).await;
    assert_eq!(refusal(b.post(&call()).await).await, (503, -32603));
    for (waiting, held) in [first, second, third] {
        held.answer(&json!({}));
        assert_eq!(waiting.await.unwrap().status(), 200);
    }
    assert_eq!(site.front.stats().in_flight, 0);
    site.end().await;
}

#[tokio::test]
async fn a_batch_beyond_the_limit_is_answered_in_part() {
    let limits = FrontLimits { in_flight_per_session: 2, ..FrontLimits::default() };
    let site = Site::start(limits).await;
    let session = site.client.initialize("2025-03-26").await;
    let entries: Vec<_> = (1..=3).map(|id| tool(id, "echo")).collect();
    let answers = body(session.post(&json!(entries)).await).await;
    let refused = answers.as_array().unwrap().iter().filter(|answer| answer["error"]["code"] == -32603);
    assert_eq!(refused.map(|answer| answer["id"].clone()).collect::<Vec<_>>(), [3]);
    assert_eq!(answers.as_array().unwrap().len(), 3);
    site.end().await;
}

#[tokio::test]
async fn there_are_so_many_sessions() {
    let site = Site::start(FrontLimits { sessions: 2, ..FrontLimits::default() }).await;
    let first = site.client.initialize("2025-11-25").await;
    site.client.initialize("2025-11-25").await;
    let refused = site.client.post(&initialize("2025-11-25")).await;
    assert_eq!(refusal(refused).await, (503, -32603));
    first.delete().await;
    site.client.initialize("2025-11-25").await;
    let mut refused = initialize("2025-11-25");
    refused["params"]["refuse"] = true.into();
    site.client.with("mcp-session-id", "x").post(&refused).await;
    assert_eq!(site.front.stats().sessions, 2);
    site.end().await;
}

#[tokio::test]
async fn so_much_waits_on_a_stream() {
    let limits = FrontLimits { queue_messages: 3, ..FrontLimits::default() };
    let mut site = Site::start(limits).await;
    let session = site.client.initialize("2025-06-18").await;
    let outlet = site.director.outlet().await;
    for n in 0..4 {
        outlet.notify(progress(n));
    }
    assert_eq!(site.front.stats().dropped, 1);
    assert!(outlet.ask(Method::RootsList, None).await.is_err(), "nor is there room for a question");
    let mut events = Events::of(session.get(None).await);
    for n in 0..3 {
        assert_eq!(events.message().await["params"]["progress"], n);
    }
    outlet.notify(progress(5));
    assert_eq!(events.message().await["params"]["progress"], 5);
    site.end().await;
}

#[tokio::test]
async fn so_many_bytes_wait_on_a_stream() {
    let note = |size: usize| Notification {
        method: Method::Progress,
        params: Some(raw(&json!({ "x": "x".repeat(size) }))),
    };
    let limits = FrontLimits { queue_bytes: 2000, ..FrontLimits::default() };
    let mut site = Site::start(limits).await;
    site.client.initialize("2025-06-18").await;
    let outlet = site.director.outlet().await;
    let around = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"x":""}}"#;
    let overhead = "event: message\ndata: \n\n".len() + around.len();
    outlet.notify(note(1000 - overhead));
    outlet.notify(note(1001 - overhead));
    assert_eq!(site.front.stats().dropped, 1, "one byte too many");
    outlet.notify(note(999 - overhead));
    assert_eq!(site.front.stats().dropped, 1);
    site.end().await;
}

#[tokio::test]
async fn so_much_is_kept_to_be_sent_again() {
    let limits = FrontLimits { kept_events: 4, ..FrontLimits::default() };
    let mut site = Site::start(limits).await;
    let session = site.client.initialize("2025-06-18").await;
    let (waiting, held) = hold(&mut site, &session, tool(1, "held")).await;
    held.notify(0);
    let mut events = Events::of(waiting.await.unwrap());
    let first = events.next().await.unwrap().id.unwrap();
    for n in 1..6 {
        held.notify(n);
        assert_eq!(events.message().await["params"]["progress"], n);
    }
    drop(events);
    let mut resumed = Events::of(session.get(Some(&first)).await);
    for n in 2..6 {
        assert_eq!(resumed.message().await["params"]["progress"], n, "the oldest is gone");
    }
    held.answer(&json!({}));
    assert_eq!(resumed.message().await["id"], 1);
    site.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_comes_back_is_forgotten_soon() {
    let (desk, mut director) = Desk::new(FrontLimits::default());
    desk.initialize().await;
    advance(Duration::from_millis(29_999)).await;
    tokio::task::yield_now().await;
    assert_eq!(desk.front.stats().sessions, 1);
    advance(Duration::from_millis(1001)).await;
    director.ended().await;
    assert_eq!((desk.front.stats().sessions, desk.front.stats().sessions_expired), (0, 1));

    let session = desk.initialize().await;
    advance(Duration::from_millis(29_999)).await;
    assert_eq!(desk.ping(&session).await, 200);
    advance(Duration::from_secs(31)).await;
    assert_eq!(desk.ping(&session).await, 200, "it came back");
}

#[tokio::test(start_paused = true)]
async fn idle_sessions_end_and_those_in_use_do_not() {
    let idle = FrontLimits::default().session_idle;
    let (desk, mut director) = Desk::new(FrontLimits::default());
    let [unused, listening, calling] =
        [desk.initialize().await, desk.initialize().await, desk.initialize().await];
    for session in [&unused, &listening, &calling] {
        assert_eq!(desk.ping(session).await, 200);
    }
    let stream = desk.send("GET", Some(&listening), None).await;
    let call = tool(1, "held");
    let calls = desk.send("POST", Some(&calling), Some(&call));
    let answering = async {
        let answer = calls.await;
        axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    };
    tokio::pin!(answering);
    assert!(futures::poll!(answering.as_mut()).is_pending());
    advance(idle - Duration::from_millis(1)).await;
    assert_eq!(desk.front.stats().sessions, 3);
    advance(Duration::from_secs(2)).await;
    tokio::task::yield_now().await;
    assert_eq!(desk.front.stats().sessions, 2);
    assert_eq!(desk.ping(&unused).await, 404);
    drop(stream);
    director.held().await.answer(&json!({}));
    answering.await;
    advance(idle + Duration::from_secs(2)).await;
    tokio::task::yield_now().await;
    assert_eq!(desk.front.stats().sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn answers_are_kept_for_a_while() {
    let limits = FrontLimits { kept_for: Duration::from_secs(60), ..FrontLimits::default() };
    let (desk, mut director) = Desk::new(limits);
    let session = desk.initialize().await;
    let call = tool(1, "held");
    let posting = desk.send("POST", Some(&session), Some(&call));
    tokio::pin!(posting);
    assert!(futures::poll!(posting.as_mut()).is_pending());
    let held = director.held().await;
    held.notify(1);
    let answer = posting.await;
    held.answer(&json!({}));
    axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    let resume = async || {
        let request = Request::builder().header("accept", BOTH).header("mcp-session-id", &session);
        let request = request.header("last-event-id", "1-1").body(Body::empty()).unwrap();
        let (head, body) = request.into_parts();
        desk.front.handle(&desk.endpoint, Principal::anonymous(), &head, body).await.status()
    };
    advance(Duration::from_secs(59)).await;
    assert_eq!(resume().await, 200);
    advance(Duration::from_secs(2)).await;
    tokio::task::yield_now().await;
    assert_eq!(resume().await, 400);
}

#[tokio::test]
async fn what_slow_streams_of_a_session_hold_is_limited_together() {
    let (desk, mut director) = Desk::new(FrontLimits { kept_events: 4, ..FrontLimits::default() });
    let session = desk.initialize().await;
    let mut streams = Vec::new();
    for id in 1..=2 {
        let call = tool(id, "held");
        let posting = desk.send("POST", Some(&session), Some(&call));
        tokio::pin!(posting);
        assert!(futures::poll!(posting.as_mut()).is_pending());
        let held = director.held().await;
        held.notify(0);
        streams.push((held, posting.await));
    }
    for (held, dropped) in [(&streams[0].0, 0), (&streams[1].0, 0), (&streams[0].0, 1), (&streams[1].0, 2)] {
        held.notify(1);
        assert_eq!(desk.front.stats().dropped, dropped);
    }
    for (held, answer) in streams {
        held.answer(&json!({}));
        let text = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        let text = std::str::from_utf8(&text).unwrap();
        assert_eq!(text.matches("notifications/progress").count(), 2);
        assert_eq!(text.matches("result").count(), 1, "answers always find room");
    }
}

#[tokio::test]
async fn a_stateless_call_that_is_not_read_drops_what_it_says() {
    let (desk, mut director) = Desk::new(FrontLimits { queue_messages: 3, ..FrontLimits::default() });
    let message = modern(1, "tools/call", json!({ "name": "held" }));
    let request =
        Request::builder().method("POST").header("accept", BOTH).header("content-type", "application/json");
    let request = request.header("mcp-protocol-version", support::MODERN).header("mcp-method", "tools/call");
    let request = request.header("mcp-name", "held").body(Body::from(message.to_string())).unwrap();
    let (head, body) = request.into_parts();
    let answering = desk.front.handle(&desk.endpoint, Principal::anonymous(), &head, body);
    tokio::pin!(answering);
    assert!(futures::poll!(answering.as_mut()).is_pending());
    let held = director.held().await;
    for n in 0..4 {
        held.notify(n);
    }
    assert_eq!(desk.front.stats().dropped, 1);
    held.answer(&json!({ "done": true }));
    let text = axum::body::to_bytes(answering.await.into_body(), usize::MAX).await.unwrap();
    let text = std::str::from_utf8(&text).unwrap();
    assert_eq!(text.matches("notifications/progress").count(), 3);
    assert!(text.ends_with("\"result\":{\"done\":true}}\n\n"), "answers always find room: {text}");
}
