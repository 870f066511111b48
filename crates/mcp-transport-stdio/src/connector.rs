//! Starts servers.

use std::sync::Arc;

use futures::future::BoxFuture;
use mcp_transport::{
    Connector, Delivery, Endpoint, StdioEndpoint, Transport, TransportError, TransportErrorKind,
};
use secrecy::SecretString;
use tracing::Instrument;

use crate::command::{command, spawn_failure};
use crate::connection::Connection;
use crate::environment::{environment, variable};
use crate::foreign::Foreign;
use crate::options::StdioOptions;
use crate::process::Process;
use crate::queue::queue;
use crate::reader::Reader;
use crate::supervisor::Supervisor;
use crate::transport::StdioTransport;
use crate::{stderr, writer};

/// Starts a process for every connection and speaks MCP with it over its stdin and stdout.
#[derive(Debug, Clone, Default)]
pub struct StdioConnector {
    options: Arc<StdioOptions>,
}

impl StdioConnector {
    /// A connector whose connections have these limits and timings.
    #[must_use]
    pub fn new(options: StdioOptions) -> Self {
        Self { options: Arc::new(options) }
    }

    /// Starts the process of an endpoint. Must be called within a tokio runtime with I/O and time enabled.
    ///
    /// The program is started directly, never through a shell, in a process group of its own. It gets the
    /// three pipes and an environment made of allow-listed variables (`PATH`, `HOME`, `LANG`, …),
    /// `inherit_env` and `env`, and on Unix `MCP_STDIO_OWNER`, by which its processes are found again. If this
    /// process is killed, a watchdog ends them. Source: contract §7.8.
    ///
    /// # Errors
    /// [`TransportErrorKind::Endpoint`] if the endpoint cannot work as it is: no such program, not
    /// executable, no such working directory, a refused variable. [`TransportErrorKind::Connect`] if the
    /// system could not start it now. Delivery is always [`Delivery::NotSent`].
    pub fn open(&self, endpoint: &StdioEndpoint) -> Result<StdioTransport, TransportError> {
        let variables =
            environment(std::env::vars_os(), endpoint, &self.options.allow_env).map_err(refused)?;
        let inherited = endpoint.inherit_env.iter().filter_map(|name| variable(&variables, name)?.to_str());
        let foreign = Foreign::new(inherited.map(SecretString::from).chain(endpoint.env.values().cloned()));
        let command = command(endpoint, &variables).map_err(refused)?;
        let (process, pipes) = Process::spawn(command).map_err(|error| {
            let (text, transient) = spawn_failure(&endpoint.command, &error);
            if transient { not_sent(TransportErrorKind::Connect(text.into())) } else { refused(text) }
        })?;

        let options = &self.options;
        let connection = Arc::new(Connection::new(process.id(), foreign, options.stderr_bytes));
        let group = process.group();
        let (outgoing, jobs) = queue(options.queue_messages, options.queue_bytes);
        let (delivered, inbox) = queue(options.queue_messages, options.queue_bytes);
        let reader = Reader::new(pipes.stdout, delivered, Arc::clone(&connection), Arc::clone(options));
        let writer = writer::write(pipes.stdin, jobs, Arc::clone(&connection), options.write_stall);
        let drain = stderr::drain(pipes.stderr, Arc::clone(&connection));
        let supervisor = Supervisor {
            process,
            // The tasks log in the span of whoever connected.
            reader: tokio::spawn(reader.run().in_current_span()),
            writer: tokio::spawn(writer.in_current_span()),
            stderr: tokio::spawn(drain.in_current_span()),
            connection: Arc::clone(&connection),
            options: Arc::clone(options),
        };
        tokio::spawn(supervisor.run().in_current_span());
        tracing::debug!(pid = connection.pid(), program = endpoint.command, "server process started");
        Ok(StdioTransport::new(connection, group, outgoing, inbox, options.limits.max_bytes))
    }
}

impl Connector for StdioConnector {
    fn supports(&self, endpoint: &Endpoint) -> bool {
        matches!(endpoint, Endpoint::Stdio(_))
    }

    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
    ) -> BoxFuture<'a, Result<Box<dyn Transport>, TransportError>> {
        Box::pin(async move {
            match endpoint {
                Endpoint::Stdio(endpoint) => Ok(Box::new(self.open(endpoint)?) as Box<dyn Transport>),
                other => Err(refused(format!(
                    "the stdio transport cannot reach an endpoint of kind {}",
                    other.kind()
                ))),
            }
        })
    }
}

fn refused(text: String) -> TransportError {
    not_sent(TransportErrorKind::Endpoint(text.into()))
}

fn not_sent(kind: TransportErrorKind) -> TransportError {
    TransportError::new(kind, Delivery::NotSent)
}
