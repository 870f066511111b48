//! How many requests a server is sent. Source: contract §7.5, "Rate limiting".

use std::sync::Arc;
use std::time::Duration;

use mcp_transport::TransportError;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::deadline::Deadline;
use crate::error::CallError;

/// A token bucket for the requests to one server. Clones share it, as the connections to a server should.
///
/// Callers wait for their turn in the order they came, each within its own deadline. Whoever is next and sees
/// that the turn would come too late fails at once, the others at their deadline; nothing was sent. Handshakes and pings do not wait: they decide whether
/// the server counts as alive.
#[derive(Debug, Clone)]
pub struct RateLimit(Arc<Mutex<Bucket>>);

#[derive(Debug)]
struct Bucket {
    /// Time it takes for one more request to be allowed.
    interval: Duration,
    /// How much of unused time is saved up.
    reserve: Duration,
    /// When the bucket was, or will be, empty. Requests are allowed until it is now.
    empty_at: Instant,
}

impl RateLimit {
    /// `requests` in every `per`, of which up to `burst` at once after a quiet time. Zeroes count as one (a
    /// request, a nanosecond).
    #[must_use]
    pub fn new(requests: u32, per: Duration, burst: u32) -> Self {
        let interval = (per / requests.max(1)).max(Duration::from_nanos(1));
        let reserve = interval.saturating_mul(burst.max(1));
        let now = Instant::now();
        let empty_at = now.checked_sub(reserve).unwrap_or(now);
        Self(Arc::new(Mutex::new(Bucket { interval, reserve, empty_at })))
    }

    /// Waits for a turn.
    pub(crate) async fn turn(&self, deadline: Option<Deadline>) -> Result<(), CallError> {
        let too_late = |deadline: Deadline| CallError::Transport(TransportError::busy(deadline.limit));
        // The lock is the queue: whoever has it waits for time to pass, the others for the lock.
        let mut bucket = match deadline {
            None => self.0.lock().await,
            Some(deadline) => {
                tokio::time::timeout_at(deadline.at, self.0.lock()).await.map_err(|_| too_late(deadline))?
            }
        };
        let now = Instant::now();
        if let Some(floor) = now.checked_sub(bucket.reserve) {
            bucket.empty_at = bucket.empty_at.max(floor);
        }
        let turn = bucket.empty_at + bucket.interval;
        if let Some(deadline) = deadline.filter(|deadline| turn > deadline.at) {
            return Err(too_late(deadline));
        }
        tokio::time::sleep_until(turn).await;
        bucket.empty_at = turn;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn j8_a_burst_goes_at_once_and_the_rest_in_turn() {
        let limit = RateLimit::new(10, Duration::from_secs(1), 3);
        let start = Instant::now();
        let turns = join_all((0..6).map(|_| async {
            limit.turn(None).await.unwrap();
            start.elapsed().as_millis()
        }));
        assert_eq!(turns.await, [0, 0, 0, 100, 200, 300]);
        // Quiet for a long time saves no more than the burst.
        tokio::time::advance(Duration::from_secs(60)).await;
        let start = Instant::now();
        for expected in [0, 0, 0, 100] {
            limit.turn(None).await.unwrap();
            assert_eq!(start.elapsed().as_millis(), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_would_come_too_late_fails_and_takes_no_turn() {
        let limit = RateLimit::new(1, Duration::from_secs(1), 1);
        limit.turn(None).await.unwrap();
        let start = Instant::now();
        let hasty = Deadline::after(Duration::from_millis(300));
        let error = limit.turn(Some(hasty)).await.unwrap_err();
        assert_eq!(error.delivery(), mcp_transport::Delivery::NotSent);
        assert_eq!(start.elapsed(), Duration::ZERO, "known at once");
        // Given up while waiting: the turn is the next one's.
        let given_up = tokio::time::timeout(Duration::from_millis(500), limit.turn(None));
        assert!(given_up.await.is_err());
        limit.turn(None).await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn behind_somebody_who_waits_a_deadline_holds_too() {
        let limit = RateLimit::new(1, Duration::from_secs(1), 1);
        limit.turn(None).await.unwrap();
        let patient = tokio::spawn({
            let limit = limit.clone();
            async move { limit.turn(None).await }
        });
        tokio::task::yield_now().await;
        let start = Instant::now();
        let hasty = Deadline::after(Duration::from_millis(300));
        assert!(limit.turn(Some(hasty)).await.is_err());
        assert_eq!(start.elapsed(), Duration::from_millis(300));
        patient.await.unwrap().unwrap();
    }
}
