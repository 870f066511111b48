//! The parameters of contract §0.3 and the rules made of them.

use std::time::Duration;

use mcp_transport::Delivery;

use crate::plan::CallSafety;

/// When a call whose outcome is unknown may be tried elsewhere. Source: contract §2.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AmbiguousFailover {
    /// Always.
    Always,
    /// Unless the call is known to be unsafe to repeat.
    #[default]
    UnlessUnsafe,
    /// Only if the call is known to be safe to repeat.
    SafeOnly,
}

impl AmbiguousFailover {
    /// Whether another attempt is allowed after a failure that left the request this far, on the same
    /// server or another (contract §2.5). Always, unless the request may have been executed.
    #[must_use]
    pub fn allows_another(self, delivery: Delivery, safety: CallSafety) -> bool {
        delivery != Delivery::Unknown
            || match self {
                Self::Always => true,
                Self::UnlessUnsafe => safety != CallSafety::Unsafe,
                Self::SafeOnly => safety == CallSafety::Safe,
            }
    }
}

/// Whose fault a JSON-RPC error is. Source: contract §4.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RpcErrorPolicy {
    /// By its code: the caller's errors degrade nobody.
    #[default]
    Classify,
    /// Always the server's.
    AlwaysDegrade,
}

/// Which success resets the retry counter. Source: contract §2.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResetRetryOn {
    /// Any, a handshake included.
    #[default]
    Handshake,
    /// Inside an invocation only the call itself.
    InvokeSuccess,
}

/// Every parameter with its default. Source: contract §0.3, whose keys are the field names.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Policy {
    /// Cap of the retry window (8 s); zero: windows open at once.
    pub max_backoff: Duration,
    /// Consecutive recorded failures that make a server unreachable (3, at least 1).
    pub unreachable_after: u32,
    /// Age at which a handshake is stale (300 s); `None`: never, zero: at once.
    pub max_initialization_age: Option<Duration>,
    /// Idle time after which a session counts as stale (300 s); `None`: never.
    pub adapter_session_stale_after: Option<Duration>,
    /// Retained invocation events (500, at least 1).
    pub max_invocation_events: usize,
    /// Retained connection events (2000, at least 1).
    pub max_connection_events: usize,
    /// Retained registry events (2000, at least 1).
    pub max_registry_events: usize,
    /// Most registered servers (1024).
    pub max_servers: usize,
    /// Attempts of a directed call (3, 1 to 10).
    pub call_attempts: u32,
    /// First wait between attempts of a directed call (1 s); doubled each time.
    pub call_wait_multiplier: Duration,
    /// Shortest such wait (1 s).
    pub call_wait_min: Duration,
    /// Longest such wait (10 s).
    pub call_wait_max: Duration,
    /// Attempts of one connect (3, 1 to 10).
    pub connect_attempts: u32,
    /// First wait between connects (1 s).
    pub connect_base_delay: Duration,
    /// Longest wait between connects (60 s).
    pub connect_max_delay: Duration,
    /// Random share added to a connect wait (0.1, 0 to 1).
    pub connect_jitter_ratio: f64,
    /// Time between health checks (30 s).
    pub health_interval: Duration,
    /// Time between health checks of a server that is not healthy (5 s, below `health_interval`).
    pub degraded_health_interval: Duration,
    /// Limit of one health probe (5 s).
    pub probe_timeout: Duration,
    /// Limit of a ping (5 s).
    pub ping_timeout: Duration,
    /// Latency above which an answered probe counts as a failure; `None`: no such limit.
    pub latency_threshold: Option<Duration>,
    /// Share of failures among a server's last 20 requests above which an answered probe counts as a failure
    /// (0 to 1); `None`: no such limit.
    pub error_rate_threshold: Option<f64>,
    /// Limit of one request (30 s), for servers that set none.
    pub request_timeout: Duration,
    /// Limit of one handshake (10 s).
    pub handshake_timeout: Duration,
    /// Limit of one invocation, failover included (120 s).
    pub max_call_deadline: Duration,
    /// Calls under way at once per server URL, each with a connection over HTTP/1.1; more wait (256). The
    /// contract's 10 would make callers of slow tools wait for each other (docs/configuration.md).
    pub pool_max_connections: usize,
    /// Idle HTTP connections kept per server URL (64). With the contract's 5, most calls of 64 concurrent
    /// callers open a connection of their own (docs/benchmarks.md).
    pub pool_max_idle: usize,
    /// Time after which an idle HTTP connection is closed (90 s).
    pub pool_idle_timeout: Duration,
    /// Time calls in flight get at shutdown (10 s).
    pub shutdown_drain_timeout: Duration,
    /// Time a child process gets at each step of its end (5 s).
    pub process_stop_timeout: Duration,
    /// Expected heartbeat of an event stream (30 s); zero: none.
    pub sse_heartbeat: Duration,
    /// Largest stdio line or SSE event in bytes (4 MiB).
    pub max_message_bytes: usize,
    /// Whether an ambiguous failure moves on to the next server.
    pub ambiguous_failover: AmbiguousFailover,
    /// Whose fault a JSON-RPC error is.
    pub rpc_error_policy: RpcErrorPolicy,
    /// Which success resets the retry counter.
    pub reset_retry_on: ResetRetryOn,
    /// Whether the REST API may register a command to run.
    pub allow_stdio_registration: bool,
}

impl Default for Policy {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self {
            max_backoff: secs(8),
            unreachable_after: 3,
            max_initialization_age: Some(secs(300)),
            adapter_session_stale_after: Some(secs(300)),
            max_invocation_events: 500,
            max_connection_events: 2000,
            max_registry_events: 2000,
            max_servers: 1024,
            call_attempts: 3,
            call_wait_multiplier: secs(1),
            call_wait_min: secs(1),
            call_wait_max: secs(10),
            connect_attempts: 3,
            connect_base_delay: secs(1),
            connect_max_delay: secs(60),
            connect_jitter_ratio: 0.1,
            health_interval: secs(30),
            degraded_health_interval: secs(5),
            probe_timeout: secs(5),
            ping_timeout: secs(5),
            latency_threshold: None,
            error_rate_threshold: None,
            request_timeout: secs(30),
            handshake_timeout: secs(10),
            max_call_deadline: secs(120),
            pool_max_connections: 256,
            pool_max_idle: 64,
            pool_idle_timeout: secs(90),
            shutdown_drain_timeout: secs(10),
            process_stop_timeout: secs(5),
            sse_heartbeat: secs(30),
            max_message_bytes: 4 << 20,
            ambiguous_failover: AmbiguousFailover::default(),
            rpc_error_policy: RpcErrorPolicy::default(),
            reset_retry_on: ResetRetryOn::default(),
            allow_stdio_registration: false,
        }
    }
}

/// An answered health probe, as far as the thresholds of the policy are concerned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answered {
    /// How long the answer took.
    pub latency: Duration,
    /// Whether the probe opened the connection it went over. That may have started a process, so that its
    /// latency says little of the server's.
    pub opened: bool,
    /// Share of failures among the server's latest requests, 0 to 1; `None` while there were too few.
    pub error_rate: Option<f64>,
}

impl Policy {
    /// Which threshold an answered probe exceeds, in words; `None`: none. Source: contract §7.6.
    pub(crate) fn objection(&self, probe: &Answered) -> Option<String> {
        let Answered { latency, opened, error_rate } = *probe;
        match (self.latency_threshold, self.error_rate_threshold, error_rate) {
            (Some(limit), _, _) if !opened && latency > limit => Some(format!(
                "answered after {} ms, which is more than policy.latency_threshold = {}",
                latency.as_millis(),
                limit.as_millis()
            )),
            (_, Some(limit), Some(rate)) if rate > limit => Some(format!(
                "{:.0} % of the latest requests failed, which is more than policy.error_rate_threshold = {limit}",
                rate * 100.0
            )),
            _ => None,
        }
    }

    /// How long a server is skipped after its `failures`-th failure in a row: 1, 2, 4, 8, 8, … s by
    /// default. Source: contract §2.2.
    #[must_use]
    pub fn backoff(&self, failures: u32) -> Duration {
        doubled(Duration::from_secs(1), failures).min(self.max_backoff)
    }

    /// The wait after the `failed`-th failed attempt (from 1) to connect: 1, 2, 4, … s up to
    /// `connect_max_delay`, lengthened by up to `connect_jitter_ratio`; `unit` is a random number from 0
    /// to 1. Source: contract §2.6.
    #[must_use]
    pub fn connect_wait(&self, failed: u32, unit: f64) -> Duration {
        let wait = doubled(self.connect_base_delay, failed).min(self.connect_max_delay);
        let jitter = (self.connect_jitter_ratio * unit).clamp(0.0, 1.0);
        wait.saturating_add(Duration::try_from_secs_f64(wait.as_secs_f64() * jitter).unwrap_or(wait))
    }
}

/// `base` doubled `times − 1` times, as far as a duration goes.
pub(crate) fn doubled(base: Duration, times: u32) -> Duration {
    let factor = 1u32.checked_shl(times.saturating_sub(1)).unwrap_or(u32::MAX);
    base.saturating_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_doubles_up_to_its_cap() {
        let policy = Policy::default();
        for (failures, secs) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 8), (64, 8), (65, 8), (u32::MAX, 8)] {
            assert_eq!(policy.backoff(failures), Duration::from_secs(secs), "after {failures} failures");
        }
        let none = Policy { max_backoff: Duration::ZERO, ..Policy::default() };
        assert_eq!(none.backoff(1), Duration::ZERO);
        let long = Policy { max_backoff: Duration::MAX, ..Policy::default() };
        assert_eq!(long.backoff(10), Duration::from_secs(512));
        assert_eq!(long.backoff(100), Duration::from_secs(u32::MAX.into()), "136 years: never");
    }

    #[test]
    fn connect_waits_double_up_to_their_cap_and_are_lengthened_by_the_jitter() {
        let policy = Policy::default();
        for (failed, unit, millis) in [
            (1, 0.0, 1000),
            (1, 0.5, 1050),
            (2, 0.0, 2000),
            (2, 1.0, 2200),
            (3, 0.0, 4000),
            (7, 0.0, 60_000),
            (7, 1.0, 66_000),
            (u32::MAX, 0.0, 60_000),
        ] {
            let expected = Duration::from_millis(millis);
            assert_eq!(policy.connect_wait(failed, unit), expected, "after {failed}, {unit}");
        }
        let none = Policy { connect_base_delay: Duration::ZERO, ..Policy::default() };
        assert_eq!(none.connect_wait(5, 1.0), Duration::ZERO);
        let even = Policy { connect_jitter_ratio: 0.0, ..Policy::default() };
        assert_eq!(even.connect_wait(2, 1.0), Duration::from_secs(2));
    }

    #[test]
    fn an_answered_probe_is_judged_by_the_thresholds() {
        let ms = Duration::from_millis;
        let probe = |latency, opened, error_rate| Answered { latency: ms(latency), opened, error_rate };
        let none = Policy::default();
        assert_eq!(none.objection(&probe(1_000_000, false, Some(1.0))), None, "there is no limit");
        let policy = Policy {
            latency_threshold: Some(ms(200)),
            error_rate_threshold: Some(0.25),
            ..Policy::default()
        };
        let slow =
            Some("answered after 201 ms, which is more than policy.latency_threshold = 200".to_owned());
        let faulty =
            "30 % of the latest requests failed, which is more than policy.error_rate_threshold = 0.25";
        for (probe, objection) in [
            (probe(200, false, None), None),
            (probe(201, false, None), slow.clone()),
            (probe(201, true, None), None),
            (probe(1, false, Some(0.25)), None),
            (probe(1, false, Some(0.3)), Some(faulty.to_owned())),
            (probe(201, true, Some(0.3)), Some(faulty.to_owned())),
            (probe(201, false, Some(0.3)), slow),
        ] {
            assert_eq!(policy.objection(&probe), objection, "{probe:?}");
        }
    }

    #[test]
    fn another_attempt_after_an_unknown_outcome_depends_on_the_calls_safety() {
        use AmbiguousFailover::{Always, SafeOnly, UnlessUnsafe};
        use CallSafety::{Safe, Unknown, Unsafe};
        for (policy, allowed) in [
            (Always, [true, true, true]),
            (UnlessUnsafe, [true, true, false]),
            (SafeOnly, [true, false, false]),
        ] {
            for (safety, allowed) in [Safe, Unknown, Unsafe].into_iter().zip(allowed) {
                assert_eq!(
                    policy.allows_another(Delivery::Unknown, safety),
                    allowed,
                    "{policy:?} {safety:?}"
                );
                assert!(policy.allows_another(Delivery::NotSent, safety), "{policy:?} {safety:?}");
                assert!(policy.allows_another(Delivery::Rejected, safety), "{policy:?} {safety:?}");
            }
        }
    }
}
