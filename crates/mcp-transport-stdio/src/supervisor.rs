//! The life of a server's process: notices its end, and brings it about.

use std::process::ExitStatus;
use std::sync::Arc;

use mcp_transport::TransportErrorKind;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;

use crate::connection::Phase;
use crate::connection::{Connection, End};
use crate::options::StdioOptions;
use crate::process::Process;
use crate::reader::EXIT_GRACE;

/// Why a pipe is no use any more.
#[derive(Debug)]
pub(crate) enum Loss {
    /// It was closed at the other end. Mostly the process has exited or is about to, and its exit status
    /// says more.
    PipeClosed(Box<str>),
    /// The server misbehaves.
    Unusable(TransportErrorKind),
}

impl Loss {
    /// What a task returns that stopped because the connection had ended. Nobody looks at it.
    pub(crate) fn after_end() -> Self {
        Self::PipeClosed("the connection has ended".into())
    }
}

/// Owns the process and the tasks at its pipes.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) process: Process,
    pub(crate) reader: JoinHandle<Loss>,
    pub(crate) writer: JoinHandle<Option<Loss>>,
    pub(crate) stderr: JoinHandle<()>,
    pub(crate) connection: Arc<Connection>,
    pub(crate) options: Arc<StdioOptions>,
}

/// What happened first.
enum Event {
    Exited,
    CloseAsked,
    Lost(Loss),
}

impl Supervisor {
    /// Runs until nothing of the server is left.
    pub(crate) async fn run(mut self) {
        // Also if the runtime drops this future half-way: whoever waits for the end must not wait for ever.
        let _gone = Goner(Arc::clone(&self.connection));
        match self.first_event().await {
            Event::Exited => {}
            Event::CloseAsked => self.stop().await,
            Event::Lost(Loss::PipeClosed(text)) => {
                if timeout(EXIT_GRACE, self.process.exited()).await.is_err() {
                    let text = format!("{text}{}", self.last_words());
                    self.connection.end(End::Lost(TransportErrorKind::Closed(text.into())));
                    self.stop().await;
                }
            }
            Event::Lost(Loss::Unusable(kind)) => {
                self.connection.end(End::Lost(kind));
                self.stop().await;
            }
        }
        let deadline = tokio::time::Instant::now() + self.options.reap;
        let status = self.process.finish(self.options.reap).await;
        if status.is_none() {
            tracing::warn!(pid = self.connection.pid(), "server process survives being killed");
        }
        // The last words of the server belong into the error.
        let _ = timeout(EXIT_GRACE, ended(&mut self.stderr)).await;
        self.stderr.abort();
        let exit = format!("{}{}", describe(status), self.last_words());
        self.connection.end(End::Lost(TransportErrorKind::Exited(exit.into())));
        if self.connection.loss().is_none() {
            // Nobody takes what is left to read. After a loss, somebody may: the reader ends by itself.
            let _ = timeout(EXIT_GRACE, ended(&mut self.reader)).await;
            self.reader.abort();
        }
        if status.is_some() && tokio::time::timeout_at(deadline, self.process.gone()).await.is_err() {
            tracing::warn!(
                pid = self.connection.pid(),
                "processes of the server's group survive being killed"
            );
        }
    }

    async fn first_event(&mut self) -> Event {
        tokio::select! {
            biased;
            () = self.connection.reached(Phase::Stopping) => Event::CloseAsked,
            () = self.process.exited() => Event::Exited,
            loss = &mut self.reader => Event::Lost(loss.unwrap_or_else(Loss::from)),
            Some(loss) = async { (&mut self.writer).await.unwrap_or_else(|error| Some(error.into())) } => {
                Event::Lost(loss)
            }
        }
    }

    /// Lets the server exit: the writer closes stdin, then the group is told to terminate.
    async fn stop(&mut self) {
        let exited = timeout(self.options.close_stdin, self.process.exited()).await.is_ok();
        if exited && timeout(EXIT_GRACE, self.pipes_closed()).await.is_ok() {
            return;
        }
        self.process.terminate();
        let all_gone = async {
            self.process.exited().await;
            // Of a wrapper such as `npx` the server itself may still be at work: it holds the pipes.
            ended(&mut self.reader).await;
            ended(&mut self.stderr).await;
        };
        let _ = timeout(self.options.terminate, all_gone).await;
    }

    /// Waits until nobody writes to us any more.
    async fn pipes_closed(&mut self) {
        ended(&mut self.reader).await;
        ended(&mut self.stderr).await;
    }

    fn last_words(&self) -> String {
        self.connection.stderr_lines(1).pop().map(|line| format!("; stderr: {line}")).unwrap_or_default()
    }
}

/// Says that everything is over when dropped.
struct Goner(Arc<Connection>);

impl Drop for Goner {
    fn drop(&mut self) {
        self.0.gone();
    }
}

impl From<JoinError> for Loss {
    fn from(error: JoinError) -> Self {
        Self::Unusable(TransportErrorKind::Closed(format!("a task of the connection failed: {error}").into()))
    }
}

/// Waits for a task that may have been waited for before.
async fn ended<T>(task: &mut JoinHandle<T>) {
    if !task.is_finished() {
        let _ = task.await;
    }
}

/// `exit status 1`, `signal 9 (SIGKILL)`, …
fn describe(status: Option<ExitStatus>) -> String {
    match status {
        Some(status) => status.to_string().replacen(": ", " ", 1),
        None => "exit status unknown".to_owned(),
    }
}
