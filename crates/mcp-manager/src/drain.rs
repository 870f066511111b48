//! Who uses a connection, its end, and whether its failure was recorded.

use std::sync::atomic::Ordering::SeqCst;

use crate::sync::{AtomicUsize, Notify};

/// Set once and for all: nobody comes in any more.
const ENDED: usize = 1;

/// Set once and for all: a failure was recorded.
const BLAMED: usize = 2;

/// One user. The bits above the flags count them.
const USER: usize = 4;

/// Counts those who use a connection, so that it is ended when nobody does.
///
/// All is in one atomic: nobody can come in between the last look and the end.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    state: AtomicUsize,
    /// Rung when the last user leaves.
    left: Notify,
}

impl Drain {
    /// Counts a user in until the guard is dropped. `None` once the end has come.
    pub(crate) fn enter(&self) -> Option<User<'_>> {
        let enter = |state: usize| (state & ENDED == 0).then_some(state + USER);
        self.state.fetch_update(SeqCst, SeqCst, enter).is_ok().then(|| User(self))
    }

    pub(crate) fn is_unused(&self) -> bool {
        self.state.load(SeqCst) < USER
    }

    /// Ends it: as soon as nobody uses it, or when `cut` completes. Whoever comes before that is still let in
    /// and waited for.
    pub(crate) async fn end(&self, cut: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = self.end_unused() => {}
            () = cut => {
                self.state.fetch_or(ENDED, SeqCst);
            }
        }
    }

    async fn end_unused(&self) {
        loop {
            // Before the look at the count, so that a user who leaves in between is not missed.
            let left = self.left.notified();
            let end = |state: usize| (state < USER).then_some(state | ENDED);
            if self.state.fetch_update(SeqCst, SeqCst, end).is_ok() {
                return;
            }
            left.await;
        }
    }

    /// Whether the end has come: what fails afterwards is nobody's fault.
    pub(crate) fn is_ended(&self) -> bool {
        self.state.load(SeqCst) & ENDED != 0
    }

    /// Whether a failure should be recorded: only the first, and none that the end caused.
    pub(crate) fn take_blame(&self) -> bool {
        self.state.fetch_or(BLAMED, SeqCst) & (BLAMED | ENDED) == 0
    }
}

/// One use of what a [`Drain`] counts.
#[derive(Debug)]
pub(crate) struct User<'a>(&'a Drain);

impl Drop for User<'_> {
    fn drop(&mut self) {
        if self.0.state.fetch_sub(USER, SeqCst) < 2 * USER {
            self.0.left.notify_waiters();
        }
    }
}
