//! What is said to one client, on its streams: in order, bounded, and kept to be sent again.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits::FrontLimits;

/// The stream for what belongs to no request, and the only one of transports that have one for everything.
pub(crate) const COMMON: u64 = 0;

/// What is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Notice,
    Question(i64),
    Answer,
}

/// There is no room, or no such stream any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// Why a stream cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Somebody reads it already.
    Taken,
    /// There is none, or the event after which to go on never was.
    Unknown,
}

/// What a reader gets.
#[derive(Debug)]
pub(crate) enum Next {
    /// What waits, in one piece that is never empty; a large text is passed on apart, as what follows it.
    Events(Bytes, Option<Bytes>),
    Wait,
    End,
}

/// The streams of one client.
#[derive(Debug)]
pub(crate) struct Store {
    streams: BTreeMap<u64, Stream>,
    /// Whether events have ids and are kept after they were read.
    keeps: bool,
    /// Whether a new stream begins with an event that only has an id (2025-11-25).
    pub(crate) primes: bool,
    events: usize,
    bytes: usize,
    readers: u64,
}

#[derive(Debug)]
struct Stream {
    events: VecDeque<Event>,
    /// The number of the event said next.
    next: u64,
    /// The number of the event read next.
    read: u64,
    unread: usize,
    unread_bytes: usize,
    reader: Option<u64>,
    was_read: bool,
    /// The reader is owed an event that only has an id.
    primes: bool,
    news: Arc<Notify>,
    ended: Option<Instant>,
}

#[derive(Debug)]
struct Event {
    number: u64,
    kind: Kind,
    text: Bytes,
}

impl Store {
    pub(crate) fn new(keeps: bool) -> Self {
        let streams = BTreeMap::from([(COMMON, Stream::new())]);
        Self { streams, keeps, primes: false, events: 0, bytes: 0, readers: 0 }
    }

    pub(crate) fn has(&self, stream: u64) -> bool {
        self.streams.contains_key(&stream)
    }

    pub(crate) fn is_read(&self, stream: u64) -> bool {
        self.streams.get(&stream).is_some_and(|stream| stream.reader.is_some())
    }

    /// Whether somebody has read a stream and does not any more.
    pub(crate) fn is_left(&self, stream: u64) -> bool {
        self.streams.get(&stream).is_some_and(|stream| stream.was_read && stream.reader.is_none())
    }

    /// Whether anybody reads anything.
    pub(crate) fn is_in_use(&self) -> bool {
        self.streams.values().any(|stream| stream.reader.is_some())
    }

    /// Makes a stream, if there is none of this number.
    pub(crate) fn open(&mut self, stream: u64) {
        self.streams.entry(stream).or_insert_with(Stream::new);
    }

    /// Whether a queue is at its limit.
    pub(crate) fn is_full(&self, stream: u64, limits: &FrontLimits) -> bool {
        self.streams.get(&stream).is_some_and(|stream| !stream.has_room(0, limits))
    }

    /// Says something on a stream, which is made if there is none. Answers always find room; the limit of calls in
    /// flight is theirs.
    ///
    /// `lost` takes the questions that had to make room.
    pub(crate) fn say(
        &mut self,
        number: u64,
        kind: Kind,
        text: Bytes,
        limits: &FrontLimits,
        lost: &mut Vec<i64>,
    ) -> Result<(), Full> {
        let stream = self.streams.entry(number).or_insert_with(Stream::new);
        if stream.ended.is_some() || kind != Kind::Answer && !stream.has_room(text.len(), limits) {
            return Err(Full);
        }
        if number == COMMON && kind == Kind::Notice && stream.reader.is_none() && stream.has_waiting(&text) {
            return Ok(()); // it says that something changed, which once is enough to know
        }
        self.events += 1;
        self.bytes += text.len();
        stream.say(kind, text);
        self.trim(number, limits, lost);
        if kind != Kind::Answer && self.is_over(limits) {
            // All the rest is being read, only too slowly.
            self.unsay(number);
            return Err(Full);
        }
        Ok(())
    }

    /// Whether more is kept than may be. Without keeping, the limit of the one stream is enough.
    fn is_over(&self, limits: &FrontLimits) -> bool {
        self.keeps && (self.events > limits.kept_events || self.bytes > limits.kept_bytes)
    }

    /// Takes back what was said last.
    fn unsay(&mut self, number: u64) {
        let Some(stream) = self.streams.get_mut(&number) else { return };
        let Some(event) = stream.events.pop_back() else { return };
        stream.next -= 1;
        stream.unread -= 1;
        stream.unread_bytes -= event.text.len();
        self.events -= 1;
        self.bytes -= event.text.len();
    }

    /// Nothing more will be said on a stream.
    pub(crate) fn end(&mut self, number: u64, now: Instant) {
        let Some(stream) = self.streams.get_mut(&number) else { return };
        stream.ended.get_or_insert(now);
        stream.news.notify_one();
        self.forget_if_empty(number);
    }

    pub(crate) fn end_all(&mut self, now: Instant) {
        for stream in self.streams.values_mut() {
            stream.ended.get_or_insert(now);
            stream.news.notify_one();
        }
    }

    /// Begins to read a stream: what nobody has read yet, or what came after the event `after`. The latter ends
    /// another reader, which only who has read that event can bring about.
    pub(crate) fn attach(
        &mut self,
        number: u64,
        after: Option<u64>,
    ) -> Result<(u64, Arc<Notify>), Unreadable> {
        let primes = self.primes;
        let stream = self.streams.get_mut(&number).ok_or(Unreadable::Unknown)?;
        match after {
            None if stream.reader.is_some() => return Err(Unreadable::Taken),
            None => {}
            Some(after) if after >= stream.next => return Err(Unreadable::Unknown),
            Some(after) => stream.rewind(after + 1),
        }
        stream.news.notify_one();
        stream.news = Arc::default();
        self.readers += 1;
        stream.reader = Some(self.readers);
        stream.was_read = true;
        stream.primes = primes;
        Ok((self.readers, Arc::clone(&stream.news)))
    }

    /// The next events for a reader.
    pub(crate) fn next(&mut self, number: u64, reader: u64) -> Next {
        let Some(stream) = self.streams.get_mut(&number).filter(|stream| stream.reader == Some(reader))
        else {
            return Next::End;
        };
        let mut piece = BytesMut::new();
        if std::mem::take(&mut stream.primes) {
            put_event_id(&mut piece, number, stream.read - 1);
            piece.put_slice(PRIMING);
        }
        while piece.len() < SMALL {
            let Some((sequence, text)) = stream.read_next() else { break };
            if piece.capacity() == 0 {
                // At once for all that goes into it, mostly.
                piece.reserve((text.len() + stream.unread_bytes).min(SMALL) + 24);
            }
            if self.keeps {
                put_event_id(&mut piece, number, sequence);
            } else {
                // It was the first one: those before are gone already.
                stream.events.pop_front();
                self.events -= 1;
                self.bytes -= text.len();
            }
            if text.len() > SMALL {
                return match piece.is_empty() {
                    true => Next::Events(text, None),
                    false => Next::Events(piece.freeze(), Some(text)),
                };
            }
            piece.put_slice(&text);
        }
        match (piece.is_empty(), stream.ended) {
            (false, _) => Next::Events(piece.freeze(), None),
            (true, Some(_)) => Next::End,
            (true, None) => Next::Wait,
        }
    }

    /// Ends reading.
    pub(crate) fn detach(&mut self, number: u64, reader: u64) {
        let stream = self.streams.get_mut(&number).filter(|stream| stream.reader == Some(reader));
        if let Some(stream) = stream {
            stream.reader = None;
            self.forget_if_empty(number);
        }
    }

    /// Takes back a question that nobody has read; whether there was one.
    pub(crate) fn take_back(&mut self, number: u64, question: i64) -> bool {
        let Some(stream) = self.streams.get_mut(&number) else { return false };
        let waits = |event: &Event| event.number >= stream.read && event.kind == Kind::Question(question);
        let Some(at) = stream.events.iter().position(waits) else { return false };
        let Some(event) = stream.events.remove(at) else { return false };
        stream.unread -= 1;
        stream.unread_bytes -= event.text.len();
        self.events -= 1;
        self.bytes -= event.text.len();
        true
    }

    /// Forgets streams that ended before `since` and that nobody reads.
    pub(crate) fn forget_ended(&mut self, since: Instant) {
        let old = |number: &u64, stream: &mut Stream| {
            *number != COMMON && stream.reader.is_none() && stream.ended.is_some_and(|ended| ended <= since)
        };
        for (_, stream) in self.streams.extract_if(.., old) {
            self.events -= stream.events.len();
            self.bytes -= stream.events.iter().map(|event| event.text.len()).sum::<usize>();
        }
    }

    /// Drops what is least missed until the rest is within the limits: first what was read, then what waits for a
    /// client that is not there; on the oldest streams first.
    fn trim(&mut self, current: u64, limits: &FrontLimits, lost: &mut Vec<i64>) {
        while self.is_over(limits) {
            let was_read = |stream: &Stream| stream.events.len() > stream.unread;
            let waits = |stream: &Stream| stream.reader.is_none() && stream.unread > 0;
            let victim = self.streams.iter().find(|(_, stream)| was_read(stream));
            let victim = victim.or_else(|| {
                self.streams.iter().find(|(number, stream)| **number != current && waits(stream))
            });
            let Some((&number, _)) = victim else { return };
            let Some(stream) = self.streams.get_mut(&number) else { return };
            let Some(event) = stream.events.pop_front() else { return };
            self.events -= 1;
            self.bytes -= event.text.len();
            if event.number >= stream.read {
                stream.unread -= 1;
                stream.unread_bytes -= event.text.len();
                if let Kind::Question(question) = event.kind {
                    lost.push(question);
                }
            }
            self.forget_if_empty(number);
        }
    }

    fn forget_if_empty(&mut self, number: u64) {
        let done =
            |stream: &Stream| stream.ended.is_some() && stream.reader.is_none() && stream.events.is_empty();
        if number != COMMON && self.streams.get(&number).is_some_and(done) {
            self.streams.remove(&number);
        }
    }
}

impl Stream {
    fn new() -> Self {
        Self {
            events: VecDeque::new(),
            next: 1,
            read: 1,
            unread: 0,
            unread_bytes: 0,
            reader: None,
            was_read: false,
            primes: false,
            news: Arc::default(),
            ended: None,
        }
    }

    fn has_room(&self, bytes: usize, limits: &FrontLimits) -> bool {
        self.unread < limits.queue_messages && self.unread_bytes + bytes <= limits.queue_bytes
    }

    fn has_waiting(&self, text: &Bytes) -> bool {
        self.events.iter().rev().take(self.unread).any(|event| event.text == text)
    }

    fn say(&mut self, kind: Kind, text: Bytes) {
        self.unread += 1;
        self.unread_bytes += text.len();
        self.events.push_back(Event { number: self.next, kind, text });
        self.next += 1;
        self.news.notify_one();
    }

    fn read_next(&mut self) -> Option<(u64, Bytes)> {
        let at = self.events.partition_point(|event| event.number < self.read);
        let event = self.events.get(at)?;
        self.read = event.number + 1;
        self.unread -= 1;
        self.unread_bytes -= event.text.len();
        Some((event.number, event.text.clone()))
    }

    fn rewind(&mut self, to: u64) {
        self.read = to;
        let unread = self.events.iter().filter(|event| event.number >= to);
        (self.unread, self.unread_bytes) =
            unread.fold((0, 0), |(count, bytes), event| (count + 1, bytes + event.text.len()));
    }
}

/// The rest of the event that a stream of 2025-11-25 begins with: it has no message, and says how soon to come back if
/// the stream breaks. Source: wire reference §4.2.
const PRIMING: &[u8] = b"retry: 1000\ndata:\n\n";

/// Bytes up to which a text is copied to where others are, rather than passed on apart.
const SMALL: usize = 4096;

/// Writes the line that names an event: unique in the session, and naming its stream.
fn put_event_id(to: &mut BytesMut, stream: u64, number: u64) {
    let _ = writeln!(to, "id: {stream}-{number}"); // there is always room
}

/// The stream and the number that an event id names.
pub(crate) fn parse_event_id(id: &str) -> Option<(u64, u64)> {
    let (stream, number) = id.split_once('-')?;
    Some((stream.parse().ok()?, number.parse().ok()?))
}
