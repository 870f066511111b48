//! Commands against a small stand-in for the REST API on loopback.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use clap::{CommandFactory as _, Parser};
use futures::future::BoxFuture;
use mcp_api_types::{
    ConnectionState, Era, HealthView, InvocationFailure, InvocationResult, InvokeTool, Server, ServerTools,
    Status, TransportKind,
};

use crate::{
    Command, Direct, DirectError, DirectTarget, Exit, GlobalArgs, Look, Output, Setting, output::tests::kept,
};

mod calls;
mod exposed;
mod registry;
mod streams;

/// A healthy server nobody has used yet.
pub(crate) fn server(name: &str) -> Server {
    Server {
        name: name.into(),
        url: Some(format!("http://{name}/")),
        status: Status::Healthy,
        last_error: None,
        last_error_category: None,
        retry_count: 0,
        last_checked_at: None,
        next_retry_at: None,
        initialized: false,
        protocol_version: None,
        last_initialized_at: None,
        initialization_expires_at: None,
        adapter_controls_available: false,
        capability_snapshot: None,
        adapter_session: None,
        transport: TransportKind::Http,
        connection_state: ConnectionState::Disconnected,
        health_view: HealthView::Unknown,
        consecutive_failures: 0,
        response_time_ms: None,
        era: Era::Unknown,
        enabled: true,
        stats: None,
        group: None,
        priority: None,
        tools: None,
        last_error_delivery: None,
        error_rate: None,
        restarts: 0,
        next_reconnect_at: None,
        details: BTreeMap::new(),
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

#[derive(Debug, Parser)]
#[command(name = "mcp-gateway")]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

/// One request as the gateway saw it: method and path with query, key, body.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    line: String,
    key: Option<String>,
    body: String,
}

/// A gateway that gives prepared answers and remembers what it was asked.
#[derive(Debug, Clone, Default)]
struct Gateway(Arc<Mutex<Prepared>>);

#[derive(Debug, Default)]
struct Prepared {
    /// By method and path with query; the last one of a line repeats.
    answers: BTreeMap<String, Vec<(u16, String)>>,
    seen: Vec<Seen>,
}

impl Gateway {
    fn answer(&self, line: &str, status: u16, body: impl Into<String>) -> &Self {
        self.0.lock().unwrap().answers.entry(line.into()).or_default().push((status, body.into()));
        self
    }

    fn seen(&self) -> Vec<Seen> {
        self.0.lock().unwrap().seen.clone()
    }

    async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(reply).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }
}

async fn reply(
    State(gateway): State<Gateway>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let line = format!("{method} {}", uri.path_and_query().unwrap());
    let key = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    let mut prepared = gateway.0.lock().unwrap();
    prepared.seen.push(Seen { line: line.clone(), key, body: String::from_utf8(body.to_vec()).unwrap() });
    let Some(answers) = prepared.answers.get_mut(&line) else {
        return (StatusCode::NOT_FOUND, "<html>").into_response();
    };
    let (status, body) = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
    let head = [
        (header::CONTENT_TYPE, "application/json"),
        (header::DATE, "Thu, 01 Jan 2026 00:00:00 GMT"),
        (header::HeaderName::from_static("x-request-id"), "id-1"),
    ];
    (StatusCode::from_u16(status).unwrap(), head, body).into_response()
}

/// The servers behind no gateway.
#[derive(Debug, Default)]
struct Scripted {
    call: Option<Result<InvocationResult, DirectError>>,
    tools: ServerTools,
    asked: Mutex<Vec<(DirectTarget, String)>>,
}

impl Direct for Scripted {
    fn call<'a>(
        &'a self,
        target: &'a DirectTarget,
        request: InvokeTool,
    ) -> BoxFuture<'a, Result<InvocationResult, DirectError>> {
        self.asked.lock().unwrap().push((target.clone(), json(&request)));
        Box::pin(async { self.call.clone().unwrap() })
    }

    fn tools<'a>(&'a self, target: &'a DirectTarget) -> BoxFuture<'a, Result<ServerTools, DirectError>> {
        self.asked.lock().unwrap().push((target.clone(), String::new()));
        Box::pin(async { Ok(self.tools.clone()) })
    }
}

async fn run_on(line: &str, direct: &Scripted, output: &mut Output) -> Exit {
    let words = std::iter::once("mcp-gateway".to_owned()).chain(shlex::split(line).unwrap());
    let Cli { global, command } =
        Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
    crate::run(command, Setting { global: &global, direct, root: Cli::command(), output }).await
}

/// Runs a command line to its end: exit code, stdout, stderr.
async fn run(line: &str, direct: &Scripted) -> (u8, String, String) {
    let (mut output, out, err) = kept(Look::default());
    let exit = run_on(line, direct, &mut output).await;
    (exit.code(), out.text(), err.text())
}

/// Runs a command line against a gateway.
async fn ask(line: &str, gateway: &Gateway) -> (u8, String, String) {
    let url = gateway.serve().await;
    let (code, out, err) = run(&format!("{line} --url {url}"), &Scripted::default()).await;
    (code, out, err.replace(&url, "URL"))
}

/// A reader that has gone away.
struct Gone;

impl io::Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() {
    let gateway = Gateway::default();
    gateway.answer("GET /api/v1/mcp/server-tools", 200, r#"{"a":null}"#);
    let line = format!("tools --url {}", gateway.serve().await);
    let (_, _, err) = kept(Look::default());
    let mut output = Output::new(Box::new(Gone), Box::new(err.clone()), Look::default());
    assert_eq!(run_on(&line, &Scripted::default(), &mut output).await, Exit::Ok);
    assert_eq!(err.text(), "");
}

#[tokio::test]
async fn completions_are_made_for_the_whole_binary() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = run(&format!("completions {shell}"), &Scripted::default()).await;
        assert_eq!(code, 0);
        assert!(out.contains("mcp-gateway") && out.contains("invocations"), "{shell}");
    }
}
