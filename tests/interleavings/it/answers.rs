//! The pending map: every request gets one outcome, whoever else is quick.

use std::sync::{Arc, PoisonError};

use futures::future::join_all;
use shuttle::future::{block_on, spawn};
use shuttle::sync::atomic::Ordering::SeqCst;
use tokio::sync::oneshot;

use crate::pending::{Owner, Pending};
use crate::schedules::check;
use crate::sync::{AtomicUsize, Mutex, MutexGuard};

/// What a request ends with.
type Outcome = Result<i64, &'static str>;

type Map = Pending<oneshot::Sender<Outcome>, &'static str>;

/// A connection's requests, under the lock as the client has them.
struct Connection {
    pending: Mutex<Map>,
    /// Requests taken out of the map, by whomever.
    taken: AtomicUsize,
}

impl Connection {
    fn new() -> Arc<Self> {
        Arc::new(Self { pending: Mutex::new(Pending::new()), taken: AtomicUsize::new(0) })
    }

    fn pending(&self) -> MutexGuard<'_, Map> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request, which gives up when dropped. The server answers it twice.
    async fn request(self: &Arc<Self>, id: i64) -> Outcome {
        self.request_answered(id, 2).await
    }

    /// The same, answered so many times.
    async fn request_answered(self: &Arc<Self>, id: i64, times: usize) -> Outcome {
        let (answer, outcome) = oneshot::channel();
        self.pending().insert(id, answer)?;
        let _ticket = Ticket(self.clone(), id);
        for _ in 0..times {
            let connection = self.clone();
            drop(spawn(async move { connection.answer(id) }));
        }
        outcome.await.expect("the map gave the request up")
    }

    fn answer(&self, id: i64) {
        if let Owner::Waiter(waiter) = self.pending().answer(&id.into()) {
            self.taken.fetch_add(1, SeqCst);
            let _ = waiter.send(Ok(id));
        }
    }

    fn close(&self, reason: &'static str) {
        for waiter in self.pending().close(reason) {
            self.taken.fetch_add(1, SeqCst);
            let _ = waiter.send(Err(reason));
        }
    }
}

/// Gives a request up that ends without its answer.
struct Ticket(Arc<Connection>, i64);

impl Drop for Ticket {
    fn drop(&mut self) {
        let forgotten = self.0.pending().forget(self.1);
        self.0.taken.fetch_add(usize::from(forgotten), SeqCst);
    }
}

#[test]
fn answers_reach_those_who_asked_once() {
    check(|| {
        let connection = Connection::new();
        let caller = |id| {
            let connection = connection.clone();
            spawn(async move { assert_eq!(connection.request(id).await, Ok(id)) })
        };
        block_on(async {
            for caller in [caller(1), caller(2), caller(3)] {
                caller.await.unwrap();
            }
        });
        assert_eq!((connection.taken.load(SeqCst), connection.pending().len()), (3, 0));
    });
}

#[test]
fn nothing_is_left_of_a_request_that_was_given_up() {
    check(|| {
        let connection = Connection::new();
        let caller = |id| {
            let connection = connection.clone();
            spawn(async move { connection.request(id).await })
        };
        let (impatient, patient) = (caller(1), caller(2));
        impatient.abort();
        block_on(async {
            assert_eq!(patient.await.unwrap(), Ok(2));
            // It may have been quicker than the abort.
            if let Ok(outcome) = impatient.await {
                assert_eq!(outcome, Ok(1));
            }
        });
        assert!(connection.pending().get(1).is_none());
        assert_eq!(connection.pending().len(), 0);
    });
}

#[test]
fn the_end_leaves_nobody_waiting() {
    check(|| {
        let connection = Connection::new();
        let caller = |id| {
            let connection = connection.clone();
            // One gets no answer, one gets two.
            spawn(async move { (id, connection.request_answered(id, id as usize).await) })
        };
        let closer = |reason| {
            let connection = connection.clone();
            spawn(async move { connection.close(reason) })
        };
        let callers = [caller(0), caller(1), caller(2)];
        let closers = [closer("lost"), closer("closed")];
        block_on(async {
            join_all(closers).await;
            let mut reasons = Vec::new();
            for caller in callers {
                match caller.await.unwrap() {
                    (id, Ok(answer)) => assert_eq!(answer, id),
                    (_, Err(reason)) => reasons.push(reason),
                }
            }
            assert!(
                reasons.windows(2).all(|pair| pair[0] == pair[1]),
                "two reasons for one end: {reasons:?}"
            );
            assert_eq!(connection.pending().len(), 0);
            assert!(connection.request(3).await.is_err(), "a request after the end");
        });
    });
}

#[test]
fn an_error_without_id_ends_a_request_that_waits_alone_or_none() {
    check(|| {
        let connection = Connection::new();
        let caller = |id| {
            let connection = connection.clone();
            spawn(async move { connection.request(id).await })
        };
        let callers = [caller(1), caller(2)];
        let error = spawn({
            let connection = connection.clone();
            async move {
                let mut pending = connection.pending();
                let alone = pending.only(|_| true).is_some();
                let Some(waiter) = pending.take_only(|_| true) else {
                    assert!(!alone, "who is alone is taken");
                    return 0;
                };
                assert_eq!(pending.len(), 0, "the error could be another one's");
                drop(pending);
                connection.taken.fetch_add(1, SeqCst);
                usize::from(waiter.send(Err("unreadable")).is_ok())
            }
        });
        block_on(async {
            let outcomes = join_all(callers).await;
            let failed = outcomes.iter().filter(|outcome| *outcome.as_ref().unwrap() == Err("unreadable"));
            assert_eq!(failed.count(), error.await.unwrap());
        });
        assert_eq!((connection.taken.load(SeqCst), connection.pending().len()), (2, 0));
    });
}
