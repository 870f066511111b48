//! R36 and R37: connections that were kept, subscriptions that were lost.

use std::rc::Rc;

use mcp_client::Outgoing;
use mcp_protocol::Method;
use mcp_testkit::fault::{AtLimit, Step};

use crate::outcome::kind;
use crate::table::{HTTP, Phase, Row};
use crate::world::{AMPLE, World};

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
    for _ in 0..10 {
        client.call(Outgoing::new(Method::ToolsList, None), AMPLE).await.unwrap();
        close(&w, how);
        client.call(Outgoing::new(Method::ToolsList, None), AMPLE).await.unwrap();
    }
}

async fn call_on_stale(w: Rc<World>, how: AtLimit) {
    w.proxy();
    let client = w.connect().await;
    for number in 0..10 {
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
        "it is opened again, and one list_changed stands for what may have been missed",
    )
}
