//! How many connections there have been.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::Extensions;
use hyper_util::client::legacy::connect::HttpInfo;
use tokio::time::Instant;

/// Connections remembered at most; those beyond would only be counted twice.
const REMEMBERED: usize = 4096;

/// A connection that was silent for so long counts as another when it is heard of again.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// Counts connections by the answers that come on them. A connection is told by our end of it: the operating
/// system gives the same port again only after long.
///
/// The HTTP client would tell of each connection it opens, too, but at the price of several allocations for
/// every request.
#[derive(Debug, Default)]
pub(crate) struct Connections(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    seen: HashMap<SocketAddr, Instant>,
    opened: u64,
    reused: u64,
}

impl Connections {
    /// Notes an answer by what comes with it.
    pub(crate) fn count(&self, answer: &Extensions) {
        if let Some(connection) = answer.get::<HttpInfo>() {
            self.answered_on(connection.local_addr());
        }
    }

    fn answered_on(&self, connection: SocketAddr) {
        let now = Instant::now();
        let mut state = self.lock();
        if let Some(last) = state.seen.get_mut(&connection) {
            let known = now.duration_since(*last) < FORGOTTEN;
            *last = now;
            if known {
                state.reused += 1;
                return;
            }
        }
        state.opened += 1;
        if state.seen.len() >= REMEMBERED {
            state.seen.retain(|_, last| now.duration_since(*last) < FORGOTTEN);
        }
        if state.seen.len() < REMEMBERED {
            state.seen.insert(connection, now);
        }
    }

    /// How many were opened, and how many answers came on one that had answered before.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let state = self.lock();
        (state.opened, state.reused)
    }

    /// No code panics while it holds the lock.
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn connections_are_told_by_our_end() {
        let connections = Connections::default();
        let on = |port| connections.answered_on(([127, 0, 0, 1], port).into());
        on(1);
        on(2);
        on(1);
        on(1);
        assert_eq!(connections.counts(), (2, 2));
        tokio::time::advance(FORGOTTEN).await;
        on(1);
        assert_eq!(connections.counts(), (3, 2), "the port was given again");
        (10..).take(2 * REMEMBERED).for_each(on);
        assert!(connections.lock().seen.len() <= REMEMBERED);
    }
}
