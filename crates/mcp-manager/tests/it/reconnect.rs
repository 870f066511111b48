//! Connections ended and made anew: by an operator, and in the background (contract §1.5, §2.6).

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use mcp_registry::{ConnectionState, Event, Random, RegistryChange, RegistryFilter, ServerRecord, Status};
use mcp_testkit::{Action, Dice};

use crate::support::World;

/// The waits announced in the registry's events, with the number of the attempt.
fn planned(world: &World) -> Vec<(u32, Duration)> {
    let filter = RegistryFilter { kind: Some("reconnect_scheduled"), ..RegistryFilter::default() };
    let events = world.manager.journal().registry_events(&filter).into_iter();
    events
        .map(|event| match event.change {
            RegistryChange::ReconnectScheduled { delay, attempt } => (attempt, delay),
            other => panic!("{other:?}"),
        })
        .collect()
}

/// Reconnects, moving the clock to whatever is waited for; says how long each wait was.
async fn reconnect(world: &World, name: &'static str) -> (Arc<ServerRecord>, Vec<Duration>) {
    let manager = world.manager.clone();
    let work = tokio::spawn(async move { manager.reconnect(name).await.unwrap() });
    let mut waits = Vec::new();
    loop {
        world.settle().await;
        if work.is_finished() {
            break;
        }
        if let Some(at) = world.clock.next_wake() {
            let wait = at.since(world.manager.now());
            waits.push(wait);
            world.clock.advance(wait);
        }
    }
    (work.await.unwrap(), waits)
}

#[tokio::test(start_paused = true)]
async fn a_connect_is_tried_again_with_growing_waits_until_it_works() {
    let world = World::new(&["p"], |_| {});
    world.cluster.script("p", "initialize", [Action::Error, Action::Timeout, Action::Ok]);
    let (record, waits) = reconnect(&world, "p").await;
    // The same dice as the manager's.
    let (dice, policy) = (Dice::new(1), world.manager.policy());
    let expected = [policy.connect_wait(1, dice.unit()), policy.connect_wait(2, dice.unit())];
    // The clock counts microseconds.
    let micros = |waits: &[Duration]| waits.iter().map(Duration::as_micros).collect::<Vec<_>>();
    assert_eq!(micros(&waits), micros(&expected));
    assert!(waits[0] >= Duration::from_secs(1) && waits[1] <= Duration::from_millis(2200), "{waits:?}");
    assert_eq!((record.status, record.retry_count, record.consecutive_failures), (Status::Healthy, 0, 0));
    assert_eq!(record.connection_state, ConnectionState::Connected);
    assert_eq!(world.cluster.opened("p"), 3);
    assert_eq!(world.transitions(0), "", "attempts before the last are no check results");
}

#[tokio::test(start_paused = true)]
async fn j2_a_connect_that_never_works_takes_the_server_out_and_goes_on_in_the_background() {
    let world = World::new(&["p"], |policy| {
        (policy.connect_attempts, policy.connect_jitter_ratio) = (2, 0.0);
        policy.connect_max_delay = Duration::from_secs(8);
        // Out of the way: what comes back comes back by the series alone.
        policy.health_interval = Duration::from_secs(100_000);
        policy.degraded_health_interval = Duration::from_secs(90_000);
    });
    world.manager.start_monitor();
    world.settle().await;
    world.cluster.script("p", "initialize", vec![Action::Error; 5]);
    let mut observer = world.manager.journal().subscribe();
    let (record, waits) = reconnect(&world, "p").await;
    assert_eq!(waits, [Duration::from_secs(1)]);
    assert_eq!((record.status, record.connection_state), (Status::Unreachable, ConnectionState::Error));
    assert_eq!((record.retry_count, record.consecutive_failures), (3, 2), "as marked unavailable");
    let unavailable = RegistryFilter { kind: Some("server_unavailable"), ..RegistryFilter::default() };
    assert_eq!(world.manager.journal().registry_events(&unavailable).len(), 1);
    assert_eq!(planned(&world), [(2, Duration::from_secs(2))]);
    assert_eq!(record.last_error.as_deref(), Some("p unavailable"));
    assert_eq!(record.next_reconnect_at(), Some(world.manager.now() + Duration::from_secs(2)));
    let mut told = Vec::new();
    while let Some(Some(event)) = observer.next().now_or_never() {
        told.push(event);
    }
    let told_of = |found: fn(&RegistryChange) -> bool| {
        told.iter().any(|event| matches!(event, Event::Registry(event) if found(&event.change)))
    };
    assert!(told_of(|change| matches!(change, RegistryChange::Unavailable { .. })));
    assert!(told_of(|change| matches!(change, RegistryChange::ReconnectScheduled { .. })));

    // Three more failures, each later than the one before up to the cap, then it works and the series ends.
    for wait in [2, 4, 8, 8] {
        world.advance(wait - 1);
        world.settle().await;
        let opened = world.cluster.opened("p");
        world.advance(1);
        world.settle().await;
        assert_eq!(world.cluster.opened("p"), opened + 1, "after {wait} s and not before");
    }
    assert_eq!(planned(&world).iter().map(|(attempt, _)| *attempt).collect::<Vec<_>>(), [2, 3, 4, 5]);
    assert_eq!(world.status("p"), Status::Healthy);
    let opened = world.cluster.opened("p");
    world.advance(3600);
    world.settle().await;
    assert_eq!(world.cluster.opened("p"), opened);
}

#[tokio::test(start_paused = true)]
async fn disconnecting_ends_a_planned_reconnection_and_calls_under_way_blame_nobody() {
    let world = World::new(&["p"], |policy| policy.connect_attempts = 1);
    world.cluster.script("p", "initialize", [Action::Error]);
    world.manager.reconnect("p").await.unwrap();
    assert_eq!(planned(&world).len(), 1);
    world.manager.mark_healthy("p").unwrap();
    world.manager.disconnect("p").await.unwrap();
    assert_eq!(world.record("p").connection_state, ConnectionState::Disconnected);

    world.tool(&[]).await.unwrap();
    world.cluster.script("p", "tools/call", [Action::Hang]);
    let manager = world.manager.clone();
    let call = tokio::spawn(async move {
        manager.call(crate::support::routed(mcp_protocol::Method::ToolsCall, &[])).await
    });
    while world.cluster.scripted("p", "tools/call") > 0 {
        tokio::task::yield_now().await;
    }
    let record = world.manager.disconnect("p").await.unwrap();
    assert_eq!((record.connection_state, record.status), (ConnectionState::Disconnected, Status::Healthy));
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.attempts.len(), 2, "{error}");
    assert_eq!(world.record("p").retry_count, 0, "it was us who ended the session");
    assert_eq!(world.cluster.closed("p"), 2, "and the one whose handshake failed");
    assert_eq!(world.tool(&[]).await.unwrap().server.as_str(), "p", "the next call connects again");
    assert!(world.manager.disconnect("x").await.is_err() && world.manager.reconnect("x").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_reconnect_ends_with_the_registration_or_the_manager() {
    for by_shutdown in [false, true] {
        let world = World::new(&["p"], |_| {});
        world.cluster.script("p", "initialize", [Action::Error, Action::Error]);
        let manager = world.manager.clone();
        let work = tokio::spawn(async move { manager.reconnect("p").await });
        while world.clock.next_wake().is_none() {
            tokio::task::yield_now().await;
        }
        if by_shutdown {
            world.manager.shutdown(Duration::ZERO).await;
        } else {
            world.manager.unregister("p").await.unwrap();
            world.advance(10);
        }
        assert_eq!(work.await.unwrap().is_ok(), by_shutdown);
        assert_eq!(world.cluster.opened("p"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reconnect_goes_on_when_the_one_who_asked_leaves() {
    let world = World::new(&["p"], |policy| policy.connect_jitter_ratio = 0.0);
    world.cluster.script("p", "initialize", vec![Action::Error; 3]);
    let manager = world.manager.clone();
    let asked = tokio::spawn(async move { manager.reconnect("p").await });
    while world.clock.next_wake().is_none() {
        tokio::task::yield_now().await;
    }
    asked.abort();
    assert!(asked.await.is_err());
    // Another one joins the series instead of beginning a second.
    let (record, waits) = reconnect(&world, "p").await;
    assert_eq!(waits, [Duration::from_secs(1), Duration::from_secs(2)]);
    assert_eq!((record.status, world.cluster.opened("p")), (Status::Unreachable, 3));
    assert_eq!(planned(&world).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_several_waited_for_is_recorded_once() {
    let world = World::new(&["p"], |policy| policy.connect_attempts = 2);
    world.cluster.script("p", "initialize", [Action::Error.delayed(Duration::from_secs(1)), Action::Ok]);
    let manager = world.manager.clone();
    let asked = tokio::spawn(async move { manager.reconnect("p").await });
    while world.cluster.opened("p") == 0 {
        tokio::task::yield_now().await;
    }
    // Calls join the first attempt of the reconnect, for which a failure is no check result; for them it is.
    let calls = [world.tool(&[]), world.tool(&[])];
    for outcome in futures::future::join_all(calls).await {
        assert_eq!(outcome.unwrap_err().attempts.len(), 1);
    }
    assert_eq!((world.status("p"), world.record("p").retry_count), (Status::Degraded, 1));
    while !asked.is_finished() {
        world.settle().await;
        if let Some(at) = world.clock.next_wake() {
            world.clock.advance(at.since(world.manager.now()));
        }
    }
    assert_eq!(world.status("p"), Status::Healthy);
}
