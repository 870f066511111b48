//! A gateway that runs.

use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mcp_api_types::{
    Attempt, ErrorCategory, InvocationFailure, InvocationResult, Server, ServerList, Stage, Status,
};
use reqwest::{Method, RequestBuilder, StatusCode};
use rustix::process::Signal;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr};
use tokio::time::timeout;
use url::Url;

use super::configuration::Configuration;
use super::home::{Home, Outcome};
use super::process::Process;
use crate::wait::{self, PATIENCE};

/// A gateway in a child process, killed when dropped.
#[derive(Debug)]
pub(crate) struct Gateway {
    home: Home,
    child: Child,
    url: Url,
    log: Log,
    http: reqwest::Client,
}

/// What a gateway has logged.
type Log = Arc<Mutex<Vec<String>>>;

impl Gateway {
    /// Starts one that finds this file on its own, in the directory it is started in.
    pub(crate) async fn configured(configuration: &Configuration) -> Self {
        Self::configured_at(Home::new(), configuration).await
    }

    /// The same in surroundings that are prepared.
    pub(crate) async fn configured_at(home: Home, configuration: &Configuration) -> Self {
        home.write("mcp-gateway.toml", configuration.text());
        Self::serve(home, &[]).await
    }

    /// Starts `mcp-gateway serve` on a free port, and waits until it is ready.
    pub(crate) async fn serve(home: Home, args: &[&str]) -> Self {
        let mut command = home.command(&["serve", "--listen", "127.0.0.1:0"]);
        let mut child = command.args(args).spawn().unwrap();
        let log = collect(child.stderr.take().unwrap());
        let address = logged(&log, "listening on ").await;
        let url = address.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
        let gateway = Self { home, child, url: url.parse().unwrap(), log, http: client() };
        wait::until("the gateway to be ready", async || {
            gateway.request(Method::GET, "/readyz").send().await.ok()?.status().is_success().then_some(())
        })
        .await;
        gateway
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// Waits for a line of its log with this text.
    pub(crate) async fn logged(&self, text: &str) -> String {
        logged(&self.log, text).await
    }

    /// Runs `mcp-gateway ARGS --url …` to its end.
    pub(crate) async fn cli(&self, args: &[&str]) -> Outcome {
        let mut command = self.home.command(args);
        command.args(["--url", self.url.as_str()]);
        Outcome::of(command).await
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url.join(path).unwrap())
    }

    /// The body of a GET below the base path that succeeds.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        let (status, body) = answer(self.request(Method::GET, &format!("/api/v1/mcp{path}"))).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// `POST /invoke/tool`.
    pub(crate) async fn invoke(&self, body: Value) -> Result<InvocationResult, InvocationFailure> {
        let request = self.request(Method::POST, "/api/v1/mcp/invoke/tool");
        let request = request.header("Content-Type", "application/json").body(body.to_string());
        let (status, text) = answer(request).await;
        let wrong = |error| -> ! { panic!("{body}: {error}: {text}") };
        match status {
            StatusCode::OK => Ok(serde_json::from_str(&text).unwrap_or_else(|error| wrong(error))),
            StatusCode::SERVICE_UNAVAILABLE => {
                Err(serde_json::from_str(&text).unwrap_or_else(|error| wrong(error)))
            }
            status => panic!("{body}: {status}: {text}"),
        }
    }

    pub(crate) async fn server(&self, name: &str) -> Server {
        self.get(&format!("/servers/{name}")).await
    }

    /// Waits until every server is healthy, and its tools are known.
    pub(crate) async fn all_healthy(&self) -> Vec<Server> {
        wait::until("every server to be healthy", async || {
            let servers = self.get::<ServerList>("/servers").await.items;
            let up = |server: &Server| server.status == Status::Healthy && server.tools.is_some();
            servers.iter().all(up).then_some(servers)
        })
        .await
    }

    /// Waits until a server is in the state that `is` looks for.
    pub(crate) async fn until(&self, name: &str, what: &str, is: impl Fn(&Server) -> bool) -> Server {
        wait::until(&format!("{name} to be {what}"), async || {
            let server = self.server(name).await;
            is(&server).then_some(server)
        })
        .await
    }

    /// Its process and all that it has started.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let pid = self.child.id().expect("the gateway runs");
        let mut processes = Process::started_by(pid);
        processes.push(Process::of(pid));
        processes
    }

    pub(crate) fn signal(&self, signal: Signal) {
        Process::of(self.child.id().expect("the gateway runs")).signal(signal);
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let status = timeout(PATIENCE, self.child.wait()).await;
        status.unwrap_or_else(|_| panic!("the gateway still runs after {PATIENCE:?}")).unwrap()
    }

    /// Ends it in the orderly way although some of its servers have to be killed.
    pub(crate) async fn stop_within(mut self, limit: Duration) {
        let processes = self.processes();
        self.signal(Signal::TERM);
        let status = timeout(limit, self.ended()).await.unwrap_or_else(|_| panic!("no end within {limit:?}"));
        assert_eq!(status.code(), Some(0), "{status}");
        // The system takes a moment for the end of a killed process.
        Process::all_gone(&processes).await;
    }

    /// Ends it in the orderly way: it must report success and leave no process behind.
    pub(crate) async fn stop(mut self) {
        let processes = self.processes();
        self.signal(Signal::TERM);
        let status = self.ended().await;
        assert_eq!(status.code(), Some(0), "{status}");
        // Not waited for: whoever sees the end of the gateway must see the end of its children.
        let left: Vec<_> = processes.iter().filter(|process| process.is_alive()).collect();
        assert!(left.is_empty(), "{left:?} are left behind");
    }
}

/// Status and body of the answer to a request.
pub(crate) async fn answer(request: RequestBuilder) -> (StatusCode, String) {
    let response = request.send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

/// The parts of a trace that do not differ from run to run.
pub(crate) fn trace(attempts: &[Attempt]) -> Vec<(&str, Stage, Option<ErrorCategory>)> {
    for attempt in attempts {
        assert_eq!(attempt.success, attempt.error.is_none(), "{attempt:?}");
        assert_eq!(attempt.success, attempt.error_category.is_none(), "{attempt:?}");
    }
    attempts.iter().map(|attempt| (attempt.server.as_str(), attempt.stage, attempt.error_category)).collect()
}

/// The text of the first content block of a tool result.
pub(crate) fn text(result: &InvocationResult) -> String {
    let value: Value = serde_json::from_str(result.result.get()).unwrap();
    value["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text in {value}")).to_owned()
}

/// Plain HTTP; the library insists on a TLS configuration all the same.
fn client() -> reqwest::Client {
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().timeout(PATIENCE).build().unwrap()
}

/// Keeps what a gateway logs, and prints it where the test runner shows it if the test fails.
fn collect(stderr: ChildStderr) -> Log {
    let log = Log::default();
    let lines = log.clone();
    tokio::spawn(async move {
        let mut stderr = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = stderr.next_line().await {
            eprintln!("gateway: {line}");
            lines.lock().unwrap().push(line);
        }
    });
    log
}

async fn logged(log: &Log, text: &str) -> String {
    wait::until(&format!("{text:?} in the log of the gateway"), async || {
        log.lock().unwrap().iter().find(|line| line.contains(text)).cloned()
    })
    .await
}
