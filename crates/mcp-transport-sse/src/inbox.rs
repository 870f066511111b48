//! From the event stream to the inbox.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use mcp_http_client::{Event, failure};
use mcp_protocol::{Limits, Message, ParseError, Payload};
use mcp_transport::{Inbox, Incoming, TransportError, TransportErrorKind};
use url::Url;

use crate::events::Events;
use crate::patience::Patience;
use crate::session::{End, Session};

/// Reads messages until the stream is lost or the session over.
pub(crate) struct Reader {
    pub(crate) events: Events,
    pub(crate) session: Arc<Session>,
    pub(crate) limits: Limits,
    /// Where a server's wish to be left alone is noted, and for which URL.
    pub(crate) patience: Arc<Patience>,
    pub(crate) url: Url,
    /// Read and not given out yet; at most one batch.
    pub(crate) ready: VecDeque<Result<Incoming, TransportError>>,
}

impl Reader {
    /// The stream of messages. Nothing is read unless it is polled.
    pub(crate) fn into_inbox(self) -> Inbox {
        let messages = stream::unfold(Some(self), |reader| async move {
            let mut reader = reader?;
            match reader.next().await {
                Ok(item) => Some((item, Some(reader))),
                Err(End::Closed) => None,
                Err(end) => Some((Err(end.sent()), None)),
            }
        });
        messages.boxed()
    }

    async fn next(&mut self) -> Result<Result<Incoming, TransportError>, End> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(item);
            }
            let event = tokio::select! {
                biased;
                end = self.session.over() => return Err(self.note(end)),
                event = self.events.next() => event,
            };
            match event {
                Ok(event) => self.take(event)?,
                Err(error) if matches!(error.kind, TransportErrorKind::Payload(_)) => return Ok(Err(error)),
                Err(error) => return Err(self.lose(error.kind)),
            }
        }
    }

    fn take(&mut self, event: Event) -> Result<(), End> {
        self.session.heard();
        match &*event.name {
            "message" if !event.data.is_empty() => self.take_frame(event.data),
            "error" => {
                // What it says is the server's text, which does not belong into an error of ours.
                let text = format!("{} sent an error event on its stream", self.events.origin());
                return Err(self.lose(failure::closed(text).kind));
            }
            // A further `endpoint` among them: the first one counts.
            _ => tracing::trace!(origin = self.events.origin(), "an event that is no message"),
        }
        Ok(())
    }

    /// Reads one message, or a batch: a server that agreed on 2025-03-26 may send one.
    fn take_frame(&mut self, frame: Bytes) {
        match Payload::parse(&frame, &self.limits) {
            Ok(Payload::Single(message)) => self.take_message(Ok(message), &frame),
            Ok(Payload::Batch(entries)) => {
                for entry in entries {
                    self.take_message(entry, &frame);
                }
            }
            Err(error) => self.take_message(Err(error), &frame),
        }
    }

    fn take_message(&mut self, message: Result<Message, ParseError>, frame: &Bytes) {
        match &message {
            Ok(Message::Response(response)) => self.session.answered(&response.id),
            Ok(Message::Failure(mcp_protocol::Failure { id: Some(id), .. })) => self.session.answered(id),
            Err(ParseError { id: Some(id), .. }) => self.session.answered(id),
            _ => {}
        }
        self.ready.push_back(message.map(|message| Incoming { message, frame: frame.clone() }).map_err(
            |error| {
                failure::payload(format!("unusable message from the server: {error}")).answering(error.id)
            },
        ));
    }

    fn lose(&self, kind: TransportErrorKind) -> End {
        self.session.end(End::Lost(kind.clone()));
        // Somebody else may have ended it a moment ago.
        self.note(self.session.ended().unwrap_or(End::Lost(kind)))
    }

    fn note(&self, end: End) -> End {
        if let (End::Lost(_) | End::Forgotten(_), Some(retry)) = (&end, self.events.retry()) {
            self.patience.lost(&self.url, retry);
        }
        end
    }
}
