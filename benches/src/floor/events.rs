//! A stream of events on its way back: each goes on as soon as it is whole.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use hyper::body::{Body, Frame, Incoming};
use mcp_protocol::RequestId;

use crate::Failure;

use super::answer;

/// Largest event in bytes.
const MAX_EVENT: usize = 16 << 20;

/// An event stream in which the id of the answer is the client's.
pub(super) struct Events {
    upstream: Incoming,
    ids: (RequestId, i64),
    pending: Pending,
}

/// What has come of events that are not whole yet.
#[derive(Default)]
struct Pending {
    buffer: BytesMut,
    /// How much of it holds no end of an event.
    seen: usize,
}

impl Events {
    pub(super) fn new(upstream: Incoming, ids: (RequestId, i64)) -> Self {
        Self { upstream, ids, pending: Pending::default() }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        loop {
            let Some(frame) = ready!(Pin::new(&mut self.upstream).poll_frame(context)?) else {
                // What is not whole at the end of the stream is no event.
                return Poll::Ready(None);
            };
            let Ok(data) = frame.into_data() else { continue };
            let this = &mut *self;
            let whole = this.pending.take(&data, &this.ids)?;
            if !whole.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(whole))));
            }
        }
    }
}

impl Pending {
    /// Adds what has come, and gives the events that are whole now.
    fn take(&mut self, data: &[u8], ids: &(RequestId, i64)) -> Result<Bytes, Failure> {
        self.buffer.put_slice(data);
        let mut out = BytesMut::new();
        while let Some(end) = self.end() {
            let event = self.buffer.split_to(end).freeze();
            self.seen = 0;
            rewrite(&event, ids, &mut out)?;
        }
        // The end of an event may be cut in two.
        self.seen = self.buffer.len().saturating_sub(3);
        if self.buffer.len() > MAX_EVENT {
            return Err(format!("an event is larger than {MAX_EVENT} bytes").into());
        }
        Ok(out.freeze())
    }

    /// Where the first event ends: after an empty line.
    fn end(&self) -> Option<usize> {
        let mut at = self.seen;
        loop {
            let found = at + memchr::memchr(b'\n', self.buffer.get(at..)?)?;
            let rest = self.buffer.get(found + 1..)?;
            match rest {
                [b'\n', ..] => return Some(found + 2),
                [b'\r', b'\n', ..] => return Some(found + 3),
                _ => at = found + 1,
            }
        }
    }
}

/// Writes an event; its data are a message.
fn rewrite(event: &Bytes, ids: &(RequestId, i64), out: &mut BytesMut) -> Result<(), Failure> {
    let mut data: Option<Bytes> = None;
    let mut rest = &event[..];
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let (line, after) = rest.split_at(end);
        rest = &after[1..];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match line.strip_prefix(b"data:") {
            Some(value) => {
                let value = event.slice_ref(value.strip_prefix(b" ").unwrap_or(value));
                data = Some(match data {
                    None => value,
                    Some(before) => [&before[..], b"\n", &value[..]].concat().into(),
                });
            }
            None if line.is_empty() => {}
            None => {
                out.put_slice(line);
                out.put_slice(b"\n");
            }
        }
    }
    if let Some(data) = data {
        out.put_slice(b"data: ");
        // An event without a message primes the stream.
        if !data.is_empty() {
            out.reserve(data.len() + 64);
            answer(&data, ids)?.encode_into(out);
        }
        out.put_slice(b"\n");
    }
    out.put_slice(b"\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: (RequestId, i64) = (RequestId::Integer(1), 7);
    const CAME: &str = "id: 1\ndata: \n\nevent: message\r\ndata: {\"jsonrpc\":\"2.0\",\r\ndata: \"id\":7,\"result\":{}}\r\n\r\n";
    const GOES: &str =
        "id: 1\ndata: \n\nevent: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n";

    #[test]
    fn events_are_the_same_however_they_were_cut() {
        for size in 1..=CAME.len() {
            let mut pending = Pending::default();
            let mut out = Vec::new();
            for part in CAME.as_bytes().chunks(size) {
                out.extend(pending.take(part, &IDS).unwrap());
            }
            assert_eq!(String::from_utf8(out).unwrap(), GOES, "in parts of {size}");
        }
    }

    #[test]
    fn half_an_event_waits() {
        let mut pending = Pending::default();
        let (first, second) = CAME.split_at(CAME.len() - 1);
        assert_eq!(pending.take(first.as_bytes(), &IDS).unwrap(), "id: 1\ndata: \n\n");
        assert_eq!(pending.take(second.as_bytes(), &IDS).unwrap(), GOES.replace("id: 1\ndata: \n\n", ""));
    }
}
