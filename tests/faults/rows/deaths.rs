//! R01: the upstream dies.

use std::rc::Rc;

use futures::future::join_all;
use mcp_client::Client;
use mcp_testkit::fault::{RESULT, Step};
use mcp_transport::Delivery;

use crate::outcome::kind;
use crate::table::{ALL, HTTP, Phase, Row, STDIO};
use crate::watch::Stopwatch;
use crate::world::{AMPLE, World};

/// What the end of an upstream looks like from here.
const DEAD: &[&str] = &["exited", "closed"];

pub(crate) fn r01() -> Row {
    Row::new(
        "R01",
        "dies",
        "The upstream dies",
        "one error within 100 ms of the death, with the right `delivery`; a complete message before the death still counts",
    )
    .on(ALL, Phase::Handshake, "at_its_first_message", first_message)
    .on(ALL, Phase::Handshake, "at_its_last_message", last_message)
    .on(STDIO, Phase::Request, "before_it_reads", before_it_reads)
    .on(ALL, Phase::Request, "after_it_read", after_it_read)
    .on(ALL, Phase::Request, "after_it_executed", after_it_executed)
    .on(STDIO, Phase::Request, "killed", killed)
    .on(ALL, Phase::Request, "with_many_calls", with_many_calls)
    .on(ALL, Phase::Answer, "half_a_message", half_a_message)
    .on(ALL, Phase::Answer, "after_a_notification", after_a_notification)
    .on(HTTP, Phase::Answer, "half_a_body", half_a_body)
    .on(ALL, Phase::Answer, "after_a_whole_message", after_a_whole_message)
    .on(ALL, Phase::Idle, "between_calls", between_calls)
    .on(STDIO, Phase::Stopping, "instead_of_ending", instead_of_ending)
}

async fn first_message(w: Rc<World>) {
    w.plan("server/discover", [Step::Exit(3)]);
    w.plan("initialize", [Step::Exit(3)]);
    let failed = w.connect_fails().await;
    if w.transport.is_stdio() {
        failed.failed(DEAD, Delivery::Unknown).shows("exit status 3");
        assert_eq!(w.upstream.ledger().connections(), 2, "once more for servers that end on a probe");
    } else {
        // The second request of the negotiation may find nobody there.
        let Err(error) = &failed.result else { unreachable!("it fails") };
        assert!(["closed", "connect"].contains(&kind(error)), "{error}");
        failed.took.at_once();
    }
}

async fn last_message(w: Rc<World>) {
    w.plan(w.opening(), [Step::Exit(3)]);
    w.plan("initialize", [Step::Exit(3)]);
    let failed = w.connect_fails().await;
    let Err(error) = &failed.result else { unreachable!("it fails") };
    assert!(["exited", "closed", "connect"].contains(&kind(error)), "{error}");
    // Two starts of a process are part of it.
    failed.took.at_most(std::time::Duration::from_millis(100));
}

async fn before_it_reads(w: Rc<World>) {
    let client = w.connect().await;
    // The last message it reads; the call stays in the pipe.
    w.plan("notifications/cancelled", [Step::Deaf]);
    cancel_something(&client).await;
    w.upstream.ledger().came("notifications/cancelled", 1).await;
    let calling = w.call(&client, "a", AMPLE);
    let dying = async {
        // It has been written once the client counts it as sent and the writer had its turn.
        tokio::task::yield_now().await;
        w.upstream.order(Step::Exit(3));
    };
    let (ended, ()) = tokio::join!(calling, dying);
    let Err(error) = &ended.result else { panic!("{ended:?}") };
    assert!(DEAD.contains(&kind(error)), "{error}");
    ended.took.at_once();
    assert!(!w.executed("a"));
}

async fn cancel_something(client: &Client) {
    use mcp_protocol::{Method, RawJson};
    let params = RawJson::encode(&serde_json::json!({"requestId": 4711})).unwrap();
    client.notify(Method::Cancelled, Some(params)).await.unwrap();
}

async fn after_it_read(w: Rc<World>) {
    w.plan("a", [Step::Exit(3)]);
    let client = w.connect().await;
    let failed = w.call(&client, "a", AMPLE).await.failed(DEAD, Delivery::Unknown).at_once();
    if w.transport.is_stdio() {
        failed.shows("exit status 3");
    }
    assert!(!w.executed("a"));
}

async fn after_it_executed(w: Rc<World>) {
    w.plan("a", [Step::Execute, Step::Exit(0)]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.failed(DEAD, Delivery::Unknown).at_once();
    assert!(w.executed("a"));
}

async fn killed(w: Rc<World>) {
    w.plan("a", [Step::Execute, Step::Kill]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.failed(DEAD, Delivery::Unknown).at_once().shows("SIGKILL");
}

async fn with_many_calls(w: Rc<World>) {
    let names: Vec<String> = (0..20).map(|number| format!("n{number}")).collect();
    for name in &names {
        w.plan(name, [Step::Execute, Step::Hang]);
    }
    let client = w.connect().await;
    let dying = async {
        w.upstream.ledger().came("tools/call", 20).await;
        let watch = Stopwatch::start();
        w.upstream.order(Step::Exit(1));
        watch
    };
    let calls = join_all(names.iter().map(|name| w.call(&client, name, AMPLE)));
    let (ended, watch) = tokio::join!(calls, dying);
    watch.stop().at_once();
    for ended in ended {
        ended.failed(DEAD, Delivery::Unknown);
    }
}

async fn half_a_message(w: Rc<World>) {
    w.plan("a", [Step::Execute, Step::HalfEvent(RESULT.into()), Step::Exit(0)]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.failed(DEAD, Delivery::Unknown).at_once();
}

async fn after_a_notification(w: Rc<World>) {
    let said =
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"working"}}"#;
    w.plan("a", [Step::Execute, Step::Event(said.into()), Step::Exit(0)]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.failed(DEAD, Delivery::Unknown).at_once();
}

async fn half_a_body(w: Rc<World>) {
    w.plan("a", [Step::Execute, Step::HalfJson(RESULT.into()), Step::Exit(0)]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.failed(&["closed"], Delivery::Unknown).at_once();
}

async fn after_a_whole_message(w: Rc<World>) {
    w.plan("a", [Step::Execute, Step::Event(RESULT.into()), Step::Exit(0)]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.answered().at_once();
}

async fn between_calls(w: Rc<World>) {
    let client = w.connect().await;
    w.works_as(&client, "before").await;
    let watch = Stopwatch::start();
    w.upstream.order(Step::Exit(3));
    if w.transport.is_stdio() {
        let reason = client.closed().await;
        watch.stop().at_once();
        let failed = w.call(&client, "a", AMPLE).await.failed(DEAD, Delivery::NotSent).at_once();
        failed.says(&reason.to_string()).shows("exit status 3");
    } else if w.transport.is_shared() {
        client.closed().await;
        watch.stop().at_once();
        w.call(&client, "a", AMPLE).await.failed(&["closed"], Delivery::NotSent).at_once();
    } else {
        w.upstream.is_down().await;
        w.noticed().await;
        w.call(&client, "a", AMPLE).await.failed(&["connect"], Delivery::NotSent).at_once();
    }
}

async fn instead_of_ending(w: Rc<World>) {
    w.plan("eof", [Step::Kill]);
    let client = w.connect().await;
    let watch = Stopwatch::start();
    client.close().await;
    watch.stop().at_once();
    w.call(&client, "a", AMPLE).await.failed(&["closed"], Delivery::NotSent).at_once();
}
