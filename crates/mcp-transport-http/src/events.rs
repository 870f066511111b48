//! An event stream as the messages on it.

use bytes::Bytes;
use mcp_http_client::{Body, EventDecoder, failure};
use mcp_transport::TransportError;

use crate::resume::Resume;

/// An open event stream.
pub(crate) struct Events {
    body: Body,
    decoder: EventDecoder,
}

/// Why there is no next message.
#[derive(Debug)]
pub(crate) enum Broken {
    /// One event is unusable; the stream goes on.
    Event(TransportError),
    /// The server does not keep to the limits; the same would come again.
    Flood(TransportError),
    /// The connection broke.
    Connection(TransportError),
    /// The server ended the stream.
    Ended,
}

impl Events {
    pub(crate) fn new(body: Body, limit: usize) -> Self {
        Self { body, decoder: EventDecoder::new(limit) }
    }

    /// The data of the next message. What events say of resuming is noted. After anything else than
    /// [`Broken::Event`] nothing follows. Nothing is lost if the future is dropped.
    pub(crate) async fn next(&mut self, resume: &mut Resume) -> Result<Bytes, Broken> {
        loop {
            match self.decoder.next() {
                Some(Ok(event)) => {
                    resume.note(&event);
                    if event.is_message() {
                        return Ok(event.data);
                    }
                    continue;
                }
                Some(Err(error)) if error.is_fatal() => {
                    return Err(Broken::Flood(failure::closed(error.to_string())));
                }
                Some(Err(error)) => return Err(Broken::Event(failure::payload(error.to_string()))),
                None => {}
            }
            match self.body.chunk().await {
                Ok(Some(chunk)) => self.decoder.feed(chunk),
                Ok(None) => return Err(Broken::Ended),
                Err(error) => return Err(Broken::Connection(error)),
            }
        }
    }

    /// Lets go of the stream; what is left on it does not matter.
    pub(crate) fn release(self) {
        self.body.release();
    }
}
