//! How many connections there have been.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts connections as they are opened, and the answers that came on them. Clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connections(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    opened: AtomicU64,
    answers: AtomicU64,
}

impl Connections {
    /// One more is open.
    pub(crate) fn opened(&self) {
        self.0.opened.fetch_add(1, Ordering::Relaxed);
    }

    /// The head of an answer came on one of them.
    pub(crate) fn answered(&self) {
        self.0.answers.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether there was any answer so far.
    pub(crate) fn have_answered(&self) -> bool {
        self.0.answers.load(Ordering::Relaxed) > 0
    }

    /// How many were opened, and how many answers came on them.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let Counts { opened, answers } = &*self.0;
        (opened.load(Ordering::Relaxed), answers.load(Ordering::Relaxed))
    }
}
