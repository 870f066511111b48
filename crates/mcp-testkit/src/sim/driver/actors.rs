//! Who acts: callers, an operator, whoever kills servers, and a watcher.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use mcp_manager::{Manager, RoutedCall};
use mcp_protocol::{EraPolicy, Method, RawJson};
use mcp_registry::{
    Clock, ConnectionFilter, ConnectionState, Definition, FailureCode, InvocationFilter, ProbeKind,
    RegistryFilter, Selection, ServerRecord, Stage, Status,
};
use mcp_transport::{Delivery, Endpoint, HttpEndpoint, StdioEndpoint};
use tokio::time::{sleep, timeout};

use super::super::network::{TOOLS, address, read_answer};
use super::{End, Op, Pace, Registration, World};
use crate::{Dice, Outcome, Promise};

/// In every configured header and variable, and nowhere else.
pub(super) const CANARY: &str = "canary-7f3a";

/// What the clock's granularity and the order of tasks may add to a limit.
const GRACE: Duration = Duration::from_secs(1);

fn pause(world: &World, dice: &Dice) -> Duration {
    Duration::from_millis(match (world.pace, dice.below(20)) {
        (_, 0..4) => 0,
        (Pace::Brisk, 4..17) => dice.below(300),
        (Pace::Brisk, _) => dice.below(6_000),
        (Pace::Lazy, 4..14) => dice.below(60_000),
        (Pace::Lazy, _) => dice.below(3 * 3_600_000),
    })
}

/// A caller: some calls one after the other, at times several at once.
pub(super) async fn call(world: Arc<World>, manager: Manager, dice: Dice) {
    for _ in 0..3 + dice.below(12) {
        if world.is_broken() {
            return;
        }
        let burst = if dice.chance(15) { 2 + dice.below(6) } else { 1 };
        join_all((0..burst).map(|_| one_call(&world, &manager, dice.fork()))).await;
        sleep(pause(&world, &dice)).await;
    }
}

async fn one_call(world: &World, manager: &Manager, dice: Dice) {
    let nonce = format!("n{}", world.step());
    let mut call = if dice.chance(80) {
        let (tool, _) = dice.pick(&TOOLS);
        let mut call =
            routed(Method::ToolsCall, &format!(r#"{{"name":"{tool}","arguments":{{"nonce":"{nonce}"}}}}"#));
        call.selection.tool = Some((*tool).into());
        call
    } else {
        routed(Method::ResourcesRead, &format!(r#"{{"uri":"{nonce}"}}"#))
    };
    if dice.chance(50) {
        call.selection.preferred = (0..1 + dice.below(3)).map(|_| dice.pick(&world.names).clone()).collect();
        call.selection.preferred_only = dice.chance(30);
    }
    call.selection.group = dice.chance(15).then(|| format!("g{}", dice.below(2)));
    call.idempotent = *dice.pick(&[None, None, Some(true), Some(false)]);
    call.timeout = dice.chance(40).then(|| Duration::from_millis(*dice.pick(&[0, 20, 500, 3_000, 40_000])));
    let leaves = dice.chance(8).then(|| Duration::from_millis(dice.below(*dice.pick(&[4, 100, 5_000]))));
    perform(world, manager, nonce, call, leaves).await;
}

fn routed(method: Method, params: &str) -> RoutedCall {
    let params = RawJson::parse(params.to_owned(), &mcp_protocol::Limits::default());
    RoutedCall::new(method, params.unwrap_or_else(|_| RawJson::empty_object()))
}

/// Makes the call and notes everything about it. `leaves`: when the caller goes away.
async fn perform(
    world: &World,
    manager: &Manager,
    nonce: String,
    call: RoutedCall,
    leaves: Option<Duration>,
) {
    let began = world.clock.now();
    let repeatable = call.method == Method::ResourcesRead || call.idempotent != Some(false);
    let limit = world.policy.max_call_deadline + GRACE;
    let promise = Promise {
        deadline: if leaves.is_some() { began + super::END } else { began + limit },
        executions: match (repeatable, world.policy.ambiguous_failover) {
            (false, mcp_registry::AmbiguousFailover::Always) | (true, _) => {
                u32::try_from(world.names.len()).unwrap_or(u32::MAX)
            }
            (false, _) => 1,
        },
    };
    world.history.began(&nonce, promise);
    world.line(|| {
        format!("{nonce} {} {:?} {:?} {:?}", call.method, call.selection, call.idempotent, call.timeout)
    });
    let op = Op {
        nonce: nonce.clone(),
        began,
        ended: None,
        method: call.method.clone(),
        selection: call.selection.clone(),
        idempotent: call.idempotent,
        end: End::Open,
    };
    let at = {
        let mut record = world.record();
        record.ops.push(op);
        record.ops.len() - 1
    };
    let method = call.method.clone();
    let outcome = match leaves {
        None => Some(manager.call(call).await),
        Some(patience) => timeout(patience, manager.call(call)).await.ok(),
    };
    let now = world.clock.now();
    let end = match outcome {
        None => End::Abandoned,
        Some(Ok(invocation)) => {
            let (payload, host) = read_answer(&method, &invocation.result).unzip();
            world.history.ended(&nonce, now, Outcome::Success { payload: payload.unwrap_or_default() });
            End::Answered {
                server: invocation.server.to_string(),
                host,
                request_id: invocation.request_id.to_string(),
                attempts: invocation.attempts,
            }
        }
        Some(Err(error)) => {
            let shown = format!("{error:?}");
            if shown.contains(CANARY) {
                world.broken("I8 canary", format!("{nonce}: {shown}"));
            }
            let got = |delivery| error.attempts.iter().any(|attempt| attempt.delivery == Some(delivery));
            let delivery = match () {
                () if got(Delivery::Unknown) => Delivery::Unknown,
                () if got(Delivery::Rejected) => Delivery::Rejected,
                () => Delivery::NotSent,
            };
            world.history.ended(&nonce, now, Outcome::Failure(delivery));
            End::Failed { code: error.code, attempts: error.attempts }
        }
    };
    world.line(|| {
        let end = match &end {
            End::Answered { server, attempts, .. } => format!("answered by {server} {attempts:?}"),
            end => format!("{end:?}"),
        };
        format!("{nonce} {end}")
    });
    if let End::Answered { attempts, .. } | End::Failed { attempts, .. } = &end
        && let Err(what) = well_formed(attempts, matches!(end, End::Answered { .. }))
    {
        world.broken("trace", format!("{nonce}: {what}: {attempts:?}"));
    }
    let mut record = world.record();
    let op = &mut record.ops[at];
    (op.end, op.ended) = (end, Some(now));
}

/// Per candidate: a failed initialize, or a good one followed by an invoke; ended by a good invoke or not
/// at all (contract §4.4).
fn well_formed(attempts: &[mcp_registry::Attempt], answered: bool) -> Result<(), &'static str> {
    let mut seen = Vec::new();
    let mut rest = attempts.iter().peekable();
    let mut served = false;
    while let Some(first) = rest.next() {
        if served {
            return Err("something was tried after the answer");
        }
        if first.stage != Stage::Initialize {
            return Err("an invoke without its initialize");
        }
        if seen.contains(&&first.server) {
            return Err("a server was a candidate twice");
        }
        seen.push(&first.server);
        if first.failure.is_some() {
            continue;
        }
        match rest.next() {
            Some(second) if second.stage == Stage::Invoke && second.server == first.server => {
                served = second.failure.is_none();
            }
            Some(_) => return Err("an initialize without its invoke"),
            // Stopped by its deadline or by shutdown.
            None if !answered => return Ok(()),
            None => {}
        }
    }
    if served == answered { Ok(()) } else { Err("the trace does not end like the call") }
}

/// Registers a server under a name, or replaces the one that is there; most often at a new address.
pub(super) fn register(world: &World, manager: &Manager, dice: &Dice, name: &str) {
    let Some((definition, registration)) = define(world, dice, name) else { return };
    world.line(|| format!("register {name} at {}", registration.host));
    // Noted in the same step: nothing else runs in between.
    world.record().registrations.push(registration);
    if let Err(full) = manager.register(definition) {
        world.broken("register", full.to_string());
    }
}

fn define(world: &World, dice: &Dice, name: &str) -> Option<(Definition, Registration)> {
    let (before, count) = {
        let record = world.record();
        let mut of_name = record.registrations.iter().filter(|registration| registration.name == name);
        (of_name.next_back().cloned(), record.registrations.len())
    };
    let stdio = dice.chance(30);
    let (host, enabled) = match before.filter(|_| dice.chance(20)) {
        Some(before) => (before.host, before.enabled),
        None => (format!("{name}-{count}{}", if stdio { "-stdio" } else { "" }), dice.chance(92)),
    };
    let facts = world.network.host(&host);
    let endpoint = if host.ends_with("-stdio") {
        let mut stdio = StdioEndpoint::new(&*host, ["-v"]);
        stdio.env.insert("KEY".to_owned(), CANARY.into());
        Endpoint::Stdio(stdio)
    } else {
        let mut http = HttpEndpoint::new(format!("http://{host}/mcp").parse().ok()?);
        http.headers.push(("Authorization".to_owned(), CANARY.into()));
        Endpoint::Http(http)
    };
    let mut definition = Definition::new(name.parse().ok()?, endpoint);
    definition.enabled = enabled;
    definition.group = dice.chance(50).then(|| format!("g{}", dice.below(2)).parse().ok()).flatten();
    definition.priority = *dice.pick(&[50, 50, 10, 90]);
    definition.protocol = if dice.chance(80) { EraPolicy::Auto } else { EraPolicy::Only(facts.era) };
    definition.request_timeout = Duration::from_secs(*dice.pick(&[1, 5, 30]));
    definition.probe =
        *dice.pick(&[ProbeKind::Auto, ProbeKind::HttpGet, ProbeKind::McpPing, ProbeKind::McpDiscover]);
    if definition.probe == ProbeKind::HttpGet && (host.ends_with("-stdio") || !facts.health_path) {
        definition.probe = ProbeKind::Auto;
    }
    definition.tools = dice
        .chance(20)
        .then(|| TOOLS.iter().filter(|_| dice.chance(70)).map(|(name, _)| (*name).to_owned()).collect());
    definition.trust_annotations = dice.chance(40);
    definition.discover_tools = dice.chance(60);
    let registration = Registration {
        name: name.to_owned(),
        host,
        enabled,
        group: definition.group.as_ref().map(ToString::to_string),
        trusted: definition.trust_annotations,
        offers: facts.tools,
        configured: definition.tools.is_some(),
    };
    Some((definition, registration))
}

/// The operator, who tries everything.
pub(super) async fn operate(world: Arc<World>, manager: Manager, dice: Dice) {
    for _ in 0..dice.below(25) {
        sleep(pause(&world, &dice)).await;
        // An operator who goes on after the shutdown has no promise that what they open is closed.
        if world.is_broken() || !manager.is_accepting() {
            return;
        }
        world.step();
        let name = dice.pick(&world.names).clone();
        let began = world.clock.now();
        let what = one_operation(&world, &manager, &dice, &name).await;
        let took = world.clock.now().since(began);
        world.line(|| format!("{what} {name} took {took:?}"));
        let policy = &world.policy;
        let opening = policy.handshake_timeout * 2;
        // A flight of somebody else, then one of our own; probes before; a list after.
        let limit =
            opening * 2 + policy.probe_timeout + policy.ping_timeout + Duration::from_secs(30) + GRACE;
        if took > limit {
            world.broken(
                "G5 bounded time",
                format!("{what} {name} took {took:?}, expected at most {limit:?}"),
            );
        }
    }
}

async fn one_operation(world: &World, manager: &Manager, dice: &Dice, name: &str) -> &'static str {
    match dice.below(18) {
        0 | 1 => {
            register(world, manager, dice, name);
            "register"
        }
        2 => {
            world.line(|| format!("unregister {name}"));
            let known = manager.server(name).is_ok();
            let removed = manager.unregister(name).await.is_ok();
            if known != removed {
                world.broken("unregister", format!("{name}: known {known}, removed {removed}"));
            }
            "unregister"
        }
        3 => {
            let _ = manager.mark_healthy(name);
            "mark healthy"
        }
        4 => {
            let _ = manager.mark_degraded(name, "operator");
            "mark degraded"
        }
        5 => {
            let _ = manager.mark_unavailable(name, "operator");
            "mark unavailable"
        }
        6 => {
            let _ = manager.invalidate(name).await;
            "invalidate"
        }
        7 => {
            let _ = manager.refresh(name).await;
            "refresh"
        }
        8 | 9 => {
            let _ = manager.health_check(name).await;
            "health check"
        }
        10 | 11 => {
            let _ = manager.initialize(name, dice.chance(50)).await;
            "initialize"
        }
        12 => {
            let _ = manager.connect(name, dice.chance(50)).await;
            "connect"
        }
        13 => {
            let _ = manager.refresh_tools(name).await;
            "refresh tools"
        }
        14 => {
            manager.health_check_all().await;
            "health check all"
        }
        15 => {
            manager.initialize_all(dice.chance(50)).await;
            "initialize all"
        }
        16 => {
            manager.connect_all(dice.chance(50)).await;
            "connect all"
        }
        _ => {
            let patience = Duration::from_millis(dice.below(200));
            let _ = timeout(patience, manager.refresh(name)).await;
            "abandoned refresh"
        }
    }
}

/// Kills servers.
pub(super) async fn disturb(world: Arc<World>, dice: Dice) {
    loop {
        sleep(Duration::from_millis(100 + dice.below(20_000))).await;
        let host = {
            let record = world.record();
            record.registrations[usize::try_from(dice.below(record.registrations.len() as u64)).unwrap_or(0)]
                .host
                .clone()
        };
        let away = Duration::from_millis(dice.below(*dice.pick(&[100, 10_000])));
        world.line(|| format!("{host} crashes"));
        world.network.crash(&host, away);
    }
}

/// Looks at everything that can be looked at, now and then.
pub(super) async fn watch(world: Arc<World>, manager: Manager, dice: Dice) {
    loop {
        let longest = if world.pace == Pace::Brisk { 5_000 } else { 1_000_000 };
        sleep(Duration::from_millis(1 + dice.below(longest))).await;
        if world.is_broken() {
            return;
        }
        if let Some((invariant, what)) = world.network.broken() {
            world.broken(invariant, what);
        }
        for record in manager.table().servers() {
            consistent(&world, record);
        }
        live_sessions(&world, &manager).await;
        gauges(&world, &manager);
    }
}

/// What holds for every record at every moment (contract §1).
fn consistent(world: &World, record: &ServerRecord) {
    let healthy = record.status == Status::Healthy;
    let unreachable = record.status == Status::Unreachable;
    let rules = [
        ("no retry count", healthy == (record.retry_count == 0)),
        ("no retry window", healthy == record.next_retry_at.is_none()),
        ("no last error", healthy == record.last_error.is_none()),
        ("no category", healthy == record.last_error_category.is_none()),
        ("unreachable by count", unreachable == (record.retry_count >= world.policy.unreachable_after)),
        ("a snapshot when initialised", !record.initialized || record.capability_snapshot.is_some()),
        ("no expiry when not initialised", record.initialized || record.initialization_expires_at.is_none()),
        (
            "connected when initialised",
            !record.initialized || record.connection_state == ConnectionState::Connected,
        ),
    ];
    for (rule, holds) in rules {
        if !holds {
            world.broken("record", format!("{rule}: {record:?}"));
        }
    }
    if world.monitored && record.definition.enabled {
        let policy = &world.policy;
        let slowest = policy.health_interval
            + policy.max_backoff
            + policy.probe_timeout
            + policy.ping_timeout
            + policy.handshake_timeout * 4
            + Duration::from_secs(30);
        let quiet = record.last_checked_at().map(|at| world.clock.now().since(at));
        if quiet.is_some_and(|quiet| quiet > slowest) {
            world.broken("monitor", format!("{} was not checked for {quiet:?}", record.name()));
        }
    }
}

/// A record that says `initialized` has a live session, or will be told otherwise at once.
async fn live_sessions(world: &World, manager: &Manager) {
    let suspects = |manager: &Manager| -> Vec<_> {
        let table = manager.table();
        let without = |record: &&Arc<ServerRecord>| {
            let state = manager.session_state(record.name().as_str());
            // A refused second handshake drops the session and opens another; meanwhile the record says
            // what it said before.
            let host = address(&record.definition.endpoint);
            let opening = world.network.opened_within(&host, world.policy.handshake_timeout);
            record.initialized && state.is_ok_and(|state| !state.active) && !opening
        };
        table.servers().iter().filter(without).map(|record| record.key()).collect()
    };
    let mut found = suspects(manager);
    for _ in 0..3 {
        if found.is_empty() {
            return;
        }
        sleep(Duration::from_millis(1)).await;
        let still = suspects(manager);
        found.retain(|key| still.contains(key));
    }
    if let Some(key) = found.first() {
        world.broken("live session", format!("{key:?} is initialised but has no session"));
    }
}

/// I6: nothing grows beyond what there is work for.
fn gauges(world: &World, manager: &Manager) {
    // Looking into large rings takes long, and they do not fill up.
    if world.policy.max_invocation_events == super::SMALL_RING {
        let journal = manager.journal();
        let kept = [
            journal.connection_events(&ConnectionFilter::default()).len(),
            journal.invocation_events(&InvocationFilter::default()).len(),
            journal.registry_events(&RegistryFilter::default()).len(),
        ];
        if let Some(kept) = kept.into_iter().find(|&kept| kept > super::SMALL_RING) {
            world.broken("I6 gauges", format!("a ring of {} holds {kept} events", super::SMALL_RING));
        }
    }
    let calls = world.record().ops.iter().filter(|op| matches!(op.end, End::Open)).count();
    let servers = world.names.len();
    // Per server one session, one being opened and one being closed; a draining one per call.
    let (open, most) = (world.network.open(), 3 * servers + calls + 4);
    if open > most {
        world.broken("I6 gauges", format!("{open} connections for {servers} servers and {calls} calls"));
    }
}

/// With all servers well again, every call succeeds after a while.
pub(super) async fn recover(world: &World, manager: &Manager) {
    let policy = &world.policy;
    // Windows open, starts are allowed again, hanging exchanges reach their limits.
    sleep(Duration::from_secs(70) + policy.max_backoff + policy.handshake_timeout).await;
    let table = manager.table();
    for record in table.servers().iter().filter(|record| record.definition.enabled) {
        if world.is_broken() {
            return;
        }
        let nonce = format!("n{}", world.step());
        let mut call = routed(Method::ResourcesRead, &format!(r#"{{"uri":"{nonce}"}}"#));
        call.selection = Selection {
            preferred: vec![record.name().to_string()],
            preferred_only: true,
            ..Selection::default()
        };
        perform(world, manager, nonce, call, None).await;
        let end = world.record().ops.last().map(|op| op.end.clone());
        if !matches!(end, Some(End::Answered { .. })) {
            world.broken("G10 recovery", format!("{} is well, but: {end:?}", record.name()));
        }
    }
}

/// After a shutdown calls are refused at once.
pub(super) async fn refused(world: &World, manager: &Manager) {
    let began = world.clock.now();
    let call = routed(Method::ResourcesRead, r#"{"uri":"late"}"#);
    match manager.call(call).await {
        Err(error) if error.code == FailureCode::ShuttingDown && world.clock.now() == began => {}
        outcome => world.broken("R38 shutdown", format!("a call after it: {outcome:?}")),
    }
}
