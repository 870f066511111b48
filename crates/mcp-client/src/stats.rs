//! Counters of one connection.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// A copy of a connection's counters. Source: contract §7.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ClientStats {
    /// Requests put on the wire, answered or not; negotiation included.
    pub requests_sent: u64,
    /// Requests that failed or timed out.
    pub errors: u64,
    /// Mean time to the answer over all answered requests; zero before the first.
    pub average_latency: Duration,
    /// Time since the connection was opened.
    pub connected_for: Duration,
    /// Time since the last message in either direction.
    pub idle_for: Duration,
    /// Server notifications nobody wanted or that came faster than they were read.
    pub notifications_dropped: u64,
    /// Answers to requests that were answered, cancelled or timed out before.
    pub late_answers: u64,
    /// Answers with an id that was never used.
    pub unknown_answers: u64,
    /// Messages that were no usable JSON-RPC.
    pub bad_messages: u64,
    /// Requests of a stateless server, which must not send any: neither served nor answered.
    pub requests_ignored: u64,
    /// Questions of the server given to the handler, in either era.
    pub questions: u64,
    /// Times the server's messages were interrupted, so that some may be lost.
    pub gaps: u64,
    /// Sessions the server had forgotten and that were replaced.
    pub sessions_recovered: u64,
    /// Answers and cancellations of ours not sent because too many were under way.
    pub replies_dropped: u64,
}

/// The live counters.
#[derive(Debug)]
pub(crate) struct Counters {
    opened: Instant,
    last_activity_us: AtomicU64,
    answered: AtomicU64,
    latency_us: AtomicU64,
    pub(crate) requests_sent: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) notifications_dropped: AtomicU64,
    pub(crate) late_answers: AtomicU64,
    pub(crate) unknown_answers: AtomicU64,
    pub(crate) bad_messages: AtomicU64,
    pub(crate) requests_ignored: AtomicU64,
    pub(crate) questions: AtomicU64,
    pub(crate) gaps: AtomicU64,
    pub(crate) sessions_recovered: AtomicU64,
    pub(crate) replies_dropped: AtomicU64,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            opened: Instant::now(),
            last_activity_us: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            latency_us: AtomicU64::new(0),
            requests_sent: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            notifications_dropped: AtomicU64::new(0),
            late_answers: AtomicU64::new(0),
            unknown_answers: AtomicU64::new(0),
            bad_messages: AtomicU64::new(0),
            requests_ignored: AtomicU64::new(0),
            questions: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            sessions_recovered: AtomicU64::new(0),
            replies_dropped: AtomicU64::new(0),
        }
    }

    /// A message went out or came in.
    pub(crate) fn active(&self) {
        self.last_activity_us.store(micros(self.opened.elapsed()), Relaxed);
    }

    /// A request sent at `started` has its answer.
    pub(crate) fn answered(&self, started: Instant) {
        self.answered.fetch_add(1, Relaxed);
        self.latency_us.fetch_add(micros(started.elapsed()), Relaxed);
    }

    pub(crate) fn snapshot(&self) -> ClientStats {
        let open = self.opened.elapsed();
        let mean_us = self.latency_us.load(Relaxed).checked_div(self.answered.load(Relaxed)).unwrap_or(0);
        ClientStats {
            requests_sent: self.requests_sent.load(Relaxed),
            errors: self.errors.load(Relaxed),
            average_latency: Duration::from_micros(mean_us),
            connected_for: open,
            idle_for: open.saturating_sub(Duration::from_micros(self.last_activity_us.load(Relaxed))),
            notifications_dropped: self.notifications_dropped.load(Relaxed),
            late_answers: self.late_answers.load(Relaxed),
            unknown_answers: self.unknown_answers.load(Relaxed),
            bad_messages: self.bad_messages.load(Relaxed),
            requests_ignored: self.requests_ignored.load(Relaxed),
            questions: self.questions.load(Relaxed),
            gaps: self.gaps.load(Relaxed),
            sessions_recovered: self.sessions_recovered.load(Relaxed),
            replies_dropped: self.replies_dropped.load(Relaxed),
        }
    }
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros().try_into().unwrap_or(u64::MAX)
}
