//! Which answers are awaited.

use std::collections::BTreeMap;

use mcp_protocol::RequestId;

/// The requests on a shared channel that wait for their answer, by id.
///
/// Ids are ours alone: integers that only grow, so an id seen again is always a duplicate or late. Closed for
/// a reason `R`, it takes no further request, so that none can wait for an answer that nobody will read.
#[derive(Debug)]
pub(crate) struct Pending<W, R> {
    /// In the order they were sent, which is the order in which an end is told.
    waiting: BTreeMap<i64, W>,
    highest: i64,
    closed: Option<R>,
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

impl<W, R: Clone> Pending<W, R> {
    pub(crate) fn new() -> Self {
        Self { waiting: BTreeMap::new(), highest: 0, closed: None }
    }

    /// Registers a request. Must happen before it is sent: the answer can be quicker than `send`. Fails with
    /// the reason once it is closed.
    pub(crate) fn insert(&mut self, id: i64, waiter: W) -> Result<(), R> {
        if let Some(reason) = &self.closed {
            return Err(reason.clone());
        }
        self.highest = self.highest.max(id);
        self.waiting.insert(id, waiter);
        Ok(())
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

    /// The one that waits, if it is alone among those that count.
    pub(crate) fn only(&self, counts: impl Fn(&W) -> bool) -> Option<&W> {
        let mut waiting = self.waiting.values().filter(|waiter| counts(waiter));
        waiting.next().filter(|_| waiting.next().is_none())
    }

    /// Gives a request up; says whether it was still waiting.
    pub(crate) fn forget(&mut self, id: i64) -> bool {
        self.waiting.remove(&id).is_some()
    }

    /// Ends every wait and takes no more; the first reason stays.
    pub(crate) fn close(&mut self, reason: R) -> Vec<W> {
        self.closed.get_or_insert(reason);
        std::mem::take(&mut self.waiting).into_values().collect()
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
        let mut pending = Pending::<_, ()>::new();
        pending.insert(1, "a").unwrap();
        pending.insert(2, "b").unwrap();
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
        let mut pending = Pending::<_, ()>::new();
        assert_eq!(pending.take_only(|_| true), None);
        pending.insert(1, "a").unwrap();
        assert_eq!(pending.take_only(|waiter| *waiter == "b"), None);
        pending.insert(2, "b").unwrap();
        assert_eq!(pending.take_only(|_| true), None);
        assert!(pending.forget(1));
        assert_eq!(pending.take_only(|_| true), Some("b"));
        assert_eq!(pending.len(), 0);
    }

    #[test]
    fn the_end_reaches_who_waits_and_who_comes_later() {
        let mut pending = Pending::new();
        pending.insert(1, "a").unwrap();
        assert_eq!(pending.close("lost"), ["a"]);
        assert_eq!(pending.close("closed by us"), Vec::<&str>::new());
        assert_eq!(pending.insert(2, "b"), Err("lost"));
        assert_eq!(pending.answer(&1.into()), Owner::Late);
        assert_eq!(pending.len(), 0);
    }
}
