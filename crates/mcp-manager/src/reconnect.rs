//! Connections an operator ends or wants anew, and the ones that come back by themselves. Source: contract
//! §1.5, §2.6.

use std::sync::Arc;

use futures::FutureExt;
use mcp_registry::ServerRecord;

use crate::handshake::{Cause, Need, Unready};
use crate::link::Link;
use crate::manager::{Inner, Manager, UnknownServer};

impl Manager {
    /// Closes a server's connections at once: calls on them fail, which is held against nobody. The next use
    /// or check of the server connects it again; to keep it away, disable or remove it.
    ///
    /// # Errors
    /// [`UnknownServer`].
    pub async fn disconnect(&self, name: &str) -> Result<Arc<ServerRecord>, UnknownServer> {
        let link = self.link(name)?;
        let sessions = self.0.disconnect(&link);
        futures::future::join_all(sessions.iter().map(|session| session.cut())).await;
        self.server(name)
    }

    /// Closes a server's connections at once and connects anew, up to `policy.connect_attempts` times with
    /// growing waits in between. If all fail the server is unavailable, and background reconnections go on
    /// while the monitor runs.
    ///
    /// # Errors
    /// [`UnknownServer`].
    pub async fn reconnect(&self, name: &str) -> Result<Arc<ServerRecord>, UnknownServer> {
        let link = self.link(name)?;
        let work = || {
            let (inner, link) = (self.0.clone(), link.clone());
            async move { inner.reconnect(&link).await }
        };
        // It goes on if the caller leaves; whoever comes meanwhile waits for the same end. It cannot fail but
        // with the runtime.
        let _ = link.reconnections.run(work).await;
        self.server(name)
    }
}

impl Inner {
    async fn reconnect(self: &Arc<Self>, link: &Arc<Link>) {
        let sessions = self.record(|registry, now| {
            registry.reconnecting(now, &link.key);
            link.take()
        });
        futures::future::join_all(sessions.iter().map(|session| session.cut())).await;
        self.connect_patiently(link).await;
    }

    /// Attempts to connect with growing waits; only how it ends is a check result.
    async fn connect_patiently(self: &Arc<Self>, link: &Arc<Link>) {
        let (key, policy) = (&link.key, &self.policy);
        for attempt in 1.. {
            let Err(Unready { failure, .. }) = self.ready(link, Need::Any, Cause::Attempt).await else {
                self.record(|registry, now| registry.record_success(now, key, None));
                return;
            };
            let unit = self.random.unit();
            if attempt >= policy.connect_attempts {
                self.record(|registry, now| registry.connect_exhausted(now, key, failure, attempt, unit));
                return;
            }
            self.record(|registry, _| registry.attempt_failed(key));
            let wait = policy.connect_wait(attempt, unit);
            tracing::warn!(server = %key.name, attempt, ?wait, error = %failure.text, "connecting again");
            futures::select_biased! {
                () = self.timer.sleep_until(self.now() + wait).fuse() => {}
                () = self.closing.cancelled().fuse() => return,
            }
            if link.is_retired() {
                return;
            }
        }
    }

    /// One background reconnection; if it fails the next one is planned.
    pub(crate) async fn reconnect_in_background(self: &Arc<Self>, link: &Arc<Link>) {
        if self.ready(link, Need::Any, Cause::Itself).await.is_err() {
            self.reconnect_later(link);
        }
    }

    /// Plans the next background reconnection.
    pub(crate) fn reconnect_later(&self, link: &Link) {
        let unit = self.random.unit();
        self.record(|registry, now| registry.reconnect_failed(now, &link.key, unit));
    }
}
