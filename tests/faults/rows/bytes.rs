//! R19 to R21: bytes that are no text, too many of them, too many messages.

use std::rc::Rc;
use std::time::Duration;

use mcp_protocol::Limits;
use mcp_testkit::fault::{Gate, RESULT, Step};
use mcp_transport::Delivery;

use super::SAID;
use crate::table::{ALL, HTTP, Phase, Row, STDIO};
use crate::world::{AMPLE, World};

/// Bytes that are no UTF-8, in a message that is one otherwise.
const INVALID: &[u8] =
    b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"data\":\"\xff\xfe\"}}";

/// The largest message in the cells about giant ones.
const MOST: usize = 64 << 10;

/// Notifications in a flood.
const FLOOD: u32 = 5_000;

/// Longest time that reading a flood may take.
const FLOOD_TIME: Duration = Duration::from_secs(2);

fn framed(w: &World, bytes: &[u8]) -> Step {
    Step::Bytes(if w.transport.is_stdio() {
        [bytes, b"\n"].concat()
    } else {
        [b"event: message\ndata: ", bytes, b"\n\n"].concat()
    })
}

pub(crate) fn r19() -> Row {
    Row::new(
        "R19",
        "invalid_utf8",
        "A message is no UTF-8",
        "it is dropped and counted, the next one is fine",
    )
    .on(ALL, Phase::Handshake, "before_the_answer", invalid_in_handshake)
    .on(ALL, Phase::Answer, "before_the_answer", invalid_before)
    .on(ALL, Phase::Answer, "in_the_answer", invalid_answer)
    .on(STDIO, Phase::Idle, "between_calls", invalid_between)
}

async fn invalid_in_handshake(w: Rc<World>) {
    w.upstream.plan_once(w.opening(), w.open_after([framed(&w, INVALID)]));
    let client = w.connect().await;
    w.works(&client).await;
}

async fn invalid_before(w: Rc<World>) {
    w.plan("a", [Step::Execute, framed(&w, INVALID), Step::Event(RESULT.into())]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.answered().at_once();
    w.works(&client).await;
}

async fn invalid_answer(w: Rc<World>) {
    let client = w.connect().await;
    // The id of the first call after the handshake is not known to a plan of bytes.
    let next = next_id(&w, &client).await;
    let start = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{next},\"result\":{{\"content\":[{{\"type\":\"text\",\"text\":\""
    );
    let answer = [start.as_bytes(), b"\xc3\x28\"}]}}"].concat();
    w.plan("a", [Step::Execute, framed(&w, &answer)]);
    let ended = w.call(&client, "a", Duration::from_millis(300)).await;
    if w.transport.is_shared() {
        // What cannot be read as text may be answered at once or not at all.
        ended.failed(&["payload", "timeout"], Delivery::Unknown);
    } else {
        ended.failed(&["payload"], Delivery::Unknown).at_once();
    }
    w.works(&client).await;
}

/// The id that the next call will have.
async fn next_id(w: &World, client: &mcp_client::Client) -> i64 {
    w.works_as(client, "before").await;
    let id = w.upstream.ledger().received("before")[0].id.clone().unwrap();
    id.parse::<i64>().unwrap() + 1
}

async fn invalid_between(w: Rc<World>) {
    let client = w.connect().await;
    w.plan("before", [Step::Execute, Step::Answer, framed(&w, INVALID)]);
    w.works_as(&client, "before").await;
    w.works(&client).await;
}

pub(crate) fn r20() -> Row {
    Row::new(
        "R20",
        "giant",
        "A message is larger than any may be",
        "it is dropped without being kept, one error if it was the answer, the next one is fine",
    )
    .on(ALL, Phase::Handshake, "before_the_answer", giant_in_handshake)
    .on(ALL, Phase::Answer, "before_the_answer", giant_before)
    .on(ALL, Phase::Answer, "the_answer", giant_answer)
    .on(HTTP, Phase::Answer, "a_body_of_unknown_length", giant_chunked)
    .on(ALL, Phase::Answer, "without_an_end", endless)
}

fn small(w: &World) {
    let limits = Limits::default().with_max_bytes(MOST);
    w.stdio.borrow_mut().limits = limits;
    let mut http = w.http.borrow_mut();
    http.limits = limits;
    http.max_event_bytes = MOST;
}

fn giant() -> String {
    SAID.replace("working", &"x".repeat(MOST + MOST / 2))
}

async fn giant_in_handshake(w: Rc<World>) {
    small(&w);
    w.upstream.plan_once(w.opening(), w.open_after([Step::Event(giant())]));
    let client = w.connect().await;
    w.works(&client).await;
}

async fn giant_before(w: Rc<World>) {
    small(&w);
    w.plan("a", [Step::Execute, Step::Event(giant()), Step::Event(RESULT.into())]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.answered();
    w.works(&client).await;
}

async fn giant_answer(w: Rc<World>) {
    small(&w);
    let answer = RESULT.replacen("$NONCE", &"x".repeat(MOST + MOST / 2), 1);
    w.plan("a", [Step::Execute, Step::Json(answer)]);
    let client = w.connect().await;
    let limit = Duration::from_millis(400);
    let ended = w.call(&client, "a", limit).await;
    if w.transport.is_shared() {
        // Whose answer it was is not known of a line that was thrown away.
        ended.failed(&["payload", "timeout"], Delivery::Unknown);
    } else {
        ended.failed(&["payload"], Delivery::Unknown).at_once();
    }
    w.works(&client).await;
}

async fn giant_chunked(w: Rc<World>) {
    small(&w);
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n".to_vec();
    w.plan("a", [Step::Execute, Step::Raw(head), Step::Bytes(vec![b' '; MOST * 4]), Step::Close]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.failed(&["payload"], Delivery::Unknown).at_once();
    w.works(&client).await;
}

async fn endless(w: Rc<World>) {
    small(&w);
    let gate = Gate::new();
    let mut steps = vec![Step::Execute];
    steps.extend((0..64).map(|_| Step::Bytes(vec![b'x'; MOST])));
    steps.extend([Step::Until(gate.clone()), Step::Bytes(b"\n".into())]);
    w.plan("a", steps);
    let client = w.connect().await;
    let ended = w.call(&client, "a", AMPLE).await;
    ended.failed(&["payload", "closed"], Delivery::Unknown);
    gate.open();
    if w.transport.is_shared() {
        w.call(&client, "b", AMPLE).await.failed(&["closed"], Delivery::NotSent).at_once();
    } else {
        w.works(&client).await;
    }
}

pub(crate) fn r21() -> Row {
    Row::new(
        "R21",
        "flood",
        "Notifications come by the thousand",
        "calls are answered meanwhile; what nobody reads is dropped and counted, and not kept",
    )
    .on(ALL, Phase::Answer, "before_the_answer", flood_before)
    .on(ALL, Phase::Answer, "progress_before_the_answer", progress_flood)
    .on(ALL, Phase::Answer, "with_other_calls", flood_with_others)
    .on(STDIO, Phase::Idle, "between_calls", flood_between)
}

async fn flood_before(w: Rc<World>) {
    w.plan("a", [Step::Execute, Step::Flood(SAID.into(), FLOOD), Step::Event(RESULT.into())]);
    let client = w.connect().await;
    let took = w.call(&client, "a", AMPLE).await.answered();
    took.at_most(FLOOD_TIME);
    assert!(client.stats().notifications_dropped > 0);
    w.works(&client).await;
}

async fn progress_flood(w: Rc<World>) {
    w.plan("a", [Step::Execute, Step::Flood(super::PROGRESS.into(), FLOOD), Step::Event(RESULT.into())]);
    let client = w.connect().await;
    let took = w.call(&client, "a", AMPLE).await.answered();
    took.at_most(FLOOD_TIME);
    w.works(&client).await;
}

async fn flood_with_others(w: Rc<World>) {
    w.plan("a", [Step::Execute, Step::Flood(SAID.into(), FLOOD), Step::Event(RESULT.into())]);
    let client = w.connect().await;
    let others = async {
        w.upstream.ledger().came("a", 1).await;
        for number in 0..5 {
            let took = w.works_as(&client, &format!("n{number}")).await;
            took.at_most(FLOOD_TIME);
        }
    };
    let (ended, ()) = tokio::join!(w.call(&client, "a", AMPLE), others);
    ended.answered();
}

async fn flood_between(w: Rc<World>) {
    let client = w.connect().await;
    w.plan("before", [Step::Execute, Step::Answer, Step::Flood(SAID.into(), FLOOD)]);
    w.works_as(&client, "before").await;
    let took = w.works(&client).await;
    took.at_most(FLOOD_TIME);
    assert!(client.stats().notifications_dropped > 0);
}
