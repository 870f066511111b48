//! One JSON message a line: the framing of stdin and stdout, on either end of them.
//!
//! [`LineReader`] and [`LineWriter`] work over any byte stream: the pipes of a child process, our own
//! `tokio::io::stdin()` and `stdout()`, or a socket. Both may be used in `select!`: dropping one of their
//! futures loses no input and leaves no half line on the wire.
//! Source: MCP 2026-07-28, Transports, "stdio".
//!
//! ```
//! use mcp_protocol::{Limits, Message};
//! use mcp_transport_stdio::framing::{Line, LineReader, LineWriter};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let input: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n"; // or tokio::io::stdin()
//! let mut reader = LineReader::new(input, Limits::default().max_bytes);
//! let mut writer = LineWriter::new(Vec::new()); // or tokio::io::stdout()
//! while let Some(line) = reader.next_line().await? {
//!     if let Line::Whole(frame) = line {
//!         writer.write_message(&Message::parse(&frame, &Limits::default())?).await?;
//!     }
//! }
//! assert_eq!(writer.get_ref(), input);
//! # Ok(()) }
//! ```

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use mcp_protocol::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Room made for reading, in bytes. A message that is kept keeps at least this much memory alive.
const READ_BYTES: usize = 16 * 1024;

/// Less room than this is not worth a read.
const LEAST_READ_BYTES: usize = 4 * 1024;

/// The byte order mark in UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A line this many times longer than the limit is taken to have no end.
const ENDLESS: u64 = 16;

/// One line of input, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A line within the limit. It is not judged further: it may hold anything but `\n`.
    Whole(Bytes),
    /// A line above the limit. Its content was thrown away; the next line is fine.
    TooLong {
        /// Length of the line in bytes, `\n` not counted.
        bytes: u64,
    },
}

/// Splits a byte stream into lines of bounded length.
///
/// `\n` and `\r\n` end a line. Lines of white space alone are skipped. What stands after the last line end
/// counts as a line once the stream ends. A byte order mark at the start of the stream, which some runtimes
/// write unasked, is skipped too.
#[derive(Debug)]
pub struct LineReader<R> {
    inner: R,
    buffer: BytesMut,
    /// Bytes at the start of `buffer` known to hold no line end.
    scanned: usize,
    max_bytes: usize,
    /// Bytes thrown away so far of a line above the limit.
    discarded: Option<u64>,
    /// Whether no line was found yet.
    at_start: bool,
    ended: bool,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// A reader of lines of at most `max_bytes` bytes, the line end not counted.
    pub fn new(inner: R, max_bytes: usize) -> Self {
        let buffer = BytesMut::new();
        Self { inner, buffer, scanned: 0, max_bytes, discarded: None, at_start: true, ended: false }
    }

    /// The next line, or `None` at the end of the stream. Dropping the future loses nothing.
    ///
    /// # Errors
    /// What the underlying stream reports; [`io::ErrorKind::InvalidData`] if a line is 16 times longer
    /// than the limit and still has no end.
    pub async fn next_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            self.skip_mark();
            while let Some(line) = self.buffered_line() {
                if !matches!(&line, Line::Whole(text) if text.trim_ascii().is_empty()) {
                    return Ok(Some(line));
                }
            }
            if self.ended {
                return Ok(None);
            }
            if let Some(bytes) = self.discarded.filter(|bytes| *bytes > ENDLESS * self.max_bytes as u64) {
                let text = format!("a line of more than {bytes} bytes has no end");
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            if self.buffer.capacity() - self.buffer.len() < LEAST_READ_BYTES {
                self.buffer.reserve(READ_BYTES);
            }
            self.ended = self.inner.read_buf(&mut self.buffer).await? == 0;
        }
    }

    /// Skips a byte order mark once all of it is there.
    fn skip_mark(&mut self) {
        if self.at_start && self.buffer.len() >= BYTE_ORDER_MARK.len() {
            self.at_start = false;
            if self.buffer.starts_with(BYTE_ORDER_MARK) {
                self.buffer.advance(BYTE_ORDER_MARK.len());
                self.scanned = 0;
            }
        }
    }

    /// Takes the first line from the buffer, if all of it is there.
    fn buffered_line(&mut self) -> Option<Line> {
        let found = memchr::memchr(b'\n', &self.buffer[self.scanned..]).map(|at| self.scanned + at);
        let Some(end) = found else {
            // One byte more than the limit may still be the `\r` of the line end.
            if self.discarded.is_some() || self.buffer.len() > self.max_bytes.saturating_add(1) {
                *self.discarded.get_or_insert(0) += self.buffer.len() as u64;
                self.buffer = BytesMut::new();
            }
            self.scanned = self.buffer.len();
            let rest = self.ended && (self.scanned > 0 || self.discarded.is_some());
            return rest.then(|| self.take_line(self.scanned, 0));
        };
        Some(self.take_line(end, 1))
    }

    /// Takes `end` bytes as a line and skips the `terminator` bytes behind it.
    fn take_line(&mut self, end: usize, terminator: usize) -> Line {
        let mut text = self.buffer.split_to(end + terminator).freeze();
        text.truncate(text[..end].strip_suffix(b"\r").map_or(end, <[u8]>::len));
        self.scanned = 0;
        self.at_start = false;
        if text.len() > READ_BYTES {
            // The rest would keep the memory of the large line alive for as long as any later one.
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        match self.discarded.take() {
            Some(bytes) => Line::TooLong { bytes: bytes + end as u64 },
            None if text.len() > self.max_bytes => Line::TooLong { bytes: end as u64 },
            None => Line::Whole(text),
        }
    }
}

/// Writes messages as lines, each flushed before the call returns.
#[derive(Debug)]
pub struct LineWriter<W> {
    inner: W,
    /// The unwritten rest of the line that was begun last.
    rest: Bytes,
}

impl<W: AsyncWrite + Unpin> LineWriter<W> {
    /// A writer that has written nothing yet.
    pub fn new(inner: W) -> Self {
        Self { inner, rest: Bytes::new() }
    }

    /// Writes one message and flushes it.
    ///
    /// If the future is dropped, the line is either not begun or completed by the next call.
    ///
    /// # Errors
    /// What the underlying stream reports. How much of the line was written is then unknown.
    pub async fn write_message(&mut self, message: &Message) -> io::Result<()> {
        self.write_line(encode_line(message)).await
    }

    /// What is written to.
    pub fn get_ref(&self) -> &W {
        &self.inner
    }

    /// Writes a line made by [`encode_line`] and flushes it, after what is left of the one before.
    pub(crate) async fn write_line(&mut self, line: Bytes) -> io::Result<()> {
        while !self.rest.is_empty() {
            self.write_more().await?;
        }
        self.begin(line);
        while self.write_more().await? {}
        Ok(())
    }

    /// Begins a line when the one before has been written.
    pub(crate) fn begin(&mut self, line: Bytes) {
        debug_assert!(self.rest.is_empty(), "a line would be lost");
        self.rest = line;
    }

    /// Writes as much of the line as there is room for, or flushes it: then it is done, and this is false. Cancel
    /// safe.
    pub(crate) async fn write_more(&mut self) -> io::Result<bool> {
        if self.rest.is_empty() {
            self.inner.flush().await?;
            return Ok(false);
        }
        if self.inner.write_buf(&mut self.rest).await? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(true)
    }

    /// Bytes of the last line that were not written.
    pub(crate) fn unwritten(&self) -> usize {
        self.rest.len()
    }
}

/// The message as one line with its end.
///
/// A body passed through from elsewhere may be spread over several lines. In JSON text a line end can
/// only be white space between tokens (inside a string it must be escaped), so a space replaces it.
pub(crate) fn encode_line(message: &Message) -> Bytes {
    let mut line = BytesMut::from(message.encode());
    let mut at = 0;
    while let Some(offset) = memchr::memchr2(b'\n', b'\r', &line[at..]) {
        at += offset;
        line[at] = b' ';
    }
    line.put_u8(b'\n');
    line.freeze()
}

#[cfg(test)]
mod tests;
