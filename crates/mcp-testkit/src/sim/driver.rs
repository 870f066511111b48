//! The real manager and client against a simulated network, under simulated time.
//!
//! One seed decides everything: what the servers are like and when they fail, who calls what, what the
//! operator does, and when it ends. All waiting (windows of the registry, limits of the client, delays of
//! the network) is on tokio's paused clock, so that hours pass in milliseconds. What happened is checked
//! against the promises of reliability §4 (I1 to I9) and the contract.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, join};
use mcp_manager::{Manager, Setup};
use mcp_protocol::Method;
use mcp_registry::{
    AmbiguousFailover, Attempt, Clock, FailureCode, Policy, ResetRetryOn, RpcErrorPolicy, Selection, Timer,
    Timestamp,
};
use tokio::time::{Instant, sleep, timeout};

use super::network::Network;
use super::{Broken, Run};
use crate::{Dice, History, ManualClock};

mod actors;
mod callers;
mod checks;

/// No run takes longer than this on the simulated clock.
const END: Duration = Duration::from_secs(7 * 86_400);

/// Events a ring keeps when it is to overflow.
const SMALL_RING: usize = 16;

/// Goes through the day that the seed decides.
///
/// # Errors
/// The first rule that did not hold.
pub fn run(seed: u64) -> Result<Run, Broken> {
    World::simulate(seed, false).0
}

/// The same, with a line for everything that happened: the same lines for the same seed.
pub fn replay(seed: u64) -> (Result<Run, Broken>, Vec<String>) {
    World::simulate(seed, true)
}

/// Tokio's clock as the manager's.
struct TokioClock(Instant);

impl TokioClock {
    /// What it shows at an instant.
    fn at(&self, instant: Instant) -> Timestamp {
        ManualClock::START + instant.duration_since(self.0)
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        ManualClock::START + self.0.elapsed()
    }
}

impl Timer for TokioClock {
    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        Box::pin(sleep(at.since(self.now())))
    }
}

/// One registration, as the operator made it.
#[derive(Debug, Clone)]
struct Registration {
    name: String,
    host: String,
    enabled: bool,
    group: Option<String>,
    trusted: bool,
    /// The tools the server has.
    offers: Vec<&'static str>,
    /// Whether it lists them.
    lists: bool,
    /// Whether it is asked for them after each handshake.
    discovers: bool,
    /// Whether it hangs in every call.
    hangs: bool,
    /// The longest an answer may take.
    request_timeout: Duration,
    /// Whether tokens of users are passed on in routed calls.
    forwards: bool,
}

/// One call, and what came of it.
#[derive(Debug, Clone)]
struct Op {
    nonce: String,
    began: Timestamp,
    ended: Option<Timestamp>,
    method: Method,
    selection: Selection,
    idempotent: Option<bool>,
    /// The token of the user it was made for.
    token: Option<String>,
    /// To one named server.
    directed: bool,
    /// Who asks, of those on whose behalf calls are passed on.
    party: Option<&'static str>,
    end: End,
}

/// How a call ended for its caller.
#[derive(Debug, Clone)]
enum End {
    /// It has not.
    Open,
    /// The caller went away.
    Abandoned,
    /// Answered by this server.
    Answered { server: String, host: Option<String>, request_id: String, attempts: Vec<Attempt> },
    /// Failed.
    Failed { code: FailureCode, request_id: String, attempts: Vec<Attempt> },
    /// This server answered that it will not.
    Declined { server: String, request_id: String, attempts: Vec<Attempt> },
    /// Nothing was tried: no such server or tool.
    Refused,
}

/// How fast life goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Calls follow within seconds.
    Brisk,
    /// Minutes and hours pass between them.
    Lazy,
}

/// What all actors share.
struct World {
    seed: u64,
    clock: TokioClock,
    network: Network,
    history: History,
    policy: Policy,
    pace: Pace,
    /// Names of servers, registered or not.
    names: Vec<String>,
    /// Tokens of users on whose behalf calls are made.
    users: Vec<String>,
    /// Whether calls are passed on for parties.
    parties: bool,
    monitored: bool,
    steps: AtomicU64,
    record: Mutex<Record>,
}

#[derive(Default)]
struct Record {
    registrations: Vec<Registration>,
    /// Servers that went on with another definition, and whether that trusts their annotations.
    redefinitions: Vec<(String, bool)>,
    ops: Vec<Op>,
    broken: Option<Broken>,
    lines: Option<Vec<String>>,
}

impl World {
    fn simulate(seed: u64, replay: bool) -> (Result<Run, Broken>, Vec<String>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                let broken = Broken { seed, step: 0, invariant: "runtime", what: error.to_string() };
                return (Err(broken), Vec::new());
            }
        };
        let outcome = runtime.block_on(async {
            let dice = Dice::new(seed);
            let world = Arc::new(Self::new(seed, &dice, replay));
            if timeout(END, world.clone().live(dice)).await.is_err() {
                world.broken("liveness", format!("not over after {END:?}"));
            }
            let run = Run { steps: world.steps.load(Ordering::Relaxed), simulated: world.clock.0.elapsed() };
            let mut record = world.record();
            let lines = record.lines.take().unwrap_or_default();
            (record.broken.take().map_or(Ok(run), Err), lines)
        });
        runtime.shutdown_background();
        outcome
    }

    fn new(seed: u64, dice: &Dice, replay: bool) -> Self {
        let pace = if dice.chance(15) { Pace::Lazy } else { Pace::Brisk };
        let servers = 1 + dice.below(6);
        let users = if dice.chance(30) { users() } else { Vec::new() };
        Self {
            seed,
            clock: TokioClock(Instant::now()),
            network: Network::new(dice.fork(), users.len() + callers::SESSIONS_OF_PARTIES),
            history: History::new(),
            policy: policy(dice, pace),
            pace,
            names: (0..servers).map(|n| format!("s{n}")).collect(),
            users,
            parties: dice.chance(40),
            monitored: dice.chance(70),
            steps: AtomicU64::new(0),
            record: Mutex::new(Record { lines: replay.then(Vec::new), ..Record::default() }),
        }
    }

    /// The whole story.
    async fn live(self: Arc<Self>, dice: Dice) {
        let setup = Setup {
            policy: self.policy.clone(),
            client_info: Default::default(),
            connector: Arc::new(self.network.clone()),
            timer: Arc::new(TokioClock(self.clock.0)),
            random: Arc::new(dice.fork()),
        };
        let manager = Manager::new(setup);
        let observed = manager.journal().subscribe();
        for name in &self.names {
            actors::register(&self, &manager, &dice, name);
        }
        if self.monitored {
            manager.start_monitor();
        }
        let observers =
            dice.chance(30).then(|| tokio::spawn(actors::observe(self.clone(), observed, dice.fork())));
        let mut tasks = Vec::new();
        for _ in 0..1 + dice.below(4) {
            tasks.push(tokio::spawn(callers::call(self.clone(), manager.clone(), dice.fork())));
        }
        tasks.push(tokio::spawn(actors::operate(self.clone(), manager.clone(), dice.fork())));
        let chaos = tokio::spawn(actors::disturb(self.clone(), dice.fork()));
        let watch = tokio::spawn(actors::watch(self.clone(), manager.clone(), dice.fork()));
        let abrupt = dice.chance(40);
        if abrupt {
            sleep(Duration::from_millis(dice.below(20_000))).await;
        } else {
            self.join(tasks.drain(..)).await;
            chaos.abort();
            self.network.calm();
            callers::recover(&self, &manager, &dice).await;
        }
        watch.abort();
        chaos.abort();
        self.shut_down(manager, &dice, tasks).await;
        // An observer that sleeps still reads to the end.
        self.join(observers).await;
        sleep(Duration::from_secs(11)).await;
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        if tasks > 0 {
            self.broken("I7 baseline", format!("{tasks} tasks are alive after the end of the manager"));
        }
    }

    async fn shut_down(&self, manager: Manager, dice: &Dice, tasks: Vec<tokio::task::JoinHandle<()>>) {
        let began = self.clock.now();
        let grace = Duration::from_millis(*dice.pick(&[0, 100, 5_000, 60_000]));
        let patience = dice.chance(20).then(|| Duration::from_millis(dice.below(3_000)));
        let first = async {
            let report = manager.shutdown(grace).await;
            (report, self.clock.now().since(began))
        };
        let second = async {
            // Somebody loses patience.
            if let Some(patience) = patience {
                sleep(patience).await;
                manager.shutdown(Duration::ZERO).await;
            }
        };
        let ((report, took), ()) = join(first, second).await;
        let grace = patience.map_or(grace, |patience| patience.min(grace));
        self.line(|| format!("shut down: {report:?}"));
        // Grace, handshakes under way, closing.
        if took > grace + Duration::from_secs(4) {
            self.broken("R38 shutdown", format!("took {took:?} with {grace:?} of grace"));
        }
        // A connection whose handshake failed is closed by the client, in its own time.
        sleep(Duration::from_secs(1)).await;
        let open = self.network.open();
        if open > 0 {
            self.broken("I7 baseline", format!("{open} connections are open after the shutdown"));
        }
        callers::refused(self, &manager).await;
        self.join(tasks).await;
        // Nothing is opened by those who were late.
        sleep(self.policy.handshake_timeout * 2).await;
        let open = self.network.open();
        if open > 0 {
            self.broken("I7 baseline", format!("{open} connections were opened after the shutdown"));
        }
        checks::after(self, &manager, began);
    }

    async fn join(&self, tasks: impl IntoIterator<Item = tokio::task::JoinHandle<()>>) {
        for task in tasks {
            if let Err(error) = task.await {
                self.broken("G11 panic", error.to_string());
            }
        }
    }

    /// Begins a step; gives its number.
    fn step(&self) -> u64 {
        self.steps.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_broken(&self) -> bool {
        self.record().broken.is_some()
    }

    /// Notes the first broken rule.
    fn broken(&self, invariant: &'static str, what: String) {
        self.line(|| format!("BROKEN {invariant}: {what}"));
        let (seed, step) = (self.seed, self.steps.load(Ordering::Relaxed));
        self.record().broken.get_or_insert(Broken { seed, step, invariant, what });
    }

    /// Notes what happened, if anybody wants to read it.
    fn line(&self, text: impl FnOnce() -> String) {
        let mut record = self.record();
        if let Some(lines) = &mut record.lines {
            let at = self.clock.0.elapsed().as_secs_f64();
            lines.push(format!("{at:.6} {}", text()));
        }
    }
}

/// Tokens of two users; secrets like those of servers.
fn users() -> Vec<String> {
    ["ann", "bob"].map(|user| format!("{}-{user}", actors::CANARY)).to_vec()
}

/// Parameters small enough to be reached.
fn policy(dice: &Dice, pace: Pace) -> Policy {
    let seconds = |choices: &[u64]| Duration::from_secs(*dice.pick(choices));
    let mut policy = Policy::default();
    policy.max_backoff = seconds(&[0, 2, 8]);
    policy.unreachable_after = *dice.pick(&[1, 2, 3]);
    policy.max_initialization_age = dice.chance(70).then(|| seconds(&[0, 3, 60, 300]));
    policy.max_call_deadline = seconds(&[5, 30, 120]);
    policy.handshake_timeout = seconds(&[1, 4, 10]);
    policy.probe_timeout = seconds(&[1, 5]);
    policy.ping_timeout = seconds(&[1, 5]);
    policy.shutdown_drain_timeout = seconds(&[0, 2, 10]);
    policy.latency_threshold = dice.chance(20).then(|| Duration::from_millis(*dice.pick(&[1, 100, 1_000])));
    policy.error_rate_threshold = dice.chance(20).then(|| *dice.pick(&[0.0, 0.2, 0.5]));
    policy.ambiguous_failover = *dice.pick(&[
        AmbiguousFailover::UnlessUnsafe,
        AmbiguousFailover::UnlessUnsafe,
        AmbiguousFailover::SafeOnly,
        AmbiguousFailover::Always,
    ]);
    policy.rpc_error_policy = *dice.pick(&[RpcErrorPolicy::Classify, RpcErrorPolicy::AlwaysDegrade]);
    policy.reset_retry_on = *dice.pick(&[ResetRetryOn::Handshake, ResetRetryOn::InvokeSuccess]);
    (policy.health_interval, policy.degraded_health_interval) = match pace {
        Pace::Brisk => (seconds(&[5, 30]), seconds(&[2, 5])),
        Pace::Lazy => (Duration::from_secs(3600), Duration::from_secs(600)),
    };
    // Small rings show that they are bounded, large ones keep everything for the checks.
    let rings = if dice.chance(10) { SMALL_RING } else { 4096 };
    policy.max_connection_events = rings;
    policy.max_invocation_events = rings;
    policy.max_registry_events = rings;
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_seeds_break_no_rule() {
        for seed in 0..300 {
            run(seed).unwrap();
        }
    }

    #[test]
    fn a_seed_repeats_itself() {
        for seed in 0..40 {
            let ((_, one), (_, other)) = (replay(seed), replay(seed));
            let differ = one.iter().zip(&other).find(|(one, other)| one != other);
            assert_eq!((differ, one.len()), (None, other.len()), "seed {seed}");
        }
    }
}
