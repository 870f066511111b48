//! The registry: every change of every server's state goes through here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mcp_protocol::{Era, RawJson};

use crate::category::{ErrorCategory, Failure};
use crate::clock::Timestamp;
use crate::definition::Definition;
use crate::event::{ConnectionEvent, CorrelationId, RegistryChange};
use crate::journal::Journal;
use crate::name::ServerName;
use crate::policy::{Answered, Policy, doubled};
use crate::record::{
    CapabilitySnapshot, ConnectionState, Generation, KnownTools, Reconnect, Series, ServerKey, ServerRecord,
    Status,
};
use crate::routing::RoutingTable;

/// All registered servers. Reads no clock and performs no I/O: time and outcomes are arguments.
///
/// Architecture invariant: a change of status and its event happen in one call, so the list of events is
/// the list of changes.
#[derive(Debug)]
pub struct Registry {
    policy: Arc<Policy>,
    journal: Arc<Journal>,
    servers: BTreeMap<ServerName, Arc<ServerRecord>>,
    last_generation: u64,
    table: Arc<RoutingTable>,
}

/// The registry is full.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{limit} servers are registered, which is the limit (policy.max_servers); remove one first")]
pub struct RegistryFull {
    /// The limit.
    pub limit: usize,
}

/// A change of the connection state that contract §1.5 does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection state cannot change from {} to {}", from.as_str(), to.as_str())]
pub struct InvalidTransition {
    /// The state there is.
    pub from: ConnectionState,
    /// The state asked for.
    pub to: ConnectionState,
}

/// What a successful handshake or discovery told (contract §3.1, §3.6).
#[derive(Debug, Clone)]
pub struct Handshake {
    /// Era of the server.
    pub era: Era,
    /// Revision as the server wrote it.
    pub protocol_version: Option<String>,
    /// `serverInfo`, if an object.
    pub server_info: Option<RawJson>,
    /// `capabilities`, if an object.
    pub capabilities: Option<RawJson>,
    /// How long a discovery stays fresh by its own word; `None`: no word.
    pub ttl: Option<Duration>,
}

/// Why a connection was lost, as far as the registry cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// It broke, and the gateway should bring it back by itself (a crashed child process).
    Restartable,
    /// It broke; the next use brings it back.
    Lazy,
}

/// Work that has become due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// A periodic health check.
    Check(ServerKey),
    /// A planned background reconnection.
    Reconnect(ServerKey),
}

/// First delay of a background restart; doubles up to [`RESTART_MAX`]. Source: product §5, Backoff.
const RESTART_BASE: Duration = Duration::from_millis(500);
/// Longest delay of a background restart.
const RESTART_MAX: Duration = Duration::from_secs(60);
/// A connection that held this long starts the restart delays anew.
const RESTART_FORGIVEN: Duration = Duration::from_secs(60);

impl Registry {
    /// An empty registry that records into `journal`.
    #[must_use]
    pub fn new(policy: Arc<Policy>, journal: Arc<Journal>) -> Self {
        Self { policy, journal, servers: BTreeMap::new(), last_generation: 0, table: Arc::default() }
    }

    /// Registers a server or replaces the one of that name: the whole record starts anew (S1).
    ///
    /// # Errors
    /// [`RegistryFull`] if it would be one too many.
    pub fn register(
        &mut self,
        now: Timestamp,
        definition: Definition,
    ) -> Result<Arc<ServerRecord>, RegistryFull> {
        let name = definition.name.clone();
        if !self.servers.contains_key(&name) && self.servers.len() >= self.policy.max_servers {
            return Err(RegistryFull { limit: self.policy.max_servers });
        }
        self.last_generation += 1;
        let record = Arc::new(ServerRecord::new(definition, Generation(self.last_generation), now));
        self.servers.insert(name.clone(), record.clone());
        self.journal.registry(now, name, RegistryChange::Registered);
        self.publish();
        Ok(record)
    }

    /// Puts a definition in the place of one that it [differs](Definition::carries_over) from in nothing that concerns
    /// the server: its record goes on. `None`: there is none like that, or it is the same to the letter, which is for
    /// [`register`](Self::register).
    pub fn redefine(&mut self, now: Timestamp, definition: &Definition) -> Option<Arc<ServerRecord>> {
        let slot = self.servers.get_mut(&definition.name)?;
        if *slot.definition == *definition || !slot.definition.carries_over(definition) {
            return None;
        }
        Arc::make_mut(slot).definition = Arc::new(definition.clone());
        let record = slot.clone();
        self.journal.registry(now, definition.name.clone(), RegistryChange::Redefined);
        self.publish();
        Some(record)
    }

    /// Removes a server (S13); returns its last record.
    pub fn unregister(&mut self, now: Timestamp, name: &str) -> Option<Arc<ServerRecord>> {
        let (name, record) = self.servers.remove_entry(name)?;
        self.journal.registry(now, name, RegistryChange::Unregistered);
        self.publish();
        Some(record)
    }

    /// A success of any recorded kind (S2–S4).
    pub fn record_success(&mut self, now: Timestamp, key: &ServerKey, correlation: Option<&CorrelationId>) {
        self.update(key, |record, journal, policy| succeed(record, now, correlation, journal, policy));
    }

    /// A failure of any recorded kind (S5–S9). `session_lost` also takes the connection down (§1.6).
    pub fn record_failure(
        &mut self,
        now: Timestamp,
        key: &ServerKey,
        failure: Failure,
        correlation: Option<&CorrelationId>,
        session_lost: bool,
    ) {
        self.update(key, |record, journal, policy| {
            record.consecutive_failures = record.consecutive_failures.saturating_add(1);
            fail(record, now, failure, correlation, journal, policy);
            if session_lost {
                broken(record, now, journal);
            }
        });
    }

    /// An attempt failed that is not the last of its series: of a directed call (§2.4, §8.4) or of
    /// a connect (§2.6). It counts as a failure in a row, but is no check result.
    pub fn attempt_failed(&mut self, key: &ServerKey) {
        self.update(key, |record, _, _| {
            record.consecutive_failures = record.consecutive_failures.saturating_add(1);
        });
    }

    /// S10: an operator says the server is fine.
    pub fn mark_healthy(&mut self, now: Timestamp, key: &ServerKey) {
        self.record_success(now, key, None);
    }

    /// S11: an operator says the server failed.
    pub fn mark_degraded(&mut self, now: Timestamp, key: &ServerKey, reason: &str) {
        self.record_failure(now, key, Failure::new(ErrorCategory::Unknown, reason), None, false);
    }

    /// S12: out of service at once, whatever the count says.
    pub fn mark_unavailable(&mut self, now: Timestamp, key: &ServerKey, reason: &str) {
        let failure = Failure::new(ErrorCategory::Unknown, reason);
        self.update(key, |record, journal, policy| unavailable(record, now, failure, journal, policy));
    }

    /// All attempts of a connect failed, `attempts` in number: the server is out of service (S12) and
    /// background reconnections continue the series of waits (§2.6). The attempts before the last were counted as
    /// they failed. `unit` is a random number from 0 to 1.
    pub fn connect_exhausted(
        &mut self,
        now: Timestamp,
        key: &ServerKey,
        failure: Failure,
        attempts: u32,
        unit: f64,
    ) {
        self.update(key, |record, journal, policy| {
            record.consecutive_failures = record.consecutive_failures.saturating_add(1);
            unavailable(record, now, failure, journal, policy);
            plan_reconnect(
                record,
                now,
                Series::Connect,
                attempts,
                policy.connect_wait(attempts, unit),
                journal,
            );
        });
    }

    /// A background reconnection failed, or its turn was missed: the next one is planned. `unit` is a
    /// random number from 0 to 1.
    pub fn reconnect_failed(&mut self, now: Timestamp, key: &ServerKey, unit: f64) {
        self.update(key, |record, journal, policy| {
            let Some(Reconnect { at: None, attempt, series }) = record.reconnect else { return };
            let attempt = attempt.saturating_add(1);
            let wait = match series {
                Series::Restart => {
                    record.restarts = attempt;
                    restart_wait(attempt)
                }
                Series::Connect => policy.connect_wait(attempt, unit),
            };
            plan_reconnect(record, now, series, attempt, wait, journal);
        });
    }

    /// A health probe was answered: a success, unless a threshold of the policy makes it a failure, which is
    /// returned then (contract §7.6).
    pub fn probe_answered(&mut self, now: Timestamp, key: &ServerKey, probe: Answered) -> Option<Failure> {
        let mut failure = None;
        self.update(key, |record, journal, policy| {
            record.response_time = Some(probe.latency);
            failure = policy.objection(&probe).map(|text| Failure::new(ErrorCategory::HealthCheck, text));
            match failure.clone() {
                Some(failure) => {
                    record.consecutive_failures = record.consecutive_failures.saturating_add(1);
                    fail(record, now, failure, None, journal, policy);
                }
                None => succeed(record, now, None, journal, policy),
            }
        });
        failure
    }

    /// A connection or a handshake on one begins (K1, K6). On a live connection nothing changes.
    pub fn connecting(&mut self, now: Timestamp, key: &ServerKey) {
        self.update(key, |record, journal, _| connecting(record, now, journal));
    }

    /// An operator wants the server connected anew (K6).
    pub fn reconnecting(&mut self, now: Timestamp, key: &ServerKey) {
        self.update(key, |record, journal, _| {
            uninitialise(record);
            record.reconnect = None;
            connection(record, now, ConnectionState::Reconnecting, journal);
        });
    }

    /// A handshake succeeded (contract §3.1 step 6). Records one success, unless the handshake belongs to
    /// something whose own outcome counts instead (`record` is false, §2.3).
    pub fn handshake_succeeded(
        &mut self,
        now: Timestamp,
        key: &ServerKey,
        handshake: Handshake,
        correlation: Option<&CorrelationId>,
        record: bool,
    ) {
        self.update(key, |server, journal, policy| {
            apply_handshake(server, now, handshake, policy);
            server.reconnect = None;
            // Something may have ended the connection state while the handshake was under way.
            connecting(server, now, journal);
            connection(server, now, ConnectionState::Connected, journal);
            if record {
                succeed(server, now, correlation, journal, policy);
            }
        });
    }

    /// A handshake failed (§3.1 step 5). `partial` is what the server said if only the final notification
    /// could not be sent: the snapshot is kept, the version is not (step 8). Records one failure, unless the
    /// handshake belongs to something whose own outcome counts instead (`record` is false).
    pub fn handshake_failed(
        &mut self,
        now: Timestamp,
        key: &ServerKey,
        failure: Failure,
        correlation: Option<&CorrelationId>,
        partial: Option<Handshake>,
        record: bool,
    ) {
        self.update(key, |server, journal, policy| {
            if let Some(handshake) = partial {
                apply_handshake(server, now, handshake, policy);
            }
            server.protocol_version = None;
            uninitialise(server);
            if record {
                server.consecutive_failures = server.consecutive_failures.saturating_add(1);
                fail(server, now, failure, correlation, journal, policy);
            }
            broken(server, now, journal);
        });
    }

    /// The connection broke outside of any call (K5). Availability does not change by itself (§1.6). Nothing
    /// happens if somebody disconnected the server meanwhile.
    pub fn connection_lost(&mut self, now: Timestamp, key: &ServerKey, loss: Loss) {
        self.update(key, |record, journal, _| {
            if record.connection_state == ConnectionState::Disconnected {
                return;
            }
            let held = record.last_initialized_at.map(|at| now.since(at));
            uninitialise(record);
            broken(record, now, journal);
            if loss == Loss::Restartable && record.definition.restart {
                let again = held.is_none_or(|held| held < RESTART_FORGIVEN);
                record.restarts = if again { record.restarts.saturating_add(1) } else { 1 };
                let attempt = record.restarts;
                plan_reconnect(record, now, Series::Restart, attempt, restart_wait(attempt), journal);
            }
        });
    }

    /// The connection was closed on purpose (K4): disconnect, or invalidation of its session.
    pub fn disconnected(&mut self, now: Timestamp, key: &ServerKey) {
        self.update(key, |record, journal, _| {
            uninitialise(record);
            record.reconnect = None;
            connection(record, now, ConnectionState::Disconnected, journal);
        });
    }

    /// All attempts of a connect failed, and background reconnections, if any, are planned elsewhere: the server is
    /// out of service (S12). Otherwise like [`connect_exhausted`](Self::connect_exhausted).
    pub fn connect_failed(&mut self, now: Timestamp, key: &ServerKey, failure: Failure) {
        self.update(key, |record, journal, policy| {
            record.consecutive_failures = record.consecutive_failures.saturating_add(1);
            unavailable(record, now, failure, journal, policy);
        });
    }

    /// Sets the connection state to what somebody else found it to be. A registration that was replaced or removed
    /// stays as it is.
    ///
    /// # Errors
    /// [`InvalidTransition`]; nothing is changed.
    pub fn set_connection(
        &mut self,
        now: Timestamp,
        key: &ServerKey,
        to: ConnectionState,
    ) -> Result<(), InvalidTransition> {
        let mut outcome = Ok(());
        self.update(key, |record, journal, _| {
            let from = record.connection_state;
            if !from.may_become(to) {
                outcome = Err(InvalidTransition { from, to });
                return;
            }
            if to != ConnectionState::Connected {
                uninitialise(record);
            }
            connection(record, now, to, journal);
        });
        outcome
    }

    /// The server's tools were listed. Where the operator named the tools, those stay the known set and the
    /// list only describes them (contract §8.3).
    pub fn tools_listed(&mut self, now: Timestamp, key: &ServerKey, mut tools: KnownTools) {
        self.update(key, |record, journal, _| {
            if let Some(configured) = &record.definition.tools {
                let mut described = |name: &str| tools.remove(name).unwrap_or_default();
                tools = configured.iter().map(|name| (name.as_str().into(), described(name))).collect();
            }
            let change = RegistryChange::ToolsRefreshed { count: tools.len() };
            record.tools = Some(Arc::new(tools));
            journal.registry(now, record.name().clone(), change);
        });
    }

    /// Drops the secrets of all definitions, at the end: nothing is connected any more (contract §7.7, step 6).
    pub fn drop_secrets(&mut self) {
        for record in self.servers.values_mut() {
            let mut definition = Definition::clone(&record.definition);
            definition.endpoint.take_secrets();
            Arc::make_mut(record).definition = Arc::new(definition);
        }
        self.publish();
    }

    /// What is due at `now`; each item is handed out once. A check is planned anew at once, so that one
    /// that hangs or panics never stops the series (contract §7.6).
    #[must_use]
    pub fn due(&mut self, now: Timestamp) -> Vec<Due> {
        let mut due = Vec::new();
        for record in self.servers.values_mut().filter(|record| record.definition.enabled) {
            if let Some(planned) = record.reconnect.filter(|planned| planned.at.is_some_and(|at| at <= now)) {
                Arc::make_mut(record).reconnect = Some(Reconnect { at: None, ..planned });
                due.push(Due::Reconnect(record.key()));
            }
            if record.next_check_at <= now {
                let next = next_check(record, now, &self.policy);
                Arc::make_mut(record).next_check_at = next;
                // A check connects, which would be the restart that is not wanted.
                let rests = !record.definition.restart && record.connection_state == ConnectionState::Error;
                if !rests {
                    due.push(Due::Check(record.key()));
                }
            }
        }
        due
    }

    /// When [`due`](Self::due) has something to hand out.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let enabled = self.servers.values().filter(|record| record.definition.enabled);
        enabled
            .map(|record| {
                let reconnect = record.reconnect.and_then(|planned| planned.at);
                reconnect.map_or(record.next_check_at, |at| at.min(record.next_check_at))
            })
            .min()
    }

    /// The current state of all servers, for lock-free reading.
    #[must_use]
    pub fn table(&self) -> &Arc<RoutingTable> {
        &self.table
    }

    /// The record of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<ServerRecord>> {
        self.servers.get(name)
    }

    /// Whether the server's window is open; an unknown name is never retried (contract §2.2).
    #[must_use]
    pub fn should_retry(&self, name: &str, now: Timestamp) -> bool {
        self.get(name).is_some_and(|record| record.should_retry(now))
    }

    /// Changes one record, unless it was replaced or removed since the work began.
    fn update(&mut self, key: &ServerKey, change: impl FnOnce(&mut ServerRecord, &Journal, &Policy)) {
        let Some(slot) = self.servers.get_mut(&key.name).filter(|record| record.generation == key.generation)
        else {
            return;
        };
        change(Arc::make_mut(slot), &self.journal, &self.policy);
        self.publish();
    }

    fn publish(&mut self) {
        self.table = Arc::new(RoutingTable::new(self.servers.values().cloned()));
    }
}

/// Effects of a success (S2–S4, S10).
fn succeed(
    record: &mut ServerRecord,
    now: Timestamp,
    correlation: Option<&CorrelationId>,
    journal: &Journal,
    policy: &Policy,
) {
    record.last_error = None;
    record.last_error_category = None;
    record.last_error_delivery = None;
    record.retry_count = 0;
    record.consecutive_failures = 0;
    record.next_retry_at = None;
    record.touch(now);
    if record.status != Status::Healthy {
        status(record, now, Status::Healthy, "healthy".into(), correlation, journal);
        // The interval of healthy servers begins with the success (contract §7.6). A check that is due stays so.
        if record.next_check_at > now {
            record.next_check_at = next_check(record, now, policy);
        }
    }
}

/// Common failure effects (contract §1.4).
fn fail(
    record: &mut ServerRecord,
    now: Timestamp,
    failure: Failure,
    correlation: Option<&CorrelationId>,
    journal: &Journal,
    policy: &Policy,
) {
    uninitialise(record);
    record.retry_count = record.retry_count.saturating_add(1);
    record.last_error = Some(failure.text.clone());
    record.last_error_category = Some(failure.category);
    record.last_error_delivery = failure.delivery;
    let window = now + policy.backoff(record.retry_count);
    record.next_retry_at = Some(window);
    record.touch(now);
    let to =
        if record.retry_count >= policy.unreachable_after { Status::Unreachable } else { Status::Degraded };
    status(record, now, to, failure.text, correlation, journal);
    let soon = next_check(record, now, policy);
    record.next_check_at = record.next_check_at.min(soon).max(window);
}

/// Effects of S12.
fn unavailable(
    record: &mut ServerRecord,
    now: Timestamp,
    failure: Failure,
    journal: &Journal,
    policy: &Policy,
) {
    record.retry_count = record.retry_count.max(policy.unreachable_after.saturating_sub(1));
    let reason = failure.text.clone();
    fail(record, now, failure, None, journal, policy);
    connection(record, now, ConnectionState::Error, journal);
    journal.registry(now, record.name().clone(), RegistryChange::Unavailable { reason });
}

fn plan_reconnect(
    record: &mut ServerRecord,
    now: Timestamp,
    series: Series,
    attempt: u32,
    delay: Duration,
    journal: &Journal,
) {
    record.reconnect = Some(Reconnect { at: Some(now + delay), attempt, series });
    let change = RegistryChange::ReconnectScheduled { delay, attempt };
    journal.registry(now, record.name().clone(), change);
}

/// How long a child process that ended for the `attempt`-th time in a row stays down.
fn restart_wait(attempt: u32) -> Duration {
    doubled(RESTART_BASE, attempt).min(RESTART_MAX)
}

/// When a server is checked next: a sick one sooner, but never inside its retry window.
fn next_check(record: &ServerRecord, now: Timestamp, policy: &Policy) -> Timestamp {
    match record.status {
        Status::Healthy => now + policy.health_interval,
        Status::Degraded | Status::Unreachable => {
            let soon = now + policy.degraded_health_interval;
            record.next_retry_at.map_or(soon, |at| at.max(soon))
        }
    }
}

fn uninitialise(record: &mut ServerRecord) {
    record.initialized = false;
    record.initialization_expires_at = None;
}

fn apply_handshake(record: &mut ServerRecord, now: Timestamp, handshake: Handshake, policy: &Policy) {
    let limit = match (policy.max_initialization_age, handshake.ttl) {
        (Some(age), Some(ttl)) => Some(age.min(ttl)),
        (age, ttl) => age.or(ttl),
    };
    record.era = Some(handshake.era);
    record.protocol_version = handshake.protocol_version.clone();
    record.initialized = true;
    record.last_initialized_at = Some(now);
    record.initialization_expires_at = limit.map(|limit| now + limit);
    record.capability_snapshot = Some(Arc::new(CapabilitySnapshot {
        protocol_version: handshake.protocol_version,
        server_info: handshake.server_info,
        capabilities: handshake.capabilities,
        captured_at: now,
    }));
}

/// Changes the status; an event exactly when the value changes (contract §1.4).
fn status(
    record: &mut ServerRecord,
    now: Timestamp,
    to: Status,
    reason: Arc<str>,
    correlation: Option<&CorrelationId>,
    journal: &Journal,
) {
    let from = std::mem::replace(&mut record.status, to);
    if from != to {
        journal.connection(ConnectionEvent {
            seq: 0, // set by the journal
            timestamp: now,
            server: record.name().clone(),
            from_status: from,
            to_status: to,
            reason,
            correlation_id: correlation.cloned(),
        });
    }
}

/// The state of a server that is being connected (K1, K6).
fn connecting(record: &mut ServerRecord, now: Timestamp, journal: &Journal) {
    let to = match record.connection_state {
        ConnectionState::Disconnected => ConnectionState::Initializing,
        ConnectionState::Error => ConnectionState::Reconnecting,
        other => other,
    };
    connection(record, now, to, journal);
}

/// A connection or an attempt at one broke (K3, K5, K8). Somebody may have disconnected the server
/// meanwhile, who meant it to have none.
fn broken(record: &mut ServerRecord, now: Timestamp, journal: &Journal) {
    if record.connection_state != ConnectionState::Disconnected {
        connection(record, now, ConnectionState::Error, journal);
    }
}

/// Changes the connection state where contract §1.5 allows it; staying is no event.
fn connection(record: &mut ServerRecord, now: Timestamp, to: ConnectionState, journal: &Journal) {
    let from = record.connection_state;
    if from != to && from.may_become(to) {
        record.connection_state = to;
        journal.registry(now, record.name().clone(), RegistryChange::StateChanged { from, to });
    }
}
