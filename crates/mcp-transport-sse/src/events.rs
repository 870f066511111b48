//! The events of one stream, as long as it shows signs of life.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use mcp_http_client::{Body, Event, EventDecoder, failure};
use mcp_transport::TransportError;
use tokio::time::timeout;

/// The body of an event stream, piece by piece.
pub(crate) type Chunks = BoxStream<'static, Result<Bytes, TransportError>>;

/// Reads events.
pub(crate) struct Events {
    chunks: Chunks,
    decoder: EventDecoder,
    /// Longest time without any byte.
    silence: Option<Duration>,
    origin: String,
    /// The last wait before a reconnect the server asked for.
    retry: Option<Duration>,
}

impl Events {
    /// Events of at most `limit` bytes. Without a byte for twice the `heartbeat` the stream is dead.
    pub(crate) fn new(chunks: Chunks, limit: usize, heartbeat: Option<Duration>, origin: &str) -> Self {
        Self {
            chunks,
            decoder: EventDecoder::new(limit),
            silence: heartbeat.map(|heartbeat| heartbeat.saturating_mul(2)),
            origin: origin.to_owned(),
            retry: None,
        }
    }

    /// The wait before a reconnect the server asked for, if any.
    pub(crate) fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Scheme, host and port of the server.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// The next event. An error of kind [`Payload`](mcp_transport::TransportErrorKind::Payload) concerns one
    /// event, any other is the end. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Event, TransportError> {
        loop {
            match self.decoder.next() {
                Some(Ok(event)) => {
                    self.retry = event.retry.or(self.retry);
                    return Ok(event);
                }
                Some(Err(error)) if error.is_fatal() => return Err(failure::closed(error.to_string())),
                Some(Err(error)) => return Err(failure::payload(error.to_string())),
                None => {}
            }
            match self.chunk().await? {
                Some(chunk) => self.decoder.feed(chunk),
                None => {
                    return Err(failure::closed(format!("{} closed its event stream", self.origin)));
                }
            }
        }
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, TransportError> {
        let next = self.chunks.next();
        let next = match self.silence {
            None => next.await,
            Some(silence) => timeout(silence, next).await.map_err(|_| {
                failure::closed(format!(
                    "{} sent nothing on its event stream for {silence:?}, not even a heartbeat",
                    self.origin
                ))
            })?,
        };
        next.transpose()
    }
}

/// The pieces of a body, up to its end or an error.
pub(crate) fn chunks(body: Body) -> Chunks {
    let pieces = stream::unfold(Some(body), |body| async move {
        let mut body = body?;
        match body.chunk().await {
            Ok(chunk) => chunk.map(|chunk| (Ok(chunk), Some(body))),
            Err(error) => Some((Err(error), None)),
        }
    });
    pieces.boxed()
}

#[cfg(test)]
mod tests {
    use mcp_transport::TransportErrorKind;
    use tokio::time::{Instant, sleep};

    use super::*;

    fn events(chunks: Chunks, heartbeat: Option<u64>) -> Events {
        Events::new(chunks, 1024, heartbeat.map(Duration::from_secs), "http://a.example")
    }

    #[tokio::test(start_paused = true)]
    async fn any_byte_is_a_sign_of_life() {
        let started = Instant::now();
        let pieces = stream::iter(["", ": ping\n", "\n", "data:", "x\n\n"]).then(|bytes| async {
            sleep(Duration::from_secs(19)).await;
            Ok(Bytes::from_static(bytes.as_bytes()))
        });
        let mut events = events(pieces.chain(stream::pending()).boxed(), Some(10));
        assert_eq!(events.next().await.unwrap().data, "x");
        assert_eq!(started.elapsed(), Duration::from_secs(95));
        let error = events.next().await.unwrap_err();
        assert_eq!(started.elapsed(), Duration::from_secs(115), "dead after two intervals");
        let text = "http://a.example sent nothing on its event stream for 20s, not even a heartbeat";
        assert_eq!(error.kind, TransportErrorKind::Closed(text.into()));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_heartbeat_silence_is_no_death() {
        let late = stream::once(async {
            sleep(Duration::from_secs(1_000_000)).await;
            Ok(Bytes::from_static(b"data:x\n\n"))
        });
        assert_eq!(events(late.boxed(), None).next().await.unwrap().data, "x");
    }

    #[tokio::test]
    async fn the_last_wait_asked_for_is_kept() {
        let pieces = ["retry: 5\n\n", "retry: x\ndata: a\n\nretry: 7\ndata: b\n\ndata: c\n\n"];
        let pieces = stream::iter(pieces.map(|bytes| Ok(Bytes::from_static(bytes.as_bytes()))));
        let mut events = events(pieces.boxed(), None);
        let mut seen = Vec::new();
        for _ in 0..4 {
            let event = events.next().await.unwrap();
            seen.push((event.data, events.retry().map(|retry| retry.as_millis())));
        }
        let expected = [("", 5), ("a", 5), ("b", 7), ("c", 7)];
        assert_eq!(seen, expected.map(|(data, millis)| (Bytes::from_static(data.as_bytes()), Some(millis))));
        let error = events.next().await.unwrap_err();
        assert_eq!(error.to_string(), "http://a.example closed its event stream");
    }

    #[tokio::test]
    async fn what_does_not_end_ends_the_stream() {
        let bomb = stream::repeat_with(|| Ok(Bytes::from_static(b"data: x\n: y\n")));
        let mut events = events(bomb.boxed(), None);
        let kinds = [events.next().await.unwrap_err().kind, events.next().await.unwrap_err().kind];
        assert!(
            matches!(kinds, [TransportErrorKind::Payload(_), TransportErrorKind::Closed(_)]),
            "{kinds:?}"
        );
    }
}
