//! Whose request a question of the server is about, where it does not say so. Source: bridging §6.3.2.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use mcp_protocol::header::name_of;
use mcp_protocol::{Method, RawJson};

use crate::handler::Asker;

/// Requests given up that are remembered; the oldest ones are forgotten.
const ABANDONED: usize = 256;

/// Subjects known to lead to questions; one of them is forgotten for one more.
const ASKING: usize = 1024;

/// What a request is for: its method and what it names, such as the tool. Equal ones may rarely be mistaken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subject(u64);

impl Subject {
    pub(crate) fn of(method: &Method, params: Option<&RawJson>) -> Self {
        let mut hash = DefaultHasher::new();
        method.as_str().hash(&mut hash);
        name_of(method, params).hash(&mut hash);
        Self(hash.finish())
    }
}

/// Whom a question without a sign of its request is for.
#[derive(Debug, Clone)]
pub(crate) enum Whom {
    /// Nobody waits for anything: the connection itself.
    Nobody,
    Asker(Asker),
    /// Requests of several owners may have led to it.
    Unclear,
}

/// The requests of one connection that say who answers questions about them, by our ids.
#[derive(Debug, Default)]
pub(crate) struct Askers {
    under_way: BTreeMap<i64, (Asker, Option<Subject>)>,
    /// Whose requests were given up on a channel that all share, until they are answered all the same.
    abandoned: BTreeMap<i64, (u64, Subject)>,
    /// What has led to questions on a channel that all share.
    asking: BTreeSet<Subject>,
}

impl Askers {
    /// `subject`: on a channel that all share.
    pub(crate) fn begin(&mut self, id: i64, asker: Asker, subject: Option<Subject>) {
        self.under_way.insert(id, (asker, subject));
    }

    pub(crate) fn end(&mut self, id: i64) {
        self.under_way.remove(&id);
    }

    /// The request is not waited for any more, but may go on leading to questions for its owner.
    pub(crate) fn abandon(&mut self, id: i64) {
        if let Some((asker, Some(subject))) = self.under_way.remove(&id) {
            self.abandoned.insert(id, (asker.owner, subject));
            if self.abandoned.len() > ABANDONED {
                self.abandoned.pop_first();
            }
        }
    }

    /// An abandoned request has been answered.
    pub(crate) fn settle(&mut self, id: i64) {
        self.abandoned.remove(&id);
    }

    pub(crate) fn of_call(&self, id: i64) -> Option<&Asker> {
        Some(&self.under_way.get(&id)?.0)
    }

    pub(crate) fn of_task(&self, task: &str) -> Option<&Asker> {
        let mut askers = self.under_way.values().rev().map(|(asker, _)| asker);
        askers.find(|asker| asker.task.as_deref() == Some(task))
    }

    /// Whom a question is for. Unless it `may_be_its_own`, the server's, it is remembered what has led to it.
    pub(crate) fn whom(&mut self, may_be_its_own: bool) -> Whom {
        let Some((_, (newest, subject))) = self.under_way.last_key_value() else { return Whom::Nobody };
        let (newest, subject) = (newest.clone(), *subject);
        let mut owners = self.under_way.values().map(|(asker, _)| asker.owner);
        if !owners.all(|owner| owner == newest.owner) || self.owes_others(newest.owner) {
            return Whom::Unclear;
        }
        if let Some(subject) = subject.filter(|_| !may_be_its_own) {
            if self.asking.len() >= ASKING {
                self.asking.pop_first();
            }
            self.asking.insert(subject);
        }
        Whom::Asker(newest)
    }

    /// Whether a question may be about a request that was given up by somebody else: one like it has led to one before.
    pub(crate) fn owes_others(&self, owner: u64) -> bool {
        self.abandoned.values().any(|(whose, subject)| *whose != owner && self.asking.contains(subject))
    }
}
