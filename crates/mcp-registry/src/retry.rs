//! Attempts of a directed call on one and the same server. Source: contract §2.4.

use std::time::Duration;

use crate::definition::Definition;
use crate::plan::CallFailure;
use crate::policy::{Policy, doubled};

/// How often a directed call is tried and how long it waits in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallRetry {
    attempts: u32,
    first: Duration,
    min: Duration,
    max: Duration,
}

/// Most attempts of one directed call, whatever a server's `max_retries` says.
const MAX_ATTEMPTS: u32 = 10;
/// How much longer than the longest wait of the policy a server's `Retry-After` may be.
const PATIENCE: u32 = 6;

impl CallRetry {
    /// The policy's, with what the server's definition says instead. A server's own delay is not
    /// lengthened to the policy's shortest wait.
    #[must_use]
    pub fn of(policy: &Policy, definition: &Definition) -> Self {
        let attempts =
            definition.max_retries.map_or(policy.call_attempts, |retries| retries.saturating_add(1));
        let (first, min) = match definition.retry_delay {
            Some(delay) => (delay, Duration::ZERO),
            None => (policy.call_wait_multiplier, policy.call_wait_min),
        };
        Self { attempts: attempts.clamp(1, MAX_ATTEMPTS), first, min, max: policy.call_wait_max }
    }

    /// Most attempts.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How long to wait after the `attempt`-th attempt (from 1) failed; `None` if it was the last one or
    /// repeating cannot help. Whether repeating is safe is another question
    /// ([`AmbiguousFailover::allows_another`](crate::AmbiguousFailover::allows_another)).
    #[must_use]
    pub fn wait(&self, attempt: u32, failure: &CallFailure) -> Option<Duration> {
        if attempt >= self.attempts || !failure.transient {
            return None;
        }
        Some(match failure.retry_after {
            Some(asked) => asked.min(self.max.saturating_mul(PATIENCE)),
            // The upper bound wins should the two be swapped.
            None => doubled(self.first, attempt).max(self.min).min(self.max),
        })
    }
}

#[cfg(test)]
mod tests {
    use mcp_transport::{Endpoint, StdioEndpoint};

    use super::*;
    use crate::category::{ErrorCategory, Failure};

    fn definition() -> Definition {
        Definition::new("a".parse().unwrap(), Endpoint::Stdio(StdioEndpoint::new("x", [""; 0])))
    }

    fn failure() -> CallFailure {
        CallFailure::unsent(Failure::new(ErrorCategory::TransportError, "refused"), true)
    }

    fn waits(retry: CallRetry, failure: &CallFailure) -> Vec<u64> {
        let waits = (1..=20).map_while(|attempt| retry.wait(attempt, failure));
        waits.map(|wait| u64::try_from(wait.as_millis()).unwrap()).collect()
    }

    #[test]
    fn three_attempts_wait_one_and_two_seconds() {
        let retry = CallRetry::of(&Policy::default(), &definition());
        assert_eq!(retry.attempts(), 3);
        assert_eq!(waits(retry, &failure()), [1000, 2000]);
    }

    #[test]
    fn a_longer_series_is_capped() {
        let policy = Policy { call_attempts: 7, ..Policy::default() };
        assert_eq!(
            waits(CallRetry::of(&policy, &definition()), &failure()),
            [1000, 2000, 4000, 8000, 10_000, 10_000]
        );
        let policy = Policy { call_wait_multiplier: Duration::from_millis(100), ..policy };
        assert_eq!(
            waits(CallRetry::of(&policy, &definition()), &failure()),
            [1000, 1000, 1000, 1000, 1600, 3200]
        );
    }

    #[test]
    fn a_servers_own_settings_take_effect_within_bounds() {
        for (max_retries, delay, expected) in [
            (Some(0), None, vec![]),
            (Some(1), Some(250), vec![250]),
            (Some(4), Some(250), vec![250, 500, 1000, 2000]),
            (None, Some(20_000), vec![10_000, 10_000]),
            (Some(u32::MAX), Some(0), vec![0; 9]),
        ] {
            let mut definition = definition();
            (definition.max_retries, definition.retry_delay) =
                (max_retries, delay.map(Duration::from_millis));
            let retry = CallRetry::of(&Policy::default(), &definition);
            assert_eq!(waits(retry, &failure()), expected, "{max_retries:?} {delay:?}");
        }
    }

    #[test]
    fn j8_a_server_that_names_a_time_is_left_alone_that_long_within_bounds() {
        let retry = CallRetry::of(&Policy::default(), &definition());
        for (asked, granted) in [(0, 0), (1, 1), (30, 30), (60, 60), (61, 60), (86_400, 60)] {
            let failure = CallFailure { retry_after: Some(Duration::from_secs(asked)), ..failure() };
            assert_eq!(retry.wait(1, &failure), Some(Duration::from_secs(granted)), "{asked} s");
        }
    }

    #[test]
    fn what_repeating_cannot_mend_is_not_repeated() {
        let lasting = CallFailure { transient: false, ..failure() };
        assert_eq!(CallRetry::of(&Policy::default(), &definition()).wait(1, &lasting), None);
    }
}
