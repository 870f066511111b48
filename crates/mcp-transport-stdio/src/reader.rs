//! From stdout to the inbox.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mcp_protocol::{Message, ParseError, Payload};
use mcp_transport::{Delivery, Incoming, TransportError, TransportErrorKind};
use tokio::io::AsyncRead;

use crate::connection::{Connection, End, Phase};
use crate::framing::{Line, LineReader};
use crate::noise::{Noise, is_noise};
use crate::options::StdioOptions;
use crate::queue::Sender;
use crate::supervisor::PipeClosed;

/// How long output may still come after the process ended. All it wrote is in the pipe by then; only a
/// process that left its group can hold the pipe open longer.
pub(crate) const EXIT_GRACE: Duration = Duration::from_millis(50);

/// One entry of the inbox.
pub(crate) type Item = Result<Incoming, TransportError>;

/// Reads messages until the stream ends or is no use any more.
pub(crate) struct Reader<R> {
    lines: LineReader<R>,
    inbox: Sender<Item>,
    connection: Arc<Connection>,
    options: Arc<StdioOptions>,
    noise: Noise,
    heard_a_message: bool,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(crate) fn new(
        stdout: R,
        inbox: Sender<Item>,
        connection: Arc<Connection>,
        options: Arc<StdioOptions>,
    ) -> Self {
        let lines = LineReader::new(stdout, options.limits.max_bytes);
        let noise = Noise::new(options.noise_lines, options.noise_bytes);
        Self { lines, inbox, connection, options, noise, heard_a_message: false }
    }

    /// Returns how the stream ended, or `None` if the connection did before it.
    pub(crate) async fn run(mut self) -> Option<PipeClosed> {
        // After the end of the process no more is read than a pipe can hold for certain.
        let mut left_after_end = self.options.limits.max_bytes;
        let connection = Arc::clone(&self.connection);
        let mut ended = pin!(connection.reached(Phase::Ended));
        loop {
            let line = match self.next_line(ended.as_mut()).await {
                Ok(Some(line)) => line,
                Ok(None) => break Some(PipeClosed("the server closed its stdout".into())),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.give_up(self.no_server(&error.to_string()));
                    break None;
                }
                Err(error) => break Some(PipeClosed(format!("reading from the server failed: {error}"))),
            };
            if self.connection.phase() >= Phase::Ended {
                let Line::Whole(frame) = &line else { break None };
                left_after_end = left_after_end.checked_sub(frame.len())?;
            }
            let judged = match line {
                Line::Whole(frame) => self.take(frame).await,
                Line::TooLong { bytes } => {
                    let limit = self.options.limits.max_bytes;
                    let text = format!("message of {bytes} bytes exceeds the limit of {limit} bytes");
                    self.deliver(Err(payload_error(text)), 0).await;
                    Ok(())
                }
            };
            if let Err(kind) = judged {
                self.give_up(kind);
                break None;
            }
        }
    }

    /// Ends the connection. It must be known why before the pipe is closed, which may kill the server.
    fn give_up(&self, kind: TransportErrorKind) {
        self.connection.end(End::Lost(kind));
    }

    async fn next_line(&mut self, ended: Pin<&mut impl Future<Output = ()>>) -> io::Result<Option<Line>> {
        if self.connection.phase() < Phase::Ended {
            tokio::select! {
                biased;
                line = self.lines.next_line() => return line,
                () = ended => {}
            }
        }
        tokio::time::timeout(EXIT_GRACE, self.lines.next_line()).await.unwrap_or(Ok(None))
    }

    /// Delivers what a line holds. `Err` if the line is one too many that holds nothing.
    async fn take(&mut self, frame: Bytes) -> Result<(), TransportErrorKind> {
        let size = frame.len();
        match Payload::parse(&frame, &self.options.limits) {
            Ok(Payload::Single(message)) => self.deliver_message(Ok(message), frame, size).await,
            Ok(Payload::Batch(entries)) => {
                let share = size / entries.len().max(1);
                for entry in entries {
                    self.deliver_message(entry, frame.clone(), share).await;
                }
            }
            Err(error) if is_noise(&error) => return self.count_noise(&frame),
            Err(error) => self.deliver_message(Err(error), frame, size).await,
        }
        Ok(())
    }

    async fn deliver_message(&mut self, message: Result<Message, ParseError>, frame: Bytes, size: usize) {
        if message.is_ok() {
            self.heard_a_message = true;
            self.noise.reset();
        }
        let item = message.map(|message| Incoming { message, frame }).map_err(|error| {
            payload_error(format!("unusable message from the server: {error}")).answering(error.id)
        });
        self.deliver(item, size).await;
    }

    /// Waits for room in the inbox. Nobody waits for messages of a connection being closed, but the
    /// server must be able to write them to come to its end.
    async fn deliver(&mut self, item: Item, size: usize) {
        if self.connection.is_closed_by_us() {
            return;
        }
        tokio::select! {
            biased;
            // Without a receiver the message has no taker.
            _ = self.inbox.send(item, size) => {}
            () = self.connection.closed_by_us() => {}
        }
    }

    fn count_noise(&mut self, line: &[u8]) -> Result<(), TransportErrorKind> {
        self.connection.count_noise();
        let foreign = self.connection.foreign();
        if tracing::enabled!(tracing::Level::DEBUG) {
            let line = foreign.line(line, 200);
            tracing::debug!(pid = self.connection.pid(), line, "server printed no message on stdout");
        }
        self.noise.add(line, foreign).map_err(|text| self.no_server(&text))
    }

    /// The failure of a server whose output is something else than messages.
    fn no_server(&self, text: &str) -> TransportErrorKind {
        if self.heard_a_message {
            TransportErrorKind::Closed(format!("the server stopped speaking MCP: {text}").into())
        } else {
            // Asking again would get the same answer: the configured program is the wrong one.
            TransportErrorKind::Endpoint(format!("not an MCP server: {text}").into())
        }
    }
}

fn payload_error(text: String) -> TransportError {
    TransportError::new(TransportErrorKind::Payload(text.into()), Delivery::Unknown)
}
