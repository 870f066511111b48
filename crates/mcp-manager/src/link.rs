//! The live side of one registration: its session, if there is one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, ArcSwapOption};

use mcp_client::RateLimit;
use mcp_registry::{Definition, ServerKey, StartLimit, ToolHints};

use crate::flight::Flight;
use crate::handshake::{Outcome, Unready};
use crate::outcomes::Outcomes;
use crate::session::Session;
use crate::slot::Slot;
use crate::user::Seats;

/// Facts of a transport for operators, such as its `pid`.
pub(crate) type Details = Vec<(&'static str, String)>;

/// Everything that lives as long as one registration. A re-registration gets a new link.
pub(crate) struct Link {
    pub(crate) key: ServerKey,
    /// Changes in what does not concern the server.
    definition: ArcSwap<Definition>,
    /// Handshakes of this server: one at a time, shared by all who wait for it.
    pub(crate) handshakes: Flight<Result<Outcome, Unready>>,
    /// Reconnections an operator asked for.
    pub(crate) reconnections: Flight<()>,
    /// Lists of its tools that are being read.
    pub(crate) listings: Flight<()>,
    /// What its tools said of themselves in the last list; outlives the registration for calls under way.
    pub(crate) hints: ArcSwapOption<BTreeMap<Box<str>, ToolHints>>,
    /// How the latest calls and probes ended.
    pub(crate) outcomes: Outcomes,
    /// Starts of its process, if it is one.
    pub(crate) starts: Mutex<StartLimit>,
    /// Spaces out what is sent to it, on whatever session.
    pub(crate) rate_limit: Option<RateLimit>,
    /// Sessions of users who have one of their own.
    pub(crate) seats: Seats,
    session: Slot<Session>,
    /// What the connection before told of itself, if it broke.
    past: ArcSwapOption<Details>,
    checking: AtomicBool,
    no_health_path: AtomicBool,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("key", &self.key).finish_non_exhaustive()
    }
}

/// A manager that goes away without a shutdown still closes its sessions.
impl Drop for Link {
    fn drop(&mut self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            for session in self.retire() {
                runtime.spawn(async move { session.client().close().await });
            }
        }
    }
}

impl Link {
    pub(crate) fn new(key: ServerKey, definition: Arc<Definition>) -> Self {
        let rate_limit =
            definition.rate_limit.map(|limit| RateLimit::new(limit.requests, limit.per, limit.burst));
        Self {
            key,
            definition: ArcSwap::new(definition),
            rate_limit,
            handshakes: Flight::new(),
            reconnections: Flight::new(),
            listings: Flight::new(),
            hints: ArcSwapOption::empty(),
            outcomes: Outcomes::default(),
            starts: Mutex::default(),
            seats: Seats::default(),
            session: Slot::new(),
            past: ArcSwapOption::empty(),
            checking: AtomicBool::new(false),
            no_health_path: AtomicBool::new(false),
        }
    }

    pub(crate) fn definition(&self) -> Arc<Definition> {
        self.definition.load_full()
    }

    /// Goes on with another definition, which differs in nothing that concerns the server.
    pub(crate) fn redefine(&self, definition: Arc<Definition>) {
        self.definition.store(definition);
    }

    /// The session, if one is open.
    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        self.session.get().filter(|session| !session.client().is_closed())
    }

    /// Puts a new session in place. Returns the one to end: the old one, or the new one itself if the
    /// registration ended meanwhile.
    #[must_use]
    pub(crate) fn install(&self, session: Arc<Session>) -> Option<Arc<Session>> {
        self.session.install(session)
    }

    /// Takes all sessions away, those of users included, by intent.
    #[must_use]
    pub(crate) fn take(&self) -> Vec<Arc<Session>> {
        self.past.store(None);
        self.session.take().into_iter().chain(self.seats.clear()).collect()
    }

    /// Takes the session away if it is still this one; says whether it was. What it told of itself is kept.
    pub(crate) fn take_if(&self, session: &Arc<Session>) -> bool {
        let taken = self.session.take_if(session);
        if taken {
            self.remember(session.client().details());
        }
        taken
    }

    /// Keeps what a connection that is over told of itself, until the next one.
    pub(crate) fn remember(&self, details: Details) {
        self.past.store(Some(Arc::new(details)));
    }

    /// What the connection told of itself that was there last and broke, or could not be made.
    pub(crate) fn past(&self) -> Option<Arc<Details>> {
        self.past.load_full()
    }

    /// Whether this is the session in place, and open.
    pub(crate) fn holds(&self, session: &Arc<Session>) -> bool {
        self.session().is_some_and(|held| Arc::ptr_eq(&held, session))
    }

    /// Ends the registration: no session will be installed any more.
    #[must_use]
    pub(crate) fn retire(&self) -> Vec<Arc<Session>> {
        self.session.retire().into_iter().chain(self.seats.retire()).collect()
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.session.is_retired()
    }

    /// Begins background work on the server; `None` while other such work is under way.
    pub(crate) fn begin_check(self: &Arc<Self>) -> Option<Checking> {
        let free = !self.checking.swap(true, Ordering::SeqCst);
        free.then(|| Checking(self.clone()))
    }

    /// Whether the plain health path was found not to exist.
    pub(crate) fn lacks_health_path(&self) -> bool {
        self.no_health_path.load(Ordering::Relaxed)
    }

    pub(crate) fn remember_no_health_path(&self) {
        self.no_health_path.store(true, Ordering::Relaxed);
    }
}

/// Background work on a server under way.
pub(crate) struct Checking(Arc<Link>);

impl Drop for Checking {
    fn drop(&mut self) {
        self.0.checking.store(false, Ordering::SeqCst);
    }
}
