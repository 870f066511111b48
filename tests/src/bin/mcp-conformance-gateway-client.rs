//! The gateway as the client that the official conformance suite tests.
//!
//! usage: `mcp-conformance-gateway-client GATEWAY URL`
//!
//! Starts `GATEWAY serve` with the suite's server as its only upstream, asks it over REST to shake hands, to
//! list the tools and to call each, and ends it. What a server answers is the suite's to judge; only a
//! gateway that does not get an answer is an error here.

#![expect(clippy::print_stderr, reason = "says why it failed")]

use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;

use mcp_protocol::Era;
use mcp_tests::conformance::{Outcome, PATIENCE, Tool, ToolCall, call_tools, era, scenario, server_url};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;
use url::Url;

/// Resources of `http-standard-headers`: the gateway has no list of resources.
const RESOURCES: [&str; 2] = ["file:///path/to/file%20name.txt", "https://example.com/resource?id=123"];

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mcp-conformance-gateway-client: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Outcome {
    let home = tempfile::tempdir()?;
    let (protocol, probe) = match era() {
        None => ("auto", "auto"),
        Some(Era::Handshake) => ("legacy", "mcp_ping"),
        Some(Era::Stateless) => ("modern", "mcp_discover"),
    };
    let server = json!({ "url": server_url()?, "protocol": protocol, "probe": probe });
    let configuration = json!({ "servers": { "suite": server } });
    std::fs::write(home.path().join("gateway.json"), configuration.to_string())?;
    let gateway = Gateway::start(home.path()).await?;
    let result = use_everything(&gateway).await;
    gateway.stop().await?;
    result
}

async fn use_everything(gateway: &Gateway) -> Outcome {
    gateway.ask(Method::POST, "/servers/suite/initialize", "").await?;
    gateway.ask(Method::POST, "/servers/suite/refresh-tools", "").await?;
    let tools = gateway.ask(Method::GET, "/servers/suite/tools", "").await?;
    let tools: Option<Vec<Tool>> = serde_json::from_str(&tools)?;
    let call = async |call| gateway.invoke("tool", &InvokeTool::from(call)).await;
    call_tools(&tools.ok_or("no tools were listed")?, call).await?;
    if scenario() == "http-standard-headers" {
        for uri in RESOURCES {
            gateway.invoke("resource", &json!({ "uri": uri })).await?;
        }
    }
    Ok(())
}

/// The body of `POST /invoke/tool`.
#[derive(Debug, Serialize)]
struct InvokeTool {
    tool_name: String,
    arguments: Box<RawValue>,
}

impl From<ToolCall> for InvokeTool {
    fn from(ToolCall { name, arguments }: ToolCall) -> Self {
        Self { tool_name: name, arguments }
    }
}

/// A gateway that runs; killed when dropped.
#[derive(Debug)]
struct Gateway {
    child: Child,
    url: Url,
    http: reqwest::Client,
}

impl Gateway {
    /// Starts one in a home of its own, and waits until it says where it listens.
    async fn start(home: &Path) -> Outcome<Self> {
        let program = std::env::args().nth(1).ok_or("the gateway's file is missing")?;
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--config", "gateway.json"])
            .current_dir(home)
            .env("HOME", home)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stderr = child.stderr.take().ok_or("the gateway has no standard error")?;
        let mut lines = BufReader::new(stderr).lines();
        let url = timeout(PATIENCE, announced(&mut lines)).await??;
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                eprintln!("gateway: {line}");
            }
        });
        Ok(Self { child, url, http: http_client()? })
    }

    /// The body of the answer, which must be one of success.
    async fn ask(&self, method: Method, path: &str, body: impl Into<String>) -> Outcome<String> {
        let (status, body) = self.send(method, path, body.into()).await?;
        if status.is_success() { Ok(body) } else { Err(format!("{path}: {status}: {body}").into()) }
    }

    /// Calls a tool or reads a resource. An error that the server answers with is an answer.
    async fn invoke(&self, what: &str, body: &impl Serialize) -> Outcome {
        let (path, body) = (format!("/invoke/{what}"), serde_json::to_string(body)?);
        match self.send(Method::POST, &path, body).await? {
            (status, _) if status.is_success() => Ok(()),
            (_, body) if body.contains("rpc_error") => Ok(()),
            (status, body) => Err(format!("{path}: {status}: {body}").into()),
        }
    }

    async fn send(&self, method: Method, path: &str, body: String) -> Outcome<(StatusCode, String)> {
        let url = self.url.join(&format!("/api/v1/mcp{path}"))?;
        let request = self.http.request(method, url).header("Content-Type", "application/json").body(body);
        let response = request.send().await?;
        Ok((response.status(), response.text().await?))
    }

    /// Ends it in the orderly way, its session included.
    async fn stop(mut self) -> Outcome {
        interrupt(&self.child)?;
        let status = timeout(PATIENCE, self.child.wait()).await??;
        if status.success() { Ok(()) } else { Err(format!("the gateway ended with {status}").into()) }
    }
}

#[cfg(unix)]
fn interrupt(gateway: &Child) -> Outcome {
    use rustix::process::{Pid, Signal, kill_process};

    let pid = gateway.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
    Ok(kill_process(pid.ok_or("the gateway ended by itself")?, Signal::TERM)?)
}

#[cfg(not(unix))]
fn interrupt(_: &Child) -> Outcome {
    Err("there is no signal for an orderly end here".into())
}

/// The URL in the line that says where the gateway listens.
async fn announced(lines: &mut Lines<BufReader<ChildStderr>>) -> Outcome<Url> {
    while let Some(line) = lines.next_line().await? {
        if let Some((_, listening)) = line.split_once("listening on ") {
            let url = listening.split_whitespace().find(|word| word.starts_with("http://"));
            return Ok(url.ok_or("the gateway listens nowhere")?.parse()?);
        }
        eprintln!("gateway: {line}");
    }
    Err("the gateway ended before it listened".into())
}

/// Plain HTTP; the library insists on a TLS configuration all the same.
fn http_client() -> Outcome<reqwest::Client> {
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Ok(reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().timeout(PATIENCE).build()?)
}
