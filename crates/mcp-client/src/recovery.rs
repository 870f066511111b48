//! A new session in place of one the server has forgotten. Source: contract §7.5.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use mcp_transport::{Delivery, TransportError, TransportErrorKind};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::client::Client;
use crate::error::CallError;
use crate::stats::count;

/// Longest time for a new session.
const LIMIT: Duration = Duration::from_secs(30);

/// Most sessions replaced within [`PERIOD`]: a server that forgets faster, perhaps because it is several that
/// do not share their sessions, is of no use.
const MOST: usize = 5;
const PERIOD: Duration = Duration::from_secs(30);

/// One recovery at a time, shared by all who noticed.
#[derive(Default)]
pub(crate) struct Recovery {
    state: Mutex<State>,
    /// Whether one is under way, or has failed and is to be made up for; for those who have not noticed anything.
    needed: AtomicBool,
}

#[derive(Default)]
struct State {
    /// How many sessions there were before the one in use.
    session: u64,
    running: Option<Running>,
    /// When sessions were replaced lately, oldest first.
    recent: VecDeque<Instant>,
}

/// Tells whether there is a new session.
type Running = Shared<BoxFuture<'static, bool>>;

impl Recovery {
    /// The session in use, by number.
    pub(crate) fn session(&self) -> u64 {
        self.lock().session
    }

    /// Notes that another session is about to be opened; says whether it may.
    fn may_begin(&self) -> bool {
        let mut state = self.lock();
        let now = Instant::now();
        while state.recent.front().is_some_and(|at| now.duration_since(*at) >= PERIOD) {
            state.recent.pop_front();
        }
        state.recent.push_back(now);
        state.recent.len() <= MOST
    }

    fn end(&self, replaced: bool) {
        let mut state = self.lock();
        state.session += u64::from(replaced);
        state.running = None;
        self.needed.store(!replaced, Ordering::Release);
    }

    /// No code panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// Waits for a recovery under way, and makes up for one that has failed: what is sent before may come to a
    /// server that does not know yet that the new session has begun.
    pub(crate) async fn settle_session(&self) -> Result<(), CallError> {
        if !self.recovery().needed.load(Ordering::Acquire) {
            return Ok(());
        }
        let session = self.recovery().session();
        if self.recover(session).await { Ok(()) } else { Err(no_session().into()) }
    }

    /// Sees to it that there is a session in place of one the server has forgotten; says whether there is. The
    /// work is a task of its own: it goes on when the caller that began it leaves.
    pub(crate) async fn recover(&self, forgotten: u64) -> bool {
        let running = {
            let mut state = self.recovery().lock();
            match &state.running {
                Some(running) => running.clone(),
                None if state.session != forgotten => return true,
                None => {
                    let Ok(runtime) = Handle::try_current() else { return false };
                    let (done, outcome) = oneshot::channel();
                    let client = self.clone();
                    self.recovery().needed.store(true, Ordering::Release);
                    let running = outcome.map(|replaced| replaced.unwrap_or(false)).boxed().shared();
                    state.running = Some(running.clone());
                    runtime.spawn(async move {
                        let replaced = client.replace_session().await;
                        client.recovery().end(replaced);
                        // Those who waited may have left.
                        let _ = done.send(replaced);
                    });
                    running
                }
            }
        };
        running.await
    }

    /// Without the headers of whoever noticed: the session is everybody's.
    async fn replace_session(&self) -> bool {
        if !self.recovery().may_begin() {
            tracing::warn!("the server forgets its sessions again and again");
            self.give_up();
            return false;
        }
        tracing::info!("the server has forgotten the session, opening a new one");
        match self.handshake_with(&[], LIMIT).await {
            Ok(_) => {
                count(&self.link().counters.sessions_recovered);
                self.session_replaced();
                true
            }
            Err(failed) => {
                tracing::warn!(error = %failed, "no new session");
                if !is_transient(&failed.error) {
                    self.give_up();
                }
                false
            }
        }
    }

    /// Without a session the connection is of no use.
    fn give_up(&self) {
        self.link().ended.raise(no_session());
    }
}

fn no_session() -> TransportError {
    TransportError::new(TransportErrorKind::SessionExpired, Delivery::Rejected)
}

/// Whether a little later there may be a session after all.
fn is_transient(error: &CallError) -> bool {
    let CallError::Transport(TransportError { kind, .. }) = error else { return false };
    match kind {
        TransportErrorKind::Timeout { .. }
        | TransportErrorKind::Busy { .. }
        | TransportErrorKind::Connect(_)
        | TransportErrorKind::Closed(_) => true,
        TransportErrorKind::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..),
        _ => false,
    }
}

impl fmt::Debug for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recovery").field("needed", &self.needed).finish_non_exhaustive()
    }
}
