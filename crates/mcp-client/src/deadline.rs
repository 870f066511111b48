//! How long to wait.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::CallError;

/// How long a call may take. Source: contract §7.5, reliability G5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Longest time without a sign of progress: a notification that belongs to the call, or a question of the
    /// server that is being answered. Progress notifications come only if they are asked for
    /// ([`Outgoing::progress`](crate::Outgoing::progress)).
    pub idle: Duration,
    /// Longest time altogether, whatever progress there is.
    pub total: Duration,
}

/// When a call has to be over, and the limit to name when it is not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) limit: Duration,
    /// What progress moves the deadline by, and how far at most.
    extension: Option<Extension>,
}

#[derive(Debug, Clone, Copy)]
struct Extension {
    idle: Duration,
    end: Instant,
    total: Duration,
}

impl Deadline {
    /// A limit that nothing extends.
    pub(crate) fn after(limit: Duration) -> Self {
        Self { at: later(Instant::now(), limit), limit, extension: None }
    }

    /// A limit that progress extends.
    pub(crate) fn with(Patience { idle, total }: Patience) -> Self {
        if idle >= total {
            return Self::after(total);
        }
        let now = Instant::now();
        let (at, end) = (later(now, idle), later(now, total));
        Self { at, limit: idle, extension: Some(Extension { idle, end, total }) }
    }

    /// The deadline after a sign of progress, now.
    pub(crate) fn extended(self) -> Self {
        self.extended_at(Instant::now())
    }

    /// The same after one at another time; never earlier than it is.
    pub(crate) fn extended_at(self, sign: Instant) -> Self {
        let Some(Extension { idle, end, total }) = self.extension else { return self };
        let at = sign.checked_add(idle).unwrap_or(end).max(self.at);
        if at < end {
            Self { at, limit: idle, ..self }
        } else {
            Self { at: end, limit: total, extension: None }
        }
    }

    /// The latest it can become.
    pub(crate) fn latest(self) -> Self {
        match self.extension {
            None => self,
            Some(Extension { end, total, .. }) => Self { at: end, limit: total, extension: None },
        }
    }

    /// Runs a future until the deadline.
    pub(crate) async fn bound<T>(
        self,
        work: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        match tokio::time::timeout_at(self.at, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CallError::timeout(self.limit)),
        }
    }

    pub(crate) fn is_over(self) -> bool {
        Instant::now() >= self.at
    }
}

/// Beyond the clock's range means: never within anybody's patience.
fn later(now: Instant, limit: Duration) -> Instant {
    now.checked_add(limit).unwrap_or_else(|| now + Duration::from_secs(86_400 * 365))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn progress_extends_the_limit_but_never_the_total() {
        let seconds = Duration::from_secs;
        let start = Instant::now();
        let mut deadline = Deadline::with(Patience { idle: seconds(10), total: seconds(25) });
        for (now, at, limit) in [(4, 14, 10), (10, 20, 10), (16, 25, 25), (24, 25, 25)] {
            tokio::time::advance(start + seconds(now) - Instant::now()).await;
            deadline = deadline.extended();
            assert_eq!((deadline.at - start, deadline.limit), (seconds(at), seconds(limit)), "at {now} s");
        }
        tokio::time::advance(seconds(1)).await;
        assert!(deadline.is_over());
    }

    #[tokio::test(start_paused = true)]
    async fn a_plain_limit_is_not_extended() {
        let seconds = Duration::from_secs;
        for plain in
            [Deadline::after(seconds(10)), Deadline::with(Patience { idle: seconds(30), total: seconds(10) })]
        {
            tokio::time::advance(seconds(5)).await;
            assert_eq!(plain.extended().at, plain.at);
            assert_eq!((plain.latest().at, plain.limit), (plain.at, seconds(10)));
        }
    }
}
