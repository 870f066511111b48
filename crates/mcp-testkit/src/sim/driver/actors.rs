//! Who acts beside the callers: an operator, whoever kills servers, and a watcher.

use std::sync::Arc;
use std::time::Duration;

use mcp_manager::Manager;
use mcp_protocol::EraPolicy;
use mcp_registry::{
    Clock, ConnectionFilter, ConnectionState, Definition, InvocationFilter, ProbeKind, RegistryChange,
    RegistryFilter, ServerName, ServerRecord, Status, Subscription,
};
use mcp_transport::{Endpoint, HttpEndpoint, StdioEndpoint};
use tokio::time::{sleep, timeout};

use super::{End, Pace, Registration, SMALL_RING, World, callers};
use crate::Dice;
use crate::sim::network::TOOLS;

/// In every configured header and variable, and nowhere else.
pub(super) const CANARY: &str = "canary-7f3a";

/// The longest a server may be given for an answer.
const LONGEST_REQUEST: Duration = Duration::from_secs(120);

/// What is said of servers that are not registered, and of no others.
pub(super) const NOT_FOUND: &str = "server not found";

/// What the clock's granularity and the order of tasks may add to a limit.
pub(super) const GRACE: Duration = Duration::from_secs(1);

pub(super) fn pause(world: &World, dice: &Dice) -> Duration {
    Duration::from_millis(match (world.pace, dice.below(20)) {
        (_, 0..4) => 0,
        (Pace::Brisk, 4..17) => dice.below(300),
        (Pace::Brisk, _) => dice.below(6_000),
        (Pace::Lazy, 4..14) => dice.below(60_000),
        (Pace::Lazy, _) => dice.below(3 * 3_600_000),
    })
}

/// Registers a server under a name, or replaces the one that is there; most often at a new address.
pub(super) fn register(world: &World, manager: &Manager, dice: &Dice, name: &str) {
    let Some((definition, registration)) = define(world, manager, dice, name) else { return };
    world.line(|| format!("register {registration:?}"));
    let before = manager.server(name).ok();
    let goes_on = goes_on(before.as_deref(), &definition);
    // Noted in the same step: nothing else runs in between.
    note(world, registration, goes_on);
    match manager.register(definition) {
        Ok(record) => {
            let went_on = before.is_some_and(|before| before.key() == record.key());
            if went_on != goes_on {
                world.broken("redefine", format!("{name} goes on: {went_on}, expected {goes_on}"));
            }
        }
        Err(full) => world.broken("register", full.to_string()),
    }
}

/// Whether a server need not know of its new definition.
fn goes_on(before: Option<&ServerRecord>, definition: &Definition) -> bool {
    before
        .is_some_and(|record| *record.definition != *definition && record.definition.carries_over(definition))
}

fn note(world: &World, registration: Registration, goes_on: bool) {
    let mut record = world.record();
    if goes_on {
        record.redefinitions.push((registration.name, registration.trusted));
    } else {
        record.registrations.push(registration);
    }
}

fn define(world: &World, manager: &Manager, dice: &Dice, name: &str) -> Option<(Definition, Registration)> {
    let (before, count) = {
        let record = world.record();
        let mut of_name = record.registrations.iter().filter(|registration| registration.name == name);
        (of_name.next_back().cloned(), record.registrations.len())
    };
    if let (Some(before), Ok(there)) = (&before, manager.server(name))
        && dice.chance(30)
    {
        let mut definition = Definition::clone(&there.definition);
        definition.priority = *dice.pick(&[50, 10, 90]);
        definition.critical = dice.chance(50);
        definition.trust_annotations = dice.chance(40);
        let registration = Registration { trusted: definition.trust_annotations, ..before.clone() };
        return Some((definition, registration));
    }
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
    // Some servers may take longer than a call may.
    definition.request_timeout = *dice.pick(&[1, 5, 30].map(Duration::from_secs));
    if dice.chance(15) {
        definition.request_timeout = LONGEST_REQUEST;
    }
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
    definition.forward_user_token = dice.chance(50);
    definition.retry_delay = dice.chance(50).then(|| Duration::from_millis(dice.below(2_000)));
    let registration = Registration {
        name: name.to_owned(),
        host,
        enabled,
        group: definition.group.as_ref().map(ToString::to_string),
        trusted: definition.trust_annotations,
        offers: facts.tools,
        lists: facts.lists_tools,
        discovers: definition.discover_tools,
        hangs: facts.hangs,
        request_timeout: definition.request_timeout,
        forwards: definition.forward_user_token,
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
        if dice.chance(4) {
            reconnect_and_leave(&world, &manager, &dice, &name).await;
            continue;
        }
        let began = world.clock.now();
        let what = one_operation(&world, &manager, &dice, &name).await;
        let took = world.clock.now().since(began);
        world.line(|| format!("{what} {name} took {took:?}"));
        let policy = &world.policy;
        let opening = policy.handshake_timeout * 2;
        // A flight of somebody else, then one of our own; probes before; a list after.
        let limit = opening * 2 + policy.probe_timeout + policy.ping_timeout + LONGEST_REQUEST + GRACE;
        if took > limit {
            world.broken(
                "G5 bounded time",
                format!("{what} {name} took {took:?}, expected at most {limit:?}"),
            );
        }
    }
}

async fn one_operation(world: &World, manager: &Manager, dice: &Dice, name: &str) -> &'static str {
    match dice.below(24) {
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
        17 => {
            let _ = manager.disconnect(name).await;
            "disconnect"
        }
        18 => {
            let _ = manager.reconnect(name).await;
            "reconnect"
        }
        19 => {
            apply(world, manager, dice);
            "apply"
        }
        20 => {
            let _ = manager.check_server_health(name).await;
            "check health"
        }
        21 => {
            manager.leave(dice.pick::<&str>(&callers::SEATS));
            "a party leaves"
        }
        22 => {
            let idle = Duration::from_millis(dice.below(10_000));
            manager.release_idle(idle, idle * 2);
            "release"
        }
        _ => {
            let patience = Duration::from_millis(dice.below(200));
            let _ = timeout(patience, manager.refresh(name)).await;
            "abandoned refresh"
        }
    }
}

/// Somebody who wants a server that is away connected anew, and goes before that is done: if no attempt
/// succeeds the server is out of service, and the attempts go on (contract §2.6).
async fn reconnect_and_leave(world: &World, manager: &Manager, dice: &Dice, name: &str) {
    let Ok(before) = manager.server(name) else { return };
    let policy = &world.policy;
    // Each attempt may have to wait for somebody else's handshake and make one of its own.
    let attempts: Duration = (1..=policy.connect_attempts)
        .map(|attempt| policy.handshake_timeout * 4 + policy.connect_wait(attempt, 1.0))
        .sum();
    let patience = Duration::from_millis(dice.below(*dice.pick(&[1, 100, 3_000])));
    let host = {
        let record = world.record();
        let found = record.registrations.iter().rfind(|registration| registration.name == name);
        found.map(|registration| registration.host.clone())
    };
    let Some(host) = host.filter(|_| before.definition.enabled) else { return };
    if !world.network.crash(&host, patience + attempts + GRACE * 2) {
        return;
    }
    let began = world.clock.now();
    let left = timeout(patience, manager.reconnect(name)).await.is_err();
    world.line(|| format!("reconnect {name}, left {left} after {patience:?}"));
    sleep(attempts + GRACE).await;
    let still = manager.server(name).is_ok_and(|record| record.key() == before.key());
    if !manager.is_accepting() || !still || policy.max_registry_events == SMALL_RING {
        return;
    }
    let filter = RegistryFilter { server: Some(name), ..RegistryFilter::default() };
    let mut changes = manager.journal().registry_events(&filter);
    changes.retain(|event| event.timestamp >= began);
    let any = |found: fn(&RegistryChange) -> bool| changes.iter().any(|event| found(&event.change));
    // A handshake may have succeeded just before the end.
    let connected =
        any(|change| matches!(change, RegistryChange::StateChanged { to: ConnectionState::Connected, .. }));
    let down = any(|change| matches!(change, RegistryChange::Unavailable { .. }));
    let goes_on = any(|change| matches!(change, RegistryChange::ReconnectScheduled { .. }));
    // Somebody's reconnect that was under way may have found it connected at the moment it went away.
    let reconnects = changes.iter().any(|event| {
        let to = ConnectionState::Reconnecting;
        event.timestamp == began
            && matches!(event.change, RegistryChange::StateChanged { to: now, .. } if now == to)
    });
    let joined = before.connection_state == ConnectionState::Connected && !reconnects;
    let settled = connected || joined || (down && goes_on);
    if !settled {
        let what = format!("{name} is away for {attempts:?}: out of service {down}, tried again {goes_on}");
        world.broken("contract 2.6", what);
    }
}

/// An operator in the middle of somebody's call.
pub(super) async fn meddle(world: &World, manager: &Manager, dice: Dice, name: &str) {
    sleep(Duration::from_millis(dice.below(*dice.pick(&[5, 50, 1_000])))).await;
    if world.is_broken() || !manager.is_accepting() {
        return;
    }
    world.line(|| format!("somebody meddles with {name}"));
    match dice.below(8) {
        0..3 => {
            let _ = manager.invalidate(name).await;
        }
        3 => {
            let _ = manager.refresh(name).await;
        }
        4 | 5 => {
            let _ = manager.disconnect(name).await;
        }
        6 => {
            let _ = manager.reconnect(name).await;
        }
        _ => register(world, manager, &dice, name),
    }
}

/// A changed configuration: some servers replaced or as they were, some gone.
fn apply(world: &World, manager: &Manager, dice: &Dice) {
    let named: Vec<&String> = world.names.iter().filter(|_| dice.chance(50)).collect();
    let before: Vec<ServerName> = named.iter().filter_map(|name| name.parse().ok()).collect();
    let mut defined = Vec::new();
    for name in named {
        let same = manager.server(name).ok().filter(|_| dice.chance(50));
        match same {
            Some(record) => defined.push(((*record.definition).clone(), None)),
            None if dice.chance(70) => {
                defined.extend(define(world, manager, dice, name).map(|(definition, made)| {
                    let before = manager.server(name).ok();
                    let goes_on = goes_on(before.as_deref(), &definition);
                    (definition, Some((made, goes_on)))
                }));
            }
            None => {}
        }
    }
    let (desired, made): (Vec<_>, Vec<_>) = defined.into_iter().unzip();
    match manager.apply(&before, desired) {
        Ok(applied) => {
            let took_effect = |name: &str| {
                applied.added.iter().chain(&applied.changed).any(|changed| changed.as_str() == name)
            };
            for (made, goes_on) in made.into_iter().flatten().filter(|(made, _)| took_effect(&made.name)) {
                note(world, made, goes_on);
            }
        }
        Err(full) => world.broken("register", full.to_string()),
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
        let _ = world.network.crash(&host, away);
    }
}

/// An observer, at times a slow one: it sees every event in order, or learns how many it missed.
pub(super) async fn observe(world: Arc<World>, mut events: Subscription, dice: Dice) {
    let (mut seen, mut last) = (0, 0);
    while let Some(event) = events.next().await {
        if event.seq() <= last {
            world.broken("I9 stream order", format!("an observer got {event:?} after {last}"));
        }
        last = event.seq();
        seen += 1;
        if dice.chance(1) {
            sleep(Duration::from_millis(dice.below(60_000))).await;
        }
    }
    let missed = events.dropped();
    if seen + missed != last {
        let what = format!("an observer saw {seen} of {last} events and was told of {missed} missed ones");
        world.broken("I9 stream order", what);
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
    if record.last_error.as_deref().is_some_and(|text| text.contains(NOT_FOUND)) {
        world.broken("record", format!("it is there, but: {record:?}"));
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
pub(super) async fn live_sessions(world: &World, manager: &Manager) {
    let suspects = |manager: &Manager| -> Vec<_> {
        let table = manager.table();
        let without = |record: &&Arc<ServerRecord>| {
            let state = manager.session_state(record.name().as_str());
            record.initialized && state.is_ok_and(|state| !state.active)
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
    if world.policy.max_invocation_events == SMALL_RING {
        let journal = manager.journal();
        let kept = [
            journal.connection_events(&ConnectionFilter::default()).len(),
            journal.invocation_events(&InvocationFilter::default()).len(),
            journal.registry_events(&RegistryFilter::default()).len(),
        ];
        if let Some(kept) = kept.into_iter().find(|&kept| kept > SMALL_RING) {
            world.broken("I6 gauges", format!("a ring of {} holds {kept} events", SMALL_RING));
        }
    }
    let calls = world.record().ops.iter().filter(|op| matches!(op.end, End::Open)).count();
    let servers = world.names.len();
    // Per server and user one session, one being opened and one being closed; a draining one per call.
    let seats = servers * (1 + world.users.len() + callers::SESSIONS_OF_PARTIES);
    let (open, most) = (world.network.open(), 3 * seats + calls + 4);
    if open > most {
        world.broken("I6 gauges", format!("{open} connections for {servers} servers and {calls} calls"));
    }
}
