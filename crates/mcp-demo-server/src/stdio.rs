//! The server on a pair of byte streams, one message a line.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use mcp_protocol::{Limits, Message, ProtocolVersion};
use mcp_transport_stdio::framing::{Line, LineReader, LineWriter};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::core::{DemoServer, Effect, PeerId};
use crate::frame::Frame;
use crate::options::DemoOptions;

/// Messages waiting for a client that does not read. When it is full, nothing more is read from it.
const QUEUE: usize = 256;

/// How a stdio server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StdioEnd {
    /// The client closed its side.
    Eof,
    /// The tool `crash` was called; the process should exit with this status.
    Crash {
        /// The exit status.
        status: u8,
    },
}

/// Serves one client, usually on `tokio::io::stdin()` and `stdout()`, until it closes its side.
///
/// Both eras may be used on the same pipe, message by message (wire reference §5.4). What is no message
/// is answered with an error and skipped.
///
/// # Errors
/// What the streams report.
pub async fn serve_stdio<R, W>(options: DemoOptions, reader: R, writer: W) -> io::Result<StdioEnd>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (queue, queued) = mpsc::channel(QUEUE);
    let reading = read(options, reader, queue);
    let writing = write(queued, writer);
    tokio::pin!(reading, writing);
    // Two loops, so that a client that writes before it reads does not stop both sides for good.
    tokio::select! {
        end = &mut reading => {
            let end = end?;
            if end == StdioEnd::Eof {
                // The answers given so far still go out.
                writing.await?;
            }
            Ok(end)
        }
        written = &mut writing => written.map(|()| StdioEnd::Eof),
    }
}

async fn write(mut queued: mpsc::Receiver<Message>, writer: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut writer = LineWriter::new(writer);
    while let Some(message) = queued.recv().await {
        writer.write_message(&message).await?;
    }
    Ok(())
}

async fn read(
    options: DemoOptions,
    reader: impl AsyncRead + Unpin,
    queue: mpsc::Sender<Message>,
) -> io::Result<StdioEnd> {
    let limits = Limits::default();
    let mut lines = LineReader::new(reader, limits.max_bytes);
    let started = Instant::now();
    let mut core = DemoServer::new(options);
    let peer = core.open_peer();
    loop {
        let due = core.next_deadline().map(|due| started + due);
        let effects = tokio::select! {
            line = lines.next_line() => match line? {
                None => return Ok(StdioEnd::Eof),
                Some(Line::Whole(frame)) => {
                    receive(&mut core, started.elapsed(), peer, &frame, &limits)
                }
                Some(Line::TooLong { bytes }) => {
                    tracing::warn!(bytes, "line skipped, it is too long");
                    Vec::new()
                }
            },
            () = sleep_until(due.unwrap_or(started)), if due.is_some() => core.on_deadline(started.elapsed()),
        };
        for effect in effects {
            match effect {
                // A closed queue means that the writer failed, which ends the server in a moment.
                Effect::Send { message, .. } => drop(queue.send(message).await),
                Effect::Crash { status } => return Ok(StdioEnd::Crash { status }),
            }
        }
    }
}

fn receive(core: &mut DemoServer, now: Duration, peer: PeerId, text: &Bytes, limits: &Limits) -> Vec<Effect> {
    let batches = core.session_version(peer).is_some_and(ProtocolVersion::has_batches);
    let entries = match Frame::parse(text, limits, batches) {
        Ok(frame) => frame.entries,
        Err(error) => vec![Err(error.to_failure())],
    };
    let take = |entry| match entry {
        Ok(message) => core.receive(now, peer, message),
        Err(failure) => vec![Effect::Send { peer, within: None, message: Message::Failure(failure) }],
    };
    entries.into_iter().flat_map(take).collect()
}
