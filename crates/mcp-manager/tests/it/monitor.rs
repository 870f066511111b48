//! Contract §9.11, J11: the monitor checks by itself, and nothing stops it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{BoxFuture, ready};
use mcp_registry::{ErrorCategory, Policy, Status};
use mcp_testkit::{Action, ManualClock, ScriptedCluster, Toggle};
use mcp_transport::{Connector, Endpoint, Transport, TransportError};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::support::World;

/// Status code of a probe of the server's health path.
type Probe = BoxFuture<'static, u16>;

/// Scripted servers whose health path is asked this way.
struct Probed<F> {
    cluster: ScriptedCluster,
    probe: F,
}

impl<F: Fn(&str) -> Probe + Send + Sync + 'static> Connector for Probed<F> {
    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
    ) -> BoxFuture<'a, Result<Box<dyn Transport>, TransportError>> {
        self.cluster.connect(endpoint)
    }

    fn health<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        _: &'a str,
    ) -> BoxFuture<'a, Option<Result<u16, TransportError>>> {
        let host = endpoint.url().and_then(|url| url.host_str()).unwrap_or_default();
        let probe = (self.probe)(host.split('.').next().unwrap_or_default());
        Box::pin(async { Some(Ok(probe.await)) })
    }
}

/// A world with a monitor, in which health paths are asked by `probe`, which is given the world's clock.
fn monitored(
    servers: &[&str],
    adjust: impl FnOnce(&mut Policy),
    probe: impl Fn(&ManualClock, &str) -> Probe + Send + Sync + 'static,
) -> World {
    let clock = Arc::new(Mutex::new(ManualClock::new()));
    let shared = clock.clone();
    let probe = move |server: &str| {
        let clock = shared.lock().unwrap().clone();
        probe(&clock, server)
    };
    let world = World::over(|cluster| Arc::new(Probed { cluster, probe }), servers, adjust);
    *clock.lock().unwrap() = world.clock.clone();
    world.manager.start_monitor();
    world
}

/// Steps through the seconds up to `end`; gives those at which `count` had grown.
async fn seconds(world: &World, end: u64, count: impl Fn() -> u32) -> Vec<u64> {
    let (mut seen, mut at) = (count(), Vec::new());
    loop {
        world.settle().await;
        let second = world.clock.elapsed().as_secs();
        at.extend((seen..count()).map(|_| second));
        seen = count();
        if second >= end {
            return at;
        }
        world.advance(1);
    }
}

#[tokio::test]
async fn j11_a_healthy_server_is_checked_at_once_and_every_thirty_seconds() {
    let world = World::new(&["a"], |_| {});
    world.manager.start_monitor();
    world.manager.start_monitor();
    assert_eq!(seconds(&world, 100, || world.cluster.probes()).await, [0, 30, 60, 90]);
}

#[tokio::test]
async fn j11_a_failing_server_is_checked_sooner_but_not_inside_its_window() {
    let world = World::new(&["a"], |_| {});
    world.cluster.health("a", [Ok(200), Ok(503), Ok(503), Ok(503), Ok(503), Ok(503), Ok(200)]);
    world.manager.start_monitor();
    // Windows of 1, 2, 4, 8 and 8 s; the interval is 5 s while it fails.
    let checks = seconds(&world, 150, || world.cluster.probes()).await;
    assert_eq!(checks, [0, 30, 35, 40, 45, 53, 61, 91, 121]);
    assert_eq!(world.transitions(0), "a H→D D→X X→H");
}

#[tokio::test]
async fn j11_a_server_that_answers_too_slowly_is_degraded_until_it_is_quick_again() {
    let slow = Arc::new(Mutex::new(vec![201, 200]));
    let probes = Arc::new(AtomicUsize::new(0));
    let counted = probes.clone();
    let world = monitored(
        &["a"],
        |policy| policy.latency_threshold = Some(Duration::from_millis(200)),
        move |clock, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            clock.advance(Duration::from_millis(slow.lock().unwrap().pop().unwrap_or(0)));
            Box::pin(ready(200))
        },
    );
    let count = || u32::try_from(probes.load(Ordering::SeqCst)).unwrap();
    assert_eq!(seconds(&world, 29, count).await, [0], "200 ms are not too slow");
    assert_eq!(world.status("a"), Status::Healthy);
    assert_eq!(seconds(&world, 34, count).await, [30]);
    let record = world.record("a");
    assert_eq!((record.status, record.retry_count), (Status::Degraded, 1));
    assert_eq!(record.last_error_category, Some(ErrorCategory::HealthCheck));
    assert_eq!(
        record.last_error.as_deref(),
        Some("answered after 201 ms, which is more than policy.latency_threshold = 200")
    );
    assert_eq!(record.response_time, Some(Duration::from_millis(201)));
    assert_eq!(seconds(&world, 97, count).await, [35, 65, 95], "the interval of the healthy is restored");
    assert_eq!(world.transitions(0), "a H→D D→H");
}

#[tokio::test]
async fn j11_a_server_that_fails_too_often_is_degraded_although_it_answers_probes() {
    let world = World::new(&["a"], |policy| {
        policy.error_rate_threshold = Some(0.25);
        policy.max_backoff = Duration::ZERO;
    });
    let refused = || Action::RpcError { code: Some(-32602), message: None };
    let failing = || Action::RpcError { code: Some(-32603), message: None };
    // Mistakes of callers are not the server's.
    let script = std::iter::repeat_with(failing).take(7).chain(std::iter::repeat_with(refused).take(9));
    world.cluster.script("a", "tools/call", script);
    for _ in 0..20 {
        let _ = world.tool(&[]).await;
    }
    assert_eq!(world.manager.error_rate("a").unwrap(), Some(0.35));
    assert_eq!(world.status("a"), Status::Healthy, "its latest calls went well");
    let before = world.transitions(0).len();
    world.manager.start_monitor();
    // Each probe is a request as well: 6, then 5 of the latest 20 failed.
    assert_eq!(seconds(&world, 40, || world.cluster.probes()).await, [0, 5, 35]);
    assert_eq!(&world.transitions(0)[before..], " H→D D→H");
    assert_eq!(world.manager.error_rate("a").unwrap(), Some(0.2));
    assert!(world.manager.error_rate("x").is_err());
}

#[tokio::test]
async fn j11_a_probe_that_panics_or_hangs_stops_neither_the_others_nor_the_next_one() {
    let probes = Arc::new(Mutex::new(Vec::new()));
    let noted = probes.clone();
    let world = monitored(
        &["a", "b", "c"],
        |_| {},
        move |clock, server| {
            noted.lock().unwrap().push((clock.elapsed().as_secs(), server.to_owned()));
            match server {
                "a" => Box::pin(async { panic!("a probe panics, as the test wants") }),
                "b" => Box::pin(std::future::pending()),
                _ => Box::pin(ready(200)),
            }
        },
    );
    for _ in 0..=30 {
        world.settle().await;
        world.advance(1);
    }
    let of = |server: &str| -> Vec<u64> {
        let probes = probes.lock().unwrap();
        probes.iter().filter(|(_, probed)| probed == server).map(|(at, _)| *at).collect()
    };
    assert_eq!((of("a"), of("c")), (vec![0, 30], vec![0, 30]));
    assert_eq!(of("b"), [0], "the first one still runs: its limit is on another clock");
    assert_eq!(world.manager.healthy_servers().len(), 1);
}

#[tokio::test]
async fn j11_servers_are_checked_at_the_same_time_sixteen_at_most() {
    let names: Vec<String> = (0..20).map(|n| format!("s{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let gate = Arc::new(Semaphore::new(0));
    let under_way = Arc::new(AtomicUsize::new(0));
    let (opened, entered) = (gate.clone(), under_way.clone());
    let world = monitored(
        &names,
        |_| {},
        move |_, _| {
            let (gate, under_way) = (opened.clone(), entered.clone());
            Box::pin(async move {
                under_way.fetch_add(1, Ordering::SeqCst);
                gate.acquire().await.unwrap().forget();
                200
            })
        },
    );
    world.settle().await;
    assert_eq!(under_way.load(Ordering::SeqCst), 16);
    gate.add_permits(1);
    world.settle().await;
    assert_eq!(under_way.load(Ordering::SeqCst), 17, "whoever is done makes room for the next");
    gate.add_permits(19);
    world.settle().await;
    assert_eq!(world.manager.healthy_servers().len(), 20);
    assert_eq!(world.clock.elapsed(), Duration::ZERO, "all of them in the time of one");
}

#[tokio::test]
async fn j11_the_monitor_ends_with_the_manager() {
    for by_shutdown in [false, true] {
        let world = World::new(&["a"], |_| {});
        world.manager.start_monitor();
        world.settle().await;
        assert_eq!(world.cluster.probes(), 1);
        if by_shutdown {
            world.manager.shutdown(Duration::ZERO).await;
            world.settle().await;
            assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
        }
        let World { manager, clock, .. } = world;
        drop(manager);
        while Handle::current().metrics().num_alive_tasks() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(clock.next_wake(), None, "nobody waits for the next check");
    }
}

#[tokio::test]
async fn j11_a_check_under_way_ends_with_the_manager() {
    let world = monitored(&["a"], |_| {}, |_, _| Box::pin(std::future::pending()));
    world.settle().await;
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 2, "the monitor and its check");
    world.manager.shutdown(Duration::ZERO).await;
    world.settle().await;
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
    assert_eq!(world.record("a").last_checked_at(), None);
}

/// Contract §2.2, reliability R33: however long a server was out of reach, it is back in use as soon as its retry
/// window allows, and asked once in each of them until then.
#[tokio::test]
async fn r33_a_server_out_of_reach_is_back_within_the_longest_window() {
    for away in [1, 10, 60, 600] {
        let world = World::new(&["a"], |_| {});
        world.manager.start_monitor();
        world.settle().await;
        world.cluster.health("a", [Err("no route to host".into())]);
        world.cluster.toggle("a", Toggle::TimeoutInitialize, true);
        world.manager.disconnect("a").await.unwrap();
        world.tool(&[]).await.unwrap_err();
        let probes = seconds(&world, away, || world.cluster.probes()).await;
        assert!(probes.len() as u64 <= away / 5 + 1, "{away} s: {probes:?}");
        world.cluster.health("a", [Ok(200)]);
        world.cluster.toggle("a", Toggle::TimeoutInitialize, false);
        let mut waited = 0;
        while world.status("a") != Status::Healthy {
            assert!(waited <= 8, "still away {waited} s after its return, {away} s after it left");
            waited += 1;
            world.advance(1);
            world.settle().await;
        }
        assert_eq!(world.tool(&[]).await.unwrap().server.as_str(), "a");
    }
}
