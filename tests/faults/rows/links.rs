//! R05 to R07: the connection under the messages breaks, with or without a word.

use std::rc::Rc;
use std::time::Duration;

use mcp_client::{CallError, Client};
use mcp_testkit::fault::{AtLimit, Gate, RESULT, Step};
use mcp_transport::{Delivery, Endpoint};

use super::SAID;
use crate::outcome::{Ended, kind};
use crate::table::{ALL, HTTP, NET, Phase, Row, SESSIONS, SSE, STDIO, Transport};
use crate::watch::{self, Stopwatch};
use crate::world::{AMPLE, LIMIT, World};

pub(crate) fn r05() -> Row {
    Row::new(
        "R05",
        "half_open",
        "The peer is silent although the connection stands: half-open TCP, a stopped process",
        "one error when the limit is reached; other calls are untouched; what comes after is fine",
    )
    .on(NET, Phase::Connect, "nothing_gets_through", nothing_gets_through)
    .on(STDIO, Phase::Connect, "frozen_at_its_start", frozen_at_start)
    .on(NET, Phase::Handshake, "accepted_and_silent", accepted_and_silent)
    .on(NET, Phase::Request, "the_request_does_not_arrive", request_lost)
    .on(STDIO, Phase::Request, "frozen_after_it_read", frozen_after_it_read)
    .on(HTTP, Phase::Answer, "half_an_answer_arrives", answer_stalls)
    .on(STDIO, Phase::Answer, "frozen_in_a_message", frozen_in_a_message)
    .on(HTTP, Phase::Answer, "others_are_untouched", others_while_stalled)
    .on(NET, Phase::Idle, "between_calls", stalled_between_calls)
    .on(SSE, Phase::Idle, "a_stream_without_a_heartbeat", without_heartbeat)
    .on(STDIO, Phase::Idle, "frozen_between_calls", frozen_between_calls)
    .on(STDIO, Phase::Stopping, "frozen_when_closed", frozen_when_closed)
    .on(NET, Phase::Stopping, "stalled_when_closed", stalled_when_closed)
}

fn short(w: &World) {
    let mut options = w.options.borrow_mut();
    (options.probe_timeout, options.handshake_timeout) = (LIMIT, LIMIT * 2);
}

async fn nothing_gets_through(w: Rc<World>) {
    short(&w);
    w.proxy().set(|rules| rules.stalled = true);
    unopened(&w).await;
    assert_eq!(w.upstream.ledger().connections(), 0);
}

async fn frozen_at_start(w: Rc<World>) {
    short(&w);
    w.plan("connect", [Step::Freeze]);
    w.connect_fails().await.timed_out(LIMIT * 2);
}

async fn accepted_and_silent(w: Rc<World>) {
    short(&w);
    w.plan("connect", [Step::Hang]);
    unopened(&w).await;
}

/// No connection in the time there is. Where a stream has to be opened first, no message was sent.
async fn unopened(w: &World) {
    let delivery = if w.transport == Transport::Sse { Delivery::NotSent } else { Delivery::Unknown };
    w.connect_fails().await.failed(&["timeout"], delivery).took.about(LIMIT * 2);
}

async fn request_lost(w: Rc<World>) {
    w.proxy();
    let client = w.connect().await;
    w.proxy().set(|rules| rules.stalled = true);
    w.call(&client, "a", LIMIT).await.timed_out(LIMIT);
    assert!(!w.executed("a"));
    w.proxy().set(|rules| rules.stalled = false);
    w.works(&client).await;
}

async fn frozen_after_it_read(w: Rc<World>) {
    w.plan("a", [Step::Execute, Step::Freeze]);
    let client = w.connect().await;
    w.call(&client, "a", LIMIT).await.timed_out(LIMIT);
    assert!(!client.is_closed(), "a slow server is no dead server");
}

async fn answer_stalls(w: Rc<World>) {
    w.proxy();
    let client = w.connect().await;
    w.plan("a", [Step::Execute, Step::Event(SAID.into()), Step::Event(RESULT.into())]);
    w.proxy().set(|rules| rules.limit = Some((200, AtLimit::Stall)));
    w.call(&client, "a", LIMIT).await.timed_out(LIMIT);
    assert!(w.executed("a"));
    w.proxy().set(|rules| rules.limit = None);
    w.works(&client).await;
}

async fn frozen_in_a_message(w: Rc<World>) {
    w.plan("a", [Step::Execute, Step::HalfEvent(RESULT.into()), Step::Freeze]);
    let client = w.connect().await;
    w.call(&client, "a", LIMIT).await.timed_out(LIMIT);
}

async fn others_while_stalled(w: Rc<World>) {
    w.proxy();
    let client = w.connect().await;
    w.plan("a", [Step::Execute, Step::Event(SAID.into()), Step::Event(RESULT.into())]);
    w.proxy().set(|rules| rules.limit = Some((200, AtLimit::Stall)));
    let others = async {
        w.upstream.ledger().until("a is executed", |_| w.executed("a").then_some(())).await;
        // The rule holds for what is stalled already.
        watch::pass(LIMIT / 5).await;
        w.proxy().set(|rules| rules.limit = None);
        for other in ["b", "c", "d"] {
            w.works_as(&client, other).await.at_once();
        }
    };
    let (ended, ()) = tokio::join!(w.call(&client, "a", LIMIT * 2), others);
    ended.timed_out(LIMIT * 2);
}

async fn stalled_between_calls(w: Rc<World>) {
    w.proxy();
    let client = w.connect().await;
    w.works_as(&client, "before").await;
    w.proxy().set(|rules| rules.stalled = true);
    w.call(&client, "a", LIMIT).await.timed_out(LIMIT);
    w.call(&client, "b", LIMIT).await.timed_out(LIMIT);
    w.proxy().set(|rules| rules.stalled = false);
    w.works(&client).await;
}

async fn without_heartbeat(w: Rc<World>) {
    let Endpoint::Sse(mut endpoint) = w.endpoint() else { unreachable!("it is one") };
    endpoint.heartbeat = Some(LIMIT / 2);
    w.reach(Endpoint::Sse(endpoint));
    let client = w.connect().await;
    w.works(&client).await;
    let watch = Stopwatch::start();
    client.closed().await;
    watch.stop().at_most(LIMIT);
    w.call(&client, "a", AMPLE).await.failed(&["closed"], Delivery::NotSent).at_once();
}

async fn frozen_between_calls(w: Rc<World>) {
    let client = w.connect().await;
    w.upstream.order(Step::Freeze);
    let calls = ["a", "b"].map(|name| w.call(&client, name, LIMIT));
    for ended in futures::future::join_all(calls).await {
        ended.timed_out(LIMIT);
    }
}

async fn frozen_when_closed(w: Rc<World>) {
    let client = w.connect().await;
    w.works(&client).await;
    w.upstream.order(Step::Freeze);
    let watch = Stopwatch::start();
    client.close().await;
    let steps = w.stdio.borrow().close_stdin + w.stdio.borrow().terminate;
    watch.stop().at_most(steps);
}

async fn stalled_when_closed(w: Rc<World>) {
    w.proxy();
    let client = w.connect().await;
    w.works(&client).await;
    w.proxy().set(|rules| rules.stalled = true);
    let watch = Stopwatch::start();
    client.close().await;
    // A session is given two seconds to be ended in order.
    let farewell = if w.transport.era() == mcp_protocol::Era::Handshake { 2 } else { 0 };
    watch.stop().at_most(Duration::from_secs(farewell));
}

pub(crate) fn r06() -> Row {
    Row::new(
        "R06",
        "reset",
        "The connection is reset",
        "one error at once, with the right `delivery`; other calls are untouched; the next call is fine",
    )
    .on(NET, Phase::Connect, "as_soon_as_accepted", |w| broken_at_connect(w, Step::Reset))
    .on(NET, Phase::Handshake, "in_place_of_the_answer", |w| broken_in_handshake(w, Step::Reset))
    .on(NET, Phase::Request, "unread_answer", |w| broken_in_request(w, Step::Reset, false))
    .on(NET, Phase::Request, "after_it_executed", |w| broken_in_request(w, Step::Reset, true))
    .on(HTTP, Phase::Answer, "in_the_head", |w| broken_in_head(w, Step::Reset))
    .on(HTTP, Phase::Answer, "in_a_body", |w| broken_in_body(w, Step::Reset))
    .on(NET, Phase::Answer, "in_an_event", |w| broken_in_event(w, Step::Reset))
    .on(NET, Phase::Answer, "between_events", |w| broken_between_events(w, Step::Reset))
    .on(HTTP, Phase::Answer, "others_are_untouched", |w| others_while_broken(w, Step::Reset))
    .on(SESSIONS, Phase::Answer, "resumed_where_it_broke", |w| resumed(w, Step::Reset))
    .on(HTTP, Phase::Idle, "between_calls", |w| broken_between_calls(w, AtLimit::Reset))
}

pub(crate) fn r07() -> Row {
    Row::new(
        "R07",
        "fin",
        "The connection is closed in order, in the middle of things; stdout is closed by a process that lives",
        "one error at once, with the right `delivery`; other calls are untouched; the next call is fine, or the process ended",
    )
    .on(NET, Phase::Connect, "as_soon_as_accepted", |w| broken_at_connect(w, Step::Close))
    .on(NET, Phase::Handshake, "in_place_of_the_answer", |w| broken_in_handshake(w, Step::Close))
    .on(STDIO, Phase::Handshake, "in_place_of_the_answer", |w| broken_in_handshake(w, Step::Close))
    .on(ALL, Phase::Request, "unread_answer", |w| broken_in_request(w, Step::Close, false))
    .on(ALL, Phase::Request, "after_it_executed", |w| broken_in_request(w, Step::Close, true))
    .on(HTTP, Phase::Answer, "in_the_head", |w| broken_in_head(w, Step::Close))
    .on(HTTP, Phase::Answer, "in_a_body", |w| broken_in_body(w, Step::Close))
    .on(ALL, Phase::Answer, "in_an_event", |w| broken_in_event(w, Step::Close))
    .on(ALL, Phase::Answer, "between_events", |w| broken_between_events(w, Step::Close))
    .on(HTTP, Phase::Answer, "a_stream_without_the_answer", stream_without_answer)
    .on(HTTP, Phase::Answer, "others_are_untouched", |w| others_while_broken(w, Step::Close))
    .on(SESSIONS, Phase::Answer, "resumed_where_it_broke", |w| resumed(w, Step::Close))
    .on(SESSIONS, Phase::Answer, "resumed_for_several_calls", resumed_for_several)
    .on(SESSIONS, Phase::Answer, "not_resumed", not_resumed)
    .on(HTTP, Phase::Idle, "between_calls", |w| broken_between_calls(w, AtLimit::Close))
    .on(STDIO, Phase::Idle, "between_calls", stdout_closed)
}

#[track_caller]
fn is_one_of(ended: &Ended, kinds: &[&str]) {
    let Err(error) = &ended.result else { panic!("answered: {ended:?}") };
    assert!(kinds.contains(&kind(error)), "{} instead of {kinds:?}: {error}", kind(error));
}

/// After the connection broke: HTTP goes on, a process without stdout is of no use.
async fn goes_on(w: &World, client: &Client) {
    if w.transport.is_shared() {
        client.closed().await;
        w.call(client, "next", AMPLE).await.failed(&["closed", "exited"], Delivery::NotSent).at_once();
    } else {
        w.works(client).await;
    }
}

async fn broken_at_connect(w: Rc<World>, how: Step) {
    w.plan("connect", [how]);
    let failed = w.connect_fails().await;
    is_one_of(&failed, &["closed", "connect"]);
    failed.took.at_once();
}

async fn broken_in_handshake(w: Rc<World>, how: Step) {
    w.plan("server/discover", [how.clone()]);
    w.plan("initialize", [how]);
    let failed = w.connect_fails().await;
    is_one_of(&failed, &["closed", "exited"]);
    if !w.transport.is_stdio() {
        failed.took.at_once();
        assert!(w.upstream.ledger().received("POST").len() <= 4, "no storm of tries");
    }
}

async fn broken_in_request(w: Rc<World>, how: Step, executed: bool) {
    let execute = executed.then_some(Step::Execute);
    w.plan("a", execute.into_iter().chain([how]).collect::<Vec<_>>());
    let client = w.connect().await;
    // Over stdio the process is given a moment to exit by itself, which would say more.
    w.call(&client, "a", AMPLE).await.failed(&["closed"], Delivery::Unknown).at_once();
    assert_eq!(w.upstream.ledger().received("a").len(), 1, "what may have been executed is not repeated");
    goes_on(&w, &client).await;
}

async fn broken_in_head(w: Rc<World>, how: Step) {
    w.plan("a", [Step::Execute, Step::Raw(b"HTTP/1.1 200 OK\r\nContent-Ty".to_vec()), how]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.failed(&["closed"], Delivery::Unknown).at_once();
    goes_on(&w, &client).await;
}

async fn broken_in_body(w: Rc<World>, how: Step) {
    w.plan("a", [Step::Execute, Step::HalfJson(RESULT.into()), how]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.failed(&["closed"], Delivery::Unknown).at_once();
    goes_on(&w, &client).await;
}

async fn broken_in_event(w: Rc<World>, how: Step) {
    w.plan("a", [Step::Execute, Step::HalfEvent(RESULT.into()), how]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.failed(&["closed"], Delivery::Unknown).at_once();
    goes_on(&w, &client).await;
}

async fn broken_between_events(w: Rc<World>, how: Step) {
    w.plan("a", [Step::Execute, Step::Event(SAID.into()), how]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.failed(&["closed"], Delivery::Unknown).at_once();
    goes_on(&w, &client).await;
}

async fn stream_without_answer(w: Rc<World>) {
    w.plan("a", [Step::Execute, Step::Event(SAID.into())]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.failed(&["closed"], Delivery::Unknown).at_once();
    goes_on(&w, &client).await;
}

/// The first event of the answer to a call, which can be resumed by its id.
fn resumable(id: &str) -> Step {
    Step::Bytes(format!("id: {id}\nretry: 10\ndata: {SAID}\n\n").into())
}

async fn resumed(w: Rc<World>, how: Step) {
    w.plan("a", [Step::Execute, resumable("of-a"), how]);
    let client = w.connect().await;
    w.quiet(&client).await;
    // The answer comes on the stream that resumes that of the call. Its id is that of the third message.
    let id: i64 = w.upstream.ledger().received("quiet")[0].id.clone().unwrap().parse().unwrap();
    let answer = RESULT.replace("$ID", &(id + 1).to_string()).replace("$NONCE", "a");
    w.plan("GET", [Step::Event(answer)]);
    w.call(&client, "a", AMPLE).await.answered();
    let resumed = w.upstream.ledger().came("GET", 2).await;
    assert_eq!(resumed.headers.get("last-event-id").map(String::as_str), Some("of-a"));
    assert_eq!(w.upstream.ledger().received("a").len(), 1, "the call itself is not sent again");
    w.upstream.unplan("GET");
    w.works(&client).await;
}

async fn resumed_for_several(w: Rc<World>) {
    let client = w.connect().await;
    w.quiet(&client).await;
    let id: i64 = w.upstream.ledger().received("quiet")[0].id.clone().unwrap().parse().unwrap();
    let names = ["a", "b", "c"];
    for (name, next) in names.iter().zip(id + 1..) {
        w.plan(name, [Step::Execute, resumable(name), Step::Close]);
        // Every stream says the answers to all; each is that of one call alone.
        let answer = RESULT.replace("$ID", &next.to_string()).replace("$NONCE", name);
        w.upstream.plan_once(&format!("GET after {name}"), [Step::Event(answer)]);
    }
    let calls = names.map(|name| w.call(&client, name, AMPLE));
    for ended in futures::future::join_all(calls).await {
        ended.answered();
    }
}

async fn not_resumed(w: Rc<World>) {
    w.plan("a", [Step::Execute, resumable("of-a"), Step::Close]);
    let client = w.connect().await;
    // 405: there are no streams to resume.
    w.call(&client, "a", AMPLE).await.failed(&["closed"], Delivery::Unknown).at_once().says("405");
    assert_eq!(w.upstream.ledger().received("a").len(), 1, "the call itself is not sent again");
    w.works(&client).await;
}

async fn others_while_broken(w: Rc<World>, how: Step) {
    let gate = Gate::new();
    w.plan("a", [Step::Execute, Step::HalfEvent(RESULT.into()), how]);
    w.plan(
        "b",
        [Step::Execute, Step::Event(SAID.into()), Step::Until(gate.clone()), Step::Event(RESULT.into())],
    );
    let client = w.connect().await;
    let failing = async {
        w.upstream.ledger().came("b", 1).await;
        w.call(&client, "a", AMPLE).await.failed(&["closed"], Delivery::Unknown).at_once();
        gate.open();
    };
    let (ended, ()) = tokio::join!(w.call(&client, "b", AMPLE), failing);
    ended.answered();
}

async fn broken_between_calls(w: Rc<World>, how: AtLimit) {
    w.proxy();
    let client = w.connect().await;
    w.quiet(&client).await;
    match how {
        AtLimit::Reset => w.proxy().reset_all(),
        _ => w.proxy().close_all(),
    }
    w.noticed().await;
    assert!(!client.is_closed(), "a connection is not a session");
    w.works(&client).await.at_once();
}

async fn stdout_closed(w: Rc<World>) {
    let client = w.connect().await;
    let watch = Stopwatch::start();
    w.upstream.order(Step::Close);
    let reason = client.closed().await;
    watch.stop().at_once();
    assert!(reason.to_string().contains("stdout"), "{reason}");
    let ended = w.call(&client, "a", AMPLE).await;
    let Err(error) = &ended.result else { panic!("{ended:?}") };
    assert!(matches!(error, CallError::Transport(error) if error.delivery == Delivery::NotSent), "{error:?}");
}
