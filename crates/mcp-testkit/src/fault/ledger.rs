//! What an upstream saw.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::script::Step;
use crate::History;

/// Longest wait for anything an upstream is to see.
const PATIENCE: Duration = Duration::from_secs(10);

/// Orders not yet carried out by a connection; more would be lost.
const ORDERS: usize = 64;

/// One thing an upstream saw.
#[derive(Debug, Clone)]
pub enum Seen {
    /// A connection was accepted, or a process started. Numbered from 0.
    Connected(usize),
    /// A message or HTTP request came.
    Message(Box<Received>),
    /// The client closed its end: of the connection, or stdin.
    Left(usize),
    /// The connection is over, or the process has ended.
    Ended(usize),
}

/// One message as it was received.
#[derive(Debug, Clone)]
pub struct Received {
    /// When.
    pub at: Instant,
    /// Which connection or process it came on.
    pub connection: usize,
    /// `LINE` over stdio, else the HTTP method.
    pub verb: String,
    /// Path and query; empty over stdio.
    pub target: String,
    /// HTTP headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The JSON-RPC method; `None` for responses and requests without a body.
    pub method: Option<String>,
    /// The JSON-RPC id as it was written.
    pub id: Option<String>,
    /// The member `nonce` of a tool call's arguments.
    pub nonce: Option<String>,
    /// The progress token as it was written.
    pub token: Option<String>,
    /// The body or line.
    pub body: String,
}

impl Received {
    /// The keys it is known by: its nonce, its JSON-RPC method, `GET after ID` if it resumes a stream after that
    /// event, its verb.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let resumes = self.headers.get("last-event-id").map(|id| format!("{} after {id}", self.verb));
        let verb = Some(self.verb.clone());
        [self.nonce.clone(), self.method.clone(), resumes, verb].into_iter().flatten().collect()
    }

    /// Whether it is known by this key.
    #[must_use]
    pub fn is(&self, key: &str) -> bool {
        self.keys().iter().any(|own| own == key)
    }
}

/// What an upstream saw and executed. Clones are the same ledger.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    history: History,
    state: Mutex<State>,
    changed: watch::Sender<()>,
    orders: broadcast::Sender<Order>,
}

#[derive(Debug, Default)]
struct State {
    seen: Vec<Seen>,
    plans: HashMap<String, VecDeque<Plan>>,
    sessions: HashSet<String>,
    numbers: usize,
    open: usize,
}

#[derive(Debug)]
struct Plan {
    steps: Vec<Step>,
    once: bool,
}

/// What a test wants of all live connections at once.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    /// Do a step, without any message to answer.
    Do(Step),
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            history: History::default(),
            state: Mutex::default(),
            changed: watch::Sender::new(()),
            orders: broadcast::Sender::new(ORDERS),
        }
    }
}

impl Ledger {
    /// What was executed, and what callers note beside it.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.0.history
    }

    /// Everything seen so far, in order.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// The messages of a key ([`Received::is`]) so far, in order.
    #[must_use]
    pub fn received(&self, key: &str) -> Vec<Received> {
        let of_key = |seen: &Seen| match seen {
            Seen::Message(received) if received.is(key) => Some((**received).clone()),
            _ => None,
        };
        self.state().seen.iter().filter_map(of_key).collect()
    }

    /// How many connections were accepted, or processes started.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state().numbers
    }

    /// How many of them are open, or alive.
    #[must_use]
    pub fn open(&self) -> usize {
        self.state().open
    }

    /// Waits until a message of a key has come so many times; gives the last of them.
    ///
    /// # Panics
    /// If that does not happen within 10 s.
    pub async fn came(&self, key: &str, times: usize) -> Received {
        self.until(&format!("{key} × {times}"), |ledger| ledger.received(key).into_iter().nth(times - 1))
            .await
    }

    /// Waits until the client has closed so many connections, or stdins.
    ///
    /// # Panics
    /// If that does not happen within 10 s.
    pub async fn left(&self, times: usize) {
        let left = |ledger: &Self| {
            let left = ledger.state().seen.iter().filter(|seen| matches!(seen, Seen::Left(_))).count();
            (left >= times).then_some(())
        };
        self.until(&format!("the client left × {times}"), left).await;
    }

    /// Waits until `look` finds something in the ledger.
    ///
    /// # Panics
    /// If that does not happen within 10 s.
    pub async fn until<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        let mut changes = self.0.changed.subscribe();
        let looking = async {
            loop {
                changes.borrow_and_update();
                if let Some(found) = look(self) {
                    return found;
                }
                changes.changed().await.expect("the sender is in self");
            }
        };
        match tokio::time::timeout(PATIENCE, looking).await {
            Ok(found) => found,
            Err(_) => panic!("the upstream never saw: {what}; it saw {:#?}", self.seen()),
        }
    }

    pub(crate) fn add_plan(&self, key: &str, steps: Vec<Step>, once: bool) {
        self.state().plans.entry(key.to_owned()).or_default().push_back(Plan { steps, once });
    }

    /// The plan of the first of these keys that has one.
    pub(crate) fn take_plan(&self, keys: impl IntoIterator<Item = impl AsRef<str>>) -> Option<Vec<Step>> {
        let plans = &mut self.state().plans;
        for key in keys {
            let Some(queue) = plans.get_mut(key.as_ref()) else { continue };
            match queue.front() {
                Some(plan) if plan.once => return queue.pop_front().map(|plan| plan.steps),
                Some(plan) => return Some(plan.steps.clone()),
                None => {}
            }
        }
        None
    }

    pub(crate) fn clear_plans(&self, key: &str) {
        self.state().plans.remove(key);
    }

    /// A new session, known from now on.
    pub(crate) fn open_session(&self) -> String {
        let mut state = self.state();
        let id = format!("session-{}", state.sessions.len() + state.seen.len());
        state.sessions.insert(id.clone());
        id
    }

    pub(crate) fn knows_session(&self, id: &str) -> bool {
        self.state().sessions.contains(id)
    }

    pub(crate) fn end_session(&self, id: &str) {
        self.state().sessions.remove(id);
    }

    pub(crate) fn end_sessions(&self) {
        self.state().sessions.clear();
    }

    /// A connection was accepted. It counts as open until the guard is dropped.
    pub(crate) fn connected(&self) -> Open {
        let mut state = self.state();
        let number = state.numbers;
        state.numbers += 1;
        state.open += 1;
        state.seen.push(Seen::Connected(number));
        drop(state);
        self.0.changed.send_replace(());
        Open { ledger: self.clone(), number }
    }

    pub(crate) fn note(&self, seen: Seen) {
        self.state().seen.push(seen);
        self.0.changed.send_replace(());
    }

    pub(crate) fn executed(&self, nonce: &str) {
        self.0.history.executed("upstream", nonce);
        self.0.changed.send_replace(());
    }

    pub(crate) fn order(&self, order: Order) {
        // Without a live connection nobody has to do anything.
        let _ = self.0.orders.send(order);
    }

    pub(crate) fn orders(&self) -> broadcast::Receiver<Order> {
        self.0.orders.subscribe()
    }

    /// No code panics while it holds the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Open {
    ledger: Ledger,
    pub(crate) number: usize,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.ledger.state().open -= 1;
        self.ledger.note(Seen::Ended(self.number));
    }
}
