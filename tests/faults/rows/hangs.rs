//! R02 to R04: the upstream is silent, or slow, or late.

use std::rc::Rc;
use std::time::Duration;

use mcp_testkit::fault::{Gate, RESULT, Step};
use mcp_transport::Delivery;

use super::{PROGRESS, SAID};
use crate::table::{ALL, HTTP, MODERN, Phase, Row, STDIO, Transport};
use crate::watch::Stopwatch;
use crate::world::{AMPLE, LIMIT, World};

/// A limit long enough that a tenth of it can be told from the noise of a busy machine.
const LONG: Duration = Duration::from_millis(600);

pub(crate) fn r02() -> Row {
    Row::new(
        "R02",
        "hangs",
        "The upstream does not answer",
        "the limit of the call holds to 100 ms, the upstream is told that nobody waits any more, the next call is fine",
    )
    .on(ALL, Phase::Handshake, "nothing_is_answered", nothing_is_answered)
    .on(ALL, Phase::Request, "no_answer", no_answer)
    .on(ALL, Phase::Request, "executed_but_no_answer", executed_but_no_answer)
    .on(ALL, Phase::Answer, "half_a_message", half_a_message)
    .on(HTTP, Phase::Answer, "half_a_body", half_a_body)
    .on(ALL, Phase::Answer, "after_notifications", after_notifications)
    .on(ALL, Phase::Idle, "a_ping_is_not_answered", ping)
    .on(ALL, Phase::Stopping, "a_call_hangs", while_closing)
}

async fn nothing_is_answered(w: Rc<World>) {
    w.plan("server/discover", [Step::Hang]);
    w.plan("initialize", [Step::Hang]);
    {
        let mut options = w.options.borrow_mut();
        (options.probe_timeout, options.handshake_timeout) = (LIMIT, LIMIT * 2);
    }
    w.connect_fails().await.timed_out(LIMIT * 2);
    let probes = usize::from(w.transport != Transport::Sse);
    assert_eq!(w.upstream.ledger().received("server/discover").len(), probes);
    assert_eq!(w.upstream.ledger().received("initialize").len(), 1, "the other era was tried as well");
}

async fn no_answer(w: Rc<World>) {
    w.plan("a", [Step::Hang]);
    let client = w.connect().await;
    w.call(&client, "a", LIMIT).await.timed_out(LIMIT);
    w.is_cancelled("a").await;
    assert!(!w.executed("a"));
    w.works(&client).await;
}

async fn executed_but_no_answer(w: Rc<World>) {
    w.plan("a", [Step::Execute, Step::Hang]);
    let client = w.connect().await;
    w.call(&client, "a", LIMIT).await.timed_out(LIMIT);
    w.is_cancelled("a").await;
    w.works(&client).await;
}

async fn half_a_message(w: Rc<World>) {
    // What others wait for comes on the same channel: there the message has to end some time.
    let gate = Gate::new();
    let mut steps = vec![Step::Execute, Step::HalfEvent(RESULT.into())];
    if w.transport.is_shared() {
        steps.extend([Step::Until(gate.clone()), Step::Bytes(b"\n\n".into()), Step::Event(SAID.into())]);
    } else {
        steps.push(Step::Hang);
    }
    w.plan("a", steps);
    let client = w.connect().await;
    w.call(&client, "a", LIMIT).await.timed_out(LIMIT);
    w.is_cancelled("a").await;
    if w.transport.is_shared() {
        let mut notifications = client.notifications();
        gate.open();
        tokio::time::timeout(AMPLE, notifications.recv()).await.unwrap();
    }
    w.works(&client).await;
}

async fn half_a_body(w: Rc<World>) {
    w.plan("a", [Step::Execute, Step::HalfJson(RESULT.into()), Step::Hang]);
    let client = w.connect().await;
    w.call(&client, "a", LIMIT).await.timed_out(LIMIT);
    w.is_cancelled("a").await;
    w.works(&client).await;
}

async fn after_notifications(w: Rc<World>) {
    w.plan("a", [Step::Execute, Step::Event(SAID.into()), Step::Event(SAID.into()), Step::Hang]);
    let client = w.connect().await;
    w.call(&client, "a", LIMIT).await.timed_out(LIMIT);
    w.is_cancelled("a").await;
    w.works(&client).await;
}

async fn ping(w: Rc<World>) {
    let client = w.connect().await;
    let key = if w.transport.era() == mcp_protocol::Era::Handshake { "ping" } else { "server/discover" };
    w.plan(key, [Step::Hang]);
    let watch = Stopwatch::start();
    let error = client.ping(LIMIT).await.unwrap_err();
    watch.stop().about(LIMIT);
    assert!(error.is_timeout(), "{error}");
    w.works(&client).await;
}

async fn while_closing(w: Rc<World>) {
    w.plan("a", [Step::Execute, Step::Hang]);
    let client = w.connect().await;
    let closing = async {
        w.upstream.ledger().came("a", 1).await;
        client.close().await;
    };
    let (ended, ()) = tokio::join!(w.call(&client, "a", AMPLE), closing);
    ended.failed(&["closed"], Delivery::Unknown).at_once();
}

pub(crate) fn r03() -> Row {
    Row::new(
        "R03",
        "slow",
        "The upstream answers just within the limit, or just beyond it",
        "0.9 of the limit is in time, 1.1 of it is not; progress does not extend the limit",
    )
    .on(ALL, Phase::Handshake, "within_the_limit", slow_handshake)
    .on(MODERN, Phase::Handshake, "later_than_the_probe", late_discovery)
    .on(ALL, Phase::Request, "within_the_limit", in_time)
    .on(ALL, Phase::Request, "beyond_the_limit", too_late)
    .on(ALL, Phase::Answer, "the_end_beyond_the_limit", end_too_late)
    .on(ALL, Phase::Answer, "progress_but_no_end", progress)
    .on(HTTP, Phase::Answer, "a_slow_line_within_the_limit", latency)
}

async fn slow_handshake(w: Rc<World>) {
    w.plan(w.opening(), w.open_after([Step::Wait(LIMIT * 9 / 10)]));
    w.options.borrow_mut().handshake_timeout = LONG;
    let (client, took) = w.try_connect().await;
    took.about(LIMIT * 9 / 10);
    w.works(&client.unwrap()).await;
}

async fn late_discovery(w: Rc<World>) {
    let gate = Gate::new();
    // An answer that comes after the other era was tried wins all the same.
    w.upstream.plan_once("server/discover", w.open_after([Step::Until(gate.clone())]));
    w.plan("initialize", [Step::Hang]);
    w.options.borrow_mut().probe_timeout = LIMIT / 2;
    let answering = async {
        w.upstream.ledger().came("initialize", 1).await;
        gate.open();
    };
    let (client, ()) = tokio::join!(w.connect(), answering);
    w.works(&client).await;
}

async fn in_time(w: Rc<World>) {
    w.plan("a", [Step::Execute, Step::Wait(LONG * 9 / 10), Step::Answer]);
    let client = w.connect().await;
    w.call(&client, "a", LONG).await.answered().about(LONG * 9 / 10);
}

async fn too_late(w: Rc<World>) {
    w.plan("a", [Step::Execute, Step::Wait(LIMIT * 11 / 10), Step::Answer]);
    let client = w.connect().await;
    w.call(&client, "a", LIMIT).await.timed_out(LIMIT);
    w.is_cancelled("a").await;
}

async fn end_too_late(w: Rc<World>) {
    let steps =
        [Step::Execute, Step::Event(SAID.into()), Step::Wait(LIMIT * 11 / 10), Step::Event(RESULT.into())];
    w.plan("a", steps);
    let client = w.connect().await;
    w.call(&client, "a", LIMIT).await.timed_out(LIMIT);
    w.is_cancelled("a").await;
    w.works(&client).await;
}

async fn progress(w: Rc<World>) {
    let mut steps = vec![Step::Execute];
    for _ in 0..20 {
        steps.extend([Step::Event(PROGRESS.into()), Step::Wait(LIMIT / 10)]);
    }
    w.plan("a", steps);
    let client = w.connect().await;
    w.call(&client, "a", LIMIT).await.timed_out(LIMIT);
    w.is_cancelled("a").await;
    w.works(&client).await;
}

async fn latency(w: Rc<World>) {
    w.proxy();
    let client = w.connect().await;
    w.proxy().set(|rules| rules.latency = LIMIT / 5);
    w.plan("a", [Step::Execute, Step::Event(SAID.into()), Step::Event(RESULT.into())]);
    let took = w.call(&client, "a", AMPLE).await.answered();
    assert!(took.time >= LIMIT / 5 * 2, "there and back: {took:?}");
}

pub(crate) fn r04() -> Row {
    Row::new(
        "R04",
        "late",
        "The answer comes after the limit",
        "it is dropped and counted, and never taken for the answer to another call",
    )
    .on(ALL, Phase::Answer, "the_next_call_has_its_own", late_answer)
    .on(ALL, Phase::Answer, "the_next_call_is_under_way", late_amid_another)
    .on(STDIO, Phase::Handshake, "of_the_probe_that_was_given_up", late_probe)
}

async fn late_answer(w: Rc<World>) {
    let gate = Gate::new();
    w.plan("a", [Step::Execute, Step::Until(gate.clone()), Step::Answer]);
    let client = w.connect().await;
    w.call(&client, "a", LIMIT).await.timed_out(LIMIT);
    w.is_cancelled("a").await;
    gate.open();
    w.works(&client).await;
    if w.transport.is_shared() {
        crate::watch::until("the late answer is counted", || match client.stats().late_answers {
            1 => Ok(()),
            other => Err(other.to_string()),
        })
        .await;
    }
    assert_eq!(client.stats().unknown_answers, 0);
}

async fn late_amid_another(w: Rc<World>) {
    let (late, next) = (Gate::new(), Gate::new());
    w.plan("a", [Step::Execute, Step::Until(late.clone()), Step::Answer]);
    w.plan("b", [Step::Execute, Step::Until(next.clone()), Step::Answer]);
    let client = w.connect().await;
    w.call(&client, "a", LIMIT).await.timed_out(LIMIT);
    let answering = async {
        w.upstream.ledger().came("b", 1).await;
        late.open();
        // The late answer is on its way before the right one.
        w.works_as(&client, "c").await;
        next.open();
    };
    let (ended, ()) = tokio::join!(w.call(&client, "b", AMPLE), answering);
    ended.answered();
}

async fn late_probe(w: Rc<World>) {
    let gate = Gate::new();
    let other = if w.opening() == "initialize" { "server/discover" } else { "initialize" };
    // The answer of the other era comes when the connection is long in use.
    let error = r#"{"jsonrpc":"2.0","id":$ID,"error":{"code":-32601,"message":"late"}}"#;
    w.plan(other, [Step::Until(gate.clone()), Step::Json(error.into())]);
    w.options.borrow_mut().probe_timeout = LIMIT;
    w.options.borrow_mut().hint = match w.transport.era() {
        mcp_protocol::Era::Handshake => Some(mcp_protocol::Era::Stateless),
        mcp_protocol::Era::Stateless => Some(mcp_protocol::Era::Handshake),
    };
    let client = w.connect().await;
    gate.open();
    w.works(&client).await;
    w.works_as(&client, "again").await;
}
