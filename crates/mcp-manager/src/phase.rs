//! The stages of an attempt in the events. Source: contract §5.2.

use std::time::Duration;

use mcp_registry::{ErrorCategory, Failure, InvocationEvent, Phase, ServerName, Timestamp};
use mcp_transport::Delivery;

use crate::run::Run;

/// Sees to it that a started phase ends in the events, even if the caller goes away in the middle.
pub(crate) struct PhaseGuard<'a> {
    run: &'a Run<'a>,
    server: &'a ServerName,
    start: Phase,
    attempt: Option<u32>,
    started: Timestamp,
    ended: bool,
}

impl<'a> PhaseGuard<'a> {
    /// `attempt`: which of a directed call.
    pub(crate) fn start(
        run: &'a Run<'a>,
        server: &'a ServerName,
        start: Phase,
        attempt: Option<u32>,
        started: Timestamp,
    ) -> Self {
        let guard = Self { run, server, start, attempt, started, ended: false };
        guard.emit(started, start, None, None);
        guard
    }

    /// Says how long it took, and sets the time of its end.
    pub(crate) fn succeed(mut self, now: &mut Timestamp) -> Duration {
        let phase = match self.start {
            Phase::InitializeStart => Phase::InitializeSuccess,
            _ => Phase::InvokeSuccess,
        };
        *now = self.end(phase, None, None);
        now.since(self.started)
    }

    /// The same for one that failed.
    pub(crate) fn fail(mut self, failure: Failure, delivery: Delivery, now: &mut Timestamp) -> Duration {
        *now = self.end_failed(failure, delivery);
        now.since(self.started)
    }

    fn end_failed(&mut self, failure: Failure, delivery: Delivery) -> Timestamp {
        let phase = match self.start {
            Phase::InitializeStart => Phase::InitializeFailure,
            _ => Phase::InvokeFailure,
        };
        self.end(phase, Some(failure), Some(delivery))
    }

    /// Gives the time.
    fn end(&mut self, phase: Phase, failure: Option<Failure>, delivery: Option<Delivery>) -> Timestamp {
        self.ended = true;
        let now = self.run.inner.now();
        self.emit(now, phase, failure, delivery);
        now
    }

    fn emit(&self, now: Timestamp, phase: Phase, failure: Option<Failure>, delivery: Option<Delivery>) {
        let (server, method) = (self.server.clone(), self.run.request.method.clone());
        let event = InvocationEvent::new(now, server, method, self.run.request_id().clone(), phase);
        self.run.inner.journal.invocation(InvocationEvent {
            failure,
            duration: (phase != self.start).then(|| now.since(self.started)),
            delivery,
            attempt: self.attempt,
            ..event
        });
    }
}

impl Drop for PhaseGuard<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let delivery = match self.start {
                Phase::InitializeStart => Delivery::NotSent,
                _ => Delivery::Unknown,
            };
            self.end_failed(Failure::new(ErrorCategory::Unknown, "cancelled by the caller"), delivery);
        }
    }
}
