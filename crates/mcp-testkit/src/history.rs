//! What was asked, what came of it and what servers really did, for checking afterwards.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mcp_registry::Timestamp;
use mcp_transport::Delivery;

/// A record of operations, each known by a nonce of its own that travels with it to whoever executes it.
/// Clones share the record, so that callers and servers write into the same one.
///
/// Callers note [`began`](Self::began) and [`ended`](Self::ended), servers [`executed`](Self::executed),
/// and both ends of a stream [`sent`](Self::sent) and [`received`](Self::received). [`check`](Self::check)
/// then looks for broken promises. Source: reliability §4, invariants I1 to I5 and I9.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use mcp_testkit::{History, ManualClock, Outcome, Promise};
/// use mcp_registry::Clock;
///
/// let (history, clock) = (History::new(), ManualClock::new());
/// let promise = Promise { deadline: clock.now() + Duration::from_secs(30), executions: 1 };
/// history.began("n1", promise);
/// history.executed("primary", "n1"); // the server does the work ...
/// clock.advance(Duration::from_secs(2));
/// history.ended("n1", clock.now(), Outcome::Success { payload: "n1".into() });
/// assert_eq!(history.check(clock.now()).unwrap().succeeded, 1);
///
/// history.executed("backup", "n1"); // ... and so does another one, which it must not
/// let broken = history.check(clock.now()).unwrap_err();
/// assert_eq!(broken.to_string(), "I3: n1: executed 2 times (primary, backup), at most 1 allowed");
/// ```
#[derive(Debug, Clone, Default)]
pub struct History(Arc<Mutex<BTreeMap<String, Entry>>>);

/// What the system under test owes an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    /// When the caller has its outcome at the latest (the limit of the call and whatever grace it has).
    pub deadline: Timestamp,
    /// How often it may be executed at most: 1, or more where it is safe to repeat.
    pub executions: u32,
}

/// How an operation ended for its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Success {
        /// The nonce that the answer carried.
        payload: String,
    },
    /// It failed, and this is what the caller was told of how far it got.
    Failure(Delivery),
}

/// Counts of a history without a broken promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Operations answered.
    pub succeeded: usize,
    /// Operations failed.
    pub failed: usize,
    /// Operations that still have time to end.
    pub open: usize,
    /// Executions noted by servers.
    pub executions: usize,
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{invariant}: {nonce}: {what}")]
pub struct Violation {
    /// Which invariant.
    pub invariant: Invariant,
    /// Of which operation.
    pub nonce: String,
    /// What happened instead.
    pub what: String,
}

/// The invariants a [`History`] is checked for. Source: reliability §4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Invariant {
    /// I1: one outcome per nonce, by its deadline.
    OneOutcome,
    /// I2: the answer carries the nonce of the operation it answers.
    OwnAnswer,
    /// I3: executed no more often than promised.
    BoundedExecutions,
    /// I4: what succeeded was executed.
    SuccessMeansExecuted,
    /// I5: what was said not to have been executed was not.
    HonestDelivery,
    /// I9: a stream shows its own items only, in the order they were sent. It may lose some.
    StreamOrder,
}

impl Invariant {
    /// The stable spelling: `I1` and so on.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OneOutcome => "I1",
            Self::OwnAnswer => "I2",
            Self::BoundedExecutions => "I3",
            Self::SuccessMeansExecuted => "I4",
            Self::HonestDelivery => "I5",
            Self::StreamOrder => "I9",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, Default)]
struct Entry {
    /// More than one is a nonce used twice.
    promises: Vec<Promise>,
    outcomes: Vec<(Timestamp, Outcome)>,
    executed_by: Vec<String>,
    sent: Vec<u64>,
    received: Vec<u64>,
}

impl History {
    /// An empty record.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A caller starts an operation.
    pub fn began(&self, nonce: &str, promise: Promise) {
        self.entry(nonce, |entry| entry.promises.push(promise));
    }

    /// A caller got an outcome. Of several attempts, the delivery is the furthest that any of them got.
    pub fn ended(&self, nonce: &str, at: Timestamp, outcome: Outcome) {
        self.entry(nonce, |entry| entry.outcomes.push((at, outcome)));
    }

    /// A server executed an operation, whatever became of its answer.
    pub fn executed(&self, server: &str, nonce: &str) {
        self.entry(nonce, |entry| entry.executed_by.push(server.to_owned()));
    }

    /// A server put an item on the stream of an operation.
    pub fn sent(&self, nonce: &str, item: u64) {
        self.entry(nonce, |entry| entry.sent.push(item));
    }

    /// A caller found an item on the stream of its operation.
    pub fn received(&self, nonce: &str, item: u64) {
        self.entry(nonce, |entry| entry.received.push(item));
    }

    /// The servers that executed an operation so far, in order; one that did so twice is there twice.
    #[must_use]
    pub fn executed_by(&self, nonce: &str) -> Vec<String> {
        self.entries().get(nonce).map_or_else(Vec::new, |entry| entry.executed_by.clone())
    }

    /// Checks every invariant as of `now`.
    ///
    /// # Errors
    /// The first violation, in the order of nonces.
    pub fn check(&self, now: Timestamp) -> Result<Tally, Violation> {
        let mut tally = Tally::default();
        for (nonce, entry) in &*self.entries() {
            entry.check(nonce, now).map_err(|(invariant, what)| Violation {
                invariant,
                nonce: nonce.clone(),
                what,
            })?;
            tally.executions += entry.executed_by.len();
            match entry.outcomes.first() {
                Some((_, Outcome::Success { .. })) => tally.succeeded += 1,
                Some((_, Outcome::Failure(_))) => tally.failed += 1,
                None => tally.open += 1,
            }
        }
        Ok(tally)
    }

    fn entry(&self, nonce: &str, change: impl FnOnce(&mut Entry)) {
        change(self.entries().entry(nonce.to_owned()).or_default());
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn check(&self, nonce: &str, now: Timestamp) -> Result<(), (Invariant, String)> {
        let promise = match *self.promises {
            [promise] => promise,
            [] if self.outcomes.is_empty() && self.executed_by.is_empty() => {
                return Err((Invariant::StreamOrder, "a stream of an operation that never began".into()));
            }
            [] if self.outcomes.is_empty() => {
                let by = self.executed_by.join(", ");
                return Err((Invariant::BoundedExecutions, format!("executed ({by}), but it never began")));
            }
            [] => return Err((Invariant::OneOutcome, "an outcome, but it never began".into())),
            [..] => return Err((Invariant::OneOutcome, "began twice: a nonce is for one operation".into())),
        };
        let executions = self.executed_by.len();
        if executions > usize::try_from(promise.executions).unwrap_or(usize::MAX) {
            let (by, most) = (self.executed_by.join(", "), promise.executions);
            let what = format!("executed {executions} times ({by}), at most {most} allowed");
            return Err((Invariant::BoundedExecutions, what));
        }
        let mut sent = self.sent.iter();
        for item in &self.received {
            // What was skipped got lost; what comes later must have been sent later.
            if !sent.any(|next| next == item) {
                let what = format!("received {:?} of {:?}", self.received, self.sent);
                return Err((Invariant::StreamOrder, what));
            }
        }
        match &*self.outcomes {
            [] if now > promise.deadline => {
                Err((Invariant::OneOutcome, format!("no outcome by {}", promise.deadline)))
            }
            [] => Ok(()),
            [(at, _)] if *at > promise.deadline => {
                Err((Invariant::OneOutcome, format!("outcome at {at}, promised by {}", promise.deadline)))
            }
            [(_, outcome)] => self.check_outcome(nonce, outcome),
            [..] => Err((Invariant::OneOutcome, format!("{} outcomes", self.outcomes.len()))),
        }
    }

    fn check_outcome(&self, nonce: &str, outcome: &Outcome) -> Result<(), (Invariant, String)> {
        let executed = !self.executed_by.is_empty();
        match outcome {
            Outcome::Success { payload } if payload != nonce => {
                Err((Invariant::OwnAnswer, format!("the answer is that of {payload:?}")))
            }
            Outcome::Success { .. } if !executed => {
                Err((Invariant::SuccessMeansExecuted, "answered, but nobody executed it".into()))
            }
            Outcome::Failure(delivery @ (Delivery::NotSent | Delivery::Rejected)) if executed => {
                let (word, by) = (delivery.as_str(), self.executed_by.join(", "));
                Err((Invariant::HonestDelivery, format!("said to be {word}, but executed ({by})")))
            }
            Outcome::Success { .. } | Outcome::Failure(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManualClock;
    use std::time::Duration;

    const START: Timestamp = ManualClock::START;

    fn at(seconds: u64) -> Timestamp {
        START + Duration::from_secs(seconds)
    }

    fn success(payload: &str) -> Outcome {
        Outcome::Success { payload: payload.into() }
    }

    /// What is found, ten seconds after the start, in an operation "n" that has five.
    fn broken(executions: u32, tell: impl FnOnce(&History)) -> Option<Invariant> {
        let history = History::new();
        history.began("n", Promise { deadline: at(5), executions });
        tell(&history);
        history.check(at(10)).err().map(|violation| violation.invariant)
    }

    #[test]
    fn kept_promises_are_counted() {
        let history = History::new();
        for nonce in ["a", "b", "c", "d"] {
            history.began(nonce, Promise { deadline: at(5), executions: 2 });
        }
        history.executed("p", "a");
        history.executed("q", "a");
        history.ended("a", at(5), success("a"));
        history.ended("b", at(1), Outcome::Failure(Delivery::NotSent));
        history.executed("p", "c");
        history.ended("c", at(1), Outcome::Failure(Delivery::Unknown));
        for item in 0..4 {
            history.sent("a", item);
        }
        history.received("a", 1);
        history.received("a", 3);
        let tally = Tally { succeeded: 1, failed: 2, open: 1, executions: 3 };
        assert_eq!(history.check(at(5)), Ok(tally));
        assert_eq!(history.executed_by("a"), ["p", "q"]);
        assert_eq!(history.check(at(6)).unwrap_err().nonce, "d");
    }

    #[test]
    fn each_broken_promise_is_found() {
        let failed = |delivery| Outcome::Failure(delivery);
        assert_eq!(broken(1, |_| {}), Some(Invariant::OneOutcome));
        let late = |h: &History| h.ended("n", at(6), failed(Delivery::NotSent));
        assert_eq!(broken(1, late), Some(Invariant::OneOutcome));
        let twice = |h: &History| (0..2).for_each(|_| h.ended("n", at(1), failed(Delivery::NotSent)));
        assert_eq!(broken(1, twice), Some(Invariant::OneOutcome));
        let reused = |h: &History| h.began("n", Promise { deadline: at(9), executions: 1 });
        assert_eq!(broken(1, reused), Some(Invariant::OneOutcome));
        assert_eq!(broken(1, |h| h.ended("a", at(1), success("a"))), Some(Invariant::OneOutcome));
        assert_eq!(broken(1, |h| h.executed("p", "a")), Some(Invariant::BoundedExecutions));
        let executed = |executions, outcome: Outcome| {
            broken(1, |h| {
                (0..executions).for_each(|_| h.executed("p", "n"));
                h.ended("n", at(1), outcome);
            })
        };
        assert_eq!(executed(1, success("m")), Some(Invariant::OwnAnswer));
        assert_eq!(executed(2, success("n")), Some(Invariant::BoundedExecutions));
        assert_eq!(executed(0, success("n")), Some(Invariant::SuccessMeansExecuted));
        assert_eq!(executed(1, failed(Delivery::NotSent)), Some(Invariant::HonestDelivery));
        assert_eq!(executed(1, failed(Delivery::Rejected)), Some(Invariant::HonestDelivery));
        assert_eq!(executed(1, failed(Delivery::Unknown)), None);
    }

    #[test]
    fn streams_keep_their_order_and_show_nothing_foreign() {
        let stream = |received: &[u64]| {
            broken(1, |h| {
                h.executed("p", "n");
                h.ended("n", at(1), success("n"));
                (1..=3).for_each(|item| h.sent("n", item));
                received.iter().for_each(|&item| h.received("n", item));
            })
        };
        for kept in [&[][..], &[1, 2, 3], &[1, 3], &[3]] {
            assert_eq!(stream(kept), None, "{kept:?}");
        }
        for broken in [&[2, 1][..], &[1, 1], &[4]] {
            assert_eq!(stream(broken), Some(Invariant::StreamOrder), "{broken:?}");
        }
        assert_eq!(broken(1, |h| h.received("a", 1)), Some(Invariant::StreamOrder));
    }
}
