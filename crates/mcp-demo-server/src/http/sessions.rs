//! The sessions of the handshake era over HTTP.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use crate::core::PeerId;

/// Most sessions at once. A new one beyond that is refused.
const MOST: usize = 1000;
/// A session that is not used for this long is forgotten.
const IDLE: Duration = Duration::from_secs(30 * 60);

/// Which session id stands for which client.
#[derive(Debug, Default)]
pub(crate) struct Sessions(HashMap<String, Entry>);

#[derive(Debug)]
struct Entry {
    peer: PeerId,
    used: Duration,
}

/// There are as many sessions as allowed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Sessions {
    /// A new session with an id of 244 random bits.
    pub(crate) fn open(&mut self, now: Duration, peer: PeerId) -> Result<String, Full> {
        if self.0.len() >= MOST {
            return Err(Full);
        }
        let id = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        self.0.insert(id.clone(), Entry { peer, used: now });
        Ok(id)
    }

    /// The client behind a session id, which counts as use.
    pub(crate) fn find(&mut self, now: Duration, id: &str) -> Option<PeerId> {
        let entry = self.0.get_mut(id)?;
        entry.used = now;
        Some(entry.peer)
    }

    /// Ends a session.
    pub(crate) fn close(&mut self, id: &str) -> Option<PeerId> {
        self.0.remove(id).map(|entry| entry.peer)
    }

    /// Ends the sessions that were idle for too long and are not `busy`; says whose they were.
    pub(crate) fn expire(&mut self, now: Duration, busy: impl Fn(PeerId) -> bool) -> Vec<PeerId> {
        let gone = self.0.extract_if(|_, entry| now.saturating_sub(entry.used) >= IDLE && !busy(entry.peer));
        gone.map(|(_, entry)| entry.peer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DemoOptions, DemoServer};

    #[test]
    fn sessions_are_bounded_and_expire_when_idle() {
        let peer = DemoServer::new(DemoOptions::default()).open_peer();
        let mut sessions = Sessions::default();
        let ids: Vec<_> = (0..MOST).map(|_| sessions.open(Duration::ZERO, peer).unwrap()).collect();
        assert_eq!(sessions.open(Duration::ZERO, peer), Err(Full));
        assert!(ids.iter().all(|id| id.len() == 64));
        assert_eq!(sessions.close(&ids[0]), Some(peer));
        assert_eq!(sessions.find(Duration::ZERO, &ids[0]), None);

        assert_eq!(sessions.find(IDLE / 2, &ids[1]), Some(peer));
        assert_eq!(sessions.expire(IDLE, |_| true), []);
        assert_eq!(sessions.expire(IDLE, |_| false).len(), MOST - 2);
        assert_eq!(sessions.find(IDLE, &ids[1]), Some(peer));
        assert_eq!(sessions.find(IDLE, &ids[2]), None);
    }
}
