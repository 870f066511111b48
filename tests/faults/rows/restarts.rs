//! R22, R23 and R33: upstreams that come and go, as the manager sees them.

use std::rc::Rc;
use std::time::Duration;

use mcp_manager::Manager;
use mcp_registry::{Policy, Status};
use mcp_testkit::fault::{Ledger, Step};

use super::LIST_CHANGED;
use crate::table::{ALL, HTTP, NET, Phase, Row, SHARED, STDIO, Transport};
use crate::watch::{self, Stopwatch};
use crate::world::{AMPLE, LIMIT, World};

/// Short windows, so that a recovery does not take seconds.
fn quick() -> Policy {
    let mut policy = Policy::default();
    policy.max_backoff = LIMIT;
    policy.connect_base_delay = LIMIT / 5;
    policy.connect_max_delay = LIMIT;
    policy.health_interval = LIMIT;
    policy.degraded_health_interval = LIMIT / 2;
    policy.probe_timeout = LIMIT;
    policy.ping_timeout = LIMIT;
    policy.handshake_timeout = LIMIT * 2;
    policy.request_timeout = LIMIT * 2;
    policy
}

async fn opened(w: &World, policy: Policy) -> Manager {
    let manager = w.manager(policy);
    manager.initialize("it", false).await.unwrap();
    manager.refresh_tools("it").await.unwrap();
    assert_eq!(tools(&manager), ["work"]);
    manager
}

fn tools(manager: &Manager) -> Vec<String> {
    manager.available_tools(Some("it")).into_values().flat_map(|tools| tools.names).collect()
}

fn status(manager: &Manager) -> Status {
    manager.server("it").unwrap().status
}

/// The upstream ends and comes back.
async fn restart(w: &World) {
    if w.transport.is_stdio() {
        w.upstream.order(Step::Exit(1));
    } else {
        w.upstream.order_exit().await;
        w.upstream.revive().await;
    }
}

const OTHER_TOOLS: &str = r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"complete","ttlMs":0,"cacheScope":"private","tools":[{"name":"extra","inputSchema":{"type":"object"}},{"name":"work","inputSchema":{"type":"object"}}]}}"#;

async fn new_tools(manager: &Manager) {
    watch::until("the new tools are known", || match tools(manager) {
        tools if tools == ["extra", "work"] => Ok(()),
        tools => Err(format!("{tools:?}")),
    })
    .await;
}

pub(crate) fn r22() -> Row {
    Row::new(
        "R22",
        "changed_tools",
        "The upstream comes back with other tools, or changes them as it runs",
        "they are known within a second",
    )
    .on(ALL, Phase::Recovery, "after_a_restart_and_a_call", changed_by_restart)
    .on(STDIO, Phase::Recovery, "after_a_restart_by_itself", changed_by_crash)
    .on(SHARED, Phase::Idle, "a_notification", changed_by_notification)
    .on(ALL, Phase::Answer, "a_notification_in_a_call", changed_in_call)
}

async fn changed_by_restart(w: Rc<World>) {
    let manager = opened(&w, quick()).await;
    w.plan("tools/list", [Step::Json(OTHER_TOOLS.into())]);
    if w.transport.is_stdio() {
        restart(&w).await;
        // This call may find a process that is gone.
        let _ = w.route(&manager, "first").await;
    } else {
        // In the stateless era nobody knows of a restart but who met the server while it was down.
        w.upstream.order_exit().await;
        w.noticed().await;
        w.route(&manager, "first").await.0.unwrap_err();
        w.upstream.revive().await;
    }
    watch::until("its window is open", || {
        if manager.should_retry("it") { Ok(()) } else { Err("closed".into()) }
    })
    .await;
    w.route(&manager, "second").await.0.unwrap();
    new_tools(&manager).await;
}

async fn changed_by_crash(w: Rc<World>) {
    let manager = opened(&w, quick()).await;
    manager.start_monitor();
    w.plan("tools/list", [Step::Json(OTHER_TOOLS.into())]);
    restart(&w).await;
    new_tools(&manager).await;
    w.route(&manager, "a").await.0.unwrap();
}

async fn changed_by_notification(w: Rc<World>) {
    let manager = opened(&w, quick()).await;
    w.plan("tools/list", [Step::Json(OTHER_TOOLS.into())]);
    w.upstream.order(Step::Event(LIST_CHANGED.into()));
    new_tools(&manager).await;
}

async fn changed_in_call(w: Rc<World>) {
    let manager = opened(&w, quick()).await;
    w.plan("tools/list", [Step::Json(OTHER_TOOLS.into())]);
    let result = mcp_testkit::fault::RESULT.to_owned();
    w.plan("a", [Step::Execute, Step::Event(LIST_CHANGED.into()), Step::Event(result)]);
    w.route(&manager, "a").await.0.unwrap();
    new_tools(&manager).await;
}

pub(crate) fn r23() -> Row {
    Row::new(
        "R23",
        "flapping",
        "The upstream dies again and again",
        "few starts, whatever is asked of it; calls fail fast; it is degraded, and serves again when it is well",
    )
    .on(STDIO, Phase::Connect, "starts_are_bounded", starts_are_bounded)
    .on(ALL, Phase::Request, "each_call_kills_it", each_call_kills)
    .on(ALL, Phase::Recovery, "well_again", well_again)
}

async fn starts_are_bounded(w: Rc<World>) {
    // The delays that are the default: at twelve starts a minute there are few in two seconds.
    let manager = w.manager(Policy::default());
    manager.start_monitor();
    w.plan("connect", [Step::Exit(1)]);
    let _ = manager.initialize("it", false).await;
    let watch = Stopwatch::start();
    for number in 0..50 {
        let _ = w.route(&manager, &format!("n{number}")).await;
        watch::pass(LIMIT / 10).await;
    }
    let took = watch.stop();
    let starts = w.upstream.ledger().connections();
    assert!(starts <= 12, "{starts} starts in {took:?}");
    assert_ne!(status(&manager), Status::Healthy);
}

async fn each_call_kills(w: Rc<World>) {
    let manager = opened(&w, Policy::default()).await;
    w.plan("tools/call", [Step::Execute, Step::Exit(1)]);
    let (result, took) = w.route(&manager, "a").await;
    result.unwrap_err();
    took.at_once();
    assert_ne!(status(&manager), Status::Healthy);
    // Its window is closed: nothing is tried.
    let (result, took) = w.route(&manager, "b").await;
    result.unwrap_err();
    took.at_once();
    assert!(w.upstream.ledger().received("b").is_empty());
}

async fn well_again(w: Rc<World>) {
    let manager = opened(&w, quick()).await;
    manager.start_monitor();
    for number in 0..2 {
        let starts = |ledger: &Ledger| match w.transport {
            Transport::Sse => ledger.received("GET").len(),
            _ => ledger.connections(),
        };
        let before = starts(w.upstream.ledger());
        restart(&w).await;
        let watch = Stopwatch::start();
        if !w.transport.is_shared() {
            // Without a standing connection somebody has to ask.
            let _ = manager.check_server_health("it").await;
        } else {
            w.upstream.ledger().until("a start", |ledger| (starts(ledger) > before).then_some(())).await;
        }
        watch::until("it is healthy", || match status(&manager) {
            Status::Healthy => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        watch.stop().at_most(Duration::from_secs(2));
        w.route(&manager, &format!("n{number}")).await.0.unwrap();
    }
}

pub(crate) fn r33() -> Row {
    Row::new(
        "R33",
        "partition",
        "Nothing gets through for a while",
        "calls end at their limit, then fail at once while the window is closed; one probe at a time; well again within the longest window",
    )
    .on(NET, Phase::Request, "a_short_one", short_partition)
    .on(NET, Phase::Idle, "between_calls", partition_between)
    .on(HTTP, Phase::Request, "calls_fail_fast_then", partition_fails_fast)
    .on(HTTP, Phase::Request, "one_probe_for_many_calls", one_probe)
    .on(HTTP, Phase::Recovery, "well_again", partition_heals)
}

async fn short_partition(w: Rc<World>) {
    w.proxy();
    let client = w.connect().await;
    w.proxy().set(|rules| rules.stalled = true);
    let healing = async {
        watch::pass(LIMIT).await;
        w.proxy().set(|rules| rules.stalled = false);
    };
    let (ended, ()) = tokio::join!(w.call(&client, "a", AMPLE), healing);
    let took = ended.answered();
    took.about(LIMIT);
}

async fn partition_between(w: Rc<World>) {
    w.proxy();
    let client = w.connect().await;
    w.works_as(&client, "before").await;
    w.proxy().set(|rules| rules.stalled = true);
    watch::pass(LIMIT).await;
    w.proxy().set(|rules| rules.stalled = false);
    w.works(&client).await.at_once();
}

async fn partition_fails_fast(w: Rc<World>) {
    w.proxy();
    let manager = opened(&w, Policy::default()).await;
    w.proxy().set(|rules| rules.stalled = true);
    let (result, took) = w.route(&manager, "a").await;
    result.unwrap_err();
    took.about(LIMIT);
    for name in ["b", "c", "d"] {
        let (result, took) = w.route(&manager, name).await;
        result.unwrap_err();
        took.at_once();
    }
}

async fn one_probe(w: Rc<World>) {
    w.proxy();
    let manager = opened(&w, quick()).await;
    w.proxy().set(|rules| rules.stalled = true);
    w.route(&manager, "a").await.0.unwrap_err();
    w.proxy().close_all();
    w.proxy().set(|rules| (rules.stalled, rules.refuse) = (false, true));
    w.noticed().await;
    watch::until("its window is open", || {
        if manager.should_retry("it") { Ok(()) } else { Err("closed".into()) }
    })
    .await;
    let before = w.proxy().accepted();
    let names: Vec<String> = (0..20).map(|number| format!("n{number}")).collect();
    let calls = names.iter().map(|name| w.route(&manager, name));
    for (result, _) in futures::future::join_all(calls).await {
        result.unwrap_err();
    }
    let tried = w.proxy().accepted() - before;
    assert!(tried <= 4, "{tried} connections for 20 calls");
}

async fn partition_heals(w: Rc<World>) {
    w.proxy();
    let manager = opened(&w, quick()).await;
    manager.start_monitor();
    w.proxy().set(|rules| rules.stalled = true);
    w.route(&manager, "a").await.0.unwrap_err();
    assert_ne!(status(&manager), Status::Healthy);
    w.proxy().set(|rules| rules.stalled = false);
    watch::until("it is healthy", || match status(&manager) {
        Status::Healthy => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    w.route(&manager, "b").await.0.unwrap();
}
