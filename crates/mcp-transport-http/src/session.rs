//! The session of the handshake era: taken from the answer to `initialize`, echoed, ended.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use http::header::{HeaderMap, HeaderValue};
use mcp_http_client::SESSION_ID;
use mcp_protocol::{Era, ProtocolVersion};

/// A longer id is ignored: it would be sent back with every message.
const LONGEST_ID: usize = 4096;

/// A session the server gave us. The slot holds it while it is in use, and every exchange it was sent with
/// until that has ended.
pub(crate) struct Session {
    /// Its id. Whoever knows it can speak in our name, so it is marked as sensitive.
    id: HeaderValue,
    /// The `Authorization` it was opened with, if that was not the endpoint's: who may end it and listen in it.
    authorization: Option<HeaderValue>,
    /// The revision last used in it.
    version: Mutex<Option<ProtocolVersion>>,
    /// Whether the server said that it is gone, or is being told so. The id is still sent, so that every
    /// caller learns of it until the next `initialize`.
    over: AtomicBool,
}

/// What a session is made of, should the server agree to open it.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) id: HeaderValue,
    pub(crate) authorization: Option<HeaderValue>,
}

/// The session in use, at most one at a time, and those before it that are not done yet.
#[derive(Debug, Default)]
pub(crate) struct SessionSlot(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    session: Option<Arc<Session>>,
    /// Replaced, but exchanges still run on them. There are no more of them than such exchanges.
    draining: Vec<Weak<Session>>,
    closed: bool,
}

impl Session {
    fn new(Offer { id, authorization }: Offer) -> Self {
        Self { id, authorization, version: Mutex::default(), over: AtomicBool::new(false) }
    }

    pub(crate) fn id(&self) -> &HeaderValue {
        &self.id
    }

    pub(crate) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    pub(crate) fn version(&self) -> Option<ProtocolVersion> {
        *self.version.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that it is over. Returns whether that is news, which only one caller is told.
    pub(crate) fn end(&self) -> bool {
        !self.over.swap(true, Ordering::Relaxed)
    }

    fn is_open(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    fn use_with(&self, version: ProtocolVersion) {
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) = Some(version);
    }
}

impl SessionSlot {
    /// The session to send a message other than `initialize` in. Stateless requests have none.
    pub(crate) fn session_for(&self, version: Option<ProtocolVersion>) -> Option<Arc<Session>> {
        let version = version.filter(|version| version.era() == Era::Handshake)?;
        let session = self.lock().session.clone()?;
        session.use_with(version);
        Some(session)
    }

    /// Puts the outcome of an `initialize` in place. Returns the session that no new message is sent in.
    #[must_use = "the session returned may still be open at the server"]
    pub(crate) fn replace(&self, offer: Option<Offer>) -> Option<Arc<Session>> {
        let session = offer.map(|offer| Arc::new(Session::new(offer)));
        let mut state = self.lock();
        // The answer may have crossed with `close`.
        if state.closed {
            return session;
        }
        let old = std::mem::replace(&mut state.session, session)?;
        if state.session.as_ref().is_some_and(|new| new.id == old.id) {
            // The server goes on with the same session: ending the old one would end the new one.
            old.end();
        }
        state.draining.retain(|session| session.strong_count() > 0);
        state.draining.push(Arc::downgrade(&old));
        Some(old)
    }

    /// Whether a session is in use.
    pub(crate) fn is_open(&self) -> bool {
        self.lock().session.as_ref().is_some_and(|session| session.is_open())
    }

    /// Ends the use of the slot. Returns the sessions that are still open at the server, each marked as
    /// over, so that nobody else ends it.
    #[must_use = "the sessions returned are still open at the server"]
    pub(crate) fn close(&self) -> Vec<Arc<Session>> {
        let mut state = self.lock();
        state.closed = true;
        let draining =
            std::mem::take(&mut state.draining).into_iter().filter_map(|session| session.upgrade());
        draining.chain(state.session.take()).filter(|session| session.end()).collect()
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
        f.debug_struct("Session").field("over", &self.over).finish_non_exhaustive()
    }
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

    fn offer(text: &'static str) -> Option<Offer> {
        id(text).map(|id| Offer { id, authorization: None })
    }

    fn id_for(slot: &SessionSlot, version: Option<ProtocolVersion>) -> Option<HeaderValue> {
        slot.session_for(version).map(|session| session.id().clone())
    }

    #[test]
    fn only_handshake_messages_carry_the_id() {
        let slot = SessionSlot::default();
        assert!(slot.replace(offer("a")).is_none());
        for (version, sent) in [(H, id("a")), (None, None), (Some(ProtocolVersion::LATEST_STATELESS), None)] {
            assert_eq!(id_for(&slot, version), sent, "{version:?}");
        }
        assert_eq!(slot.session_for(H).unwrap().version(), H);
    }

    #[test]
    fn a_new_session_returns_the_old_one_unless_it_is_gone() {
        let slot = SessionSlot::default();
        assert!(slot.replace(offer("a")).is_none());
        let old = slot.replace(offer("b")).unwrap();
        assert_eq!(Some(old.id()), id("a").as_ref());
        assert!(old.end(), "nobody has ended it");
        assert!(slot.is_open(), "the news concerned the old session");
        assert!(slot.session_for(H).unwrap().end());
        assert!(!slot.is_open());
        assert_eq!(id_for(&slot, H), id("b"), "every caller gets to know");
        assert!(!slot.replace(offer("c")).unwrap().end(), "it was gone before");
        assert!(slot.replace(None).unwrap().end());
        assert_eq!(id_for(&slot, H), None);
    }

    #[test]
    fn the_same_id_again_is_the_same_session() {
        let slot = SessionSlot::default();
        assert!(slot.replace(offer("a")).is_none());
        assert!(!slot.replace(offer("a")).unwrap().end(), "the old one is not to be ended");
        assert!(slot.is_open());
        assert_eq!(slot.close().len(), 1);
    }

    #[test]
    fn closing_returns_the_sessions_still_held_as_well() {
        let slot = SessionSlot::default();
        assert!(slot.replace(offer("a")).is_none());
        let held = slot.session_for(H).unwrap();
        drop(slot.replace(offer("b")));
        drop(slot.replace(offer("c")));
        let closed: Vec<_> = slot.close().iter().map(|session| Some(session.id().clone())).collect();
        assert_eq!(closed, [id("a"), id("c")]);
        assert!(!held.end(), "closing has ended it");
    }

    #[test]
    fn a_session_that_arrives_after_close_is_given_back() {
        let slot = SessionSlot::default();
        assert!(slot.close().is_empty());
        assert_eq!(slot.replace(offer("late")).map(|session| session.id().clone()), id("late"));
        assert!(slot.close().is_empty() && slot.is_closed() && !slot.is_open());
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
