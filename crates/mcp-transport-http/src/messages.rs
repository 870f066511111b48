//! The messages of one exchange, up to the answer.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::{StreamExt, stream};
use mcp_http_client::{Body, EventDecoder, failure};
use mcp_protocol::{Message, ParseError, Payload};
use mcp_transport::{Inbox, Incoming, TransportError};

use crate::exchange::Exchange;

/// Messages that belong to one request, in the order they came.
pub(crate) struct Messages {
    exchange: Exchange,
    /// Read, and not given out yet; at most one batch.
    ready: VecDeque<Result<Incoming, TransportError>>,
    /// The event stream, while more is expected from it.
    events: Option<(Body, EventDecoder)>,
    /// Whether the last item is in `ready` or was given out.
    complete: bool,
}

impl Messages {
    /// The messages of a JSON body.
    pub(crate) fn from_body(exchange: Exchange, frame: Bytes) -> Result<Inbox, TransportError> {
        let mut messages = Self { exchange, ready: VecDeque::new(), events: None, complete: false };
        messages.take_frame(frame)?;
        Ok(messages.into_inbox())
    }

    /// The messages of an event stream.
    pub(crate) fn from_events(exchange: Exchange, response: Body) -> Inbox {
        let decoder = EventDecoder::new(exchange.options().max_event_bytes);
        Self { exchange, ready: VecDeque::new(), events: Some((response, decoder)), complete: false }
            .into_inbox()
    }

    fn into_inbox(self) -> Inbox {
        stream::unfold(self, async |mut messages| messages.next().await.map(|item| (item, messages))).boxed()
    }

    async fn next(&mut self) -> Option<Result<Incoming, TransportError>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            if self.complete {
                return None;
            }
            match self.next_frame().await {
                Ok(frame) => {
                    if let Err(error) = self.take_frame(frame) {
                        return Some(Err(error));
                    }
                }
                Err((error, fatal)) => {
                    self.complete = fatal;
                    return Some(Err(error));
                }
            }
        }
    }

    /// The next event's data, or an error and whether it is the last item.
    async fn next_frame(&mut self) -> Result<Bytes, (TransportError, bool)> {
        let origin = self.exchange.origin();
        let early = || failure::closed(format!("{origin} ended its answer before the response came"));
        let Some((response, decoder)) = self.events.as_mut() else { return Err((early(), true)) };
        loop {
            match decoder.next() {
                Some(Ok(event)) if event.is_message() => return Ok(event.data),
                Some(Ok(_)) => continue,
                Some(Err(error)) if error.is_fatal() => {
                    return Err((failure::closed(error.to_string()), true));
                }
                Some(Err(error)) => return Err((failure::payload(error.to_string()), false)),
                None => {}
            }
            match response.chunk().await {
                Ok(Some(chunk)) => decoder.feed(chunk),
                Ok(None) => return Err((early(), true)),
                Err(error) => return Err((error, true)),
            }
        }
    }

    /// Reads one frame: a message, or a batch from a server that may send one.
    fn take_frame(&mut self, frame: Bytes) -> Result<(), TransportError> {
        let limits = &self.exchange.options().limits;
        let unusable = |error: ParseError| failure::payload(format!("unusable message: {error}"));
        let messages = if self.exchange.allows_batches() {
            Payload::parse(&frame, limits)
        } else {
            Message::parse(&frame, limits).map(Payload::Single)
        };
        match messages.map_err(unusable)? {
            Payload::Single(message) => self.take_message(message, &frame),
            Payload::Batch(entries) => {
                for entry in entries {
                    match entry {
                        Ok(message) => self.take_message(message, &frame),
                        Err(error) => self.ready.push_back(Err(unusable(error))),
                    }
                }
            }
        }
        Ok(())
    }

    fn take_message(&mut self, mut message: Message, frame: &Bytes) {
        if self.exchange.settle(&mut message) {
            self.complete = true;
            // Now and not at the end: the caller may drop the stream as soon as it has the answer.
            if let Some((response, _)) = self.events.take() {
                response.release();
            }
        }
        self.ready.push_back(Ok(Incoming { message, frame: frame.clone() }));
    }
}
