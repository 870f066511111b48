//! A bound on how often a process is started.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Timestamp;

/// At most 12 starts within a minute (product §5, Backoff), so that a program that ends right after its
/// handshake is not started by every call.
#[derive(Debug, Default)]
pub struct StartLimit {
    recent: VecDeque<Timestamp>,
}

impl StartLimit {
    /// Most starts within [`Self::WITHIN`].
    pub const STARTS: usize = 12;
    /// The time they are counted over.
    pub const WITHIN: Duration = Duration::from_secs(60);

    /// Counts a start, if one is allowed now.
    ///
    /// # Errors
    /// How long to wait for the next one.
    pub fn try_start(&mut self, now: Timestamp) -> Result<(), Duration> {
        while self.recent.front().is_some_and(|&start| start + Self::WITHIN <= now) {
            self.recent.pop_front();
        }
        match self.recent.front() {
            Some(&oldest) if self.recent.len() >= Self::STARTS => Err((oldest + Self::WITHIN).since(now)),
            _ => {
                self.recent.push_back(now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thirteenth_start_waits_for_the_first_to_be_a_minute_old() {
        let mut limit = StartLimit::default();
        let at = |seconds| Timestamp::from_micros(0) + Duration::from_secs(seconds);
        for second in 0..12 {
            assert_eq!(limit.try_start(at(second)), Ok(()));
        }
        assert_eq!(limit.try_start(at(12)), Err(Duration::from_secs(48)));
        assert_eq!(limit.try_start(at(59)), Err(Duration::from_secs(1)));
        assert_eq!(limit.try_start(at(60)), Ok(()));
        assert_eq!(limit.try_start(at(60)), Err(Duration::from_secs(1)));
    }
}
