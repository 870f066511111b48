//! The bridge: all its endpoints, and what they share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use mcp_manager::Manager;
use mcp_protocol::RawJson;
use mcp_server::Service;
use tokio_util::sync::CancellationToken;

use crate::endpoint::Endpoint;
use crate::guard::Guard;
use crate::held::Parking;
use crate::library::Library;
use crate::party::Kind;
use crate::seal::{NoRandomness, Sealer};
use crate::settings::{Scope, Settings};
use crate::tasks::{Hosts, Jobs};
use crate::watchman::{ToolStore, Watchman};

/// How often directories are looked at that nobody may need any more.
const TIDY: Duration = Duration::from_secs(60);

/// What clients of a gateway talk to. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Bridge(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) manager: Manager,
    settings: Arc<ArcSwap<Settings>>,
    pub(crate) library: Arc<Library>,
    pub(crate) watchman: Arc<Watchman>,
    pub(crate) sealer: Sealer,
    pub(crate) parking: Arc<Parking>,
    pub(crate) hosts: Arc<Hosts>,
    pub(crate) jobs: Arc<Jobs>,
    /// `serverInfo` of the gateway.
    pub(crate) server_info: RawJson,
    /// The end is near: subscriptions are concluded.
    pub(crate) closing: CancellationToken,
    owners: AtomicU64,
}

impl Bridge {
    /// A bridge to the servers of a manager. `server_info` is what it calls itself, an `Implementation` object.
    ///
    /// # Errors
    /// [`NoRandomness`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(manager: Manager, settings: Settings, server_info: RawJson) -> Result<Self, NoRandomness> {
        Self::remembering(manager, settings, server_info, Guard::default(), None)
    }

    /// The same, with what is remembered of the tools of servers, and where that is kept from now on.
    ///
    /// # Errors
    /// [`NoRandomness`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn remembering(
        manager: Manager,
        settings: Settings,
        server_info: RawJson,
        guard: Guard,
        store: Option<Arc<dyn ToolStore>>,
    ) -> Result<Self, NoRandomness> {
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        let watchman = Watchman::start(manager.clone(), guard, store);
        let library = Library::new(manager.clone(), settings.clone(), watchman.clone());
        let inner = Arc::new(Inner {
            manager,
            settings,
            library,
            watchman,
            sealer: Sealer::new()?,
            parking: Parking::new(),
            hosts: Arc::default(),
            jobs: Arc::default(),
            server_info,
            closing: CancellationToken::new(),
            owners: AtomicU64::new(1),
        });
        // Known before the first client asks.
        inner.library.shelf(&Scope::All, &Kind::plain());
        tokio::spawn(tidy(Arc::downgrade(&inner)));
        Ok(Self(inner))
    }

    /// Whether there is such a view, server or group.
    #[must_use]
    pub fn has(&self, scope: &Scope) -> bool {
        match scope {
            Scope::All => true,
            Scope::View(name) => self.0.settings().views.iter().any(|view| view.name == **name),
            Scope::One(name) => {
                let table = self.0.manager.table();
                let mut groups = table.servers().iter().filter_map(|record| record.definition.group.as_ref());
                table.get(name).is_some() || groups.any(|group| group.as_str() == &**name)
            }
        }
    }

    /// The service behind an endpoint; `None` if there is no such view, server or group.
    #[must_use]
    pub fn endpoint(&self, scope: &Scope) -> Option<Arc<dyn Service>> {
        self.has(scope).then(|| Arc::new(Endpoint::new(self.0.clone(), scope.clone())) as Arc<dyn Service>)
    }

    /// Takes over other settings: lists are put together anew.
    pub fn set(&self, settings: Settings) {
        self.0.settings.store(Arc::new(settings));
        self.0.library.renew();
    }

    /// Has the lists of a server, or of all, read again, although it has told of no change: what is different is then
    /// told to clients, and tools that are defined in another way are noticed.
    pub fn look_again(&self, server: Option<&str>) {
        self.0.library.look_again(server);
    }

    /// How many calls are held for clients that have been asked something.
    #[must_use]
    pub fn held_calls(&self) -> usize {
        self.0.parking.len()
    }

    /// Concludes subscriptions and gives up held calls and tasks; no new ones are taken.
    pub fn close(&self) {
        self.0.closing.cancel();
        self.0.parking.close();
        self.0.jobs.close();
    }
}

impl std::fmt::Debug for Bridge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bridge").finish_non_exhaustive()
    }
}

impl Inner {
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// A number that nobody can guess.
    pub(crate) fn new_handle(&self) -> u128 {
        uuid::Uuid::new_v4().as_u128()
    }

    /// A number that no other client has.
    pub(crate) fn new_owner(&self) -> u64 {
        self.owners.fetch_add(1, Ordering::Relaxed)
    }
}

async fn tidy(inner: Weak<Inner>) {
    loop {
        tokio::time::sleep(TIDY).await;
        let Some(inner) = inner.upgrade() else { return };
        inner.library.tidy();
        inner.manager.release_idle(TIDY, inner.settings().idle);
    }
}
