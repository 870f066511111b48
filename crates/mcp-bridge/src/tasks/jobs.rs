//! The tasks of ours, and how many there may be.

use std::collections::HashMap;
use std::collections::hash_map::Values;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mcp_server::Outlet;

use super::job::{Holder, Job};
use crate::client::Turn;
use crate::endpoint::Endpoint;
use crate::settings::Scope;

/// Most of them of one client, and of all clients.
const MOST: (usize, usize) = (100, 1000);

/// The tasks of all clients.
#[derive(Default)]
pub(crate) struct Jobs(Mutex<HashMap<Box<str>, Arc<Job>>>);

impl Jobs {
    fn all(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<Job>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new one with an id that nobody can guess. Where there are too many, the oldest whose results clients have got
    /// make room.
    ///
    /// # Errors
    /// There are too many all the same: what the client is told.
    pub(crate) fn open(
        &self,
        endpoint: &Endpoint,
        turn: &Turn,
        server_name: Option<Box<str>>,
        outlet: &Outlet,
        ttl: Duration,
    ) -> Result<Arc<Job>, String> {
        let (holder, room) = (Holder::of(turn), endpoint.bridge.settings().task_results);
        let mut all = self.all();
        let full = |what: String| format!("{what}, which is the limit: fetch the results of tasks, or wait");
        let is_its = |job: &Job| job.holder == holder;
        make_room(&mut all, |all| all.filter(|job| is_its(job)).count() >= MOST.0, is_its)
            .map_err(|Full| full(format!("{} tasks of this client are kept", MOST.0)))?;
        make_room(&mut all, |all| all.count() >= MOST.1, |_| true)
            .map_err(|Full| full(format!("{} tasks of all clients are kept", MOST.1)))?;
        make_room(&mut all, |all| all.map(|job| job.size()).sum::<usize>() >= room, |_| true)
            .map_err(|Full| full(format!("{room} bytes of results are kept")))?;
        let job = Arc::new(Job::new(endpoint, holder, server_name, outlet, ttl));
        all.insert(job.id.clone(), job.clone());
        Ok(job)
    }

    /// The one that a client knows by an id.
    pub(crate) fn find(&self, turn: &Turn, scope: &Scope, id: &str) -> Option<Arc<Job>> {
        let job = self.all().get(id).cloned()?;
        (job.holder == Holder::of(turn) && *job.scope == *scope).then_some(job)
    }

    /// Those of a client, the oldest first.
    pub(crate) fn of(&self, turn: &Turn, scope: &Scope) -> Vec<Arc<Job>> {
        let holder = Holder::of(turn);
        let is_its = |job: &&Arc<Job>| job.holder == holder && *job.scope == *scope;
        let mut its: Vec<_> = self.all().values().filter(is_its).cloned().collect();
        its.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        its
    }

    /// It is not kept any more.
    pub(crate) fn forget(&self, job: &Job) {
        self.all().remove(&job.id);
        job.gone.cancel();
    }

    /// A session is over, and with it those that are nobody else's.
    pub(crate) fn leave(&self, session: u64) {
        self.end_if(|job| job.holder == Holder::Session(session));
    }

    /// The end is near.
    pub(crate) fn close(&self) {
        self.end_if(|_| true);
    }

    fn end_if(&self, is_over: impl Fn(&Job) -> bool) {
        let over: Vec<_> = self.all().extract_if(|_, job| is_over(job)).collect();
        for (_, job) in over {
            job.gone.cancel();
        }
    }
}

/// There is no room to be made.
struct Full;

/// Forgets tasks whose results their clients have got, the oldest first, for as long as there are too many.
fn make_room(
    all: &mut HashMap<Box<str>, Arc<Job>>,
    is_full: impl Fn(Values<'_, Box<str>, Arc<Job>>) -> bool,
    counts: impl Fn(&Job) -> bool,
) -> Result<(), Full> {
    while is_full(all.values()) {
        let collected = all.values().filter(|job| counts(job) && job.is_collected());
        let oldest = collected.min_by_key(|job| job.created).map(|job| job.id.clone());
        let oldest = oldest.and_then(|id| all.remove(&id)).ok_or(Full)?;
        oldest.gone.cancel();
    }
    Ok(())
}
