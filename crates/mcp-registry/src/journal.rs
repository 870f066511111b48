//! The bounded memory of events.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::category::Failure;
use crate::clock::Timestamp;
use crate::event::{
    ConnectionEvent, ConnectionFilter, CorrelationId, InvocationEvent, InvocationFilter, Phase,
    RegistryChange, RegistryEvent, RegistryFilter,
};
use crate::name::ServerName;
use crate::policy::Policy;
use mcp_protocol::Method;

/// The newest events of each stream. Writers on different threads do not wait for one another.
///
/// Architecture invariant: `seq` is one counter over all streams, so they can be interleaved; within one
/// invocation it grows in the order of the program (contract §5.4).
#[derive(Debug)]
pub struct Journal {
    next_seq: AtomicU64,
    connections: Ring<ConnectionEvent>,
    invocations: Ring<InvocationEvent>,
    registry: Ring<RegistryEvent>,
}

impl Journal {
    /// An empty journal with the sizes of the policy (at least 1 each).
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        Self {
            next_seq: AtomicU64::new(1),
            connections: Ring::new(policy.max_connection_events),
            invocations: Ring::new(policy.max_invocation_events),
            registry: Ring::new(policy.max_registry_events),
        }
    }

    fn seq(&self) -> u64 {
        self.next_seq.fetch_add(1, Ordering::Relaxed)
    }

    /// Appends a status change; its `seq` is set here.
    pub(crate) fn connection(&self, event: ConnectionEvent) {
        self.connections.push(ConnectionEvent { seq: self.seq(), ..event });
    }

    /// Appends a registry event.
    pub(crate) fn registry(&self, timestamp: Timestamp, server: ServerName, change: RegistryChange) {
        self.registry.push(RegistryEvent { seq: self.seq(), timestamp, server, change });
    }

    /// Appends a step of an invocation.
    pub fn invocation(
        &self,
        timestamp: Timestamp,
        server: &ServerName,
        method: &Method,
        request_id: &CorrelationId,
        phase: Phase,
        failure: Option<Failure>,
    ) {
        self.invocations.push(InvocationEvent {
            seq: self.seq(),
            timestamp,
            server: server.clone(),
            method: method.clone(),
            request_id: request_id.clone(),
            phase,
            failure,
        });
    }

    /// Retained status changes that match, oldest first.
    #[must_use]
    pub fn connection_events(&self, filter: &ConnectionFilter<'_>) -> Vec<ConnectionEvent> {
        self.connections.select(|event| filter.matches(event), |event| event.seq, filter.limit)
    }

    /// Retained invocation steps that match, oldest first.
    #[must_use]
    pub fn invocation_events(&self, filter: &InvocationFilter<'_>) -> Vec<InvocationEvent> {
        self.invocations.select(|event| filter.matches(event), |event| event.seq, filter.limit)
    }

    /// Retained registry events that match, oldest first.
    #[must_use]
    pub fn registry_events(&self, filter: &RegistryFilter<'_>) -> Vec<RegistryEvent> {
        self.registry.select(|event| filter.matches(event), |event| event.seq, filter.limit)
    }
}

/// A ring of slots with a lock each. A writer draws a ticket and writes into the slot it names, so two
/// writers meet only when one laps the other.
#[derive(Debug)]
struct Ring<T> {
    slots: Box<[Slot<T>]>,
    next: AtomicU64,
}

/// A ticket and what was written with it.
type Slot<T> = Mutex<Option<(u64, T)>>;

impl<T: Clone> Ring<T> {
    fn new(capacity: usize) -> Self {
        Self { slots: (0..capacity.max(1)).map(|_| Mutex::new(None)).collect(), next: AtomicU64::new(0) }
    }

    fn push(&self, item: T) {
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        let at = usize::try_from(ticket % self.slots.len() as u64).unwrap_or(0);
        let mut slot = self.slots[at].lock().unwrap_or_else(PoisonError::into_inner);
        // A writer that slept a whole round must not replace what is newer.
        if slot.as_ref().is_none_or(|(held, _)| *held < ticket) {
            *slot = Some((ticket, item));
        }
    }

    fn select(&self, matches: impl Fn(&T) -> bool, seq: impl Fn(&T) -> u64, limit: Option<usize>) -> Vec<T> {
        if limit == Some(0) {
            return Vec::new();
        }
        let mut found: Vec<T> = self
            .slots
            .iter()
            .filter_map(|slot| {
                let slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
                slot.as_ref().filter(|(_, item)| matches(item)).map(|(_, item)| item.clone())
            })
            .collect();
        found.sort_unstable_by_key(|item| seq(item));
        if let Some(limit) = limit {
            found.drain(..found.len().saturating_sub(limit));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn journal(capacity: usize) -> Journal {
        Journal::new(&Policy { max_invocation_events: capacity, ..Policy::default() })
    }

    fn step(journal: &Journal, server: &str, id: &str, phase: Phase) {
        let (server, id) = (server.parse().unwrap(), Arc::from(id));
        journal.invocation(Timestamp::from_micros(0), &server, &Method::ToolsCall, &id, phase, None);
    }

    #[test]
    fn the_ring_keeps_the_newest_in_order() {
        for (capacity, kept) in [(0, 1), (1, 1), (3, 3), (10, 7)] {
            let journal = journal(capacity);
            for n in 0..7 {
                step(&journal, "a", &n.to_string(), Phase::InvokeStart);
            }
            let ids: Vec<_> = journal
                .invocation_events(&InvocationFilter::default())
                .into_iter()
                .map(|event| event.request_id.to_string())
                .collect();
            let expected: Vec<_> = (7 - kept..7).map(|n: usize| n.to_string()).collect();
            assert_eq!(ids, expected, "capacity {capacity}");
        }
    }

    #[test]
    fn filters_are_anded_and_the_limit_keeps_the_newest() {
        let journal = journal(100);
        for (server, id) in [("a", "1"), ("b", "1"), ("a", "2"), ("a", "1")] {
            step(&journal, server, id, Phase::InvokeStart);
        }
        let count = |filter: InvocationFilter<'_>| journal.invocation_events(&filter).len();
        assert_eq!(count(InvocationFilter { server: Some("a"), ..Default::default() }), 3);
        assert_eq!(
            count(InvocationFilter { server: Some("a"), request_id: Some("1"), ..Default::default() }),
            2
        );
        assert_eq!(count(InvocationFilter { method: Some("resources/read"), ..Default::default() }), 0);
        assert_eq!(count(InvocationFilter { limit: Some(0), ..Default::default() }), 0);
        let newest = journal.invocation_events(&InvocationFilter { limit: Some(2), ..Default::default() });
        assert_eq!(newest.iter().map(|event| event.seq).collect::<Vec<_>>(), [3, 4]);
    }

    #[test]
    fn concurrent_writers_lose_nothing_within_capacity() {
        let journal = journal(4000);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let journal = &journal;
                scope.spawn(move || {
                    for _ in 0..1000 {
                        step(journal, "a", &thread.to_string(), Phase::InvokeStart);
                    }
                });
            }
        });
        let events = journal.invocation_events(&InvocationFilter::default());
        assert_eq!(events.len(), 4000);
        assert!(events.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    }
}
