//! Servers that a test starts itself.

use std::net::Ipv4Addr;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;
use url::Url;

use crate::wait::{self, PATIENCE};

/// An HTTP server in a child process, killed when dropped.
///
/// It stays in the process group of the test, so that a test runner that gives up on the test reaches it.
#[derive(Debug)]
pub(crate) struct HttpServer {
    url: Url,
    /// Our peers over HTTP end when their standard input does, even if the test is killed.
    _stdin: Option<ChildStdin>,
    child: Child,
}

impl HttpServer {
    /// Starts a server that prints its URL as its first line.
    pub(crate) async fn announcing(mut command: Command) -> Self {
        let mut child = spawn(&mut command);
        forward(child.stderr.take());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = timeout(PATIENCE, lines.next_line())
            .await
            .unwrap_or_else(|_| panic!("{command:?} printed no URL within {PATIENCE:?}"))
            .unwrap()
            .unwrap_or_else(|| panic!("{command:?} ended before it printed its URL"));
        let url = first.parse().unwrap_or_else(|error| panic!("{first:?} is no URL: {error}"));
        forward_lines(lines);
        Self { url, _stdin: child.stdin.take(), child }
    }

    /// Starts a server that is told its port, which `command` puts where it belongs; its endpoint is `/mcp`.
    pub(crate) async fn on_free_port(command: impl Fn(u16) -> Command) -> Self {
        Self::on_free_port_at("/mcp", command).await
    }

    /// The same with another path of the endpoint.
    pub(crate) async fn on_free_port_at(path: &str, command: impl Fn(u16) -> Command) -> Self {
        // Between finding a free port and using it another process may take it; then the next one is tried.
        for _ in 0..5 {
            let port = free_port().await;
            let mut child = spawn(&mut command(port));
            forward(child.stderr.take());
            forward::<ChildStdout>(child.stdout.take());
            let listens = wait::until("the server to listen", async || match child.try_wait().unwrap() {
                Some(_) => Some(false),
                None => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok().then_some(true),
            });
            if listens.await {
                let url = format!("http://127.0.0.1:{port}{path}").parse().unwrap();
                return Self { url, _stdin: child.stdin.take(), child };
            }
        }
        panic!("the server ended five times before it listened; what it printed is above");
    }

    pub(crate) fn url(&self) -> Url {
        self.url.clone()
    }

    /// Its process, which has not been waited for.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Kills it, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

fn spawn(command: &mut Command) -> Child {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"))
}

async fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    listener.local_addr().unwrap().port()
}

/// Prints what the server prints, where the test runner shows it if the test fails.
fn forward<R: AsyncRead + Unpin + Send + 'static>(output: Option<R>) {
    forward_lines(BufReader::new(output.unwrap()).lines());
}

fn forward_lines<R: AsyncRead + Unpin + Send + 'static>(mut lines: Lines<BufReader<R>>) {
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            eprintln!("server: {line}");
        }
    });
}
