//! Calls on behalf of a user: their token, and the sessions of their own. Source: contract §8.5.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use mcp_client::RequestHandler;
use mcp_protocol::ProtocolVersion;
use mcp_protocol::capability::ClientCapabilities;
use mcp_registry::{ServerRecord, Timestamp};
use mcp_transport::{Header, TransportKind};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::flight::Flight;
use crate::handshake::Unready;
use crate::lease::Lease;
use crate::session::Session;
use crate::slot::Slot;

/// On whose behalf a call is made.
#[derive(Clone, Default)]
pub struct UserContext {
    /// Who, for logs.
    pub user_id: Option<String>,
    /// What to send as `Authorization: Bearer …` with this call and nothing else. It is never stored,
    /// logged or put into a body. Stdio servers do not get it.
    pub token: Option<SecretString>,
}

impl fmt::Debug for UserContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "[REDACTED]");
        f.debug_struct("UserContext").field("user_id", &self.user_id).field("token", &token).finish()
    }
}

impl UserContext {
    /// The token, if there is one; an empty one is none.
    fn token(&self) -> Option<&SecretString> {
        self.token.as_ref().filter(|token| !token.expose_secret().is_empty())
    }

    /// What a server gets to see of the user. `addressed`: the caller named this server.
    pub(crate) fn authorization(&self, server: &ServerRecord, addressed: bool) -> Option<Authorization> {
        let token = self.token()?;
        if server.definition.endpoint.kind() == TransportKind::Stdio {
            tracing::warn!(server = %server.name(), "a stdio server gets no user token");
            return None;
        }
        (addressed || server.definition.forward_user_token).then(|| Authorization(token.clone()))
    }
}

/// A user's token on its way to one server.
#[derive(Clone)]
pub(crate) struct Authorization(SecretString);

impl Authorization {
    pub(crate) fn header(&self) -> Header {
        let mut header = Header::new("Authorization", format!("Bearer {}", self.0.expose_secret()));
        header.sensitive = true;
        header
    }
}

/// On whose behalf calls come that a gateway passes on, as far as servers are concerned that keep sessions.
///
/// A server of the handshake era learns once, when a session is opened, what its client is able to do, and asks
/// through that session. So clients that are able to do different things, or that must not share state, need sessions
/// of their own. Source: bridging §3.
pub trait Party: Send + Sync + 'static {
    /// Names the session that this party uses at a server of the handshake era; parties that give the same name share
    /// it. `None`: the server's own, on which nothing can be asked.
    fn seat(&self, server: &ServerRecord) -> Option<Arc<str>>;

    /// What the client is able to do, in the words of a revision.
    fn capabilities(&self, version: ProtocolVersion) -> ClientCapabilities;

    /// Who answers what the server asks on such a session and no call can be found for.
    fn handler(&self, server: &ServerRecord) -> Option<Arc<dyn RequestHandler>>;
}

/// Who sits on a seat.
#[derive(Clone)]
pub(crate) struct Occupant {
    pub(crate) user: Option<Authorization>,
    pub(crate) party: Option<Sitting>,
}

/// A party on one of its seats.
#[derive(Clone)]
pub(crate) struct Sitting {
    /// What the party calls its seats there.
    pub(crate) seat: Arc<str>,
    /// Which of them, counted from 1: more were opened when the ones before were taken.
    pub(crate) number: usize,
    pub(crate) party: Arc<dyn Party>,
}

impl Occupant {
    pub(crate) fn user(user: Authorization) -> Self {
        Self { user: Some(user), party: None }
    }

    fn identity(&self) -> Identity {
        let token = self.user.as_ref().map(|user| user.0.expose_secret());
        identity(token, self.party.as_ref().map(|sitting| (&*sitting.seat, sitting.number)))
    }
}

fn identity(token: Option<&str>, seat: Option<(&str, usize)>) -> Identity {
    let mut hash = Sha256::new();
    hash.update(seat.map_or(0, |(_, number)| number).to_be_bytes());
    for part in [token, seat.map(|(seat, _)| seat)] {
        // Marked and with its length, so that no two pairs look alike.
        hash.update([u8::from(part.is_some())]);
        let part = part.unwrap_or_default();
        hash.update(part.len().to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

/// Tells the users of a server apart without keeping their tokens.
type Identity = [u8; 32];

/// Most connections of one party to a server that are held by calls at the same time.
pub(crate) const MAX_POOL: usize = 16;

/// The place of one user or party at a server of the handshake era, where a session belongs to whoever opened it.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) handshakes: Flight<Result<(), Unready>>,
    pub(crate) session: Slot<Session>,
    /// For calls that may lead to questions, on a channel where a question does not say which call it is about.
    pub(crate) lease: Arc<Lease>,
    /// Which of a party's it is; `None`: a user's.
    number: Option<usize>,
}

impl Seat {
    /// The session, if one is open.
    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        self.session.get().filter(|session| !session.client().is_closed())
    }

    /// Whether the server may still ask something there on account of a call of somebody else that was given up.
    pub(crate) fn owes_others(&self, owner: u64) -> bool {
        self.session().is_some_and(|session| session.client().owes_others(owner))
    }
}

/// The seats of one server.
#[derive(Debug, Default)]
pub(crate) struct Seats(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    seats: BTreeMap<Identity, (u64, Arc<Seat>)>,
    /// Grows with each use: the seat with the lowest number was not used for longest.
    uses: u64,
    retired: bool,
}

/// Most users with a session of their own at one server; one more takes the place of whoever was not seen
/// for longest.
pub(crate) const MAX_SEATS: usize = 256;

impl Seats {
    /// The user's seat, and the sessions to end of those who had to make room: users not seen since
    /// `idle_since`, and, if there is no seat left, the one unused longest. `None` if all seats are in use.
    pub(crate) fn seat(
        &self,
        who: &Occupant,
        idle_since: Option<Timestamp>,
    ) -> Option<(Arc<Seat>, Vec<Arc<Session>>)> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.uses += 1;
        let (uses, identity) = (taken.uses, who.identity());
        if let Some((used, seat)) = taken.seats.get_mut(&identity) {
            *used = uses;
            return Some((seat.clone(), Vec::new()));
        }
        // A call that uses a seat holds it, besides this list.
        let unused = |seat: &Arc<Seat>| Arc::strong_count(seat) == 1 && !seat.handshakes.is_under_way();
        let idle = |seat: &Seat| match (seat.session.get(), idle_since) {
            (None, _) => true,
            (Some(session), Some(since)) => session.last_activity() < since,
            (Some(_), None) => false,
        };
        let mut left: Vec<_> =
            taken.seats.extract_if(.., |_, (_, seat)| unused(seat) && idle(seat)).collect();
        if taken.seats.len() >= MAX_SEATS {
            let free = taken.seats.iter().filter(|(_, (_, seat))| unused(seat));
            let oldest = *free.min_by_key(|(_, (used, _))| *used)?.0;
            left.extend(taken.seats.remove_entry(&oldest));
        }
        let left = left.into_iter().filter_map(|(_, (_, seat))| seat.session.retire()).collect();
        let number = who.party.as_ref().map(|sitting| sitting.number);
        let seat = Seat { handshakes: Flight::new(), session: Slot::new(), lease: Arc::default(), number };
        let seat = Arc::new(seat);
        if taken.retired {
            // Nothing is installed any more; the call fails like any other on a server that is gone.
            let _ = seat.session.retire();
        } else {
            taken.seats.insert(identity, (uses, seat.clone()));
        }
        Some((seat, left))
    }

    /// Takes all sessions away. A handshake under way goes on for nobody; whoever comes waits for its end
    /// before the next one.
    pub(crate) fn clear(&self) -> Vec<Arc<Session>> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let renew = |seat: &mut Arc<Seat>| {
            let left = seat.session.retire();
            let (handshakes, number) = (seat.handshakes.clone(), seat.number);
            *seat = Arc::new(Seat { handshakes, session: Slot::new(), lease: Arc::default(), number });
            left
        };
        taken.seats.values_mut().filter_map(|(_, seat)| renew(seat)).collect()
    }

    /// Takes all sessions away, and lets nobody sit down any more.
    pub(crate) fn retire(&self) -> Vec<Arc<Session>> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retired = true;
        std::mem::take(&mut taken.seats).into_values().filter_map(|(_, seat)| seat.session.retire()).collect()
    }

    /// Takes away the seats of parties that are not used any more: those that were added for calls at the same time,
    /// and the others.
    pub(crate) fn release(&self, added: Timestamp, others: Timestamp) -> Vec<Arc<Session>> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |seat: &Arc<Seat>| {
            let Some(number) = seat.number else { return false };
            let idle_since = if number > 1 { added } else { others };
            Arc::strong_count(seat) == 1
                && !seat.handshakes.is_under_way()
                && seat.session.get().is_none_or(|session| session.last_activity() < idle_since)
        };
        let left: Vec<_> = taken.seats.extract_if(.., |_, (_, seat)| idle(seat)).collect();
        left.into_iter().filter_map(|(_, (_, seat))| seat.session.retire()).collect()
    }

    /// Takes away the seats of a party that has left.
    pub(crate) fn vacate(&self, seat: &Arc<str>) -> Vec<Arc<Session>> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = Vec::new();
        for number in 1..=MAX_POOL {
            let seat = taken.seats.remove(&identity(None, Some((seat, number))));
            left.extend(seat.and_then(|(_, seat)| seat.session.retire()));
        }
        left
    }

    /// Takes a session away if it is one of these; says whether it was.
    pub(crate) fn take_if(&self, session: &Arc<Session>) -> bool {
        self.all().iter().any(|seat| seat.session.take_if(session))
    }

    /// The seats there are.
    pub(crate) fn all(&self) -> Vec<Arc<Seat>> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.seats.values().map(|(_, seat)| seat.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(token: &str) -> Occupant {
        Occupant::user(Authorization(token.into()))
    }

    #[test]
    fn each_token_has_its_seat_and_the_one_unused_longest_makes_room() {
        let seats = Seats::default();
        let seat = |n: usize| seats.seat(&user(&n.to_string()), None).map(|(seat, _)| seat);
        let mut all: Vec<_> = (0..MAX_SEATS).map(|n| seat(n).unwrap()).collect();
        assert!(Arc::ptr_eq(&all[0], &seat(0).unwrap()), "the same token, the same seat");
        assert!(seat(MAX_SEATS).is_none(), "everybody is busy");
        // A seat without a session is of no use to anybody once its call has ended.
        let released = all.remove(5);
        drop(seat(5));
        let weak = Arc::downgrade(&released);
        drop(released);
        assert!(seat(MAX_SEATS).is_some());
        assert!(weak.upgrade().is_none());
        assert_eq!(seats.all().len(), MAX_SEATS);
    }

    #[test]
    fn a_seat_is_one_of_several_by_its_number_and_not_by_its_name() {
        struct Somebody;
        impl Party for Somebody {
            fn seat(&self, _: &ServerRecord) -> Option<Arc<str>> {
                None
            }
            fn capabilities(&self, _: ProtocolVersion) -> ClientCapabilities {
                ClientCapabilities::default()
            }
            fn handler(&self, _: &ServerRecord) -> Option<Arc<dyn RequestHandler>> {
                None
            }
        }
        let seats = Seats::default();
        let seat = |name: &str, number| {
            let party = Some(Sitting { seat: name.into(), number, party: Arc::new(Somebody) });
            seats.seat(&Occupant { user: None, party }, None).unwrap().0
        };
        let (first, second, other) = (seat("a", 1), seat("a", 2), seat("a #2", 1));
        assert!(!Arc::ptr_eq(&second, &other) && !Arc::ptr_eq(&first, &second));
        assert_eq!(seats.all().len(), 3);
        seats.vacate(&"a".into());
        assert!(Arc::ptr_eq(&seat("a #2", 1), &other));
        assert_eq!(seats.all().len(), 1);
    }

    #[test]
    fn nobody_sits_down_after_the_end() {
        let seats = Seats::default();
        let (seat, _) = seats.seat(&user("a"), None).unwrap();
        assert_eq!(seats.retire().len(), 0);
        assert!(seat.session.is_retired());
        assert!(seats.seat(&user("b"), None).unwrap().0.session.is_retired());
        assert_eq!(seats.all().len(), 0);
    }

    #[test]
    fn tokens_show_nowhere() {
        let context = UserContext { user_id: Some("u1".into()), token: Some("hunter2".into()) };
        let header = context.token().map(|token| Authorization(token.clone()).header());
        let shown = format!("{context:?} {header:?}");
        assert!(shown.contains("u1") && !shown.contains("hunter2"), "{shown}");
        let empty = UserContext { token: Some("".into()), ..UserContext::default() };
        assert!(empty.token().is_none());
    }
}
