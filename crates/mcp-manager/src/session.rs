//! One open connection to a server, and its orderly end.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use mcp_client::Client;
use mcp_registry::{Clock, Timestamp};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// A connection with those who use it. Detached from its link it serves nobody new, and it is closed when
/// the last call on it has ended (contract §3.3).
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    calls: TaskTracker,
    /// A failure of this connection was recorded: its other calls fail for the same reason.
    blamed: AtomicBool,
    /// We ended it: calls that fail on it are nobody's fault.
    ended_by_us: AtomicBool,
    last_activity: AtomicI64,
}

impl Session {
    pub(crate) fn new(client: Client, now: Timestamp) -> Self {
        Self {
            client,
            calls: TaskTracker::new(),
            blamed: AtomicBool::new(false),
            ended_by_us: AtomicBool::new(false),
            last_activity: AtomicI64::new(now.as_micros()),
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Counts a call in; the end of the session waits for it.
    pub(crate) fn enter(&self) -> TaskTrackerToken {
        self.calls.token()
    }

    pub(crate) fn is_unused(&self) -> bool {
        self.calls.is_empty()
    }

    /// Whether a failure on this session should be recorded: only the first, and none that we caused.
    pub(crate) fn take_blame(&self) -> bool {
        !self.was_ended() && !self.blamed.swap(true, Ordering::SeqCst)
    }

    /// Whether we ended it.
    pub(crate) fn was_ended(&self) -> bool {
        self.ended_by_us.load(Ordering::SeqCst)
    }

    /// Waits for the calls on it, up to `patience` and not beyond `cut`, then closes it.
    pub(crate) async fn end(&self, patience: Duration, cut: &CancellationToken) {
        self.calls.close();
        // A broken connection has nobody to wait for: its calls are failing by themselves.
        if !self.client.is_closed() {
            tokio::select! {
                () = self.calls.wait() => {}
                () = tokio::time::sleep(patience) => {}
                () = cut.cancelled() => {}
            }
        }
        self.ended_by_us.store(true, Ordering::SeqCst);
        self.client.close().await;
    }

    /// Notes that it was used.
    pub(crate) fn touch(&self, clock: &(impl Clock + ?Sized)) {
        self.last_activity.fetch_max(clock.now().as_micros(), Ordering::Relaxed);
    }

    pub(crate) fn last_activity(&self) -> Timestamp {
        Timestamp::from_micros(self.last_activity.load(Ordering::Relaxed))
    }
}
