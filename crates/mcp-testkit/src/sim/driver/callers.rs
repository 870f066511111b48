//! Who calls: several at once, for different users, patiently or not.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Either, join, join_all, join3, select};
use mcp_client::{Asker, RequestHandler, ServerRequest};
use mcp_manager::{
    DirectedCall, DirectedError, Invocation, Manager, Party, Relay, Relayed, RoutedCall, UserContext,
};
use mcp_protocol::capability::ClientCapabilities;
use mcp_protocol::{Limits, Method, ProtocolVersion, RawJson, RpcError};
use mcp_registry::{
    AmbiguousFailover, Attempt, Clock, CorrelationId, FailureCode, InvocationError, Selection, ServerName,
    ServerRecord, Stage,
};
use mcp_transport::Delivery;
use tokio::time::sleep;

use super::actors::{self, CANARY, GRACE, pause};
use super::{End, Op, World};
use crate::sim::network::{TOOLS, read_answer};
use crate::{Dice, Outcome, Promise};

/// Most attempts of a directed call, as the policy of the simulation says.
const DIRECTED_ATTEMPTS: u32 = 3;

/// The seats that parties have at servers that keep sessions.
pub(super) const SEATS: [&str; 2] = ["own", "other"];

/// Who may be asked on account of a call.
const OWNERS: [&str; 3] = ["ann", "bob", "eve"];

/// Most sessions that parties have at a server at the same time.
pub(super) const SESSIONS_OF_PARTIES: usize = SEATS.len() * OWNERS.len();

/// A call of any kind.
enum Call {
    Routed(RoutedCall),
    Directed(DirectedCall),
    Relayed(Relay, &'static str),
}

/// A client whose calls are passed on.
struct Guest(&'static str);

impl Party for Guest {
    fn seat(&self, _: &ServerRecord) -> Option<Arc<str>> {
        Some(self.0.into())
    }

    fn capabilities(&self, _: ProtocolVersion) -> ClientCapabilities {
        ClientCapabilities::from_raw(json(r#"{"roots":{}}"#.to_owned())).unwrap_or_default()
    }

    fn handler(&self, _: &ServerRecord) -> Option<Arc<dyn RequestHandler>> {
        None
    }
}

/// Somebody who has one root, which is their name.
struct Person {
    name: &'static str,
    thinks: Duration,
}

impl RequestHandler for Person {
    fn handle(&self, _: ServerRequest) -> BoxFuture<'_, Result<RawJson, RpcError>> {
        let roots = json(format!(r#"{{"roots":[{{"uri":"{}"}}]}}"#, self.name));
        sleep(self.thinks).map(|()| Ok(roots)).boxed()
    }
}

/// How a call ended.
enum Outcomes {
    Answered(Invocation),
    Failed(InvocationError),
    /// The server answered that it will not.
    Declined(Relayed, CorrelationId),
    /// Nothing was tried.
    Refused(DirectedError),
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
    let idempotent = *dice.pick(&[None, None, Some(true), Some(false)]);
    let limit = dice.chance(40).then(|| Duration::from_millis(*dice.pick(&[0, 20, 500, 3_000, 40_000])));
    let token = (!world.users.is_empty() && dice.chance(50)).then(|| dice.pick(&world.users).clone());
    let user = UserContext { token: token.clone().map(Into::into), ..UserContext::default() };
    let (tool, _) = *dice.pick(&TOOLS);
    let call = if dice.chance(20) {
        let mut call = DirectedCall::new(dice.pick(&world.names).clone(), tool);
        call.arguments = json(format!(r#"{{"nonce":"{nonce}"}}"#));
        (call.idempotent, call.timeout, call.user) = (idempotent, limit, user);
        Call::Directed(call)
    } else {
        let mut call = if dice.chance(75) {
            let params = format!(r#"{{"name":"{tool}","arguments":{{"nonce":"{nonce}"}}}}"#);
            let mut call = RoutedCall::new(Method::ToolsCall, json(params));
            call.selection.tool = Some(tool.into());
            call
        } else {
            read(&nonce)
        };
        if dice.chance(50) {
            call.selection.preferred =
                (0..1 + dice.below(3)).map(|_| dice.pick(&world.names).clone()).collect();
            call.selection.preferred_only = dice.chance(30);
        }
        call.selection.group = dice.chance(15).then(|| format!("g{}", dice.below(2)));
        if token.is_none() && world.parties && dice.chance(50) {
            pass_on(world, manager, &dice, call)
        } else {
            (call.idempotent, call.timeout, call.user) = (idempotent, limit, user);
            Call::Routed(call)
        }
    };
    let leaves = dice.chance(8).then(|| Duration::from_millis(dice.below(*dice.pick(&[4, 100, 5_000]))));
    let meddled = dice.chance(if token.is_some() { 20 } else { 3 });
    let called = perform(world, manager, nonce, call, token, leaves);
    if meddled {
        let name = dice.pick(&world.names);
        join(called, actors::meddle(world, manager, dice.fork(), name)).await;
    } else {
        called.await;
    }
}

/// The same call on behalf of a party.
fn pass_on(world: &World, manager: &Manager, dice: &Dice, call: RoutedCall) -> Call {
    let RoutedCall { method, params, selection, .. } = call;
    let mut relay = Relay::new(method, Some(params), selection, manager.new_request_id());
    let at = usize::try_from(dice.below(OWNERS.len() as u64)).unwrap_or_default();
    let thinks = Duration::from_millis(dice.below(*dice.pick(&[1, 20, 2_000])));
    let handler = Arc::new(Person { name: OWNERS[at], thinks });
    relay.party = Some(Arc::new(Guest(dice.pick::<&str>(&SEATS))));
    relay.asker = Some(Asker { owner: at as u64, handler, resolves: true, task: None });
    relay.total = world.policy.max_call_deadline;
    Call::Relayed(relay, OWNERS[at])
}

fn json(text: String) -> RawJson {
    RawJson::parse(text, &Limits::default()).unwrap_or_else(|_| RawJson::empty_object())
}

/// Reads the resource that is named like the nonce, which every server has.
fn read(nonce: &str) -> RoutedCall {
    RoutedCall::new(Method::ResourcesRead, json(format!(r#"{{"uri":"{nonce}"}}"#)))
}

/// Makes the call and notes everything about it. `leaves`: when the caller goes away.
async fn perform(
    world: &World,
    manager: &Manager,
    nonce: String,
    call: Call,
    token: Option<String>,
    leaves: Option<Duration>,
) -> End {
    let op = op_of(world, &nonce, &call, token);
    let repeatable = op.method == Method::ResourcesRead || op.idempotent != Some(false);
    let executions = match (repeatable, world.policy.ambiguous_failover) {
        (false, AmbiguousFailover::UnlessUnsafe | AmbiguousFailover::SafeOnly) => 1,
        _ if op.directed => DIRECTED_ATTEMPTS,
        _ => u32::try_from(world.names.len()).unwrap_or(u32::MAX),
    };
    let limit = if leaves.is_some() { super::END } else { world.policy.max_call_deadline + GRACE };
    world.history.began(&nonce, Promise { deadline: op.began + limit, executions });
    world.line(|| format!("{nonce} {} {:?} {:?}", op.method, op.selection, op.idempotent));
    let (method, directed) = (op.method.clone(), op.directed);
    let at = {
        let mut record = world.record();
        record.ops.push(op);
        record.ops.len() - 1
    };
    let made = make(manager, call);
    let outcome = match leaves {
        None => Some(made.await),
        Some(patience) => match select(Box::pin(made), Box::pin(sleep(patience))).await {
            Either::Left((outcome, _)) => Some(outcome),
            Either::Right(_) => None,
        },
    };
    let now = world.clock.now();
    let end = match outcome {
        None => End::Abandoned,
        Some(Outcomes::Answered(invocation)) => {
            let (payload, host) = read_answer(&method, &invocation.result).unzip();
            world.history.ended(&nonce, now, Outcome::Success { payload: payload.unwrap_or_default() });
            End::Answered {
                server: invocation.server.to_string(),
                host,
                request_id: invocation.request_id.to_string(),
                attempts: invocation.attempts,
            }
        }
        Some(Outcomes::Failed(error)) => {
            let shown = format!("{error:?}");
            if shown.contains(CANARY) {
                world.broken("I8 canary", format!("{nonce}: {shown}"));
            }
            world.history.ended(&nonce, now, Outcome::Failure(furthest(&error.attempts)));
            End::Failed {
                code: error.code,
                request_id: error.request_id.to_string(),
                attempts: error.attempts,
            }
        }
        Some(Outcomes::Declined(relayed, request_id)) => {
            world.history.ended(&nonce, now, Outcome::Failure(furthest(&relayed.attempts)));
            End::Declined {
                server: relayed.server.to_string(),
                request_id: request_id.to_string(),
                attempts: relayed.attempts,
            }
        }
        Some(Outcomes::Refused(error)) => {
            world.line(|| error.to_string());
            world.history.ended(&nonce, now, Outcome::Failure(Delivery::NotSent));
            End::Refused
        }
    };
    world.line(|| format!("{nonce} {end:?}"));
    if let End::Answered { attempts, .. } | End::Failed { attempts, .. } | End::Declined { attempts, .. } =
        &end
        && let Err(what) = well_formed(attempts, matches!(end, End::Answered { .. }), directed)
    {
        world.broken("trace", format!("{nonce}: {what}: {attempts:?}"));
    }
    let mut record = world.record();
    let op = &mut record.ops[at];
    (op.end, op.ended) = (end.clone(), Some(now));
    end
}

/// How far a call got that brought no result.
fn furthest(attempts: &[Attempt]) -> Delivery {
    let got = |delivery| attempts.iter().any(|attempt| attempt.delivery == Some(delivery));
    match () {
        () if got(Delivery::Unknown) => Delivery::Unknown,
        () if got(Delivery::Rejected) => Delivery::Rejected,
        () => Delivery::NotSent,
    }
}

fn op_of(world: &World, nonce: &str, call: &Call, token: Option<String>) -> Op {
    let (method, selection, idempotent, directed) = match call {
        Call::Routed(call) => (call.method.clone(), call.selection.clone(), call.idempotent, false),
        Call::Relayed(relay, _) => (relay.method.clone(), Selection::clone(&relay.selection), None, false),
        Call::Directed(call) => {
            let selection = Selection {
                preferred: vec![call.server.clone()],
                preferred_only: true,
                group: None,
                tool: Some(call.tool.as_str().into()),
            };
            (Method::ToolsCall, selection, call.idempotent, true)
        }
    };
    Op {
        nonce: nonce.to_owned(),
        began: world.clock.now(),
        ended: None,
        method,
        selection,
        idempotent,
        token,
        directed,
        party: if let Call::Relayed(_, party) = call { Some(*party) } else { None },
        end: End::Open,
    }
}

async fn make(manager: &Manager, call: Call) -> Outcomes {
    match call {
        Call::Routed(call) => match manager.call(call).await {
            Ok(invocation) => Outcomes::Answered(invocation),
            Err(error) => Outcomes::Failed(error),
        },
        Call::Relayed(relay, _) => {
            let (method, request_id) = (relay.method.clone(), relay.request_id.clone());
            match manager.relay(relay).await {
                Ok(Relayed { server, outcome: Ok(answer), attempts, .. }) => Outcomes::Answered(Invocation {
                    server,
                    method,
                    request_id,
                    result: answer.result,
                    frame: answer.frame,
                    attempts,
                }),
                Ok(declined) => Outcomes::Declined(declined, request_id),
                Err(error) => Outcomes::Failed(error),
            }
        }
        Call::Directed(call) => match manager.call_tool_on_server(call).await {
            Ok(invocation) => Outcomes::Answered(invocation),
            Err(DirectedError::Failed(error)) => Outcomes::Failed(error),
            Err(error) => Outcomes::Refused(error),
        },
    }
}

/// Per candidate: a failed initialize, or a good one followed by an invoke (several in a directed call);
/// ended by a good invoke or not at all (contract §4.4).
fn well_formed(attempts: &[Attempt], answered: bool, directed: bool) -> Result<(), &'static str> {
    let mut seen = Vec::new();
    let mut served = false;
    // Whether an invoke on the latest server is expected or allowed.
    let (mut awaited, mut allowed) = (false, false);
    for attempt in attempts {
        if served {
            return Err("something was tried after the answer");
        }
        let failed = attempt.failure.is_some();
        match attempt.stage {
            Stage::Initialize => {
                if awaited {
                    return Err("an initialize without its invoke");
                }
                if seen.contains(&&attempt.server) {
                    return Err("a server was a candidate twice");
                }
                seen.push(&attempt.server);
                (awaited, allowed) = (!failed, !failed);
            }
            Stage::Invoke => {
                if !allowed || seen.last() != Some(&&attempt.server) {
                    return Err("an invoke without its initialize");
                }
                served = !failed;
                (awaited, allowed) = (false, directed);
            }
        }
    }
    let invokes = attempts.iter().filter(|attempt| attempt.stage == Stage::Invoke).count();
    if directed && (seen.len() > 1 || invokes > DIRECTED_ATTEMPTS as usize) {
        return Err("a directed call has one server and so many attempts");
    }
    if served == answered { Ok(()) } else { Err("the trace does not end like the call") }
}

/// With all servers well again, every call succeeds after a while.
pub(super) async fn recover(world: &World, manager: &Manager, dice: &Dice) {
    let policy = &world.policy;
    // Windows open, starts are allowed again, hanging exchanges reach their limits.
    sleep(Duration::from_secs(70) + policy.max_backoff + policy.handshake_timeout).await;
    actors::live_sessions(world, manager).await;
    let table = manager.table();
    for record in table.servers().iter().filter(|record| record.definition.enabled) {
        if world.is_broken() {
            return;
        }
        let server = record.name();
        answered(world, manager, server, &read_from(world, manager, server, None).await);
        // Where calls on an ended session are waited for, nobody notices that it is ended.
        if !policy.shutdown_drain_timeout.is_zero() && dice.chance(50) {
            let user = || world.users.first().filter(|_| dice.chance(80)).cloned();
            let operator = async {
                for _ in 0..1 + dice.below(2) {
                    sleep(Duration::from_millis(dice.below(60))).await;
                    let _ = manager.invalidate(server.as_str()).await;
                }
            };
            let _ = manager.invalidate(server.as_str()).await;
            let one = read_from(world, manager, server, user());
            let other = read_from(world, manager, server, user());
            let (one, other, ()) = join3(one, other, operator).await;
            answered(world, manager, server, &one);
            answered(world, manager, server, &other);
        }
    }
}

fn answered(world: &World, manager: &Manager, server: &ServerName, end: &End) {
    let well = match end {
        End::Answered { .. } => true,
        // It answers, but perhaps not in a way that the policy takes for healthy: what its record said when the
        // call began may be past by now.
        End::Failed { code: FailureCode::NoCandidates, .. } => {
            let policy = manager.policy();
            policy.latency_threshold.is_some() || policy.error_rate_threshold.is_some()
        }
        _ => false,
    };
    if !well {
        world.broken("G10 recovery", format!("{server} is well, but: {end:?}"));
    }
}

/// A read from one server, and how it ended.
async fn read_from(world: &World, manager: &Manager, server: &ServerName, token: Option<String>) -> End {
    let nonce = format!("n{}", world.step());
    let mut call = read(&nonce);
    call.selection.preferred = vec![server.to_string()];
    call.selection.preferred_only = true;
    call.user.token = token.clone().map(Into::into);
    perform(world, manager, nonce, Call::Routed(call), token, None).await
}

/// After a shutdown calls are refused at once.
pub(super) async fn refused(world: &World, manager: &Manager) {
    let began = world.clock.now();
    match manager.call(read("late")).await {
        Err(error) if error.code == FailureCode::ShuttingDown && world.clock.now() == began => {}
        outcome => world.broken("R38 shutdown", format!("a call after it: {outcome:?}")),
    }
}
