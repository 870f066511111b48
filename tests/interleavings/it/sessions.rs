//! A session's place and its end: it is ended once, after its users, and a failure is recorded once.

use std::sync::Arc;

use futures::future::join_all;
use shuttle::future::{JoinHandle, block_on, spawn, yield_now};
use shuttle::sync::atomic::Ordering::SeqCst;
use tokio::sync::oneshot;

use crate::drain::Drain;
use crate::schedules::check;
use crate::slot::Slot;
use crate::sync::{AtomicBool, AtomicUsize};

/// A connection and those who use it, as the manager's sessions have them.
struct Session {
    calls: Drain,
    /// The connection works.
    open: AtomicBool,
    ends: AtomicUsize,
    blamed: AtomicUsize,
}

impl Session {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            calls: Drain::default(),
            open: AtomicBool::new(true),
            ends: AtomicUsize::new(0),
            blamed: AtomicUsize::new(0),
        })
    }

    async fn end(&self, cut: impl Future<Output = ()>) {
        self.calls.end(cut).await;
        self.open.store(false, SeqCst);
        self.ends.fetch_add(1, SeqCst);
    }

    /// A call: what came of it.
    async fn call(&self) -> Called {
        let Some(_user) = self.calls.enter() else { return Called::Refused };
        for _ in 0..2 {
            if !self.open.load(SeqCst) {
                if self.calls.take_blame() {
                    self.blamed.fetch_add(1, SeqCst);
                }
                return Called::Failed;
            }
            yield_now().await;
        }
        Called::Answered
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Called {
    Answered,
    Failed,
    /// It has to look for another session.
    Refused,
}

/// A slot that holds a session.
fn occupied() -> (Arc<Slot<Session>>, Arc<Session>) {
    let (slot, session) = (Slot::new(), Session::new());
    assert!(slot.install(session.clone()).is_none());
    (Arc::new(slot), session)
}

/// A call on whatever session the slot holds.
fn caller(slot: &Arc<Slot<Session>>) -> JoinHandle<Called> {
    let slot = slot.clone();
    spawn(async move {
        match slot.get() {
            Some(session) => session.call().await,
            None => Called::Refused,
        }
    })
}

async fn outcomes(callers: impl IntoIterator<Item = JoinHandle<Called>>) -> Vec<Called> {
    join_all(callers).await.into_iter().map(Result::unwrap).collect()
}

#[test]
fn who_is_let_in_keeps_the_connection() {
    check(|| {
        let (slot, session) = occupied();
        let callers = [caller(&slot), caller(&slot), caller(&slot)];
        let ending = spawn({
            let session = slot.retire().unwrap();
            async move { session.end(std::future::pending()).await }
        });
        block_on(async {
            let outcomes = outcomes(callers).await;
            assert!(!outcomes.contains(&Called::Failed), "{outcomes:?}");
            ending.await.unwrap();
        });
        assert_eq!(block_on(session.call()), Called::Refused);
        assert!(session.calls.is_ended() && session.calls.is_unused());
    });
}

#[test]
fn a_cut_ends_it_at_once_and_is_nobodys_fault() {
    check(|| {
        let (slot, session) = occupied();
        // One call that would never end by itself.
        let _stuck = session.calls.enter().unwrap();
        let callers = [caller(&slot), caller(&slot)];
        let (cut, is_cut) = oneshot::channel::<()>();
        let ending = spawn({
            let session = slot.retire().unwrap();
            async move {
                session
                    .end(async {
                        let _ = is_cut.await;
                    })
                    .await;
            }
        });
        block_on(async {
            yield_now().await;
            assert!(!session.calls.is_ended(), "ended although in use and not cut");
            drop(cut);
            ending.await.unwrap();
            outcomes(callers).await;
        });
        assert_eq!(session.blamed.load(SeqCst), 0);
        assert!(!session.calls.take_blame());
    });
}

#[test]
fn a_broken_connection_is_recorded_once_and_ended_once() {
    check(|| {
        let (slot, session) = occupied();
        let caller = || {
            let slot = slot.clone();
            spawn(async move {
                let Some(session) = slot.get() else { return false };
                let called = session.call().await;
                if called == Called::Failed && slot.take_if(&session) {
                    session.end(std::future::pending()).await;
                }
                called == Called::Failed
            })
        };
        let callers = [caller(), caller(), caller()];
        // Like the task that watches the connection.
        let watch = spawn({
            let (slot, session) = (slot.clone(), session.clone());
            async move {
                session.open.store(false, SeqCst);
                yield_now().await;
                if slot.take_if(&session) {
                    session.end(std::future::pending()).await;
                }
            }
        });
        block_on(async {
            let failed =
                join_all(callers).await.into_iter().filter(|failed| *failed.as_ref().unwrap()).count();
            watch.await.unwrap();
            assert!(session.blamed.load(SeqCst) <= failed.min(1));
        });
        assert_eq!(session.ends.load(SeqCst), 1);
        assert!(slot.get().is_none());
    });
}

#[test]
fn every_failure_while_nobody_ends_it_is_recorded_by_exactly_one() {
    check(|| {
        let (slot, session) = occupied();
        let callers = [caller(&slot), caller(&slot), caller(&slot)];
        session.open.store(false, SeqCst);
        let outcomes = block_on(outcomes(callers));
        let expected = usize::from(outcomes.contains(&Called::Failed));
        assert_eq!(session.blamed.load(SeqCst), expected, "{outcomes:?}");
    });
}

/// Puts sessions into the slot, one after the other, and ends what comes out.
fn installer(slot: &Arc<Slot<Session>>, sessions: &[Arc<Session>]) -> JoinHandle<()> {
    let (slot, sessions) = (slot.clone(), sessions.to_vec());
    spawn(async move {
        for session in sessions {
            if let Some(out) = slot.install(session) {
                out.end(std::future::pending()).await;
            }
        }
    })
}

#[test]
fn every_session_comes_out_of_its_place_exactly_once() {
    check(|| {
        let (slot, first) = occupied();
        let more = [(); 4].map(|()| Session::new());
        let installers = [installer(&slot, &more[..2]), installer(&slot, &more[2..])];
        let remover = spawn({
            let (slot, first) = (slot.clone(), first.clone());
            async move {
                if slot.take_if(&first) {
                    first.end(std::future::pending()).await;
                }
                if let Some(session) = slot.take() {
                    session.end(std::future::pending()).await;
                }
                if let Some(session) = slot.retire() {
                    session.end(std::future::pending()).await;
                }
                assert!(slot.is_retired());
            }
        });
        block_on(async {
            remover.await.unwrap();
            join_all(installers).await;
        });
        assert!(slot.is_retired() && slot.get().is_none(), "a session was left behind");
        for session in more.iter().chain([&first]) {
            assert_eq!(session.ends.load(SeqCst), 1);
        }
    });
}
