//! The manager: owns registry, links and background work.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use mcp_client::ClientInfo;
use mcp_registry::{
    Definition, Journal, Policy, Random, Registry, RegistryFull, RoutingTable, ServerKey, ServerRecord,
    Timer, Timestamp,
};
use mcp_transport::Connector;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::diagnostics::Exchanges;
use crate::keep::Keeping;
use crate::link::Link;
use crate::session::Session;
use crate::shutdown::{Ending, Unclean};

/// Time the end of a connection may take beyond the steps in which a process is ended.
const CLOSING: Duration = Duration::from_secs(5);

/// What a manager is made of.
pub struct Setup {
    /// Parameters of contract §0.3.
    pub policy: Policy,
    /// What we call ourselves toward servers.
    pub client_info: ClientInfo,
    /// Opens connections.
    pub connector: Arc<dyn Connector>,
    /// Tells the time and waits.
    pub timer: Arc<dyn Timer>,
    /// Where request ids and jitter come from.
    pub random: Arc<dyn Random>,
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// No server of that name is registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no server is named {requested:?}")]
pub struct UnknownServer {
    /// What was asked for.
    pub requested: String,
    /// What there is, sorted.
    pub available: Vec<String>,
}

/// Many MCP servers behind one interface: registers them, keeps their health, calls them with failover.
///
/// Cheap to clone; all clones are the same manager. Background work ends when the last clone is gone or
/// [`shutdown`](Self::shutdown) is called.
#[derive(Debug, Clone)]
pub struct Manager(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) policy: Arc<Policy>,
    pub(crate) client_info: ClientInfo,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) timer: Arc<dyn Timer>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) journal: Arc<Journal>,
    /// Locked for the length of one state change, never across I/O, and not at all by a call that
    /// succeeds on a healthy server.
    state: Mutex<State>,
    snapshot: ArcSwap<Snapshot>,
    /// Rung when routing state changed and when the manager is gone, for the one who waits on deadlines.
    pub(crate) changed: Arc<Notify>,
    /// Told of every change of the snapshot.
    pub(crate) published: tokio::sync::watch::Sender<()>,
    /// New work is refused.
    pub(crate) closing: CancellationToken,
    /// The time of calls under way is up.
    pub(crate) cut: CancellationToken,
    /// Calls under way.
    pub(crate) calls: TaskTracker,
    /// What was exchanged with servers so far.
    pub(crate) exchanges: Exchanges,
    /// Sessions that are being ended.
    pub(crate) endings: TaskTracker,
    pub(crate) ending: Ending,
    pub(crate) keeping: Keeping,
    monitored: AtomicBool,
}

struct State {
    registry: Registry,
    links: BTreeMap<mcp_registry::ServerName, Arc<Link>>,
}

impl State {
    /// Registers a server with a link of its own; returns the link it replaces. One that can go on with its new
    /// definition keeps its link.
    fn register(
        &mut self,
        now: Timestamp,
        definition: Definition,
    ) -> Result<(Arc<ServerRecord>, Option<Arc<Link>>), RegistryFull> {
        if let Some(record) = self.registry.redefine(now, &definition) {
            if let Some(link) = self.links.get(record.name()) {
                link.redefine(record.definition.clone());
            }
            return Ok((record, None));
        }
        let record = self.registry.register(now, definition)?;
        let link = Arc::new(Link::new(record.key(), record.definition.clone()));
        let replaced = self.links.insert(record.name().clone(), link);
        Ok((record, replaced))
    }
}

/// Routing state and links at one moment, swapped as one.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) table: Arc<RoutingTable>,
    links: Box<[Arc<Link>]>,
}

impl Snapshot {
    /// Record and link of a name.
    pub(crate) fn get(&self, name: &str) -> Option<(&Arc<ServerRecord>, &Arc<Link>)> {
        let servers = self.table.servers();
        let at = servers.binary_search_by(|record| record.name().as_str().cmp(name)).ok()?;
        Some((&servers[at], &self.links[at]))
    }

    /// All links in name order.
    pub(crate) fn links(&self) -> &[Arc<Link>] {
        &self.links
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Manager").field("servers", &self.snapshot.load().links.len()).finish_non_exhaustive()
    }
}

impl Manager {
    /// A manager without servers. Health checks start with [`start_monitor`](Self::start_monitor).
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let policy = Arc::new(setup.policy);
        let journal = Arc::new(Journal::new(&policy));
        let registry = Registry::new(policy.clone(), journal.clone());
        Self(Arc::new(Inner {
            policy,
            client_info: setup.client_info,
            connector: setup.connector,
            timer: setup.timer,
            random: setup.random,
            journal,
            state: Mutex::new(State { registry, links: BTreeMap::new() }),
            snapshot: ArcSwap::default(),
            changed: Arc::new(Notify::new()),
            published: tokio::sync::watch::Sender::new(()),
            closing: CancellationToken::new(),
            cut: CancellationToken::new(),
            calls: TaskTracker::new(),
            exchanges: Exchanges::default(),
            endings: TaskTracker::new(),
            ending: Ending::new(),
            keeping: Keeping::default(),
            monitored: AtomicBool::new(false),
        }))
    }

    /// Registers a server, or replaces the one of that name; connects nothing.
    ///
    /// The session of a replaced definition is closed in the background, when the calls on it have ended. If the new
    /// one [differs](Definition::carries_over) in nothing that concerns the server, it takes the place of the old one
    /// and all else stays. The very same definition starts anew.
    ///
    /// # Errors
    /// [`RegistryFull`] beyond `policy.max_servers`.
    ///
    /// # Panics
    /// Outside of a tokio runtime, if it replaces a server with an open session.
    pub fn register(&self, definition: Definition) -> Result<Arc<ServerRecord>, RegistryFull> {
        let (record, replaced) = self.0.change(|state, now| state.register(now, definition))?;
        self.0.end_replaced(replaced);
        self.0.keeping.changed.notify_one();
        Ok(record)
    }

    /// Replaces a server that is registered; connects nothing. Otherwise like [`register`](Self::register).
    ///
    /// # Errors
    /// [`UnknownServer`].
    ///
    /// # Panics
    /// Outside of a tokio runtime, if the server has an open session.
    pub fn replace(&self, definition: Definition) -> Result<Arc<ServerRecord>, UnknownServer> {
        let name = definition.name.clone();
        let replaced = self.0.change(|state, now| {
            state.registry.get(name.as_str())?;
            // There is room for what takes the place of something.
            state.register(now, definition).ok()
        });
        let (record, replaced) = replaced.ok_or_else(|| self.unknown(name.as_str()))?;
        self.0.end_replaced(replaced);
        self.0.keeping.changed.notify_one();
        Ok(record)
    }

    /// Removes a server and closes its session; if calls are under way on it, when they have ended.
    ///
    /// # Errors
    /// [`UnknownServer`].
    pub async fn unregister(&self, name: &str) -> Result<(), UnknownServer> {
        self.server(name)?;
        self.0.end_or_drain(self.remove(name)).await;
        Ok(())
    }

    /// Removes a server, if there is one; returns the sessions to end.
    pub(crate) fn remove(&self, name: &str) -> Vec<Arc<Session>> {
        let link = self.0.change(|state, now| {
            state.registry.unregister(now, name)?;
            state.links.remove(name)
        });
        self.0.keeping.changed.notify_one();
        link.map(|link| link.retire()).unwrap_or_default()
    }

    /// The record of a server.
    ///
    /// # Errors
    /// [`UnknownServer`].
    pub fn server(&self, name: &str) -> Result<Arc<ServerRecord>, UnknownServer> {
        self.table().get(name).cloned().ok_or_else(|| self.unknown(name))
    }

    /// The state of all servers at this moment.
    #[must_use]
    pub fn table(&self) -> Arc<RoutingTable> {
        self.0.snapshot().table.clone()
    }

    /// The retained events.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.0.journal
    }

    /// The parameters in force.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.0.policy
    }

    /// The manager's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.timer.now()
    }

    /// Whether the server's retry window is open at this moment; false for unknown names.
    #[must_use]
    pub fn should_retry(&self, name: &str) -> bool {
        self.table().get(name).is_some_and(|record| record.should_retry(self.now()))
    }

    /// An operator says the server is fine (S10).
    ///
    /// # Errors
    /// [`UnknownServer`].
    pub fn mark_healthy(&self, name: &str) -> Result<Arc<ServerRecord>, UnknownServer> {
        self.mark(name, |registry, now, key| registry.mark_healthy(now, key))
    }

    /// An operator says the server failed (S11).
    ///
    /// # Errors
    /// [`UnknownServer`].
    pub fn mark_degraded(&self, name: &str, reason: &str) -> Result<Arc<ServerRecord>, UnknownServer> {
        self.mark(name, |registry, now, key| registry.mark_degraded(now, key, reason))
    }

    /// Takes a server out of service at once (S12).
    ///
    /// # Errors
    /// [`UnknownServer`].
    pub fn mark_unavailable(&self, name: &str, reason: &str) -> Result<Arc<ServerRecord>, UnknownServer> {
        self.mark(name, |registry, now, key| registry.mark_unavailable(now, key, reason))
    }

    fn mark(
        &self,
        name: &str,
        change: impl FnOnce(&mut Registry, Timestamp, &ServerKey),
    ) -> Result<Arc<ServerRecord>, UnknownServer> {
        let key = self.server(name)?.key();
        self.0.record(|registry, now| change(registry, now, &key));
        self.server(name)
    }

    pub(crate) fn link(&self, name: &str) -> Result<Arc<Link>, UnknownServer> {
        let snapshot = self.0.snapshot();
        snapshot.get(name).map(|(_, link)| link.clone()).ok_or_else(|| self.unknown(name))
    }

    pub(crate) fn unknown(&self, name: &str) -> UnknownServer {
        let available = self.table().servers().iter().map(|record| record.name().to_string()).collect();
        UnknownServer { requested: name.to_owned(), available }
    }
}

impl Inner {
    pub(crate) fn snapshot(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.timer.now()
    }

    /// The record a key stands for, unless it was replaced or removed.
    pub(crate) fn current(&self, key: &ServerKey) -> Option<Arc<ServerRecord>> {
        let snapshot = self.snapshot();
        let record = snapshot.table.get(key.name.as_str())?;
        (record.generation == key.generation).then(|| record.clone())
    }

    /// Changes the registry's state at this moment and publishes the outcome before anyone else can
    /// change it again.
    pub(crate) fn record<R>(&self, change: impl FnOnce(&mut Registry, Timestamp) -> R) -> R {
        self.change(|state, now| change(&mut state.registry, now))
    }

    /// When the registry next has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).registry.next_deadline()
    }

    /// Ends what a replaced registration leaves behind.
    fn end_replaced(&self, replaced: Option<Arc<Link>>) {
        for session in replaced.iter().flat_map(|link| link.retire()) {
            self.end_session(session);
        }
    }

    /// Closes a session that serves nobody new, when the calls on it have ended.
    pub(crate) fn end_session(&self, session: Arc<Session>) -> JoinHandle<()> {
        let (patience, cut) = (self.policy.shutdown_drain_timeout, self.cut.clone());
        let (limit, unclean) = (self.policy.process_stop_timeout * 2 + CLOSING, self.ending.unclean());
        let closing = self.closing.clone();
        self.endings.spawn(async move {
            let Some(what) = session.end(patience, &cut, limit).await else { return };
            let server = session.server().clone();
            tracing::warn!(%server, what, "connection did not end in order");
            if closing.is_cancelled() {
                unclean.lock().unwrap_or_else(PoisonError::into_inner).push(Unclean { server, what });
            }
        })
    }

    /// Drops the secrets of all servers, whose connections have ended.
    pub(crate) fn drop_secrets(&self) {
        self.change(|state, _| {
            state.registry.drop_secrets();
            for record in state.registry.table().servers() {
                let link = Link::new(record.key(), record.definition.clone());
                // It is new: there is no session to end.
                let _ = link.retire();
                state.links.insert(record.name().clone(), Arc::new(link));
            }
        });
    }

    /// The same for several, waiting for those that need not wait for anybody.
    pub(crate) async fn end_or_drain(&self, sessions: Vec<Arc<Session>>) {
        let unused: Vec<_> = sessions.iter().map(|session| session.is_unused()).collect();
        let endings: Vec<_> = sessions.into_iter().map(|session| self.end_session(session)).collect();
        for (ending, unused) in endings.into_iter().zip(unused) {
            if unused {
                // It cannot fail but with the runtime.
                let _ = ending.await;
            }
        }
    }

    /// Whether this is the first to ask for a monitor.
    pub(crate) fn claim_monitor(&self) -> bool {
        !self.monitored.swap(true, Ordering::SeqCst)
    }

    fn change<R>(&self, change: impl FnOnce(&mut State, Timestamp) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut state, self.timer.now());
        if !Arc::ptr_eq(state.registry.table(), &self.snapshot.load().table) {
            let table = state.registry.table().clone();
            // Both are in name order and hold the same names.
            let links = state.links.values().cloned().collect();
            self.snapshot.store(Arc::new(Snapshot { table, links }));
            self.changed.notify_one();
            self.published.send_replace(());
        }
        result
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.changed.notify_one();
    }
}
