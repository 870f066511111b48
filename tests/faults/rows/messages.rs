//! R08 to R12: messages that are none, or answer nobody.

use std::rc::Rc;
use std::time::Duration;

use mcp_testkit::fault::{RESULT, Step};
use mcp_transport::Delivery;

use super::LIST_CHANGED;
use crate::table::{ALL, HTTP, Phase, Row, SHARED, STDIO};
use crate::world::{AMPLE, LIMIT, World};

/// What starting a process takes.
const START: Duration = Duration::from_millis(50);

pub(crate) fn r08() -> Row {
    Row::new(
        "R08",
        "truncated",
        "A message is cut off although its frame is whole, or comes in pieces although it is whole",
        "what is cut off is dropped and the next message is read; pieces are put together",
    )
    .on(ALL, Phase::Handshake, "before_the_answer", |w| async move { in_handshake(w, &cut()).await })
    .on(ALL, Phase::Answer, "before_the_answer", |w| then_the_answer(w, cut()))
    .on(HTTP, Phase::Answer, "a_body_in_place_of_the_answer", |w| body_alone(w, cut(), "payload"))
    .on(HTTP, Phase::Answer, "an_event_in_place_of_the_answer", |w| event_alone(w, cut()))
    .on(HTTP, Phase::Answer, "an_event_in_one_byte_pieces", |w| in_pieces(w, true))
    .on(HTTP, Phase::Answer, "a_body_in_one_byte_pieces", |w| in_pieces(w, false))
}

fn cut() -> String {
    r#"{"jsonrpc":"2.0","id":$ID,"result":{"content":[{"ty"#.to_owned()
}

/// A message of no use comes before the answer that opens the connection.
async fn in_handshake(w: Rc<World>, message: &str) {
    w.upstream.plan_once(w.opening(), w.open_after([Step::Event(message.to_owned())]));
    let client = w.connect().await;
    w.works(&client).await;
}

/// A message of no use, and then the answer: the call is answered, and so is the next.
async fn then_the_answer(w: Rc<World>, message: String) {
    w.plan("a", [Step::Execute, Step::Event(message), Step::Event(RESULT.into())]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.answered().at_once();
    w.works(&client).await;
}

/// A body of no use in place of the answer: one error at once.
async fn body_alone(w: Rc<World>, message: String, kind: &str) {
    w.plan("a", [Step::Execute, Step::Json(message)]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.failed(&[kind], Delivery::Unknown).at_once();
    w.works(&client).await;
}

/// The same as the only event of a stream.
async fn event_alone(w: Rc<World>, message: String) {
    w.plan("a", [Step::Execute, Step::Event(message)]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.failed(&["payload", "invalid"], Delivery::Unknown).at_once();
    w.works(&client).await;
}

async fn in_pieces(w: Rc<World>, event: bool) {
    w.proxy().set(|rules| rules.slice = 1);
    let answer = if event { Step::Event(RESULT.into()) } else { Step::Answer };
    w.plan("a", [Step::Execute, answer]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.answered();
    w.works(&client).await;
}

pub(crate) fn r09() -> Row {
    Row::new(
        "R09",
        "ids",
        "An answer has an id that was never used, none, or one of another type",
        "the first valid answer wins, the rest is counted, the reader goes on",
    )
    .on(ALL, Phase::Handshake, "unknown", |w| async move { in_handshake(w, &with_id("4711")).await })
    .on(ALL, Phase::Handshake, "null", |w| async move { in_handshake(w, &with_id("null")).await })
    .on(ALL, Phase::Handshake, "retyped", |w| async move { in_handshake(w, &with_id("\"$ID\"")).await })
    .on(ALL, Phase::Answer, "unknown_then_right", |w| counted(w, "4711"))
    .on(ALL, Phase::Answer, "null_then_right", |w| counted(w, "null"))
    .on(ALL, Phase::Answer, "retyped_then_right", |w| counted(w, "\"$ID\""))
    .on(ALL, Phase::Answer, "fraction_then_right", |w| counted(w, "$ID.5"))
    .on(HTTP, Phase::Answer, "unknown_alone", |w| body_alone(w, with_id("4711"), "invalid"))
    .on(HTTP, Phase::Answer, "null_alone", |w| body_alone(w, with_id("null"), "payload"))
    .on(HTTP, Phase::Answer, "retyped_alone", |w| body_alone(w, with_id("\"$ID\""), "invalid"))
    .on(SHARED, Phase::Answer, "unknown_alone", wrong_id_alone)
}

fn with_id(id: &str) -> String {
    RESULT.replace("$ID", id).replace("\"nonce\":\"$NONCE\"", "\"nonce\":\"of nobody\"")
}

async fn counted(w: Rc<World>, id: &str) {
    w.plan("a", [Step::Execute, Step::Event(with_id(id)), Step::Event(RESULT.into())]);
    let client = w.connect().await;
    let before = client.stats();
    w.call(&client, "a", AMPLE).await.answered().at_once();
    let after = client.stats();
    let counted = |stats: mcp_client::ClientStats| stats.unknown_answers + stats.bad_messages;
    assert_eq!(counted(after) - counted(before), 1, "{after:?}");
    w.works(&client).await;
}

async fn wrong_id_alone(w: Rc<World>) {
    w.plan("a", [Step::Execute, Step::Event(with_id("4711"))]);
    let client = w.connect().await;
    w.call(&client, "a", LIMIT).await.timed_out(LIMIT);
    w.is_cancelled("a").await;
    w.works(&client).await;
}

pub(crate) fn r10() -> Row {
    Row::new(
        "R10",
        "duplicate",
        "An answer comes twice",
        "the first wins, the second is counted where it can be seen, and never taken for another call's",
    )
    .on(ALL, Phase::Handshake, "the_same", duplicate_handshake)
    .on(ALL, Phase::Answer, "the_same", |w| duplicate(w, RESULT.into()))
    .on(ALL, Phase::Answer, "another_result", |w| duplicate(w, with_id("$ID")))
    .on(ALL, Phase::Answer, "an_error_after_the_result", |w| duplicate(w, error()))
    .on(ALL, Phase::Answer, "a_result_after_the_error", result_after_error)
    .on(SHARED, Phase::Idle, "long_after", long_after)
}

fn error() -> String {
    r#"{"jsonrpc":"2.0","id":$ID,"error":{"code":-32000,"message":"on second thought"}}"#.to_owned()
}

async fn duplicate_handshake(w: Rc<World>) {
    let mut steps = w.open_after([]);
    steps.extend(steps.last().cloned());
    w.upstream.plan_once(w.opening(), steps);
    let client = w.connect().await;
    w.works(&client).await;
}

async fn duplicate(w: Rc<World>, second: String) {
    w.plan("a", [Step::Execute, Step::Event(RESULT.into()), Step::Event(second)]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.answered().at_once();
    w.works(&client).await;
    if w.transport.is_shared() {
        assert_eq!(client.stats().late_answers, 1);
    }
}

async fn result_after_error(w: Rc<World>) {
    w.plan("a", [Step::Event(error()), Step::Event(RESULT.into())]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE)
        .await
        .failed(&["rpc"], Delivery::Rejected)
        .says("on second thought")
        .at_once();
    w.works(&client).await;
    if w.transport.is_shared() {
        assert_eq!(client.stats().late_answers, 1);
    }
}

async fn long_after(w: Rc<World>) {
    let client = w.connect().await;
    w.works_as(&client, "before").await;
    let id = w.upstream.ledger().received("before")[0].id.clone().unwrap();
    w.upstream.order(Step::Event(RESULT.replace("$ID", &id)));
    crate::watch::until("it is counted", || match client.stats().late_answers {
        1 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    w.works(&client).await;
}

pub(crate) fn r11() -> Row {
    Row::new(
        "R11",
        "both",
        "A message is an answer and an error at once, or neither",
        "it is no answer: one error at once, or the valid answer that follows; the reader goes on",
    )
    .on(ALL, Phase::Handshake, "result_and_error", |w| unusable_handshake(w, BOTH))
    .on(ALL, Phase::Answer, "result_and_error", |w| unusable(w, BOTH))
    .on(ALL, Phase::Answer, "neither", |w| unusable(w, r#"{"jsonrpc":"2.0","id":$ID}"#))
    .on(ALL, Phase::Answer, "no_object", |w| unusable_result(w, r#"{"jsonrpc":"2.0","id":$ID,"result":[1]}"#))
    .on(ALL, Phase::Answer, "null_result", |w| {
        unusable_result(w, r#"{"jsonrpc":"2.0","id":$ID,"result":null}"#)
    })
    .on(ALL, Phase::Answer, "method_and_result", |w| {
        unusable(w, r#"{"jsonrpc":"2.0","id":$ID,"method":"ping","result":{}}"#)
    })
}

const BOTH: &str = r#"{"jsonrpc":"2.0","id":$ID,"result":{},"error":{"code":-32000,"message":"both"}}"#;

async fn unusable_handshake(w: Rc<World>, message: &'static str) {
    w.plan(w.opening(), [Step::Json(message.into())]);
    w.plan("initialize", [Step::Json(message.into())]);
    w.connect_fails().await.took.at_most(START);
    assert!(w.upstream.ledger().received("POST").len() <= 4, "no storm of tries");
}

async fn unusable(w: Rc<World>, message: &'static str) {
    w.plan("a", [Step::Execute, Step::Json(message.into())]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.failed(&["payload", "invalid"], Delivery::Unknown).at_once();
    if w.transport.is_shared() {
        assert_eq!(client.stats().bad_messages, 1);
    }
    w.works(&client).await;
}

async fn unusable_result(w: Rc<World>, message: &'static str) {
    w.plan("a", [Step::Execute, Step::Json(message.into())]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.failed(&["invalid", "payload"], Delivery::Unknown).at_once();
    w.works(&client).await;
}

pub(crate) fn r12() -> Row {
    Row::new(
        "R12",
        "unsolicited",
        "Something comes that nobody asked for",
        "it is dropped and counted, or reaches those who subscribed; calls are untouched",
    )
    .on(SHARED, Phase::Idle, "an_answer", unsolicited_answer)
    .on(SHARED, Phase::Idle, "a_notification", unsolicited_notification)
    .on(STDIO, Phase::Handshake, "a_notification_first", notification_first)
    .on(ALL, Phase::Answer, "a_list_changed_before_the_answer", list_changed)
    .on(ALL, Phase::Answer, "progress_of_another_call", foreign_progress)
    .on(ALL, Phase::Answer, "an_unknown_notification", unknown_notification)
}

async fn unsolicited_answer(w: Rc<World>) {
    let client = w.connect().await;
    let before = client.stats().unknown_answers;
    w.upstream.order(Step::Event(RESULT.replace("$ID", "4711")));
    crate::watch::until("it is counted", || match client.stats().unknown_answers - before {
        1 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    w.works(&client).await;
}

async fn unsolicited_notification(w: Rc<World>) {
    let client = w.connect().await;
    let mut notifications = client.notifications();
    w.upstream.order(Step::Event(LIST_CHANGED.into()));
    let heard = tokio::time::timeout(AMPLE, notifications.recv()).await.unwrap().unwrap();
    assert_eq!(heard.method.as_str(), "notifications/tools/list_changed");
    w.works(&client).await;
}

async fn notification_first(w: Rc<World>) {
    w.plan("connect", [Step::Event(LIST_CHANGED.into())]);
    let client = w.connect().await;
    w.works(&client).await;
}

async fn list_changed(w: Rc<World>) {
    w.plan("a", [Step::Execute, Step::Event(LIST_CHANGED.into()), Step::Event(RESULT.into())]);
    let client = w.connect().await;
    let mut notifications = client.notifications();
    w.call(&client, "a", AMPLE).await.answered();
    let heard = tokio::time::timeout(AMPLE, notifications.recv()).await.unwrap().unwrap();
    assert_eq!(heard.method.as_str(), "notifications/tools/list_changed");
}

async fn foreign_progress(w: Rc<World>) {
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"mcp-client/4711","progress":1}}"#;
    then_the_answer(w, progress.to_owned()).await;
}

async fn unknown_notification(w: Rc<World>) {
    then_the_answer(
        w,
        r#"{"jsonrpc":"2.0","method":"notifications/nobody/knows","params":{"x":1}}"#.to_owned(),
    )
    .await;
}
