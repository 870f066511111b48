//! The directories in use, kept up to date.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use mcp_manager::Manager;
use mcp_registry::{ServerKey, ServerName};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::catalog::ListKind;
use crate::directory::{Directory, assemble, owners};
use crate::party::Kind;
use crate::settings::{Scope, Settings};
use crate::upstream::{Listener, News, Upstream};
use crate::watchman::Watchman;

/// Between a change and the new directory: changes come in bursts.
const BURST: Duration = Duration::from_millis(10);

/// Most directories of clients that are able to do something, but for those of open sessions.
const MAX_SHELVES: usize = 512;

/// Who wants to hear of changed lists. It must not wait.
pub(crate) trait Reader: Send + Sync {
    /// Which of the four lists have changed.
    fn changed(&self, lists: [bool; 4]);
    /// Something a server tells that is no change of lists.
    fn heard(&self, from: &Upstream, news: &News);
}

/// The directory of one endpoint for one kind of client, kept up to date.
pub(crate) struct Shelf {
    pub(crate) scope: Scope,
    pub(crate) kind: Kind,
    manager: Manager,
    settings: Arc<ArcSwap<Settings>>,
    watchman: Arc<Watchman>,
    library: Weak<Library>,
    directory: ArcSwap<Directory>,
    upstreams: Mutex<BTreeMap<ServerKey, Arc<Upstream>>>,
    readers: Mutex<Vec<Weak<dyn Reader>>>,
    changed: Arc<Notify>,
    /// Seconds since the beginning, when somebody asked last.
    used: AtomicU64,
    born: Instant,
    settled: AtomicBool,
    task: OnceLock<AbortHandle>,
    me: Weak<Self>,
}

impl Shelf {
    pub(crate) fn directory(&self) -> Arc<Directory> {
        self.directory.load_full()
    }

    /// Notes that somebody asked.
    pub(crate) fn touch(&self) {
        self.used.store(self.born.elapsed().as_secs(), Ordering::Relaxed);
    }

    /// Whether every server was looked at, or waited for as long as clients wait.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }

    /// For how long nobody has asked; `None` if somebody is told of changes.
    fn unused_for(&self) -> Option<Duration> {
        let used = self.born + Duration::from_secs(self.used.load(Ordering::Relaxed));
        self.readers().is_empty().then(|| used.elapsed())
    }

    /// Lets go of what is behind it: whoever still holds it has the last directory.
    fn retire(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
        let upstreams = std::mem::take(&mut *self.upstreams.lock().unwrap_or_else(PoisonError::into_inner));
        self.leave(upstreams.values());
    }

    fn leave<'a>(&self, upstreams: impl Iterator<Item = &'a Arc<Upstream>>) {
        let me: Weak<dyn Listener> = self.me.clone();
        upstreams.for_each(|upstream| upstream.unlisten(&me));
    }

    /// From now on somebody is told what changes, for as long as it lives.
    pub(crate) fn read(&self, reader: Weak<dyn Reader>) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.retain(|known| known.strong_count() > 0);
        readers.push(reader);
    }

    fn readers(&self) -> Vec<Arc<dyn Reader>> {
        let readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.iter().filter_map(Weak::upgrade).collect()
    }

    /// The servers behind it.
    pub(crate) fn upstreams(&self) -> Vec<Arc<Upstream>> {
        self.upstreams.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// One server behind it.
    pub(crate) fn upstream(&self, server: &ServerName) -> Option<Arc<Upstream>> {
        let upstreams = self.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        upstreams.iter().find(|(key, _)| key.name == *server).map(|(_, upstream)| upstream.clone())
    }

    /// Somebody looks at a list: what of it may be out of date is read again, and told of if it has changed.
    pub(crate) fn refresh(&self, kind: ListKind) {
        let upstreams = self.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        for upstream in upstreams.values() {
            upstream.refresh(kind);
        }
    }

    /// Waits until every server was looked at, or the time is up.
    pub(crate) async fn settle(&self, limit: Duration) {
        let settled = async {
            for upstream in self.upstreams() {
                upstream.settle().await;
            }
        };
        // Whoever is late is announced later.
        let _ = tokio::time::timeout(limit, settled).await;
        self.rebuild();
        self.settled.store(true, Ordering::Release);
    }

    /// Makes the directory anew; tells the readers what is different.
    fn rebuild(&self) {
        let Some(library) = self.library.upgrade() else { return };
        let table = self.manager.table();
        let settings = self.settings.load();
        let owners = owners(table.servers(), &self.scope, &settings);
        let mut upstreams = self.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        let mut there = BTreeMap::new();
        let mut parts = Vec::with_capacity(owners.len());
        for (owner, servers) in owners {
            let mut members = Vec::with_capacity(servers.len());
            for record in servers {
                let key = record.key();
                let upstream = upstreams.get(&key).cloned().unwrap_or_else(|| {
                    let upstream = library.upstream(&key, &self.kind);
                    upstream.listen(self.me.clone());
                    upstream
                });
                members.push((record, upstream.catalog()));
                there.insert(key, upstream);
            }
            parts.push((owner, members));
        }
        let before = std::mem::replace(&mut *upstreams, there);
        self.leave(before.iter().filter(|(key, _)| !upstreams.contains_key(key)).map(|(_, gone)| gone));
        let view = match &self.scope {
            Scope::View(name) => settings.views.iter().find(|view| view.name == **name),
            Scope::All | Scope::One(_) => None,
        };
        let new = Arc::new(assemble(&parts, &self.scope, view, &settings, &self.watchman));
        // Swapped under the lock, so that an older one never takes the place of a newer one.
        let old = self.directory.swap(new.clone());
        drop(upstreams);
        let changed = ListKind::ALL.map(|kind| !old.list(kind).same_as(new.list(kind)));
        if changed.contains(&true) {
            for reader in self.readers() {
                reader.changed(changed);
            }
        }
    }
}

impl Listener for Shelf {
    fn hear(&self, from: &Upstream, news: &News) {
        match news {
            News::Lists(_) => self.changed.notify_one(),
            News::Updated { .. } | News::Said(_) => {
                for reader in self.readers() {
                    reader.heard(from, news);
                }
            }
        }
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

type Upstreams = HashMap<(ServerKey, Kind), Weak<Upstream>>;
type Shelves = HashMap<(Scope, Kind), Arc<Shelf>>;

/// The directories in use, and what they are made of.
pub(crate) struct Library {
    manager: Manager,
    pub(crate) settings: Arc<ArcSwap<Settings>>,
    watchman: Arc<Watchman>,
    shelves: Mutex<Shelves>,
    upstreams: Mutex<Upstreams>,
    generation: AtomicU64,
}

impl Library {
    pub(crate) fn new(
        manager: Manager,
        settings: Arc<ArcSwap<Settings>>,
        watchman: Arc<Watchman>,
    ) -> Arc<Self> {
        Arc::new(Self {
            manager,
            settings,
            watchman,
            shelves: Mutex::default(),
            upstreams: Mutex::default(),
            generation: AtomicU64::new(0),
        })
    }

    /// Another one whenever directories were thrown away.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// The directory of an endpoint for a kind of client. Where there are too many, the one that nobody has asked for
    /// the longest makes room.
    pub(crate) fn shelf(self: &Arc<Self>, scope: &Scope, kind: &Kind) -> Arc<Shelf> {
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shelf) = shelves.get(&(scope.clone(), kind.clone())) {
            shelf.touch();
            return shelf.clone();
        }
        let shelf = Arc::new_cyclic(|me| Shelf {
            scope: scope.clone(),
            kind: kind.clone(),
            manager: self.manager.clone(),
            settings: self.settings.clone(),
            watchman: self.watchman.clone(),
            library: Arc::downgrade(self),
            directory: ArcSwap::default(),
            upstreams: Mutex::default(),
            readers: Mutex::default(),
            changed: Arc::new(Notify::new()),
            used: AtomicU64::new(0),
            born: Instant::now(),
            settled: AtomicBool::new(false),
            task: OnceLock::new(),
            me: me.clone(),
        });
        let retired = if shelves.len() < MAX_SHELVES { None } else { self.longest_unused(&mut shelves) };
        shelves.insert((scope.clone(), kind.clone()), shelf.clone());
        drop(shelves);
        if let Some(retired) = retired {
            retired.retire();
        }
        shelf.rebuild();
        let task = tokio::spawn(keep(
            Arc::downgrade(&shelf),
            shelf.changed.clone(),
            self.manager.clone(),
            self.watchman.watch(),
        ));
        // It is the only one: the shelf was just made.
        let _ = shelf.task.set(task.abort_handle());
        shelf
    }

    /// Takes out the directory that nobody has asked for the longest.
    fn longest_unused(&self, shelves: &mut Shelves) -> Option<Arc<Shelf>> {
        let unused = shelves.iter().filter(|(_, shelf)| !shelf.kind.is_plain());
        let unused = unused.filter_map(|(key, shelf)| Some((shelf.unused_for()?, key)));
        let key = unused.max_by_key(|(time, _)| *time)?.1.clone();
        self.generation.fetch_add(1, Ordering::Relaxed);
        shelves.remove(&key)
    }

    /// One server as a kind of client sees it.
    fn upstream(&self, server: &ServerKey, kind: &Kind) -> Arc<Upstream> {
        let mut upstreams = self.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        upstreams.retain(|_, known| known.strong_count() > 0);
        self.upstream_in(&mut upstreams, server, kind)
    }

    fn upstream_in(&self, upstreams: &mut Upstreams, server: &ServerKey, kind: &Kind) -> Arc<Upstream> {
        let key = (server.clone(), kind.clone());
        if let Some(upstream) = upstreams.get(&key).and_then(Weak::upgrade) {
            return upstream;
        }
        let before = (!kind.is_plain()).then(|| self.upstream_in(upstreams, server, &Kind::plain()));
        let (party, watchman) = (Arc::new(kind.clone()), Some(self.watchman.clone()));
        let upstream = Upstream::start(&self.manager, server.clone(), party, watchman, before);
        upstreams.insert(key, Arc::downgrade(&upstream));
        upstream
    }

    /// Makes all directories anew, after a change of the settings.
    pub(crate) fn renew(&self) {
        for shelf in self.all() {
            shelf.changed.notify_one();
        }
    }

    /// Has the lists of a server, or of all, read again.
    pub(crate) fn look_again(&self, server: Option<&str>) {
        let upstreams = self.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = |key: &ServerKey| server.is_none_or(|name| key.name.as_str() == name);
        for (_, upstream) in upstreams.iter().filter(|((key, _), _)| wanted(key)) {
            if let Some(upstream) = upstream.upgrade() {
                upstream.look_again();
            }
        }
    }

    fn all(&self) -> Vec<Arc<Shelf>> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Forgets directories that nobody has asked for in a while, and ends what was opened for them.
    pub(crate) fn tidy(&self) {
        let idle = self.settings.load().idle;
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        let is_idle = |shelf: &Shelf| !shelf.kind.is_plain() && shelf.unused_for() >= Some(idle);
        let idle: Vec<_> = shelves.extract_if(|_, shelf| is_idle(shelf)).collect();
        if !idle.is_empty() {
            self.generation.fetch_add(1, Ordering::Relaxed);
        }
        drop(shelves);
        for (_, shelf) in idle {
            shelf.retire();
        }
    }
}

/// Makes the directory anew whenever something has changed.
async fn keep(shelf: Weak<Shelf>, changed: Arc<Notify>, manager: Manager, mut turned: watch::Receiver<()>) {
    let mut table = manager.watch_table();
    loop {
        tokio::select! {
            () = changed.notified() => {}
            told = table.changed() => if told.is_err() { return },
            told = turned.changed() => if told.is_err() { return },
        }
        tokio::time::sleep(BURST).await;
        table.mark_unchanged();
        turned.mark_unchanged();
        let Some(this) = shelf.upgrade() else { return };
        this.rebuild();
    }
}
