//! What the registry should do, written a second time: from the tables of the contract, with as little in
//! common with the registry's own code as possible. The status is not stored but follows from the count of
//! failures; the events are not sent but follow from what changed.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mcp_protocol::{Era, Method};
use mcp_registry::{
    Answered, CallFailure, CallSafety, CapabilitySnapshot, ConnectionEvent, ConnectionState, CorrelationId,
    Definition, Due, ErrorCategory, Failure, Gate, Handshake, InvocationEvent, KnownTools, Loss, Policy,
    RegistryChange, RegistryEvent, Selection, ServerKey, ServerName, Skip, Status, Timestamp, ToolHints,
};

use ConnectionState::{Connected, Disconnected, Error, Initializing, Reconnecting};

/// K1 to K9 of contract §1.5.
const CONNECTION_CHANGES: [(ConnectionState, ConnectionState); 15] = [
    (Disconnected, Initializing),
    (Error, Initializing),
    (Initializing, Connected),
    (Initializing, Error),
    (Initializing, Disconnected),
    (Connected, Disconnected),
    (Reconnecting, Disconnected),
    (Error, Disconnected),
    (Connected, Error),
    (Connected, Reconnecting),
    (Error, Reconnecting),
    (Disconnected, Reconnecting),
    (Reconnecting, Connected),
    (Reconnecting, Error),
    (Disconnected, Error),
];

/// One registration.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) key: ServerKey,
    pub(super) definition: Definition,
    /// Recorded failures in a row.
    pub(super) failures: u32,
    /// Failed attempts and probes in a row.
    pub(super) consecutive: u32,
    pub(super) error: Option<Failure>,
    pub(super) window: Option<Timestamp>,
    /// Whether a handshake is in force, and until when.
    pub(super) handshake: Option<Option<Timestamp>>,
    pub(super) version: Option<String>,
    pub(super) said: Option<CapabilitySnapshot>,
    pub(super) state: ConnectionState,
    pub(super) tools: Option<KnownTools>,
    pub(super) checked_at: Option<Timestamp>,
    pub(super) latency: Option<Duration>,
    pub(super) era: Option<Era>,
    pub(super) next_check: Timestamp,
    /// The series of background reconnections it is in, if any.
    pub(super) series: Option<Series>,
    pub(super) restarts: u32,
}

/// Background reconnections, one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Series {
    /// When the next one is due; `None` while it is under way.
    pub(super) due: Option<Timestamp>,
    attempt: u32,
    /// Whether it follows on the end of a process rather than on a failed connect.
    restart: bool,
}

/// All servers and everything that should have been told about them. Event numbers are left at 0.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) policy: Arc<Policy>,
    pub(super) now: Timestamp,
    pub(super) servers: BTreeMap<ServerName, Server>,
    pub(super) transitions: Vec<ConnectionEvent>,
    pub(super) changes: Vec<RegistryEvent>,
    pub(super) phases: Vec<InvocationEvent>,
}

/// Where registry events of one change go.
struct Told<'a> {
    now: Timestamp,
    policy: &'a Policy,
    changes: &'a mut Vec<RegistryEvent>,
}

impl Told<'_> {
    fn tell(&mut self, server: &ServerName, change: RegistryChange) {
        self.changes.push(RegistryEvent { seq: 0, timestamp: self.now, server: server.clone(), change });
    }
}

impl Server {
    fn new(key: ServerKey, definition: Definition, now: Timestamp) -> Self {
        let tools = definition.tools.as_ref();
        let named = tools.map(|names| names.iter().map(|name| (name.as_str().into(), Default::default())));
        Self {
            key,
            failures: 0,
            consecutive: 0,
            error: None,
            window: None,
            handshake: None,
            version: None,
            said: None,
            state: Disconnected,
            tools: named.map(Iterator::collect),
            checked_at: None,
            latency: None,
            era: None,
            next_check: now,
            series: None,
            restarts: 0,
            definition,
        }
    }

    /// Contract §1.4: what the count of failures means.
    pub(super) fn status(&self, policy: &Policy) -> Status {
        match self.failures {
            0 => Status::Healthy,
            few if few < policy.unreachable_after => Status::Degraded,
            _ => Status::Unreachable,
        }
    }

    /// Contract §3.2.
    pub(super) fn gate(&self, now: Timestamp) -> Gate {
        match self.handshake {
            None => Gate::Ordinary,
            Some(_) if self.failures > 0 => Gate::Forced,
            Some(Some(expiry)) if expiry <= now => Gate::Forced,
            Some(_) => Gate::Cached,
        }
    }

    /// Contract §2.2, the boundary included.
    pub(super) fn window_is_open(&self, now: Timestamp) -> bool {
        self.window.is_none_or(|end| end <= now)
    }

    /// Every instant at which something about the server changes by itself.
    pub(super) fn instants(&self) -> impl Iterator<Item = Timestamp> {
        let expiry = self.handshake.flatten();
        [self.window, expiry, Some(self.next_check), self.series.and_then(|series| series.due)]
            .into_iter()
            .flatten()
    }

    fn succeed(&mut self, told: &Told<'_>) {
        if self.failures > 0 && told.now < self.next_check {
            self.next_check = after(told.now, told.policy.health_interval.as_micros());
        }
        (self.failures, self.consecutive, self.error, self.window) = (0, 0, None, None);
        self.checked_at = Some(told.now);
    }

    fn fail(&mut self, failure: Failure, told: &Told<'_>) {
        self.failures = self.failures.saturating_add(1);
        self.window = Some(after(told.now, window(told.policy, self.failures)));
        self.error = Some(failure);
        self.handshake = None;
        self.checked_at = Some(told.now);
        self.next_check = self.next_check.min(self.check_after(told.now, told.policy));
        self.next_check = self.window.map_or(self.next_check, |end| end.max(self.next_check));
    }

    fn check_after(&self, now: Timestamp, policy: &Policy) -> Timestamp {
        let Some(window) = self.window else { return after(now, policy.health_interval.as_micros()) };
        window.max(after(now, policy.degraded_health_interval.as_micros()))
    }

    fn shake_hands(&mut self, handshake: Handshake, told: &Told<'_>) {
        let ages = [told.policy.max_initialization_age, handshake.ttl];
        let age = ages.into_iter().flatten().min();
        self.handshake = Some(age.map(|age| after(told.now, age.as_micros())));
        self.era = Some(handshake.era);
        self.version.clone_from(&handshake.protocol_version);
        self.said = Some(CapabilitySnapshot {
            protocol_version: handshake.protocol_version,
            server_info: handshake.server_info,
            capabilities: handshake.capabilities,
            captured_at: told.now,
        });
    }

    fn enter(&mut self, to: ConnectionState, told: &mut Told<'_>) {
        let from = self.state;
        if CONNECTION_CHANGES.contains(&(from, to)) {
            self.state = to;
            told.tell(&self.key.name, RegistryChange::StateChanged { from, to });
        }
    }

    /// S12.
    fn go_out_of_service(&mut self, failure: Failure, told: &mut Told<'_>) {
        let (enough, reason) = (told.policy.unreachable_after - 1, failure.text.clone());
        self.failures = self.failures.max(enough);
        self.fail(failure, told);
        self.enter(Error, told);
        told.tell(&self.key.name, RegistryChange::Unavailable { reason });
    }

    /// What was disconnected on purpose has no connection that could break (K9 is for markers alone).
    fn breaks(&mut self, told: &mut Told<'_>) {
        if self.state != Disconnected {
            self.enter(Error, told);
        }
    }

    /// Plans the `attempt`-th background reconnection in a row.
    fn schedule(&mut self, attempt: u32, restart: bool, unit: f64, told: &mut Told<'_>) {
        let delay = if restart {
            // 0.5, 1, 2 … s, capped at a minute (product §5, Backoff).
            self.restarts = attempt;
            Duration::from_millis((500u64 << (attempt - 1).min(20)).min(60_000))
        } else {
            told.policy.connect_wait(attempt, unit)
        };
        self.series = Some(Series { due: Some(after(told.now, delay.as_micros())), attempt, restart });
        told.tell(&self.key.name, RegistryChange::ReconnectScheduled { delay, attempt });
    }

    /// K1, or K6 where the transport broke before.
    fn begin_connecting(&mut self, told: &mut Told<'_>) {
        match self.state {
            Disconnected => self.enter(Initializing, told),
            Error => self.enter(Reconnecting, told),
            Initializing | Connected | Reconnecting => {}
        }
    }
}

impl Model {
    pub(super) fn new(policy: Arc<Policy>, now: Timestamp) -> Self {
        Self {
            policy,
            now,
            servers: BTreeMap::new(),
            transitions: Vec::new(),
            changes: Vec::new(),
            phases: Vec::new(),
        }
    }

    /// How many events there were.
    pub(super) fn events(&self) -> u64 {
        (self.transitions.len() + self.changes.len() + self.phases.len()) as u64
    }

    /// The registration a key means, unless it was replaced or removed.
    pub(super) fn current(&self, key: &ServerKey) -> Option<&Server> {
        self.servers.get(&key.name).filter(|server| server.key == *key)
    }

    /// Whether there is room for a definition of this name.
    pub(super) fn has_room(&self, name: &ServerName) -> bool {
        self.servers.contains_key(name) || self.servers.len() < self.policy.max_servers
    }

    pub(super) fn register(&mut self, key: ServerKey, definition: Definition) {
        self.tell(&key.name, RegistryChange::Registered);
        self.servers.insert(key.name.clone(), Server::new(key, definition, self.now));
    }

    /// Gives the registration that goes on with another definition, if it can.
    pub(super) fn redefine(&mut self, definition: &Definition) -> Option<ServerKey> {
        let server = self.servers.get_mut(&definition.name)?;
        let mut touched = server.definition.clone();
        touched.priority = definition.priority;
        touched.trust_annotations = definition.trust_annotations;
        touched.critical = definition.critical;
        if touched != *definition || server.definition == *definition {
            return None;
        }
        server.definition = touched;
        let key = server.key.clone();
        self.tell(&key.name, RegistryChange::Redefined);
        Some(key)
    }

    pub(super) fn unregister(&mut self, name: &ServerName) {
        if self.servers.remove(name).is_some() {
            self.tell(name, RegistryChange::Unregistered);
        }
    }

    pub(super) fn success(&mut self, key: &ServerKey, cause: Option<&CorrelationId>) {
        self.change(key, cause, |server, told| server.succeed(told));
    }

    pub(super) fn failure(
        &mut self,
        key: &ServerKey,
        failure: Failure,
        cause: Option<&CorrelationId>,
        lost: bool,
    ) {
        self.change(key, cause, |server, told| {
            server.consecutive += 1;
            server.fail(failure, told);
            if lost {
                server.breaks(told);
            }
        });
    }

    pub(super) fn unavailable(&mut self, key: &ServerKey, reason: &str) {
        self.change(key, None, |server, told| {
            server.go_out_of_service(Failure::new(ErrorCategory::Unknown, reason), told);
        });
    }

    pub(super) fn attempt_failed(&mut self, key: &ServerKey) {
        self.change(key, None, |server, _| server.consecutive += 1);
    }

    pub(super) fn connect_exhausted(&mut self, key: &ServerKey, failure: Failure, attempts: u32, unit: f64) {
        self.change(key, None, |server, told| {
            server.consecutive += 1;
            server.go_out_of_service(failure, told);
            server.schedule(attempts, false, unit, told);
        });
    }

    pub(super) fn reconnect_failed(&mut self, key: &ServerKey, unit: f64) {
        self.change(key, None, |server, told| {
            if let Some(Series { due: None, attempt, restart }) = server.series {
                server.schedule(attempt + 1, restart, unit, told);
            }
        });
    }

    pub(super) fn reconnecting(&mut self, key: &ServerKey) {
        self.change(key, None, |server, told| {
            (server.handshake, server.series) = (None, None);
            server.enter(Reconnecting, told);
        });
    }

    /// Contract §7.6, step 5. `failure`: what is recorded if a threshold is exceeded.
    pub(super) fn probe(&mut self, key: &ServerKey, probe: Answered, failure: Option<Failure>) {
        self.change(key, None, |server, told| {
            server.latency = Some(probe.latency);
            match failure {
                Some(failure) => {
                    server.consecutive += 1;
                    server.fail(failure, told);
                }
                None => server.succeed(told),
            }
        });
    }

    /// Whether a probe that was answered counts as a failure (contract §7.6, step 5).
    pub(super) fn exceeds(&self, probe: &Answered) -> bool {
        let slow = self.policy.latency_threshold.is_some_and(|limit| !probe.opened && probe.latency > limit);
        let limit = self.policy.error_rate_threshold.unwrap_or(1.0);
        slow || probe.error_rate.is_some_and(|rate| rate > limit)
    }

    pub(super) fn connecting(&mut self, key: &ServerKey) {
        self.change(key, None, |server, told| server.begin_connecting(told));
    }

    pub(super) fn handshake(
        &mut self,
        key: &ServerKey,
        handshake: Handshake,
        cause: Option<&CorrelationId>,
        record: bool,
    ) {
        self.change(key, cause, |server, told| {
            server.shake_hands(handshake, told);
            server.series = None;
            server.begin_connecting(told);
            server.enter(Connected, told);
            if record {
                server.succeed(told);
            }
        });
    }

    pub(super) fn handshake_failed(
        &mut self,
        key: &ServerKey,
        failure: Failure,
        cause: Option<&CorrelationId>,
        partial: Option<Handshake>,
        record: bool,
    ) {
        self.change(key, cause, |server, told| {
            if let Some(handshake) = partial {
                server.shake_hands(handshake, told);
            }
            (server.version, server.handshake) = (None, None);
            if record {
                server.consecutive += 1;
                server.fail(failure, told);
            }
            server.breaks(told);
        });
    }

    pub(super) fn lost(&mut self, key: &ServerKey, loss: Loss) {
        self.change(key, None, |server, told| {
            if server.state == Disconnected {
                return;
            }
            server.handshake = None;
            server.breaks(told);
            if loss == Loss::Restartable {
                let held = server.said.as_ref().map(|said| told.now.since(said.captured_at));
                let held_long = held.is_some_and(|held| held >= Duration::from_secs(60));
                let attempt = if held_long { 1 } else { server.restarts + 1 };
                server.schedule(attempt, true, 0.0, told);
            }
        });
    }

    pub(super) fn disconnected(&mut self, key: &ServerKey) {
        self.change(key, None, |server, told| {
            (server.handshake, server.series) = (None, None);
            server.enter(Disconnected, told);
        });
    }

    pub(super) fn tools(&mut self, key: &ServerKey, listed: &KnownTools) {
        self.change(key, None, |server, told| {
            let tools: KnownTools = match &server.definition.tools {
                None => listed.clone(),
                Some(named) => {
                    let found = |name: &String| listed.get(name.as_str()).cloned().unwrap_or_default();
                    named.iter().map(|name| (name.as_str().into(), found(name))).collect()
                }
            };
            told.tell(&server.key.name, RegistryChange::ToolsRefreshed { count: tools.len() });
            server.tools = Some(tools);
        });
    }

    /// What is due now, which is then no longer due.
    pub(super) fn due(&mut self) -> Vec<Due> {
        let (now, policy) = (self.now, self.policy.clone());
        let mut due = Vec::new();
        for server in self.servers.values_mut().filter(|server| server.definition.enabled) {
            if let Some(series) = &mut server.series
                && series.due.is_some_and(|at| at <= now)
            {
                series.due = None;
                due.push(Due::Reconnect(server.key.clone()));
            }
            if server.next_check <= now {
                server.next_check = server.check_after(now, &policy);
                due.push(Due::Check(server.key.clone()));
            }
        }
        due
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        let enabled = self.servers.values().filter(|server| server.definition.enabled);
        enabled
            .flat_map(|server| [Some(server.next_check), server.series.and_then(|series| series.due)])
            .flatten()
            .min()
    }

    /// Contract §4.1, step 1; priority comes before the name.
    fn base(&self, preferred: &[String], only: bool) -> Vec<&Server> {
        let mut base: Vec<&Server> = Vec::new();
        for server in preferred.iter().filter_map(|name| self.named(name)) {
            if !base.iter().any(|taken| taken.key == server.key) {
                base.push(server);
            }
        }
        if !only {
            let taken = base.len();
            let others = self.servers.values();
            let others: Vec<_> =
                others.filter(|server| !base[..taken].iter().any(|one| one.key == server.key)).collect();
            base.extend(others);
            base[taken..]
                .sort_by_key(|server| (Reverse(server.definition.priority), server.key.name.clone()));
        }
        base
    }

    pub(super) fn named(&self, name: &str) -> Option<&Server> {
        self.servers.values().find(|server| server.key.name.as_str() == name)
    }

    pub(super) fn skip(&self, server: &Server, selection: &Selection) -> Option<Skip> {
        let definition = &server.definition;
        let group = definition.group.as_ref().map(ServerName::as_str);
        match () {
            () if !definition.enabled => Some(Skip::Disabled),
            () if selection.group.is_some() && selection.group.as_deref() != group => Some(Skip::NotInGroup),
            () if self.lacks(server, selection) => Some(Skip::LacksTool),
            () if !server.window_is_open(self.now) => server.window.map(Skip::WindowClosed),
            () => None,
        }
    }

    fn lacks(&self, server: &Server, selection: &Selection) -> bool {
        match (&selection.tool, &server.tools) {
            (Some(tool), Some(tools)) => !tools.contains_key(&**tool),
            _ => false,
        }
    }

    /// Contract §4.1, steps 2 and 4.
    pub(super) fn candidates(&self, selection: &Selection) -> Vec<ServerKey> {
        let mut fit = self.base(&selection.preferred, selection.preferred_only);
        fit.retain(|server| self.skip(server, selection).is_none());
        fit.sort_by_key(|server| server.status(&self.policy));
        fit.into_iter().map(|server| server.key.clone()).collect()
    }

    /// Every server with its part in a choice: candidates in their order, then the others with the reason.
    pub(super) fn considered(&self, selection: &Selection) -> Vec<(ServerKey, Option<Skip>)> {
        let candidates = self.candidates(selection);
        let others = self.servers.values().filter(|server| !candidates.contains(&server.key));
        let others: Vec<_> = others
            .map(|server| {
                (server.key.clone(), Some(self.skip(server, selection).unwrap_or(Skip::NotPreferred)))
            })
            .collect();
        candidates.into_iter().map(|key| (key, None)).chain(others).collect()
    }

    pub(super) fn choose(&self, preferred: &[String]) -> Option<ServerKey> {
        let base = self.base(preferred, false);
        let mut fit: Vec<_> = base
            .into_iter()
            .filter(|server| server.definition.enabled && server.status(&self.policy) != Status::Unreachable)
            .collect();
        fit.sort_by_key(|server| server.status(&self.policy));
        fit.first().map(|server| server.key.clone())
    }

    /// The first window to open of those that keep a server out.
    pub(super) fn first_retry(&self, selection: &Selection) -> Option<Timestamp> {
        let base = self.base(&selection.preferred, selection.preferred_only);
        let closed = base.into_iter().filter_map(|server| match self.skip(server, selection) {
            Some(Skip::WindowClosed(until)) => Some(until),
            _ => None,
        });
        closed.min()
    }

    /// Whether every server that could be asked is known to lack the tool, and there is one.
    pub(super) fn offered_nowhere(&self, selection: &Selection) -> bool {
        let anything = Selection { tool: None, ..selection.clone() };
        let base = self.base(&selection.preferred, selection.preferred_only);
        let mut asked = base
            .into_iter()
            .filter(|server| matches!(self.skip(server, &anything), None | Some(Skip::WindowClosed(_))))
            .peekable();
        asked.peek().is_some() && asked.all(|server| self.lacks(server, selection))
    }

    /// Contract §2.5, safety of an operation.
    pub(super) fn safety(
        server: &Server,
        method: &Method,
        idempotent: Option<bool>,
        tool: Option<&str>,
    ) -> CallSafety {
        if *method == Method::ResourcesRead || idempotent == Some(true) {
            return CallSafety::Safe;
        }
        let hints = server.tools.as_ref().zip(tool).and_then(|(tools, tool)| Some(tools.get(tool)?.hints));
        let trusted = server.definition.trust_annotations;
        match (idempotent, hints) {
            (Some(false), _) => CallSafety::Unsafe,
            (_, Some(ToolHints { read_only: Some(true), .. } | ToolHints { idempotent: Some(true), .. }))
                if trusted =>
            {
                CallSafety::Safe
            }
            (
                _,
                Some(ToolHints { read_only: Some(false), idempotent: Some(false), destructive: Some(true) }),
            ) => CallSafety::Unsafe,
            _ => CallSafety::Unknown,
        }
    }

    fn tell(&mut self, server: &ServerName, change: RegistryChange) {
        let told = RegistryEvent { seq: 0, timestamp: self.now, server: server.clone(), change };
        self.changes.push(told);
    }

    /// Changes a server and notes the transition, if it turned out to be one. An old key changes nothing.
    fn change(
        &mut self,
        key: &ServerKey,
        cause: Option<&CorrelationId>,
        change: impl FnOnce(&mut Server, &mut Told<'_>),
    ) {
        let (now, policy) = (self.now, &*self.policy);
        let Some(server) = self.servers.get_mut(&key.name).filter(|server| server.key == *key) else {
            return;
        };
        let from = server.status(policy);
        change(server, &mut Told { now, policy, changes: &mut self.changes });
        let to = server.status(policy);
        if from != to {
            self.transitions.push(ConnectionEvent {
                seq: 0,
                timestamp: now,
                server: key.name.clone(),
                from_status: from,
                to_status: to,
                reason: server.error.as_ref().map_or("healthy".into(), |error| error.text.clone()),
                correlation_id: cause.cloned(),
            });
        }
    }
}

/// `min(2^(n−1) s, max_backoff)` in microseconds (contract §2.2).
pub(super) fn window(policy: &Policy, failures: u32) -> u128 {
    // The registry stops doubling after 136 years.
    let doubled = (1u128 << (failures - 1).min(64)).min(u32::MAX.into());
    (doubled * 1_000_000).min(policy.max_backoff.as_micros())
}

/// How long a directed call waits after its `attempt`-th attempt failed; `None` if that was the last one
/// (contract §2.4).
pub(super) fn call_wait(
    policy: &Policy,
    definition: &Definition,
    attempt: u32,
    failed: &CallFailure,
) -> Option<Duration> {
    let attempts = definition.max_retries.map_or(policy.call_attempts, |more| more.saturating_add(1));
    if attempt >= attempts.clamp(1, 10) || !failed.transient {
        return None;
    }
    if let Some(asked) = failed.retry_after {
        return Some(asked.min(policy.call_wait_max.saturating_mul(6)));
    }
    let (first, least) = match definition.retry_delay {
        Some(delay) => (delay, Duration::ZERO),
        None => (policy.call_wait_multiplier, policy.call_wait_min),
    };
    Some(first.saturating_mul(1 << (attempt - 1)).max(least).min(policy.call_wait_max))
}

/// An instant, at the latest the last one there is.
fn after(now: Timestamp, micros: u128) -> Timestamp {
    let sum = i128::from(now.as_micros()) + i128::try_from(micros).unwrap_or(i128::from(i64::MAX));
    Timestamp::from_micros(i64::try_from(sum).unwrap_or(i64::MAX))
}
