//! The clock seam on tokio's clock.

use futures::future::BoxFuture;
use mcp_registry::{Clock, SystemClock, Timer, Timestamp};
use tokio::time::Instant;

/// The wall clock read once, and tokio's clock from then on: the one the statistics of a connection are
/// measured with.
#[derive(Debug)]
pub(crate) struct TokioTimer {
    start: Timestamp,
    origin: Instant,
}

impl TokioTimer {
    pub(crate) fn new() -> Self {
        Self { start: SystemClock::new().now(), origin: Instant::now() }
    }
}

impl Clock for TokioTimer {
    fn now(&self) -> Timestamp {
        self.start + self.origin.elapsed()
    }
}

impl Timer for TokioTimer {
    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        // As in tokio's own `sleep`: what is beyond its clock never comes.
        let wait = at.since(self.now());
        Box::pin(tokio::time::sleep(wait))
    }
}
