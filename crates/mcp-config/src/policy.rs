//! The `policy` table: the parameters of contract §0.3.

use mcp_registry::{AmbiguousFailover, Policy, ResetRetryOn, RpcErrorPolicy};
use serde::{Deserialize, Deserializer};

use crate::checks::{Checks, set};
use crate::invalid::InvalidField;

/// The keys as written. Durations are milliseconds.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicySpec {
    max_backoff: Option<u64>,
    unreachable_after: Option<u64>,
    #[serde(default, deserialize_with = "age")]
    max_initialization_age: Option<Age>,
    #[serde(default, deserialize_with = "age")]
    adapter_session_stale_after: Option<Age>,
    max_invocation_events: Option<u64>,
    max_connection_events: Option<u64>,
    max_registry_events: Option<u64>,
    max_servers: Option<u64>,
    call_attempts: Option<u64>,
    #[serde(default)]
    call_wait: CallWait,
    connect_attempts: Option<u64>,
    connect_base_delay: Option<u64>,
    connect_max_delay: Option<u64>,
    connect_jitter_ratio: Option<f64>,
    health_interval: Option<u64>,
    degraded_health_interval: Option<u64>,
    probe_timeout: Option<u64>,
    ping_timeout: Option<u64>,
    latency_threshold: Option<u64>,
    error_rate_threshold: Option<f64>,
    request_timeout: Option<u64>,
    handshake_timeout: Option<u64>,
    max_call_deadline: Option<u64>,
    pool_max_connections: Option<u64>,
    pool_max_idle: Option<u64>,
    pool_idle_timeout: Option<u64>,
    shutdown_drain_timeout: Option<u64>,
    process_stop_timeout: Option<u64>,
    sse_heartbeat: Option<u64>,
    max_message_bytes: Option<u64>,
    ambiguous_failover: Option<String>,
    rpc_error_policy: Option<String>,
    reset_retry_on: Option<String>,
    allow_stdio_registration: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CallWait {
    multiplier: Option<u64>,
    min: Option<u64>,
    max: Option<u64>,
}

/// A limit in time that can be lifted.
#[derive(Debug, Clone, Copy)]
enum Age {
    Never,
    Millis(u64),
}

/// Most retained events and registered servers.
const MAX_COUNT: u64 = 1_000_000;

/// Largest accepted message limit: 1 GiB.
const MAX_MESSAGE: u64 = 1 << 30;

impl PolicySpec {
    /// The policy, and what is wrong with it. A wrong key leaves its default.
    pub(crate) fn into_policy(self) -> (Policy, Vec<InvalidField>) {
        let mut policy = Policy::default();
        let mut checks = Checks::default();
        self.counts(&mut policy, &mut checks);
        self.durations(&mut policy, &mut checks);
        self.choices(&mut policy, &mut checks);
        (policy, checks.into_faults())
    }

    fn counts(&self, policy: &mut Policy, checks: &mut Checks) {
        let events = |value: Option<u64>| value.map(|count| count.max(1)); // smaller values are raised to 1
        for (target, field, value) in [
            (&mut policy.max_invocation_events, "max_invocation_events", events(self.max_invocation_events)),
            (&mut policy.max_connection_events, "max_connection_events", events(self.max_connection_events)),
            (&mut policy.max_registry_events, "max_registry_events", events(self.max_registry_events)),
            (&mut policy.max_servers, "max_servers", self.max_servers),
        ] {
            set(target, checks.within([field], value, 1..=MAX_COUNT));
        }
        for (target, field, value, range) in [
            (
                &mut policy.unreachable_after,
                "unreachable_after",
                self.unreachable_after,
                1..=u64::from(u32::MAX),
            ),
            (&mut policy.call_attempts, "call_attempts", self.call_attempts, 1..=10),
            (&mut policy.connect_attempts, "connect_attempts", self.connect_attempts, 1..=10),
        ] {
            set(target, checks.within([field], value, range));
        }
        for (target, field, value, range) in [
            (&mut policy.pool_max_connections, "pool_max_connections", self.pool_max_connections, 1..=65_535),
            (&mut policy.pool_max_idle, "pool_max_idle", self.pool_max_idle, 0..=65_535),
            (&mut policy.max_message_bytes, "max_message_bytes", self.max_message_bytes, 1..=MAX_MESSAGE),
        ] {
            set(target, checks.within([field], value, range));
        }
    }

    fn durations(&self, policy: &mut Policy, checks: &mut Checks) {
        for (target, field, value, least) in [
            (&mut policy.max_backoff, "max_backoff", self.max_backoff, 0),
            (&mut policy.connect_base_delay, "connect_base_delay", self.connect_base_delay, 0),
            (&mut policy.connect_max_delay, "connect_max_delay", self.connect_max_delay, 0),
            (&mut policy.health_interval, "health_interval", self.health_interval, 1),
            (
                &mut policy.degraded_health_interval,
                "degraded_health_interval",
                self.degraded_health_interval,
                1,
            ),
            (&mut policy.probe_timeout, "probe_timeout", self.probe_timeout, 1),
            (&mut policy.ping_timeout, "ping_timeout", self.ping_timeout, 1),
            (&mut policy.request_timeout, "request_timeout", self.request_timeout, 1),
            (&mut policy.handshake_timeout, "handshake_timeout", self.handshake_timeout, 1),
            (&mut policy.max_call_deadline, "max_call_deadline", self.max_call_deadline, 1),
            (&mut policy.pool_idle_timeout, "pool_idle_timeout", self.pool_idle_timeout, 1),
            (&mut policy.shutdown_drain_timeout, "shutdown_drain_timeout", self.shutdown_drain_timeout, 0),
            (&mut policy.process_stop_timeout, "process_stop_timeout", self.process_stop_timeout, 0),
            (&mut policy.sse_heartbeat, "sse_heartbeat", self.sse_heartbeat, 0),
        ] {
            set(target, checks.millis([field], value, least));
        }
        for (target, field, value) in [
            (&mut policy.max_initialization_age, "max_initialization_age", self.max_initialization_age),
            (
                &mut policy.adapter_session_stale_after,
                "adapter_session_stale_after",
                self.adapter_session_stale_after,
            ),
        ] {
            match value {
                None => {}
                Some(Age::Never) => *target = None,
                Some(Age::Millis(value)) => {
                    set(target, checks.millis([field], Some(value), 0).map(Some));
                }
            }
        }
        let threshold = checks.millis(["latency_threshold"], self.latency_threshold, 0);
        set(&mut policy.latency_threshold, threshold.map(Some));
        self.call_wait.apply(policy, checks);
        if policy.degraded_health_interval >= policy.health_interval {
            match self.degraded_health_interval {
                Some(_) => {
                    checks.fail(["degraded_health_interval"], "must be shorter than `health_interval`")
                }
                None => checks.fail(["health_interval"], "must be longer than `degraded_health_interval`"),
            }
        }
    }

    fn choices(&self, policy: &mut Policy, checks: &mut Checks) {
        let jitter = checks.ratio("connect_jitter_ratio", self.connect_jitter_ratio);
        set(&mut policy.connect_jitter_ratio, jitter);
        let threshold = checks.ratio("error_rate_threshold", self.error_rate_threshold);
        set(&mut policy.error_rate_threshold, threshold.map(Some));
        let failover = checks.word(["ambiguous_failover"], self.ambiguous_failover.as_deref(), &FAILOVERS);
        set(&mut policy.ambiguous_failover, failover);
        let errors = checks.word(["rpc_error_policy"], self.rpc_error_policy.as_deref(), &RPC_ERRORS);
        set(&mut policy.rpc_error_policy, errors);
        let reset = checks.word(["reset_retry_on"], self.reset_retry_on.as_deref(), &RESETS);
        set(&mut policy.reset_retry_on, reset);
        set(&mut policy.allow_stdio_registration, self.allow_stdio_registration);
    }
}

const FAILOVERS: [(&str, AmbiguousFailover); 3] = [
    ("always", AmbiguousFailover::Always),
    ("unless_unsafe", AmbiguousFailover::UnlessUnsafe),
    ("safe_only", AmbiguousFailover::SafeOnly),
];

const RPC_ERRORS: [(&str, RpcErrorPolicy); 2] =
    [("classify", RpcErrorPolicy::Classify), ("always_degrade", RpcErrorPolicy::AlwaysDegrade)];

const RESETS: [(&str, ResetRetryOn); 2] =
    [("handshake", ResetRetryOn::Handshake), ("invoke_success", ResetRetryOn::InvokeSuccess)];

impl CallWait {
    fn apply(&self, policy: &mut Policy, checks: &mut Checks) {
        let mut wait = |key, value| checks.millis(["call_wait", key], value, 0);
        set(&mut policy.call_wait_multiplier, wait("multiplier", self.multiplier));
        set(&mut policy.call_wait_min, wait("min", self.min));
        set(&mut policy.call_wait_max, wait("max", self.max));
        let ordered = policy.call_wait_min <= policy.call_wait_max;
        checks.ensure(ordered, ["call_wait"], "`min` must not be longer than `max`");
    }
}

/// A number of milliseconds, or `"none"` (in JSON also null) for no limit.
fn age<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Age>, D::Error> {
    struct Visitor;
    impl serde::de::Visitor<'_> for Visitor {
        type Value = Option<Age>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a whole number, 0 or more, or \"none\"")
        }

        fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
            Ok(Some(Age::Millis(value)))
        }

        fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Self::Value, E> {
            let unexpected = serde::de::Unexpected::Other("another string");
            if value == "none" { Ok(Some(Age::Never)) } else { Err(E::invalid_value(unexpected, &self)) }
        }

        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Ok(Some(Age::Never))
        }
    }
    deserializer.deserialize_any(Visitor)
}
