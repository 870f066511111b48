//! The life of a server's process: notices its end, and brings it about.

use std::process::ExitStatus;
use std::sync::Arc;

use mcp_transport::TransportErrorKind;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::connection::Phase;
use crate::connection::{Connection, End};
use crate::options::StdioOptions;
use crate::process::Process;
use crate::reader::EXIT_GRACE;

/// A pipe was closed at the other end. Mostly the process has exited or is about to, and its exit status
/// says more than this text.
#[derive(Debug)]
pub(crate) struct PipeClosed(pub(crate) String);

/// Owns the process and the tasks at its pipes.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) process: Process,
    pub(crate) reader: JoinHandle<Option<PipeClosed>>,
    pub(crate) writer: JoinHandle<Option<PipeClosed>>,
    pub(crate) stderr: JoinHandle<()>,
    pub(crate) connection: Arc<Connection>,
    pub(crate) options: Arc<StdioOptions>,
}

/// What happened first.
enum Event {
    Exited,
    /// It is to be closed, or a task has ended it because the server misbehaves.
    Ending,
    Closed(PipeClosed),
}

impl Supervisor {
    /// Runs until nothing of the server is left.
    pub(crate) async fn run(mut self) {
        // Also if the runtime drops this future half-way: whoever waits for the end must not wait for ever.
        let _gone = Goner(Arc::clone(&self.connection));
        match self.first_event().await {
            Event::Exited => {}
            Event::Ending => self.stop().await,
            Event::Closed(PipeClosed(text)) => {
                if timeout(EXIT_GRACE, self.process.exited()).await.is_err() {
                    let text = format!("{text}{}", self.last_words());
                    self.connection.end(End::Lost(TransportErrorKind::Closed(text.into())));
                    self.stop().await;
                }
            }
        }
        let deadline = tokio::time::Instant::now() + self.options.reap;
        let status = self.process.finish(self.options.reap).await;
        if status.is_none() {
            self.connection.ends_unclean("its process survives being killed");
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
        if status.is_some() && tokio::time::timeout_at(deadline, self.process.gone()).await != Ok(true) {
            self.connection.ends_unclean("processes that it started survive being killed");
            tracing::warn!(
                pid = self.connection.pid(),
                "processes that the server started survive being killed"
            );
        }
    }

    async fn first_event(&mut self) -> Event {
        tokio::select! {
            biased;
            () = self.connection.reached(Phase::Stopping) => Event::Ending,
            () = self.process.exited() => Event::Exited,
            Some(closed) = outcome(&mut self.reader) => Event::Closed(closed),
            Some(closed) = outcome(&mut self.writer) => Event::Closed(closed),
        }
    }

    /// Lets the server exit: the writer closes stdin, then the group is told to terminate.
    async fn stop(&mut self) {
        let exited = timeout(self.options.close_stdin, self.process.exited()).await.is_ok();
        if exited && timeout(EXIT_GRACE, self.pipes_closed()).await.is_ok() {
            return;
        }
        self.process.terminate();
        let limit = self.options.terminate;
        let all_gone = async {
            self.process.exited().await;
            // Of a wrapper such as `npx` the server itself may still be at work: it holds the pipes.
            self.pipes_closed().await;
        };
        if timeout(limit, all_gone).await.is_err() {
            self.connection.ends_unclean("its process, or one that it started, had to be killed");
        }
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

async fn outcome(task: &mut JoinHandle<Option<PipeClosed>>) -> Option<PipeClosed> {
    task.await.unwrap_or_else(|error| Some(PipeClosed(format!("a task of the connection failed: {error}"))))
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
