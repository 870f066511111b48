//! The pure core: a registry under random operations, beside a model of what it should do.
//!
//! Each seed draws a policy (extreme values included), servers and a few hundred operations: results,
//! handshakes, losses, operators' marks, replaced and removed definitions, results that come too late,
//! time that stands still or jumps by years, and whole calls with failover during which other operations
//! go on. After each of them every record, the candidates of calls, what is due, and all events are
//! compared with the model.

mod calls;
mod checks;
mod model;
mod ops;

use std::sync::Arc;
use std::time::Duration;

use mcp_registry::{
    Clock, CorrelationId, Due, Journal, Policy, Registry, ServerKey, StartLimit, Subscription, Timestamp,
};

use super::{Broken, Replay, Run};
use crate::{Dice, ManualClock};
use checks::{Check, Fault, Windows, same};
use model::Model;
use ops::{Mix, Op};

/// Runs one seed.
///
/// # Errors
/// The first rule that did not hold.
pub fn run(seed: u64) -> Result<Run, Broken> {
    World::new(&Dice::new(seed)).run(seed)
}

/// The same, with a line for every operation: the same lines for the same seed.
pub fn replay(seed: u64) -> Replay {
    let mut world = World::new(&Dice::new(seed));
    world.log = Some(Vec::new());
    let outcome = world.run(seed);
    (outcome, world.log.unwrap_or_default())
}

/// A registry, its model, and what they have in common.
struct World {
    dice: Dice,
    mix: Mix,
    clock: ManualClock,
    policy: Arc<Policy>,
    journal: Arc<Journal>,
    registry: Registry,
    /// Somebody who is told of events as they happen, in some runs.
    observer: Option<Subscription>,
    /// The number of the latest event the observer saw.
    observed: u64,
    model: Model,
    /// Registrations that were replaced or removed: results for them come too late.
    retired: Vec<ServerKey>,
    windows: Windows,
    starts: StartLimit,
    started: Vec<Timestamp>,
    steps: u64,
    calls: u64,
    /// The current operation, for the report.
    doing: String,
    /// A line for each operation, if anybody wants to read them.
    log: Option<Vec<String>>,
}

impl World {
    fn new(dice: &Dice) -> Self {
        let policy = Arc::new(ops::policy(dice));
        let journal = Arc::new(Journal::new(&policy));
        Self {
            mix: Mix::draw(dice),
            dice: dice.fork(),
            clock: ManualClock::new(),
            registry: Registry::new(policy.clone(), journal.clone()),
            observer: dice.chance(20).then(|| journal.subscribe()),
            observed: 0,
            model: Model::new(policy.clone(), ManualClock::START),
            policy,
            journal,
            retired: Vec::new(),
            windows: Windows::default(),
            starts: StartLimit::default(),
            started: Vec::new(),
            steps: 0,
            calls: 0,
            doing: String::new(),
            log: None,
        }
    }

    fn run(&mut self, seed: u64) -> Result<Run, Broken> {
        let outcome = self.live();
        let broken = |fault: Fault| Broken {
            seed,
            step: self.steps,
            invariant: fault.invariant,
            what: format!("{}; at {} during {}", fault.what, self.clock.now(), self.doing),
        };
        outcome.map_err(broken)?;
        Ok(Run { steps: self.steps, simulated: self.clock.elapsed() })
    }

    fn live(&mut self) -> Check {
        for _ in 0..100 + self.dice.below(200) {
            let op = self.draw();
            self.step(op)?;
        }
        self.story()
    }

    /// The next operation.
    fn draw(&self) -> Op {
        let late = !self.retired.is_empty() && self.dice.chance(10);
        let now = self.model.now;
        if late {
            return self.mix.next(&self.dice, &self.retired, &[], &[]);
        }
        let keys: Vec<_> = self.model.servers.values().map(|server| server.key.clone()).collect();
        let instants = self.model.servers.values().flat_map(model::Server::instants);
        let ahead = instants.map(|at| at.since(now)).filter(|ahead| *ahead < ops::LONGEST_STEP);
        let definitions: Vec<_> = self.model.servers.values().map(|server| &server.definition).collect();
        self.mix.next(&self.dice, &keys, &definitions, &ahead.collect::<Vec<_>>())
    }

    /// Does one operation in both worlds and compares them.
    fn step(&mut self, op: Op) -> Check {
        self.steps += 1;
        let late = op.key().is_some_and(|key| self.model.current(key).is_none());
        self.doing = format!("{op:?}");
        if let Some(log) = &mut self.log {
            log.push(format!("{:>4} {} {}", self.steps, self.model.now, self.doing));
        }
        match op {
            Op::Call(call) => self.call(call)?,
            Op::Directed(key, call) => self.directed(&key, call)?,
            op => self.perform(op)?,
        }
        self.compare().map_err(|fault| match late {
            true => Fault { invariant: "a result for an older registration changes nothing", ..fault },
            false => fault,
        })
    }

    fn perform(&mut self, op: Op) -> Check {
        let Self { registry, model, .. } = self;
        let now = model.now;
        let cause = |cause: &Option<CorrelationId>| cause.clone();
        match op {
            Op::Advance(by) => {
                self.clock.advance(by);
                self.model.now = self.clock.now();
            }
            Op::Register(definition) => {
                let name = definition.name.clone();
                let room = model.has_room(&name);
                let registered = registry.register(now, (*definition).clone());
                same("a full registry refuses a new name only", "registered", &registered.is_ok(), &room)?;
                if let Ok(record) = registered {
                    self.retired.extend(self.model.servers.get(&name).map(|server| server.key.clone()));
                    let newest = self.retired.iter().map(|key| key.generation).max();
                    if newest >= Some(record.generation) {
                        return Err(Fault::new("generations grow", format!("{:?}", record.generation)));
                    }
                    self.model.register(record.key(), *definition);
                }
            }
            Op::Redefine(definition) => {
                let expected = model.redefine(&definition);
                let found = registry.redefine(now, &definition).map(|record| record.key());
                same("a server goes on that need not know of the change", "key", &found, &expected)?;
            }
            Op::Unregister(name) => {
                let removed = registry.unregister(now, name.as_str()).map(|record| record.key());
                let expected = model.servers.get(&name).map(|server| server.key.clone());
                same("unregister returns the last record", "key", &removed, &expected)?;
                model.unregister(&name);
                self.retired.extend(expected);
            }
            Op::Success(key, by) => {
                registry.record_success(now, &key, cause(&by).as_ref());
                model.success(&key, by.as_ref());
            }
            Op::Failure { key, failure, cause, lost } => {
                registry.record_failure(now, &key, failure.clone(), cause.as_ref(), lost);
                model.failure(&key, failure, cause.as_ref(), lost);
            }
            Op::AttemptFailed(key) => {
                registry.attempt_failed(&key);
                model.attempt_failed(&key);
            }
            Op::ConnectExhausted { key, failure, attempts, unit } => {
                registry.connect_exhausted(now, &key, failure.clone(), attempts, unit);
                model.connect_exhausted(&key, failure, attempts, unit);
                checks::connect_wait(&self.policy, attempts, unit)?;
            }
            Op::ReconnectFailed(key, unit) => {
                registry.reconnect_failed(now, &key, unit);
                model.reconnect_failed(&key, unit);
            }
            Op::Reconnecting(key) => {
                registry.reconnecting(now, &key);
                model.reconnecting(&key);
            }
            Op::MarkHealthy(key) => {
                registry.mark_healthy(now, &key);
                model.success(&key, None);
            }
            Op::MarkDegraded(key, reason) => {
                registry.mark_degraded(now, &key, reason);
                let failure = mcp_registry::Failure::new(mcp_registry::ErrorCategory::Unknown, reason);
                model.failure(&key, failure, None, false);
            }
            Op::MarkUnavailable(key, reason) => {
                registry.mark_unavailable(now, &key, reason);
                model.unavailable(&key, reason);
            }
            Op::Probe(key, probe) => {
                let failure = registry.probe_answered(now, &key, probe);
                let exceeds = model.current(&key).is_some() && model.exceeds(&probe);
                same("thresholds make a failure of an answer", "failed", &failure.is_some(), &exceeds)?;
                model.probe(&key, probe, failure);
            }
            Op::Connecting(key) => {
                registry.connecting(now, &key);
                model.connecting(&key);
            }
            Op::Handshake { key, handshake, cause, record } => {
                registry.handshake_succeeded(now, &key, handshake.clone(), cause.as_ref(), record);
                model.handshake(&key, handshake, cause.as_ref(), record);
            }
            Op::HandshakeFailed { key, failure, cause, partial, record } => {
                let said = (failure.clone(), partial.clone());
                registry.handshake_failed(now, &key, said.0, cause.as_ref(), said.1, record);
                model.handshake_failed(&key, failure, cause.as_ref(), partial, record);
            }
            Op::Lost(key, loss) => {
                registry.connection_lost(now, &key, loss);
                model.lost(&key, loss);
            }
            Op::Disconnected(key) => {
                registry.disconnected(now, &key);
                model.disconnected(&key);
            }
            Op::Tools(key, tools) => {
                model.tools(&key, &tools);
                registry.tools_listed(now, &key, tools);
            }
            Op::Due => {
                let due = |mut due: Vec<Due>| {
                    due.sort_by_key(|due| match due {
                        Due::Reconnect(key) => (key.clone(), 0),
                        Due::Check(key) => (key.clone(), 1),
                    });
                    due
                };
                let rule = "due hands out what is due, once";
                same(rule, "due", &due(registry.due(now)), &due(model.due()))?;
                same(rule, "due again", &registry.due(now), &Vec::new())?;
            }
            Op::Start => self.start()?,
            Op::Select(selection) => {
                self.select(&selection)?;
                self.filters()?;
            }
            Op::Call(_) | Op::Directed(..) => {}
        }
        Ok(())
    }

    /// At most 12 starts within any minute, and no fewer (product §5, Backoff).
    fn start(&mut self) -> Check {
        let (now, minute) = (self.model.now, Duration::from_secs(60));
        let mut recent = self.started.iter().filter(|&&start| now.since(start) < minute);
        let expected = match self.started.len() {
            _ if recent.clone().count() < 12 => Ok(()),
            _ => Err(recent.next().map_or(minute, |&first| minute - now.since(first))),
        };
        if expected.is_ok() {
            self.started.push(now);
        }
        same("at most 12 starts a minute", "start", &self.starts.try_start(now), &expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_keeps_to_the_model() {
        for seed in 0..100 {
            let run = run(seed).unwrap();
            assert!(run.steps >= 100, "seed {seed}");
        }
    }

    #[test]
    fn a_seed_repeats_its_run() {
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        let (outcome, lines) = replay(7);
        assert_eq!(outcome, run(7));
        assert_eq!(lines.len() as u64, run(7).unwrap().steps);
    }
}
