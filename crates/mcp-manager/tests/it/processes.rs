//! Servers that are child processes: they crash, and are started again within bounds.

use std::time::Duration;

use mcp_manager::{DirectedCall, UserContext};
use mcp_protocol::{Era, EraPolicy, Method};
use mcp_registry::{
    ConnectionState, Definition, ErrorCategory, InvocationFilter, Part, RegistryChange, RegistryFilter,
    Status,
};
use mcp_testkit::Action;
use mcp_transport::{Endpoint, StdioEndpoint};

use crate::support::{World, routed};

/// A world with one child process.
fn world() -> World {
    let world = World::new(&[], |policy| {
        // Out of the way of restarts.
        policy.health_interval = Duration::from_secs(100_000);
        policy.degraded_health_interval = Duration::from_secs(90_000);
    });
    let endpoint = Endpoint::Stdio(StdioEndpoint::new("p", ["--quiet"]));
    let mut definition = Definition::new("p".parse().unwrap(), endpoint);
    definition.protocol = EraPolicy::Only(Era::Handshake);
    world.manager.register(definition).unwrap();
    world
}

fn planned(world: &World) -> Vec<(u32, u128)> {
    let filter = RegistryFilter { kind: Some("reconnect_scheduled"), ..RegistryFilter::default() };
    let events = world.manager.journal().registry_events(&filter).into_iter();
    events
        .map(|event| match event.change {
            RegistryChange::ReconnectScheduled { delay, attempt } => (attempt, delay.as_millis()),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn j7_a_crashed_process_is_started_again_after_half_a_second() {
    let world = world();
    world.manager.start_monitor();
    world.settle().await;
    assert_eq!((world.cluster.opened("p"), world.status("p")), (1, Status::Healthy), "the first check");
    assert_eq!(world.cluster.crash("p"), 1);
    world.settle().await;
    let record = world.record("p");
    assert_eq!((record.connection_state, record.initialized), (ConnectionState::Error, false));
    assert_eq!((record.status, record.retry_count), (Status::Healthy, 0), "nobody called it meanwhile");
    assert_eq!(planned(&world), [(1, 500)]);

    // It does not come back at once: the waits grow until it does.
    world.cluster.script("p", "initialize", [Action::Error, Action::Error]);
    for millis in [500, 1000, 2000] {
        let opened = world.cluster.opened("p");
        world.clock.advance(Duration::from_millis(millis - 1));
        world.settle().await;
        assert_eq!(world.cluster.opened("p"), opened, "not yet after {millis} ms");
        world.clock.advance(Duration::from_millis(1));
        world.settle().await;
        assert_eq!(world.cluster.opened("p"), opened + 1, "after {millis} ms");
    }
    assert_eq!(planned(&world), [(1, 500), (2, 1000), (3, 2000)]);
    assert_eq!((world.status("p"), world.cluster.crash("p")), (Status::Healthy, 1));
    world.settle().await;
    // A connection that held less than a minute does not start the waits anew.
    assert_eq!(planned(&world).last(), Some(&(4, 4000)));
}

#[tokio::test(start_paused = true)]
async fn r23_a_program_that_keeps_ending_is_started_twelve_times_a_minute() {
    let world = world();
    for start in 1..=12 {
        world.tool(&[]).await.unwrap();
        assert_eq!((world.cluster.opened("p"), world.cluster.crash("p")), (start, 1));
        world.settle().await;
    }
    let error = world.tool(&[]).await.unwrap_err();
    assert!(error.message.contains("started 12 times within a minute"), "{error}");
    assert_eq!(error.attempts[0].failure.as_ref().unwrap().category, ErrorCategory::TransportError);
    assert_eq!(world.cluster.opened("p"), 12);
    let record = world.record("p");
    assert_eq!((record.status, record.restarts()), (Status::Degraded, 12));
    assert!(record.next_reconnect_at().is_some() && record.last_error.is_some());
    world.advance(60);
    world.tool(&[]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_crash_under_a_call_fails_it_and_counts_once() {
    let world = world();
    world.cluster.script("p", "tools/call", vec![Action::Hang; 3]);
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let manager = world.manager.clone();
            tokio::spawn(async move { manager.call(routed(Method::ToolsCall, &[])).await })
        })
        .collect();
    while world.cluster.scripted("p", "tools/call") > 0 {
        tokio::task::yield_now().await;
    }
    world.cluster.crash("p");
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        assert!(error.message.contains("ended"), "{error}");
    }
    assert_eq!(world.record("p").retry_count, 1);
    // It is started again all the same, whether anybody calls it or not.
    assert_eq!(planned(&world), [(1, 500)]);
    world.manager.start_monitor();
    world.clock.advance(Duration::from_millis(500));
    world.settle().await;
    assert_eq!((world.cluster.opened("p"), world.record("p").initialized), (2, true));
}

#[tokio::test(start_paused = true)]
async fn a_directed_call_starts_a_crashed_process_again_and_only_its_end_counts() {
    for (handshakes, served, count) in [
        (vec![Action::Ok, Action::Ok], true, 0),
        // The process cannot be started for the second attempt, but for the third.
        (vec![Action::Ok, Action::Error, Action::Ok], true, 0),
        (vec![Action::Ok, Action::Error, Action::Error], false, 1),
    ] {
        let world = world();
        world.cluster.script("p", "initialize", handshakes);
        world.cluster.script("p", "tools/call", [Action::Hang]);
        let manager = world.manager.clone();
        let call =
            tokio::spawn(async move { manager.call_tool_on_server(DirectedCall::new("p", "search")).await });
        while world.cluster.scripted("p", "tools/call") > 0 || world.cluster.calls().len() < 3 {
            tokio::task::yield_now().await;
        }
        world.cluster.crash("p");
        while !call.is_finished() {
            world.settle().await;
            if let Some(at) = world.clock.next_wake() {
                world.clock.advance(at.since(world.manager.now()));
            }
        }
        assert_eq!(call.await.unwrap().is_ok(), served);
        let record = world.record("p");
        assert_eq!((record.retry_count, record.consecutive_failures), (count, count * 3));
        let ids = world.manager.journal().invocation_events(&InvocationFilter::default());
        let story = world.manager.journal().explain(&ids[0].request_id).unwrap();
        assert_eq!(story.considered()[0].part, Part::Tried);
        assert_eq!(story.transitions.len(), usize::from(!served));
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_gets_no_users_token() {
    let world = world();
    let mut call = DirectedCall::new("p", "search");
    call.user = UserContext { user_id: None, token: Some("t1".into()) };
    world.manager.call_tool_on_server(call).await.unwrap();
    assert!(world.cluster.traffic().iter().all(|entry| entry.header("authorization").is_none()));
    assert_eq!(world.cluster.opened("p"), 1);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_manager_closes_its_connections() {
    let world = world();
    world.tool(&[]).await.unwrap();
    let World { manager, cluster, .. } = world;
    drop(manager);
    while cluster.closed("p") == 0 {
        tokio::task::yield_now().await;
    }
}
