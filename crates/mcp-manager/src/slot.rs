//! The place of the one thing a registration has at a time: its session.

use std::sync::Arc;

use crate::sync::ArcSwap;

/// Holds one `T` at a time, until it is retired.
///
/// Whatever is put in comes out exactly once, to whoever has to end it.
#[derive(Debug)]
pub(crate) struct Slot<T>(ArcSwap<Place<T>>);

#[derive(Debug)]
enum Place<T> {
    Empty,
    Held(Arc<T>),
    Retired,
}

impl<T> Place<T> {
    fn held(&self) -> Option<&Arc<T>> {
        match self {
            Self::Held(held) => Some(held),
            Self::Empty | Self::Retired => None,
        }
    }

    fn is_retired(&self) -> bool {
        matches!(self, Self::Retired)
    }
}

impl<T> Slot<T> {
    pub(crate) fn new() -> Self {
        Self(ArcSwap::from_pointee(Place::Empty))
    }

    /// What it holds.
    pub(crate) fn get(&self) -> Option<Arc<T>> {
        self.0.load().held().cloned()
    }

    /// Puts something in. Returns the one to end: what it held before, or the new one itself if the slot is
    /// retired.
    #[must_use]
    pub(crate) fn install(&self, new: Arc<T>) -> Option<Arc<T>> {
        let place = Arc::new(Place::Held(new.clone()));
        let before = self.0.rcu(|now| if now.is_retired() { now.clone() } else { place.clone() });
        if before.is_retired() { Some(new) } else { before.held().cloned() }
    }

    /// Takes out whatever it holds.
    #[must_use]
    pub(crate) fn take(&self) -> Option<Arc<T>> {
        self.take_where(|_| true)
    }

    /// Takes `expected` out if it is still held; says whether it was.
    pub(crate) fn take_if(&self, expected: &Arc<T>) -> bool {
        self.take_where(|held| Arc::ptr_eq(held, expected)).is_some()
    }

    fn take_where(&self, fits: impl Fn(&Arc<T>) -> bool) -> Option<Arc<T>> {
        let empty = Arc::new(Place::Empty);
        let fitting = |place: &Place<T>| place.held().filter(|held| fits(held)).cloned();
        let before = self.0.rcu(|now| if fitting(now).is_some() { empty.clone() } else { now.clone() });
        fitting(&before)
    }

    /// Takes out whatever it holds, and lets nothing in any more.
    #[must_use]
    pub(crate) fn retire(&self) -> Option<Arc<T>> {
        self.0.swap(Arc::new(Place::Retired)).held().cloned()
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.0.load().is_retired()
    }
}
