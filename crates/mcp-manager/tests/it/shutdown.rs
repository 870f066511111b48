//! Contract §9.11, J12: the orderly end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{BoxFuture, pending};
use mcp_manager::{KeepError, Unclean};
use mcp_registry::{Definition, FailureCode, Kept, MemoryStore, Status, Store, StoreError};
use mcp_testkit::{Action, ScriptedCluster};
use mcp_transport::{
    Connector, Endpoint, HttpEndpoint, Inbox, Outbound, Reply, StdioEndpoint, Transport, TransportError,
};
use tokio::time::Instant;

use crate::support::{World, definition};

/// Begins a call on a server that never answers it.
async fn hanging_call(world: &World) -> tokio::task::JoinHandle<FailureCode> {
    world.manager.initialize("a", false).await.unwrap();
    world.cluster.script("a", "tools/call", [Action::Hang]);
    let manager = world.manager.clone();
    let call = crate::support::routed(mcp_protocol::Method::ToolsCall, &["a"]);
    let call = tokio::spawn(async move { manager.call(call).await.unwrap_err().code });
    while world.cluster.scripted("a", "tools/call") > 0 {
        tokio::task::yield_now().await;
    }
    call
}

#[tokio::test]
async fn j12_new_calls_are_refused_and_every_session_is_closed() {
    let world = World::new(&["a", "b"], |_| {});
    world.manager.initialize_all(false).await;
    let report = world.manager.shutdown(Duration::from_secs(1)).await;
    assert_eq!((report.calls_cut, report.connections_closed, report.is_clean()), (0, 2, true));
    assert_eq!([world.cluster.closed("a"), world.cluster.closed("b")], [1, 1]);
    let error = world.tool(&[]).await.unwrap_err();
    assert_eq!(error.code, FailureCode::ShuttingDown);
    assert_eq!(world.manager.shutdown(Duration::ZERO).await, report, "it is told again what came of it");
}

#[tokio::test(start_paused = true)]
async fn j12_a_call_under_way_may_end() {
    let world = World::new(&["a"], |_| {});
    world.cluster.script("a", "tools/call", [Action::Ok.delayed(Duration::from_secs(2))]);
    let (call, report) = futures::join!(world.tool(&[]), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.manager.shutdown(Duration::from_secs(10)).await
    });
    assert_eq!(call.unwrap().server.as_str(), "a");
    assert_eq!((report.calls_cut, report.is_clean()), (0, true));
}

#[tokio::test(start_paused = true)]
async fn j12_calls_are_cut_when_their_time_is_up() {
    let world = World::new(&["a", "b"], |_| {});
    let call = hanging_call(&world).await;
    let started = Instant::now();
    let report = world.manager.shutdown(Duration::from_secs(3)).await;
    assert_eq!(started.elapsed(), Duration::from_secs(3));
    assert_eq!((report.calls_cut, report.connections_closed, report.is_clean()), (1, 1, false));
    assert_eq!(call.await.unwrap(), FailureCode::ShuttingDown);
    assert_eq!(world.cluster.opened("b"), 0, "no other server is tried");
    assert_eq!(world.status("a"), Status::Healthy);
    assert_eq!(world.cluster.closed("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn j12_a_second_shutdown_waits_for_the_first_and_may_cut_its_waiting_short() {
    let world = World::new(&["a"], |_| {});
    let call = hanging_call(&world).await;
    let started = Instant::now();
    let second = async {
        tokio::task::yield_now().await;
        world.manager.shutdown(Duration::from_secs(1)).await
    };
    let (first, second) = futures::join!(world.manager.shutdown(Duration::from_secs(60)), second);
    assert_eq!(started.elapsed(), Duration::from_secs(1));
    assert_eq!((first.calls_cut, &first), (1, &second));
    assert_eq!(call.await.unwrap(), FailureCode::ShuttingDown);
    assert_eq!(world.cluster.closed("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn j12_the_end_goes_on_when_the_one_who_asked_leaves() {
    let world = World::over(|cluster| Odd::connector(cluster, Duration::from_secs(2), None), &["a"], |_| {});
    world.manager.initialize("a", false).await.unwrap();
    let asked = world.manager.shutdown(Duration::ZERO);
    assert!(tokio::time::timeout(Duration::from_secs(1), asked).await.is_err());
    let report = world.manager.shutdown(Duration::ZERO).await;
    assert_eq!((report.connections_closed, report.is_clean()), (1, true));
}

#[tokio::test]
async fn j12_nothing_is_opened_afterwards_that_nobody_would_close() {
    let world = World::new(&["a"], |_| {});
    world.manager.shutdown(Duration::ZERO).await;
    world.manager.register(definition("b")).unwrap();
    for name in ["a", "b"] {
        assert!(!world.manager.initialize(name, true).await.unwrap().initialized);
        assert_eq!(world.cluster.opened(name), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn j12_a_handshake_under_way_is_given_up() {
    let world = World::new(&["a", "b"], |_| {});
    world.cluster.script("a", "initialize", [Action::Ok.delayed(Duration::from_secs(8))]);
    world.cluster.script("b", "initialize", [Action::Ok.delayed(Duration::from_millis(500))]);
    let manager = world.manager.clone();
    let connecting = tokio::spawn(async move { manager.initialize_all(false).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let started = Instant::now();
    let report = world.manager.shutdown(Duration::ZERO).await;
    assert_eq!((started.elapsed(), report.is_clean()), (Duration::from_secs(1), true));
    assert_eq!(world.cluster.closed("b"), 1, "it got as far as being closed in order");
    let records = connecting.await.unwrap();
    assert!(records.iter().all(|record| record.retry_count == 0), "it is held against nobody");
}

/// Scripted servers whose connections take their time to end, for ever if `None`, and do so in their own way.
struct Odd {
    cluster: ScriptedCluster,
    closing: Option<Duration>,
    unclean: Option<&'static str>,
}

impl Odd {
    fn connector(
        cluster: ScriptedCluster,
        closing: impl Into<Option<Duration>>,
        unclean: Option<&'static str>,
    ) -> Arc<dyn Connector> {
        Arc::new(Self { cluster, closing: closing.into(), unclean })
    }
}

impl Connector for Odd {
    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
    ) -> BoxFuture<'a, Result<Box<dyn Transport>, TransportError>> {
        Box::pin(async move {
            let inner = self.cluster.connect(endpoint).await?;
            Ok(Box::new(OddTransport { inner, closing: self.closing, unclean: self.unclean })
                as Box<dyn Transport>)
        })
    }
}

struct OddTransport {
    inner: Box<dyn Transport>,
    closing: Option<Duration>,
    unclean: Option<&'static str>,
}

impl Transport for OddTransport {
    fn send(&self, out: Outbound) -> BoxFuture<'_, Result<Reply, TransportError>> {
        self.inner.send(out)
    }

    fn take_inbox(&mut self) -> Option<Inbox> {
        self.inner.take_inbox()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        match self.closing {
            Some(closing) => Box::pin(tokio::time::sleep(closing)),
            None => Box::pin(pending()),
        }
    }

    fn unclean_end(&self) -> Option<String> {
        self.unclean.map(str::to_owned)
    }
}

#[tokio::test(start_paused = true)]
async fn j12_what_does_not_end_in_order_is_named() {
    let killed = Some("the process had to be killed");
    let late = "closing the connection took longer than 7s";
    for (closing, unclean, expected, took) in [
        (Some(1), None, None, 1),
        (Some(1), killed, killed, 1),
        (Some(8), None, Some(late), 7),
        (None, None, Some(late), 7),
    ] {
        let world = World::over(
            |cluster| Odd::connector(cluster, closing.map(Duration::from_secs), unclean),
            &["b", "a"],
            |policy| policy.process_stop_timeout = Duration::from_secs(1),
        );
        world.manager.initialize_all(false).await;
        let started = Instant::now();
        let report = world.manager.shutdown(Duration::ZERO).await;
        assert_eq!(started.elapsed(), Duration::from_secs(took), "all at the same time");
        let named = |server: &str| {
            expected.map(|what| Unclean { server: server.parse().unwrap(), what: what.to_owned() })
        };
        let expected: Vec<_> = ["a", "b"].into_iter().filter_map(named).collect();
        assert_eq!((report.is_clean(), report.unclean), (expected.is_empty(), expected));
    }
}

/// A store that says how often it was asked, and may refuse.
#[derive(Clone, Default)]
struct Watched {
    store: MemoryStore,
    saves: Arc<AtomicUsize>,
    refusal: Arc<Mutex<Option<StoreError>>>,
}

impl Store for Watched {
    fn save(&self, servers: &[Kept]) -> Result<(), StoreError> {
        self.saves.fetch_add(1, Ordering::SeqCst);
        match &*self.refusal.lock().unwrap() {
            Some(error) => Err(error.clone()),
            None => self.store.save(servers),
        }
    }

    fn load(&self) -> Result<Vec<Kept>, StoreError> {
        self.store.load()
    }
}

impl Watched {
    /// Waits until the names of these servers are kept.
    async fn holds(&self, names: &[&str]) {
        let held = || -> Vec<String> {
            let kept = self.store.load().unwrap();
            kept.iter().map(|kept| kept.definition.name.to_string()).collect()
        };
        let held = async {
            while held() != names {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), held).await.unwrap();
    }
}

/// A server with a secret.
fn secretive(name: &str) -> Definition {
    let mut endpoint = HttpEndpoint::new(format!("https://{name}.example/mcp").parse().unwrap());
    endpoint.headers.push(("X-API-Key".into(), "hunter2".into()));
    let mut definition = definition(name);
    definition.endpoint = Endpoint::Http(endpoint);
    definition.priority = 7;
    definition
}

#[tokio::test]
async fn j12_what_is_registered_is_kept_without_secrets_and_comes_back() {
    let store = Watched::default();
    let world = World::new(&["configured"], |_| {});
    assert_eq!(world.manager.keep_in(Arc::new(store.clone())).unwrap(), []);
    assert_eq!(world.manager.keep_in(Arc::new(store.clone())), Err(KeepError::Already));
    // Each change is kept by itself, long before the end.
    world.manager.register(secretive("a")).unwrap();
    store.holds(&["a", "configured"]).await;
    let mut stdio = StdioEndpoint::new("server", ["-v"]);
    stdio.env.insert("KEY".into(), "hunter2".into());
    world.manager.register(Definition::new("b".parse().unwrap(), Endpoint::Stdio(stdio))).unwrap();
    store.holds(&["a", "b", "configured"]).await;
    world.manager.unregister("b").await.unwrap();
    store.holds(&["a", "configured"]).await;
    let report = world.manager.shutdown(Duration::ZERO).await;
    assert_eq!(report.not_saved, None);
    assert!(!format!("{:?}", world.manager.table().servers()).contains("X-API-Key"), "secrets are dropped");

    let kept = store.load().unwrap();
    assert_eq!(kept[0].left_out, ["headers.X-API-Key"]);
    let mut expected = secretive("a");
    expected.endpoint.take_secrets();
    assert_eq!(kept[0].definition, expected);

    // What is registered already, such as a server of the configuration, comes first.
    let world = World::new(&["configured"], |_| {});
    let restored = world.manager.keep_in(Arc::new(store.clone())).unwrap();
    let names: Vec<_> = restored.iter().map(|it| (it.kept.definition.name.as_str(), it.registered)).collect();
    assert_eq!(names, [("a", true), ("configured", false)]);
    assert_eq!(*world.record("a").definition, expected);
}

#[tokio::test]
async fn j12_what_cannot_be_saved_is_reported() {
    let store = Watched::default();
    let full = StoreError("cannot write state.json: no space left on device".into());
    *store.refusal.lock().unwrap() = Some(full.clone());
    let world = World::new(&["a"], |_| {});
    world.manager.keep_in(Arc::new(store.clone())).unwrap();
    let report = world.manager.shutdown(Duration::ZERO).await;
    assert_eq!((report.is_clean(), report.not_saved), (false, Some(full.to_string())));
    assert_eq!(store.saves.load(Ordering::SeqCst), 1);
}

/// A store that cannot be read.
struct Unreadable;

impl Store for Unreadable {
    fn save(&self, _: &[Kept]) -> Result<(), StoreError> {
        Err(StoreError("unreadable".into()))
    }

    fn load(&self) -> Result<Vec<Kept>, StoreError> {
        Err(StoreError("unreadable".into()))
    }
}

#[tokio::test]
async fn j12_what_cannot_be_read_is_not_overwritten() {
    let world = World::new(&["a"], |_| {});
    let error = world.manager.keep_in(Arc::new(Unreadable)).unwrap_err();
    assert_eq!(error, KeepError::Store(StoreError("unreadable".into())));
    let report = world.manager.shutdown(Duration::ZERO).await;
    assert_eq!(report.not_saved, None, "nothing is kept there");
}
