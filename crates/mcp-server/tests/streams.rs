//! The streams of a session: one reader each, resumption, and questions to the client (wire reference §4.2).

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use mcp_protocol::{Method, Notification, RawJson};
use mcp_server::{AskError, Channel, FrontLimits};
use serde_json::{Value, json};
use support::{Client, Desk, Events, Held, Site, progress, raw, refusal, tool};
use tokio::task::JoinHandle;

type Asked = JoinHandle<Result<RawJson, AskError>>;

fn ask(outlet: &Arc<dyn Channel>, n: u32) -> Asked {
    tokio::spawn(outlet.ask(Method::SamplingCreateMessage, Some(raw(&json!({ "n": n })))))
}

fn changed() -> Notification {
    Notification { method: Method::ToolsListChanged, params: None }
}

/// A call whose answer has begun as a stream, with one notification read; the stream and the last event's id.
async fn streaming(site: &mut Site, session: &Client, id: u32) -> (Events, Held, String) {
    let asking = session.clone();
    let waiting = tokio::spawn(async move { asking.post(&tool(id, "held")).await });
    let held = site.director.held().await;
    held.notify(1);
    let mut events = Events::of(waiting.await.unwrap());
    let event = events.next().await.unwrap();
    assert_eq!(event.json()["params"]["progress"], 1);
    (events, held, event.id.unwrap())
}

async fn reply(session: &Client, question: &Value, result: Value) {
    let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": result });
    assert_eq!(session.post(&answer).await.status(), 202);
}

#[tokio::test]
async fn only_the_newest_revision_is_primed() {
    let mut site = Site::plain().await;
    for (version, primed) in [("2025-03-26", false), ("2025-06-18", false), ("2025-11-25", true)] {
        let session = site.client.initialize(version).await;
        let mut common = Events::of(session.get(None).await);
        let comment = common.next_raw().await.unwrap();
        assert_eq!((comment.id, comment.data), (None, None));
        let outlet = site.director.outlet().await;
        outlet.notify(changed());
        let asking = session.clone();
        let waiting = tokio::spawn(async move { asking.post(&tool(1, "held")).await });
        let held = site.director.held().await;
        held.notify(1);
        for mut events in [common, Events::of(waiting.await.unwrap())] {
            let mut first = events.next_raw().await.unwrap();
            if primed {
                assert_eq!((first.name, first.data.as_deref()), (None, Some("")), "{version}");
                assert!(first.id.unwrap().ends_with("-0"));
                first = events.next_raw().await.unwrap();
            }
            assert!(first.id.unwrap().ends_with("-1"));
            assert_eq!(first.name.as_deref(), Some("message"), "{version}");
        }
        held.answer(&json!({}));
    }
    site.end().await;
}

/// A call that takes its time can be taken up again, by clients that know the event such a stream begins with.
#[tokio::test]
async fn a_slow_answer_becomes_a_stream_that_can_be_resumed() {
    let mut site = Site::plain().await;
    for (version, streams) in [("2025-06-18", false), ("2025-11-25", true)] {
        let session = site.client.initialize(version).await;
        let asking = session.clone();
        let mut waiting = tokio::spawn(async move { asking.post(&tool(1, "held")).await });
        let held = site.director.held().await;
        if !streams {
            // Far beyond the time after which the other would begin.
            let early = tokio::time::timeout(FrontLimits::default().stream_after * 4, &mut waiting).await;
            assert!(early.is_err(), "{version} waits for its one message");
            held.answer(&json!({ "done": version }));
            let answer = waiting.await.unwrap().bytes().await.unwrap();
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            assert_eq!(answer["result"]["done"], version);
            continue;
        }
        let mut events = Events::of(waiting.await.unwrap());
        let first = events.next_raw().await.unwrap();
        assert_eq!(first.data.as_deref(), Some(""), "{version}");
        // The connection breaks, and the answer is there when the client comes back.
        drop(events);
        held.answer(&json!({ "done": version }));
        let mut events = Events::of(session.get(first.id.as_deref()).await);
        assert_eq!(events.message().await["result"]["done"], version);
        events.ends().await;
    }
    site.end().await;
}

#[tokio::test]
async fn a_second_stream_is_refused_and_the_first_keeps_its_events() {
    let mut site = Site::plain().await;
    let session = site.client.initialize("2025-06-18").await;
    let outlet = site.director.outlet().await;
    let mut first = Events::of(session.get(None).await);
    outlet.notify(changed());
    assert_eq!(session.get(None).await.status(), 409);
    assert_eq!(first.message().await["method"], "notifications/tools/list_changed");
    outlet.notify(changed());
    outlet.notify(progress(1));
    first.message().await;
    let last = first.next().await.unwrap();
    assert_eq!(last.json()["method"], "notifications/progress");

    // What is said while nobody reads waits, and what changed is said once.
    drop(first);
    site.until(|stats| stats.streams == 0).await;
    for notification in [changed(), changed(), progress(2), changed()] {
        outlet.notify(notification);
    }
    let mut again = Events::of(session.get(None).await);
    assert_eq!(again.message().await["method"], "notifications/tools/list_changed");
    assert_eq!(again.message().await["params"]["progress"], 2);
    outlet.notify(progress(3));
    assert_eq!(again.message().await["params"]["progress"], 3);
    let not_events = site.client.with("mcp-session-id", &session.session_id());
    let refused = not_events.send("GET", "/mcp", &[("accept", "application/json")], String::new()).await;
    assert_eq!(refused.status(), 406);
    site.end().await;
}

#[tokio::test]
async fn a_stream_that_broke_goes_on_where_it_was() {
    let mut site = Site::plain().await;
    let session = site.client.initialize("2025-11-25").await;
    let (events, held, last) = streaming(&mut site, &session, 1).await;
    let (mut others, other, _) = streaming(&mut site, &session, 2).await;
    held.notify(2);
    drop(events);
    held.notify(3);
    other.notify(9);
    // Replayed after the event named, and going on.
    let mut resumed = Events::of(session.get(Some(&last)).await);
    assert_eq!(resumed.message().await["params"]["progress"], 2);
    assert_eq!(resumed.message().await["params"]["progress"], 3);
    held.notify(4);
    assert_eq!(resumed.message().await["params"]["progress"], 4);
    // Whoever resumes has the stream, also if it is not known yet that the reader before is gone.
    let mut taken = Events::of(session.get(Some(&last)).await);
    resumed.ends().await;
    held.answer(&json!({ "done": true }));
    for expected in 2..=4 {
        assert_eq!(taken.message().await["params"]["progress"], expected);
    }
    assert_eq!(taken.message().await["result"]["done"], true);
    taken.ends().await;
    // The answer stays for a client that missed it.
    let mut late = Events::of(session.get(Some(&last)).await);
    for _ in 2..=4 {
        late.message().await;
    }
    assert_eq!(late.message().await["result"]["done"], true);
    late.ends().await;
    assert_eq!(others.message().await["params"]["progress"], 9, "nothing of the other stream");
    assert_eq!(site.front.stats().resumed, 3);
    for made_up in ["", "x", "1", "99-1", "1-99", "0-7", "-1--1"] {
        assert_eq!(refusal(session.get(Some(made_up)).await).await, (400, -32600), "{made_up:?}");
    }
    other.answer(&json!({}));
    site.end().await;
}

#[tokio::test]
async fn the_answer_of_a_call_that_was_left_waits_for_its_client() {
    let mut site = Site::plain().await;
    let session = site.client.initialize("2025-06-18").await;
    let (events, held, last) = streaming(&mut site, &session, 1).await;
    drop(events);
    held.answer(&json!({ "done": true }));
    site.until(|stats| stats.in_flight == 0).await;
    let mut resumed = Events::of(session.get(Some(&last)).await);
    assert_eq!(resumed.message().await["result"]["done"], true);
    resumed.ends().await;
    // The common stream has nothing of it.
    let outlet = site.director.outlet().await;
    let mut common = Events::of(session.get(None).await);
    outlet.notify(changed());
    assert_eq!(common.message().await["method"], "notifications/tools/list_changed");
    site.end().await;
}

#[tokio::test]
async fn a_question_goes_on_the_stream_of_its_request() {
    let mut site = Site::plain().await;
    let session = site.client.initialize("2025-06-18").await;
    let mut common = Events::of(session.get(None).await);
    let outlet = site.director.outlet().await;
    let asking = session.clone();
    let waiting = tokio::spawn(async move { asking.post(&tool(1, "held")).await });
    let held = site.director.held().await;
    let (first, second) = (ask(&held.outlet, 1), ask(&held.outlet, 2));
    let mut events = Events::of(waiting.await.unwrap());
    let (one, two) = (events.message().await, events.message().await);
    assert_eq!((&one["method"], &one["params"]["n"]), (&json!("sampling/createMessage"), &json!(1)));
    assert_ne!(one["id"], two["id"]);
    let refused = json!({ "jsonrpc": "2.0", "id": two["id"], "error": { "code": -1, "message": "no" } });
    session.post(&refused).await;
    reply(&session, &one, json!({ "yes": 1 })).await;
    assert_eq!(first.await.unwrap().unwrap(), raw(&json!({ "yes": 1 })));
    let Err(AskError::Refused(error)) = second.await.unwrap() else { panic!() };
    assert_eq!(error.code().unwrap().0, -1);

    // Another session cannot answer.
    let other = site.client.initialize("2025-06-18").await;
    let third = ask(&held.outlet, 3);
    let question = events.message().await;
    reply(&other, &question, json!({ "from": "another" })).await;
    reply(&session, &question, json!({ "from": "the client" })).await;
    assert_eq!(third.await.unwrap().unwrap(), raw(&json!({ "from": "the client" })));

    // Outside of requests the common stream is the way.
    let fourth = ask(&outlet, 4);
    let question = common.message().await;
    assert_eq!(question["params"]["n"], 4);
    reply(&session, &question, json!({})).await;
    fourth.await.unwrap().unwrap();
    held.answer(&json!({}));
    assert_eq!(events.message().await["id"], 1);
    site.end().await;
}

#[tokio::test]
async fn a_question_waits_until_its_client_comes_back() {
    let mut site = Site::plain().await;
    let session = site.client.initialize("2025-06-18").await;
    let outlet = site.director.outlet().await;
    // No stream at all: it waits for the common one.
    let asked = ask(&outlet, 1);
    tokio::task::yield_now().await;
    let mut common = Events::of(session.get(None).await);
    let question = common.message().await;
    reply(&session, &question, json!({})).await;
    asked.await.unwrap().unwrap();
    // Its stream is gone, the common one is there.
    let (events, held, last) = streaming(&mut site, &session, 1).await;
    drop(events);
    site.until(|stats| stats.streams == 1).await;
    let asked = ask(&held.outlet, 2);
    let question = common.message().await;
    assert_eq!(question["params"]["n"], 2);
    reply(&session, &question, json!({})).await;
    asked.await.unwrap().unwrap();
    // Neither is: it waits on its own, until the common one is opened ...
    drop(common);
    site.until(|stats| stats.streams == 0).await;
    let asked = [ask(&held.outlet, 3), ask(&held.outlet, 4)];
    let mut common = Events::of(session.get(None).await);
    for (n, asked) in (3..).zip(asked) {
        let question = common.message().await;
        assert_eq!(question["params"]["n"], n);
        reply(&session, &question, json!({})).await;
        asked.await.unwrap().unwrap();
    }
    // ... or its own is resumed.
    drop(common);
    site.until(|stats| stats.streams == 0).await;
    let asked = ask(&held.outlet, 5);
    let mut resumed = Events::of(session.get(Some(&last)).await);
    let question = resumed.message().await;
    assert_eq!(question["params"]["n"], 5);
    reply(&session, &question, json!({})).await;
    asked.await.unwrap().unwrap();
    held.answer(&json!({}));
    assert_eq!(resumed.message().await["id"], 1);
    site.end().await;
}

#[tokio::test]
async fn a_question_nobody_waits_for_is_taken_back() {
    let mut site = Site::plain().await;
    let session = site.client.initialize("2025-06-18").await;
    let outlet = site.director.outlet().await;
    let never_read = outlet.ask(Method::RootsList, None);
    drop(never_read);
    let mut common = Events::of(session.get(None).await);
    let asked = ask(&outlet, 1);
    let question = common.message().await;
    assert_eq!(question["params"]["n"], 1, "the one before never went out");
    asked.abort();
    let cancelled = common.message().await;
    assert_eq!(cancelled["method"], "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], question["id"]);
    reply(&session, &question, json!({})).await; // too late, and no harm
    // The end of the session is the end of its questions.
    let asked = ask(&outlet, 2);
    common.message().await;
    session.delete().await;
    assert!(matches!(asked.await.unwrap(), Err(AskError::Unreachable(_))));
    assert!(matches!(ask(&outlet, 3).await.unwrap(), Err(AskError::Unreachable(_))));
    site.end().await;
}

#[tokio::test]
async fn streams_are_kept_alive_and_end_with_the_server() {
    let limits = FrontLimits { keep_alive: Duration::from_millis(20), ..FrontLimits::default() };
    let mut site = Site::start(limits).await;
    let session = site.client.initialize("2025-06-18").await;
    let mut common = Events::of(session.get(None).await);
    for _ in 0..3 {
        assert_eq!(common.next_raw().await.unwrap().data, None, "a comment");
    }
    let mut slow = Events::of(session.post(&tool(1, "held")).await);
    assert_eq!(slow.next_raw().await.unwrap().data, None, "a comment");
    site.front.shutdown();
    common.ends().await;
    assert_eq!(session.get(None).await.status(), 503);
    assert_eq!(site.client.post(&support::initialize("2025-06-18")).await.status(), 503);
    site.director.held().await.answer(&json!({ "done": true }));
    assert_eq!(slow.message().await["result"]["done"], true);
    slow.ends().await;
    assert_eq!(site.end().await.cut, 0);
}

#[tokio::test]
async fn what_waits_goes_out_in_one_piece_and_large_texts_as_they_are() {
    let (desk, mut director) = Desk::new(FrontLimits::default());
    let session = desk.initialize().await;
    let outlet = director.outlet().await;
    let say = |n: u32, text: &str| {
        let params = Some(raw(&json!({ "n": n, "text": text })));
        outlet.notify(Notification { method: Method::LogMessage, params });
    };
    let large = "x".repeat(5000);
    for (n, text) in [(1, "a"), (2, "b"), (3, &large), (4, "c")] {
        say(n, text);
    }
    let common = desk.send("GET", Some(&session), None).await.into_body();
    let mut chunks =
        common.into_data_stream().map(|chunk| String::from_utf8(chunk.unwrap().to_vec()).unwrap());
    assert_eq!(chunks.next().await.unwrap(), ":\n\n");
    let event = |n: u32, text: &str| {
        format!(
            "event: message\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\
             \"params\":{{\"n\":{n},\"text\":\"{text}\"}}}}\n\n"
        )
    };
    let (first, second) = (event(1, "a"), event(2, "b"));
    let piece = format!("id: 0-0\nretry: 1000\ndata:\n\nid: 0-1\n{first}id: 0-2\n{second}id: 0-3\n");
    assert_eq!(chunks.next().await.unwrap(), piece);
    assert_eq!(chunks.next().await.unwrap(), event(3, &large));
    assert_eq!(chunks.next().await.unwrap(), format!("id: 0-4\n{}", event(4, "c")));
}
