//! How long a server asked to be left alone after its stream was lost (`retry:`).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use url::Url;

/// Longest wait a server can ask for.
const LONGEST: Duration = Duration::from_secs(30);

/// Most URLs remembered; a further one is not waited for.
const MOST: usize = 1024;

/// When the streams of which URLs may be opened again.
#[derive(Debug, Default)]
pub(crate) struct Patience(Mutex<HashMap<Url, Instant>>);

impl Patience {
    /// A stream was lost whose server has asked for this wait.
    pub(crate) fn lost(&self, url: &Url, retry: Duration) {
        let now = Instant::now();
        let mut urls = self.lock();
        urls.retain(|_, until| *until > now);
        if urls.len() < MOST || urls.contains_key(url) {
            urls.insert(url.clone(), now + retry.min(LONGEST));
        }
    }

    /// How long to wait before the next attempt.
    pub(crate) fn left(&self, url: &Url) -> Duration {
        let until = self.lock().get(url).copied();
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    /// No code panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, HashMap<Url, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(n: usize) -> Url {
        format!("http://127.0.0.1/{n}").parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn waits_are_kept_by_url_and_bounded() {
        let patience = Patience::default();
        let secs = Duration::from_secs;
        patience.lost(&url(1), secs(3));
        patience.lost(&url(2), Duration::from_millis(u64::MAX));
        assert_eq!([0, 1, 2].map(|n| patience.left(&url(n))), [secs(0), secs(3), secs(30)]);
        tokio::time::advance(secs(2)).await;
        assert_eq!([1, 2].map(|n| patience.left(&url(n))), [secs(1), secs(28)]);
        patience.lost(&url(1), secs(5));
        assert_eq!(patience.left(&url(1)), secs(5), "a later loss counts anew");
        tokio::time::advance(secs(28)).await;
        assert_eq!([1, 2].map(|n| patience.left(&url(n))), [secs(0); 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_urls_are_remembered() {
        let patience = Patience::default();
        let wait = Duration::from_secs(9);
        for n in 0..=MOST {
            patience.lost(&url(n), wait);
        }
        assert_eq!([0, MOST - 1, MOST].map(|n| patience.left(&url(n))), [wait, wait, Duration::ZERO]);
        tokio::time::advance(wait).await;
        patience.lost(&url(MOST), wait);
        assert_eq!(patience.left(&url(MOST)), wait);
    }
}
