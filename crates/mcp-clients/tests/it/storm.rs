//! Everything at once, in random order: whatever happens, the states follow the table and nothing is left.

use std::time::Duration;

use mcp_clients::{ClientChange, ClientOptions, ClientRegistry, ConnectionState};
use mcp_registry::{Clock, Random};
use mcp_testkit::{Action, Dice};
use serde_json::json;

use crate::support::{World, process, settle};

/// Users of the client at the same time.
const USERS: u64 = 4;
/// What each of them does.
const STEPS: u64 = 40;

#[test]
fn whatever_users_do_at_once_states_follow_the_table_and_nothing_is_left() {
    for seed in 0..200 {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(storm(Dice::new(seed), seed));
    }
}

async fn storm(dice: Dice, seed: u64) {
    let mut world = World::with(process("p"), |options: &mut ClientOptions| options.breaker = None);
    let mut options = ClientOptions::default();
    options.timer = std::sync::Arc::new(world.clock.clone());
    let registry = ClientRegistry::new(&options);
    registry.register("p".parse().unwrap(), world.client.clone()).unwrap();
    let users: Vec<_> = (0..USERS)
        .map(|_| {
            let (client, cluster, clock, dice) =
                (world.client.clone(), world.cluster.clone(), world.clock.clone(), dice.fork());
            tokio::spawn(async move {
                for _ in 0..STEPS {
                    match dice.below(12) {
                        0 | 1 => drop(client.connect().await),
                        2 => drop(client.reconnect().await),
                        3 => client.disconnect().await,
                        // Somebody who does not wait for the end.
                        4 => drop(tokio::time::timeout(Duration::ZERO, client.connect()).await),
                        5 => drop(tokio::time::timeout(Duration::ZERO, client.reconnect()).await),
                        6 => drop(cluster.crash("p")),
                        7 => {
                            let fault =
                                [Action::Error, Action::Hang, Action::Ok.delayed(Duration::from_secs(1))];
                            cluster.script("p", "initialize", [dice.pick(&fault).clone()]);
                        }
                        8 => drop(client.ping().await),
                        9 | 10 => drop(client.call_tool("t", &json!({})).await),
                        _ => clock.advance(Duration::from_millis(dice.u64() % 5000)),
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let all = futures::future::join_all(users);
    tokio::pin!(all);
    let outcomes = loop {
        tokio::select! {
            biased;
            outcomes = &mut all => break outcomes,
            // Whoever waits for the clock of the client is not held up for ever.
            () = tokio::time::sleep(Duration::from_secs(5)) => {
                if let Some(at) = world.clock.next_wake() {
                    world.clock.advance(at.since(world.clock.now()));
                }
            }
        }
    };
    assert!(outcomes.iter().all(Result::is_ok), "seed {seed}: {outcomes:?}");

    world.client.disconnect().await;
    settle().await;
    let (opened, closed) = (world.cluster.opened("p"), world.cluster.closed("p"));
    assert_eq!(opened, closed, "seed {seed}: sessions opened and closed");
    assert_eq!(world.clock.next_wake(), None, "seed {seed}: something still waits");
    let record = registry.get_server("p").unwrap().record;
    assert_eq!(record.connection_state, ConnectionState::Disconnected, "seed {seed}");
    let mut state = ConnectionState::Disconnected;
    let mut first = true;
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(1), world.events.next()).await {
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
