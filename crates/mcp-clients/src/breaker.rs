//! The circuit breaker of a client that nobody manages. Source: contract §7.5.

use std::time::Duration;

use mcp_registry::Timestamp;

/// When the breaker of a client opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerOptions {
    /// Failed requests in a row that open it (5, at least 1).
    pub failures: u32,
    /// How long it stays open before one request is tried (30 s).
    pub open_for: Duration,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self { failures: 5, open_for: Duration::from_secs(30) }
    }
}

/// What a circuit breaker lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything.
    Closed,
    /// Nothing.
    Open,
    /// One request, whose outcome decides.
    HalfOpen,
}

/// Opens after failures in a row and lets one trial through after a while. Reads no clock.
///
/// Every request asks [`admit`](Self::admit) and hands its [`Pass`] back, to [`finished`](Self::finished), to
/// [`broken`](Self::broken) or, if it ended without a verdict, to [`abandoned`](Self::abandoned).
///
/// ```
/// use std::time::Duration;
/// use mcp_clients::{Breaker, BreakerOptions, BreakerState};
/// use mcp_registry::Timestamp;
///
/// let mut breaker = Breaker::new(BreakerOptions { failures: 2, open_for: Duration::from_secs(30) });
/// let now = Timestamp::from_micros(0);
/// for _ in 0..2 {
///     let pass = breaker.admit(now).unwrap();
///     breaker.finished(now, pass, false);
/// }
/// assert_eq!(breaker.admit(now), Err(Duration::from_secs(30)));
///
/// let later = now + Duration::from_secs(30);
/// let trial = breaker.admit(later).unwrap();
/// assert_eq!(breaker.state(later), BreakerState::HalfOpen);
/// breaker.finished(later, trial, true);
/// assert_eq!(breaker.state(later), BreakerState::Closed);
/// ```
#[derive(Debug)]
pub struct Breaker {
    options: BreakerOptions,
    inner: Inner,
    /// Grows with every opening and closing: an outcome of older times decides nothing.
    era: u64,
    /// Broken connections that were counted.
    breaks: u64,
}

#[derive(Debug)]
enum Inner {
    Closed { failures: u32 },
    Open { until: Timestamp, trial: bool },
}

/// The permission to send one request.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Pass {
    era: u64,
    breaks: u64,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub fn new(options: BreakerOptions) -> Self {
        let options = BreakerOptions { failures: options.failures.max(1), ..options };
        Self { options, inner: Inner::Closed { failures: 0 }, era: 0, breaks: 0 }
    }

    /// What it lets through at `now`.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> BreakerState {
        match self.inner {
            Inner::Closed { .. } => BreakerState::Closed,
            Inner::Open { until, .. } if now < until => BreakerState::Open,
            Inner::Open { .. } => BreakerState::HalfOpen,
        }
    }

    /// Asks to send a request.
    ///
    /// # Errors
    /// How long to wait before asking again; zero while the trial is under way.
    pub fn admit(&mut self, now: Timestamp) -> Result<Pass, Duration> {
        match &mut self.inner {
            Inner::Closed { .. } => {}
            Inner::Open { until, trial } => {
                if now < *until || *trial {
                    return Err(until.since(now));
                }
                *trial = true;
            }
        }
        Ok(Pass { era: self.era, breaks: self.breaks })
    }

    /// The request ended at `now`: with an answer, or with a failure that speaks against the server.
    #[expect(clippy::needless_pass_by_value, reason = "a pass is good for one request")]
    pub fn finished(&mut self, now: Timestamp, pass: Pass, answered: bool) {
        if pass.era != self.era {
            return;
        }
        match &mut self.inner {
            Inner::Closed { failures } if answered => *failures = 0,
            Inner::Closed { failures } => {
                *failures += 1;
                if *failures >= self.options.failures {
                    self.open(now);
                }
            }
            Inner::Open { .. } if answered => self.close(),
            Inner::Open { .. } => self.open(now),
        }
    }

    /// The request failed at `now` with its connection. Requests that were under way together count as one
    /// failure.
    pub fn broken(&mut self, now: Timestamp, pass: Pass) {
        if pass.breaks == self.breaks {
            self.breaks += 1;
            self.finished(now, pass, false);
        } else {
            self.abandoned(pass);
        }
    }

    /// The request ended without a verdict, such as one that was cancelled: another one may be the trial.
    #[expect(clippy::needless_pass_by_value, reason = "a pass is good for one request")]
    pub fn abandoned(&mut self, pass: Pass) {
        if let (true, Inner::Open { trial, .. }) = (pass.era == self.era, &mut self.inner) {
            *trial = false;
        }
    }

    /// Closes it, because the server has answered otherwise; what is under way decides nothing.
    pub fn close(&mut self) {
        self.inner = Inner::Closed { failures: 0 };
        self.era += 1;
    }

    fn open(&mut self, now: Timestamp) {
        self.inner = Inner::Open { until: now + self.options.open_for, trial: false };
        self.era += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_micros(0) + Duration::from_secs(secs)
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::new(BreakerOptions::default());
        for _ in 0..5 {
            let pass = breaker.admit(at(0)).unwrap();
            assert_eq!(breaker.state(at(0)), BreakerState::Closed);
            breaker.finished(at(0), pass, false);
        }
        breaker
    }

    #[test]
    fn j8_breaker_opens_after_five_failures_in_a_row_and_tries_one_after_thirty_seconds() {
        let mut breaker = opened();
        assert_eq!(breaker.state(at(29)), BreakerState::Open);
        assert_eq!(breaker.admit(at(29)), Err(Duration::from_secs(1)));
        let trial = breaker.admit(at(30)).unwrap();
        assert_eq!(breaker.state(at(30)), BreakerState::HalfOpen);
        assert_eq!(breaker.admit(at(31)), Err(Duration::ZERO), "one trial at a time");
        breaker.finished(at(31), trial, false);
        assert_eq!(breaker.admit(at(60)), Err(Duration::from_secs(1)), "open again, from the failure on");
        let trial = breaker.admit(at(61)).unwrap();
        breaker.finished(at(61), trial, true);
        assert_eq!(breaker.state(at(61)), BreakerState::Closed);
    }

    #[test]
    fn j8_breaker_counts_failures_in_a_row_only() {
        let mut breaker = Breaker::new(BreakerOptions::default());
        for answered in [false, false, false, false, true, false, false, false, false] {
            let pass = breaker.admit(at(0)).unwrap();
            breaker.finished(at(0), pass, answered);
        }
        assert_eq!(breaker.state(at(0)), BreakerState::Closed);
    }

    #[test]
    fn j8_breaker_ignores_outcomes_of_older_times() {
        let mut breaker = Breaker::new(BreakerOptions { failures: 1, ..BreakerOptions::default() });
        let (first, second, third) =
            (breaker.admit(at(0)).unwrap(), breaker.admit(at(0)).unwrap(), breaker.admit(at(0)).unwrap());
        breaker.finished(at(0), first, false);
        breaker.finished(at(1), second, true);
        assert_eq!(breaker.state(at(1)), BreakerState::Open, "a late answer does not close it");
        let trial = breaker.admit(at(30)).unwrap();
        breaker.abandoned(third);
        assert_eq!(breaker.admit(at(30)), Err(Duration::ZERO), "nor does it give the trial away");
        breaker.abandoned(trial);
        let trial = breaker.admit(at(30)).unwrap();
        breaker.finished(at(30), trial, true);
        assert_eq!(breaker.state(at(30)), BreakerState::Closed);
    }

    #[test]
    fn j8_breaker_counts_what_broke_together_once() {
        let mut breaker = Breaker::new(BreakerOptions { failures: 2, ..BreakerOptions::default() });
        let together: Vec<_> = (0..5).map(|_| breaker.admit(at(0)).unwrap()).collect();
        for pass in together {
            breaker.broken(at(1), pass);
        }
        assert_eq!(breaker.state(at(1)), BreakerState::Closed);
        let next = breaker.admit(at(1)).unwrap();
        breaker.broken(at(1), next);
        assert_eq!(breaker.state(at(1)), BreakerState::Open);
        let trial = breaker.admit(at(31)).unwrap();
        breaker.broken(at(31), trial);
        assert_eq!(breaker.state(at(60)), BreakerState::Open, "a trial that breaks has failed");
    }

    #[test]
    fn j8_breaker_that_is_closed_forgets_what_was() {
        let mut breaker = Breaker::new(BreakerOptions { failures: 2, ..BreakerOptions::default() });
        let old: Vec<_> = (0..4).map(|_| breaker.admit(at(0)).unwrap()).collect();
        for (nth, pass) in old.into_iter().enumerate() {
            breaker.finished(at(0), pass, false);
            if nth % 2 == 1 {
                breaker.close();
            }
            assert_eq!(breaker.state(at(0)), BreakerState::Closed);
        }
    }

    #[test]
    fn j8_breaker_that_opens_after_none_opens_after_one() {
        let mut breaker = Breaker::new(BreakerOptions { failures: 0, ..BreakerOptions::default() });
        let pass = breaker.admit(at(0)).unwrap();
        breaker.finished(at(0), pass, false);
        assert_eq!(breaker.state(at(0)), BreakerState::Open);
    }
}
