//! Many at once, on real threads: registrations, calls, and operators who change servers under them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use mcp_manager::{DirectedCall, DirectedError, Manager};
use mcp_protocol::Method;
use mcp_registry::{InvocationEvent, InvocationFilter, RegistryFilter, Status};
use mcp_testkit::assert::{Ending, Shape};
use mcp_transport::{Endpoint, HttpEndpoint};

use crate::support::{World, definition, routed};

const SERVERS: usize = 200;

fn name(n: usize) -> String {
    format!("s{n:03}")
}

/// Room for every event of a test.
fn big() -> World {
    World::new(&[], |policy| {
        policy.max_invocation_events = 100_000;
        policy.max_registry_events = 100_000;
        policy.max_connection_events = 100_000;
        // Waits would be for a clock that nobody moves.
        policy.call_attempts = 1;
    })
}

/// Runs `tasks` tasks on the runtime's threads; all of them are there before the first one begins.
async fn at_once<F: Future<Output = ()> + Send + 'static>(tasks: usize, task: impl Fn(usize) -> F) {
    let start = Arc::new(tokio::sync::Barrier::new(tasks));
    let spawned = (0..tasks).map(|n| {
        let (start, work) = (start.clone(), task(n));
        tokio::spawn(async move {
            start.wait().await;
            work.await;
        })
    });
    for done in join_all(spawned).await {
        done.unwrap();
    }
}

fn by_invocation(world: &World) -> BTreeMap<String, Vec<InvocationEvent>> {
    let mut told: BTreeMap<String, Vec<InvocationEvent>> = BTreeMap::new();
    for event in world.manager.journal().invocation_events(&InvocationFilter::default()) {
        told.entry(event.request_id.to_string()).or_default().push(event);
    }
    told
}

/// Every session that was opened is closed once the manager is.
async fn shut_down(world: &World, servers: impl Iterator<Item = String>) {
    let report = world.manager.shutdown(Duration::from_secs(10)).await;
    assert_eq!(report.calls_cut, 0);
    for name in servers {
        assert_eq!(world.cluster.opened(&name), world.cluster.closed(&name), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_concurrent_registrations_lose_nothing() {
    let world = big();
    let manager = world.manager.clone();
    at_once(100, move |n| {
        let manager = manager.clone();
        async move {
            // Each registers two servers of its own, and all fight over one name.
            for name in [name(n), name(n + 100), "shared".to_owned()] {
                manager.register(definition(&name)).unwrap();
            }
        }
    })
    .await;
    let table = world.manager.table();
    let names: Vec<_> = table.servers().iter().map(|record| record.name().to_string()).collect();
    let expected: Vec<_> = (0..SERVERS).map(name).collect();
    assert_eq!((&names[..SERVERS], &*names[SERVERS]), (&*expected, "shared"), "in name order");
    let generations: BTreeSet<_> = table.servers().iter().map(|record| record.generation).collect();
    assert_eq!(generations.len(), SERVERS + 1);
    let shared = world.record("shared").generation.get();
    let events = world.manager.journal().registry_events(&RegistryFilter::default());
    assert_eq!(events.len(), 300, "one for every registration");
    assert!(events.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    // Generations are handed out in the order of the events: the record is that of the last one.
    let last = events.iter().rposition(|event| event.server.as_str() == "shared").unwrap();
    assert_eq!(shared, last as u64 + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_concurrent_calls_over_two_hundred_servers() {
    let world = big();
    for n in 0..SERVERS {
        world.manager.register(definition(&name(n))).unwrap();
    }
    let manager = world.manager.clone();
    at_once(1000, move |n| {
        let (manager, server) = (manager.clone(), name(n % SERVERS));
        async move {
            let served = if n % 3 == 0 {
                manager.call_tool_on_server(DirectedCall::new(&server, "search")).await.unwrap()
            } else {
                manager.call(routed(Method::ToolsCall, &[&server])).await.unwrap()
            };
            assert_eq!((served.server.as_str(), served.attempts.len()), (&*server, 2));
        }
    })
    .await;
    for n in 0..SERVERS {
        assert_eq!(world.cluster.opened(&name(n)), 1, "one handshake, however many callers");
        assert_eq!(world.status(&name(n)), Status::Healthy);
    }
    let told = by_invocation(&world);
    assert_eq!(told.len(), 1000);
    assert!(told.values().all(|events| Shape { attempts: 3 }.ending(events) == Ok(Ending::Success)));
    let statistics = world.manager.statistics();
    assert_eq!((statistics.connected_servers, statistics.total_servers), (SERVERS, SERVERS));
    assert_eq!((statistics.total_requests, statistics.total_errors), (1200, 0));
    shut_down(&world, (0..SERVERS).map(name)).await;
}

/// The same name at another address.
fn moved(server: &str, to: &str) -> mcp_registry::Definition {
    let url = format!("https://{to}.example/mcp").parse().unwrap();
    let mut moved = definition(server);
    moved.endpoint = Endpoint::Http(HttpEndpoint::new(url));
    moved
}

async fn operate(manager: &Manager, n: usize, round: usize) {
    let server = name(n);
    match (n + round) % 5 {
        // It may be on the move: then there is nothing to replace.
        0 => drop(manager.replace(moved(&server, &format!("{server}-{round}")))),
        1 => {
            // Somebody else may have been quicker.
            let _ = manager.unregister(&server).await;
            manager.register(definition(&server)).unwrap();
        }
        2 => drop(manager.refresh(&server).await),
        3 => drop(manager.invalidate(&server).await),
        _ => drop(manager.disconnect(&server).await),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a13_h11_servers_change_under_load_and_no_call_is_lost() {
    const CHANGED: usize = 20;
    let world = big();
    for n in 0..CHANGED + 1 {
        world.manager.register(definition(&name(n))).unwrap();
    }
    let (manager, failed) = (world.manager.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = failed.clone();
    at_once(60, move |task| {
        let (manager, failed) = (manager.clone(), counted.clone());
        async move {
            for round in 0..25 {
                let server = name((task * 7 + round) % CHANGED);
                match task % 3 {
                    0 => operate(&manager, (task * 7 + round) % CHANGED, round).await,
                    // Whoever is named may be on the move; the last server never is.
                    1 => drop(manager.call(routed(Method::ToolsCall, &[&server])).await.unwrap()),
                    _ => match manager.call_tool_on_server(DirectedCall::new(server, "search")).await {
                        Ok(_) | Err(DirectedError::UnknownServer(_)) => {}
                        Err(DirectedError::Failed(error)) => {
                            // Cut off by `disconnect`, or gone between the look and the call; never blamed.
                            failed.fetch_add(1, Ordering::Relaxed);
                            assert!(!error.attempts.is_empty(), "{error}");
                        }
                        Err(error) => panic!("{error}"),
                    },
                }
            }
        }
    })
    .await;
    let told = by_invocation(&world);
    assert!(told.len() >= 500, "{} invocations", told.len());
    for events in told.values() {
        let ending = Shape { attempts: 10 }.ending(events).unwrap();
        assert!(matches!(ending, Ending::Success | Ending::Failure), "{events:?}");
    }
    for record in world.manager.table().servers() {
        assert_eq!(record.status, Status::Healthy, "{}: {:?}", record.name(), record.last_error);
        assert_eq!(record.retry_count, 0);
    }
    assert_eq!(world.transitions(0), "", "nothing that operators do is a server's fault");
    let everywhere =
        (0..CHANGED).flat_map(|n| (0..25).map(move |round| format!("{}-{round}", name(n))).chain([name(n)]));
    shut_down(&world, everywhere.chain([name(CHANGED)])).await;
}
