//! What one server offers to one kind of client, kept up to date.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use mcp_client::{CallError, Client, Interest, ServerProfile, Subscription};
use mcp_manager::{Attached, Manager, Party};
use mcp_protocol::capability::ClientCapabilities;
use mcp_protocol::header::ParamHeaders;
use mcp_protocol::logging::LogLevel;
use mcp_protocol::resource::ResourceUpdatedParams;
use mcp_protocol::{Era, ErrorCode, Method, Notification, RawJson};
use mcp_registry::{ConnectionState, HealthView, ServerKey, ServerRecord, Status};
use mcp_transport::TransportKind;
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::catalog::{Catalog, List, ListKind};
use crate::watchman::Watchman;

/// Time for reading all lists of a server.
const LIST_LIMIT: Duration = Duration::from_secs(30);
/// Time for a server to take a level of log messages.
const LEVEL_LIMIT: Duration = Duration::from_secs(5);
/// Most notifications of clients on their way to one server; more are dropped.
const PASSED_ON: usize = 64;
/// Between a change that a server tells of and the look at it: changes come in bursts.
const BURST: Duration = Duration::from_millis(20);
/// First and longest wait before a server is attached to again that could not be.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Something a server tells that belongs to no call.
#[derive(Debug, Clone)]
pub(crate) enum News {
    /// Lists have changed, and were read again.
    Lists([bool; 4]),
    /// A resource has changed.
    Updated { uri: Box<str>, notification: Notification },
    /// A log message, or whatever else a server may say.
    Said(Notification),
}

/// Who wants to hear news. It must not wait.
pub(crate) trait Listener: Send + Sync {
    fn hear(&self, from: &Upstream, news: &News);
}

struct Listening {
    who: Weak<dyn Listener>,
    /// Whatever else is told is not meant for it.
    lists_only: bool,
}

/// One server as one kind of client sees it. Its task ends when nobody holds it any more.
pub(crate) struct Upstream {
    pub(crate) server: ServerKey,
    manager: Manager,
    party: Arc<dyn Party>,
    /// Who looks at its tools; `None`: its lists are not read, as a client's own session needs to be listened to only.
    watchman: Option<Arc<Watchman>>,
    catalog: ArcSwap<Catalog>,
    /// The server as everybody sees it, until its own lists were read: that may take the start of a process.
    before: ArcSwapOption<Self>,
    /// Rung when all was read for the first time, or could not be.
    pub(crate) settled: tokio::sync::watch::Sender<bool>,
    listeners: Mutex<Vec<Listening>>,
    wishes: Mutex<Wishes>,
    /// Rung when somebody has seen a list that may be out of date.
    stale: Arc<Notify>,
    /// Whether all lists are to be read again, however young they are.
    again: AtomicBool,
    /// Places for notifications of clients.
    passing_on: Arc<Semaphore>,
    task: Mutex<Option<AbortHandle>>,
}

/// Something that a server tells of if it is asked to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Wish {
    /// Changes of a resource.
    Resource(Box<str>),
    /// Changes of a task, of a stateless server.
    Task(Box<str>),
}

impl Wish {
    fn interest(&self) -> Interest {
        match self {
            Self::Resource(uri) => Interest { uris: [String::from(&**uri)].into(), ..Interest::default() },
            Self::Task(id) => Interest { tasks: [String::from(&**id)].into(), ..Interest::default() },
        }
    }
}

impl std::fmt::Display for Wish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Resource(uri) => write!(f, "{uri}"),
            Self::Task(id) => write!(f, "the task {id}"),
        }
    }
}

#[derive(Debug, Default)]
struct Wishes {
    /// What is wished for, and how many want to hear of each.
    wanted: HashMap<Wish, usize>,
    /// Those that the server has agreed to tell of, on the present connection.
    kept: HashMap<Wish, Subscription>,
    /// The least level of log messages that each session wants.
    levels: HashMap<u64, LogLevel>,
    client: Option<Client>,
}

impl Upstream {
    /// Begins to follow a server. `before`: what it offers before anything was read.
    pub(crate) fn start(
        manager: &Manager,
        server: ServerKey,
        party: Arc<dyn Party>,
        watchman: Option<Arc<Watchman>>,
        before: Option<Arc<Self>>,
    ) -> Arc<Self> {
        let upstream = Arc::new(Self {
            server,
            manager: manager.clone(),
            party,
            watchman,
            catalog: ArcSwap::default(),
            before: ArcSwapOption::new(before),
            settled: tokio::sync::watch::Sender::new(false),
            listeners: Mutex::default(),
            wishes: Mutex::default(),
            stale: Arc::default(),
            passing_on: Arc::new(Semaphore::new(PASSED_ON)),
            again: AtomicBool::default(),
            task: Mutex::default(),
        });
        let task = tokio::spawn(follow(Arc::downgrade(&upstream), manager.clone(), upstream.server.clone()));
        *lock(&upstream.task) = Some(task.abort_handle());
        upstream
    }

    /// What it offers; as far as that was not read, what it offers to everybody.
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        let before = self.before.load_full(); // loaded first: without it the own one is complete
        let own = self.catalog.load_full();
        match before {
            Some(before) if !own.is_complete() => Arc::new(own.completed_by(&before.catalog())),
            _ => own,
        }
    }

    /// Has a list read again that may be out of date: its server does not tell of changes, or it could not be read.
    pub(crate) fn refresh(&self, kind: ListKind) {
        if self.catalog.load().is_stale(kind) {
            self.stale.notify_one();
        }
        if let Some(before) = &*self.before.load() {
            before.refresh(kind);
        }
    }

    /// Has all lists read again.
    pub(crate) fn look_again(&self) {
        self.again.store(true, Ordering::Relaxed);
        self.stale.notify_one();
    }

    /// The server now, unless it was replaced or removed.
    pub(crate) fn record(&self) -> Option<Arc<ServerRecord>> {
        let record = self.manager.server(self.server.name.as_str()).ok()?;
        (record.generation == self.server.generation).then_some(record)
    }

    /// From now on somebody is told the news, for as long as it lives.
    pub(crate) fn listen(&self, who: Weak<dyn Listener>) {
        if let Some(before) = self.before.load_full() {
            before.add(Listening { who: who.clone(), lists_only: true });
        }
        self.add(Listening { who, lists_only: false });
    }

    fn add(&self, listening: Listening) {
        let mut listeners = lock(&self.listeners);
        listeners.retain(|known| known.who.strong_count() > 0 && !known.who.ptr_eq(&listening.who));
        listeners.push(listening);
    }

    /// From now on it is told nothing.
    pub(crate) fn unlisten(&self, who: &Weak<dyn Listener>) {
        if let Some(before) = &*self.before.load() {
            before.unlisten(who);
        }
        lock(&self.listeners).retain(|known| !known.who.ptr_eq(who));
    }

    /// Waits until its lists were read or found out of reach, for the first time.
    pub(crate) async fn settle(&self) {
        let mut settled = self.settled.subscribe();
        // An error means that it is gone, which is settled, too.
        let _ = settled.wait_for(|settled| *settled).await;
    }

    /// Asks the server to tell of a resource. Each successful call needs one of [`unsubscribe`](Self::unsubscribe).
    pub(crate) async fn subscribe(&self, uri: &str, limit: Duration) -> Result<(), CallError> {
        self.want(Wish::Resource(uri.into()), limit).await
    }

    /// Asks the server to tell of something. Each successful call needs one of [`unwant`](Self::unwant).
    pub(crate) async fn want(&self, wish: Wish, limit: Duration) -> Result<(), CallError> {
        let client = {
            let mut wishes = lock(&self.wishes);
            if let Some(users) = wishes.wanted.get_mut(&wish) {
                *users += 1;
                return Ok(());
            }
            wishes.client.clone().filter(|client| !client.is_closed())
        };
        let client = match client {
            Some(client) => client,
            None => self.attach().await?.client,
        };
        let interest = wish.interest();
        let subscription =
            client.subscribe_for(interest.clone(), self.declared_with(&wish, &client), limit).await?;
        if *subscription.accepted() != interest {
            let text = format!("the server does not tell of changes of {wish}");
            let error = mcp_protocol::RpcError::new(ErrorCode::INVALID_PARAMS, &text);
            return Err(CallError::Rpc { error, frame: bytes::Bytes::new() });
        }
        let mut wishes = lock(&self.wishes);
        if client.is_closed() {
            // The next one may have been told already of all that is wished for.
            let kind = mcp_transport::TransportErrorKind::Closed("the connection was lost meanwhile".into());
            return Err(mcp_transport::TransportError::new(kind, mcp_transport::Delivery::Unknown).into());
        }
        *wishes.wanted.entry(wish.clone()).or_default() += 1;
        wishes.kept.insert(wish, subscription);
        Ok(())
    }

    /// Takes one wish back.
    pub(crate) fn unsubscribe(&self, uri: &str) {
        self.unwant(&Wish::Resource(uri.into()));
    }

    /// Takes one wish back.
    pub(crate) fn unwant(&self, wish: &Wish) {
        let mut wishes = lock(&self.wishes);
        let Some(users) = wishes.wanted.get_mut(wish) else { return };
        *users -= 1;
        if *users == 0 {
            wishes.wanted.remove(wish);
            wishes.kept.remove(wish);
        }
    }

    /// What is declared when something is wished for: nothing that a server could ask on account of it.
    fn declared_with(&self, wish: &Wish, client: &Client) -> Option<ClientCapabilities> {
        self.declared_to(client).filter(|_| matches!(wish, Wish::Task(_)))
    }

    /// What the client is able to do, where requests say so.
    fn declared_to(&self, client: &Client) -> Option<ClientCapabilities> {
        let profile = client.profile();
        (profile.era == Era::Stateless).then(|| self.party.capabilities(profile.version))
    }

    /// Whether the server takes a level of log messages for a whole session, as far as is known.
    pub(crate) fn may_log(&self) -> bool {
        self.catalog.load().profile.as_ref().is_none_or(|profile| takes_level(profile))
    }

    /// Has the server send log messages from a level on: the lowest that any session wants.
    pub(crate) async fn want_level(&self, session: u64, level: LogLevel) -> Result<(), CallError> {
        let (client, lowest) = {
            let mut wishes = lock(&self.wishes);
            wishes.levels.insert(session, level);
            (wishes.client.clone(), wishes.levels.values().min().copied())
        };
        match (client.filter(|client| !client.is_closed()), lowest) {
            (Some(client), Some(lowest)) if takes_level(&client.profile()) => {
                client.set_log_level(lowest, LEVEL_LIMIT).await
            }
            // It is told when there is a connection.
            _ => Ok(()),
        }
    }

    /// A session wants no log messages any more. The server is not told: others may, and what comes is sorted out.
    pub(crate) fn forget_level(&self, session: u64) {
        lock(&self.wishes).levels.remove(&session);
    }

    /// Passes a notification of a client on, if there is a connection.
    pub(crate) fn pass_on(&self, notification: Notification) {
        let Some(client) = lock(&self.wishes).client.clone() else { return };
        let server = self.server.name.clone();
        let Ok(place) = self.passing_on.clone().try_acquire_owned() else {
            tracing::debug!(%server, "a notification of a client was dropped: {PASSED_ON} are under way");
            return;
        };
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = client.notify(notification.method, notification.params).await {
                tracing::debug!(%server, %error, "a notification of a client was lost");
            }
        });
    }

    /// The connection of this kind of client.
    pub(crate) async fn attach(&self) -> Result<Attached, CallError> {
        let attached = self.manager.attach(self.server.name.as_str(), Some(&self.party)).await;
        attached.map_err(|error| {
            let kind = mcp_transport::TransportErrorKind::Endpoint(error.to_string().into());
            mcp_transport::TransportError::new(kind, mcp_transport::Delivery::NotSent).into()
        })
    }

    fn tell(&self, news: &News) {
        let is_of_lists = matches!(news, News::Lists(_));
        let meant = |listening: &Listening| {
            (is_of_lists || !listening.lists_only).then(|| listening.who.upgrade()).flatten()
        };
        let listeners: Vec<_> = lock(&self.listeners).iter().filter_map(meant).collect();
        for listener in listeners {
            listener.hear(self, news);
        }
    }

    /// Reads lists, those marked.
    async fn read(&self, client: &Client, wanted: [bool; 4]) {
        let profile = client.profile();
        let capabilities = self.declared_to(client);
        let reads = ListKind::ALL.map(|kind| {
            let offered =
                profile.capabilities.as_ref().is_some_and(|all| all.get(kind.capability()).is_some());
            let (wanted, capabilities) = (wanted[kind.index()], capabilities.clone());
            async move {
                if !wanted {
                    return None;
                }
                if !offered {
                    return Some(List { at: Some(Instant::now()), ..List::default() });
                }
                match client.list_for(kind.method(), capabilities, LIST_LIMIT).await {
                    Ok(listed) => Some(List {
                        items: listed.items.into(),
                        caching: listed.caching,
                        at: Some(Instant::now()),
                        failed: None,
                    }),
                    // A server may have resources without templates.
                    Err(CallError::Rpc { error, .. })
                        if error.code() == Some(ErrorCode::METHOD_NOT_FOUND) =>
                    {
                        Some(List { at: Some(Instant::now()), ..List::default() })
                    }
                    Err(error) => {
                        tracing::warn!(server = %self.server.name, list = %kind.method(), %error, "a list could not be read");
                        None
                    }
                }
            }
        });
        let read = futures::future::join_all(reads).await;
        let mut catalog = Catalog::clone(&self.catalog.load());
        let mut changed = [false; 4];
        for (kind, list) in ListKind::ALL.into_iter().zip(read) {
            let old = &mut catalog.lists[kind.index()];
            let Some(list) = list else {
                old.failed = wanted[kind.index()].then(Instant::now).or(old.failed);
                continue;
            };
            changed[kind.index()] = old.at.is_none() || *old.items != *list.items;
            *old = list;
        }
        if changed[ListKind::Tools.index()] {
            let tools = catalog.list(ListKind::Tools).items.clone();
            catalog.mirrored = Arc::new(mirrored(&tools));
            // Of a server that is gone nothing is to be remembered.
            let looked = self.watchman.as_ref().zip(self.record());
            catalog.verdicts =
                looked.map(|(watchman, record)| watchman.look(&record, &tools)).unwrap_or_default();
        }
        let known = catalog.profile.replace(profile.clone());
        catalog.transport = Some(client.transport());
        let other = known.is_none_or(|known| *known != *profile);
        let is_complete = catalog.is_complete();
        self.catalog.store(Arc::new(catalog));
        if is_complete && let Some(before) = self.before.swap(None) {
            lock(&self.listeners).iter().for_each(|listening| before.unlisten(&listening.who));
        }
        if other || changed.contains(&true) {
            self.tell(&News::Lists(changed));
        }
    }

    /// Begins to use a connection.
    async fn begin(&self, client: &Client) {
        if self.watchman.is_some() {
            self.read(client, [true; 4]).await;
        } else {
            let mut catalog = Catalog::clone(&self.catalog.load());
            catalog.profile = Some(client.profile());
            catalog.transport = Some(client.transport());
            self.catalog.store(Arc::new(catalog));
        }
        self.settled.send_replace(true);
        self.renew_wishes(client).await;
    }

    /// Takes note of something the server tells; `dirty` are the lists to be read again.
    fn take(&self, notification: Notification, dirty: &mut [bool; 4]) {
        match notification.method {
            Method::ToolsListChanged | Method::PromptsListChanged | Method::ResourcesListChanged => {
                for kind in ListKind::ALL {
                    dirty[kind.index()] |= kind.changed() == notification.method;
                }
            }
            Method::ResourcesUpdated => {
                let params = notification.params.as_ref();
                let params = params.and_then(|params| params.to::<ResourceUpdatedParams>().ok());
                if let Some(params) = params {
                    self.tell(&News::Updated { uri: params.uri.clone(), notification });
                }
            }
            _ => self.tell(&News::Said(notification)),
        }
    }
    /// Has a stateless server tell of its lists; the others do so by themselves.
    async fn subscribe_to_lists(&self, client: &Client) -> Option<Subscription> {
        let profile = client.profile();
        if profile.era != Era::Stateless {
            return None;
        }
        let tells = |list: &str| {
            let offered = profile.capabilities.as_ref().and_then(|all| all.get(list)?.get("listChanged"));
            offered.is_some_and(|offered| offered.as_str() == "true")
        };
        let interest = Interest {
            tools: tells("tools"),
            prompts: tells("prompts"),
            resources: tells("resources"),
            ..Interest::default()
        };
        if interest.is_empty() {
            return None;
        }
        match client.subscribe(interest, LIST_LIMIT).await {
            Ok(subscription) => Some(subscription),
            Err(error) => {
                tracing::debug!(server = %self.server.name, %error, "the server does not tell of changes");
                None
            }
        }
    }

    /// Asks again for what was asked for on the connection before.
    async fn renew_wishes(&self, client: &Client) {
        let (wanted, level) = {
            let mut wishes = lock(&self.wishes);
            wishes.kept.clear();
            wishes.client = Some(client.clone());
            let wanted: Vec<_> = wishes.wanted.keys().cloned().collect();
            (wanted, wishes.levels.values().min().copied())
        };
        if let Some(level) = level.filter(|_| takes_level(&client.profile()))
            && let Err(error) = client.set_log_level(level, LEVEL_LIMIT).await
        {
            tracing::debug!(server = %self.server.name, %error, "the server does not take the log level");
        }
        for wish in wanted {
            match client.subscribe_for(wish.interest(), self.declared_with(&wish, client), LIST_LIMIT).await {
                Ok(subscription) => {
                    lock(&self.wishes).kept.insert(wish.clone(), subscription);
                    // What happened meanwhile nobody will tell.
                    if let Wish::Resource(uri) = &wish {
                        self.tell(&updated(uri));
                    }
                }
                Err(error) => {
                    tracing::warn!(server = %self.server.name, %wish, %error, "a subscription was lost");
                }
            }
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("server", &self.server).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a server says something, at a level that holds for a whole session.
fn takes_level(profile: &ServerProfile) -> bool {
    profile.era == Era::Handshake
        && profile.capabilities.as_ref().is_some_and(|all| all.get("logging").is_some())
}

/// A notification of a change that nobody told of.
fn updated(uri: &str) -> News {
    let params = RawJson::encode(&ResourceUpdatedParams::new(uri)).ok();
    News::Updated { uri: uri.into(), notification: Notification { method: Method::ResourcesUpdated, params } }
}

/// The tools whose schema asks for headers.
fn mirrored(tools: &[RawJson]) -> HashMap<Box<str>, Arc<ParamHeaders>> {
    let headers = |tool: &RawJson| {
        // Cheap for all the tools that have none.
        if !tool.as_str().contains("x-mcp-header") {
            return None;
        }
        let headers = ParamHeaders::from_schema(&tool.get("inputSchema")?).ok()?;
        let name: Box<str> = tool.get("name")?.to().ok()?;
        (!headers.is_empty()).then(|| (name, Arc::new(headers)))
    };
    tools.iter().filter_map(headers).collect()
}

/// Listens to a connection until it ends. `None`: nobody is interested any more.
async fn attend(upstream: &Weak<Upstream>, client: &Client) -> Option<()> {
    // From here on nothing is missed.
    let mut told = client.notifications();
    let _subscription = {
        let this = upstream.upgrade()?;
        let subscription = this.subscribe_to_lists(client).await;
        this.begin(client).await;
        subscription
    };
    let mut dirty = [false; 4];
    // When lists are looked at that have changed: a moment after the first that is told of it, whatever else is told.
    let mut due = Instant::now();
    loop {
        let notification = tokio::select! {
            biased;
            () = tokio::time::sleep_until(due), if dirty.contains(&true) => None,
            notification = told.recv() => match notification {
                Some(notification) => Some(notification),
                None => return Some(()),
            },
            () = is_stale(upstream), if !dirty.contains(&true) => {
                let this = upstream.upgrade()?;
                let (catalog, again) = (this.catalog.load(), this.again.swap(false, Ordering::Relaxed));
                dirty = ListKind::ALL.map(|kind| again || catalog.is_stale(kind));
                None
            }
        };
        let this = upstream.upgrade()?;
        match notification {
            Some(notification) => {
                if !dirty.contains(&true) {
                    due = Instant::now() + BURST;
                }
                this.take(notification, &mut dirty);
            }
            None if this.watchman.is_none() => this.tell(&News::Lists(std::mem::take(&mut dirty))),
            None => this.read(client, std::mem::take(&mut dirty)).await,
        }
    }
}

/// Waits until somebody has seen a list that may be out of date; for ever if nobody holds the upstream.
async fn is_stale(upstream: &Weak<Upstream>) {
    let Some(this) = upstream.upgrade() else { return std::future::pending().await };
    let stale = this.stale.clone();
    drop(this);
    stale.notified().await;
}

/// What to do about a server at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stance {
    /// Use its connection, or make one.
    Attach,
    /// Somebody is connecting it.
    Wait,
    /// It is out of reach.
    Leave,
}

impl Stance {
    /// A connection is made here if it is the first, or, over HTTP, if the server has merely forgotten the session.
    /// Whatever else has to be connected again is for the manager's own rules to say: another attempt here would count
    /// against the server.
    fn toward(record: &ServerRecord, connected: bool) -> Self {
        let over_http = record.definition.endpoint.kind() == TransportKind::Http;
        match record.connection_state {
            _ if !record.definition.enabled => Self::Leave,
            ConnectionState::Connected if record.initialized && connected => Self::Attach,
            // It was just lost, and its record is about to say so.
            ConnectionState::Connected if record.initialized => Self::Wait,
            ConnectionState::Disconnected if record.health_view() == HealthView::Unknown => Self::Attach,
            ConnectionState::Error if record.status == Status::Healthy && over_http => Self::Attach,
            ConnectionState::Initializing | ConnectionState::Reconnecting => Self::Wait,
            _ => Self::Leave,
        }
    }
}

/// Attaches to the server again and again, and listens to it.
async fn follow(upstream: Weak<Upstream>, manager: Manager, server: ServerKey) {
    let mut table = manager.watch_table();
    let mut wait = AGAIN.0;
    loop {
        table.mark_unchanged();
        let Some(this) = upstream.upgrade() else { return };
        let Some(record) = this.record() else { return };
        let stance = Stance::toward(&record, manager.is_connected(server.name.as_str()));
        let attached = if stance == Stance::Attach { this.attach().await.ok() } else { None };
        this.settled.send_if_modified(|settled| {
            let given_up = attached.is_none() && stance != Stance::Wait && !*settled;
            *settled |= given_up;
            given_up
        });
        drop(this);
        match attached {
            Some(attached) => {
                wait = AGAIN.0;
                if attend(&upstream, &attached.client).await.is_none() {
                    return;
                }
                tracing::debug!(server = %server.name, "the connection has ended");
            }
            None => {
                let changed = async { table.changed().await.is_ok() };
                match tokio::time::timeout(wait, changed).await {
                    Ok(false) => return,
                    Ok(true) => tokio::time::sleep(BURST).await,
                    Err(_) => {}
                }
                wait = (wait * 2).min(AGAIN.1);
            }
        }
    }
}
