//! `mcp-gateway stdio`, as a client has it that starts its servers itself.

use std::process::{ExitStatus, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

use super::configuration::{Configuration, demo};
use super::home::Home;
use super::process::Process;
use crate::wait::{self, PATIENCE};

struct Pipe {
    home: Home,
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Pipe {
    /// Starts the gateway and introduces itself.
    async fn open(servers: &[&str]) -> Self {
        let home = Home::new();
        home.write("mcp-gateway.toml", file(servers).text());
        let mut command = home.command(&["stdio"]);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut pipe = Self { home, child, stdin, stdout: BufReader::new(stdout).lines() };
        let client = json!({ "name": "test", "version": "0" });
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client });
        let answer = pipe.ask(json!({ "id": 0, "method": "initialize", "params": params })).await;
        assert_eq!(answer["result"]["protocolVersion"], "2025-11-25", "{answer}");
        pipe
    }

    async fn write(&mut self, line: &str) {
        self.stdin.write_all(line.as_bytes()).await.unwrap();
        self.stdin.write_all(b"\n").await.unwrap();
    }

    /// The next line of stdout, which is a message whatever happens.
    async fn read(&mut self) -> Value {
        let line = timeout(PATIENCE, self.stdout.next_line()).await.expect("a line comes").unwrap().unwrap();
        let message: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(message["jsonrpc"], "2.0", "{line}");
        message
    }

    /// Asks, and skips what is told before the answer.
    async fn ask(&mut self, mut request: Value) -> Value {
        request["jsonrpc"] = "2.0".into();
        self.write(&request.to_string()).await;
        loop {
            let message = self.read().await;
            if message["id"] == request["id"] {
                return message;
            }
        }
    }

    /// Waits until a server has its tools in the list.
    async fn has_tools_of(&mut self, server: &str) {
        let name = format!("{server}__echo");
        wait::until(&name, async || {
            let listed = self.ask(json!({ "id": 1, "method": "tools/list" })).await;
            let tools = listed["result"]["tools"].as_array().unwrap();
            tools.iter().any(|tool| tool["name"] == *name).then_some(())
        })
        .await;
    }

    fn signal(&self, signal: Signal) {
        Process::of(self.child.id().unwrap()).signal(signal);
    }

    fn servers(&self) -> Vec<Process> {
        Process::started_by(self.child.id().unwrap())
    }

    async fn ended(mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.expect("it ends").unwrap()
    }
}

fn file(servers: &[&str]) -> Configuration {
    servers.iter().fold(Configuration::new(""), |file, name| file.stdio(name, &demo(&[]), ""))
}

#[tokio::test]
async fn both_eras_share_a_pipe_that_ends_with_its_client() {
    let mut pipe = Pipe::open(&["one"]).await;
    pipe.has_tools_of("one").await;
    let call = json!({ "name": "one__echo", "arguments": { "message": "hello" } });
    let answer = pipe.ask(json!({ "id": 2, "method": "tools/call", "params": call })).await;
    assert_eq!(answer["result"]["content"][0]["text"], "hello", "{answer}");
    let mut call = call;
    call["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let answer = pipe.ask(json!({ "id": "2", "method": "tools/call", "params": call })).await;
    assert_eq!(answer["result"]["resultType"], "complete", "{answer}");
    pipe.write("no message").await;
    pipe.write("").await;
    assert_eq!(pipe.read().await["error"]["code"], -32700);
    let servers = pipe.servers();
    let Pipe { home: _home, mut child, stdin, mut stdout } = pipe;
    drop(stdin);
    assert_eq!(timeout(PATIENCE, stdout.next_line()).await.unwrap().unwrap(), None);
    assert!(timeout(PATIENCE, child.wait()).await.unwrap().unwrap().success());
    assert!(!servers.is_empty());
    Process::all_gone(&servers).await;
}

#[tokio::test]
async fn sigterm_ends_it_while_its_client_stays() {
    let mut pipe = Pipe::open(&["one"]).await;
    pipe.has_tools_of("one").await;
    let servers = pipe.servers();
    pipe.signal(Signal::TERM);
    assert!(pipe.ended().await.success());
    Process::all_gone(&servers).await;
}

#[tokio::test]
async fn sighup_has_it_read_its_configuration_again() {
    let mut pipe = Pipe::open(&["one"]).await;
    pipe.home.write("mcp-gateway.toml", file(&["one", "two"]).text());
    pipe.signal(Signal::HUP);
    pipe.has_tools_of("two").await;
    pipe.signal(Signal::TERM);
    assert!(pipe.ended().await.success());
}
