//! What must hold of a whole run: promises to callers, and events that tell the truth.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mcp_manager::Manager;
use mcp_protocol::Method;
use mcp_registry::{
    AmbiguousFailover, Attempt, Clock, ConnectionEvent, ConnectionFilter, ConnectionState, FailureCode,
    InvocationEvent, InvocationFilter, Outcome, Phase, RegistryChange, RegistryEvent, RegistryFilter, Stage,
    Status, Timestamp,
};
use mcp_transport::Delivery;

use super::actors::{CANARY, GRACE, NOT_FOUND};
use super::{End, Op, Registration, World};
use crate::sim::network::Arrival;

/// A broken rule: its name and what happened.
type Finding = (&'static str, String);

/// How a call fails whose session the server does not know.
const FORGOTTEN: &str = "the server ended the session";

/// Everything there is to look at.
struct Evidence<'a> {
    world: &'a World,
    ops: Vec<Op>,
    arrivals: Vec<Arrival>,
    connections: Vec<ConnectionEvent>,
    registry: Vec<RegistryEvent>,
    /// The steps of each invocation, in order.
    invocations: BTreeMap<String, Vec<InvocationEvent>>,
    /// By address.
    registrations: BTreeMap<String, Registration>,
    /// Per name: when each of its registrations began (with its address) and ended.
    spans: BTreeMap<String, Vec<Span>>,
}

/// One registration in the order of events.
#[derive(Debug, Clone)]
struct Span {
    from: u64,
    to: u64,
    registration: Registration,
    /// Whether its annotations are trusted, since when.
    trust: Vec<(u64, bool)>,
}

/// Checks the run, after the shutdown that began at `closing`.
pub(super) fn after(world: &World, manager: &Manager, closing: Timestamp) {
    if let Some((invariant, what)) = world.network.broken() {
        world.broken(invariant, what);
    }
    for arrival in world.network.arrivals().iter().filter(|arrival| arrival.executed) {
        world.history.executed(&arrival.host, &arrival.nonce);
    }
    if let Err(violation) = world.history.check(world.clock.now()) {
        world.broken(violation.invariant.as_str(), violation.to_string());
    }
    let journal = manager.journal();
    let connections = journal.connection_events(&ConnectionFilter::default());
    let invocations = journal.invocation_events(&InvocationFilter::default());
    let registry = journal.registry_events(&RegistryFilter::default());
    let full = connections.len() >= world.policy.max_connection_events
        || invocations.len() >= world.policy.max_invocation_events
        || registry.len() >= world.policy.max_registry_events;
    let finding = stream_order(&connections, &invocations, &registry)
        .and_then(|()| nothing_shows(manager, &connections, &invocations, &registry));
    if let Err((invariant, what)) = finding {
        return world.broken(invariant, what);
    }
    replay(world, &connections, &invocations, &registry);
    if full {
        // The oldest are gone: nothing can be said of the whole.
        return;
    }
    let record = world.record();
    let (ops, registered) = (record.ops.clone(), record.registrations.clone());
    let redefined = record.redefinitions.clone();
    drop(record);
    let mut by_request: BTreeMap<String, Vec<InvocationEvent>> = BTreeMap::new();
    for event in invocations {
        by_request.entry(event.request_id.to_string()).or_default().push(event);
    }
    let evidence = Evidence {
        world,
        ops,
        arrivals: world.network.arrivals(),
        spans: spans(&registry, &registered, &redefined),
        registrations: registered.into_iter().map(|one| (one.host.clone(), one)).collect(),
        connections,
        registry,
        invocations: by_request,
    };
    let findings = [
        evidence.phases(),
        evidence.calls(closing),
        evidence.known_servers(),
        evidence.hangs(closing),
        evidence.stories(manager),
        evidence.arrivals(),
        evidence.questions(),
        evidence.statuses(manager),
        evidence.connection_states(manager),
    ];
    for (invariant, what) in findings.into_iter().filter_map(Result::err) {
        world.broken(invariant, what);
    }
}

/// I9: one counter over all streams, growing within each, and time with it.
fn stream_order(
    connections: &[ConnectionEvent],
    invocations: &[InvocationEvent],
    registry: &[RegistryEvent],
) -> Result<(), Finding> {
    let streams: [Vec<(u64, Timestamp)>; 3] = [
        connections.iter().map(|event| (event.seq, event.timestamp)).collect(),
        invocations.iter().map(|event| (event.seq, event.timestamp)).collect(),
        registry.iter().map(|event| (event.seq, event.timestamp)).collect(),
    ];
    let mut seen = BTreeSet::new();
    for stream in &streams {
        if let Some(pair) = stream.windows(2).find(|pair| pair[0].0 >= pair[1].0 || pair[0].1 > pair[1].1) {
            return Err(("I9 stream order", format!("{pair:?}")));
        }
        if let Some((seq, _)) = stream.iter().find(|(seq, _)| !seen.insert(*seq)) {
            return Err(("I9 stream order", format!("seq {seq} is there twice")));
        }
    }
    Ok(())
}

fn nothing_shows(
    manager: &Manager,
    connections: &[ConnectionEvent],
    invocations: &[InvocationEvent],
    registry: &[RegistryEvent],
) -> Result<(), Finding> {
    let leaks = |text: &str| text.contains(CANARY);
    let texts = connections.iter().map(|event| &*event.reason);
    let failures =
        invocations.iter().filter_map(|event| event.failure.as_ref()).map(|failure| &*failure.text);
    if let Some(text) = texts.chain(failures).find(|text| leaks(text)) {
        return Err(("I8 canary", format!("in an event: {text}")));
    }
    // What the manager says of a task of its own that panicked.
    let panicked = |event: &&InvocationEvent| {
        event.failure.as_ref().is_some_and(|failure| failure.text.contains("ended unexpectedly"))
    };
    if let Some(event) = invocations.iter().find(panicked) {
        return Err(("G11 panic", format!("{event:?}")));
    }
    let table = manager.table();
    let shown = table.servers().iter().map(|record| format!("{record:?}"));
    let details =
        table.servers().iter().map(|record| format!("{:?}", manager.connection(record.name().as_str())));
    let events = registry.last().map(|event| format!("{event:?}"));
    match shown.chain(details).chain(events).find(|text| leaks(text)) {
        Some(text) => Err(("I8 canary", text)),
        None => Ok(()),
    }
}

/// Writes the events down, with request ids replaced by their order.
fn replay(
    world: &World,
    connections: &[ConnectionEvent],
    invocations: &[InvocationEvent],
    registry: &[RegistryEvent],
) {
    if world.record().lines.is_none() {
        return;
    }
    let mut ordinals = BTreeMap::new();
    for event in invocations {
        let next = ordinals.len();
        ordinals.entry(event.request_id.clone()).or_insert(next);
    }
    let ordinal = |id: &str| ordinals.get(id).map_or_else(|| "-".to_owned(), |n| format!("r{n}"));
    let mut lines: BTreeMap<u64, String> = BTreeMap::new();
    for event in connections {
        let caused = event.correlation_id.as_deref().map(ordinal);
        let (from, to) = (event.from_status.as_str(), event.to_status.as_str());
        lines.insert(
            event.seq,
            format!("{} {} {from} -> {to}: {} {caused:?}", event.timestamp, event.server, event.reason),
        );
    }
    for event in invocations {
        let text = event.failure.as_ref().map(|failure| &*failure.text).unwrap_or_default();
        let (id, phase) = (ordinal(&event.request_id), event.phase.as_str());
        lines.insert(event.seq, format!("{} {id} {} {phase} {text}", event.timestamp, event.server));
    }
    for event in registry {
        lines.insert(event.seq, format!("{} {} {:?}", event.timestamp, event.server, event.change));
    }
    for (seq, text) in lines {
        world.line(|| format!("#{seq} {text}"));
    }
    for arrival in world.network.arrivals() {
        let done = if arrival.executed { "executed" } else { "not executed" };
        let id = arrival.request_id.as_deref().map(ordinal);
        world.line(|| format!("{} {id:?} reached {}: {done}", arrival.nonce, arrival.host));
    }
}

fn spans(
    registry: &[RegistryEvent],
    registered: &[Registration],
    redefined: &[(String, bool)],
) -> BTreeMap<String, Vec<Span>> {
    let mut redefined: BTreeMap<&str, VecDeque<bool>> =
        redefined.iter().fold(BTreeMap::new(), |mut all, (name, trusted)| {
            all.entry(name.as_str()).or_insert_with(VecDeque::new).push_back(*trusted);
            all
        });
    let mut spans: BTreeMap<String, Vec<Span>> = BTreeMap::new();
    for event in registry {
        let name = event.server.to_string();
        let of_name = spans.entry(name.clone()).or_default();
        let ends = matches!(event.change, RegistryChange::Registered | RegistryChange::Unregistered);
        if ends && let Some(last) = of_name.last_mut().filter(|last| last.to == u64::MAX) {
            last.to = event.seq;
        }
        if event.change == RegistryChange::Registered {
            let mut same_name = registered.iter().filter(|registration| registration.name == name);
            if let Some(registration) = same_name.nth(of_name.len()).cloned() {
                let trust = vec![(event.seq, registration.trusted)];
                of_name.push(Span { from: event.seq, to: u64::MAX, registration, trust });
            }
        }
        if event.change == RegistryChange::Redefined
            && let Some(last) = of_name.last_mut()
            && let Some(trusted) = redefined.get_mut(name.as_str()).and_then(VecDeque::pop_front)
        {
            last.trust.push((event.seq, trusted));
        }
    }
    spans
}

/// Whether a stage ended with it.
fn ends(event: &&InvocationEvent) -> bool {
    !matches!(event.phase, Phase::InitializeStart | Phase::InvokeStart)
}

impl Evidence<'_> {
    /// The registration in force at a moment.
    fn span(&self, name: &str, seq: u64) -> Option<&Span> {
        self.spans.get(name)?.iter().find(|span| span.from < seq && seq < span.to)
    }

    /// Every invocation is a legal sequence of phases, each ended once (contract §5.2).
    fn phases(&self) -> Result<(), Finding> {
        for (id, events) in &self.invocations {
            let wrong = |what: &str| {
                let phases: Vec<_> =
                    events.iter().map(|event| (event.server.as_str(), event.phase.as_str())).collect();
                Err(("I9 phases", format!("{id}: {what}: {phases:?}")))
            };
            // A directed call tries the same server again.
            let routed = self.ops.iter().any(|op| !op.directed && self.request_id(op) == Some(id));
            let mut expected: Option<(&str, [Phase; 2])> = None;
            let mut again = None;
            let mut tried = BTreeSet::new();
            let mut served = false;
            for event in events {
                let server = event.server.as_str();
                let fits = match (&expected, event.phase) {
                    (None, Phase::InitializeStart) => !served && tried.insert(server),
                    (None, Phase::InvokeStart) => !routed && again == Some(server),
                    (Some((on, next)), phase) => *on == server && next.contains(&phase),
                    (None, _) => false,
                };
                if !fits {
                    return wrong("not a legal sequence");
                }
                if event.method != events[0].method {
                    return wrong("the method changed");
                }
                let failed = matches!(event.phase, Phase::InitializeFailure | Phase::InvokeFailure);
                if failed != event.failure.is_some() {
                    return wrong("a failure where there is none, or none where there is one");
                }
                again = (event.phase == Phase::InvokeFailure).then_some(server);
                expected = match event.phase {
                    Phase::InitializeStart => {
                        Some((server, [Phase::InitializeSuccess, Phase::InitializeFailure]))
                    }
                    Phase::InitializeSuccess => Some((server, [Phase::InvokeStart; 2])),
                    Phase::InvokeStart => Some((server, [Phase::InvokeSuccess, Phase::InvokeFailure])),
                    Phase::InitializeFailure | Phase::InvokeFailure => None,
                    Phase::InvokeSuccess => {
                        served = true;
                        None
                    }
                };
            }
            // An invocation may be stopped between the two stages; a stage that began ends.
            if expected.is_some_and(|(_, next)| next[0] != Phase::InvokeStart) {
                return wrong("a phase that never ended");
            }
        }
        let known: BTreeSet<&str> = self.ops.iter().filter_map(|op| self.request_id(op)).collect();
        let foreign = self.invocations.keys().filter(|id| !known.contains(id.as_str())).count();
        let left = self.ops.iter().filter(|op| matches!(op.end, End::Abandoned)).count();
        if foreign > left {
            return Err((
                "I9 foreign",
                format!("{foreign} invocations beside those of callers, {left} left"),
            ));
        }
        Ok(())
    }

    /// The request id of a call, if it is known.
    fn request_id<'a>(&'a self, op: &'a Op) -> Option<&'a str> {
        match &op.end {
            End::Answered { request_id, .. }
            | End::Failed { request_id, .. }
            | End::Declined { request_id, .. } => Some(request_id),
            _ => self.arrivals.iter().find(|arrival| arrival.nonce == op.nonce)?.request_id.as_deref(),
        }
    }

    /// The outcome that callers got is the one that servers and events tell of.
    fn calls(&self, closing: Timestamp) -> Result<(), Finding> {
        for op in &self.ops {
            let (attempts, code) = match &op.end {
                End::Answered { attempts, .. } => (attempts, None),
                End::Failed { attempts, code, .. } => (attempts, Some(*code)),
                End::Declined { attempts, .. } => (attempts, None),
                End::Open | End::Abandoned | End::Refused => continue,
            };
            let arrived: Vec<_> = self.arrivals.iter().filter(|arrival| arrival.nonce == op.nonce).collect();
            let executed_by = |server: &str| {
                arrived
                    .iter()
                    .any(|arrival| arrival.executed && self.registrations[&arrival.host].name == server)
            };
            self.forgotten(op, attempts, &arrived)?;
            if let End::Answered { server, host, .. } = &op.end {
                let by =
                    arrived.iter().find(|arrival| arrival.executed && Some(&arrival.host) == host.as_ref());
                if by.is_none_or(|arrival| self.registrations[&arrival.host].name != *server) {
                    return Err(("I4 executed where said", format!("{} by {server}: {arrived:?}", op.nonce)));
                }
            }
            for attempt in attempts.iter().filter(|attempt| attempt.failure.is_some()) {
                // In a directed call another attempt on the same server may have been executed.
                let of_server =
                    |other: &&Attempt| other.server == attempt.server && other.stage == Stage::Invoke;
                let sure = attempts
                    .iter()
                    .filter(of_server)
                    .all(|other| other.failure.is_some() && other.delivery != Some(Delivery::Unknown));
                if sure && executed_by(attempt.server.as_str()) {
                    return Err(("I5 honest delivery", format!("{}: {attempt:?}, but executed", op.nonce)));
                }
                if attempt.delivery.is_none() {
                    return Err((
                        "I5 honest delivery",
                        format!("{}: nothing said of it: {attempt:?}", op.nonce),
                    ));
                }
            }
            self.repeats(op, attempts, code)?;
            if let Some(id) = self.request_id(op) {
                self.told_alike(op, id, attempts)?;
            }
            let (ended, policy) = (op.ended.unwrap_or(op.began), &self.world.policy);
            let early = match code {
                Some(FailureCode::ShuttingDown) => ended < closing,
                Some(FailureCode::DeadlineExceeded) => ended.since(op.began) < policy.max_call_deadline,
                _ => false,
            };
            if early {
                return Err(("G5 bounded time", format!("{} ended as {code:?} too early", op.nonce)));
            }
        }
        Ok(())
    }

    /// A server that is there is never said not to be.
    fn known_servers(&self) -> Result<(), Finding> {
        for (id, events) in &self.invocations {
            let began = events[0].timestamp;
            let lacking = events.iter().filter(|event| {
                event.failure.as_ref().is_some_and(|failure| failure.text.contains(NOT_FOUND))
            });
            for event in lacking {
                let gone = self.registry.iter().any(|change| {
                    change.server == event.server
                        && change.timestamp >= began
                        && change.seq < event.seq
                        && matches!(change.change, RegistryChange::Registered | RegistryChange::Unregistered)
                });
                if !gone {
                    return Err(("published route", format!("{id}: {} was there: {event:?}", event.server)));
                }
            }
        }
        match self.connections.iter().find(|event| event.reason.contains(NOT_FOUND)) {
            Some(event) => Err(("published route", format!("it is there: {event:?}"))),
            None => Ok(()),
        }
    }

    /// A server that hangs is looked at, also if it may hang for longer than calls may: after three in a row
    /// that had all their time for it.
    fn hangs(&self, closing: Timestamp) -> Result<(), Finding> {
        let deadline = self.world.policy.max_call_deadline;
        let hung = |registration: &Registration| {
            let mut calls: Vec<(Timestamp, Timestamp)> = Vec::new();
            for op in &self.ops {
                let End::Failed { code: FailureCode::DeadlineExceeded, attempts, .. } = &op.end else {
                    continue;
                };
                let [ready, invoked] = &attempts[..] else { continue };
                let here = invoked.server.as_str() == registration.name && ready.failure.is_none();
                let patient = op.ended.is_some_and(|ended| ended < closing);
                let at =
                    self.arrivals.iter().any(|one| one.nonce == op.nonce && one.host == registration.host);
                if here && patient && at {
                    calls.extend(op.ended.map(|ended| (op.began, ended)));
                }
            }
            calls.sort_by_key(|&(_, ended)| ended);
            calls
        };
        let hanging = self.registrations.values().filter(|one| one.hangs && one.request_timeout >= deadline);
        for registration in hanging {
            let looks = self.world.network.probes(&registration.host);
            let looks: Vec<_> = looks.into_iter().map(|at| self.world.clock.at(at)).collect();
            for calls in hung(registration).windows(3) {
                let (from, to) = (calls[0].0, calls[2].1 + GRACE);
                let told = self.connections.iter().any(|event| {
                    event.server.as_str() == registration.name && (from..=to).contains(&event.timestamp)
                });
                let looked = looks.iter().any(|at| (from..=to).contains(at));
                if !told && !looked && to < closing {
                    let what = format!("{} hung in three calls from {from} to {to}", registration.name);
                    return Err(("hanging server", what));
                }
            }
        }
        Ok(())
    }

    /// What is told of an invocation is what happened (contract §5).
    fn stories(&self, manager: &Manager) -> Result<(), Finding> {
        // The memory of stories is shorter than that of steps.
        if self.world.policy.max_invocation_events == super::SMALL_RING {
            return Ok(());
        }
        // Looking for one takes as long as the rings are.
        for op in self.ops.iter().step_by(16) {
            let Some(id) = self.request_id(op) else { continue };
            let story = manager.journal().explain(id);
            let wrong = |what: &str| Err(("story", format!("{}: {what}: {story:?}", op.nonce)));
            let Some(told) = &story else { return wrong("nothing is told of it") };
            let ending = told.story.ending().map(|ending| (&ending.outcome, Some(ending.at)));
            let fits = match (&op.end, ending) {
                (End::Answered { server, .. }, Some((Outcome::Served(by), at))) => {
                    by.as_str() == server && at == op.ended
                }
                (End::Declined { server, .. }, Some((Outcome::Served(by), at))) => {
                    by.as_str() == server && at == op.ended
                }
                (End::Failed { code, .. }, Some((Outcome::Failed(told), at))) => {
                    told == code && at == op.ended
                }
                (End::Abandoned, Some((Outcome::Abandoned, at))) => at == op.ended,
                _ => false,
            };
            if !fits {
                return wrong("it ends differently");
            }
            if told.steps != self.invocations.get(id).map_or(&[][..], |events| events) {
                return wrong("the steps differ");
            }
        }
        Ok(())
    }

    /// A question about a call under way is answered by whoever the call is for.
    fn questions(&self) -> Result<(), Finding> {
        for answered in self.world.network.answered() {
            let at = self.world.clock.at(answered.at);
            let about = self.ops.iter().find(|op| op.nonce == answered.nonce);
            let Some(op) = about.filter(|op| op.ended.is_some_and(|ended| ended > at)) else { continue };
            if op.party != answered.by.as_deref() {
                return Err(("question", format!("{answered:?}, but the call is for {:?}", op.party)));
            }
        }
        Ok(())
    }

    /// A session the server does not know is replaced once in an attempt (contract §7.5).
    fn forgotten(&self, op: &Op, attempts: &[Attempt], arrived: &[&Arrival]) -> Result<(), Finding> {
        for arrival in arrived.iter().filter(|arrival| arrival.forgotten) {
            let name = &self.registrations[&arrival.host].name;
            let here = |attempt: &&Attempt| attempt.stage == Stage::Invoke && attempt.server.as_str() == name;
            let tried = attempts.iter().filter(here).count();
            let forgot = |other: &&&Arrival| other.forgotten && other.host == arrival.host;
            let forgotten = arrived.iter().filter(forgot).count();
            if forgotten > 2 * tried {
                let what = format!("{}: {tried} attempts on {name}: {arrived:?}", op.nonce);
                return Err(("contract 7.5", what));
            }
        }
        Ok(())
    }

    /// I3: after a failure that may have had effects nothing more is tried unless §2.5 allows it.
    fn repeats(&self, op: &Op, attempts: &[Attempt], code: Option<FailureCode>) -> Result<(), Finding> {
        for (at, attempt) in attempts.iter().enumerate() {
            let transient = attempt.failure.as_ref().is_some_and(|failure| failure.category.ends_session());
            let insisted = op.directed && attempt.stage == Stage::Invoke && at + 1 < attempts.len();
            let forgotten = attempt.failure.as_ref().is_some_and(|failure| failure.text.contains(FORGOTTEN));
            if insisted && (!transient || forgotten) {
                return Err(("contract 2.4", format!("{} was tried again after {attempt:?}", op.nonce)));
            }
            if attempt.delivery != Some(Delivery::Unknown) {
                continue;
            }
            let Some(allowed) = self.may_repeat(op, at, attempt) else { continue };
            let went_on = at + 1 < attempts.len();
            if went_on && !allowed {
                return Err((
                    "I3 at most once",
                    format!("{} was tried again after {attempt:?}: {attempts:?}", op.nonce),
                ));
            }
            let stops =
                [FailureCode::AmbiguousNotRetried, FailureCode::DeadlineExceeded, FailureCode::ShuttingDown];
            if !allowed && code.is_none_or(|code| !stops.contains(&code)) {
                return Err((
                    "I3 at most once",
                    format!("{} ended with {code:?} after {attempt:?}", op.nonce),
                ));
            }
            if allowed && !went_on && code == Some(FailureCode::AmbiguousNotRetried) {
                return Err((
                    "contract 2.5",
                    format!("{} was not repeated although it may be: {attempt:?}", op.nonce),
                ));
            }
        }
        Ok(())
    }

    /// The table of contract §2.5; `None` where it depends on hints and it is not known what was known.
    fn may_repeat(&self, op: &Op, at: usize, attempt: &Attempt) -> Option<bool> {
        #[derive(PartialEq)]
        enum Safety {
            Safe,
            Unknown,
            Unsafe,
        }
        let safety = match (&op.method, op.idempotent) {
            (Method::ResourcesRead, _) | (_, Some(true)) => Safety::Safe,
            (_, Some(false)) => Safety::Unsafe,
            (_, None) => {
                let events = self.invocations.get(self.request_id(op)?)?;
                let starts = |event: &&InvocationEvent| {
                    event.phase == Phase::InitializeStart && event.server == attempt.server
                };
                let start = events.iter().find(starts)?.seq;
                let span = self.span(attempt.server.as_str(), start)?;
                let registration = &span.registration;
                let tool = op.selection.tool.as_deref()?;
                let failed = events.iter().filter(ends).nth(at)?;
                // What a list lacks nobody knows anything about.
                let known = registration.lists
                    && registration.offers.contains(&tool)
                    && self.listed(op, failed, span)?;
                match tool {
                    "reader" if known && self.trusted(op, failed, span)? => Safety::Safe,
                    "eraser" if known => Safety::Unsafe,
                    _ => Safety::Unknown,
                }
            }
        };
        let rule = if op.party.is_some() {
            AmbiguousFailover::SafeOnly
        } else {
            self.world.policy.ambiguous_failover
        };
        Some(match rule {
            AmbiguousFailover::Always => true,
            AmbiguousFailover::UnlessUnsafe => safety != Safety::Unsafe,
            AmbiguousFailover::SafeOnly => safety == Safety::Safe,
        })
    }

    /// Whether the server's annotations were trusted when it was decided whether to repeat a call that had failed.
    /// `None`: that may have changed while a list was waited for.
    fn trusted(&self, op: &Op, failed: &InvocationEvent, span: &Span) -> Option<bool> {
        let until = self.decided_by(op, failed);
        let (before, after): (Vec<_>, Vec<_>) = span.trust.iter().partition(|(since, _)| *since < failed.seq);
        let at = |seq| self.registry.iter().find(|event| event.seq == seq).map(|event| event.timestamp);
        let unclear = after.iter().any(|(since, _)| at(*since).is_none_or(|at| at <= until));
        before.last().filter(|_| !unclear).map(|(_, trusted)| *trusted)
    }

    /// The latest moment at which it is decided whether to repeat a call that has failed.
    fn decided_by(&self, op: &Op, failed: &InvocationEvent) -> Timestamp {
        let policy = &self.world.policy;
        let left = (op.began + policy.max_call_deadline).since(failed.timestamp);
        failed.timestamp + policy.probe_timeout.min(left)
    }

    /// Whether the server's list of tools was known when it was decided whether to repeat a call that had
    /// failed: a list under way at the failure is waited for as long as a probe is. `None`: it came later, and
    /// nobody can tell from outside whether somebody waited.
    fn listed(&self, op: &Op, failed: &InvocationEvent, span: &Span) -> Option<bool> {
        let lists = |event: &&RegistryEvent| {
            matches!(event.change, RegistryChange::ToolsRefreshed { .. })
                && event.server == failed.server
                && (span.from..span.to).contains(&event.seq)
        };
        let until = self.decided_by(op, failed);
        let Some(list) = self.registry.iter().find(lists) else {
            // A list that comes after the end of its registration is told to nobody but the calls under way.
            let ended = self.registry.iter().find(|event| event.seq == span.to);
            return ended.is_none_or(|event| event.timestamp > until).then_some(false);
        };
        if list.seq < failed.seq || list.timestamp > until {
            return Some(list.seq < failed.seq);
        }
        let asked = self.world.network.listings(&span.registration.host);
        let mut asked =
            asked.into_iter().map(|at| self.world.clock.at(at)).filter(|&at| at <= list.timestamp);
        let under_way = asked.next_back().is_some_and(|at| at < failed.timestamp);
        (span.registration.discovers && under_way && list.timestamp < until).then_some(true)
    }

    /// The trace the caller got is the one in the events.
    fn told_alike(&self, op: &Op, id: &str, attempts: &[Attempt]) -> Result<(), Finding> {
        let events = self.invocations.get(id).map_or(&[][..], |events| events);
        let told: Vec<_> = events
            .iter()
            .filter(ends)
            .map(|event| {
                let stage = match event.phase {
                    Phase::InitializeSuccess | Phase::InitializeFailure => Stage::Initialize,
                    _ => Stage::Invoke,
                };
                (&event.server, stage, &event.failure)
            })
            .collect();
        let traced: Vec<_> =
            attempts.iter().map(|attempt| (&attempt.server, attempt.stage, &attempt.failure)).collect();
        if told == traced && events.first().is_none_or(|event| event.timestamp == op.began) {
            return Ok(());
        }
        Err(("I9 trace", format!("{}: the events tell {told:?}, the caller was told {traced:?}", op.nonce)))
    }

    /// What reached servers was to reach them.
    fn arrivals(&self) -> Result<(), Finding> {
        let mut ids: BTreeMap<&str, &str> = BTreeMap::new();
        for arrival in &self.arrivals {
            let Some(op) = self.ops.iter().find(|op| op.nonce == arrival.nonce) else {
                return Err(("I9 foreign", format!("{arrival:?}")));
            };
            let Some(id) = arrival.request_id.as_deref() else {
                return Err(("request id", format!("{arrival:?} came without one")));
            };
            if *ids.entry(&op.nonce).or_insert(id) != id {
                return Err(("request id", format!("{} came with two", op.nonce)));
            }
            let registration = &self.registrations[&arrival.host];
            let stdio = arrival.host.ends_with("-stdio");
            let selection = &op.selection;
            let name = &registration.name;
            let in_group = selection.group.is_none()
                || self.spans[name].iter().any(|span| {
                    span.registration.host == arrival.host && span.registration.group == selection.group
                });
            let preferred = !selection.preferred_only
                || selection.preferred.is_empty()
                || selection.preferred.contains(name);
            if !registration.enabled || !in_group || !preferred {
                return Err((
                    "selection",
                    format!("{arrival:?} reached {registration:?} with {selection:?}"),
                ));
            }
            let events = self.invocations.get(id).map_or(&[][..], |events| events);
            let start = events
                .iter()
                .find(|event| event.phase == Phase::InitializeStart && event.server.as_str() == name);
            let Some(start) = start else {
                return Err((
                    "published route",
                    format!("{arrival:?} reached {name} without an attempt on it"),
                ));
            };
            let span = self.span(name, start.seq);
            if span.is_none_or(|span| span.registration.host != arrival.host) {
                let what = format!("{arrival:?}, but when the attempt began {name} was at {span:?}");
                return Err(("published route", what));
            }
            let forwards = span.is_some_and(|span| span.registration.forwards);
            let expected = op.token.as_ref().filter(|_| !stdio && (op.directed || forwards));
            if arrival.authorization != expected.map(|token| format!("Bearer {token}")) {
                return Err(("S18 principals", format!("{arrival:?}, but the call is {expected:?}'s")));
            }
        }
        Ok(())
    }

    /// The status changes explain the status (contract §5.1).
    fn statuses(&self, manager: &Manager) -> Result<(), Finding> {
        let mut now: BTreeMap<&str, Status> = BTreeMap::new();
        let mut changes = self.connections.iter().peekable();
        let mut follow = |until: u64, now: &mut BTreeMap<&str, Status>| -> Result<(), Finding> {
            while let Some(event) = changes.next_if(|event| event.seq < until) {
                let from = now.get(event.server.as_str()).copied();
                if from != Some(event.from_status) || event.from_status == event.to_status {
                    return Err(("status chain", format!("{from:?}, then {event:?}")));
                }
                if let Some(status) = now.get_mut(event.server.as_str()) {
                    *status = event.to_status;
                }
                if let Some(id) = event.correlation_id.as_deref() {
                    let tells = |event_of: &InvocationEvent| {
                        event_of.server == event.server && event_of.seq < event.seq
                    };
                    if !self.invocations.get(id).is_some_and(|events| events.iter().any(tells)) {
                        return Err((
                            "status chain",
                            format!("caused by an invocation that was not there: {event:?}"),
                        ));
                    }
                }
            }
            Ok(())
        };
        for event in &self.registry {
            follow(event.seq, &mut now)?;
            match event.change {
                RegistryChange::Registered => {
                    now.insert(event.server.as_str(), Status::Healthy);
                }
                RegistryChange::Unregistered => {
                    now.remove(event.server.as_str());
                }
                _ => {}
            }
        }
        follow(u64::MAX, &mut now)?;
        for record in manager.table().servers() {
            if now.get(record.name().as_str()) != Some(&record.status) {
                let what = format!(
                    "{} is {:?}, the events say {:?}",
                    record.name(),
                    record.status,
                    now.get(record.name().as_str())
                );
                return Err(("status chain", what));
            }
        }
        Ok(())
    }

    /// So do those of the connection (contract §1.5).
    fn connection_states(&self, manager: &Manager) -> Result<(), Finding> {
        let mut now: BTreeMap<&str, ConnectionState> = BTreeMap::new();
        let mut chained = true;
        for event in &self.registry {
            let server = event.server.as_str();
            match event.change {
                RegistryChange::Registered => {
                    now.insert(server, ConnectionState::Disconnected);
                }
                RegistryChange::StateChanged { from, to } => {
                    let before = now.insert(server, to);
                    chained &= before == Some(from) && from.may_become(to);
                }
                _ => {}
            }
            if !chained {
                return Err(("connection chain", format!("{event:?}")));
            }
        }
        for record in manager.table().servers() {
            if now.get(record.name().as_str()) != Some(&record.connection_state) {
                return Err((
                    "connection chain",
                    format!("{} is {:?}", record.name(), record.connection_state),
                ));
            }
        }
        Ok(())
    }
}
