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

#[tokio::test(start_paused = true)]
async fn each_way_to_probe_says_what_it_found() {
    use mcp_registry::{ConnectionState, ProbeKind};
    use mcp_testkit::Action;

    for (probe, ping, text, state) in [
        (ProbeKind::McpPing, Action::Ok, None, ConnectionState::Connected),
        (ProbeKind::McpDiscover, Action::Ok, None, ConnectionState::Connected),
        (
            ProbeKind::McpPing,
            Action::RpcError { code: Some(-32603), message: Some("no".into()) },
            Some("rpc error: no"),
            ConnectionState::Connected,
        ),
        // Nobody's fault: the server is asked on a new session.
        (ProbeKind::McpPing, Action::ForgetSession, None, ConnectionState::Connected),
        (ProbeKind::McpPing, Action::Malformed, Some("not valid JSON"), ConnectionState::Connected),
        (ProbeKind::McpPing, Action::HttpStatus(500), Some("http status 500"), ConnectionState::Error),
        (ProbeKind::McpPing, Action::Hang, Some("timed out after 5s"), ConnectionState::Error),
    ] {
        let world = World::new(&[], |_| {});
        let mut server = definition("a");
        server.probe = probe;
        world.manager.register(server).unwrap();
        world.manager.initialize("a", false).await.unwrap();
        world.cluster.script("a", "ping", [ping.clone()]);
        let health = world.manager.check_server_health("a").await.unwrap();
        assert_eq!(health.error_message.as_deref(), text, "{probe:?} {ping:?}");
        let record = world.record("a");
        assert_eq!(record.connection_state, state, "{ping:?}");
        let category = text.map(|_| mcp_registry::ErrorCategory::HealthCheck);
        assert_eq!(record.last_error_category, category);
        assert_eq!(world.cluster.probes(), 0, "the health path is not asked");
        assert_eq!(world.cluster.opened("a"), if ping == Action::ForgetSession { 2 } else { 1 });
    }
}

#[tokio::test]
async fn a_probe_of_the_health_path_needs_a_url() {
    use mcp_registry::{Definition, ProbeKind};
    use mcp_transport::{Endpoint, StdioEndpoint};

    let world = World::new(&[], |_| {});
    let endpoint = Endpoint::Stdio(StdioEndpoint::new("p", [""; 0]));
    let mut server = Definition::new("p".parse().unwrap(), endpoint);
    server.probe = ProbeKind::HttpGet;
    world.manager.register(server).unwrap();
    let health = world.manager.check_server_health("p").await.unwrap();
    assert_eq!(health.error_message.as_deref(), Some("the server has no URL to probe"));
}

#[tokio::test]
async fn checks_of_all_servers_leave_closed_windows_alone() {
    let world = World::new(&["a", "b"], |_| {});
    world.fail("a");
    let records = world.manager.health_check_all().await;
    let seen: Vec<_> = records.iter().map(|record| (record.name().as_str(), record.retry_count)).collect();
    assert_eq!(seen, [("a", 1), ("b", 0)]);
    assert_eq!(world.cluster.probes(), 1);
}

#[tokio::test]
async fn tools_are_listed_after_a_handshake_where_that_is_wanted() {
    use mcp_testkit::Action;

    let listed = Action::Result(r#"{"tools":[{"name":"t","inputSchema":{"type":"object"}}]}"#.into());
    let unknown = Action::RpcError { code: Some(-32601), message: None };
    for (answer, tools) in [(listed, Some(vec!["t"])), (unknown, Some(vec![])), (Action::Timeout, None)] {
        let world = World::new(&[], |_| {});
        let mut server = definition("a");
        server.discover_tools = true;
        world.manager.register(server).unwrap();
        world.cluster.script("a", "tools/list", [answer.clone()]);
        world.manager.initialize("a", false).await.unwrap();
        world.settle().await;
        let record = world.record("a");
        let known = record.tools.as_ref().map(|tools| tools.keys().map(|name| &**name).collect::<Vec<_>>());
        assert_eq!(known, tools, "{answer:?}");
        assert_eq!(record.status, mcp_registry::Status::Healthy, "listing tools is no check");
    }
}

#[tokio::test]
async fn statistics_add_up() {
    use mcp_manager::Statistics;

    let world = World::new(&["a", "b"], |_| {});
    for (name, enabled) in [("c", true), ("d", false)] {
        let mut critical = definition(name);
        (critical.critical, critical.enabled) = (true, enabled);
        world.manager.register(critical).unwrap();
        world.manager.mark_unavailable(name, "down").unwrap();
    }
    world.tool(&["a"]).await.unwrap();
    world.cluster.script(
        "a",
        "tools/call",
        [mcp_testkit::Action::RpcError { code: Some(-32602), message: None }],
    );
    world.tool(&["a"]).await.unwrap();
    let expected = Statistics {
        total_servers: 4,
        connected_servers: 2,
        disconnected_servers: 0,
        error_servers: 2,
        critical_servers_down: 1,
        // Two handshakes, two calls of `a`, one of `b`.
        total_requests: 5,
        total_errors: 1,
    };
    assert_eq!(world.manager.statistics(), expected);
    let report = world.manager.connection("a").unwrap();
    assert_eq!(report.stats.unwrap().requests_sent, 3, "the handshake and two calls");
    let none = world.manager.connection("c").unwrap();
    assert!(none.stats.is_none() && none.details.is_empty());
}
