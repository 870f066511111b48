//! The demo servers a gateway without configuration starts with.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use mcp_registry::{Definition, ServerName};
use mcp_transport::{Endpoint, HttpEndpoint, StdioEndpoint};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long a demo server may take to say where it listens.
const START: Duration = Duration::from_secs(10);
/// Longest address line.
const MAX_LINE: u64 = 256;

/// What went wrong while starting the demo servers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error("the demo server could not be started")]
    Spawn(#[source] io::Error),
    #[error("the demo server did not say where it listens")]
    NoAddress,
    #[error(transparent)]
    Name(#[from] mcp_registry::InvalidServerName),
}

/// Two servers with the same tools: `demo-1` over HTTP, a process of its own that stays dead once it is
/// killed, and `demo-2`, a stdio child that the gateway brings back.
pub(crate) struct DemoServers {
    pub(crate) definitions: Vec<Definition>,
    first: Child,
}

impl DemoServers {
    pub(crate) async fn start() -> Result<Self, DemoError> {
        let program = std::env::current_exe().map_err(DemoError::Spawn)?;
        let (first, url) = over_http(&program, "demo-1").await?;
        let over_http = Endpoint::Http(HttpEndpoint::new(url.parse().map_err(|_| DemoError::NoAddress)?));
        let args = ["demo-server", "--name", "demo-2"];
        let over_stdio = Endpoint::Stdio(StdioEndpoint::new(program.to_string_lossy(), args));
        let definition = |name: &str, endpoint| -> Result<_, DemoError> {
            let mut definition = Definition::new(name.parse::<ServerName>()?, endpoint);
            definition.group = Some("demo".parse()?);
            definition.discover_tools = true;
            Ok(definition)
        };
        let definitions = vec![definition("demo-1", over_http)?, definition("demo-2", over_stdio)?];
        tracing::info!(url, pid = first.id(), "demo-1 runs");
        Ok(Self { definitions, first })
    }

    /// Ends the process that is ours; the stdio child is the manager's.
    pub(crate) async fn stop(mut self) {
        // Its stdin closes with the handle, which is the signal it waits for.
        drop(self.first.stdin.take());
        if timeout(Duration::from_secs(2), self.first.wait()).await.is_err() {
            let _ = self.first.kill().await;
        }
    }
}

/// Starts a demo server on a free port and reads from its stdout where it listens.
async fn over_http(program: &Path, name: &str) -> Result<(Child, String), DemoError> {
    let mut child = Command::new(program)
        .args(["demo-server", "--transport", "http", "--listen", "127.0.0.1:0", "--until-stdin-closes"])
        .args(["--name", name])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(DemoError::Spawn)?;
    let stdout = child.stdout.take().ok_or(DemoError::NoAddress)?;
    let mut line = String::new();
    let mut reader = BufReader::new(stdout.take(MAX_LINE));
    match timeout(START, reader.read_line(&mut line)).await {
        Ok(Ok(1..)) => Ok((child, line.trim().to_owned())),
        _ => Err(DemoError::NoAddress),
    }
}
