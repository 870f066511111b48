//! From the queue to stdin.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mcp_transport::{Delivery, TransportErrorKind};
use tokio::io::AsyncWrite;
use tokio::sync::oneshot;

use crate::connection::{Connection, End, Phase};
use crate::framing::LineWriter;
use crate::queue::Receiver;
use crate::supervisor::PipeClosed;

/// A line to write, and whom to tell. The connection's end says why a line was not written.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) line: Bytes,
    pub(crate) done: oneshot::Sender<Result<(), Delivery>>,
}

/// Writes lines until the connection stops, then closes the stream. Returns why the stream could not be
/// written to any more, or `None` if it could.
pub(crate) async fn write(
    stdin: impl AsyncWrite + Unpin,
    mut jobs: Receiver<Job>,
    connection: Arc<Connection>,
    stall: Duration,
) -> Option<PipeClosed> {
    let mut lines = LineWriter::new(stdin);
    let mut open = true;
    let closed = loop {
        let job = tokio::select! {
            biased;
            // What was accepted before is still written.
            () = connection.reached(Phase::Stopping), if open => {
                open = false;
                jobs.close();
                continue;
            }
            job = jobs.recv() => job,
        };
        let Some(Job { line, done }) = job else { break None };
        if done.is_closed() {
            continue; // The caller gave up before the line was begun: as if it had never been sent.
        }
        match write_line(&mut lines, line, &connection, stall).await {
            Ok(()) => {
                let _ = done.send(Ok(()));
            }
            Err(closed) => {
                // Without its last byte a message is no JSON: nobody can have acted on it.
                let incomplete = lines.unwritten() > 1;
                let _ = done.send(Err(if incomplete { Delivery::NotSent } else { Delivery::Unknown }));
                break closed;
            }
        }
    };
    jobs.close();
    while let Some(job) = jobs.try_recv() {
        let _ = job.done.send(Err(Delivery::NotSent));
    }
    closed
}

async fn write_line(
    lines: &mut LineWriter<impl AsyncWrite + Unpin>,
    mut line: Bytes,
    connection: &Connection,
    stall: Duration,
) -> Result<(), Option<PipeClosed>> {
    let mut unwritten = line.len();
    loop {
        // After a pause the same line is continued: the rest is with the writer.
        let writing = tokio::time::timeout(stall, lines.write_line(std::mem::take(&mut line)));
        let written = tokio::select! {
            biased;
            written = writing => written,
            () = connection.reached(Phase::Ended) => return Err(None),
        };
        match written {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => {
                return Err(Some(PipeClosed(format!("writing to the server failed: {error}"))));
            }
            Err(_) if lines.unwritten() < unwritten => unwritten = lines.unwritten(),
            Err(_) => {
                let text = format!("the server has not read its stdin for {stall:?}");
                connection.end(End::Lost(TransportErrorKind::Closed(text.into())));
                return Err(None);
            }
        }
    }
}
