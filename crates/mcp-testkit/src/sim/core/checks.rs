//! The comparisons after each step.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use mcp_registry::{
    Candidates, ConnectionEvent, ConnectionFilter, ConnectionState, Gate, HealthView, InvocationEvent,
    InvocationFilter, Policy, RegistryChange, RegistryEvent, RegistryFilter, Selection, ServerKey,
    ServerName, ServerRecord, Status, Timestamp,
};

use super::World;
use super::model::{self, Model, Server};

pub(super) type Check = Result<(), Fault>;

/// A rule that did not hold.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) invariant: &'static str,
    pub(super) what: String,
}

impl Fault {
    pub(super) fn new(invariant: &'static str, what: String) -> Self {
        Self { invariant, what }
    }
}

/// Fails with both values if they differ.
pub(super) fn same<T: PartialEq + Debug>(
    invariant: &'static str,
    what: impl std::fmt::Display,
    found: &T,
    expected: &T,
) -> Check {
    if found == expected {
        return Ok(());
    }
    Err(Fault::new(invariant, format!("{what} is {found:?}, expected {expected:?}")))
}

/// Fails with what `tell` says unless `holds`.
pub(super) fn holds(invariant: &'static str, holds: bool, tell: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(Fault::new(invariant, tell())) }
}

/// The latest window of each registration, with the count of failures that set it.
#[derive(Debug, Default)]
pub(super) struct Windows(BTreeMap<ServerKey, (u32, Duration)>);

const RECORDS: &str = "records follow the model";
const SHAPE: &str = "healthy means no failures, no window, no error (contract §1.1)";
const EVENTS: &str = "events tell every change, in order, and nothing else";

impl World {
    /// Everything that must hold between any two operations.
    pub(super) fn compare(&mut self) -> Check {
        let table = self.registry.table();
        let names: Vec<_> = table.servers().iter().map(|record| record.name()).collect();
        same(RECORDS, "the list of servers", &names, &self.model.servers.keys().collect())?;
        for (record, server) in table.servers().iter().zip(self.model.servers.values()) {
            follows(record, server, &self.model)?;
            for found in [self.registry.get(record.name().as_str()), table.get(record.name().as_str())] {
                match found {
                    Some(found) if Arc::ptr_eq(found, record) => {}
                    // When it is next due is no news to readers of the table.
                    Some(found) => follows(found, server, &self.model)?,
                    None => {
                        return Err(Fault::new(RECORDS, format!("{} is not found", record.name())));
                    }
                }
            }
            shape(record)?;
            let now = self.model.now;
            same(
                "windows open at their last instant",
                "should_retry",
                &self.registry.should_retry(record.name().as_str(), now),
                &server.window_is_open(now),
            )?;
            same(
                "a handshake is repeated when stale or sick (contract §3.2)",
                "the gate",
                &Gate::of(record, now),
                &server.gate(now),
            )?;
            self.windows.watch(record, now, &self.policy)?;
        }
        same(
            "an unknown server is never retried",
            "nobody",
            &self.registry.should_retry("nobody", self.model.now),
            &false,
        )?;
        let deadline = (self.registry.next_deadline(), self.model.next_deadline());
        same("the next deadline is when something is due", "it", &deadline.0, &deadline.1)?;
        self.observe()?;
        self.events()
    }

    /// What a call would find.
    pub(super) fn select(&self, selection: &Selection) -> Check {
        const ROUTES: &str = "routes lead to usable servers, in order (contract §4.1)";
        let (table, model, now) = (self.registry.table(), &self.model, self.model.now);
        let mut candidates = Candidates::new(table.clone(), selection.clone(), now);
        for (record, server) in table.servers().iter().zip(model.servers.values()) {
            let found = candidates.choice().reason_to_skip(record);
            same(
                ROUTES,
                format_args!("the reason to skip {}", record.name()),
                &found,
                &model.skip(server, selection),
            )?;
        }
        let retry = candidates.choice().first_retry().map(|(_, at)| at);
        same(ROUTES, "the first retry", &retry, &model.first_retry(selection))?;
        let nowhere = candidates.choice().tool_is_offered_nowhere();
        let expected = selection.tool.is_some() && model.offered_nowhere(selection);
        same(ROUTES, "whether no server offers the tool", &nowhere, &expected)?;
        let mut found = Vec::new();
        for record in &mut candidates {
            let usable = record.definition.enabled && record.should_retry(now);
            holds(ROUTES, usable, || format!("{} is no candidate", record.name()))?;
            found.push(record.key());
        }
        same(ROUTES, "the list of candidates", &found, &model.candidates(selection))?;
        let chosen = table.choose(&selection.preferred).map(|record| record.key());
        same(ROUTES, "the choice", &chosen, &model.choose(&selection.preferred))
    }

    /// Observers are told every event at once.
    fn observe(&mut self) -> Check {
        const OBSERVERS: &str = "observers are told every event, in order (contract §5.3)";
        let Some(observer) = &mut self.observer else { return Ok(()) };
        while let Some(Some(event)) = observer.next().now_or_never() {
            self.observed += 1;
            same(OBSERVERS, "the next number", &event.seq(), &self.observed)?;
        }
        same(OBSERVERS, "the number of events", &self.observed, &self.model.events())?;
        same(OBSERVERS, "the number of events lost", &observer.dropped(), &0)
    }

    /// The retained events are the newest ones of the model, in one order over all streams.
    fn events(&self) -> Check {
        let (journal, model, policy) = (&self.journal, &self.model, &self.policy);
        let transitions = journal.connection_events(&ConnectionFilter::default());
        let changes = journal.registry_events(&RegistryFilter::default());
        let phases = journal.invocation_events(&InvocationFilter::default());
        let mut numbers = Vec::with_capacity(transitions.len() + changes.len() + phases.len());
        numbers.extend(transitions.iter().map(|event| event.seq));
        numbers.extend(changes.iter().map(|event| event.seq));
        numbers.extend(phases.iter().map(|event| event.seq));
        retained("status transitions", &transitions, &model.transitions, policy.max_connection_events)?;
        retained("registry events", &changes, &model.changes, policy.max_registry_events)?;
        retained("invocation events", &phases, &model.phases, policy.max_invocation_events)?;
        numbers.sort_unstable();
        let total = model.events();
        let distinct = numbers.windows(2).all(|pair| pair[0] < pair[1]);
        let newest = numbers.last().copied().unwrap_or(0);
        holds(EVENTS, distinct && newest == total, || format!("{total} events are numbered {numbers:?}"))
    }

    /// Filters give what a person would pick from the whole list by hand (contract §5.5).
    pub(super) fn filters(&self) -> Check {
        const FILTERS: &str = "filters are exact, ANDed, and the limit keeps the newest (contract §5.5)";
        let dice = &self.dice;
        let server = dice.chance(60).then(|| *dice.pick(&["a", "B", "c", "nobody"]));
        let id = dice.chance(60).then(|| *dice.pick(&["r0", "r1", "call 1", "none"]));
        let limit = *dice.pick(&[None, Some(0), Some(1), Some(5), Some(usize::MAX)]);
        let method = *dice.pick(&[None, Some("tools/call"), Some("resources/read"), Some("ping")]);
        let kind = *dice.pick(&[None, Some("state_changed"), Some("server_registered"), Some("server")]);
        let is = |wanted: Option<&str>, found: &str| wanted.is_none_or(|wanted| wanted == found);

        let filter = ConnectionFilter { server, correlation_id: id, limit };
        let mut expected = self.journal.connection_events(&ConnectionFilter::default());
        expected.retain(|event| {
            is(server, event.server.as_str()) && is(id, event.correlation_id.as_deref().unwrap_or("-"))
        });
        same(
            FILTERS,
            "status transitions",
            &self.journal.connection_events(&filter),
            &limited(expected, limit),
        )?;

        let filter = InvocationFilter { server, method, request_id: id, limit };
        let mut expected = self.journal.invocation_events(&InvocationFilter::default());
        expected.retain(|event| {
            is(server, event.server.as_str())
                && is(method, event.method.as_str())
                && is(id, &event.request_id)
        });
        same(
            FILTERS,
            "invocation events",
            &self.journal.invocation_events(&filter),
            &limited(expected, limit),
        )?;

        let filter = RegistryFilter { server, kind, limit };
        let mut expected = self.journal.registry_events(&RegistryFilter::default());
        expected.retain(|event| is(server, event.server.as_str()) && is(kind, event.change.as_str()));
        same(FILTERS, "registry events", &self.journal.registry_events(&filter), &limited(expected, limit))
    }

    /// Read as a story from the first event to the last, the events explain the state of every server
    /// without looking at the model. Only if nothing was forgotten.
    pub(super) fn story(&self) -> Check {
        const STORY: &str = "events explain every change of status and connection";
        let forgotten = |total: usize, capacity: usize| total > capacity.max(1);
        if forgotten(self.model.transitions.len(), self.policy.max_connection_events)
            || forgotten(self.model.changes.len(), self.policy.max_registry_events)
        {
            return Ok(());
        }
        enum Told {
            Transition(ConnectionEvent),
            Change(RegistryEvent),
        }
        let transitions = self.journal.connection_events(&ConnectionFilter::default());
        let changes = self.journal.registry_events(&RegistryFilter::default());
        let mut told: Vec<_> =
            transitions.into_iter().map(|event| (event.seq, Told::Transition(event))).collect();
        told.extend(changes.into_iter().map(|event| (event.seq, Told::Change(event))));
        told.sort_by_key(|(seq, _)| *seq);
        let mut servers: BTreeMap<ServerName, (Status, ConnectionState)> = BTreeMap::new();
        for (seq, event) in told {
            let of = |name: &ServerName| servers.get(name).copied();
            let fits = match &event {
                Told::Transition(event) => of(&event.server)
                    .is_some_and(|(status, _)| status == event.from_status && status != event.to_status),
                Told::Change(event) => match event.change {
                    RegistryChange::Registered => true,
                    RegistryChange::StateChanged { from, to } => {
                        of(&event.server).is_some_and(|(_, state)| state == from && from.may_become(to))
                    }
                    _ => of(&event.server).is_some(),
                },
            };
            holds(STORY, fits, || format!("event {seq} does not follow from those before"))?;
            match event {
                Told::Transition(event) => {
                    servers.entry(event.server).and_modify(|(status, _)| *status = event.to_status);
                }
                Told::Change(event) => match event.change {
                    RegistryChange::Registered => {
                        servers.insert(event.server, (Status::Healthy, ConnectionState::Disconnected));
                    }
                    RegistryChange::Unregistered => {
                        servers.remove(&event.server);
                    }
                    RegistryChange::StateChanged { to, .. } => {
                        servers.entry(event.server).and_modify(|(_, state)| *state = to);
                    }
                    _ => {}
                },
            }
        }
        let records = self.registry.table().servers().iter();
        let found = records.map(|record| (record.name().clone(), (record.status, record.connection_state)));
        same(STORY, "the end of the story", &found.collect(), &servers)
    }
}

/// Every member of a record against the model.
fn follows(record: &ServerRecord, server: &Server, model: &Model) -> Check {
    macro_rules! compare {
        ($($member:literal: $found:expr => $expected:expr;)*) => {
            $(if $found != $expected {
                let what = format_args!("{} of {}", $member, record.name());
                return same(RECORDS, what, &$found, &$expected);
            })*
        };
    }
    let error = server.error.as_ref();
    let health = match (server.checked_at, server.failures) {
        (None, _) => HealthView::Unknown,
        (Some(_), 0) => HealthView::Healthy,
        (Some(_), _) => HealthView::Unhealthy,
    };
    compare! {
        "key": record.key() => server.key;
        "definition": *record.definition => server.definition;
        "status": record.status => server.status(&model.policy);
        "retry_count": record.retry_count => server.failures;
        "consecutive_failures": record.consecutive_failures => server.consecutive;
        "last_error": record.last_error.as_deref() => error.map(|error| &*error.text);
        "last_error_category": record.last_error_category => error.map(|error| error.category);
        "next_retry_at": record.next_retry_at => server.window;
        "initialized": record.initialized => server.handshake.is_some();
        "initialization_expires_at": record.initialization_expires_at => server.handshake.flatten();
        "protocol_version": record.protocol_version => server.version;
        "capability_snapshot": record.capability_snapshot.as_deref() => server.said.as_ref();
        "last_initialized_at": record.last_initialized_at => server.said.as_ref().map(|said| said.captured_at);
        "connection_state": record.connection_state => server.state;
        "tools": record.tools.as_deref() => server.tools.as_ref();
        "last_checked_at": record.last_checked_at() => server.checked_at;
        "response_time": record.response_time => server.latency;
        "era": record.era => server.era;
        "health": record.health_view() => health;
    }
    Ok(())
}

/// The invariants of contract §1.1, without the model.
fn shape(record: &ServerRecord) -> Check {
    let healthy = record.status == Status::Healthy;
    let fits = healthy == (record.retry_count == 0)
        && healthy == record.next_retry_at.is_none()
        && healthy == record.last_error.is_none()
        && healthy == record.last_error_category.is_none()
        && (record.initialized || record.initialization_expires_at.is_none())
        && (!record.initialized || record.capability_snapshot.is_some());
    holds(SHAPE, fits, || format!("{record:?}"))
}

impl Windows {
    /// Within one run of failures windows do not get shorter; none is longer than allowed.
    fn watch(&mut self, record: &ServerRecord, now: Timestamp, policy: &Policy) -> Check {
        const WINDOWS: &str = "windows grow within one run of failures, up to the cap";
        let last = self.0.entry(record.key()).or_default();
        if record.retry_count != last.0 {
            let window = record.next_retry_at.map_or(Duration::ZERO, |at| at.since(now));
            let grows = record.retry_count < last.0 || window >= last.1 || window == at_most(policy, now);
            let capped = window.as_micros() == model::window(policy, record.retry_count.max(1))
                || window == at_most(policy, now)
                || record.retry_count == 0;
            holds(WINDOWS, grows && capped && window <= policy.max_backoff, || {
                format!(
                    "after failure {} of {}: {window:?}, before: {:?}",
                    record.retry_count,
                    record.name(),
                    last.1
                )
            })?;
            *last = (record.retry_count, window);
        }
        Ok(())
    }
}

/// `min(base · 2^(k−1), max)`, lengthened by no more than the jitter (contract §2.6).
pub(super) fn connect_wait(policy: &Policy, attempts: u32, unit: f64) -> Check {
    let wait = policy.connect_wait(attempts, unit).as_nanos();
    let doubled = policy.connect_base_delay.as_nanos() << (attempts - 1).min(64);
    let least = doubled.min(policy.connect_max_delay.as_nanos());
    let most = if policy.connect_jitter_ratio > 0.0 { 2 * least } else { least };
    holds("connect waits double up to their cap (contract §2.6)", (least..=most).contains(&wait), || {
        format!("{wait} ns after {attempts} attempts, expected {least} to {most}")
    })
}

/// The longest window there can be: time itself ends.
fn at_most(policy: &Policy, now: Timestamp) -> Duration {
    Timestamp::from_micros(i64::MAX).since(now).min(policy.max_backoff)
}

/// An event without its number, which the model does not know.
trait Numbered: Clone + PartialEq + Debug {
    fn number(&self) -> u64;
    fn without_number(&self) -> Self;
}

macro_rules! numbered {
    ($($event:ty),*) => {
        $(impl Numbered for $event {
            fn number(&self) -> u64 {
                self.seq
            }
            fn without_number(&self) -> Self {
                Self { seq: 0, ..self.clone() }
            }
        })*
    };
}

numbered!(ConnectionEvent, InvocationEvent, RegistryEvent);

/// A ring holds the newest events, as many as fit, oldest first.
fn retained<E: Numbered>(stream: &str, found: &[E], expected: &[E], capacity: usize) -> Check {
    let expected = newest(expected, capacity);
    same(EVENTS, format_args!("the number of {stream}"), &found.len(), &expected.len())?;
    for (found, expected) in found.iter().zip(expected) {
        same(EVENTS, format_args!("one of the {stream}"), &found.without_number(), expected)?;
    }
    let grows = found.windows(2).all(|pair| pair[0].number() < pair[1].number());
    holds(EVENTS, grows, || format!("numbers of {stream} do not grow"))
}

/// What a ring of that capacity holds of all events.
pub(super) fn newest<E>(events: &[E], capacity: usize) -> &[E] {
    &events[events.len().saturating_sub(capacity.max(1))..]
}

/// The last so many, in their order.
fn limited<E>(mut events: Vec<E>, limit: Option<usize>) -> Vec<E> {
    let keep = limit.unwrap_or(events.len()).min(events.len());
    events.split_off(events.len() - keep)
}
