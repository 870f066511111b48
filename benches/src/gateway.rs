//! The gateway as users run it: its program, a configuration file, a process of its own.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1::handshake;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use mcp_protocol::Era;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::Failure;
use crate::cpu;
use crate::upstream::Upstream;

/// Longest time until the gateway must be ready.
const START: Duration = Duration::from_secs(20);

/// How often it is asked whether it is.
const ASK: Duration = Duration::from_millis(20);

/// A running gateway in front of some upstreams.
pub(crate) struct Gateway {
    process: Child,
    address: SocketAddr,
    /// Holds the configuration and the log.
    folder: TempDir,
}

impl Gateway {
    /// Starts `program` and waits until it is ready.
    pub(crate) async fn start(program: &Path, upstreams: &[Upstream]) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("mcp-gateway.toml");
        std::fs::write(&config, configuration(upstreams)?)?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let address = free_address().await?;
        let process = Command::new(program)
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .arg("--listen")
            .arg(address.to_string())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                format!("cannot start {}: {error}; `cargo xtask bench` builds it first", program.display())
            })?;
        let mut gateway = Self { process, address, folder };
        match tokio::time::timeout(START, gateway.ready()).await {
            Ok(Ok(())) => Ok(gateway),
            Ok(Err(error)) => Err(gateway.failed(&error.to_string())),
            Err(_) => Err(gateway.failed("it is not ready in time")),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Processor time used so far, where the system tells.
    pub(crate) fn cpu(&self) -> Option<Duration> {
        cpu::of_process(self.process.id()?)
    }

    /// Ends the process. It has no children and nothing to save.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        Ok(self.process.kill().await?)
    }

    async fn ready(&mut self) -> Result<(), Failure> {
        let mut asking = tokio::time::interval(ASK);
        loop {
            asking.tick().await;
            if let Some(status) = self.process.try_wait()? {
                return Err(format!("it ended with {status}").into());
            }
            // Not listening yet is no failure.
            if is_ready(self.address).await.unwrap_or(false) {
                return Ok(());
            }
        }
    }

    fn failed(&self, why: &str) -> Failure {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        format!("the gateway did not start: {why}\n{log}").into()
    }
}

/// The name of the server of an era in the configuration.
pub(crate) fn server_name(era: Era) -> &'static str {
    match era {
        Era::Handshake => "legacy",
        Era::Stateless => "modern",
    }
}

fn configuration(upstreams: &[Upstream]) -> Result<String, Failure> {
    let mut config = String::new();
    for upstream in upstreams {
        let name = server_name(upstream.era());
        writeln!(config, "[servers.{name}]")?;
        writeln!(config, "url = \"http://{}/mcp\"", upstream.address())?;
        writeln!(config, "protocol = \"{name}\"")?;
    }
    Ok(config)
}

/// A port nobody listens on. Somebody else could take it before the gateway does, which then says so.
async fn free_address() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?)
}

async fn is_ready(address: SocketAddr) -> Result<bool, Failure> {
    let stream = TcpStream::connect(address).await?;
    let (mut connection, driver) = handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(driver);
    let request = Request::get("/readyz").header(HOST, address.to_string()).body(Empty::<Bytes>::new())?;
    let status = connection.send_request(request).await?.status();
    driver.abort();
    Ok(status == StatusCode::OK)
}
