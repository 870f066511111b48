//! How long a connection may have nothing to do.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
}

/// A request is being served.
const NEVER: u64 = u64::MAX;

impl Idle {
    pub(crate) fn new(limits: &ServeLimits) -> Self {
        let due = AtomicU64::new(nanos(limits.head_timeout));
        Self { accepted: Instant::now(), keep_alive: limits.keep_alive, due }
    }

    /// It is not idle until what this gives is dropped.
    pub(crate) fn serving(self: Arc<Self>) -> Serving {
        self.due.store(NEVER, Ordering::Relaxed);
        Serving(self)
    }

    /// Waits until it has been idle for too long.
    pub(crate) async fn overdue(&self) {
        loop {
            let now = Instant::now();
            // Whatever happens meanwhile, it will not be overdue before.
            let next = now + self.keep_alive;
            let next = match self.due.load(Ordering::Relaxed) {
                NEVER => next,
                due => match self.accepted + Duration::from_nanos(due) {
                    due if due <= now => return,
                    due => next.min(due),
                },
            };
            sleep_until(next).await;
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(NEVER - 1)
}

/// A request that is being served, to the end of its answer.
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
        let due = self.0.accepted.elapsed().saturating_add(self.0.keep_alive);
        self.0.due.store(nanos(due), Ordering::Relaxed);
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
}
