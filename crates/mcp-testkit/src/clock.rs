//! A clock that moves when told to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_registry::{Clock, Timer, Timestamp};
use tokio::sync::oneshot;

/// A clock that starts at 2026-01-01T00:00:00Z and stands still until advanced. Clones share the time.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    now: Timestamp,
    /// Those who wait, by the time they wait for; the counter keeps keys apart.
    waiting: BTreeMap<(Timestamp, u64), oneshot::Sender<()>>,
    counter: u64,
}

impl ManualClock {
    /// 2026-01-01T00:00:00Z.
    pub const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

    /// A clock at [`START`](Self::START).
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State { now: Self::START, waiting: BTreeMap::new(), counter: 0 })))
    }

    /// Moves the time and wakes whoever waited for a moment that has come.
    pub fn advance(&self, by: Duration) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = state.now + by;
        state.now = now;
        let later = state.waiting.split_off(&(now, u64::MAX));
        for wake in std::mem::replace(&mut state.waiting, later).into_values() {
            // Whoever waited may have gone.
            let _ = wake.send(());
        }
    }

    /// When the next of those who wait is woken; `None` if nobody waits.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Who left in the meantime waits for nothing.
        state.waiting.retain(|_, wake| !wake.is_closed());
        state.waiting.keys().next().map(|(at, _)| *at)
    }

    /// Time since [`START`](Self::START).
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.now().since(Self::START)
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).now
    }
}

impl Timer for ManualClock {
    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if at <= state.now {
            return futures::future::ready(()).boxed();
        }
        let (wake, woken) = oneshot::channel();
        state.counter += 1;
        let key = (at, state.counter);
        state.waiting.insert(key, wake);
        woken.map(|_| ()).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleepers_wake_in_time_and_not_before() {
        let clock = ManualClock::new();
        let mut early = clock.sleep_until(ManualClock::START + Duration::from_secs(1));
        let mut late = clock.sleep_until(ManualClock::START + Duration::from_secs(3));
        assert!((&mut early).now_or_never().is_none());
        clock.advance(Duration::from_secs(1));
        assert!((&mut early).now_or_never().is_some());
        assert!((&mut late).now_or_never().is_none());
        assert_eq!(clock.next_wake(), Some(ManualClock::START + Duration::from_secs(3)));
        clock.advance(Duration::from_secs(5));
        assert!((&mut late).now_or_never().is_some());
        assert!(clock.sleep_until(clock.now()).now_or_never().is_some());
        assert_eq!(clock.elapsed(), Duration::from_secs(6));
        drop(clock.sleep_until(clock.now() + Duration::from_secs(1)));
        assert_eq!(clock.next_wake(), None, "whoever left is not waited for");
    }
}
