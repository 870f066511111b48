//! What can happen, and the draws that decide what does.

use std::sync::Arc;
use std::time::Duration;

use mcp_protocol::{Era, ErrorCode, Method, RawJson};
use mcp_registry::{
    AmbiguousFailover, Answered, CallFailure, CorrelationId, Definition, ErrorCategory, Failure, Handshake,
    KnownTool, KnownTools, Loss, Policy, Random, ResetRetryOn, RpcErrorPolicy, Selection, ServerKey,
    ServerName, ToolHints,
};
use mcp_transport::{Delivery, Endpoint, StdioEndpoint};
use serde_json::json;

use crate::Dice;

/// One operation on the registry.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Advance(Duration),
    Register(Box<Definition>),
    Redefine(Box<Definition>),
    Unregister(ServerName),
    Success(ServerKey, Option<CorrelationId>),
    Failure {
        key: ServerKey,
        failure: Failure,
        cause: Option<CorrelationId>,
        lost: bool,
    },
    AttemptFailed(ServerKey),
    ConnectExhausted {
        key: ServerKey,
        failure: Failure,
        attempts: u32,
        unit: f64,
    },
    ReconnectFailed(ServerKey, f64),
    Reconnecting(ServerKey),
    MarkHealthy(ServerKey),
    MarkDegraded(ServerKey, &'static str),
    MarkUnavailable(ServerKey, &'static str),
    Probe(ServerKey, Answered),
    Connecting(ServerKey),
    Handshake {
        key: ServerKey,
        handshake: Handshake,
        cause: Option<CorrelationId>,
        record: bool,
    },
    HandshakeFailed {
        key: ServerKey,
        failure: Failure,
        cause: Option<CorrelationId>,
        partial: Option<Handshake>,
        record: bool,
    },
    Lost(ServerKey, Loss),
    Disconnected(ServerKey),
    Tools(ServerKey, KnownTools),
    Due,
    Start,
    Select(Selection),
    Call(Call),
    Directed(ServerKey, Call),
}

/// One routed call; how its attempts end is drawn on the way.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) idempotent: Option<bool>,
    pub(super) selection: Selection,
}

impl Op {
    /// The registration it is about, if it is about one.
    pub(super) fn key(&self) -> Option<&ServerKey> {
        match self {
            Self::Success(key, _)
            | Self::AttemptFailed(key)
            | Self::ReconnectFailed(key, _)
            | Self::Reconnecting(key)
            | Self::MarkHealthy(key)
            | Self::MarkDegraded(key, _)
            | Self::MarkUnavailable(key, _)
            | Self::Probe(key, _)
            | Self::Connecting(key)
            | Self::Lost(key, _)
            | Self::Disconnected(key)
            | Self::Tools(key, _)
            | Self::Failure { key, .. }
            | Self::ConnectExhausted { key, .. }
            | Self::Handshake { key, .. }
            | Self::HandshakeFailed { key, .. } => Some(key),
            Self::Advance(_)
            | Self::Register(_)
            | Self::Redefine(_)
            | Self::Unregister(_)
            | Self::Due
            | Self::Start
            | Self::Select(_)
            | Self::Call(_)
            | Self::Directed(..) => None,
        }
    }
}

/// How often each kind of operation happens. Drawn for each seed, so that some runs are all failures and
/// others all registrations: what only a hundred failures in a row bring about is rare in a fair mix.
#[derive(Debug)]
pub(super) struct Mix {
    /// Kinds, each as often as it weighs.
    kinds: Vec<Kind>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Advance,
    Register,
    Redefine,
    Unregister,
    Success,
    Failure,
    Attempt,
    Reconnect,
    Mark,
    Probe,
    Connecting,
    Handshake,
    HandshakeFailed,
    Lost,
    Disconnected,
    Tools,
    Due,
    Start,
    Select,
    Call,
    Directed,
}

impl Mix {
    pub(super) fn draw(dice: &Dice) -> Self {
        const KINDS: [(Kind, u64); 21] = [
            (Kind::Advance, 6),
            (Kind::Register, 1),
            (Kind::Redefine, 2),
            (Kind::Unregister, 1),
            (Kind::Success, 2),
            (Kind::Failure, 6),
            (Kind::Attempt, 2),
            (Kind::Reconnect, 4),
            (Kind::Mark, 2),
            (Kind::Probe, 2),
            (Kind::Connecting, 2),
            (Kind::Handshake, 4),
            (Kind::HandshakeFailed, 3),
            (Kind::Lost, 2),
            (Kind::Disconnected, 2),
            (Kind::Tools, 2),
            (Kind::Due, 3),
            (Kind::Start, 2),
            (Kind::Select, 3),
            (Kind::Call, 5),
            (Kind::Directed, 2),
        ];
        let mut kinds = Vec::new();
        for (kind, usual) in KINDS {
            let factor = *dice.pick(&[0, 1, 1, 2, 8]);
            // No run goes without time, servers and calls.
            let least = u64::from(matches!(kind, Kind::Advance | Kind::Register | Kind::Select | Kind::Call));
            kinds.extend((0..(usual * factor).max(least)).map(|_| kind));
        }
        Self { kinds }
    }

    /// The next operation. `keys` are the registrations to pick from, `definitions` those in force, `moments` the
    /// instants at which something is about to change, as time from now.
    pub(super) fn next(
        &self,
        dice: &Dice,
        keys: &[ServerKey],
        definitions: &[&Definition],
        moments: &[Duration],
    ) -> Op {
        let kind = *dice.pick(&self.kinds);
        if keys.is_empty()
            && !matches!(kind, Kind::Advance | Kind::Due | Kind::Start | Kind::Select | Kind::Call)
        {
            return Op::Register(Box::new(definition(dice)));
        }
        let key = || dice.pick(keys).clone();
        let cause = || dice.chance(50).then(|| format!("r{}", dice.below(9)).into());
        match kind {
            Kind::Advance => Op::Advance(step(dice, moments)),
            Kind::Register => Op::Register(Box::new(definition(dice))),
            Kind::Redefine => {
                let mut definition = match definitions {
                    [] => definition(dice),
                    some => (*dice.pick(some)).clone(),
                };
                retouch(dice, &mut definition);
                Op::Redefine(Box::new(definition))
            }
            Kind::Unregister => Op::Unregister(name(dice)),
            Kind::Success => Op::Success(key(), cause()),
            Kind::Failure => {
                Op::Failure { key: key(), failure: failure(dice), cause: cause(), lost: dice.chance(40) }
            }
            Kind::Attempt => Op::AttemptFailed(key()),
            Kind::Reconnect => match dice.below(4) {
                0 => Op::Reconnecting(key()),
                1 => Op::ConnectExhausted {
                    key: key(),
                    failure: failure(dice),
                    attempts: *dice.pick(&[1, 3, 10]),
                    unit: dice.unit(),
                },
                _ => Op::ReconnectFailed(key(), dice.unit()),
            },
            Kind::Mark => match dice.below(3) {
                0 => Op::MarkHealthy(key()),
                1 => Op::MarkDegraded(key(), dice.pick::<&str>(&["slow", ""])),
                _ => Op::MarkUnavailable(key(), dice.pick::<&str>(&["maintenance", ""])),
            },
            Kind::Probe => Op::Probe(key(), answered(dice)),
            Kind::Connecting => Op::Connecting(key()),
            Kind::Handshake => Op::Handshake {
                key: key(),
                handshake: handshake(dice),
                cause: cause(),
                record: dice.chance(70),
            },
            Kind::HandshakeFailed => Op::HandshakeFailed {
                key: key(),
                failure: failure(dice),
                cause: cause(),
                partial: dice.chance(30).then(|| handshake(dice)),
                record: dice.chance(70),
            },
            Kind::Lost => Op::Lost(key(), *dice.pick(&[Loss::Restartable, Loss::Lazy])),
            Kind::Disconnected => Op::Disconnected(key()),
            Kind::Tools => Op::Tools(key(), known_tools(dice)),
            Kind::Due => Op::Due,
            Kind::Start => Op::Start,
            Kind::Select => Op::Select(selection(dice)),
            Kind::Call => Op::Call(call(dice, selection(dice))),
            Kind::Directed => {
                let key = key();
                let preferred = vec![key.name.to_string()];
                let only = Selection { preferred, preferred_only: true, tool: Some("t".into()), group: None };
                Op::Directed(key, Call { method: Method::ToolsCall, ..call(dice, only) })
            }
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// Time passes in steps of up to eight years, so that a run does not reach the end of time.
pub(super) const LONGEST_STEP: Duration = Duration::from_secs(1 << 28);
const TICK: Duration = Duration::from_micros(1);

/// A policy with extreme values as likely as usual ones.
pub(super) fn policy(dice: &Dice) -> Policy {
    let mut policy = Policy::default();
    policy.max_backoff = *dice.pick(&[Duration::ZERO, TICK, SECOND, 8 * SECOND, HOUR, Duration::MAX]);
    policy.unreachable_after = *dice.pick(&[1, 2, 3, 3, 10, u32::MAX]);
    policy.max_initialization_age =
        *dice.pick(&[None, Some(Duration::ZERO), Some(TICK), Some(300 * SECOND), Some(Duration::MAX)]);
    policy.max_connection_events = ring(dice);
    policy.max_invocation_events = ring(dice);
    policy.max_registry_events = ring(dice);
    policy.max_servers = *dice.pick(&[1, 2, 3, 6, 1024]);
    policy.call_attempts = *dice.pick(&[1, 2, 3, 10]);
    policy.call_wait_multiplier = *dice.pick(&[Duration::ZERO, SECOND, HOUR]);
    policy.call_wait_min = *dice.pick(&[Duration::ZERO, SECOND, HOUR]);
    policy.call_wait_max = *dice.pick(&[Duration::ZERO, 10 * SECOND, YEAR]);
    policy.connect_base_delay = *dice.pick(&[Duration::ZERO, TICK, SECOND, HOUR]);
    policy.connect_max_delay = *dice.pick(&[Duration::ZERO, SECOND, 60 * SECOND, YEAR]);
    policy.connect_jitter_ratio = *dice.pick(&[0.0, 0.1, 1.0]);
    policy.health_interval = *dice.pick(&[TICK, SECOND, 30 * SECOND, YEAR]);
    policy.degraded_health_interval = *dice.pick(&[TICK, SECOND, 5 * SECOND]);
    policy.latency_threshold = *dice.pick(&[None, None, Some(Duration::ZERO), Some(4 * SECOND)]);
    policy.error_rate_threshold = *dice.pick(&[None, None, Some(0.0), Some(0.5), Some(1.0)]);
    policy.ambiguous_failover = *dice.pick(&[
        AmbiguousFailover::Always,
        AmbiguousFailover::UnlessUnsafe,
        AmbiguousFailover::SafeOnly,
    ]);
    policy.rpc_error_policy = *dice.pick(&[RpcErrorPolicy::Classify, RpcErrorPolicy::AlwaysDegrade]);
    policy.reset_retry_on = *dice.pick(&[ResetRetryOn::Handshake, ResetRetryOn::InvokeSuccess]);
    policy
}

fn answered(dice: &Dice) -> Answered {
    // The bounds themselves come up, too.
    let latency = *dice.pick(&[Duration::ZERO, TICK, 4 * SECOND, Duration::from_micros(dice.below(1 << 24))]);
    let error_rate = *dice.pick(&[None, Some(0.0), Some(0.05), Some(0.5), Some(0.55), Some(1.0)]);
    Answered { latency, opened: dice.chance(30), error_rate }
}

/// Small, so that reading whole rings after every step stays cheap.
fn ring(dice: &Dice) -> usize {
    *dice.pick(&[0, 1, 2, 3, 8, 64])
}

const NAMES: [&str; 7] = ["a", "B", "c", "c-2", "c.1", "d", "e"];
const GROUPS: [&str; 2] = ["g", "h"];
const TOOLS: [&str; 3] = ["t", "u", "v"];

fn name(dice: &Dice) -> ServerName {
    server_name(dice.pick::<&str>(&NAMES))
}

fn server_name(text: &str) -> ServerName {
    match text.parse() {
        Ok(name) => name,
        Err(error) => panic!("{text:?} is a name of this module: {error}"),
    }
}

fn definition(dice: &Dice) -> Definition {
    let mut definition = Definition::new(name(dice), Endpoint::Stdio(StdioEndpoint::new("server", [""; 0])));
    definition.enabled = dice.chance(85);
    definition.group = dice.chance(50).then(|| server_name(dice.pick::<&str>(&GROUPS)));
    definition.priority = *dice.pick(&[1, 50, 50, 100]);
    definition.tools = dice.chance(30).then(|| some_tools(dice).map(ToString::to_string).collect());
    definition.max_retries = *dice.pick(&[None, None, Some(0), Some(2), Some(u32::MAX)]);
    definition.retry_delay =
        *dice.pick(&[None, None, Some(Duration::ZERO), Some(SECOND), Some(Duration::MAX)]);
    definition.trust_annotations = dice.chance(50);
    definition
}

/// Changes what does not concern the server, at times something that does, at times nothing.
fn retouch(dice: &Dice, definition: &mut Definition) {
    definition.priority = *dice.pick(&[1, 50, 100]);
    definition.trust_annotations = dice.chance(50);
    definition.critical = dice.chance(50);
    if dice.chance(20) {
        definition.enabled = dice.chance(85);
        definition.tools = dice.chance(30).then(|| some_tools(dice).map(ToString::to_string).collect());
    }
}

fn some_tools(dice: &Dice) -> impl Iterator<Item = &'static str> {
    TOOLS.into_iter().filter(|_| dice.chance(50))
}

fn known_tools(dice: &Dice) -> KnownTools {
    let word = || *dice.pick(&[None, Some(true), Some(false), Some(false)]);
    let tool = |name: &str| {
        let listed = RawJson::encode(&json!({"name": name, "v": dice.below(3)})).ok();
        let hints = ToolHints {
            read_only: word(),
            idempotent: word(),
            destructive: *dice.pick(&[None, Some(true), Some(true), Some(false)]),
        };
        (name.into(), KnownTool { listed, hints })
    };
    some_tools(dice).map(tool).collect()
}

fn selection(dice: &Dice) -> Selection {
    let mut preferred = Vec::new();
    for _ in 0..dice.below(5) {
        // Names nobody has are skipped, repeats count once.
        preferred.push((*dice.pick(&["a", "B", "c", "c-2", "c.1", "d", "e", "nobody", ""])).to_owned());
    }
    Selection {
        preferred,
        preferred_only: dice.chance(25),
        group: dice.chance(25).then(|| (*dice.pick(&["g", "h", "i"])).to_owned()),
        tool: dice.chance(60).then(|| (*dice.pick(&["t", "u", "v", "w"])).into()),
    }
}

fn call(dice: &Dice, mut selection: Selection) -> Call {
    let method = if dice.chance(70) { Method::ToolsCall } else { Method::ResourcesRead };
    if method == Method::ResourcesRead {
        selection.tool = None;
    }
    Call { method, idempotent: *dice.pick(&[None, None, Some(true), Some(false)]), selection }
}

pub(super) fn failure(dice: &Dice) -> Failure {
    let category = *dice.pick(&[
        ErrorCategory::NetworkTimeout,
        ErrorCategory::HttpStatus,
        ErrorCategory::InvalidPayload,
        ErrorCategory::RpcError,
        ErrorCategory::TransportError,
        ErrorCategory::HealthCheck,
        ErrorCategory::InitializeError,
        ErrorCategory::Unknown,
    ]);
    // "healthy" is also what a recovery says.
    let text: Arc<str> = (*dice.pick(&["timed out", "http status 503", "", "healthy"])).into();
    Failure::new(category, text)
}

pub(super) fn call_failure(dice: &Dice) -> CallFailure {
    const CODES: [i64; 13] =
        [-32700, -32600, -32601, -32602, -32020, -32021, -32022, -32002, -32603, -32000, -32023, 0, i64::MIN];
    let failure =
        if dice.chance(40) { Failure::new(ErrorCategory::RpcError, "rpc error") } else { failure(dice) };
    let is_rpc = failure.category == ErrorCategory::RpcError;
    CallFailure {
        failure,
        delivery: *dice.pick(&[Delivery::NotSent, Delivery::Rejected, Delivery::Unknown]),
        rpc_code: (is_rpc && dice.chance(90)).then(|| ErrorCode(*dice.pick(&CODES))),
        transient: dice.chance(50),
        retry_after: *dice.pick(&[
            None,
            None,
            Some(Duration::ZERO),
            Some(SECOND),
            Some(HOUR),
            Some(Duration::MAX),
        ]),
    }
}

pub(super) fn handshake(dice: &Dice) -> Handshake {
    Handshake {
        era: *dice.pick(&[Era::Handshake, Era::Stateless]),
        protocol_version: dice
            .chance(80)
            .then(|| (*dice.pick(&["2025-11-25", "2026-07-28", "?"])).to_owned()),
        server_info: RawJson::encode(&json!({"version": dice.below(99)})).ok().filter(|_| dice.chance(80)),
        capabilities: dice.chance(80).then(RawJson::empty_object),
        ttl: *dice.pick(&[None, None, None, Some(TICK), Some(SECOND), Some(HOUR)]),
    }
}

/// Half the time exactly to a moment at which something changes, or just short of it, or just past.
fn step(dice: &Dice, moments: &[Duration]) -> Duration {
    if !moments.is_empty() && dice.chance(50) {
        let moment = *dice.pick(moments);
        return match dice.below(4) {
            0 => moment.saturating_sub(TICK),
            1 => moment + TICK,
            _ => moment,
        };
    }
    let (unit, most) =
        *dice.pick(&[(TICK, 1000), (TICK, 2_000_000), (SECOND, 10), (SECOND, 600), (HOUR, 48), (YEAR, 3)]);
    unit * u32::try_from(dice.below(most)).unwrap_or(0)
}

/// A wait of up to a few seconds, for what takes time while a call is under way.
pub(super) fn short(dice: &Dice) -> Duration {
    Duration::from_micros(dice.u64() % 3_000_000)
}
