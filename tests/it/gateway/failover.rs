//! Several servers with the same tool: one after the other fails, until none is left.

use std::path::PathBuf;

use mcp_api_types::{ConnectionState, ErrorCategory, FailureCode, Server, Stage};
use rustix::process::Signal;
use serde_json::json;

use super::binary;
use super::configuration::{Configuration, demo, demo_over_http};
use super::home::Home;
use super::process::Process;
use super::running::{Gateway, text, trace};
use crate::peers::Program;
use crate::process::HttpServer;

/// What a server looks like in `status --json`: name, transport, era and revision.
type Row<'a> = (&'a str, &'a str, &'a str, &'a str);

const LEGACY: (&str, &str) = ("legacy", "2025-11-25");
const MODERN: (&str, &str) = ("modern", "2026-07-28");

const fn row<'a>(name: &'a str, transport: &'a str, (era, version): (&'a str, &'a str)) -> Row<'a> {
    (name, transport, era, version)
}

async fn assert_status(gateway: &Gateway, expected: &[Row<'_>]) {
    gateway.all_healthy().await;
    let status: serde_json::Value = gateway.cli(&["status", "--json"]).await.exits(0).json();
    let word = |server: &serde_json::Value, key: &str| server[key].as_str().unwrap().to_owned();
    let rows: Vec<_> = status["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|server| ["name", "transport", "era", "protocol_version"].map(|key| word(server, key)))
        .collect();
    let expected: Vec<_> = expected.iter().map(|&(a, b, c, d)| [a, b, c, d].map(str::to_owned)).collect();
    assert_eq!(rows, expected);
}

/// Calls a tool on a server and on no other.
async fn call_on(gateway: &Gateway, server: &str, call: &[&str], output: &str) {
    let args = [&["call"], call, &["--server", server, "--only"]].concat();
    let answered = format!("answered by {server}");
    gateway.cli(&args).await.exits(0).prints(&[output]).says(&[&answered]);
}

/// Servers that offer `echo`; `first` and `second` by name, and how they are ended.
struct Echoes {
    first: (&'static str, HttpServer),
    second: (&'static str, PathBuf),
    /// Further ones over HTTP, and further ones whose programs are links.
    others: Vec<(&'static str, HttpServer)>,
    links: Vec<(&'static str, PathBuf)>,
}

impl Echoes {
    /// The same call before and after the end of the first server, and when all have ended.
    async fn fail_one_after_the_other(self, gateway: &Gateway) {
        let preferred = [self.first.0, self.second.0];
        // What the built-in server calls `text` is `message` elsewhere.
        let call = json!({
            "tool_name": "echo", "arguments": {"message": "grüße 🦀"},
            "preferred_servers": preferred,
        });
        let result = gateway.invoke(call.clone()).await.unwrap();
        assert_eq!((result.server.as_str(), text(&result).as_str()), (preferred[0], "Echo: grüße 🦀"));

        self.first.1.kill().await;
        let result = gateway.invoke(call.clone()).await.unwrap();
        assert_eq!((result.server.as_str(), text(&result).as_str()), (preferred[1], "Echo: grüße 🦀"));
        let expected = [
            (preferred[0], Stage::Initialize, None),
            (preferred[0], Stage::Invoke, Some(ErrorCategory::TransportError)),
            (preferred[1], Stage::Initialize, None),
            (preferred[1], Stage::Invoke, None),
        ];
        assert_eq!(trace(&result.attempts), expected);

        let mut names = vec![preferred[0]];
        for (name, server) in self.others {
            server.kill().await;
            names.push(name);
        }
        for (name, link) in [self.links, vec![self.second]].concat() {
            std::fs::remove_file(link).unwrap();
            let pid = gateway.server(name).await.details["pid"].parse().unwrap();
            Process::of(pid).signal(Signal::KILL);
            let is_down = |server: &Server| server.connection_state != ConnectionState::Connected;
            gateway.until(name, "noticed to be gone", is_down).await;
            names.push(name);
        }
        let failure = gateway.invoke(call).await.unwrap_err().detail;
        assert_eq!((failure.code, failure.method.as_str()), (FailureCode::AllCandidatesFailed, "tools/call"));
        assert!(failure.attempts.iter().any(|attempt| !attempt.success), "{failure:?}");
        for name in names {
            let attempt = failure.attempts.iter().rfind(|attempt| attempt.server == name);
            let attempt = attempt.unwrap_or_else(|| panic!("{name} was not tried: {failure:?}"));
            assert!(!attempt.success && attempt.error.is_some(), "{attempt:?}");
            assert!(failure.message.contains(name), "{failure:?}");
        }
        let failed = gateway.cli(&["call", "echo", "message=hi"]).await.exits(1);
        assert_eq!(failed.says(&["every server that could be tried failed"]).stdout, "");
    }
}

/// Everything here is built from Rust.
#[tokio::test]
async fn m2_rust_peers_of_both_eras_and_transports() {
    let home = Home::new();
    let rmcp_http = HttpServer::announcing(Program::rmcp().with_args(["http"]).command()).await;
    let legacy_http = demo_over_http(&["--protocol", "legacy"]).await;
    let rmcp = home.link("rmcp", env!("CARGO_BIN_EXE_rmcp-server").as_ref());
    let modern = home.link("demo", binary::path());
    let configuration = Configuration::left_alone()
        .http("demo-http", &legacy_http.url(), "")
        .stdio("demo-stdio", &Program::at(&modern).with_args(["demo-server", "--protocol", "modern"]), "")
        .http("rmcp-http", &rmcp_http.url(), "priority = 90")
        .stdio("rmcp-stdio", &Program::at(&rmcp).with_args(["stdio", "--handshake-only"]), "");
    let gateway = Gateway::configured_at(home, &configuration).await;
    let rows = [
        row("demo-http", "http", LEGACY),
        row("demo-stdio", "stdio", MODERN),
        row("rmcp-http", "http", MODERN),
        row("rmcp-stdio", "stdio", LEGACY),
    ];
    assert_status(&gateway, &rows).await;
    for name in ["demo-http", "demo-stdio"] {
        call_on(&gateway, name, &["add", "a=40", "b=2"], r#"{"sum":42}"#).await;
    }
    for name in ["rmcp-http", "rmcp-stdio"] {
        call_on(&gateway, name, &["add", "a=40", "b=2"], "42").await;
    }
    let echoes = Echoes {
        first: ("rmcp-http", rmcp_http),
        second: ("rmcp-stdio", rmcp),
        others: vec![("demo-http", legacy_http)],
        links: vec![("demo-stdio", modern)],
    };
    echoes.fail_one_after_the_other(&gateway).await;
    gateway.stop().await;
}

/// Servers of the kind that people run today, and one of the newest revision.
#[tokio::test]
async fn published_peers_of_both_eras_and_transports() {
    let test = "failover between published servers";
    let Some(everything) = Program::node(test, "server-everything") else { return };
    let Some(time) = Program::python_module(test, "mcp_server_time") else { return };
    let Some(modern) = Program::python_sdk(test) else { return };
    let home = Home::new();
    let everything_http = HttpServer::on_free_port(|port| {
        let mut command = everything.clone().with_args(["streamableHttp"]).command();
        command.env("PORT", port.to_string());
        command
    })
    .await;
    let modern = HttpServer::announcing(modern.with_args(["http"]).command()).await;
    let rmcp = HttpServer::announcing(Program::rmcp().with_args(["http"]).command()).await;
    let endpoint = everything.endpoint();
    let node = home.link("node", endpoint.command.as_ref());
    let everything = Program::at(&node).with_args(endpoint.args.iter().map(String::as_str));
    let configuration = Configuration::left_alone()
        .http("everything-http", &everything_http.url(), "priority = 90")
        .stdio("everything-stdio", &everything.with_args(["stdio"]), "")
        .http("python", &modern.url(), "")
        .http("rmcp", &rmcp.url(), "")
        .stdio("time", &time, "");
    let gateway = Gateway::configured_at(home, &configuration).await;
    let rows = [
        row("everything-http", "http", LEGACY),
        row("everything-stdio", "stdio", LEGACY),
        row("python", "http", MODERN),
        row("rmcp", "http", MODERN),
        row("time", "stdio", MODERN),
    ];
    assert_status(&gateway, &rows).await;
    for name in ["everything-http", "everything-stdio"] {
        call_on(&gateway, name, &["get-sum", "a=40", "b=2"], "The sum of 40 and 2 is 42.").await;
    }
    for name in ["python", "rmcp"] {
        call_on(&gateway, name, &["add", "a=40", "b=2"], "42").await;
    }
    let convert = ["convert_time", "source_timezone=UTC", "time=12:00", "target_timezone=Asia/Tokyo"];
    call_on(&gateway, "time", &convert, "21:00:00+09:00").await;
    let echoes = Echoes {
        first: ("everything-http", everything_http),
        second: ("everything-stdio", node),
        others: vec![("python", modern), ("rmcp", rmcp)],
        links: Vec::new(),
    };
    echoes.fail_one_after_the_other(&gateway).await;
    call_on(&gateway, "time", &convert, "21:00:00+09:00").await;
    gateway.stop().await;
}

/// A server whose program does not exist is no reason not to start, and is said to be missing.
#[tokio::test]
async fn a_server_that_cannot_be_started_does_not_hold_up_the_others() {
    let configuration = Configuration::new("")
        .stdio("missing", &Program::at("/nowhere/mcp-server"), "priority = 90")
        .stdio("there", &demo(&[]), "");
    let gateway = Gateway::configured(&configuration).await;
    let result =
        gateway.invoke(json!({ "tool_name": "echo", "arguments": {"message": "hi"} })).await.unwrap();
    assert_eq!((result.server.as_str(), text(&result).as_str()), ("there", "hi"));
    let missing = gateway.until("missing", "found missing", |server| server.last_error.is_some()).await;
    assert!(missing.last_error.as_deref().unwrap().contains("/nowhere/mcp-server"), "{missing:?}");
    gateway.stop().await;
}
