//! Contract §9.12: the health of servers, their tools, and the manager of the process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mcp_manager::{AvailableTools, Setup, global, shutdown_global};
use mcp_registry::{HealthView, Policy};
use mcp_testkit::{Dice, ManualClock, ScriptedCluster};

use crate::support::{World, at, definition};

fn names(names: &[mcp_registry::ServerName]) -> Vec<&str> {
    names.iter().map(mcp_registry::ServerName::as_str).collect()
}

#[tokio::test]
async fn n8_a_check_tells_the_health_of_a_server() {
    let world = World::new(&["a"], |_| {});
    assert!(!world.manager.is_server_healthy("a"), "nobody knows yet");
    world.advance(3);
    let health = world.manager.check_server_health("a").await.unwrap();
    assert_eq!((health.status, health.consecutive_failures), (HealthView::Healthy, 0));
    assert!(health.response_time.unwrap() > Duration::ZERO);
    assert_eq!((health.last_check, health.error_message), (at(3), None));
    assert!(world.manager.is_server_healthy("a"));

    // Each check asks, whatever the window says.
    for (count, (answer, text)) in
        (1..).zip([(Ok(503), "http 503"), (Err("refused".into()), "refused"), (Ok(503), "http 503")])
    {
        world.cluster.health("a", [answer]);
        let health = world.manager.check_server_health("a").await.unwrap();
        assert_eq!((health.status, health.consecutive_failures), (HealthView::Unhealthy, count));
        assert_eq!((health.error_message.as_deref(), health.response_time), (Some(text), None));
        assert!(!world.manager.is_server_healthy("a"));
        assert_eq!(world.cluster.probes(), count + 1);
    }
    world.cluster.health("a", [Ok(200)]);
    let health = world.manager.check_server_health("a").await.unwrap();
    assert_eq!((health.status, health.consecutive_failures), (HealthView::Healthy, 0));
    assert_eq!(world.manager.check_server_health("x").await.unwrap_err().available, ["a"]);
    assert!(!world.manager.is_server_healthy("x"));
}

#[tokio::test]
async fn n2_n9_all_servers_are_checked_and_one_does_not_spoil_the_others() {
    let world = World::new(&["c", "a", "b"], |_| {});
    assert_eq!(names(&world.manager.healthy_servers()), Vec::<&str>::new());
    for (answer, healthy) in [(Ok(200), vec!["a", "b", "c"]), (Err("refused".into()), vec!["a", "c"])] {
        world.cluster.health("b", [answer]);
        let checked = world.manager.check_all_servers_health().await;
        let seen: Vec<_> = checked.keys().map(mcp_registry::ServerName::as_str).collect();
        assert_eq!(seen, ["a", "b", "c"]);
        for (name, health) in &checked {
            let expected =
                if healthy.contains(&name.as_str()) { HealthView::Healthy } else { HealthView::Unhealthy };
            assert_eq!(health.status, expected, "{name}");
        }
        assert_eq!(names(&world.manager.healthy_servers()), healthy);
    }
}

#[tokio::test]
async fn n10_available_tools_of_all_of_one_of_none() {
    let world = World::new(&["unknown"], |_| {});
    let mut configured = definition("configured");
    configured.tools = Some(vec!["search".into(), "fetch".into()]);
    world.manager.register(configured).unwrap();
    let known = AvailableTools { names: vec!["fetch".into(), "search".into()], known: true };
    let none = AvailableTools { names: vec![], known: false };
    let map = |entries: &[(&str, &AvailableTools)]| -> BTreeMap<_, _> {
        entries.iter().map(|(name, tools)| (name.parse().unwrap(), (*tools).clone())).collect()
    };
    let tools = |server| world.manager.available_tools(server);
    assert_eq!(tools(None), map(&[("configured", &known), ("unknown", &none)]));
    assert_eq!(tools(Some("configured")), map(&[("configured", &known)]));
    assert_eq!(tools(Some("nobody")), map(&[]));
    assert_eq!(world.traffic(0), "", "asking the manager asks no server");
}

#[tokio::test]
async fn n11_the_manager_of_the_process_is_one_until_it_is_shut_down() {
    assert!(shutdown_global(Duration::ZERO).await.is_none());
    let cluster = ScriptedCluster::new();
    let setups = std::cell::Cell::new(0);
    let get = || {
        global(|| {
            setups.set(setups.get() + 1);
            Setup {
                policy: Policy::default(),
                client_info: mcp_client::ClientInfo::new("test", "0"),
                connector: Arc::new(cluster.clone()),
                timer: Arc::new(ManualClock::new()),
                random: Arc::new(Dice::new(1)),
            }
        })
    };
    for round in 1..=2 {
        let first = get();
        first.register(definition("a")).unwrap();
        assert_eq!((get().table().servers().len(), setups.get()), (1, round), "the same one");
        // Its monitor was started once: one check of the new server, however often it is asked for.
        while cluster.probes() < round {
            tokio::task::yield_now().await;
        }
        first.initialize("a", false).await.unwrap();
        assert_eq!(cluster.probes(), round);
        let report = shutdown_global(Duration::ZERO).await.unwrap();
        assert_eq!(report.connections_closed, 1);
        assert!(!first.is_accepting());
        assert!(shutdown_global(Duration::ZERO).await.is_none(), "there is none to stop");
    }
}
