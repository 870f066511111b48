//! The orderly end. Source: contract §7.7.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use mcp_registry::ServerName;

use crate::flight::Flight;
use crate::manager::{Inner, Manager};

/// How the end went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Calls that were still running when their time was up.
    pub calls_cut: usize,
    /// Connections that were closed.
    pub connections_closed: usize,
    /// Servers whose connection did not end in order, in name order.
    pub unclean: Vec<Unclean>,
    /// Why what is registered could not be saved at the end; `None` if it was, or was not to be.
    pub not_saved: Option<String>,
}

impl ShutdownReport {
    /// Whether everything ended in order.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.calls_cut == 0 && self.unclean.is_empty() && self.not_saved.is_none()
    }
}

/// A connection that did not end in order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unclean {
    /// Whose.
    pub server: ServerName,
    /// What was the matter: a process that had to be killed, or that closing took too long.
    pub what: String,
}

/// What the end of a manager needs to know.
#[derive(Debug)]
pub(crate) struct Ending {
    /// The end itself: whoever asks for it meanwhile waits for the same one.
    flight: Flight<ShutdownReport>,
    report: OnceLock<ShutdownReport>,
    /// Connections that did not end in order since the end began.
    unclean: Arc<Mutex<Vec<Unclean>>>,
}

impl Ending {
    pub(crate) fn new() -> Self {
        Self { flight: Flight::new(), report: OnceLock::new(), unclean: Arc::default() }
    }

    pub(crate) fn unclean(&self) -> Arc<Mutex<Vec<Unclean>>> {
        self.unclean.clone()
    }
}

/// Time a handshake under way gets to end by itself once the calls are cut; then it is given up.
pub(crate) const HANDSHAKE_GIVEN_UP: Duration = Duration::from_secs(1);

impl Manager {
    /// Whether the manager still accepts calls.
    #[must_use]
    pub fn is_accepting(&self) -> bool {
        !self.0.closing.is_cancelled()
    }

    /// Refuses new calls, waits up to `grace` for those under way, then closes every connection, all at
    /// once, and waits until they are closed. What is registered is saved, if there is a store, and its secrets
    /// are dropped.
    ///
    /// Whoever calls it again waits for the same end and gets the same report; one with less patience cuts the
    /// waiting of the others short. The end goes on if the one who asked for it leaves.
    pub async fn shutdown(&self, grace: Duration) -> ShutdownReport {
        let inner = &self.0;
        inner.closing.cancel();
        inner.calls.close();
        tokio::select! {
            biased;
            () = inner.calls.wait() => {}
            () = tokio::time::sleep(grace) => {}
            () = inner.cut.cancelled() => {}
        }
        let work = || {
            let inner = inner.clone();
            async move {
                if let Some(report) = inner.ending.report.get() {
                    return report.clone();
                }
                let report = inner.end().await;
                inner.ending.report.get_or_init(|| report).clone()
            }
        };
        let unexpected = || ShutdownReport {
            calls_cut: 0,
            connections_closed: 0,
            unclean: Vec::new(),
            not_saved: Some("the end itself ended unexpectedly".into()),
        };
        inner.ending.flight.run(work).await.unwrap_or_else(unexpected)
    }
}

impl Inner {
    /// The end, once the calls have had their time.
    async fn end(&self) -> ShutdownReport {
        let calls_cut = self.calls.len();
        self.cut.cancel();
        let links: Vec<_> = self.snapshot().links().to_vec();
        let open: Vec<_> = links.iter().flat_map(|link| link.retire()).collect();
        let connections_closed = open.len();
        for session in open {
            self.end_session(session);
        }
        // Handshakes under way are counted as well: they notice the end and close what they opened.
        self.endings.close();
        self.endings.wait().await;
        let not_saved = self.save().await.err().map(|error| error.to_string());
        self.drop_secrets();
        let mut unclean = self.ending.unclean.lock().unwrap_or_else(PoisonError::into_inner).clone();
        unclean.sort();
        ShutdownReport { calls_cut, connections_closed, unclean, not_saved }
    }
}
