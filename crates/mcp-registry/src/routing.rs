//! Which servers may serve a call, and in which order. Source: contract §3.2, §4.1.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::record::{ServerRecord, Status};

/// All records at one moment, in name order. Requests read it without a lock.
#[derive(Debug, Default)]
pub struct RoutingTable {
    servers: Box<[Arc<ServerRecord>]>,
    /// Positions by priority, highest first, then by name: the order without a preference.
    ranking: Box<[usize]>,
}

impl RoutingTable {
    /// `servers` come in name order.
    pub(crate) fn new(servers: impl Iterator<Item = Arc<ServerRecord>>) -> Self {
        let servers: Box<[_]> = servers.collect();
        let mut ranking: Box<[usize]> = (0..servers.len()).collect();
        // Stable, so that names order what priority leaves open (contract §4.1).
        ranking.sort_by_key(|&at| std::cmp::Reverse(servers[at].definition.priority));
        Self { servers, ranking }
    }

    /// All servers in name order.
    #[must_use]
    pub fn servers(&self) -> &[Arc<ServerRecord>] {
        &self.servers
    }

    /// The record of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<ServerRecord>> {
        self.position(name).map(|at| &self.servers[at])
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.servers.binary_search_by(|record| record.name().as_str().cmp(name)).ok()
    }

    /// First healthy server in preference order, else the first degraded one whatever its window, else
    /// none (contract §4.1, `choose_server`).
    #[must_use]
    pub fn choose(&self, preferred: &[String]) -> Option<&Arc<ServerRecord>> {
        let base = self.base(preferred, false);
        let first = |status| base.iter().map(|&at| &self.servers[at]).find(|record| record.status == status);
        first(Status::Healthy).or_else(|| first(Status::Degraded))
    }

    /// Preferred names that exist, without repeats, then (unless `only`) all others in ranking order.
    fn base(&self, preferred: &[String], only: bool) -> Vec<usize> {
        let mut base: Vec<usize> =
            Vec::with_capacity(if only { preferred.len() } else { self.servers.len() });
        let mut taken = vec![false; self.servers.len()];
        for at in preferred.iter().filter_map(|name| self.position(name)) {
            if !std::mem::replace(&mut taken[at], true) {
                base.push(at);
            }
        }
        if !only {
            base.extend(self.ranking.iter().copied().filter(|&at| !taken[at]));
        }
        base
    }
}

/// What a routed call asks of its candidates.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Ranking of servers by name; unknown names are skipped.
    pub preferred: Vec<String>,
    /// Whether the ranking is a restriction.
    pub preferred_only: bool,
    /// Only servers of this group.
    pub group: Option<String>,
    /// The tool that is called: servers known to lack it are skipped.
    pub tool: Option<Box<str>>,
}

/// Why a server was passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// The operator disabled it.
    Disabled,
    /// It is not in the group asked for.
    NotInGroup,
    /// Its retry window is open only from this instant on.
    WindowClosed(Timestamp),
    /// It is known not to offer the tool.
    LacksTool,
}

/// The candidates of one call, lazily: healthy ones in preference order, then degraded, then unreachable
/// ones whose window is open. The table is the one of the call's start, so nothing reorders under way.
#[derive(Debug)]
pub struct Candidates {
    table: Arc<RoutingTable>,
    selection: Selection,
    now: Timestamp,
    order: Order,
    tier: usize,
    at: usize,
}

/// Positions in the table in preference order.
#[derive(Debug)]
enum Order {
    /// The ranking of the table: no preference was given. Costs no allocation.
    Ranking,
    /// Some other order.
    Listed(Vec<usize>),
}

const TIERS: [Status; 3] = [Status::Healthy, Status::Degraded, Status::Unreachable];

impl Candidates {
    /// The candidates at `now`.
    #[must_use]
    pub fn new(table: Arc<RoutingTable>, selection: Selection, now: Timestamp) -> Self {
        let order = if selection.preferred.is_empty() {
            Order::Ranking
        } else {
            Order::Listed(table.base(&selection.preferred, selection.preferred_only))
        };
        Self { table, selection, now, order, tier: 0, at: 0 }
    }

    /// Why a server would not be a candidate; `None` if it is one.
    #[must_use]
    pub fn reason_to_skip(&self, record: &ServerRecord) -> Option<Skip> {
        let definition = &record.definition;
        if !definition.enabled {
            return Some(Skip::Disabled);
        }
        if let Some(group) = &self.selection.group
            && definition.group.as_ref().is_none_or(|own| own.as_str() != group)
        {
            return Some(Skip::NotInGroup);
        }
        if self.selection.tool.as_ref().is_some_and(|tool| record.lacks_tool(tool)) {
            return Some(Skip::LacksTool);
        }
        match record.next_retry_at {
            Some(at) if record.status != Status::Healthy && self.now < at => Some(Skip::WindowClosed(at)),
            _ => None,
        }
    }

    /// Whether servers were passed over only because they lack the tool.
    #[must_use]
    pub fn tool_is_offered_nowhere(&self) -> bool {
        let mut lacking = false;
        for record in self.base() {
            match self.reason_to_skip(record) {
                Some(Skip::LacksTool) => lacking = true,
                Some(Skip::Disabled | Skip::NotInGroup) => {}
                Some(Skip::WindowClosed(_)) | None => return false,
            }
        }
        lacking
    }

    /// Which server's retry window opens first, and when, of those skipped for that reason.
    #[must_use]
    pub fn first_retry(&self) -> Option<(&Arc<ServerRecord>, Timestamp)> {
        let waiting = self.base().filter_map(|record| match self.reason_to_skip(record) {
            Some(Skip::WindowClosed(at)) => Some((record, at)),
            _ => None,
        });
        waiting.min_by_key(|&(_, at)| at)
    }

    /// What was asked for.
    #[must_use]
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// The moment the candidates were chosen at.
    #[must_use]
    pub fn chosen_at(&self) -> Timestamp {
        self.now
    }

    fn base(&self) -> impl Iterator<Item = &Arc<ServerRecord>> {
        (0..self.len()).map(|at| self.record(at))
    }

    fn len(&self) -> usize {
        match &self.order {
            Order::Ranking => self.table.ranking.len(),
            Order::Listed(listed) => listed.len(),
        }
    }

    fn record(&self, at: usize) -> &Arc<ServerRecord> {
        match &self.order {
            Order::Ranking => &self.table.servers[self.table.ranking[at]],
            Order::Listed(listed) => &self.table.servers[listed[at]],
        }
    }
}

impl Iterator for Candidates {
    type Item = Arc<ServerRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.tier < TIERS.len() {
            while self.at < self.len() {
                let record = self.record(self.at);
                let fits = record.status == TIERS[self.tier] && self.reason_to_skip(record).is_none();
                let found = fits.then(|| record.clone());
                self.at += 1;
                if found.is_some() {
                    return found;
                }
            }
            self.tier += 1;
            self.at = 0;
        }
        None
    }
}

/// What the initialize stage of a call has to do on a server (contract §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Nothing: a fresh handshake is in force.
    Cached,
    /// A first handshake.
    Ordinary,
    /// Another handshake, although one is in force: it is stale, or the server is not healthy.
    Forced,
}

impl Gate {
    /// Decides for a record at `now`.
    #[must_use]
    pub fn of(record: &ServerRecord, now: Timestamp) -> Self {
        let stale = record.initialization_expires_at.is_some_and(|at| now >= at);
        match record.initialized {
            false => Self::Ordinary,
            true if record.status != Status::Healthy || stale => Self::Forced,
            true => Self::Cached,
        }
    }
}
