//! Event streams, cut into events of bounded size.

use std::convert::Infallible;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use eventsource_stream::EventStream;
use futures::{FutureExt, StreamExt, stream};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Most lines of one event, comments left out. A complete event is read in one go, and nothing else runs in
/// that thread meanwhile: 0.1 µs for each line, however short, and 2 to 4 ns for each byte. So the worst event
/// of 4 MiB takes 17 ms (measured in a release build); with two million lines it would be 0.5 s.
const MOST_LINES: usize = 10_000;

/// Turns the chunks of a body into events.
///
/// It finds the lines and the blank lines between events itself and leaves only the fields of one
/// complete, bounded, valid UTF-8 event to `eventsource-stream`: that crate keeps whatever comes without
/// bound, parses an unfinished line again with every chunk, waits for ever after invalid UTF-8 and panics
/// on a byte order mark.
/// Source: contract §7.5 ("SSE parser"), wire reference §4.6.
#[derive(Debug)]
pub struct EventDecoder {
    limit: usize,
    /// What was fed and not looked at yet.
    chunk: Bytes,
    /// Lines of the event so far, each ended by LF, comments left out.
    event: BytesMut,
    /// Where the unfinished line starts in `event`.
    line_start: usize,
    /// Bytes of the unfinished line, kept or not.
    line_bytes: usize,
    /// Lines in `event`.
    lines: usize,
    /// Bytes since the last blank line, kept or not; without the comments before the first other line, which
    /// keep the connection alive and belong to no event.
    event_bytes: usize,
    /// The event is beyond a limit and reported as such.
    oversized: bool,
    /// The last line ended with CR, so that an LF right after it belongs to that line end.
    after_cr: bool,
    /// No event has ended yet; a byte order mark may stand before it.
    first: bool,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its type: `message` unless the server named another.
    pub name: String,
    /// Its data, lines joined by LF; empty if it has none, as the priming event of 2025-11-25.
    pub data: Bytes,
    /// Where the stream can be resumed after this event, if the server said. An empty id takes back the ones
    /// before.
    pub id: Option<String>,
    /// How long to wait before a reconnect, if the server said. Not bounded.
    pub retry: Option<Duration>,
}

/// Why an event is unusable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// Larger than allowed; its remainder is skipped.
    #[error("an event exceeds the limit of {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// More lines than are read, 10 000; its remainder is skipped.
    #[error("an event has more than {MOST_LINES} lines")]
    TooManyLines,
    /// The event that was too large does not end.
    #[error("an event does not end within twice the limit of {limit} bytes")]
    Endless {
        /// The limit.
        limit: usize,
    },
    /// The event's text is not UTF-8.
    #[error("an event is not valid UTF-8")]
    NotUtf8,
    /// The event's lines are no fields.
    #[error("an event has a line that is no field")]
    Syntax,
}

impl EventError {
    /// Whether no event can follow.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Endless { .. })
    }
}

impl EventDecoder {
    /// A decoder for a stream whose events have at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            chunk: Bytes::new(),
            event: BytesMut::new(),
            line_start: 0,
            line_bytes: 0,
            lines: 0,
            event_bytes: 0,
            oversized: false,
            after_cr: false,
            first: true,
        }
    }

    /// Adds what was received. Call it when [`next`](Self::next) has returned `None`.
    pub fn feed(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty(), "the chunk before is used up");
        self.chunk = chunk;
    }

    /// The next event; `None` when more input is needed.
    ///
    /// # Errors
    /// [`EventError`] for one event; unless it [is fatal](EventError::is_fatal), the next one is fine.
    #[expect(clippy::should_implement_trait, reason = "it is no iterator: `None` is not the end")]
    pub fn next(&mut self) -> Option<Result<Event, EventError>> {
        let chunk = std::mem::take(&mut self.chunk);
        let mut rest = &*chunk;
        let mut found = None;
        if !self.oversized {
            // At once, not line by line. What is left of the room is used by the events after this one.
            self.event.reserve(rest.len() + 1);
        }
        while found.is_none() && !rest.is_empty() {
            if std::mem::take(&mut self.after_cr) && rest[0] == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let end = memchr::memchr2(b'\r', b'\n', rest);
            let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
            found = self.grow(part).map(Err);
            rest = after;
            if let Some((end, after)) = after.split_first() {
                self.after_cr = *end == b'\r';
                // Never both: an event ends on a line that has not grown, and one too large is not kept.
                found = found.or(self.end_line());
                rest = after;
            }
        }
        self.chunk = chunk.slice_ref(rest);
        found
    }

    /// Adds to the unfinished line. Of an event beyond the limit, bytes are only counted.
    fn grow(&mut self, part: &[u8]) -> Option<EventError> {
        if part.is_empty() {
            return None;
        }
        let limit = self.limit;
        self.line_bytes += part.len();
        self.event_bytes += part.len();
        if self.event_bytes > limit.saturating_mul(2) {
            return Some(EventError::Endless { limit });
        }
        if self.oversized {
            return None;
        }
        if self.event_bytes > limit {
            self.oversized = true;
            self.event = BytesMut::new();
            return Some(EventError::TooLarge { limit });
        }
        self.event.extend_from_slice(part);
        None
    }

    fn end_line(&mut self) -> Option<Result<Event, EventError>> {
        if std::mem::take(&mut self.line_bytes) == 0 {
            return self.end_event();
        }
        self.event_bytes += 1;
        if self.oversized {
            return None;
        }
        if self.event[self.line_start] == b':' {
            self.event.truncate(self.line_start);
            if self.lines == 0 {
                self.event_bytes = 0;
            }
            return None;
        }
        self.lines += 1;
        if self.lines > MOST_LINES {
            self.oversized = true;
            self.event = BytesMut::new();
            return Some(Err(EventError::TooManyLines));
        }
        self.event.extend_from_slice(b"\n");
        self.line_start = self.event.len();
        None
    }

    fn end_event(&mut self) -> Option<Result<Event, EventError>> {
        self.event_bytes = 0;
        self.lines = 0;
        self.line_start = 0;
        self.oversized = false;
        let first = std::mem::take(&mut self.first);
        if self.event.is_empty() {
            return None;
        }
        let mut event = self.event.split().freeze();
        if first && event.starts_with(BOM) {
            event.advance(BOM.len());
        }
        if event.is_empty() {
            return None;
        }
        match std::str::from_utf8(&event) {
            Ok(text) => Event::plain(&event, text)
                .map_or_else(|| Event::parse(text), |event| Ok(Some(event)))
                .transpose(),
            Err(_) => Some(Err(EventError::NotUtf8)),
        }
    }
}

impl Event {
    /// Whether its data is a message: the type is `message`, said or not, and there is data.
    #[must_use]
    pub fn is_message(&self) -> bool {
        self.name == "message" && !self.data.is_empty()
    }

    /// Reads what nearly all events are, without a copy of the data: one line of data, at most one name, at most one id.
    /// `None`: it is anything else.
    fn plain(event: &Bytes, text: &str) -> Option<Self> {
        let (mut name, mut data, mut id) = (None, None, None);
        for line in text.split_terminator('\n') {
            let (field, value) = line.split_once(':')?;
            let value = value.strip_prefix(' ').unwrap_or(value);
            let known = match field {
                "event" => &mut name,
                "data" => &mut data,
                "id" => &mut id,
                _ => return None,
            };
            if value.is_empty() && field != "data" || value.contains('\0') || known.replace(value).is_some() {
                return None;
            }
        }
        // Without data it is one that only says where the stream can be resumed.
        let data = data.filter(|data| !data.is_empty() || id.is_some())?;
        let data = event.slice_ref(data.as_bytes());
        Some(Self { name: name.unwrap_or("message").into(), data, id: id.map(Into::into), retry: None })
    }

    /// Reads an event given as its lines; `None` if nothing in it has a meaning.
    fn parse(event: &str) -> Result<Option<Self>, EventError> {
        // One line a chunk, as the parser copies all that is left of its buffer for every line. The empty line
        // in front keeps it from looking for a byte order mark, the last one ends the event. The data line
        // before that is there because an event without data would be kept from us, and its id with it.
        let lines = ["\n"].into_iter().chain(event.split_inclusive('\n')).chain(["data\n", "\n"]);
        let mut events = EventStream::new(stream::iter(lines.map(Ok::<_, Infallible>)));
        let Some(Ok(parsed)) = events.next().now_or_never().flatten() else { return Err(EventError::Syntax) };
        let mut data = Bytes::from(parsed.data);
        data.truncate(data.len().saturating_sub(1));
        let reset = || event.lines().any(|line| matches!(line, "id" | "id:" | "id: "));
        let id = (!parsed.id.is_empty() || reset()).then_some(parsed.id);
        let found = Self { name: parsed.event, data, id, retry: parsed.retry };
        let means_nothing = found.data.is_empty() && found.id.is_none() && found.retry.is_none();
        Ok((!means_nothing).then_some(found))
    }
}

#[cfg(test)]
mod tests;
