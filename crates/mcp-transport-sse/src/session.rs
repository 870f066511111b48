//! What the sending and the reading side of one connection share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mcp_http_client::failure;
use mcp_protocol::RequestId;
use mcp_transport::{Delivery, TransportError, TransportErrorKind};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// Whether the session lives, when it was last heard from, and which requests are being posted.
#[derive(Debug)]
pub(crate) struct Session {
    end: watch::Sender<Option<End>>,
    heard: Mutex<Option<Instant>>,
    /// Requests whose POST has not returned yet, and how their senders learn that the answer came first.
    posting: Mutex<HashMap<RequestId, oneshot::Sender<()>>>,
}

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// We closed it.
    Closed,
    /// The stream was lost.
    Lost(TransportErrorKind),
    /// A message was refused since the server of this origin knows no such session.
    Forgotten(String),
}

impl End {
    /// What whoever still wants to send is told.
    pub(crate) fn unsent(&self) -> TransportError {
        let kind = match self {
            Self::Closed => TransportErrorKind::Closed("the connection was closed".into()),
            Self::Lost(kind) => kind.clone(),
            Self::Forgotten(_) => TransportErrorKind::SessionExpired,
        };
        TransportError::new(kind, Delivery::NotSent)
    }

    /// What is told of messages that were sent. That the session is forgotten is the answer to one of them: the
    /// others may have been executed before, and must not look as if they had been refused.
    pub(crate) fn sent(&self) -> TransportError {
        match self {
            Self::Forgotten(origin) => failure::closed(format!("{origin} has forgotten the session")),
            Self::Closed | Self::Lost(_) => TransportError { delivery: Delivery::Unknown, ..self.unsent() },
        }
    }
}

impl Session {
    /// A session whose stream has just been opened.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { end: watch::Sender::new(None), heard: Mutex::default(), posting: Mutex::default() })
    }

    /// Ends it, unless it is over already.
    pub(crate) fn end(&self, how: End) {
        self.end.send_if_modified(|end| {
            let first = end.is_none();
            if first {
                *end = Some(how);
            }
            first
        });
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&self) -> Option<End> {
        self.end.borrow().clone()
    }

    /// Waits until it is over.
    pub(crate) async fn over(&self) -> End {
        let mut end = self.end.subscribe();
        // The sender lives as long as `self`, so there is always an end to wait for.
        let end = end.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
        end.unwrap_or(End::Closed)
    }

    /// Notes that an event came.
    pub(crate) fn heard(&self) {
        *lock(&self.heard) = Some(Instant::now());
    }

    /// When the last event came.
    pub(crate) fn last_heard(&self) -> Option<Instant> {
        *lock(&self.heard)
    }

    /// Waits, from now on, for the answer to a request that is about to be posted.
    pub(crate) fn expect(&self, id: &RequestId) -> Expected<'_> {
        let (answered, came) = oneshot::channel();
        lock(&self.posting).insert(id.clone(), answered);
        Expected { session: self, id: id.clone(), came }
    }

    /// The answer to a request has come.
    pub(crate) fn answered(&self, id: &RequestId) {
        if let Some(answered) = lock(&self.posting).remove(id) {
            // Its sender has just learned it from the POST itself, or is gone.
            let _ = answered.send(());
        }
    }
}

/// An answer that may come before its POST returns. Dropping it gives up waiting.
#[derive(Debug)]
pub(crate) struct Expected<'a> {
    session: &'a Session,
    id: RequestId,
    came: oneshot::Receiver<()>,
}

impl Expected<'_> {
    /// Resolves when the answer has come, or never. Cancel safe.
    pub(crate) async fn came(&mut self) {
        if (&mut self.came).await.is_err() {
            // Replaced by another request of the same id.
            std::future::pending().await
        }
    }
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        lock(&self.session.posting).remove(&self.id);
    }
}

/// No code panics while it holds one of the locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn lost() -> End {
        End::Lost(failure::closed("lost").kind)
    }

    #[test]
    fn a_forgotten_session_is_the_answer_to_no_message_that_was_sent() {
        let closed = |text: &str| TransportErrorKind::Closed(text.into());
        for (end, unsent, sent) in [
            (End::Closed, closed("the connection was closed"), closed("the connection was closed")),
            (lost(), closed("lost"), closed("lost")),
            (
                End::Forgotten("http://a.example".into()),
                TransportErrorKind::SessionExpired,
                closed("http://a.example has forgotten the session"),
            ),
        ] {
            assert_eq!(end.unsent(), TransportError::new(unsent, Delivery::NotSent));
            assert_eq!(end.sent(), TransportError::new(sent, Delivery::Unknown));
        }
    }

    #[tokio::test]
    async fn the_first_end_counts() {
        let session = Session::new();
        assert_eq!(session.ended(), None);
        assert!(session.over().now_or_never().is_none());
        session.end(lost());
        session.end(End::Closed);
        assert_eq!(session.ended(), Some(lost()));
        assert_eq!(session.over().await, lost());
    }

    #[tokio::test]
    async fn answers_find_those_who_are_still_posting() {
        let session = Session::new();
        let (one, text) = (RequestId::Integer(1), RequestId::from("1"));
        let mut expected = session.expect(&one);
        session.answered(&text);
        assert!(expected.came().now_or_never().is_none(), "the type is part of the id");
        session.answered(&one);
        assert!(expected.came().now_or_never().is_some());
        drop(expected);
        drop(session.expect(&one));
        assert!(lock(&session.posting).is_empty());
    }
}
