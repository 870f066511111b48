//! The bounded memory of events.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;

use crate::clock::Timestamp;
use crate::event::{
    ConnectionEvent, ConnectionFilter, Event, InvocationEvent, InvocationFilter, RegistryChange,
    RegistryEvent, RegistryFilter,
};
use crate::name::ServerName;
use crate::policy::Policy;
use crate::story::{Explanation, Story};

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
    stories: Ring<Arc<Story>>,
    observers: Observers,
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
            stories: Ring::new(policy.max_invocation_events),
            observers: Observers::new(),
        }
    }

    fn seq(&self) -> u64 {
        self.next_seq.fetch_add(1, Ordering::Relaxed)
    }

    /// Appends a status change; its `seq` is set here.
    pub(crate) fn connection(&self, event: ConnectionEvent) {
        let event = ConnectionEvent { seq: self.seq(), ..event };
        self.observers.tell(|| Event::Connection(event.clone()));
        self.connections.push(event);
    }

    /// Appends a registry event.
    pub fn registry(&self, timestamp: Timestamp, server: ServerName, change: RegistryChange) {
        let event = RegistryEvent { seq: self.seq(), timestamp, server, change };
        self.observers.tell(|| Event::Registry(event.clone()));
        self.registry.push(event);
    }

    /// Appends a step of an invocation; its `seq` is set here.
    pub fn invocation(&self, event: InvocationEvent) {
        let event = InvocationEvent { seq: self.seq(), ..event };
        self.observers.tell(|| Event::Invocation(event.clone()));
        self.invocations.push(event);
    }

    /// Keeps the story of an invocation that begins.
    pub fn story(&self, story: Arc<Story>) {
        self.stories.push(story);
    }

    /// Everything that is retained of one invocation; `None` if it is unknown or too long ago.
    #[must_use]
    pub fn explain(&self, request_id: &str) -> Option<Explanation> {
        let is_it = |story: &Arc<Story>| &*story.request_id == request_id;
        let story = self.stories.select(is_it, |_| 0, None).pop()?;
        let steps = InvocationFilter { request_id: Some(request_id), ..InvocationFilter::default() };
        let transitions =
            ConnectionFilter { correlation_id: Some(request_id), ..ConnectionFilter::default() };
        Some(Explanation::new(story, self.invocation_events(&steps), self.connection_events(&transitions)))
    }

    /// Subscribes to the events of all streams from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        self.observers.subscribe()
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

/// Events an observer may be behind before it loses the oldest.
const BACKLOG: usize = 1024;

/// Who is told of events.
#[derive(Debug)]
struct Observers {
    sender: broadcast::Sender<Event>,
    /// Asking the channel takes its lock, which the calls of a manager without observers should not meet at.
    count: Arc<AtomicUsize>,
}

impl Observers {
    fn new() -> Self {
        Self { sender: broadcast::Sender::new(BACKLOG), count: Arc::default() }
    }

    fn tell(&self, event: impl FnOnce() -> Event) {
        if self.count.load(Ordering::Relaxed) > 0 {
            // That the last observer has just left is no error.
            let _ = self.sender.send(event());
        }
    }

    fn subscribe(&self) -> Subscription {
        self.count.fetch_add(1, Ordering::Relaxed);
        Subscription { receiver: self.sender.subscribe(), dropped: 0, count: self.count.clone() }
    }
}

/// The events of all streams as they happen, for an observer within the process (contract §5.3).
///
/// A slow observer holds nobody up: it loses the oldest events it has not seen, and learns how many. Events
/// of one invocation come in their order, and so do those of one server; calls on several threads may
/// overtake one another by a little, which `seq` shows.
#[derive(Debug)]
pub struct Subscription {
    receiver: broadcast::Receiver<Event>,
    dropped: u64,
    count: Arc<AtomicUsize>,
}

impl Subscription {
    /// The next event; `None` when the journal is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(lost)) => self.dropped += lost,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// How many events were lost because this observer was too slow.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
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
    use mcp_protocol::Method;

    use super::*;
    use crate::event::Phase;

    fn journal(capacity: usize) -> Journal {
        Journal::new(&Policy { max_invocation_events: capacity, ..Policy::default() })
    }

    fn step(journal: &Journal, server: &str, id: &str, phase: Phase) {
        let (now, server) = (Timestamp::from_micros(0), server.parse().unwrap());
        journal.invocation(InvocationEvent::new(now, server, Method::ToolsCall, id.into(), phase));
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
    #[test]
    fn g8_a_slow_observer_loses_the_oldest_events_and_learns_how_many() {
        let journal = journal(1);
        let mut slow = journal.subscribe();
        for n in 0..BACKLOG + 5 {
            step(&journal, "a", &n.to_string(), Phase::InvokeStart);
        }
        let mut next = || futures::FutureExt::now_or_never(slow.next());
        let Some(Some(Event::Invocation(first))) = next() else { panic!("no event") };
        assert_eq!(&*first.request_id, "5");
        assert_eq!((1..).find(|_| next().is_none()), Some(BACKLOG), "the rest, and then nothing");
        assert_eq!(slow.dropped(), 5);
        drop(journal);
        assert_eq!(futures::FutureExt::now_or_never(slow.next()), Some(None));
    }

    #[test]
    fn an_observer_sees_what_happens_from_its_subscription_on() {
        let journal = journal(10);
        step(&journal, "a", "before", Phase::InvokeStart);
        let mut observer = journal.subscribe();
        step(&journal, "a", "after", Phase::InvokeStart);
        let Some(Some(Event::Invocation(event))) = futures::FutureExt::now_or_never(observer.next()) else {
            panic!("no event")
        };
        assert_eq!((&*event.request_id, event.seq), ("after", 2));
        drop(observer);
        assert_eq!(journal.observers.count.load(Ordering::Relaxed), 0);
    }
}
