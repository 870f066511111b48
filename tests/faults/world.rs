//! What a cell has at hand: an upstream, the client under test, and the checks every cell ends with.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mcp_client::{Client, ConnectError, ConnectOptions, Outgoing, connect};
use mcp_manager::{Manager, RoutedCall, Setup, SystemTimer};
use mcp_protocol::{Era, Method, RawJson};
use mcp_registry::{Clock, Definition, Policy, SystemClock, SystemRandom};
use mcp_testkit::fault::{Proxy, Step, Upstream};
use mcp_testkit::{Outcome, Promise};
use mcp_transport::{Connector, Connectors, Delivery, Endpoint, StdioEndpoint};
use mcp_transport_http::{HttpConnector, HttpOptions};
use mcp_transport_sse::SseConnector;
use mcp_transport_stdio::{StdioConnector, StdioOptions};
use tokio::runtime::Handle;
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::outcome::Ended;
use crate::table::{Cell, Transport};
use crate::watch::{self, Stopwatch, Took};

/// Longest time of a cell; only a hang takes it.
const LONGEST: Duration = Duration::from_secs(20);

/// The limit of calls that are to run into it.
pub(crate) const LIMIT: Duration = Duration::from_millis(250);

/// The limit of calls that are to end otherwise.
pub(crate) const AMPLE: Duration = Duration::from_secs(5);

/// What a call may take beyond its limit until it counts as not answered.
const GRACE: Duration = Duration::from_secs(1);

/// The variable by which the processes of a cell are found.
const MARK: &str = "MCP_FAULT_MARK";

/// The program that plays stdio upstreams.
const PUPPET: &str = env!("CARGO_BIN_EXE_fault-puppet");

const INITIALIZED: &str = r#"{"jsonrpc":"2.0","id":$ID,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"fault","version":"1"}}}"#;
const DISCOVERED: &str = r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private"}}"#;

/// Makes the marks of cells differ.
static CELLS: AtomicU64 = AtomicU64::new(0);

/// Everything a cell works with.
pub(crate) struct World {
    pub(crate) transport: Transport,
    pub(crate) upstream: Upstream,
    pub(crate) options: RefCell<ConnectOptions>,
    pub(crate) stdio: RefCell<StdioOptions>,
    pub(crate) http: RefCell<HttpOptions>,
    endpoint: RefCell<Option<Endpoint>>,
    proxy: OnceCell<Proxy>,
    connectors: RefCell<Option<Connectors>>,
    clients: RefCell<Vec<Client>>,
    managers: RefCell<Vec<Manager>>,
    mark: String,
    clock: SystemClock,
}

/// Runs a cell and the checks that follow.
///
/// # Panics
/// If anything does not hold.
pub(crate) fn run(cell: &Cell) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(LocalSet::new().run_until(async {
        let world = Rc::new(World::new(cell.transport));
        let work = async {
            (cell.run)(world.clone()).await;
            world.finish().await;
        };
        assert!(
            timeout(LONGEST, work).await.is_ok(),
            "hung for {LONGEST:?}; seen: {:#?}",
            world.upstream.ledger().seen()
        );
    }));
}

impl World {
    fn new(transport: Transport) -> Self {
        let number = CELLS.fetch_add(1, Ordering::Relaxed);
        Self {
            transport,
            upstream: Upstream::start(transport.kind()),
            options: RefCell::new(ConnectOptions {
                handshake_timeout: AMPLE,
                probe_timeout: AMPLE / 2,
                ..ConnectOptions::default()
            }),
            stdio: RefCell::new(StdioOptions {
                close_stdin: Duration::from_millis(150),
                terminate: Duration::from_millis(150),
                reap: Duration::from_millis(400),
                write_stall: LIMIT,
                ..StdioOptions::default()
            }),
            http: RefCell::new(HttpOptions { connect_timeout: LIMIT, ..HttpOptions::default() }),
            endpoint: RefCell::default(),
            proxy: OnceCell::new(),
            connectors: RefCell::default(),
            clients: RefCell::default(),
            managers: RefCell::default(),
            mark: format!("{}-{number}", std::process::id()),
            clock: SystemClock::default(),
        }
    }

    /// What the upstream does for a key from now on.
    pub(crate) fn plan(&self, key: &str, steps: impl Into<Vec<Step>>) {
        self.upstream.plan(key, steps);
    }

    /// The request that opens a connection in this era.
    pub(crate) fn opening(&self) -> &'static str {
        match self.transport.era() {
            Era::Handshake => "initialize",
            Era::Stateless => "server/discover",
        }
    }

    /// The steps that open a connection well, after others.
    pub(crate) fn open_after(&self, before: impl IntoIterator<Item = Step>) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.transport == Transport::HttpLegacy {
            steps.push(Step::Head(format!("Mcp-Session-Id: {}\r\n", self.upstream.open_session())));
        }
        steps.extend(before);
        let answer = match self.transport.era() {
            Era::Handshake => INITIALIZED,
            Era::Stateless => DISCOVERED,
        };
        steps.push(Step::Event(answer.into()));
        steps
    }

    /// Puts a proxy between the client and the upstream.
    pub(crate) fn proxy(&self) -> &Proxy {
        self.proxy.get_or_init(|| Proxy::start(self.upstream.address()))
    }

    /// Connects to this instead of the upstream itself.
    pub(crate) fn reach(&self, endpoint: Endpoint) {
        self.endpoint.replace(Some(endpoint));
    }

    /// Starts the upstream's process by a shell script, in which `"$@"` is the command.
    pub(crate) fn wrap(&self, script: &str) {
        let puppet = self.puppet();
        let args = ["-c".to_owned(), script.to_owned(), "sh".to_owned(), puppet.command.clone()];
        let mut wrapped = StdioEndpoint::new("sh", args.into_iter().chain(puppet.args.clone()));
        wrapped.env = puppet.env;
        self.reach(Endpoint::Stdio(wrapped));
    }

    /// The command that plays the upstream.
    pub(crate) fn puppet(&self) -> StdioEndpoint {
        let mut endpoint = self.upstream.endpoint_of(Path::new(PUPPET));
        endpoint.env.insert(MARK.into(), self.mark.clone().into());
        endpoint
    }

    /// A command of a process that is found by this cell's mark.
    pub(crate) fn command(&self, program: &str, args: &[&str]) -> StdioEndpoint {
        let mut endpoint = StdioEndpoint::new(program, args.iter().copied());
        endpoint.env.insert(MARK.into(), self.mark.clone().into());
        endpoint
    }

    /// The processes that run on behalf of this cell.
    pub(crate) fn processes(&self) -> Vec<String> {
        watch::processes_with(&format!("{MARK}={}", self.mark))
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        if let Some(endpoint) = &*self.endpoint.borrow() {
            return endpoint.clone();
        }
        if self.transport.is_stdio() {
            return Endpoint::Stdio(self.puppet());
        }
        let address = self.proxy.get().map_or_else(|| self.upstream.address(), Proxy::address);
        self.upstream.endpoint_at(address)
    }

    fn connectors(&self) -> Connectors {
        let connector = || -> Arc<dyn Connector> {
            let http = self.http.borrow().clone();
            match self.transport {
                Transport::StdioLegacy | Transport::StdioModern => {
                    Arc::new(StdioConnector::new(self.stdio.borrow().clone()))
                }
                Transport::HttpLegacy | Transport::HttpModern => Arc::new(HttpConnector::new(http).unwrap()),
                Transport::Sse => Arc::new(SseConnector::new(http).unwrap().open_timeout(LIMIT * 2)),
            }
        };
        let mut connectors = self.connectors.borrow_mut();
        connectors.get_or_insert_with(|| Connectors::new().with("it", connector())).clone()
    }

    /// Connects, well or not.
    pub(crate) async fn try_connect(&self) -> (Result<Client, ConnectError>, Took) {
        let (connectors, endpoint, options) =
            (self.connectors(), self.endpoint(), self.options.borrow().clone());
        let watch = Stopwatch::start();
        let client = connect(&connectors, &endpoint, &options).await;
        let took = watch.stop();
        if let Ok(client) = &client {
            self.clients.borrow_mut().push(client.clone());
        }
        (client, took)
    }

    /// Connects to an upstream that lets itself be connected to.
    pub(crate) async fn connect(&self) -> Client {
        let client = self.try_connect().await.0.unwrap_or_else(|error| panic!("{error}: {:#?}", error.tried));
        assert_eq!(client.profile().era, self.transport.era(), "the era that the upstream speaks");
        client
    }

    /// Connects to an upstream that cannot be connected to; what failed looks like a call that failed.
    pub(crate) async fn connect_fails(&self) -> Ended {
        let (client, took) = self.try_connect().await;
        Ended { result: Err(client.expect_err("there is no connecting").error), took }
    }

    /// Calls the upstream's tool.
    pub(crate) async fn call(&self, client: &Client, nonce: &str, limit: Duration) -> Ended {
        self.call_with(client, nonce, work(nonce), limit).await
    }

    /// Sends a request of one's own that carries the nonce.
    pub(crate) async fn call_with(
        &self,
        client: &Client,
        nonce: &str,
        request: Outgoing,
        limit: Duration,
    ) -> Ended {
        let history = self.upstream.ledger().history();
        history.began(nonce, Promise { deadline: self.clock.now() + limit + GRACE, executions: 1 });
        let watch = Stopwatch::start();
        let result = client.call(request, limit).await;
        let took = watch.stop();
        let outcome = match &result {
            Ok(answer) => Outcome::Success { payload: payload(&answer.result) },
            Err(error) => Outcome::Failure(error.delivery()),
        };
        history.ended(nonce, self.clock.now(), outcome);
        Ended { result, took }
    }

    /// The connection is as good as new.
    pub(crate) async fn works(&self, client: &Client) -> Took {
        self.works_as(client, "next").await
    }

    /// The same, with a nonce for the call that shows it.
    pub(crate) async fn works_as(&self, client: &Client, nonce: &str) -> Took {
        self.call(client, nonce, AMPLE).await.answered()
    }

    /// Calls the tool through a manager, at the limit of the server; the furthest that any attempt got counts.
    pub(crate) async fn route(&self, manager: &Manager, nonce: &str) -> (Result<(), String>, Took) {
        let history = self.upstream.ledger().history();
        history.began(nonce, Promise { deadline: self.clock.now() + AMPLE, executions: 1 });
        let request = work(nonce);
        let call = RoutedCall::new(request.method, request.params.unwrap());
        let watch = Stopwatch::start();
        let result = manager.call(call).await;
        let took = watch.stop();
        let (outcome, result) = match result {
            Ok(served) => (Outcome::Success { payload: payload(&served.result) }, Ok(())),
            Err(error) => {
                let got = |delivery| error.attempts.iter().any(|attempt| attempt.delivery == Some(delivery));
                let furthest =
                    [Delivery::Unknown, Delivery::Rejected].into_iter().find(|&delivery| got(delivery));
                (Outcome::Failure(furthest.unwrap_or(Delivery::NotSent)), Err(error.message))
            }
        };
        history.ended(nonce, self.clock.now(), outcome);
        (result, took)
    }

    /// Lets go of the clients, as a program does that has no more use for them.
    pub(crate) fn forget_clients(&self) {
        self.clients.take();
    }

    /// Waits until no process of this cell runs.
    pub(crate) async fn nothing_runs(&self) {
        watch::until("no process is left", || match self.processes() {
            left if left.is_empty() => Ok(()),
            left => Err(format!("{left:#?}")),
        })
        .await;
    }

    /// Whether a call was executed.
    pub(crate) fn executed(&self, nonce: &str) -> bool {
        !self.upstream.ledger().history().executed_by(nonce).is_empty()
    }

    /// The upstream is told that the answer to a call is not wanted any more, once.
    pub(crate) async fn is_cancelled(&self, nonce: &str) {
        let ledger = self.upstream.ledger();
        if self.transport == Transport::HttpModern {
            return ledger.left(1).await;
        }
        let id = ledger.came(nonce, 1).await.id.unwrap();
        let cancelled = ledger.came("notifications/cancelled", 1).await;
        assert!(cancelled.body.contains(&format!("\"requestId\":{id}")), "{}", cancelled.body);
    }

    /// Waits until the client does nothing by itself any more: in some revisions it asks for a stream.
    pub(crate) async fn quiet(&self, client: &Client) {
        if self.transport == Transport::HttpLegacy {
            self.upstream.ledger().came("GET", 1).await;
        }
        self.works_as(client, "quiet").await;
        watch::turn().await;
    }

    /// Waits until the client has noticed that its connections were closed.
    pub(crate) async fn noticed(&self) {
        let address = self.proxy.get().map_or_else(|| self.upstream.address(), Proxy::address);
        watch::until("the client closes its connections", || match watch::connections_to(address.port()) {
            0 => Ok(()),
            open => Err(format!("{open} are open")),
        })
        .await;
        // A reset connection is gone before its owner knows.
        watch::turn().await;
    }

    /// A manager that knows the upstream as `it`.
    pub(crate) fn manager(&self, policy: Policy) -> Manager {
        let manager = Manager::new(Setup {
            policy,
            client_info: mcp_client::ClientInfo::default(),
            connector: Arc::new(self.connectors()),
            timer: Arc::new(SystemTimer::default()),
            random: Arc::new(SystemRandom),
        });
        manager.register(self.definition()).unwrap();
        self.managers.borrow_mut().push(manager.clone());
        manager
    }

    fn definition(&self) -> Definition {
        let mut definition = Definition::new("it".parse().unwrap(), self.endpoint());
        definition.discover_tools = true;
        definition.request_timeout = LIMIT;
        definition
    }

    /// What every cell ends with: nothing waits, everything closes in time, nothing is left, no promise is
    /// broken.
    async fn finish(&self) {
        if let Some(proxy) = self.proxy.get() {
            proxy.set(|rules| *rules = mcp_testkit::fault::Rules::default());
        }
        let mut pids = BTreeSet::new();
        for manager in self.managers.take() {
            manager.shutdown(Duration::ZERO).await;
        }
        let clients = self.clients.take();
        for client in &clients {
            let detail =
                |name| client.details().into_iter().find(|(key, _)| *key == name).map(|(_, value)| value);
            pids.extend(detail("pid"));
            watch::until("no request waits", || match detail("waiting").as_deref() {
                Some("0") => Ok(()),
                other => Err(format!("{other:?} wait")),
            })
            .await;
            let watch = Stopwatch::start();
            client.close().await;
            let options = self.stdio.borrow();
            watch.stop().at_most(options.close_stdin + options.terminate + options.reap);
        }
        drop(clients);
        drop(self.connectors.take());
        let ledger = self.upstream.ledger();
        watch::until("no connection is open", || match ledger.open() {
            0 => Ok(()),
            open => Err(format!("{open} are open of {} in all", ledger.connections())),
        })
        .await;
        self.nothing_runs().await;
        for pid in pids {
            watch::until("no zombie is left", || match watch::process_exists(&pid) {
                false => Ok(()),
                true => Err(format!("{pid} is there")),
            })
            .await;
        }
        watch::until("no task is left", || match Handle::current().metrics().num_alive_tasks() {
            0 => Ok(()),
            tasks => Err(format!("{tasks} tasks")),
        })
        .await;
        if let Err(broken) = ledger.history().check(self.clock.now()) {
            panic!("{broken}");
        }
    }
}

/// A call of the tool.
pub(crate) fn work(nonce: &str) -> Outgoing {
    let params = serde_json::json!({"name": "work", "arguments": {"nonce": nonce}});
    Outgoing::new(Method::ToolsCall, Some(RawJson::encode(&params).unwrap()))
}

/// The nonce an answer carries.
fn payload(result: &RawJson) -> String {
    let nonce = result.get("structuredContent").and_then(|content| content.get("nonce"));
    nonce.and_then(|nonce| nonce.to().ok()).unwrap_or_default()
}
