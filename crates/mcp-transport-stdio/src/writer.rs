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
    line: Bytes,
    connection: &Connection,
    stall: Duration,
) -> Result<(), Option<PipeClosed>> {
    lines.begin(line);
    loop {
        // The time begins afresh with each part that finds room.
        let written = tokio::select! {
            biased;
            written = tokio::time::timeout(stall, lines.write_more()) => written,
            () = connection.reached(Phase::Ended) => return Err(None),
        };
        match written {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return Ok(()),
            Ok(Err(error)) => {
                return Err(Some(PipeClosed(format!("writing to the server failed: {error}"))));
            }
            Err(_) => {
                let text = format!("the server has not read its stdin for {stall:?}");
                connection.end(End::Lost(TransportErrorKind::Closed(text.into())));
                return Err(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::foreign::Foreign;
    use crate::queue::queue;

    #[tokio::test(start_paused = true)]
    async fn the_time_a_server_has_begins_with_what_it_read_last() {
        let (ours, mut theirs) = tokio::io::duplex(8);
        let (jobs, waiting) = queue(1, 100);
        let (done, outcome) = oneshot::channel();
        jobs.send(Job { line: Bytes::from_static(&[b'x'; 100]), done }, 100).await.unwrap();
        let connection = Arc::new(Connection::new(1, Foreign::default(), 100));
        let began = Instant::now();
        let reading = async {
            for _ in 0..3 {
                sleep(Duration::from_millis(700)).await;
                theirs.read_exact(&mut [0; 8]).await.unwrap();
            }
        };
        let writing = write(ours, waiting, connection.clone(), Duration::from_secs(1));
        let (closed, ()) = tokio::join!(writing, reading);
        assert!(closed.is_none());
        assert_eq!(began.elapsed(), Duration::from_millis(3 * 700 + 1000));
        assert_eq!(outcome.await.unwrap(), Err(Delivery::NotSent));
    }
}
