//! How the latest requests to a server ended. Source: contract §7.6, step 4.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Requests that are looked at.
const LATEST: u32 = 20;

/// One bit above those of the requests, which tells how many there are until it has come to its place.
const FULL: u32 = 1 << LATEST;

/// The outcomes of the latest 20 requests, the newest in the lowest bit: set if the server was at fault.
#[derive(Debug)]
pub(crate) struct Outcomes(AtomicU32);

impl Default for Outcomes {
    fn default() -> Self {
        Self(AtomicU32::new(1))
    }
}

impl Outcomes {
    /// Notes one more.
    pub(crate) fn note(&self, failed: bool) {
        let push = |outcomes: u32| {
            let pushed = outcomes << 1 | u32::from(failed);
            Some(if outcomes & FULL == 0 { pushed } else { pushed & (FULL - 1) | FULL })
        };
        // It always goes through: `push` never refuses.
        let _ = self.0.fetch_update(Relaxed, Relaxed, push);
    }

    /// The share of failures, 0 to 1; `None` until there were 20 requests.
    pub(crate) fn error_rate(&self) -> Option<f64> {
        let outcomes = self.0.load(Relaxed);
        let failed = (outcomes & (FULL - 1)).count_ones();
        (outcomes & FULL != 0).then(|| f64::from(failed) / f64::from(LATEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_of_the_latest_twenty() {
        let outcomes = Outcomes::default();
        for at in 0..20 {
            assert_eq!(outcomes.error_rate(), None, "after {at}");
            outcomes.note(at < 5);
        }
        assert_eq!(outcomes.error_rate(), Some(0.25));
        for left in [4, 3, 2, 1, 0, 0] {
            outcomes.note(false);
            assert_eq!(outcomes.error_rate(), Some(f64::from(left) / 20.0));
        }
        for failed in 1..=25 {
            outcomes.note(true);
            assert_eq!(outcomes.error_rate(), Some(f64::from(failed.min(20)) / 20.0));
        }
    }
}
