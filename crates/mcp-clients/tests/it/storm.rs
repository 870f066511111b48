//! Everything at once, in random order: whatever happens, the states follow the table and nothing is left.

use std::sync::Arc;
use std::time::Duration;

use mcp_clients::{ClientChange, ClientOptions, ClientRegistry, ConnectionState, McpClient};
use mcp_registry::{Clock, Policy, Random};
use mcp_testkit::{Action, Dice, ManualClock, ScriptedCluster};
use serde_json::json;
use tokio::runtime::Builder;
use tokio::time::{sleep, timeout};

use crate::support::{World, process};

/// Users of the client at the same time.
const USERS: u64 = 4;
/// What each of them does.
const STEPS: u64 = 40;
/// How long anything here may take. Only a hang takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn whatever_users_do_at_once_states_follow_the_table_and_nothing_is_left() {
    for seed in 0..100 {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(storm(Dice::new(seed), seed));
    }
}

/// The same on threads, where the seed decides less.
#[test]
fn whatever_users_do_on_several_threads_nothing_is_left() {
    for seed in 0..20 {
        let runtime = Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
        runtime.block_on(storm(Dice::new(seed), seed));
    }
}

async fn storm(dice: Dice, seed: u64) {
    let mut world = World::with(process("p"), |options: &mut ClientOptions| {
        options.breaker = None;
        let mut policy = Policy::default();
        (policy.handshake_timeout, policy.ping_timeout) =
            (Duration::from_millis(20), Duration::from_millis(20));
        options.policy = Arc::new(policy);
    });
    let mut options = ClientOptions::default();
    options.timer = Arc::new(world.clock.clone());
    let registry = ClientRegistry::new(&options);
    registry.register("p".parse().unwrap(), world.client.clone()).unwrap();
    let users = (0..USERS).map(|_| {
        tokio::spawn(user(world.client.clone(), world.cluster.clone(), world.clock.clone(), dice.fork()))
    });
    let users = futures::future::join_all(users.collect::<Vec<_>>());
    tokio::pin!(users);
    let outcomes = loop {
        tokio::select! {
            biased;
            outcomes = &mut users => break outcomes,
            // Whoever waits for the clock of the client is not held up for ever.
            () = sleep(Duration::from_millis(1)) => {
                if let Some(at) = world.clock.next_wake() {
                    world.clock.advance(at.since(world.clock.now()));
                }
            }
        }
    };
    assert!(outcomes.iter().all(Result::is_ok), "seed {seed}: {outcomes:?}");

    world.client.disconnect().await;
    let freed = async {
        // Handshakes that were given up are closed in the background.
        while world.cluster.opened("p") != world.cluster.closed("p") {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, freed).await.unwrap_or_else(|_| panic!("seed {seed}: sessions are left open"));
    assert_eq!(world.clock.next_wake(), None, "seed {seed}: something still waits");
    let record = registry.get_server("p").unwrap().record;
    assert_eq!(record.connection_state, ConnectionState::Disconnected, "seed {seed}");
    let mut state = ConnectionState::Disconnected;
    let mut first = true;
    while let Ok(Some(event)) = timeout(Duration::from_millis(1), world.events.next()).await {
        let ClientChange::State { from, to, .. } = event.change else { continue };
        // What was lost of a long history is counted.
        assert!(
            from == state || (first && world.events.dropped() > 0),
            "seed {seed}: {state:?}, then {from:?}"
        );
        assert!(from.may_become(to), "seed {seed}: {from:?} -> {to:?}");
        (state, first) = (to, false);
    }
    assert_eq!(state, ConnectionState::Disconnected, "seed {seed}");
}

async fn user(client: McpClient, cluster: ScriptedCluster, clock: ManualClock, dice: Dice) {
    for _ in 0..STEPS {
        match dice.below(12) {
            0 | 1 => drop(client.connect().await),
            2 => drop(client.reconnect().await),
            3 => client.disconnect().await,
            // Somebody who does not wait for the end.
            4 => drop(timeout(Duration::ZERO, client.connect()).await),
            5 => drop(timeout(Duration::ZERO, client.reconnect()).await),
            6 => drop(cluster.crash("p")),
            7 => {
                let late = Action::Ok.delayed(Duration::from_millis(5));
                let faults = [Action::Error, Action::Hang, late];
                cluster.script("p", "initialize", [dice.pick(&faults).clone()]);
            }
            8 => drop(client.ping().await),
            9 | 10 => drop(client.call_tool("t", &json!({})).await),
            _ => clock.advance(Duration::from_millis(dice.u64() % 5000)),
        }
        tokio::task::yield_now().await;
    }
}
