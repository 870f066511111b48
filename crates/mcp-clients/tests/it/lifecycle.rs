//! Connecting, losing and keeping a connection. Source: contract §1.5, §2.6, §7.1.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use mcp_clients::{ClientOptions, McpClient};
use mcp_registry::{ConnectionState, ErrorCategory, Policy, Random};
use mcp_testkit::{Action, Dice, ManualClock, ScriptedCluster};
use mcp_transport::{Connector, Endpoint, Transport, TransportError};

use crate::support::{SEED, World, http, options, process, settle};

fn micros(waits: &[Duration]) -> Vec<u128> {
    waits.iter().map(Duration::as_micros).collect()
}

fn no_jitter(options: &mut ClientOptions) {
    let mut policy = Policy::default();
    policy.connect_jitter_ratio = 0.0;
    options.policy = Arc::new(policy);
}

#[tokio::test(start_paused = true)]
async fn j1_a_connect_is_tried_again_with_growing_waits_until_it_works() {
    let mut world = World::new(http("p"));
    world.cluster.script("p", "initialize", [Action::Error, Action::Timeout, Action::Ok]);
    let client = world.client.clone();
    let (result, waits) = world.drive(async move { client.connect().await }).await;
    assert!(result.success() && result.error_text().is_none());
    assert_eq!((result.metadata.attempts, result.metadata.host.as_deref()), (3, Some("p.example")));
    assert_eq!(result.metadata.protocol_version.as_deref(), Some("2025-11-25"));
    // The same dice as the client's.
    let (dice, policy) = (Dice::new(SEED), Policy::default());
    let expected = [policy.connect_wait(1, dice.unit()), policy.connect_wait(2, dice.unit())];
    assert_eq!(micros(&waits), micros(&expected));
    assert!(Duration::from_secs(1) <= waits[0] && waits[0] <= Duration::from_millis(1100), "{waits:?}");
    assert!(Duration::from_secs(2) <= waits[1] && waits[1] <= Duration::from_millis(2200), "{waits:?}");
    assert_eq!(world.cluster.opened("p"), 3);
    assert_eq!(world.told().await, ["disconnected>initializing", "initializing>connected"]);
}

#[tokio::test(start_paused = true)]
async fn j2_a_connect_that_never_works_fails_and_goes_on_in_the_background_until_it_does() {
    let mut world = World::with(http("p"), |options| {
        let mut policy = Policy::default();
        (policy.connect_jitter_ratio, policy.connect_max_delay) = (0.0, Duration::from_secs(10));
        options.policy = Arc::new(policy);
    });
    world.cluster.script("p", "initialize", vec![Action::Error; 6]);
    let client = world.client.clone();
    let (result, waits) = world.drive(async move { client.connect().await }).await;
    assert_eq!(waits, [1, 2].map(Duration::from_secs));
    assert_eq!(result.error_text(), Some("p unavailable"));
    assert_eq!(result.error.unwrap().category, ErrorCategory::TransportError);
    assert_eq!((result.metadata.attempts, world.client.is_connected()), (3, false));
    assert_eq!(world.client.connection_state(), ConnectionState::Error);
    assert_eq!(
        world.told().await,
        [
            "disconnected>initializing",
            "initializing>error",
            "unavailable(3): p unavailable",
            "again in 4 s (3)"
        ]
    );
    for (wait, told) in [
        (4, &["error>reconnecting", "reconnecting>error", "again in 8 s (4)"][..]),
        (8, &["error>reconnecting", "reconnecting>error", "again in 10 s (5)"]),
        (10, &["error>reconnecting", "reconnecting>error", "again in 10 s (6)"]),
        (10, &["error>reconnecting", "reconnecting>connected"]),
    ] {
        assert_eq!(world.step(), Some(Duration::from_secs(wait)));
        assert_eq!(world.told().await, told);
    }
    assert!(world.client.is_connected());
    assert_eq!(world.clock.next_wake(), None, "the success ended the series");
    assert!(world.client.call_tool("t", &serde_json::json!({})).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn j2_nothing_happens_in_the_background_if_it_is_off() {
    let mut world = World::with(http("p"), |options| options.reconnect = false);
    world.cluster.script("p", "initialize", vec![Action::Error; 3]);
    let client = world.client.clone();
    let (result, _) = world.drive(async move { client.connect().await }).await;
    assert!(!result.success());
    assert_eq!(world.told().await.last().unwrap(), "unavailable(3): p unavailable");
    assert_eq!((world.clock.next_wake(), world.cluster.opened("p")), (None, 3));
    assert!(world.client.connect().await.success(), "by hand it can be tried again");
}

#[tokio::test(start_paused = true)]
async fn connecting_a_connected_client_sends_nothing_and_callers_share_an_attempt() {
    let world = World::new(http("p"));
    let at_once = futures::future::join_all((0..10).map(|_| world.client.connect())).await;
    assert!(at_once.iter().all(|result| result.success()));
    assert_eq!(world.cluster.opened("p"), 1);
    let traffic = world.cluster.traffic().len();
    let again = world.client.connect().await;
    assert!(again.success());
    assert_eq!((again.metadata.attempts, world.cluster.traffic().len()), (0, traffic));
}

#[tokio::test(start_paused = true)]
async fn disconnecting_frees_everything_and_may_be_repeated() {
    let mut world = World::new(http("p"));
    world.client.disconnect().await;
    assert_eq!(world.told().await, [""; 0], "there was nothing to end");
    world.client.connect().await;
    assert_eq!(world.cluster.closed("p"), 0);
    world.cluster.script("p", "tools/call", [Action::Hang]);
    let client = world.client.clone();
    let call = tokio::spawn(async move { client.call_tool("t", &serde_json::json!({})).await });
    settle().await;
    world.client.disconnect().await;
    world.client.disconnect().await;
    assert_eq!(world.cluster.closed("p"), 1);
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.category(), ErrorCategory::TransportError, "{error}");
    assert_eq!(error.delivery(), mcp_transport::Delivery::Unknown);
    let error = world.client.call_tool("t", &serde_json::json!({})).await.unwrap_err();
    assert_eq!(error.to_string(), "p is not connected (state disconnected); connect it first");
    assert_eq!(error.delivery(), mcp_transport::Delivery::NotSent);
    assert!(!world.client.ping().await && world.client.get_stats().is_none());
    assert!(world.client.initialize().is_err() && world.client.connection().is_err());
}

#[tokio::test(start_paused = true)]
async fn disconnecting_ends_attempts_to_connect() {
    for attempts in [1, 3] {
        let mut world = World::with(http("p"), no_jitter);
        world.cluster.script("p", "initialize", vec![Action::Error; attempts]);
        let client = world.client.clone();
        let connecting = tokio::spawn(async move { client.connect().await });
        settle().await;
        for _ in 1..attempts {
            world.step();
            settle().await;
        }
        world.client.disconnect().await;
        let result = connecting.await.unwrap();
        let expected = if attempts == 1 { "disconnected while connecting" } else { "p unavailable" };
        assert_eq!(result.error_text(), Some(expected));
        assert_eq!(world.clock.next_wake(), None, "nothing follows");
        assert_eq!(
            world.told().await.last().unwrap(),
            if attempts == 1 { "initializing>disconnected" } else { "error>disconnected" }
        );
        assert!(world.client.connect().await.success());
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_hangs_can_be_given_up_for_another_one() {
    let mut world = World::new(http("p"));
    world.cluster.script("p", "initialize", [Action::Hang]);
    let client = world.client.clone();
    let connecting = tokio::spawn(async move { client.connect().await });
    settle().await;
    assert_eq!(world.client.connection_state(), ConnectionState::Initializing);
    let reconnected = world.client.reconnect().await;
    assert!(reconnected.success(), "{reconnected:?}");
    assert_eq!(connecting.await.unwrap(), reconnected, "whoever waited gets the outcome of the new one");
    settle().await;
    assert_eq!(world.cluster.closed("p"), 1);
    assert_eq!(
        world.told().await,
        [
            "disconnected>initializing",
            "initializing>disconnected",
            "disconnected>reconnecting",
            "reconnecting>connected"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn one_client_that_hangs_holds_up_no_other_use_of_it() {
    let world = World::new(http("p"));
    world.client.connect().await;
    world.cluster.script("p", "tools/call", [Action::Hang]);
    let client = world.client.clone();
    let hanging = tokio::spawn(async move { client.call_tool("t", &serde_json::json!({})).await });
    settle().await;
    assert!(world.client.ping().await && world.client.get_stats().is_some());
    assert!(world.client.call_tool("t", &serde_json::json!({})).await.is_ok());
    hanging.abort();
}

#[tokio::test(start_paused = true)]
async fn j2_a_process_that_crashes_is_started_again() {
    let mut world = World::with(process("p"), no_jitter);
    world.client.connect().await;
    // Ending right after its start each time, it is left alone for longer and longer.
    for (attempt, wait) in [(1, 1), (2, 2), (3, 4)] {
        world.told().await;
        assert_eq!(world.cluster.crash("p"), 1);
        assert_eq!(
            world.told().await,
            ["connected>error".to_owned(), format!("again in {wait} s ({attempt})")]
        );
        assert!(world.client.get_stats().is_none());
        assert_eq!(world.step(), Some(Duration::from_secs(wait)));
        assert_eq!(world.told().await, ["error>reconnecting", "reconnecting>connected"]);
    }
    world.clock.advance(Duration::from_secs(60));
    world.cluster.crash("p");
    assert_eq!(world.told().await, ["connected>error", "again in 1 s (1)"], "it held for a minute");
    let result = world.client.connect().await;
    assert!(result.success(), "a connect by hand does not wait for the clock");
    assert_eq!(world.told().await, ["error>initializing", "initializing>connected"]);
    assert_eq!(world.clock.next_wake(), None);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_not_to_be_restarted_stays_down_until_it_is_connected_by_hand() {
    let mut definition = process("p");
    definition.restart = false;
    let mut world = World::new(definition);
    world.client.connect().await;
    world.told().await;
    world.cluster.crash("p");
    assert_eq!(world.told().await, ["connected>error"]);
    assert_eq!(world.clock.next_wake(), None);
    assert!(world.client.connect().await.success());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_reach_its_server_makes_the_connection_anew() {
    let mut world = World::with(http("p"), no_jitter);
    world.client.connect().await;
    world.told().await;
    world.cluster.script("p", "tools/call", [Action::Error]);
    let error = world.client.call_tool("t", &serde_json::json!({})).await.unwrap_err();
    assert_eq!(error.to_string(), "p unavailable");
    assert_eq!(world.told().await, ["connected>error", "again in 1 s (1)"]);
    world.step();
    assert_eq!(world.told().await, ["error>reconnecting", "reconnecting>connected"]);
    // A timeout says nothing about the connection.
    world.cluster.script("p", "tools/call", [Action::Timeout]);
    world.client.call_tool("t", &serde_json::json!({})).await.unwrap_err();
    assert_eq!(world.told().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn j3_reconnecting_starts_statistics_afresh() {
    // Statistics are measured with tokio's clock, which the default options follow.
    let world = World::with(http("p"), |options| options.timer = ClientOptions::default().timer);
    assert!(world.client.get_stats().is_none(), "before the first connection");
    world.client.connect().await;
    let first = world.client.get_stats().unwrap();
    assert_eq!((first.requests_sent, first.errors_count, first.average_latency), (1, 0, Duration::ZERO));
    assert_eq!(first.last_activity, first.connected_at);

    let millis = Duration::from_millis;
    for latency in [100, 300, 800] {
        world.cluster.script("p", "tools/call", [Action::Ok.delayed(millis(latency))]);
        world.client.call_tool("t", &serde_json::json!({})).await.unwrap();
    }
    let stats = world.client.get_stats().unwrap();
    assert_eq!((stats.requests_sent, stats.errors_count), (4, 0));
    assert_eq!(stats.average_latency, millis(300), "the handshake took no time");
    assert_eq!(stats.connected_at, first.connected_at);
    assert_eq!(stats.last_activity, first.connected_at + millis(1200));

    // An answer that says that the tool failed, and none at all.
    world.cluster.script(
        "p",
        "tools/call",
        [Action::Result(r#"{"content":[],"isError":true}"#.into()), Action::Hang],
    );
    assert!(world.client.call_tool("t", &serde_json::json!({})).await.unwrap().failed());
    let error = world.client.call_tool("t", &serde_json::json!({})).await.unwrap_err();
    assert_eq!(error.to_string(), "timed out after 30s");
    let stats = world.client.get_stats().unwrap();
    assert_eq!((stats.requests_sent, stats.errors_count), (6, 2));
    assert_eq!(stats.average_latency, millis(240), "the mean is over answers");

    tokio::time::advance(Duration::from_secs(5)).await;
    assert!(world.client.reconnect().await.success());
    let anew = world.client.get_stats().unwrap();
    assert!(anew.connected_at > stats.connected_at);
    assert_eq!((anew.requests_sent, anew.errors_count, anew.average_latency), (1, 0, Duration::ZERO));
    assert_eq!((world.cluster.opened("p"), world.cluster.closed("p")), (2, 1));
    world.client.disconnect().await;
    assert!(world.client.get_stats().is_none());
}

#[tokio::test(start_paused = true)]
async fn j3_reconnecting_says_so() {
    let mut world = World::new(http("p"));
    assert!(world.client.reconnect().await.success(), "also without a connection");
    assert_eq!(world.told().await, ["disconnected>reconnecting", "reconnecting>connected"]);
    assert!(world.client.reconnect().await.success());
    assert_eq!(world.told().await, ["connected>reconnecting", "reconnecting>connected"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_dropped_closes_its_connection() {
    let World { client, cluster, clock, mut events } = World::new(http("p"));
    client.connect().await;
    let other = client.clone();
    drop(client);
    settle().await;
    assert!(other.is_connected() && other.ping().await);
    drop(other);
    settle().await;
    assert_eq!(cluster.closed("p"), 1);
    assert_eq!(clock.next_wake(), None);
    while events.next().await.is_some() {}
}

/// Panics on its first connection.
struct Broken(ScriptedCluster, AtomicBool);

impl Connector for Broken {
    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
    ) -> BoxFuture<'a, Result<Box<dyn Transport>, TransportError>> {
        assert!(self.1.swap(true, Ordering::SeqCst), "a transport of somebody else is broken");
        self.0.connect(endpoint)
    }
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_panics_is_a_failed_connect() {
    let broken = Broken(ScriptedCluster::new(), AtomicBool::new(false));
    let client = McpClient::new(http("p"), Arc::new(broken), options(&ManualClock::new()));
    let result = client.connect().await;
    assert!(!result.success() && client.connection_state() == ConnectionState::Error);
    assert!(client.connect().await.success(), "which may be tried again");
}

/// Clients are moved into tasks.
#[tokio::test(start_paused = true)]
async fn everything_can_be_spawned() {
    let World { client, clock: _clock, .. } = World::new(http("p"));
    let work = async move {
        client.connect().await;
        let listed = (client.list_tools().await, client.list_resources().await, client.list_prompts().await);
        let read = client.read_resource("a:b").await;
        client.reconnect().await;
        client.disconnect().await;
        (listed.0.is_ok(), read.is_ok())
    };
    assert_eq!(tokio::spawn(work).await.unwrap(), (true, true));
    let _: fn() = || {
        fn is_send_sync<T: Send + Sync>() {}
        is_send_sync::<McpClient>();
        is_send_sync::<ManualClock>();
    };
}
