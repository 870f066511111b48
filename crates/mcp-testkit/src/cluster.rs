//! Any number of scripted servers behind one connector. Source: contract §9.1.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, ready};
use mcp_transport::{
    Connector, Delivery, Endpoint, Header, Transport, TransportError, TransportErrorKind, TransportKind,
};
use tokio::sync::oneshot;

use crate::server::ScriptedTransport;

/// What a scripted server does with one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Answers well.
    Ok,
    /// Does not answer in time: category `network_timeout`, at once, without waiting.
    Timeout,
    /// Takes the request and never answers, for tests that leave or wait.
    Hang,
    /// Cannot be reached: category `transport_error`, certainly not executed.
    Error,
    /// The connection breaks after the request was sent: category `transport_error`, ambiguous.
    Disconnect,
    /// Does not know the session any more: the request was not executed.
    ForgetSession,
    /// Answers with an HTTP status alone.
    HttpStatus(u16),
    /// Answers with an HTTP status and asks to be left alone for so long (`Retry-After`).
    RetryAfter(u16, Duration),
    /// Answers with something that is no message.
    Malformed,
    /// Answers with a JSON-RPC error; the members may be missing.
    RpcError {
        /// `code`
        code: Option<i64>,
        /// `message`
        message: Option<String>,
    },
    /// Answers with this result, whatever it is.
    Result(String),
    /// Does something after a while. It waits on Tokio's clock, which a test can pause.
    Delay(Duration, Box<Action>),
}

impl Action {
    /// The same, after a while.
    #[must_use]
    pub fn delayed(self, by: Duration) -> Self {
        Self::Delay(by, Box::new(self))
    }
}

/// A word that names no action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown action {0:?}: use ok, timeout or error")]
pub struct UnknownAction(pub String);

impl FromStr for Action {
    type Err = UnknownAction;

    /// The textual front door: `ok`, `timeout`, `error`.
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "ok" => Ok(Self::Ok),
            "timeout" => Ok(Self::Timeout),
            "error" => Ok(Self::Error),
            other => Err(UnknownAction(other.to_owned())),
        }
    }
}

/// A lasting fault of one server; a script beats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say what fails how")]
pub enum Toggle {
    TimeoutInitialize,
    TimeoutToolCalls,
    FailToolCalls,
    TimeoutResourceReads,
    FailResourceReads,
}

/// One observed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traffic {
    /// Which server.
    pub server: String,
    /// On which of its sessions: `<server>-session-<n>`.
    pub session: String,
    /// Which method. `initialize` shows only when it succeeded.
    pub method: String,
    /// The headers that came with this message alone.
    pub headers: Vec<Header>,
}

/// Scripted servers, each named by the first label of its URL's host, or its program. They speak the handshake era,
/// answer JSON-RPC in memory, and list no tools. Clones share the state.
#[derive(Debug, Clone, Default)]
pub struct ScriptedCluster(Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(crate) struct State {
    scripts: BTreeMap<(String, String), VecDeque<Action>>,
    toggles: BTreeSet<(String, Toggle)>,
    health: BTreeMap<String, VecDeque<Result<u16, String>>>,
    pub(crate) traffic: Vec<Traffic>,
    opened: BTreeMap<String, u32>,
    /// What ends a process, by server.
    processes: BTreeMap<String, Vec<oneshot::Sender<()>>>,
    pub(crate) closed: BTreeMap<String, u32>,
    probes: u32,
}

impl Traffic {
    /// The value of a header, by its name in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| &*header.value)
    }
}

impl ScriptedCluster {
    /// A cluster in which everything works.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the queue of a (server, method); each matching request takes its head.
    pub fn script(&self, server: &str, method: &str, actions: impl IntoIterator<Item = Action>) {
        self.state().scripts.insert((server.into(), method.into()), actions.into_iter().collect());
    }

    /// Actions left in a queue.
    #[must_use]
    pub fn scripted(&self, server: &str, method: &str) -> usize {
        self.state().scripts.get(&(server.to_owned(), method.to_owned())).map_or(0, VecDeque::len)
    }

    /// Switches a lasting fault on or off.
    pub fn toggle(&self, server: &str, toggle: Toggle, on: bool) {
        let key = (server.to_owned(), toggle);
        let mut state = self.state();
        if on {
            state.toggles.insert(key);
        } else {
            state.toggles.remove(&key);
        }
    }

    /// Replaces the answers of a server's health path: status codes or failures, in order; the last one
    /// stays. Without any, the path answers 200.
    pub fn health(&self, server: &str, answers: impl IntoIterator<Item = Result<u16, String>>) {
        self.state().health.insert(server.into(), answers.into_iter().collect());
    }

    /// Ends the processes of a server with a stdio endpoint by themselves, as a crash does; says how many
    /// there were.
    pub fn crash(&self, server: &str) -> usize {
        let processes = self.state().processes.remove(server).unwrap_or_default();
        // One whose connection was closed before is gone already.
        processes.into_iter().filter_map(|process| process.send(()).ok()).count()
    }

    /// How often health paths were asked.
    #[must_use]
    pub fn probes(&self) -> u32 {
        self.state().probes
    }

    /// What was observed so far, in order.
    #[must_use]
    pub fn traffic(&self) -> Vec<Traffic> {
        self.state().traffic.clone()
    }

    /// What was observed so far as (server, method).
    #[must_use]
    pub fn calls(&self) -> Vec<(String, String)> {
        self.state().traffic.iter().map(|entry| (entry.server.clone(), entry.method.clone())).collect()
    }

    /// Sessions of a server opened so far, those whose handshake failed included.
    #[must_use]
    pub fn opened(&self, server: &str) -> u32 {
        self.state().opened.get(server).copied().unwrap_or(0)
    }

    /// Sessions of a server closed so far.
    #[must_use]
    pub fn closed(&self, server: &str) -> u32 {
        self.state().closed.get(server).copied().unwrap_or(0)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A script head beats every toggle; timeouts come before failures.
    pub(crate) fn decide(&mut self, server: &str, method: &str) -> Action {
        let key = (server.to_owned(), method.to_owned());
        if let Some(action) = self.scripts.get_mut(&key).and_then(VecDeque::pop_front) {
            return action;
        }
        let on = |toggle| self.toggles.contains(&(server.to_owned(), toggle));
        let (timeout, failure) = match method {
            "initialize" => (on(Toggle::TimeoutInitialize), false),
            "tools/call" => (on(Toggle::TimeoutToolCalls), on(Toggle::FailToolCalls)),
            "resources/read" => (on(Toggle::TimeoutResourceReads), on(Toggle::FailResourceReads)),
            _ => (false, false),
        };
        match (timeout, failure) {
            (true, _) => Action::Timeout,
            (false, true) => Action::Error,
            (false, false) => Action::Ok,
        }
    }
}

impl Connector for ScriptedCluster {
    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
    ) -> BoxFuture<'a, Result<Box<dyn Transport>, TransportError>> {
        let Some(server) = server_of(endpoint) else {
            let kind = TransportErrorKind::Endpoint(
                "a scripted server needs a URL with a host, or a program".into(),
            );
            return Box::pin(ready(Err(TransportError::new(kind, Delivery::NotSent))));
        };
        let mut state = self.state();
        let opened = state.opened.entry(server.clone()).or_default();
        *opened += 1;
        let session = format!("{server}-session-{opened}");
        let crash = (endpoint.kind() == TransportKind::Stdio).then(|| {
            let (crash, crashed) = oneshot::channel();
            state.processes.entry(server.clone()).or_default().push(crash);
            crashed
        });
        drop(state);
        let transport: Box<dyn Transport> =
            Box::new(ScriptedTransport::new(self.clone(), server, session, crash));
        Box::pin(ready(Ok(transport)))
    }

    fn health<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        _path: &'a str,
    ) -> BoxFuture<'a, Option<Result<u16, TransportError>>> {
        if endpoint.url().is_none() {
            return Box::pin(ready(None));
        }
        let mut state = self.state();
        state.probes += 1;
        let answers = server_of(endpoint).and_then(|server| state.health.get_mut(&server));
        let answer = match answers {
            Some(answers) if answers.len() > 1 => answers.pop_front(),
            Some(answers) => answers.front().cloned(),
            None => None,
        };
        let failed =
            |text: String| TransportError::new(TransportErrorKind::Connect(text.into()), Delivery::NotSent);
        Box::pin(ready(Some(answer.unwrap_or(Ok(200)).map_err(failed))))
    }
}

/// First label of the URL's host, or the program.
fn server_of(endpoint: &Endpoint) -> Option<String> {
    match endpoint {
        Endpoint::Stdio(stdio) => Some(stdio.command.clone()),
        other => Some(other.url()?.host_str()?.split('.').next()?.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f1_f2_scripts_run_in_order_and_know_three_words() {
        let words = ["ok", "timeout", "error"].map(|word| word.parse::<Action>().unwrap());
        let cluster = ScriptedCluster::new();
        for method in ["initialize", "tools/call", "resources/read"] {
            cluster.script("p", method, words.clone());
            let seen: Vec<_> = (0..3).map(|_| cluster.state().decide("p", method)).collect();
            assert_eq!(seen, words);
            assert_eq!(cluster.state().decide("p", method), Action::Ok);
        }
        assert_eq!("maybe".parse::<Action>(), Err(UnknownAction("maybe".into())));
    }

    #[test]
    fn scripts_beat_toggles_and_stay_apart() {
        let cluster = ScriptedCluster::new();
        cluster.toggle("p", Toggle::TimeoutToolCalls, true);
        cluster.toggle("p", Toggle::FailToolCalls, true);
        cluster.script("p", "tools/call", [Action::Ok]);
        cluster.script("p", "initialize", [Action::Error]);
        let decide = |server, method| cluster.state().decide(server, method);
        assert_eq!(decide("p", "tools/call"), Action::Ok);
        assert_eq!(decide("p", "tools/call"), Action::Timeout);
        assert_eq!(decide("b", "tools/call"), Action::Ok);
        assert_eq!(decide("p", "resources/read"), Action::Ok);
        assert_eq!(cluster.scripted("p", "initialize"), 1);
        cluster.toggle("p", Toggle::TimeoutToolCalls, false);
        assert_eq!(decide("p", "tools/call"), Action::Error);
    }
}
