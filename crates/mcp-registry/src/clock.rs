//! The clock seam: every time the gateway stores or compares comes from here.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;

/// An instant with microsecond resolution, counted from the Unix epoch (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Time from `earlier` to this instant; zero if it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at the end of time.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at the beginning of time.
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }
}

/// RFC 3339 with `Z` (contract §0.2).
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(timestamp) => timestamp.fmt(f),
            Err(_) => {
                f.write_str(if self.0 < 0 { "-009999-01-02T01:59:59Z" } else { "9999-12-30T22:00:00Z" })
            }
        }
    }
}

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// Now. Never earlier than an answer given before.
    fn now(&self) -> Timestamp;
}

/// A clock one can wait on.
pub trait Timer: Clock {
    /// Resolves when [`now`](Clock::now) has reached `at`; at once if it already has.
    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()>;
}

/// The operating system's clock, read once: from then on time advances with the monotonic clock, so
/// that a step of the wall clock neither stretches nor voids a retry window (contract §11, W26).
#[derive(Debug)]
pub struct SystemClock {
    start: Timestamp,
    origin: Instant,
}

impl SystemClock {
    /// Reads the wall clock.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    pub fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Timestamp(0) + since_epoch, origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.start + self.origin.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_print_as_rfc_3339() {
        let start = Timestamp::from_micros(1_767_225_600_000_000);
        assert_eq!(start.to_string(), "2026-01-01T00:00:00Z");
        assert_eq!((start + Duration::from_micros(1_500_000)).to_string(), "2026-01-01T00:00:01.5Z");
        assert_eq!(Timestamp::from_micros(i64::MAX).to_string(), "9999-12-30T22:00:00Z");
        assert_eq!(Timestamp::from_micros(i64::MIN).to_string(), "-009999-01-02T01:59:59Z");
    }

    #[test]
    fn arithmetic_saturates() {
        let start = Timestamp::from_micros(10);
        assert_eq!(start.since(Timestamp::from_micros(20)), Duration::ZERO);
        assert_eq!(Timestamp::from_micros(20).since(start), Duration::from_micros(10));
        assert_eq!(start + Duration::MAX, Timestamp::from_micros(i64::MAX));
        assert_eq!((start - Duration::MAX).as_micros(), 10 - i64::MAX);
    }

    #[test]
    fn the_system_clock_runs_forwards() {
        let clock = SystemClock::default();
        let first = clock.now();
        let next = std::iter::repeat_with(|| clock.now()).find(|&now| now != first);
        assert!(next.unwrap() > first);
        assert!(first > Timestamp::from_micros(1_700_000_000_000_000));
    }
}
