//! From the queue to stdin.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use mcp_transport::{Delivery, TransportErrorKind};
use tokio::io::AsyncWrite;
use tokio::sync::oneshot;
use tokio::time::Instant;

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

/// Bytes up to which lines are put together and written at once. A pipe usually holds more, so a line whose caller gives
/// up while a server does not read is rarely part of what was begun.
const JOINED: usize = 16 * 1024;

/// A write this soon after another is one of many: whoever else is about to write gets a chance to be part of it.
const BUSY: Duration = Duration::from_micros(100);

/// Whom to tell about a line, and where it ends in the text that is being written.
struct Caller {
    end: usize,
    done: oneshot::Sender<Result<(), Delivery>>,
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
    let mut callers = VecDeque::new();
    let mut next = None;
    let mut written: Option<Instant> = None;
    let mut open = true;
    let mut stopping = pin!(connection.reached(Phase::Stopping));
    let closed = loop {
        let job = match next.take() {
            Some(job) => Some(job),
            None => tokio::select! {
                biased;
                // What was accepted before is still written.
                () = stopping.as_mut(), if open => {
                    open = false;
                    jobs.close();
                    continue;
                }
                job = jobs.recv() => job,
            },
        };
        let Some(job) = job else { break None };
        if written.is_some_and(|written| written.elapsed() < BUSY) {
            tokio::task::yield_now().await;
        }
        if job.done.is_closed() {
            continue; // The caller gave up before the line was begun: as if it had never been sent.
        }
        let text;
        (text, next) = gather(job, &mut jobs, &mut callers);
        if let Err(closed) = write_text(&mut lines, text, &mut callers, &connection, stall).await {
            break closed;
        }
        written = Some(Instant::now());
    };
    jobs.close();
    let unbegun = next.into_iter().chain(std::iter::from_fn(|| jobs.try_recv()));
    for job in unbegun {
        let _ = job.done.send(Err(Delivery::NotSent));
    }
    closed
}

/// Takes what waits behind a line and can be written together with it. Gives all of it as one text, and what was
/// taken and did not fit.
fn gather(first: Job, jobs: &mut Receiver<Job>, callers: &mut VecDeque<Caller>) -> (Bytes, Option<Job>) {
    let line = first.line;
    callers.push_back(Caller { end: line.len(), done: first.done });
    let mut joined = BytesMut::new();
    while let Some(Job { line: another, done }) = jobs.try_recv() {
        if done.is_closed() {
            continue;
        }
        let end = line.len().max(joined.len()) + another.len();
        if end > JOINED {
            let text = if joined.is_empty() { line } else { joined.freeze() };
            return (text, Some(Job { line: another, done }));
        }
        if joined.is_empty() {
            joined.reserve(JOINED);
            joined.put_slice(&line);
        }
        joined.put_slice(&another);
        callers.push_back(Caller { end, done });
    }
    (if joined.is_empty() { line } else { joined.freeze() }, None)
}

/// Writes a text, and tells each caller once its line is written, or how far it got.
async fn write_text(
    lines: &mut LineWriter<impl AsyncWrite + Unpin>,
    text: Bytes,
    callers: &mut VecDeque<Caller>,
    connection: &Connection,
    stall: Duration,
) -> Result<(), Option<PipeClosed>> {
    let length = text.len();
    lines.begin(text);
    loop {
        // The time begins afresh with each part that finds room.
        let more = tokio::select! {
            biased;
            more = tokio::time::timeout(stall, lines.write_more()) => Some(more),
            () = connection.reached(Phase::Ended) => None,
        };
        let written = length - lines.unwritten();
        while let Some(caller) = callers.pop_front_if(|caller| caller.end <= written) {
            let _ = caller.done.send(Ok(()));
        }
        let closed = match more {
            None => None,
            Some(Ok(Ok(true))) => continue,
            Some(Ok(Ok(false))) => return Ok(()),
            Some(Ok(Err(error))) => Some(PipeClosed(format!("writing to the server failed: {error}"))),
            Some(Err(_)) => {
                let text = format!("the server has not read its stdin for {stall:?}");
                connection.end(End::Lost(TransportErrorKind::Closed(text.into())));
                None
            }
        };
        for caller in callers.drain(..) {
            // Without its last byte a message is no JSON: nobody can have acted on it.
            let incomplete = caller.end - written > 1;
            let _ = caller.done.send(Err(if incomplete { Delivery::NotSent } else { Delivery::Unknown }));
        }
        return Err(closed);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::sync::Mutex;
    use std::task::{Context, Poll};

    use tokio::io::AsyncReadExt;
    use tokio::time::sleep;

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

    /// Takes `room` bytes, then breaks; notes the size of each write.
    struct Pipe {
        room: usize,
        writes: Arc<Mutex<Vec<usize>>>,
    }

    impl AsyncWrite for Pipe {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, text: &[u8]) -> Poll<io::Result<usize>> {
            let this = self.get_mut();
            let taken = text.len().min(this.room);
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            this.room -= taken;
            this.writes.lock().unwrap().push(taken);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    type Outcome = Result<(), Delivery>;

    /// Writes lines that all wait already; the sizes of the writes, and what each caller is told.
    async fn write_waiting(lines: &[usize], room: usize) -> (Vec<usize>, Vec<Outcome>) {
        let (jobs, waiting) = queue(100, 1 << 20);
        let mut outcomes = Vec::new();
        for length in lines {
            let (done, outcome) = oneshot::channel();
            jobs.send(Job { line: vec![b'x'; *length].into(), done }, *length).await.unwrap();
            outcomes.push(outcome);
        }
        drop(jobs);
        let connection = Arc::new(Connection::new(1, Foreign::default(), 100));
        let writes = Arc::<Mutex<Vec<usize>>>::default();
        let pipe = Pipe { room, writes: Arc::clone(&writes) };
        let closed = write(pipe, waiting, connection, Duration::from_secs(1)).await;
        assert_eq!(closed.is_some(), room < lines.iter().sum());
        let told = futures::future::join_all(outcomes).await;
        let writes = writes.lock().unwrap().clone();
        (writes, told.into_iter().map(Result::unwrap).collect())
    }

    #[tokio::test]
    async fn what_waits_is_written_at_once_and_large_lines_alone() {
        let (writes, told) =
            write_waiting(&[10, 20, JOINED - 30, 1, JOINED, 5, JOINED + 1, 7, 8], 1 << 20).await;
        assert_eq!(writes, [JOINED, 1, JOINED, 5, JOINED + 1, 15]);
        assert!(told.iter().all(Result::is_ok));
    }

    #[tokio::test]
    async fn each_caller_is_told_how_far_its_own_line_got() {
        let (sent, unsent, unknown) = (Ok(()), Err(Delivery::NotSent), Err(Delivery::Unknown));
        for (room, expected) in [
            (0, [unsent; 4]),
            (8, [unsent; 4]),
            (9, [unknown, unsent, unsent, unsent]),
            (10, [sent, unsent, unsent, unsent]),
            (19, [sent, unknown, unsent, unsent]),
            (20, [sent, sent, unsent, unsent]),
            (29, [sent, sent, unknown, unsent]),
            (30 + JOINED - 2, [sent, sent, sent, unsent]),
            (30 + JOINED - 1, [sent, sent, sent, unknown]),
            (30 + JOINED, [sent; 4]),
        ] {
            let (_, told) = write_waiting(&[10, 10, 10, JOINED], room).await;
            assert_eq!(told, expected, "{room} bytes");
        }
    }
}
