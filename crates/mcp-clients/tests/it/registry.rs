//! Clients by name. Source: contract §7.3.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_clients::{ClientRegistry, McpClient, RegistryError, StateFile};
use mcp_registry::{
    Clock, ConnectionState, Event, MemoryStore, Policy, RegistryChange, RegistryEvent, Status, Store,
    Subscription, Timer, Timestamp,
};
use mcp_testkit::{Action, ManualClock, ScriptedCluster};
use mcp_transport::{Endpoint, StdioEndpoint};
use serde_json::json;

use crate::support::{http, options, process, settle};

struct World {
    registry: ClientRegistry,
    cluster: ScriptedCluster,
    clock: ManualClock,
    events: Subscription,
}

impl World {
    fn new() -> Self {
        let (cluster, clock) = (ScriptedCluster::new(), ManualClock::new());
        let registry = ClientRegistry::new(&options(&clock));
        let events = registry.events();
        Self { registry, cluster, clock, events }
    }

    fn client_of(&self, definition: mcp_registry::Definition) -> McpClient {
        let mut options = options(&self.clock);
        let mut policy = Policy::default();
        // Failures show at once.
        policy.connect_attempts = 1;
        options.policy = Arc::new(policy);
        McpClient::new(definition, Arc::new(self.cluster.clone()), options)
    }

    fn register(&self, names: &[&str]) {
        for name in names {
            let client = self.client_of(http(name));
            self.registry.register(name.parse().unwrap(), client).unwrap();
        }
    }

    fn state(&self, name: &str) -> ConnectionState {
        self.registry.get_server(name).unwrap().record.connection_state
    }

    /// The events so far, as words.
    fn told(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.events.next().now_or_never().flatten())
            .filter_map(|event| match event {
                Event::Registry(RegistryEvent { server, change, .. }) => Some(match change {
                    RegistryChange::StateChanged { to, .. } => format!("{server} {}", to.as_str()),
                    other => format!("{server} {}", other.as_str()),
                }),
                _ => None,
            })
            .collect()
    }
}

fn names(servers: &[mcp_clients::RegisteredServer]) -> Vec<&str> {
    servers.iter().map(|server| server.name().as_str()).collect()
}

fn map(pairs: &[(&str, bool)]) -> BTreeMap<mcp_registry::ServerName, bool> {
    pairs.iter().map(|(name, yes)| (name.parse().unwrap(), *yes)).collect()
}

#[tokio::test(start_paused = true)]
async fn j10_names_are_taken_once_and_unknown_ones_are_told() {
    let mut world = World::new();
    world.register(&["b", "a"]);
    let again = world.registry.register("a".parse().unwrap(), world.client_of(http("a"))).unwrap_err();
    assert_eq!(again, RegistryError::AlreadyExists { name: "a".into() });
    let unknown = RegistryError::NotFound { requested: "x".into(), available: vec!["a".into(), "b".into()] };
    let registry = &world.registry;
    assert_eq!(registry.unregister("x").await.unwrap_err(), unknown);
    assert_eq!(registry.mark_unavailable("x", "why").unwrap_err(), unknown);
    assert_eq!(registry.update_state("x", ConnectionState::Error).unwrap_err(), unknown);
    assert_eq!(registry.refresh_tools_and_resources("x").await.unwrap_err(), unknown);
    assert!(registry.get_server("x").is_none());

    assert_eq!(names(&registry.get_all_servers()), ["a", "b"]);
    let client = registry.get_server("a").unwrap().client;
    assert!(client.connect().await.success());
    registry.unregister("a").await.unwrap();
    assert!(!client.is_connected());
    assert_eq!((names(&registry.get_all_servers()), world.cluster.closed("a")), (vec!["b"], 1));
    assert_eq!(
        world.told(),
        [
            "b server_registered",
            "a server_registered",
            "a initializing",
            "a connected",
            "a server_unregistered"
        ],
        "what happens to a client after its registration is no event"
    );
}

#[tokio::test(start_paused = true)]
async fn j10_what_happens_to_a_client_shows_in_its_record_at_once() {
    let mut world = World::new();
    let definition = process("p");
    world.registry.register("p".parse().unwrap(), world.client_of(definition)).unwrap();
    let client = world.registry.get_server("p").unwrap().client;
    world.cluster.script("p", "initialize", [Action::Error]);
    assert!(!client.connect().await.success());
    let record = world.registry.get_server("p").unwrap().record;
    assert_eq!((record.status, record.connection_state), (Status::Unreachable, ConnectionState::Error));
    assert_eq!(record.last_error.as_deref(), Some("p unavailable"));
    assert!(!record.initialized);

    assert!(client.connect().await.success());
    let record = world.registry.get_server("p").unwrap().record;
    assert_eq!((record.status, record.connection_state), (Status::Healthy, ConnectionState::Connected));
    assert_eq!(record.protocol_version.as_deref(), Some("2025-11-25"));
    assert!(record.initialized && record.capability_snapshot.is_some());

    world.cluster.crash("p");
    settle().await;
    let record = world.registry.get_server("p").unwrap().record;
    assert_eq!((record.status, record.connection_state), (Status::Healthy, ConnectionState::Error));
    world.cluster.script("p", "initialize", [Action::Error]);
    world.clock.advance(Duration::from_secs(2));
    settle().await;
    assert_eq!(world.registry.get_server("p").unwrap().record.status, Status::Degraded);
    world.clock.advance(Duration::from_secs(3));
    settle().await;
    assert_eq!(world.state("p"), ConnectionState::Connected);
    client.disconnect().await;
    assert_eq!(world.state("p"), ConnectionState::Disconnected);
    assert_eq!(
        world.told(),
        [
            "p server_registered",
            "p initializing",
            "p error",
            "p server_unavailable",
            "p reconnecting",
            "p connected",
            "p error",
            "p reconnecting",
            "p error",
            "p reconnecting",
            "p connected",
            "p disconnected"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn j10_a_client_can_be_registered_in_any_state() {
    let world = World::new();
    let client = world.client_of(http("p"));
    client.connect().await;
    world.registry.register("p".parse().unwrap(), client.clone()).unwrap();
    assert_eq!(world.state("p"), ConnectionState::Connected);
    world.registry.register("q".parse().unwrap(), client.clone()).unwrap();
    assert_eq!(names(&world.registry.get_connected_servers()), ["p", "q"], "under two names as well");

    let broken = world.client_of(http("r"));
    world.cluster.script("r", "initialize", [Action::Error]);
    broken.connect().await;
    world.registry.register("r".parse().unwrap(), broken).unwrap();
    assert_eq!(world.state("r"), ConnectionState::Error);
    world.registry.unregister("p").await.unwrap();
    assert_eq!(world.state("q"), ConnectionState::Disconnected);
}

#[tokio::test(start_paused = true)]
async fn j10_marks_and_states_are_set_in_the_record_alone() {
    use ConnectionState::{Connected, Disconnected, Error, Initializing, Reconnecting};
    let mut world = World::new();
    world.register(&["p"]);
    let client = world.registry.get_server("p").unwrap().client;
    client.connect().await;
    world.told();
    world.registry.mark_unavailable("p", "maintenance").unwrap();
    let record = world.registry.get_server("p").unwrap().record;
    assert_eq!((record.status, record.connection_state), (Status::Unreachable, Error));
    assert_eq!(world.told(), ["p error", "p server_unavailable"]);
    assert!(client.is_connected());

    let error = world.registry.update_state("p", Connected).unwrap_err();
    assert_eq!(error.to_string(), "the connection state cannot change from error to connected");
    assert!(matches!(error, RegistryError::InvalidTransition(_)));
    assert_eq!((world.told(), world.state("p")), (Vec::new(), Error));
    for state in [Error, Initializing, Connected, Reconnecting, Disconnected] {
        world.registry.update_state("p", state).unwrap();
        assert_eq!(world.state("p"), state);
    }
    assert_eq!(
        world.told(),
        ["p initializing", "p connected", "p reconnecting", "p disconnected"],
        "staying is no event"
    );
    client.reconnect().await;
    assert_eq!(world.state("p"), Connected);
}

#[tokio::test(start_paused = true)]
async fn j10_servers_are_found_by_priority_and_importance() {
    let world = World::new();
    for (name, priority, critical) in [("a", 10, false), ("b", 90, true), ("c", 90, false), ("d", 50, true)] {
        let mut definition = http(name);
        (definition.priority, definition.critical) = (priority, critical);
        world.registry.register(name.parse().unwrap(), world.client_of(definition)).unwrap();
    }
    assert_eq!(names(&world.registry.servers_by_priority()), ["b", "c", "d", "a"]);
    assert_eq!(names(&world.registry.critical_servers()), ["b", "d"]);
    assert_eq!(names(&world.registry.get_connected_servers()), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn j10_bulk_operations_run_at_the_same_time_and_isolate_failures() {
    let world = World::new();
    world.register(&["a", "b", "c"]);
    let mut off = http("off");
    off.enabled = false;
    world.registry.register("off".parse().unwrap(), world.client_of(off)).unwrap();
    let second = Duration::from_secs(1);
    for name in ["a", "c"] {
        world.cluster.script(name, "initialize", [Action::Ok.delayed(second)]);
    }
    world.cluster.script("b", "initialize", [Action::Error.delayed(second)]);
    let started = tokio::time::Instant::now();
    let connected = world.registry.connect_all().await;
    assert_eq!(connected, map(&[("a", true), ("b", false), ("c", true)]));
    assert_eq!(started.elapsed(), second);
    assert_eq!(names(&world.registry.get_connected_servers()), ["a", "c"]);

    world.cluster.script("a", "ping", [Action::HttpStatus(500).delayed(second)]);
    world.cluster.script("c", "ping", [Action::Ok.delayed(second)]);
    let started = tokio::time::Instant::now();
    let healthy = world.registry.health_check_all().await;
    assert_eq!(healthy, map(&[("a", false), ("b", false), ("c", true)]));
    assert_eq!(started.elapsed(), second);
    let record = |name: &str| world.registry.get_server(name).unwrap().record;
    assert_eq!(record("a").status, Status::Degraded);
    assert_eq!(record("a").last_error.as_deref(), Some("http status 500"));
    assert_eq!(record("b").retry_count, 3, "being unavailable, it was not asked");
    assert!(record("c").response_time.is_some());

    world.registry.disconnect_all().await;
    for name in ["a", "b", "c", "off"] {
        assert_eq!(world.state(name), ConnectionState::Disconnected, "{name}");
    }
    assert_eq!((world.cluster.closed("a"), world.clock.next_wake()), (1, None));
}

#[tokio::test(start_paused = true)]
async fn j10_a_refresh_reads_tools_and_resources_and_skips_what_is_broken() {
    let mut world = World::new();
    world.register(&["p"]);
    let idle = world.registry.refresh_tools_and_resources("p").await.unwrap();
    assert_eq!((idle.tools, idle.resources, world.cluster.traffic().len()), (None, 0, 0), "not connected");

    world.registry.connect_all().await;
    world.told();
    let tools = r#"{"tools":[{"name":"t","inputSchema":{},"annotations":{"readOnlyHint":true}}]}"#;
    world.cluster.script("p", "tools/list", [Action::Result(tools.into())]);
    let resources =
        r#"{"resources":[{"uri":"a:1","name":"1"},{"uri":"a:2","name":"2"},{"uri":"a:3","name":"3"}]}"#;
    world.cluster.script("p", "resources/list", [Action::Result(resources.into())]);
    let broken = Action::RpcError { code: Some(-32603), message: Some("disk full".into()) };
    world.cluster.script("p", "resources/read", [Action::Ok, broken, Action::Ok]);
    let refreshed = world.registry.refresh_tools_and_resources("p").await.unwrap();
    assert_eq!((refreshed.tools, refreshed.resources), (Some(1), 2));
    let unreadable: Vec<_> =
        refreshed.unreadable.iter().map(|(uri, error)| format!("{uri}: {error}")).collect();
    assert_eq!(unreadable, ["a:2: rpc error: disk full"]);
    let server = world.registry.get_server("p").unwrap();
    assert_eq!(server.resources.iter().map(|read| read.uri()).collect::<Vec<_>>(), ["a:1", "a:3"]);
    assert_eq!(server.record.tool_hints("t").unwrap().read_only, Some(true));
    assert_eq!(world.told(), ["p tools_refreshed"]);

    // A list that cannot be had leaves the other one alone.
    world.cluster.script("p", "tools/list", [Action::HttpStatus(500)]);
    let unknown = Action::RpcError { code: Some(-32601), message: Some("Method not found".into()) };
    world.cluster.script("p", "resources/list", [unknown]);
    let refreshed = world.registry.refresh_tools_and_resources("p").await.unwrap();
    assert_eq!((refreshed.tools, refreshed.resources), (None, 0));
    assert_eq!(refreshed.unreadable.keys().collect::<Vec<_>>(), ["tools/list"]);
    assert!(world.registry.get_server("p").unwrap().record.tools.is_some(), "the tools known before");
}

#[tokio::test(start_paused = true)]
async fn j10_a_refresh_reads_a_thousand_resources_and_says_that_there_are_more() {
    let world = World::new();
    world.register(&["p"]);
    world.registry.connect_all().await;
    let resources: Vec<_> = (0..1002).map(|id| json!({"uri": format!("a:{id}"), "name": "n"})).collect();
    let list = json!({ "resources": resources }).to_string();
    world.cluster.script("p", "resources/list", [Action::Result(list)]);
    let refreshed = world.registry.refresh_tools_and_resources("p").await.unwrap();
    assert_eq!(refreshed.resources, 1000);
    let told: Vec<_> = refreshed.unreadable.values().map(ToString::to_string).collect();
    assert_eq!(told, ["1002 resources are listed; only the first 1000 were read"]);
}

#[tokio::test(start_paused = true)]
async fn j10_statistics_count_servers_requests_and_errors() {
    let world = World::new();
    world.register(&["a", "b"]);
    for name in ["c", "d"] {
        let mut definition = http(name);
        definition.critical = true;
        world.registry.register(name.parse().unwrap(), world.client_of(definition)).unwrap();
    }
    world.cluster.script("b", "initialize", [Action::Error]);
    world.cluster.script("d", "initialize", [Action::Error]);
    world.registry.connect_all().await;
    world.registry.get_server("d").unwrap().client.disconnect().await;
    for action in
        [Action::Ok, Action::HttpStatus(500), Action::Result(r#"{"content":[],"isError":true}"#.into())]
    {
        world.cluster.script("a", "tools/call", [action]);
        let _ = world.registry.get_server("a").unwrap().client.call_tool("t", &json!({})).await;
    }
    let numbers = world.registry.statistics();
    assert_eq!(
        (
            numbers.total_servers,
            numbers.connected_servers,
            numbers.disconnected_servers,
            numbers.error_servers
        ),
        (4, 2, 1, 1)
    );
    assert_eq!(numbers.critical_servers_down, 1);
    assert_eq!((numbers.total_requests, numbers.total_errors), (5, 2), "handshakes of a and c included");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn j10_a_hundred_registrations_at_once_do_not_get_in_each_others_way() {
    let world = World::new();
    let registering = (0..100).map(|number| {
        let (registry, client) = (world.registry.clone(), world.client_of(http(&format!("s{number}"))));
        tokio::spawn(async move {
            let name = format!("s{number}");
            let taken: Result<_, RegistryError> = registry.register("same".parse().unwrap(), client.clone());
            registry.register(name.parse().unwrap(), client.clone()).unwrap();
            let connected = client.connect().await.success();
            assert_eq!(
                registry.get_server(&name).unwrap().record.connection_state,
                ConnectionState::Connected
            );
            if number % 2 == 1 {
                registry.unregister(&name).await.unwrap();
            }
            (connected, taken.is_ok())
        })
    });
    let outcomes = futures::future::join_all(registering).await;
    let outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    assert!(outcomes.iter().all(|(connected, _)| *connected));
    assert_eq!(outcomes.iter().filter(|(_, first)| *first).count(), 1, "one of them got the name");
    let numbers = world.registry.statistics();
    assert_eq!(numbers.total_servers, 51);
    assert!(numbers.connected_servers >= 50);
    world.registry.disconnect_all().await;
    assert_eq!(world.registry.statistics().disconnected_servers, 51);
}

#[tokio::test]
async fn j10_a_registry_is_bounded() {
    let (clock, cluster) = (ManualClock::new(), ScriptedCluster::new());
    let mut options = options(&clock);
    let mut policy = Policy::default();
    policy.max_servers = 1;
    options.policy = Arc::new(policy);
    let registry = ClientRegistry::new(&options);
    let client = McpClient::new(http("a"), Arc::new(cluster), options);
    registry.register("a".parse().unwrap(), client.clone()).unwrap();
    let full = registry.register("b".parse().unwrap(), client).unwrap_err();
    assert!(matches!(full, RegistryError::Full(_)), "{full}");
}

#[tokio::test(start_paused = true)]
async fn j10_what_is_saved_has_no_secrets_and_can_be_loaded() {
    let world = World::new();
    world.register(&["a"]);
    let mut endpoint = StdioEndpoint::new("server", ["-v"]);
    endpoint.env.insert("TOKEN".into(), "secret".into());
    let mut definition = process("b");
    (definition.endpoint, definition.priority) = (Endpoint::Stdio(endpoint), 70);
    world.registry.register("b".parse().unwrap(), world.client_of(definition)).unwrap();
    world.registry.connect_all().await;
    let store = Arc::new(MemoryStore::default());
    world.registry.save(store.clone()).await.unwrap();
    let kept = store.load().unwrap();
    assert_eq!(kept.iter().map(|kept| kept.definition.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(kept[1].left_out, ["env.TOKEN"]);
    let Endpoint::Stdio(endpoint) = &kept[1].definition.endpoint else { panic!() };
    assert!(endpoint.env.is_empty());

    let other = World::new();
    other.register(&["a"]);
    let restored = other
        .registry
        .load(store, |mut definition| {
            if let Endpoint::Stdio(endpoint) = &mut definition.endpoint {
                endpoint.env.insert("TOKEN".into(), "secret".into());
            }
            other.client_of(definition)
        })
        .await
        .unwrap();
    assert_eq!(restored[0].error, Some(RegistryError::AlreadyExists { name: "a".into() }));
    assert_eq!((restored[1].name.as_str(), &restored[1].left_out[..]), ("b", &["env.TOKEN".to_owned()][..]));
    assert_eq!(restored[1].error, None);
    let server = other.registry.get_server("b").unwrap();
    assert_eq!(server.record.definition.priority, 70);
    assert_eq!(server.record.connection_state, ConnectionState::Disconnected, "live state is not kept");
    assert!(server.client.connect().await.success());
}

#[tokio::test]
async fn j10_a_file_keeps_servers_for_its_owner_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("servers.json");
    let world = World::new();
    let mut policy = Policy::default();
    policy.allow_stdio_registration = true;
    let store = Arc::new(StateFile::new(path.clone(), policy));
    assert_eq!(
        world.registry.load(store.clone(), |definition| world.client_of(definition)).await,
        Ok(vec![])
    );

    let mut endpoint = StdioEndpoint::new("server", ["-v"]);
    endpoint.env.insert("TOKEN".into(), "a secret".into());
    let mut definition = process("b");
    definition.endpoint = Endpoint::Stdio(endpoint);
    world.registry.register("b".parse().unwrap(), world.client_of(definition)).unwrap();
    world.register(&["a"]);
    world.registry.save(store.clone()).await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("a secret") && text.contains("env.TOKEN"), "{text}");

    let other = World::new();
    let restored = other.registry.load(store, |definition| other.client_of(definition)).await.unwrap();
    assert!(restored.iter().all(|restored| restored.error.is_none()));
    assert_eq!(names(&other.registry.get_all_servers()), ["a", "b"]);
    assert_eq!(restored.iter().map(|restored| restored.left_out.len()).collect::<Vec<_>>(), [0, 1]);

    std::fs::write(&path, "{").unwrap();
    let broken = Arc::new(StateFile::new(path.clone(), Policy::default()));
    let error = other.registry.load(broken, |definition| other.client_of(definition)).await.unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
}

/// A clock that lets go of a registry, on another thread, while that reads the time.
struct Dropping {
    clock: ManualClock,
    registry: Mutex<Option<ClientRegistry>>,
    armed: AtomicBool,
}

impl Clock for Dropping {
    fn now(&self) -> Timestamp {
        if self.armed.swap(false, Ordering::SeqCst) {
            let registry = self.registry.lock().unwrap().take();
            let (gone, is_gone) = std::sync::mpsc::sync_channel(1);
            std::thread::spawn(move || {
                drop(registry);
                let _ = gone.send(());
            });
            // It may have to wait for us; then this takes all the time it has.
            let _ = is_gone.recv_timeout(Duration::from_millis(100));
        }
        self.clock.now()
    }
}

impl Timer for Dropping {
    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        self.clock.sleep_until(at)
    }
}

#[test]
fn a_registry_may_go_while_one_of_its_clients_changes() {
    let (done, finished) = std::sync::mpsc::sync_channel(1);
    // If it were to hang, this thread would be left behind.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (cluster, clock) = (ScriptedCluster::new(), ManualClock::new());
            let dropping = Arc::new(Dropping {
                clock: clock.clone(),
                registry: Mutex::new(None),
                armed: AtomicBool::new(false),
            });
            let mut of_registry = options(&clock);
            of_registry.timer = dropping.clone();
            let registry = ClientRegistry::new(&of_registry);
            let client = McpClient::new(process("p"), Arc::new(cluster.clone()), options(&clock));
            assert!(client.connect().await.success());
            let mut events = client.events();
            registry.register("p".parse().unwrap(), client).unwrap();
            *dropping.registry.lock().unwrap() = Some(registry);
            dropping.armed.store(true, Ordering::SeqCst);
            cluster.crash("p");
            while events.next().await.is_some() {}
            assert!(dropping.registry.lock().unwrap().is_none(), "the registry was told of the crash");
        });
        done.send(()).unwrap();
    });
    finished.recv_timeout(Duration::from_secs(30)).expect("it hangs, or has failed");
}
