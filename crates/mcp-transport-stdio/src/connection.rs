//! What the tasks of one connection share: its phase, why it ended, and what the server printed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use mcp_transport::{Delivery, TransportError, TransportErrorKind};
use tokio::sync::watch;

use crate::foreign::Foreign;
use crate::stderr::{self, Tail};

/// The life of a connection. Phases follow in this order; some may be skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Messages go both ways.
    Running,
    /// We are closing: stdin is to be closed once written, output is thrown away.
    Stopping,
    /// The connection is over; why is in [`Connection::end`].
    Ended,
    /// No process and no task is left.
    Gone,
}

/// Why a connection ended.
#[derive(Debug, Clone)]
pub(crate) enum End {
    /// We closed it.
    Closed,
    /// It was lost.
    Lost(TransportErrorKind),
}

/// One connection to one process, shared by its tasks.
#[derive(Debug)]
pub(crate) struct Connection {
    pid: u32,
    foreign: Foreign,
    phase: watch::Sender<Phase>,
    /// Set before the phase says so, and never changed.
    end: OnceLock<End>,
    stderr: Mutex<Tail>,
    noise_lines: AtomicU64,
    /// What did not end in order, first things first.
    unclean: OnceLock<&'static str>,
}

impl Connection {
    pub(crate) fn new(pid: u32, foreign: Foreign, stderr_bytes: usize) -> Self {
        Self {
            pid,
            foreign,
            phase: watch::Sender::new(Phase::Running),
            end: OnceLock::new(),
            stderr: Mutex::new(Tail::new(stderr_bytes)),
            noise_lines: AtomicU64::new(0),
            unclean: OnceLock::new(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn foreign(&self) -> &Foreign {
        &self.foreign
    }

    /// Begins an orderly stop. Nothing happens if the connection has ended or is stopping already.
    pub(crate) fn stop(&self) {
        let _ = self.end.set(End::Closed);
        self.advance(Phase::Stopping);
    }

    /// Ends the connection. The first reason stands.
    pub(crate) fn end(&self, end: End) {
        let _ = self.end.set(end);
        self.advance(Phase::Ended);
    }

    /// Everything is cleaned up.
    pub(crate) fn gone(&self) {
        self.end(End::Lost(TransportErrorKind::Closed("the runtime of the connection was shut down".into())));
        self.advance(Phase::Gone);
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits until the connection has come to a phase or beyond.
    pub(crate) async fn reached(&self, phase: Phase) {
        // It fails only without a sender, and that is in `self`.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }

    /// Waits until nobody wants the messages any more.
    pub(crate) async fn closed_by_us(&self) {
        self.reached(Phase::Stopping).await;
        if !self.is_closed_by_us() {
            std::future::pending().await
        }
    }

    /// Whether nobody wants the messages any more.
    pub(crate) fn is_closed_by_us(&self) -> bool {
        self.phase() >= Phase::Stopping && matches!(self.end.get(), Some(End::Closed))
    }

    /// Notes that something did not end in order. The first note stands.
    pub(crate) fn ends_unclean(&self, what: &'static str) {
        let _ = self.unclean.set(what);
    }

    /// What did not end in order.
    pub(crate) fn unclean(&self) -> Option<&'static str> {
        self.unclean.get().copied()
    }

    /// The failure that ended the connection; `None` if we closed it.
    pub(crate) fn loss(&self) -> Option<TransportErrorKind> {
        match self.end.get() {
            Some(End::Lost(kind)) => Some(kind.clone()),
            Some(End::Closed) | None => None,
        }
    }

    /// The failure of a message that came too late.
    pub(crate) fn error(&self, delivery: Delivery) -> TransportError {
        let closed = || TransportErrorKind::Closed("the connection was closed".into());
        TransportError::new(self.loss().unwrap_or_else(closed), delivery)
    }

    pub(crate) fn push_stderr(&self, text: &[u8]) {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    /// The last lines of stderr, oldest first, safe to show.
    pub(crate) fn stderr_lines(&self, count: usize) -> Vec<String> {
        stderr::shown(&self.stderr.lock().unwrap_or_else(PoisonError::into_inner), self, count)
    }

    pub(crate) fn count_noise(&self) {
        self.noise_lines.fetch_add(1, Ordering::Relaxed);
    }

    /// Lines on stdout so far that were no message.
    pub(crate) fn noise_lines(&self) -> u64 {
        self.noise_lines.load(Ordering::Relaxed)
    }

    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|now| {
            let later = *now < to;
            if later {
                *now = to;
            }
            later
        });
    }
}
