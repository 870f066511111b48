//! Which answers are awaited.

use std::collections::HashMap;

use mcp_protocol::RequestId;

/// The requests on a shared channel that wait for their answer, by id.
///
/// Ids are ours alone: integers that only grow, so an id seen again is always a duplicate or late.
#[derive(Debug)]
pub(crate) struct Pending<W> {
    waiting: HashMap<i64, W>,
    highest: i64,
}

/// Whose answer it is.
#[derive(Debug, PartialEq)]
pub(crate) enum Owner<W> {
    /// This waiter's; it waits no longer.
    Waiter(W),
    /// A request of ours that was answered, cancelled or given up before.
    Late,
    /// No request of ours.
    Unknown,
}

impl<W> Pending<W> {
    pub(crate) fn new() -> Self {
        Self { waiting: HashMap::new(), highest: 0 }
    }

    /// Registers a request. Must happen before it is sent: the answer can be quicker than `send`.
    pub(crate) fn insert(&mut self, id: i64, waiter: W) {
        self.highest = self.highest.max(id);
        self.waiting.insert(id, waiter);
    }

    /// Finds whom an answer is for and ends the wait.
    pub(crate) fn answer(&mut self, id: &RequestId) -> Owner<W> {
        let RequestId::Integer(id) = *id else { return Owner::Unknown };
        match self.waiting.remove(&id) {
            Some(waiter) => Owner::Waiter(waiter),
            None if (1..=self.highest).contains(&id) => Owner::Late,
            None => Owner::Unknown,
        }
    }

    /// The only waiter, if there is just one and it satisfies `fits`; it waits no longer.
    pub(crate) fn take_only(&mut self, fits: impl Fn(&W) -> bool) -> Option<W> {
        let mut all = self.waiting.iter();
        let (id, _) = all.next().filter(|(_, waiter)| fits(waiter))?;
        if all.next().is_some() {
            return None;
        }
        let id = *id;
        self.waiting.remove(&id)
    }

    /// A waiter that goes on waiting.
    pub(crate) fn get(&self, id: i64) -> Option<&W> {
        self.waiting.get(&id)
    }

    /// Gives a request up; says whether it was still waiting.
    pub(crate) fn forget(&mut self, id: i64) -> bool {
        self.waiting.remove(&id).is_some()
    }

    /// Ends every wait.
    pub(crate) fn drain(&mut self) -> Vec<W> {
        self.waiting.drain().map(|(_, waiter)| waiter).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_belongs_to_one_request_once() {
        let mut pending = Pending::new();
        pending.insert(1, "a");
        pending.insert(2, "b");
        assert_eq!(pending.answer(&2.into()), Owner::Waiter("b"));
        assert_eq!(pending.answer(&2.into()), Owner::Late);
        assert_eq!(pending.answer(&3.into()), Owner::Unknown);
        assert_eq!(pending.answer(&0.into()), Owner::Unknown);
        assert_eq!(pending.answer(&"1".into()), Owner::Unknown, "the type is part of the id");
        assert!(pending.forget(1));
        assert!(!pending.forget(1));
        assert_eq!(pending.answer(&1.into()), Owner::Late);
        assert_eq!(pending.len(), 0);
    }

    #[test]
    fn only_a_lone_waiter_takes_an_answer_without_id() {
        let mut pending = Pending::new();
        assert_eq!(pending.take_only(|_| true), None);
        pending.insert(1, "a");
        assert_eq!(pending.take_only(|waiter| *waiter == "b"), None);
        pending.insert(2, "b");
        assert_eq!(pending.take_only(|_| true), None);
        assert!(pending.forget(1));
        assert_eq!(pending.take_only(|_| true), Some("b"));
        assert_eq!(pending.drain(), Vec::<&str>::new());
    }
}
