//! The session of the handshake era: taken from the answer to `initialize`, echoed, ended.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mcp_protocol::{Era, ProtocolVersion};
use reqwest::header::{HeaderMap, HeaderValue};

use crate::headers::SESSION_ID;

/// A longer id is ignored: it would be sent back with every message.
const LONGEST_ID: usize = 4096;

/// A session the server gave us.
#[derive(Clone)]
pub(crate) struct Session {
    /// Its id. Whoever knows it can speak in our name, so it is marked as sensitive.
    pub(crate) id: HeaderValue,
    /// The revision last used in it.
    pub(crate) version: Option<ProtocolVersion>,
    /// Whether the server said that it is gone. The id is still sent, so that every caller learns of it
    /// until the next `initialize`.
    expired: bool,
}

/// The session in use, at most one at a time.
#[derive(Debug, Default)]
pub(crate) struct SessionSlot(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    session: Option<Session>,
    closed: bool,
}

impl SessionSlot {
    /// The id to send with a message other than `initialize`. Stateless requests carry none.
    pub(crate) fn id_for(&self, version: Option<ProtocolVersion>) -> Option<HeaderValue> {
        let version = version.filter(|version| version.era() == Era::Handshake)?;
        let mut state = self.lock();
        let session = state.session.as_mut()?;
        session.version = Some(version);
        Some(session.id.clone())
    }

    /// Puts the outcome of an `initialize` in place. Returns the session that has no further use.
    #[must_use = "the session returned is still open at the server"]
    pub(crate) fn replace(&self, id: Option<HeaderValue>) -> Option<Session> {
        let session = id.map(|id| Session { id, version: None, expired: false });
        let mut state = self.lock();
        // The answer may have crossed with `close`.
        if state.closed { session } else { std::mem::replace(&mut state.session, session).filter(is_open) }
    }

    /// The server no longer knows `id`. A session opened since then stays untouched.
    pub(crate) fn expire(&self, id: &HeaderValue) {
        if let Some(session) = self.lock().session.as_mut().filter(|session| session.id == id) {
            session.expired = true;
        }
    }

    /// Whether a session is in use.
    pub(crate) fn is_open(&self) -> bool {
        self.lock().session.as_ref().is_some_and(is_open)
    }

    /// Ends the use of the slot. Returns the session that is still open at the server.
    #[must_use = "the session returned is still open at the server"]
    pub(crate) fn close(&self) -> Option<Session> {
        let mut state = self.lock();
        state.closed = true;
        state.session.take().filter(is_open)
    }

    /// Whether [`close`](Self::close) was called.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// No code panics while it holds the lock, and the state is whole between any two statements.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("expired", &self.expired).finish_non_exhaustive()
    }
}

fn is_open(session: &Session) -> bool {
    !session.expired
}

/// The session id in the head of an answer: visible ASCII, or it is ignored.
/// Source: MCP 2025-11-25, Transports, "Session Management".
pub(crate) fn offered(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut id = headers.get(SESSION_ID)?.clone();
    let visible = id.as_bytes().iter().all(|byte| (0x21..=0x7e).contains(byte));
    if id.is_empty() || id.len() > LONGEST_ID || !visible {
        tracing::warn!(
            bytes = id.len(),
            "the server's session id is not visible ASCII of a sane length, ignored"
        );
        return None;
    }
    id.set_sensitive(true);
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: Option<ProtocolVersion> = Some(ProtocolVersion::LATEST_HANDSHAKE);

    fn id(text: &'static str) -> Option<HeaderValue> {
        Some(HeaderValue::from_static(text))
    }

    #[test]
    fn only_handshake_messages_carry_the_id() {
        let slot = SessionSlot::default();
        assert!(slot.replace(id("a")).is_none());
        for (version, sent) in [(H, id("a")), (None, None), (Some(ProtocolVersion::LATEST_STATELESS), None)] {
            assert_eq!(slot.id_for(version), sent, "{version:?}");
        }
    }

    #[test]
    fn a_new_session_returns_the_old_one_unless_it_is_gone() {
        let slot = SessionSlot::default();
        assert!(slot.replace(id("a")).is_none());
        let old = slot.replace(id("b")).unwrap();
        assert_eq!(Some(old.id), id("a"));
        slot.expire(&HeaderValue::from_static("a"));
        assert!(slot.is_open(), "the news concerned the old session");
        slot.expire(&HeaderValue::from_static("b"));
        assert!(!slot.is_open());
        assert_eq!(slot.id_for(H), id("b"), "every caller gets to know");
        assert!(slot.replace(id("c")).is_none());
        assert!(slot.replace(None).is_some());
        assert_eq!(slot.id_for(H), None);
    }

    #[test]
    fn a_session_that_arrives_after_close_is_given_back() {
        let slot = SessionSlot::default();
        assert!(slot.close().is_none());
        assert_eq!(slot.replace(id("late")).map(|session| session.id), id("late"));
        assert!(slot.close().is_none() && slot.is_closed() && !slot.is_open());
    }

    #[test]
    fn ids_that_are_not_visible_ascii_are_ignored() {
        for (value, taken) in [
            (b"0123-abc~!".to_vec(), true),
            (vec![b'x'; LONGEST_ID], true),
            (vec![b'x'; LONGEST_ID + 1], false),
            (b"a b".to_vec(), false),
            (b"a\tb".to_vec(), false),
            (b"caf\xe9".to_vec(), false),
            (Vec::new(), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(SESSION_ID, HeaderValue::from_bytes(&value).unwrap());
            assert_eq!(offered(&headers).is_some(), taken, "{:?}", headers);
        }
    }
}
