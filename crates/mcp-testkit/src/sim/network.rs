//! A network of simulated servers: answers after random delays, failures of every kind, and a ledger of
//! what was really executed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{BoxFuture, Either, select};
use mcp_protocol::roots::Root;
use mcp_protocol::{Era, ErrorCode, Limits, Message, Method, RawJson, Request, RequestId};
use mcp_transport::{
    Connector, Delivery, Endpoint, Inbox, Incoming, Outbound, Reply, Transport, TransportError,
    TransportErrorKind, TransportKind,
};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::Dice;

/// The tools of the simulation, with their annotations: nothing said, harmless, harmful.
pub(crate) const TOOLS: [(&str, &str); 3] = [
    ("plain", "{}"),
    ("reader", r#"{"readOnlyHint":true}"#),
    ("eraser", r#"{"readOnlyHint":false,"idempotentHint":false,"destructiveHint":true}"#),
];

/// Longer than any limit of the manager.
const NEVER: Duration = Duration::from_secs(3600);

/// A tool call or resource read that reached a server.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    /// The address it came to.
    pub(crate) host: String,
    /// The nonce it carried.
    pub(crate) nonce: String,
    /// Its `X-Request-Id`.
    pub(crate) request_id: Option<String>,
    /// Its own `Authorization`, beside that of the configuration.
    pub(crate) authorization: Option<String>,
    /// Whether the server did the work.
    pub(crate) executed: bool,
    /// Whether the server said that it does not know the session.
    pub(crate) forgotten: bool,
}

/// A question about a call that somebody answered.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    /// The nonce of the call.
    pub(crate) nonce: String,
    /// Who answered: the first root; `None`: an error came back, which says that nobody knows whom to ask.
    pub(crate) by: Option<String>,
    /// When.
    pub(crate) at: Instant,
}

/// All servers. Clones share them.
#[derive(Clone)]
pub(crate) struct Network(Arc<Mutex<State>>);

struct State {
    dice: Dice,
    hosts: BTreeMap<String, Host>,
    connections: Vec<Connection>,
    /// How many of them are open.
    open: usize,
    arrivals: Vec<Arrival>,
    answered: Vec<Answered>,
    broken: Vec<(&'static str, String)>,
    /// How many have sessions of their own.
    users: usize,
    calm: bool,
}

/// What an operator should know of a server.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// An era it speaks.
    pub(crate) era: Era,
    /// Whether it has a health path, if it has a URL.
    pub(crate) health_path: bool,
    /// Its tools.
    pub(crate) tools: Vec<&'static str>,
    /// Whether it lists them.
    pub(crate) lists_tools: bool,
    /// Whether it hangs in every call.
    pub(crate) hangs: bool,
}

/// One address and the server behind it.
struct Host {
    eras: Eras,
    dice: Dice,
    weather: Weather,
    until: Instant,
    /// Grows with every crash: sessions of earlier lives are forgotten.
    life: u32,
    crash: Arc<Notify>,
    /// Which tools it has.
    tools: Vec<&'static (&'static str, &'static str)>,
    lists_tools: bool,
    /// Whether it takes its time to list them.
    lists_slowly: bool,
    health_path: bool,
    refuses_second_handshake: bool,
    quirk: Option<Quirk>,
    /// When lists were asked for.
    listings: Vec<Instant>,
    /// When it was asked how it is: by probes and handshakes.
    probes: Vec<Instant>,
    /// Registrations that name this address.
    registrations: usize,
    /// Connections that are being opened or shaking hands, with how many requests.
    shaking: BTreeMap<usize, usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Eras {
    Handshake,
    Stateless,
    Both,
}

/// What is wrong with a server that is well otherwise, in all weathers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quirk {
    /// It knows no session when it is called.
    Forgets,
    /// It answers no call.
    Hangs,
}

/// What a server is like for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Clear,
    Refusing,
    Silent,
    Slow,
    Flaky,
    Status(u16),
}

struct Connection {
    host: String,
    mail: Arc<Mail>,
    open: bool,
    life: u32,
    /// The life of the server in which a handshake was made.
    session: Option<u32>,
    /// For which user.
    user: Option<String>,
    discovered: bool,
    /// The client on it can be asked for its roots.
    has_roots: bool,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// An answer of this kind after this time.
    Answer(Body, Duration),
    /// Sending fails.
    Fail(TransportErrorKind, Delivery),
    /// The connection breaks before an answer, after this time.
    Break(Duration),
    /// No answer ever.
    Silence,
}

/// Kinds of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    Good,
    /// With notifications and requests of the server before it.
    Talkative,
    Rpc(i64),
    NoJson,
    NoObject,
    NoResult,
    ForeignId,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("hosts", &self.state().hosts.len()).finish_non_exhaustive()
    }
}

impl Network {
    /// An empty one. `users`: how many have sessions of their own.
    pub(crate) fn new(dice: Dice, users: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            dice,
            hosts: BTreeMap::new(),
            connections: Vec::new(),
            open: 0,
            arrivals: Vec::new(),
            answered: Vec::new(),
            broken: Vec::new(),
            users,
            calm: false,
        })))
    }

    /// Puts a server at an address, unless there is one; counts its registrations.
    pub(crate) fn host(&self, name: &str) -> Facts {
        let mut state = self.state();
        let dice = state.dice.fork();
        let host = state.hosts.entry(name.to_owned()).or_insert_with(|| Host::new(dice));
        host.registrations += 1;
        let era = if host.eras == Eras::Stateless { Era::Stateless } else { Era::Handshake };
        Facts {
            era,
            health_path: host.health_path,
            tools: host.tools.iter().map(|(name, _)| *name).collect(),
            lists_tools: host.lists_tools,
            hangs: host.quirk == Some(Quirk::Hangs),
        }
    }

    /// The server at an address dies, taking its connections along, and stays away for a while, which an
    /// earlier crash may have made longer. Says whether it did: one with a quirk never does.
    pub(crate) fn crash(&self, name: &str, away: Duration) -> bool {
        let mut state = self.state();
        let State { hosts, connections, calm, .. } = &mut *state;
        let Some(host) = hosts.get_mut(name).filter(|host| !*calm && host.quirk.is_none()) else {
            return false;
        };
        host.life += 1;
        let back = Instant::now() + away;
        host.until = if host.weather == Weather::Refusing { host.until.max(back) } else { back };
        host.weather = Weather::Refusing;
        host.crash.notify_waiters();
        for connection in connections.iter().filter(|connection| connection.open && connection.host == name) {
            connection.mail.end(End::Exit);
        }
        true
    }

    /// When the server at an address was asked for its tools.
    pub(crate) fn listings(&self, name: &str) -> Vec<Instant> {
        self.state().hosts.get(name).map(|host| host.listings.clone()).unwrap_or_default()
    }

    /// When the server at an address was asked how it is.
    pub(crate) fn probes(&self, name: &str) -> Vec<Instant> {
        self.state().hosts.get(name).map(|host| host.probes.clone()).unwrap_or_default()
    }

    /// From now on everything works.
    pub(crate) fn calm(&self) {
        self.state().calm = true;
    }

    /// Connections neither closed nor dropped.
    pub(crate) fn open(&self) -> usize {
        self.state().open
    }

    /// The calls that arrived, in order.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.state().arrivals.clone()
    }

    /// The questions that were answered.
    pub(crate) fn answered(&self) -> Vec<Answered> {
        self.state().answered.clone()
    }

    /// Rules that a server saw broken.
    pub(crate) fn broken(&self) -> Option<(&'static str, String)> {
        self.state().broken.first().cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host {
    fn new(dice: Dice) -> Self {
        let quirk = match dice.below(100) {
            0..4 => Some(Quirk::Forgets),
            4..8 => Some(Quirk::Hangs),
            _ => None,
        };
        Self {
            eras: *dice.pick(&[Eras::Handshake, Eras::Handshake, Eras::Stateless, Eras::Both]),
            weather: Weather::Clear,
            until: Instant::now(),
            life: 0,
            crash: Arc::new(Notify::new()),
            tools: TOOLS.iter().filter(|_| dice.chance(85)).collect(),
            lists_tools: dice.chance(80),
            lists_slowly: dice.chance(40),
            health_path: dice.chance(60),
            refuses_second_handshake: dice.chance(20),
            quirk,
            listings: Vec::new(),
            probes: Vec::new(),
            registrations: 0,
            shaking: BTreeMap::new(),
            dice,
        }
    }

    fn weather(&mut self, now: Instant, calm: bool) -> Weather {
        if calm || self.quirk.is_some() {
            return Weather::Clear;
        }
        while self.until <= now {
            self.weather = match self.dice.below(20) {
                0 | 1 => Weather::Refusing,
                2 => Weather::Silent,
                3 => Weather::Slow,
                4..=7 => Weather::Flaky,
                8 => Weather::Status(*self.dice.pick(&[400, 401, 404, 429, 500, 503])),
                _ => Weather::Clear,
            };
            let seconds = *self.dice.pick(&[1, 5, 20, 120]);
            // After a long silence only the present matters.
            self.until = self.until.max(now - Duration::from_secs(600))
                + Duration::from_millis(500 + self.dice.below(seconds * 1000));
        }
        self.weather
    }

    /// What becomes of a request, and how long it takes to arrive.
    fn fate(&mut self, kind: TransportKind, calm: bool) -> (Duration, Fate) {
        let weather = self.weather(Instant::now(), calm);
        let dice = &self.dice;
        let travel = Duration::from_millis(dice.below(3));
        let soon = Duration::from_millis(dice.below(30));
        let faulty = match weather {
            _ if calm || self.quirk.is_some() => false,
            Weather::Clear => dice.chance(3),
            Weather::Flaky => dice.chance(50),
            _ => true,
        };
        let fate = match weather {
            _ if !faulty && dice.chance(5) => Fate::Answer(Body::Talkative, soon),
            _ if !faulty => Fate::Answer(Body::Good, soon),
            Weather::Refusing if kind == TransportKind::Http => {
                Fate::Fail(TransportErrorKind::Connect("connection refused".into()), Delivery::NotSent)
            }
            Weather::Refusing | Weather::Silent => Fate::Silence,
            Weather::Slow => Fate::Answer(Body::Good, Duration::from_millis(500 + dice.below(40_000))),
            Weather::Status(status) => self.status(kind, status),
            Weather::Clear | Weather::Flaky => self.fault(kind, soon),
        };
        (travel, fate)
    }

    fn status(&self, kind: TransportKind, status: u16) -> Fate {
        if kind == TransportKind::Stdio {
            return Fate::Answer(Body::Rpc(-32000), Duration::ZERO);
        }
        let retry_after = (matches!(status, 429 | 503) && self.dice.chance(50))
            .then(|| Duration::from_secs(self.dice.below(300)));
        let delivery = if status >= 500 { Delivery::Unknown } else { Delivery::Rejected };
        Fate::Fail(TransportErrorKind::Status { status, retry_after }, delivery)
    }

    fn fault(&self, kind: TransportKind, soon: Duration) -> Fate {
        match self.dice.below(12) {
            0 => Fate::Silence,
            1 => Fate::Answer(Body::Good, Duration::from_millis(500 + self.dice.below(40_000))),
            2 => Fate::Answer(Body::Rpc(*self.dice.pick(&[-32700, -32600, -32601, -32602, -32020])), soon),
            3 => Fate::Answer(Body::Rpc(*self.dice.pick(&[-32603, -32000, 7])), soon),
            4 => Fate::Answer(Body::NoJson, soon),
            5 => Fate::Answer(*self.dice.pick(&[Body::NoObject, Body::NoResult]), soon),
            6 => Fate::Answer(Body::ForeignId, soon),
            7 => Fate::Fail(TransportErrorKind::Closed("connection reset".into()), Delivery::NotSent),
            8 => Fate::Fail(TransportErrorKind::Closed("connection reset".into()), Delivery::Unknown),
            9 | 10 => Fate::Break(soon),
            _ => self.status(kind, *self.dice.pick(&[302, 400, 403, 408, 429, 500, 502, 503])),
        }
    }

    /// A fate after which the server may have done the work: whether it did.
    fn executes(&self, fate: &Fate) -> bool {
        match fate {
            Fate::Answer(Body::Good | Body::Talkative, _) => true,
            Fate::Answer(Body::Rpc(_), _) => false,
            Fate::Fail(_, delivery) => *delivery == Delivery::Unknown && self.dice.chance(50),
            Fate::Answer(..) | Fate::Break(_) | Fate::Silence => self.dice.chance(50),
        }
    }
}

/// Keeps count of a connection's handshakes under way.
struct Shaking {
    network: Network,
    host: String,
    connection: usize,
}

impl Shaking {
    fn new(network: &Network, host: &str, connection: usize) -> Self {
        let mut state = network.state();
        let State { hosts, broken, users, .. } = &mut *state;
        if let Some(server) = hosts.get_mut(host) {
            *server.shaking.entry(connection).or_default() += 1;
            // One for all, and one for each user.
            let allowed = server.registrations * (1 + *users);
            let under_way = server.shaking.len();
            if under_way > allowed {
                let what = format!("{under_way} connections to {host} are shaking hands at the same time");
                broken.push(("single_flight", what));
            }
        }
        Self { network: network.clone(), host: host.to_owned(), connection }
    }
}

impl Drop for Shaking {
    fn drop(&mut self) {
        let mut state = self.network.state();
        if let Some(host) = state.hosts.get_mut(&self.host)
            && let Some(count) = host.shaking.get_mut(&self.connection)
        {
            *count -= 1;
            if *count == 0 {
                host.shaking.remove(&self.connection);
            }
        }
    }
}

impl Connector for Network {
    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
    ) -> BoxFuture<'a, Result<Box<dyn Transport>, TransportError>> {
        Box::pin(async move {
            let (host, kind) = (address(endpoint), endpoint.kind());
            let refused =
                |text: &str| TransportError::new(TransportErrorKind::Connect(text.into()), Delivery::NotSent);
            let mail = Arc::new(Mail::default());
            let (id, wait, fails, life) = {
                let mut state = self.state();
                let calm = state.calm;
                let Some(server) = state.hosts.get_mut(&host) else { return Err(refused("no such host")) };
                let weather = server.weather(Instant::now(), calm);
                let slow = weather == Weather::Slow && server.dice.chance(30);
                let wait = Duration::from_millis(server.dice.below(if slow { 20_000 } else { 5 }));
                let fails = kind == TransportKind::Stdio && weather == Weather::Refusing
                    || weather == Weather::Flaky && server.dice.chance(10);
                let life = server.life;
                let connection = Connection {
                    host: host.clone(),
                    mail: mail.clone(),
                    open: false,
                    life,
                    session: None,
                    user: None,
                    discovered: false,
                    has_roots: false,
                };
                state.connections.push(connection);
                (state.connections.len() - 1, wait, fails, life)
            };
            let _shaking = Shaking::new(self, &host, id);
            sleep(wait).await;
            if fails {
                return Err(refused("connection refused"));
            }
            {
                let mut state = self.state();
                state.connections[id].open = true;
                state.open += 1;
                if kind == TransportKind::Stdio && state.hosts[&host].life != life {
                    mail.end(End::Exit);
                }
            }
            let line =
                Line { network: self.clone(), host, kind, id, mail, inbox_taken: AtomicBool::new(false) };
            let transport: Box<dyn Transport> = Box::new(line);
            Ok(transport)
        })
    }

    fn health<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        _path: &'a str,
    ) -> BoxFuture<'a, Option<Result<u16, TransportError>>> {
        Box::pin(async move {
            endpoint.url()?;
            let (travel, fate, there) = {
                let mut state = self.state();
                let calm = state.calm;
                let host = state.hosts.get_mut(&address(endpoint))?;
                host.probes.push(Instant::now());
                let (travel, fate) = host.fate(TransportKind::Http, calm);
                (travel, fate, host.health_path)
            };
            sleep(travel).await;
            Some(match fate {
                Fate::Answer(_, wait) => {
                    sleep(wait).await;
                    Ok(if there { 200 } else { 404 })
                }
                Fate::Fail(TransportErrorKind::Status { status, .. }, _) => Ok(status),
                Fate::Fail(kind, delivery) => Err(TransportError::new(kind, delivery)),
                Fate::Break(_) => Err(closed(Delivery::Unknown)),
                Fate::Silence => {
                    sleep(NEVER).await;
                    Ok(200)
                }
            })
        })
    }
}

pub(crate) fn address(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Stdio(stdio) => stdio.command.clone(),
        _ => endpoint.url().and_then(|url| url.host_str()).unwrap_or_default().to_owned(),
    }
}

fn closed(delivery: Delivery) -> TransportError {
    TransportError::new(TransportErrorKind::Closed("connection reset".into()), delivery)
}

/// One connection.
struct Line {
    network: Network,
    host: String,
    kind: TransportKind,
    id: usize,
    mail: Arc<Mail>,
    inbox_taken: AtomicBool,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.hang_up();
    }
}

/// What a server does with one message.
struct Plan {
    fate: Fate,
    /// What it asks before it answers.
    question: Option<Vec<u8>>,
    texts: Vec<Vec<u8>>,
    crash: Arc<Notify>,
}

impl Line {
    fn hang_up(&self) {
        let mut state = self.network.state();
        if std::mem::replace(&mut state.connections[self.id].open, false) {
            state.open -= 1;
        }
        drop(state);
        self.mail.end(End::Closed);
    }

    async fn exchange(&self, out: Outbound) -> Result<Reply, TransportError> {
        let (travel, fate) = {
            let mut state = self.network.state();
            let calm = state.calm;
            let connection = &state.connections[self.id];
            if !connection.open {
                return Err(closed(Delivery::NotSent));
            }
            let life = connection.life;
            let Some(host) = state.hosts.get_mut(&self.host) else { return Err(closed(Delivery::NotSent)) };
            if self.kind == TransportKind::Stdio && host.life != life {
                return Err(exited(Delivery::NotSent));
            }
            host.fate(self.kind, calm)
        };
        let request = match &out.message {
            Message::Request(request) => request,
            Message::Notification(_) | Message::Response(_) | Message::Failure(_) => {
                sleep(travel).await;
                self.note_answer(&out.message);
                return match fate {
                    Fate::Fail(kind, delivery) => Err(TransportError::new(kind, delivery)),
                    _ => Ok(Reply::Accepted),
                };
            }
        };
        // On a connection that is open a discovery is a probe.
        let handshake = match request.method {
            Method::Initialize => true,
            Method::ServerDiscover => !self.network.state().connections[self.id].discovered,
            _ => false,
        };
        let shaking = handshake.then(|| Shaking::new(&self.network, &self.host, self.id));
        sleep(travel).await;
        if let Fate::Fail(kind, Delivery::NotSent) = fate {
            return Err(TransportError::new(kind, Delivery::NotSent));
        }
        let Plan { fate, question, texts, crash } = self.arrive(request, &out, fate)?;
        match self.kind {
            TransportKind::Stdio => {
                if handshake {
                    self.perish(&fate);
                }
                if let Some(question) = question {
                    self.mail.put(Instant::now(), Letter::Text(question));
                }
                self.post(fate, texts)?;
                Ok(Reply::Inbox)
            }
            _ => answer_on_stream(fate, question, texts, crash, shaking).await,
        }
    }

    /// Notes who answered a question.
    fn note_answer(&self, message: &Message) {
        let (id, by) = match message {
            Message::Response(response) => {
                let roots = response.result.get("roots").and_then(|roots| roots.to::<Vec<Root>>().ok());
                (
                    Some(&response.id),
                    roots.and_then(|mut roots| roots.pop()).map(|root| String::from(root.uri)),
                )
            }
            Message::Failure(failure) if failure.error.code() == Some(ErrorCode::INTERNAL_ERROR) => {
                (failure.id.as_ref(), None)
            }
            _ => return,
        };
        if let Some(RequestId::Text(nonce)) = id {
            let answered = Answered { nonce: nonce.to_string(), by, at: Instant::now() };
            self.network.state().answered.push(answered);
        }
    }

    /// The message is there: notes it, and says what the server does.
    fn arrive(&self, request: &Request, out: &Outbound, fate: Fate) -> Result<Plan, TransportError> {
        let mut state = self.network.state();
        let State { hosts, connections, arrivals, broken, calm, .. } = &mut *state;
        let connection = &mut connections[self.id];
        let Some(host) = hosts.get_mut(&self.host) else { return Err(closed(Delivery::Unknown)) };
        if self.kind == TransportKind::Stdio && host.life != connection.life {
            return Err(exited(Delivery::Unknown));
        }
        let stateless = out.version.is_some_and(|version| version.era() == Era::Stateless);
        let crash = host.crash.clone();
        let nonce = nonce_of(request);
        let header = |name: &str| {
            let found = out.headers.iter().find(|header| header.name == name);
            found.map(|header| header.value.to_string())
        };
        let authorization = header("Authorization");
        let mut note = |executed: bool, forgotten: bool| {
            if let Some(nonce) = &nonce {
                arrivals.push(Arrival {
                    host: self.host.clone(),
                    nonce: nonce.clone(),
                    request_id: header("X-Request-Id"),
                    authorization: authorization.clone(),
                    executed,
                    forgotten,
                });
            }
        };
        // What the server refuses whatever the weather.
        let refusal = match request.method {
            Method::ServerDiscover => (host.eras == Eras::Handshake).then_some(-32601),
            Method::Initialize if host.eras == Eras::Stateless => Some(-32022),
            Method::Initialize if connection.session == Some(host.life) && host.refuses_second_handshake => {
                Some(-32600)
            }
            Method::ToolsList => (!host.lists_tools).then_some(-32601),
            Method::ToolsCall => {
                let tool: Option<String> =
                    request.params.as_ref().and_then(|params| params.get("name")?.to().ok());
                (!host.tools.iter().any(|(name, _)| tool.as_deref() == Some(name))).then_some(-32602)
            }
            _ => None,
        };
        let quirk = host.quirk.filter(|_| !*calm && nonce.is_some());
        match request.method {
            Method::Initialize | Method::ServerDiscover | Method::Ping => host.probes.push(Instant::now()),
            Method::ToolsList => host.listings.push(Instant::now()),
            _ => {}
        }
        let opening = matches!(request.method, Method::Initialize | Method::ServerDiscover);
        if !opening {
            let shaken = if stateless { connection.discovered } else { connection.session.is_some() };
            if !shaken {
                let what =
                    format!("{} reached {} on a connection without a handshake", request.method, self.host);
                broken.push(("handshake_first", what));
            }
            if !stateless && nonce.is_some() && connection.user != authorization {
                let what = format!("a call of {authorization:?} on the session of {:?}", connection.user);
                broken.push(("S18 principals", what));
            }
            let unknown = connection.session != Some(host.life) || quirk == Some(Quirk::Forgets);
            if !stateless && self.kind == TransportKind::Http && unknown {
                note(false, true);
                return Err(TransportError::new(TransportErrorKind::SessionExpired, Delivery::Rejected));
            }
        }
        let fate = match (refusal, fate) {
            (Some(code), Fate::Answer(Body::Good | Body::Talkative, wait)) => {
                Fate::Answer(Body::Rpc(code), wait)
            }
            (None, _) if quirk == Some(Quirk::Hangs) => Fate::Silence,
            // A server knows what it is able to do.
            (None, Fate::Answer(Body::Rpc(-32601), wait)) if request.method == Method::ToolsList => {
                Fate::Answer(Body::Rpc(-32603), wait)
            }
            (None, Fate::Answer(body, wait))
                if request.method == Method::ToolsList && host.lists_slowly && !*calm =>
            {
                Fate::Answer(body, wait + Duration::from_millis(host.dice.below(4_000)))
            }
            (_, fate) => fate,
        };
        let executed = refusal.is_none() && host.executes(&fate);
        note(executed, false);
        if executed || matches!(fate, Fate::Answer(Body::Good | Body::Talkative, _)) {
            match request.method {
                Method::Initialize => {
                    let declared = request.params.as_ref().and_then(|params| params.get("capabilities"));
                    connection.has_roots = declared.is_some_and(|all| all.get("roots").is_some());
                    connection.session = Some(host.life);
                    connection.user = authorization;
                }
                Method::ServerDiscover => connection.discovered = true,
                _ => {}
            }
        }
        let texts = match &fate {
            Fate::Answer(body, _) => host.texts(*body, request, &self.host, nonce.as_deref()),
            _ => Vec::new(),
        };
        let asks = !stateless && connection.has_roots && matches!(fate, Fate::Answer(..));
        let question = nonce
            .filter(|_| asks && host.dice.chance(50))
            .map(|nonce| format!(r#"{{"jsonrpc":"2.0","id":"{nonce}","method":"roots/list"}}"#).into_bytes());
        Ok(Plan { fate, question, texts, crash })
    }

    /// At times the process ends about when it answers a handshake: a little before, or when we believe that
    /// all is well.
    fn perish(&self, fate: &Fate) {
        let state = self.network.state();
        let Some(host) = state.hosts.get(&self.host) else { return };
        if let Fate::Answer(_, wait) = fate
            && !state.calm
            && host.quirk.is_none()
            && host.dice.chance(10)
        {
            let around = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).saturating_mul(2);
            self.mail.put(Instant::now() + Duration::from_millis(host.dice.below(around + 5)), Letter::Exit);
        }
    }

    /// Puts the answer into the inbox.
    fn post(&self, fate: Fate, texts: Vec<Vec<u8>>) -> Result<(), TransportError> {
        match fate {
            Fate::Answer(_, wait) => {
                let at = Instant::now() + wait;
                for text in texts {
                    self.mail.put(at, Letter::Text(text));
                }
            }
            Fate::Break(_) => self.mail.end(End::Exit),
            Fate::Fail(kind, delivery) => return Err(TransportError::new(kind, delivery)),
            Fate::Silence => {}
        }
        Ok(())
    }
}

fn exited(delivery: Delivery) -> TransportError {
    TransportError::new(TransportErrorKind::Exited("exit status: 1".into()), delivery)
}

/// The answer on a stream of its own.
async fn answer_on_stream(
    fate: Fate,
    question: Option<Vec<u8>>,
    texts: Vec<Vec<u8>>,
    crash: Arc<Notify>,
    shaking: Option<Shaking>,
) -> Result<Reply, TransportError> {
    let (wait, breaks) = match fate {
        Fate::Fail(kind, delivery) => return Err(TransportError::new(kind, delivery)),
        Fate::Answer(_, wait) => (wait, false),
        Fate::Break(wait) => (wait, true),
        Fate::Silence => (NEVER, true),
    };
    let mut items: Vec<_> = texts.into_iter().map(read).collect();
    if breaks {
        items.push(Err(closed(Delivery::Unknown)));
    }
    let first = async move {
        let crashed = std::pin::pin!(crash.notified());
        match select(std::pin::pin!(sleep(wait)), crashed).await {
            Either::Left(_) => items,
            Either::Right(_) => vec![Err(closed(Delivery::Unknown))],
        }
    };
    let question = futures::stream::iter(question.map(read));
    let stream = question.chain(futures::stream::once(first).flat_map(futures::stream::iter));
    // The handshake is under way until its stream is gone.
    let stream = stream.map(move |item| {
        let _ = &shaking;
        item
    });
    Ok(Reply::Own(stream.boxed()))
}

/// A frame as it comes from a peer: through the parser.
fn read(text: Vec<u8>) -> Result<Incoming, TransportError> {
    let frame = Bytes::from(text);
    match Message::parse(&frame, &Limits::default()) {
        Ok(message) => Ok(Incoming { message, frame }),
        Err(error) => {
            let kind = TransportErrorKind::Payload(error.to_string().into());
            Err(TransportError::new(kind, Delivery::Unknown))
        }
    }
}

fn nonce_of(request: &Request) -> Option<String> {
    let params = request.params.as_ref()?;
    match request.method {
        Method::ToolsCall => params.get("arguments")?.get("nonce")?.to().ok(),
        Method::ResourcesRead => params.get("uri")?.to().ok(),
        _ => None,
    }
}

impl Host {
    fn texts(&self, body: Body, request: &Request, host: &str, nonce: Option<&str>) -> Vec<Vec<u8>> {
        let id = &request.id;
        let text = match body {
            Body::Good | Body::Talkative => {
                let result = self.result(&request.method, host, nonce.unwrap_or_default());
                format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
            }
            Body::Rpc(code) => {
                let data = if code == -32022 { r#","data":{"supported":["2026-07-28"]}"# } else { "" };
                format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"no"{data}}}}}"#)
            }
            Body::NoJson => "<html>".to_owned(),
            Body::NoObject => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":7}}"#),
            Body::NoResult => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":null}}"#),
            Body::ForeignId => r#"{"jsonrpc":"2.0","id":4711,"result":{}}"#.to_owned(),
        };
        let mut texts = Vec::with_capacity(1);
        if body == Body::Talkative {
            texts.extend(
                [
                    r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#,
                    r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#,
                    r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"x","progress":1}}"#,
                    r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
                ]
                .map(|text| text.as_bytes().to_vec()),
            );
        }
        texts.push(text.into_bytes());
        texts
    }

    /// `resultType` is of the stateless era; the handshake era ignores what it does not know.
    fn result(&self, method: &Method, host: &str, nonce: &str) -> String {
        match method {
            Method::Initialize => format!(
                r#"{{"protocolVersion":"2025-11-25","serverInfo":{{"name":"{host}","version":"1"}},"capabilities":{{"tools":{{}}}}}}"#
            ),
            Method::ServerDiscover => {
                let ttl = self.dice.pick(&[0, 1000, 60_000]);
                format!(
                    r#"{{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{{"tools":{{}}}},"ttlMs":{ttl},"cacheScope":"public"}}"#
                )
            }
            Method::ToolsCall => format!(
                r#"{{"resultType":"complete","content":[],"structuredContent":{{"nonce":"{nonce}","server":"{host}"}},"isError":{}}}"#,
                self.dice.chance(5)
            ),
            Method::ResourcesRead => {
                format!(
                    r#"{{"resultType":"complete","nonce":"{nonce}","server":"{host}","contents":[],"ttlMs":0,"cacheScope":"private"}}"#
                )
            }
            Method::ToolsList => {
                let tools: Vec<_> = self
                    .tools
                    .iter()
                    .map(|(name, hints)| {
                        format!(
                            r#"{{"name":"{name}","inputSchema":{{"type":"object"}},"annotations":{hints}}}"#
                        )
                    })
                    .collect();
                let tools = tools.join(",");
                format!(r#"{{"resultType":"complete","tools":[{tools}],"ttlMs":0,"cacheScope":"private"}}"#)
            }
            _ => r#"{"resultType":"complete"}"#.to_owned(),
        }
    }
}

/// The nonce and the server in a good answer.
pub(crate) fn read_answer(method: &Method, result: &RawJson) -> Option<(String, String)> {
    let holder = match method {
        Method::ToolsCall => result.get("structuredContent")?,
        _ => result.clone(),
    };
    Some((holder.get("nonce")?.to().ok()?, holder.get("server")?.to().ok()?))
}

impl Transport for Line {
    fn send(&self, out: Outbound) -> BoxFuture<'_, Result<Reply, TransportError>> {
        Box::pin(self.exchange(out))
    }

    fn take_inbox(&mut self) -> Option<Inbox> {
        let first = !self.inbox_taken.swap(true, Ordering::Relaxed);
        (first && self.kind == TransportKind::Stdio).then(|| {
            let mail = self.mail.clone();
            futures::stream::unfold(mail, |mail| async move {
                let item = mail.next().await?;
                Some((item, mail))
            })
            .boxed()
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if self.kind == TransportKind::Stdio {
                // A process needs a moment to end.
                let wait = self.network.state().dice.below(50);
                sleep(Duration::from_millis(wait)).await;
            }
            self.hang_up();
        })
    }
}

/// The messages on their way from one server.
#[derive(Default)]
struct Mail {
    state: Mutex<Letters>,
    rang: Notify,
}

#[derive(Default)]
struct Letters {
    letters: BTreeMap<(Instant, u64), Letter>,
    count: u64,
    end: Option<End>,
}

/// What is on its way.
enum Letter {
    Text(Vec<u8>),
    /// Word that the process ended.
    Exit,
}

/// Why nothing more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// We closed the connection, or said why it broke.
    Closed,
    /// The process ended.
    Exit,
}

impl Mail {
    fn letters(&self) -> MutexGuard<'_, Letters> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, at: Instant, letter: Letter) {
        let mut letters = self.letters();
        letters.count += 1;
        let key = (at, letters.count);
        letters.letters.insert(key, letter);
        drop(letters);
        self.rang.notify_waiters();
    }

    fn end(&self, end: End) {
        self.letters().end.get_or_insert(end);
        self.rang.notify_waiters();
    }

    async fn next(&self) -> Option<Result<Incoming, TransportError>> {
        loop {
            let mut rang = std::pin::pin!(self.rang.notified());
            rang.as_mut().enable();
            let wake = {
                let mut letters = self.letters();
                match letters.end {
                    Some(End::Closed) => return None,
                    Some(End::Exit) => {
                        letters.end = Some(End::Closed);
                        return Some(Err(exited(Delivery::Unknown)));
                    }
                    None => {}
                }
                match letters.letters.first_entry() {
                    Some(first) if first.key().0 > Instant::now() => first.key().0,
                    Some(first) => match first.remove() {
                        Letter::Text(text) => return Some(read(text)),
                        Letter::Exit => {
                            letters.end = Some(End::Closed);
                            return Some(Err(exited(Delivery::Unknown)));
                        }
                    },
                    None => Instant::now() + NEVER,
                }
            };
            select(rang, std::pin::pin!(sleep_until(wake))).await;
        }
    }
}
