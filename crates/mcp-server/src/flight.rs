//! How many calls are under way, counted where no lock is common to all of them.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mcp_protocol::{ErrorCode, RpcError};

use crate::limits::FrontLimits;
use crate::service::Principal;
use crate::stats::Counters;

const SHARDS: usize = 16;
/// Principals in one shard before those without a call are looked for and forgotten.
const CROWD: usize = 256;

/// What all clients of a front end share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) limits: FrontLimits,
    pub(crate) counters: Counters,
    in_flight: AtomicUsize,
    principals: [Mutex<HashMap<Principal, Arc<AtomicUsize>>>; SHARDS],
    hasher: RandomState,
}

/// Permission for one call; dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Flight {
    shared: Arc<Shared>,
    principal: Option<Arc<AtomicUsize>>,
}

/// Why a call or a session is not taken on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Session,
    Principal,
    Overall,
    Sessions,
    ShuttingDown,
    Ended,
    Unread,
}

impl Refused {
    /// The error to answer with. No revision defines a code for this.
    pub(crate) fn to_error(self) -> RpcError {
        RpcError::new(
            ErrorCode::INTERNAL_ERROR,
            match self {
                Self::Session => "too many calls in flight in this session, wait for answers",
                Self::Principal => "too many calls in flight for this principal, wait for answers",
                Self::Overall => "the server is busy, try again later",
                Self::Sessions => "too many sessions, try again later",
                Self::ShuttingDown => "the server is shutting down",
                Self::Ended => "the session has ended",
                Self::Unread => "too much waits on the stream of this session, read it first",
            },
        )
    }

    /// Whether it is the client that takes too much.
    pub(crate) fn is_clients_fault(self) -> bool {
        matches!(self, Self::Session | Self::Principal | Self::Unread)
    }
}

impl Shared {
    pub(crate) fn new(limits: FrontLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            counters: Counters::default(),
            in_flight: AtomicUsize::new(0),
            principals: Default::default(),
            hasher: RandomState::new(),
        })
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Permission for one more call.
    pub(crate) fn take_off(self: &Arc<Self>, principal: &Principal) -> Result<Flight, Refused> {
        if !raise(&self.in_flight, self.limits.in_flight) {
            self.counters.refused.add();
            return Err(Refused::Overall);
        }
        let mut flight = Flight { shared: Arc::clone(self), principal: None };
        if !principal.as_str().is_empty() {
            let count = self.calls_of(principal);
            if !raise(&count, self.limits.in_flight_per_principal) {
                self.counters.refused.add();
                return Err(Refused::Principal);
            }
            flight.principal = Some(count);
        }
        Ok(flight)
    }

    fn calls_of(&self, principal: &Principal) -> Arc<AtomicUsize> {
        let shard = self.hasher.hash_one(principal) as usize % SHARDS;
        let mut shard = self.principals[shard].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = shard.get(principal) {
            return Arc::clone(count);
        }
        if shard.len() >= CROWD {
            // A count that is in use is held by a flight as well.
            shard.retain(|_, count| Arc::strong_count(count) > 1);
        }
        Arc::clone(shard.entry(principal.clone()).or_default())
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        if let Some(count) = &self.principal {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Counts one more unless there are `most` already.
pub(crate) fn raise(count: &AtomicUsize, most: usize) -> bool {
    let more = |count| (count < most).then_some(count + 1);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_holds_at_its_edge() {
        let limits = FrontLimits { in_flight: 5, in_flight_per_principal: 2, ..FrontLimits::default() };
        let shared = Shared::new(limits);
        let [a, b, nobody] = [Principal::named("a"), Principal::named("b"), Principal::anonymous()];
        let mut flights = vec![shared.take_off(&a).unwrap(), shared.take_off(&a).unwrap()];
        assert_eq!(shared.take_off(&a).unwrap_err(), Refused::Principal);
        assert_eq!(shared.in_flight(), 2, "a refused call takes no place");
        flights.push(shared.take_off(&b).unwrap());
        flights.extend([shared.take_off(&nobody).unwrap(), shared.take_off(&nobody).unwrap()]);
        assert_eq!(shared.take_off(&b).unwrap_err(), Refused::Overall);
        drop(flights.remove(0));
        flights.push(shared.take_off(&a).unwrap());
        drop(flights);
        assert_eq!(shared.in_flight(), 0);
    }

    #[test]
    fn principals_without_calls_are_forgotten() {
        let shared = Shared::new(FrontLimits::default());
        let kept = shared.take_off(&Principal::named("kept")).unwrap();
        for n in 0..SHARDS * CROWD * 4 {
            drop(shared.take_off(&Principal::named(&n.to_string())).unwrap());
        }
        let known: usize = shared.principals.iter().map(|shard| shard.lock().unwrap().len()).sum();
        assert!(known <= SHARDS * CROWD, "{known}");
        assert_eq!(kept.principal.as_ref().unwrap().load(Ordering::Relaxed), 1);
        assert_eq!(Arc::strong_count(kept.principal.as_ref().unwrap()), 2, "still counted with the others");
    }
}
