//! The clock seam on tokio.

use std::time::Duration;

use futures::future::BoxFuture;
use mcp_registry::{Clock, SystemClock, Timer, Timestamp};

/// The operating system's clock and tokio's timer.
#[derive(Debug, Default)]
pub struct SystemTimer(SystemClock);

impl Clock for SystemTimer {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

impl Timer for SystemTimer {
    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        // Tokio counts in milliseconds: one more, so that waking up never means "not yet".
        let wait = at.since(self.now()).saturating_add(Duration::from_millis(1));
        Box::pin(tokio::time::sleep(wait))
    }
}
