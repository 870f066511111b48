//! The command line: its errors and exit codes, and calls without a gateway.

use super::binary;
use super::configuration::{Configuration, demo, demo_over_http};
use super::home::Home;
use super::process::Process;
use super::running::Gateway;
use crate::peers::Program;
use crate::process::HttpServer;

#[tokio::test]
async fn what_cannot_be_done_is_said_and_has_its_exit_code() {
    let gateway = Gateway::configured(&Configuration::new("").stdio("demo", &demo(&[]), "")).await;
    gateway.all_healthy().await;
    for (args, code, said) in [
        (&["call", "nothing"][..], 1, "offers the tool"),
        (&["call", "fail", "message=out of paper"], 1, "the tool reports an error"),
        (&["call", "add", "a=1", "b=2", "--server", "nobody", "--only"], 1, "no server is reachable"),
        (&["call", "rpc_error", "code=-32602"], 1, "demo invoke rpc_error"),
        (&["servers", "get", "nobody"], 1, "nobody"),
        (&["servers", "remove", "nobody"], 1, "nobody"),
        (&["servers", "add", "x", "--command", "true"], 1, "allow_stdio_registration"),
        (&["call", "add", "{\"a\":"], 2, "not valid JSON"),
        (&["call", "add", "[1]"], 2, "neither key=value nor a JSON object"),
        (&["call", "add", "a"], 2, "neither key=value nor a JSON object"),
        (&["call"], 2, "<TOOL>"),
        (&["call", "add", "--timeout", "0"], 2, "--timeout"),
        (&["servers", "add", "x", "ftp://x"], 2, "url"),
        (&["frobnicate"], 2, "frobnicate"),
    ] {
        let outcome = gateway.cli(args).await.exits(code).says(&[said]);
        assert!(args.contains(&"fail") || outcome.stdout.is_empty(), "{args:?}: {outcome:?}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn what_answers_elsewhere_is_no_gateway() {
    let home = Home::new();
    let server = demo_over_http(&[]).await;
    let url = server.url().join("/").unwrap();
    home.run(&["status", "--url", url.as_str()]).await.exits(3).says(&["is not an mcp-gateway"]);
    server.kill().await;
    for args in
        [&["status"][..], &["tools"], &["call", "echo", "message=hi"], &["events"], &["servers", "check"]]
    {
        let args = [args, &["--url", url.as_str()]].concat();
        let outcome = home.run(&args).await.exits(3).says(&["no gateway at", "mcp-gateway serve"]);
        assert_eq!(outcome.stdout, "");
    }
    home.run(&["status", "--url", "gateway.test"]).await.exits(2).says(&["is not the URL of a gateway"]);
}

#[tokio::test]
async fn servers_are_registered_checked_and_removed() {
    let gateway = Gateway::configured(&Configuration::new("")).await;
    gateway.cli(&["status"]).await.exits(0).prints(&["0 servers"]);
    gateway.cli(&["call", "echo", "message=hi"]).await.exits(1).says(&["no server is reachable"]);
    let server = demo_over_http(&["--name", "late"]).await;
    let url = server.url();
    gateway.cli(&["servers", "add", "late", url.as_str(), "group=search", "priority=70"]).await.exits(0);
    gateway.cli(&["servers", "connect", "late"]).await.exits(0).prints(&["late"]);
    gateway.cli(&["servers", "check"]).await.exits(0).prints(&["late"]);
    gateway.cli(&["servers", "get", "late"]).await.exits(0).prints(&[
        "group search",
        "priority 70",
        "healthy",
    ]);
    gateway.cli(&["tools", "--server", "late"]).await.exits(0).prints(&["add", "whoami"]);
    gateway.cli(&["call", "whoami", "--group", "search"]).await.exits(0).prints(&[r#""server":"late""#]);
    server.kill().await;
    gateway.cli(&["servers", "check", "late"]).await.exits(1).prints(&["late"]);
    gateway.cli(&["servers", "remove", "late"]).await.exits(0);
    gateway.cli(&["status"]).await.exits(0).prints(&["0 servers"]);
    gateway.stop().await;
}

#[tokio::test]
async fn a_call_needs_no_gateway() {
    let home = Home::new();
    let command = shlex(&[binary::path().to_str().unwrap(), "demo-server", "--name", "alone"]);
    let called = home.run(&["call", "whoami", "--server-command", &command]).await.exits(0);
    let who: serde_json::Value = called.json();
    assert_eq!(who["server"], "alone");
    let left = format!("/proc/{}", who["pid"]);
    assert!(!std::path::Path::new(&left).exists(), "the server is still there: {called:?}");
    home.run(&["tools", "--server-command", &command]).await.exits(0).prints(&["whoami"]);

    let server = demo_over_http(&["--protocol", "legacy"]).await;
    let url = server.url();
    let whoami = ["call", "whoami", "--server-url", url.as_str()];
    home.run(&whoami).await.exits(0).prints(&[r#""era":"legacy""#]);
    home.run(&["tools", "--server-url", url.as_str(), "--json"]).await.exits(0).prints(&["whoami"]);
    server.kill().await;
    home.run(&whoami).await.exits(1).says(&["initialize transport_error"]);
    home.run(&["tools", "--server-url", url.as_str()]).await.exits(1).says(&["cannot connect"]);

    home.run(&["call", "x", "--server-command", "/nowhere/mcp-server"])
        .await
        .exits(1)
        .says(&["/nowhere/mcp-server"]);
    home.run(&["call", "x", "--server-command", "a 'b"]).await.exits(2).says(&["a quote without its end"]);
    home.run(&["call", "x", "--server-url", "nothing"]).await.exits(2).says(&["nothing"]);
}

/// With several servers in a file, the call goes to one that has the tool; the others end with the command, too.
#[tokio::test]
async fn a_call_needs_no_gateway_but_may_have_a_file() {
    let home = Home::new();
    let rmcp = HttpServer::announcing(Program::rmcp().with_args(["http"]).command()).await;
    // A name to find their processes by.
    let name = home.path().to_str().unwrap();
    let configuration = Configuration::new("")
        .http("rmcp", &rmcp.url(), "priority = 90")
        .stdio("demo", &demo(&["--name", name]), "")
        .stdio("other", &demo(&["--name", name]), "");
    home.write("servers.toml", configuration.text());
    let called = home.run(&["call", "whoami", "--config", "servers.toml", "--json"]).await.exits(0);
    let result: mcp_api_types::InvocationResult = called.json();
    assert_eq!(result.server, "demo");
    home.run(&["call", "echo", "message=hi", "--config", "servers.toml"])
        .await
        .exits(0)
        .prints(&["Echo: hi"]);
    home.run(&["tools", "--config", "servers.toml"]).await.exits(0).prints(&["whoami", "slow"]);
    assert_eq!(Process::started_with(name), []);
}

fn shlex(words: &[&str]) -> String {
    words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ")
}
