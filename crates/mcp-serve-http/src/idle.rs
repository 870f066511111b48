//! How long a connection may have nothing to do.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

use crate::limits::ServeLimits;

/// When a connection has been idle for too long: a limit for its first request, and another one between requests.
///
/// A request moves it by a store, the timer follows when it fires.
#[derive(Debug)]
pub(crate) struct Idle {
    accepted: Instant,
    keep_alive: Duration,
    /// Nanoseconds after `accepted`, or [`NEVER`].
    due: AtomicU64,
    /// The client has not taken what was written.
    is_blocked: AtomicBool,
}

/// A request is being served. There is one at a time.
const NEVER: u64 = u64::MAX;

/// Between two looks at a connection that is in use.
const LEAST: Duration = Duration::from_millis(10);

impl Idle {
    pub(crate) fn new(limits: &ServeLimits) -> Self {
        let due = AtomicU64::new(nanos(limits.head_timeout));
        let (accepted, keep_alive) = (Instant::now(), limits.keep_alive);
        Self { accepted, keep_alive, due, is_blocked: AtomicBool::new(false) }
    }

    /// It is not idle until what this gives is dropped.
    pub(crate) fn serving(self: Arc<Self>) -> Serving {
        self.due.store(NEVER, Ordering::Relaxed);
        Serving(self)
    }

    /// Something written waits for the client to take it: until it does, it is not idle.
    pub(crate) fn blocked(&self) {
        self.is_blocked.store(true, Ordering::Relaxed);
    }

    /// The client has taken some of it.
    pub(crate) fn unblocked(&self) {
        self.is_blocked.store(false, Ordering::Relaxed);
        if self.due.load(Ordering::Relaxed) != NEVER {
            self.rest();
        }
    }

    fn rest(&self) {
        let due = self.accepted.elapsed().saturating_add(self.keep_alive);
        self.due.store(nanos(due), Ordering::Relaxed);
    }

    /// Waits until it has been idle for too long.
    pub(crate) async fn overdue(&self) {
        loop {
            let (now, due) = (self.accepted.elapsed(), self.due.load(Ordering::Relaxed));
            // Whatever happens meanwhile, it will not be overdue before.
            let mut next = now.saturating_add(self.keep_alive.max(LEAST));
            if due != NEVER && !self.is_blocked.load(Ordering::Relaxed) {
                let due = Duration::from_nanos(due);
                if due <= now {
                    return;
                }
                next = next.min(due);
            }
            match self.accepted.checked_add(next) {
                Some(at) => sleep_until(at).await,
                // Beyond the clock's range.
                None => std::future::pending().await,
            }
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(NEVER - 1)
}

/// A request that is being served, until the last of its answer was handed over to be written.
#[derive(Debug)]
pub(crate) struct Serving(Arc<Idle>);

impl Serving {
    /// The body of the answer, which ends with it.
    pub(crate) fn until_end_of<B>(self, body: B) -> Served<B> {
        Served { body, _serving: self }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.rest();
    }
}

/// The body of an answer.
pub(crate) struct Served<B> {
    body: B,
    _serving: Serving,
}

impl<B: Body + Unpin> Body for Served<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_secs(10);
    const KEEP_ALIVE: Duration = Duration::from_secs(3);

    fn idle() -> Arc<Idle> {
        let limits = ServeLimits { head_timeout: HEAD, keep_alive: KEEP_ALIVE, ..ServeLimits::default() };
        Arc::new(Idle::new(&limits))
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_request_has_a_limit_of_its_own() {
        let idle = idle();
        idle.overdue().await;
        assert_eq!(idle.accepted.elapsed(), HEAD);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_after_an_answer_is_what_counts() {
        let idle = idle();
        let requests = async {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(2)).await;
                let serving = idle.clone().serving();
                tokio::time::sleep(Duration::from_secs(100)).await;
                drop(serving);
            }
            Instant::now()
        };
        let (served, ()) = tokio::join!(requests, idle.overdue());
        assert_eq!(served.elapsed(), KEEP_ALIVE);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_still_reading_is_not_idle() {
        let idle = idle();
        drop(idle.clone().serving());
        let reading = async {
            for _ in 0..5 {
                idle.blocked();
                tokio::time::sleep(KEEP_ALIVE * 2).await;
                idle.unblocked();
            }
            Instant::now()
        };
        let (read, ()) = tokio::join!(reading, idle.overdue());
        assert_eq!(read.elapsed(), KEEP_ALIVE);
    }

    #[tokio::test(start_paused = true)]
    async fn odd_limits_do_no_harm() {
        let limits = |keep_alive| ServeLimits { keep_alive, ..ServeLimits::default() };
        let never = Arc::new(Idle::new(&limits(Duration::MAX)));
        drop(never.clone().serving());
        let day = Duration::from_secs(86_400);
        assert!(tokio::time::timeout(day, never.overdue()).await.is_err());
        let at_once = Arc::new(Idle::new(&limits(Duration::ZERO)));
        let serving = at_once.clone().serving();
        assert!(tokio::time::timeout(KEEP_ALIVE, at_once.overdue()).await.is_err(), "it is in use");
        drop(serving);
        at_once.overdue().await;
    }
}
