//! The messages of one exchange, up to the answer.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::{StreamExt, stream};
use mcp_http_client::{Body, failure};
use mcp_protocol::{Limits, Message, ParseError, Payload};
use mcp_transport::{Inbox, Incoming, TransportError};

use crate::events::{Broken, Events};
use crate::exchange::{Exchange, not_resumed};
use crate::resume::Resume;

/// Messages that belong to one request, in the order they came.
pub(crate) struct Messages {
    exchange: Exchange,
    /// Read, and not given out yet; at most one batch.
    ready: VecDeque<Result<Incoming, TransportError>>,
    /// The event stream, while more is expected from it.
    events: Option<Events>,
    resume: Resume,
    /// Why the answer is not resumed: what could not be read may have been it, and would come again.
    unreadable: Option<String>,
    /// Whether the last item is in `ready` or was given out.
    complete: bool,
}

impl Messages {
    fn new(exchange: Exchange, events: Option<Events>) -> Self {
        let mut resume = Resume::default();
        if events.is_some() {
            resume.opened();
        }
        Self { exchange, ready: VecDeque::new(), events, resume, unreadable: None, complete: false }
    }

    /// The messages of a JSON body.
    pub(crate) fn from_body(mut exchange: Exchange, frame: Bytes) -> Result<Inbox, TransportError> {
        let payload = parse(&frame, &exchange.options().limits, exchange.allows_batches());
        let mut payload = payload.map_err(|error| unusable(&error))?;
        if let Payload::Single(message) = &mut payload
            && exchange.settle(message)
            && let Payload::Single(message) = payload
        {
            // The usual body: the answer and nothing else.
            return Ok(stream::iter([Ok(Incoming { message, frame })]).boxed());
        }
        let mut messages = Self::new(exchange, None);
        messages.take(payload, &frame);
        Ok(messages.into_inbox())
    }

    /// The messages of an event stream.
    pub(crate) fn from_events(exchange: Exchange, response: Body) -> Inbox {
        let events = Events::new(response, exchange.options().max_event_bytes);
        Self::new(exchange, Some(events)).into_inbox()
    }

    fn into_inbox(self) -> Inbox {
        // In a box: each item moves it out and in.
        let messages = Box::new(self);
        stream::unfold(messages, async |mut messages| messages.next().await.map(|item| (item, messages)))
            .boxed()
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
        loop {
            let broken = match &mut self.events {
                Some(events) => events.next(&mut self.resume).await,
                None => Err(Broken::Ended),
            };
            let error = match broken {
                Ok(data) => return Ok(data),
                Err(Broken::Event(error)) => {
                    self.unreadable.get_or_insert_with(|| error.to_string());
                    return Err((error, false));
                }
                Err(Broken::Flood(error)) => return Err((error, true)),
                Err(Broken::Connection(error)) => error,
                Err(Broken::Ended) => {
                    let origin = self.exchange.origin();
                    failure::closed(format!("{origin} ended its answer before the response came"))
                }
            };
            // Gives its place among the calls under way to others while it waits.
            self.events = None;
            if let Some(why) = &self.unreadable {
                return Err((not_resumed(&error, why), true));
            }
            // In a box, so that answers that do not break need no room for it.
            let resumed = Box::pin(self.exchange.resume(&mut self.resume, error)).await;
            self.events = Some(resumed.map_err(|error| (error, true))?);
        }
    }

    /// Reads one frame: a message, or a batch from a server that may send one.
    fn take_frame(&mut self, frame: Bytes) -> Result<(), TransportError> {
        let payload = parse(&frame, &self.exchange.options().limits, self.exchange.allows_batches());
        self.take(payload.map_err(|error| unusable(&error))?, &frame);
        Ok(())
    }

    fn take(&mut self, payload: Payload, frame: &Bytes) {
        match payload {
            Payload::Single(message) => self.take_message(message, frame),
            Payload::Batch(entries) => {
                for entry in entries {
                    match entry {
                        Ok(message) => self.take_message(message, frame),
                        Err(error) => self.ready.push_back(Err(unusable(&error))),
                    }
                }
            }
        }
    }

    fn take_message(&mut self, mut message: Message, frame: &Bytes) {
        if self.exchange.settle(&mut message) {
            self.complete = true;
            // Now and not at the end: the caller may drop the stream as soon as it has the answer.
            if let Some(events) = self.events.take() {
                events.release();
            }
        }
        self.ready.push_back(Ok(Incoming { message, frame: frame.clone() }));
    }
}

/// Reads a frame: a message, or a batch from a server that may send one.
pub(crate) fn parse(frame: &Bytes, limits: &Limits, batches: bool) -> Result<Payload, ParseError> {
    if batches { Payload::parse(frame, limits) } else { Message::parse(frame, limits).map(Payload::Single) }
}

pub(crate) fn unusable(error: &ParseError) -> TransportError {
    failure::payload(format!("unusable message: {error}"))
}
