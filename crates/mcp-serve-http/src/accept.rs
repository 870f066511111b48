//! What to do after a failed `accept`.

use std::io;
use std::time::Duration;

/// Tells how long to wait before the next `accept`. Without it, a process that is out of file
/// descriptors would spin: the pending connection stays in the queue and `accept` fails at once, again.
#[derive(Debug, Default)]
pub(crate) struct AcceptBackoff {
    failures: u32,
}

impl AcceptBackoff {
    const FIRST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_secs(1);

    /// A connection was accepted.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Accepting failed; the wait before the next try, zero if only that one connection was at fault.
    pub(crate) fn failed(&mut self, error: &io::Error) -> Duration {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
        if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
            return Duration::ZERO;
        }
        let wait = Self::FIRST.saturating_mul(1 << self.failures.min(16)).min(Self::LONGEST);
        self.failures = self.failures.saturating_add(1);
        wait
    }

    /// Whether the last failure was the first of its row, the one worth a log line.
    pub(crate) fn is_first(&self) -> bool {
        self.failures == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_errors_wait_longer_each_time_up_to_a_second() {
        let mut backoff = AcceptBackoff::default();
        let exhausted = io::Error::other("too many open files");
        let waits: Vec<_> = (0..9).map(|_| backoff.failed(&exhausted).as_millis()).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        backoff.succeeded();
        assert_eq!(backoff.failed(&exhausted), AcceptBackoff::FIRST);
        assert!(backoff.is_first());
    }

    #[test]
    fn a_connection_that_went_away_costs_no_wait() {
        let mut backoff = AcceptBackoff::default();
        for kind in [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset] {
            assert_eq!(backoff.failed(&kind.into()), Duration::ZERO, "{kind}");
        }
        assert!(!backoff.is_first());
    }
}
