//! Taking turns where the server's questions do not say whose call they are about. Source: bridging §6.3.2.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Held by one owner at a time, any number of times.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    /// Who holds it, and how often.
    held: Mutex<Option<(u64, usize)>>,
    freed: Notify,
}

/// A turn; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Leased(Arc<Lease>);

impl Lease {
    /// The turn of this owner, if it can have it at once.
    pub(crate) fn try_take(self: &Arc<Self>, owner: u64) -> Option<Leased> {
        match &mut *self.held() {
            Some((holder, times)) if *holder == owner => *times += 1,
            held @ None => *held = Some((owner, 1)),
            Some(_) => return None,
        }
        Some(Leased(self.clone()))
    }

    /// Waits for the turn of this owner. Cancel safe.
    pub(crate) async fn take(self: &Arc<Self>, owner: u64) -> Leased {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // From here on nothing is missed.
            freed.as_mut().enable();
            if let Some(leased) = self.try_take(owner) {
                return leased;
            }
            freed.await;
        }
    }

    /// No code panics while it holds the lock.
    fn held(&self) -> MutexGuard<'_, Option<(u64, usize)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        let mut held = self.0.held();
        if let Some((_, times)) = held.as_mut() {
            *times -= 1;
            if *times == 0 {
                *held = None;
                drop(held);
                // All of them look: the first may be one that gave up.
                self.0.freed.notify_waiters();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn one_owner_at_a_time_as_often_as_it_likes() {
        let lease = Arc::new(Lease::default());
        let first = lease.take(1).await;
        let again = lease.take(1).await;
        let mut other = Box::pin(lease.take(2));
        assert!(other.as_mut().now_or_never().is_none());
        drop(first);
        assert!(other.as_mut().now_or_never().is_none(), "still held once");
        drop(again);
        let _other = other.as_mut().now_or_never().expect("free");
        assert!(Box::pin(lease.take(1)).now_or_never().is_none());
    }

    #[tokio::test]
    async fn whoever_gives_up_holds_up_nobody() {
        let lease = Arc::new(Lease::default());
        let first = lease.take(1).await;
        let mut gone = Box::pin(lease.take(2));
        let mut next = Box::pin(lease.take(3));
        assert!(gone.as_mut().now_or_never().is_none() && next.as_mut().now_or_never().is_none());
        drop(gone);
        drop(first);
        assert!(next.as_mut().now_or_never().is_some());
    }
}
