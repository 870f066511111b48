//! The sessions of all clients over HTTP, in shards, so that clients do not wait for each other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::Endpoint;
use crate::flight::{Refused, Shared, raise};
use crate::peer::Peer;
use crate::service::Principal;

const SHARDS: usize = 64;
/// How often sessions that nobody uses are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// The sessions of a front end.
pub(crate) struct Sessions {
    shards: [Mutex<HashMap<Arc<str>, Session>>; SHARDS],
    count: AtomicUsize,
    sweeping: AtomicBool,
    pub(crate) closing: AtomicBool,
}

struct Session {
    endpoint: Arc<str>,
    peer: Arc<Peer>,
}

/// A place for a session that is about to be opened; dropping it gives the place back.
pub(crate) struct Place(Option<Arc<Sessions>>);

impl Sessions {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            count: AtomicUsize::new(0),
            sweeping: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Room for one more.
    pub(crate) fn place(self: &Arc<Self>, shared: &Shared) -> Result<Place, Refused> {
        if self.closing.load(Ordering::Relaxed) {
            return Err(Refused::ShuttingDown);
        }
        if !raise(&self.count, shared.limits.sessions) {
            shared.counters.refused.add();
            return Err(Refused::Sessions);
        }
        Ok(Place(Some(Arc::clone(self))))
    }

    /// Whose session it is; one of somebody else, or of another endpoint, is unknown. Counts as use.
    pub(crate) fn find(
        &self,
        id: &str,
        principal: &Principal,
        endpoint: Option<&Endpoint>,
    ) -> Option<Arc<Peer>> {
        let peer = {
            let shard = self.shard(id);
            let session = shard.get(id)?;
            let is_theirs = session.peer.principal == *principal
                && endpoint.is_none_or(|endpoint| endpoint.key == session.endpoint);
            is_theirs.then(|| Arc::clone(&session.peer))?
        };
        if !peer.visit() {
            peer.shared.counters.sessions_expired.add();
            self.end(id);
            return None;
        }
        Some(peer)
    }

    /// Ends a session; whether there was one.
    pub(crate) fn end(&self, id: &str) -> bool {
        let session = self.shard(id).remove(id);
        let Some(session) = session else { return false };
        self.count.fetch_sub(1, Ordering::Relaxed);
        session.peer.end();
        true
    }

    /// The server goes away.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        for shard in &self.shards {
            let peers: Vec<_> = lock(shard).values().map(|session| Arc::clone(&session.peer)).collect();
            peers.iter().for_each(|peer| peer.close());
        }
    }

    fn shard(&self, id: &str) -> MutexGuard<'_, HashMap<Arc<str>, Session>> {
        // Ids of ours end in random hexadecimal digits; what a client makes up may go anywhere.
        let sum = id.bytes().rev().take(4).fold(0, |sum, byte| sum * 31 + usize::from(byte));
        lock(&self.shards[sum % SHARDS])
    }

    fn end_expired(&self, now: Instant) {
        for shard in &self.shards {
            let expired: Vec<_> = lock(shard).extract_if(|_, session| session.peer.is_expired(now)).collect();
            for (_, session) in expired {
                self.count.fetch_sub(1, Ordering::Relaxed);
                session.peer.shared.counters.sessions_expired.add();
                session.peer.end();
            }
        }
    }

    fn start_sweeping(self: &Arc<Self>) {
        if !self.sweeping.swap(true, Ordering::AcqRel) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }
}

impl Place {
    /// Makes the session known under an id of 244 random bits.
    pub(crate) fn take(mut self, endpoint: &Endpoint, peer: Arc<Peer>) -> Arc<str> {
        let id: Arc<str> = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()).into();
        peer.shared.counters.sessions_opened.add();
        if let Some(sessions) = self.0.take() {
            let session = Session { endpoint: Arc::clone(&endpoint.key), peer };
            let peer = Arc::clone(&session.peer);
            sessions.shard(&id).insert(Arc::clone(&id), session);
            if sessions.closing.load(Ordering::Relaxed) {
                peer.close(); // whoever closes the others may not have seen it
            }
            sessions.start_sweeping();
        }
        id
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(sessions) = &self.0 {
            sessions.count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Runs while there are sessions.
async fn sweep(sessions: Weak<Sessions>) {
    loop {
        sleep(SWEEP).await;
        let Some(sessions) = sessions.upgrade() else { return };
        sessions.end_expired(Instant::now());
        if sessions.count() == 0 {
            sessions.sweeping.store(false, Ordering::Release);
            // One that was opened just now relied on this task.
            if sessions.count() == 0 || sessions.sweeping.swap(true, Ordering::AcqRel) {
                return;
            }
        }
    }
}

fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::limits::FrontLimits;
    use crate::peer::tests::peer;
    use crate::service::TransportShape;
    use crate::store::COMMON;

    #[tokio::test]
    async fn a_stream_that_opens_while_the_server_goes_away_ends() {
        let sessions = Sessions::new();
        let peer = peer(TransportShape::Sse);
        let place = sessions.place(&Shared::new(FrontLimits::default())).unwrap();
        let mut said = peer.attach(COMMON, None).unwrap();
        sessions.close();
        let endpoint = Endpoint { key: "".into(), service: Arc::clone(&peer.service) };
        place.take(&endpoint, peer);
        assert!(said.next().now_or_never().is_some_and(|next| next.is_none()));
    }
}
