//! The live side of one registration: its session, if there is one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use arc_swap::ArcSwapOption;
use mcp_client::Client;
use mcp_registry::{Clock, Definition, Failure, ServerKey, Timestamp};

use crate::flight::Flight;
use crate::handshake::Outcome;

/// Everything that lives as long as one registration. A re-registration gets a new link.
pub(crate) struct Link {
    pub(crate) key: ServerKey,
    pub(crate) definition: Arc<Definition>,
    /// Handshakes of this server: one at a time, shared by all who wait for it.
    pub(crate) handshakes: Flight<Result<Outcome, Failure>>,
    session: ArcSwapOption<Client>,
    retired: AtomicBool,
    no_health_path: AtomicBool,
    last_activity: AtomicI64,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("key", &self.key).finish_non_exhaustive()
    }
}

/// A manager that goes away without a shutdown still closes its sessions.
impl Drop for Link {
    fn drop(&mut self) {
        if let (Some(client), Ok(runtime)) = (self.session.swap(None), tokio::runtime::Handle::try_current())
        {
            runtime.spawn(async move { client.close().await });
        }
    }
}

impl Link {
    pub(crate) fn new(key: ServerKey, definition: Arc<Definition>) -> Self {
        Self {
            key,
            definition,
            handshakes: Flight::new(),
            session: ArcSwapOption::empty(),
            retired: AtomicBool::new(false),
            no_health_path: AtomicBool::new(false),
            last_activity: AtomicI64::new(i64::MIN),
        }
    }

    /// The session, if one is open.
    pub(crate) fn session(&self) -> Option<Arc<Client>> {
        self.session.load_full().filter(|client| !client.is_closed())
    }

    /// Puts a new session in place. Returns the one to close: the old one, or the new one itself if the
    /// registration ended meanwhile.
    #[must_use]
    pub(crate) fn install(&self, client: Arc<Client>) -> Option<Arc<Client>> {
        let old = self.session.swap(Some(client));
        // Checked after the swap: `retire` sets the flag before it takes the session, so one of the two sees the other.
        if self.retired.load(Ordering::SeqCst) {
            return self.session.swap(None);
        }
        old
    }

    /// Takes the session away, whichever it is.
    #[must_use]
    pub(crate) fn take(&self) -> Option<Arc<Client>> {
        self.session.swap(None)
    }

    /// Takes the session away if it is still this one; says whether it was.
    pub(crate) fn take_if(&self, client: &Arc<Client>) -> bool {
        let expected = Some(client.clone());
        let before = self.session.compare_and_swap(&expected, None);
        before.as_ref().is_some_and(|held| Arc::ptr_eq(held, client))
    }

    /// Ends the registration: no session will be installed any more.
    #[must_use]
    pub(crate) fn retire(&self) -> Option<Arc<Client>> {
        self.retired.store(true, Ordering::SeqCst);
        self.take()
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::SeqCst)
    }

    /// Whether the plain health path was found not to exist.
    pub(crate) fn lacks_health_path(&self) -> bool {
        self.no_health_path.load(Ordering::Relaxed)
    }

    pub(crate) fn remember_no_health_path(&self) {
        self.no_health_path.store(true, Ordering::Relaxed);
    }

    /// Notes that a session was opened or used.
    pub(crate) fn touch(&self, clock: &(impl Clock + ?Sized)) {
        self.last_activity.fetch_max(clock.now().as_micros(), Ordering::Relaxed);
    }

    pub(crate) fn last_activity(&self) -> Option<Timestamp> {
        match self.last_activity.load(Ordering::Relaxed) {
            i64::MIN => None,
            micros => Some(Timestamp::from_micros(micros)),
        }
    }

    pub(crate) fn forget_activity(&self) {
        self.last_activity.store(i64::MIN, Ordering::Relaxed);
    }
}
