//! Programs that stand between callers and upstreams, each a process of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use hyper::StatusCode;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::{Instant, MissedTickBehavior};

use crate::Failure;
use crate::connection::Connection;
use crate::usage;

/// Longest time until a program must be ready.
const START: Duration = Duration::from_secs(60);

/// How often it is asked whether it is.
const ASK: Duration = Duration::from_millis(2);

/// A running program that listens on a port.
pub(crate) struct Running {
    name: &'static str,
    process: Child,
    id: u32,
    address: SocketAddr,
    started: Instant,
    /// Holds the configuration and the log.
    folder: TempDir,
}

impl Running {
    /// Starts the floor proxy in front of `upstream`: `--url` and a URL, or `--` and a command.
    pub(crate) async fn floor(program: &Path, upstream: &[&str]) -> Result<Self, Failure> {
        Self::spawn("floor", program, tempfile::tempdir()?, |address| {
            ["--listen".to_owned(), address.to_string()]
                .into_iter()
                .chain(upstream.iter().map(|&arg| arg.to_owned()))
                .collect()
        })
        .await
    }

    /// Starts the gateway with this configuration file and default settings.
    pub(crate) async fn gateway(program: &Path, configuration: &str) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("mcp-gateway.toml"), configuration)?;
        Self::spawn("gateway", program, folder, |address| {
            ["serve", "--config", "mcp-gateway.toml", "--listen"]
                .map(str::to_owned)
                .into_iter()
                .chain([address.to_string()])
                .collect()
        })
        .await
    }

    async fn spawn(
        name: &'static str,
        program: &Path,
        folder: TempDir,
        args: impl FnOnce(SocketAddr) -> Vec<String>,
    ) -> Result<Self, Failure> {
        let log = std::fs::File::create(folder.path().join("log"))?;
        let address = free_address().await?;
        let started = Instant::now();
        let process = Command::new(program)
            .args(args(address))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                format!("cannot start {}: {error}; `cargo xtask bench` builds it first", program.display())
            })?;
        let id = process.id().ok_or("the process has ended already")?;
        Ok(Self { name, process, id, address, started, folder })
    }

    /// Waits until `is_ready` says so; says how long it took since the start.
    pub(crate) async fn until(
        &mut self,
        mut is_ready: impl AsyncFnMut(SocketAddr) -> Result<bool, Failure>,
    ) -> Result<Duration, Failure> {
        let mut asking = tokio::time::interval(ASK);
        // Asking must not become what the program is busy with.
        asking.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = String::from("no answer");
        loop {
            asking.tick().await;
            if let Some(status) = self.process.try_wait()? {
                return Err(self.failed(&format!("it ended with {status}")));
            }
            // Not listening yet is no failure.
            match is_ready(self.address).await {
                Ok(true) => return Ok(self.started.elapsed()),
                Ok(false) => {}
                Err(error) => last = error.to_string(),
            }
            if self.started.elapsed() > START {
                return Err(self.failed(&format!("it is not ready in time: {last}")));
            }
        }
    }

    /// Waits until it takes connections.
    pub(crate) async fn listening(&mut self) -> Result<(), Failure> {
        self.until(async |address| Connection::open(address).await.map(|_| true)).await.map(drop)
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn ready(&mut self) -> Result<(), Failure> {
        self.until(async |address| {
            let mut connection = Connection::open(address).await?;
            Ok(connection.get("/readyz").await? == StatusCode::OK)
        })
        .await
        .map(drop)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Memory it uses, in bytes, where the system tells.
    pub(crate) fn memory(&self) -> Option<u64> {
        usage::memory(self.id)
    }

    /// Ends the process. What it has started ends when its pipes close.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        Ok(self.process.kill().await?)
    }

    fn failed(&self, why: &str) -> Failure {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        format!("the {} did not start: {why}\n{log}", self.name).into()
    }
}

/// A port nobody listens on. Somebody else could take it before the program does, which then says so.
async fn free_address() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?)
}
