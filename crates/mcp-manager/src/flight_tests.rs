//! The single flight, with tokio's tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use crate::flight::Flight;

#[tokio::test]
async fn concurrent_callers_share_one_run_and_later_ones_start_another() {
    let flight = Arc::new(Flight::<usize>::new());
    let (runs, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let call = || {
        let (flight, runs, gate) = (flight.clone(), runs.clone(), gate.clone());
        async move {
            let work = || async move {
                let run = runs.fetch_add(1, Ordering::SeqCst);
                gate.acquire().await.unwrap().forget();
                run
            };
            flight.run(work).await
        }
    };
    let callers: Vec<_> = (0..10).map(|_| tokio::spawn(call())).collect();
    gate.add_permits(1);
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Some(0));
    }
    gate.add_permits(1);
    assert_eq!(call().await, Some(1));
}

/// A flight whose starter has left before the run ended, what lets it end, and what says that it has.
async fn abandoned() -> (Arc<Flight<u8>>, Arc<Semaphore>, Arc<Semaphore>) {
    let flight = Arc::new(Flight::new());
    let [started, gate, ended] = [(); 3].map(|()| Arc::new(Semaphore::new(0)));
    let starter = {
        let (flight, started, gate, ended) = (flight.clone(), started.clone(), gate.clone(), ended.clone());
        let work = || async move {
            started.add_permits(1);
            gate.acquire().await.unwrap().forget();
            ended.add_permits(1);
            7
        };
        tokio::spawn(async move { flight.run(work).await })
    };
    started.acquire().await.unwrap().forget();
    starter.abort();
    (flight, gate, ended)
}

#[tokio::test]
async fn a_run_survives_the_caller_that_started_it() {
    let (flight, gate, _) = abandoned().await;
    gate.add_permits(1);
    assert_eq!(flight.run(|| async { 8 }).await, Some(7));
}

#[tokio::test]
async fn the_outcome_of_a_run_that_ended_unheard_is_not_handed_out_later() {
    let (flight, gate, ended) = abandoned().await;
    gate.add_permits(1);
    ended.acquire().await.unwrap().forget();
    assert_eq!(flight.run(|| async { 8 }).await, Some(8));
}

#[tokio::test]
async fn a_panic_reaches_the_callers_as_none() {
    let flight = Flight::<u8>::new();
    assert_eq!(flight.run(|| async { panic!("expected by the test") }).await, None);
    assert_eq!(flight.run(|| async { 1 }).await, Some(1));
}
