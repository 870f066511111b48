//! R36 and R37: connections that were kept, subscriptions that were lost.

use std::rc::Rc;

use mcp_client::{Client, Interest, Notifications, Outgoing};
use mcp_protocol::Method;
use mcp_testkit::fault::{AtLimit, Gate, Step};

use super::LIST_CHANGED;
use crate::outcome::kind;
use crate::table::{HTTP, MODERN, MODERN_HTTP, Phase, Row, SESSIONS};
use crate::world::{AMPLE, LIMIT, World};

pub(crate) fn r36() -> Row {
    Row::new(
        "R36",
        "pooled",
        "A connection that was kept is closed while the next request is written on it",
        "a read is answered over a new connection; a call that may have been executed is not repeated, and says so",
    )
    .on(HTTP, Phase::Idle, "a_read_after_fin", |w| read_on_stale(w, AtLimit::Close))
    .on(HTTP, Phase::Idle, "a_read_after_reset", |w| read_on_stale(w, AtLimit::Reset))
    .on(HTTP, Phase::Idle, "a_call_after_fin", |w| call_on_stale(w, AtLimit::Close))
    .on(HTTP, Phase::Idle, "a_call_after_reset", |w| call_on_stale(w, AtLimit::Reset))
    .on(HTTP, Phase::Request, "a_read_is_read_and_dropped", |w| read_dropped(w, Step::Close))
    .on(HTTP, Phase::Request, "a_read_is_read_and_reset", |w| read_dropped(w, Step::Reset))
    .on(HTTP, Phase::Idle, "many_at_once", many_on_stale)
}

/// Closes the kept connections, without waiting until the client has noticed.
fn close(w: &World, how: AtLimit) {
    match how {
        AtLimit::Reset => w.proxy().reset_all(),
        _ => w.proxy().close_all(),
    }
}

async fn read_on_stale(w: Rc<World>, how: AtLimit) {
    w.proxy();
    let client = w.connect().await;
    w.quiet(&client).await;
    for _ in 0..10 {
        // One kept connection, whatever the round before has left.
        w.proxy().close_all();
        w.noticed().await;
        client.call(Outgoing::new(Method::ToolsList, None), AMPLE).await.unwrap();
        close(&w, how);
        client.call(Outgoing::new(Method::ToolsList, None), AMPLE).await.unwrap();
    }
}

async fn call_on_stale(w: Rc<World>, how: AtLimit) {
    w.proxy();
    let client = w.connect().await;
    w.quiet(&client).await;
    for number in 0..10 {
        // One kept connection, whatever the round before has left.
        w.proxy().close_all();
        w.noticed().await;
        w.works_as(&client, &format!("before {number}")).await;
        close(&w, how);
        let name = format!("n{number}");
        let ended = w.call(&client, &name, AMPLE).await;
        // Either the close was noticed in time, or it is not known what became of the call.
        if let Err(error) = &ended.result {
            assert_eq!(kind(error), "closed", "{error}");
            ended.took.at_once();
        }
        assert!(w.upstream.ledger().received(&name).len() <= 1, "sent once at most");
    }
}

async fn read_dropped(w: Rc<World>, how: Step) {
    let client = w.connect().await;
    w.upstream.plan_once("tools/list", [how]);
    client.call(Outgoing::new(Method::ToolsList, None), AMPLE).await.unwrap();
    assert_eq!(w.upstream.ledger().received("tools/list").len(), 2, "once more, and no more");
}

async fn many_on_stale(w: Rc<World>) {
    w.proxy();
    let client = w.connect().await;
    let names: Vec<String> = (0..10).map(|number| format!("n{number}")).collect();
    for ended in futures::future::join_all(names.iter().map(|name| w.call(&client, name, AMPLE))).await {
        ended.answered();
    }
    w.proxy().close_all();
    let names: Vec<String> = (10..20).map(|number| format!("n{number}")).collect();
    for ended in futures::future::join_all(names.iter().map(|name| w.call(&client, name, AMPLE))).await {
        if let Err(error) = &ended.result {
            assert_eq!(kind(error), "closed", "{error}");
        }
        ended.took.at_once();
    }
    w.works(&client).await;
}

pub(crate) fn r37() -> Row {
    Row::new(
        "R37",
        "subscriptions",
        "A subscription is lost",
        "it is opened again, and one list_changed stands for what may have been missed; calls are untouched",
    )
    .on(MODERN_HTTP, Phase::Idle, "fin", |w| listen_lost(w, Step::Close))
    .on(MODERN_HTTP, Phase::Idle, "reset", |w| listen_lost(w, Step::Reset))
    .on(MODERN, Phase::Idle, "ended_by_the_server", |w| listen_lost(w, Step::Event(LISTENED.into())))
    .on(MODERN_HTTP, Phase::Recovery, "refused_at_first", listen_refused_once)
    .on(MODERN, Phase::Handshake, "refused_for_good", listen_refused)
    .on(SESSIONS, Phase::Idle, "fin", |w| stream_lost(w, Step::Close))
    .on(SESSIONS, Phase::Idle, "reset", |w| stream_lost(w, Step::Reset))
    .on(SESSIONS, Phase::Idle, "resumed_where_it_broke", stream_resumed)
    .on(SESSIONS, Phase::Recovery, "lost_with_its_session", stream_lost_with_session)
}

const ACCEPTED: &str = r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":$ID},"notifications":{"toolsListChanged":true}}}"#;
const LISTENED: &str = r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":$ID}}}"#;
const TOLD: &str = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":$ID}}}"#;
const NO: &str = r#"{"jsonrpc":"2.0","id":$ID,"error":{"code":-32603,"message":"not now"}}"#;

fn tools() -> Interest {
    Interest { tools: true, ..Interest::default() }
}

/// The tools were told as changed, and no second time while a call is answered.
async fn told_once(w: &World, client: &Client, notifications: &mut Notifications, call: &str) {
    let told = tokio::time::timeout(AMPLE, notifications.recv()).await.expect("something is told").unwrap();
    assert_eq!(told.method, Method::ToolsListChanged);
    w.works_as(client, call).await;
    let more = tokio::time::timeout(LIMIT, notifications.recv()).await;
    assert!(more.is_err(), "told once more: {more:?}");
}

async fn listen_lost(w: Rc<World>, how: Step) {
    let gate = Gate::new();
    let ended = Step::Event(ACCEPTED.into());
    w.upstream.plan_once("subscriptions/listen", [ended.clone(), Step::Until(gate.clone()), how]);
    w.plan("subscriptions/listen", [ended, Step::Hang]);
    let client = w.connect().await;
    let mut notifications = client.notifications();
    let _subscription = client.subscribe(tools(), AMPLE).await.unwrap();
    gate.open();
    w.upstream.ledger().came("subscriptions/listen", 2).await;
    told_once(&w, &client, &mut notifications, "next").await;
}

async fn listen_refused_once(w: Rc<World>) {
    let gate = Gate::new();
    let ended = Step::Event(ACCEPTED.into());
    w.upstream.plan_once("subscriptions/listen", [ended.clone(), Step::Until(gate.clone()), Step::Close]);
    w.upstream.plan_once("subscriptions/listen", [Step::Json(NO.into())]);
    w.plan("subscriptions/listen", [ended, Step::Event(TOLD.into()), Step::Hang]);
    let client = w.connect().await;
    let mut notifications = client.notifications();
    let _subscription = client.subscribe(tools(), AMPLE).await.unwrap();
    gate.open();
    w.upstream.ledger().came("subscriptions/listen", 3).await;
    // Once because of the gap, once because the server says so.
    for _ in 0..2 {
        let told =
            tokio::time::timeout(AMPLE, notifications.recv()).await.expect("something is told").unwrap();
        assert_eq!(told.method, Method::ToolsListChanged);
    }
    w.works(&client).await;
}

async fn listen_refused(w: Rc<World>) {
    w.plan("subscriptions/listen", [Step::Json(NO.into())]);
    let client = w.connect().await;
    let error = client.subscribe(tools(), AMPLE).await.unwrap_err();
    assert_eq!(kind(&error), "rpc", "{error}");
    w.works(&client).await;
    assert_eq!(w.upstream.ledger().received("subscriptions/listen").len(), 1, "nobody wants it any more");
}

async fn stream_lost(w: Rc<World>, how: Step) {
    let gate = Gate::new();
    w.upstream.plan_once("GET", [Step::Bytes(b": here\n\n".into()), Step::Until(gate.clone()), how]);
    w.plan("GET", [Step::Bytes(b": again\n\n".into()), Step::Hang]);
    let client = w.connect().await;
    let mut notifications = client.notifications();
    w.upstream.ledger().came("GET", 1).await;
    w.works_as(&client, "before").await;
    gate.open();
    w.upstream.ledger().came("GET", 2).await;
    told_once(&w, &client, &mut notifications, "next").await;
}

async fn stream_resumed(w: Rc<World>) {
    let gate = Gate::new();
    let event = format!("id: e1\nretry: 10\ndata: {LIST_CHANGED}\n\n");
    w.upstream.plan_once("GET", [Step::Bytes(event.into()), Step::Until(gate.clone()), Step::Close]);
    let event = format!("id: e2\ndata: {LIST_CHANGED}\n\n");
    w.plan("GET", [Step::Bytes(event.into()), Step::Hang]);
    let client = w.connect().await;
    let mut notifications = client.notifications();
    w.upstream.ledger().came("GET", 1).await;
    gate.open();
    let resumed = w.upstream.ledger().came("GET", 2).await;
    assert_eq!(resumed.headers.get("last-event-id").map(String::as_str), Some("e1"));
    // What the server says, and nothing of ours. The first may have come before anybody listened.
    let told = tokio::time::timeout(AMPLE, notifications.recv()).await.expect("something is told").unwrap();
    assert_eq!(told.method, Method::ToolsListChanged);
    w.works(&client).await;
}

async fn stream_lost_with_session(w: Rc<World>) {
    w.plan("GET", [Step::Bytes(b": here\n\n".into()), Step::Hang]);
    let client = w.connect().await;
    let mut notifications = client.notifications();
    w.upstream.ledger().came("GET", 1).await;
    w.upstream.order_exit().await;
    w.upstream.revive().await;
    // Whoever asks first finds out that the session is gone.
    let _ = w.call(&client, "a", AMPLE).await;
    w.works_as(&client, "b").await;
    w.upstream.ledger().came("initialize", 2).await;
    let told = tokio::time::timeout(AMPLE, notifications.recv()).await.expect("something is told").unwrap();
    assert_eq!(told.method, Method::ToolsListChanged);
}
