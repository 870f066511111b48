//! The upstream itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use mcp_protocol::Era;
use mcp_transport::{Endpoint, HttpEndpoint, SseEndpoint, StdioEndpoint};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::host::Host;
use super::http::Server;
use super::ledger::{Ledger, Order, Received};
use super::output::After;
use super::script::Step;
use super::stdio;

/// Revivals that may wait.
const REVIVALS: usize = 4;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// How an upstream is reached, and what it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A child process.
    Stdio(Era),
    /// Streamable HTTP, in the handshake era with sessions.
    Http(Era),
    /// The two endpoints of 2024-11-05.
    Sse,
}

impl Kind {
    fn era(self) -> Era {
        match self {
            Self::Stdio(era) | Self::Http(era) => era,
            Self::Sse => Era::Handshake,
        }
    }
}

/// An MCP server that does what a test says.
///
/// It has one tool, `work`, whose calls carry a nonce of their own. A plan is found by the first key of a message
/// that has one ([`Received::keys`]). Two keys stand for moments without a message: `connect`, when a connection is accepted or a process starts; `eof`, when a process's
/// stdin was closed.
///
/// Gone when dropped, its sockets with it; so are the processes that play a stdio upstream.
#[derive(Debug)]
pub struct Upstream {
    kind: Kind,
    ledger: Ledger,
    address: SocketAddr,
    revive: mpsc::Sender<TcpListener>,
    down: mpsc::Sender<()>,
    _host: Host,
}

impl Upstream {
    /// Starts one. Over stdio this is what [`endpoint_of`](Self::endpoint_of) processes connect to.
    ///
    /// # Panics
    /// If the system gives no port or thread.
    #[must_use]
    pub fn start(kind: Kind) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        listener.set_nonblocking(true).expect("sockets can be told not to block");
        let address = listener.local_addr().expect("it is bound");
        let ledger = Ledger::default();
        let (revive, mut revivals) = mpsc::channel(REVIVALS);
        let (down, mut ends) = mpsc::channel(REVIVALS);
        let of_host = ledger.clone();
        let host = Host::start("fault upstream", async move {
            let mut listener = TcpListener::from_std(listener).expect("the runtime has I/O");
            loop {
                match kind {
                    Kind::Stdio(_) => conduct(&of_host, kind, &listener).await,
                    Kind::Http(_) | Kind::Sse => listen(&of_host, kind, listener, &mut ends).await,
                }
                let Some(revived) = revivals.recv().await else { return };
                listener = revived;
            }
        });
        Self { kind, ledger, address, revive, down, _host: host }
    }

    /// What it saw.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Where it listens; over stdio for its processes.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How to reach it over HTTP at this address: its own, or that of a proxy.
    ///
    /// # Panics
    /// If it is none over HTTP.
    #[must_use]
    pub fn endpoint_at(&self, address: SocketAddr) -> Endpoint {
        let http = HttpEndpoint::new(format!("http://{address}/mcp").parse().expect("it is a URL"));
        match self.kind {
            Kind::Http(_) => Endpoint::Http(http),
            Kind::Sse => Endpoint::Sse(SseEndpoint::new(http)),
            Kind::Stdio(_) => panic!("a stdio upstream has no URL"),
        }
    }

    /// How to start it over stdio, where `program` is a puppet: it connects to the address in its only argument
    /// and does what it is told (see the source of this module for the protocol).
    #[must_use]
    pub fn endpoint_of(&self, program: &Path) -> StdioEndpoint {
        StdioEndpoint::new(program.to_string_lossy(), [self.address.to_string()])
    }

    /// What to do for a key from now on, instead of what a working server does.
    pub fn plan(&self, key: &str, steps: impl Into<Vec<Step>>) {
        self.ledger.add_plan(key, steps.into(), false);
    }

    /// What to do for a key the next time it is due, after earlier plans of this kind.
    pub fn plan_once(&self, key: &str, steps: impl Into<Vec<Step>>) {
        self.ledger.add_plan(key, steps.into(), true);
    }

    /// Forgets the plans of a key.
    pub fn unplan(&self, key: &str) {
        self.ledger.clear_plans(key);
    }

    /// Does a step on every live connection or process at once: [`Step::Exit`] and the like, or
    /// [`Step::Event`] on stdout and on the open streams of sessions.
    pub fn order(&self, step: Step) {
        self.ledger.order(Order::Do(step));
    }

    /// Ends an HTTP upstream, its listener and all connections, and waits until nobody can connect any more.
    pub async fn order_exit(&self) {
        self.down.send(()).await.expect("the host runs as long as self");
        self.is_down().await;
    }

    /// Waits until nobody can connect any more, after [`Step::Exit`].
    pub async fn is_down(&self) {
        // Bound only: a listener of ours would accept, too.
        while self.bind().is_err() {
            tokio::task::yield_now().await;
        }
    }

    /// Listens again at the same address, as a new process that knows no sessions.
    ///
    /// # Panics
    /// If somebody else has the port by now.
    pub async fn revive(&self) {
        self.ledger.end_sessions();
        let listener = loop {
            // Until the old listener is gone.
            match self.bind().and_then(|socket| socket.listen(BACKLOG)) {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        self.revive.send(listener).await.expect("the host runs as long as self");
    }

    /// Opens a session that a plan can give out by itself.
    #[must_use]
    pub fn open_session(&self) -> String {
        self.ledger.open_session()
    }

    /// Forgets all sessions, as a server does that was restarted behind a load balancer.
    pub fn forget_sessions(&self) {
        self.ledger.end_sessions();
    }

    fn bind(&self) -> std::io::Result<TcpSocket> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(self.address)?;
        Ok(socket)
    }
}

/// Accepts connections until one of them, or the test, says that the server dies.
async fn listen(ledger: &Ledger, kind: Kind, listener: TcpListener, ends: &mut mpsc::Receiver<()>) {
    let server = Server::new(ledger.clone(), kind);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(server.clone().serve(stream));
                }
            }
            Some(ended) = connections.join_next() => {
                if matches!(ended, Ok(After::Die(_))) {
                    break;
                }
            }
            Some(()) = ends.recv() => break,
        }
    }
    drop(listener);
    connections.shutdown().await;
}

/// Plays every process that connects.
async fn conduct(ledger: &Ledger, kind: Kind, listener: &TcpListener) {
    let mut processes = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    processes.spawn(stdio::play(ledger.clone(), kind, stream));
                }
            }
            Some(_) = processes.join_next() => {}
        }
    }
}

const INITIALIZED: &str = r#"{"jsonrpc":"2.0","id":$ID,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true}},"serverInfo":{"name":"fault","version":"1"}}}"#;
const INITIALIZED_2024: &str = r#"{"jsonrpc":"2.0","id":$ID,"result":{"protocolVersion":"2024-11-05","capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true}},"serverInfo":{"name":"fault","version":"1"}}}"#;
const DISCOVERED: &str = r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true}},"ttlMs":60000,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"fault","version":"1"}}}}"#;
const TOOLS: &str = r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"complete","ttlMs":0,"cacheScope":"private","tools":[{"name":"work","inputSchema":{"type":"object","properties":{"nonce":{"type":"string"}}}}]}}"#;
const PONG: &str = r#"{"jsonrpc":"2.0","id":$ID,"result":{}}"#;
const UNKNOWN_METHOD: &str =
    r#"{"jsonrpc":"2.0","id":$ID,"error":{"code":-32601,"message":"method not found"}}"#;

/// What a server that works does.
pub(crate) fn default_steps(kind: Kind, ledger: &Ledger, received: &Received) -> Vec<Step> {
    let say = |text: &str| vec![Step::Json(text.to_owned())];
    let status = |status| vec![Step::Status(status, String::new(), String::new())];
    let over_http = matches!(kind, Kind::Http(_));
    match received.verb.as_str() {
        "DELETE" => {
            ledger.end_session(received.headers.get("mcp-session-id").map_or("", String::as_str));
            return status(200);
        }
        "GET" => return status(405),
        _ => {}
    }
    let Some(method) = received.method.as_deref() else { return Vec::new() };
    let opens = matches!(method, "initialize" | "server/discover");
    if kind == Kind::Http(Era::Handshake) && !opens {
        match received.headers.get("mcp-session-id") {
            Some(id) if ledger.knows_session(id) => {}
            Some(_) => return status(404),
            None => return status(400),
        }
    }
    if received.id.is_none() {
        return Vec::new();
    }
    match (method, kind.era()) {
        ("initialize", Era::Handshake) => {
            let mut steps = Vec::new();
            if over_http {
                steps.push(Step::Head(format!("Mcp-Session-Id: {}\r\n", ledger.open_session())));
            }
            let text = if kind == Kind::Sse { INITIALIZED_2024 } else { INITIALIZED };
            steps.extend(say(text));
            steps
        }
        ("server/discover", Era::Stateless) => say(DISCOVERED),
        ("tools/call", _) => vec![Step::Execute, Step::Answer],
        ("tools/list", _) => say(TOOLS),
        ("ping", Era::Handshake) => say(PONG),
        ("server/discover", _) if over_http => {
            vec![Step::Status(400, "Content-Type: application/json\r\n".into(), UNKNOWN_METHOD.into())]
        }
        _ if over_http && kind.era() == Era::Stateless => {
            vec![Step::Status(404, "Content-Type: application/json\r\n".into(), UNKNOWN_METHOD.into())]
        }
        _ => say(UNKNOWN_METHOD),
    }
}
