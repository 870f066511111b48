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
    /// none; never a disabled one (contract §4.1, `choose_server`).
    #[must_use]
    pub fn choose(&self, preferred: &[String]) -> Option<&Arc<ServerRecord>> {
        let base = self.base(preferred, false);
        let enabled = || base.iter().map(|&at| &self.servers[at]).filter(|record| record.definition.enabled);
        let first = |status| enabled().find(|record| record.status == status);
        first(Status::Healthy).or_else(|| first(Status::Degraded))
    }

    /// The enabled servers a selection leaves, in preference order, whatever their status and their tools.
    #[must_use]
    pub fn eligible(&self, selection: &Selection) -> Vec<Arc<ServerRecord>> {
        let wanted = |record: &&Arc<ServerRecord>| {
            let definition = &record.definition;
            let in_group = |group| definition.group.as_ref().is_some_and(|own| own.as_str() == group);
            definition.enabled && selection.group.as_deref().is_none_or(in_group)
        };
        let base = self.base(&selection.preferred, selection.preferred_only);
        base.into_iter().map(|at| &self.servers[at]).filter(wanted).cloned().collect()
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
    /// The caller restricted the call to other servers.
    NotPreferred,
    /// Its retry window is open only from this instant on.
    WindowClosed(Timestamp),
    /// It is known not to offer the tool.
    LacksTool,
}

/// What the candidates of one call are chosen from and by: enough to say later why each server was a
/// candidate or not.
#[derive(Debug)]
pub struct Choice {
    /// All servers as they were.
    pub table: Arc<RoutingTable>,
    /// What was asked for.
    pub selection: Arc<Selection>,
    /// When.
    pub at: Timestamp,
}

impl Choice {
    /// Why a server would not be a candidate; `None` if it would be one. Whether it is among the preferred
    /// servers is not looked at: that is a matter of the list, not of the server.
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
            Some(at) if record.status != Status::Healthy && self.at < at => Some(Skip::WindowClosed(at)),
            _ => None,
        }
    }

    /// Whether servers were passed over only because they lack the tool.
    #[must_use]
    pub fn tool_is_offered_nowhere(&self) -> bool {
        let mut lacking = false;
        let order = self.order();
        for at in 0..order.len(&self.table) {
            match self.reason_to_skip(&self.table.servers[order.position(&self.table, at)]) {
                Some(Skip::LacksTool) => lacking = true,
                Some(Skip::Disabled | Skip::NotInGroup | Skip::NotPreferred) => {}
                Some(Skip::WindowClosed(_)) | None => return false,
            }
        }
        lacking
    }

    /// Which server's retry window opens first, and when, of those skipped for that reason.
    #[must_use]
    pub fn first_retry(&self) -> Option<(&Arc<ServerRecord>, Timestamp)> {
        let order = self.order();
        let positions = (0..order.len(&self.table)).map(|at| order.position(&self.table, at));
        let waiting = positions.map(|at| &self.table.servers[at]).filter_map(|record| {
            match self.reason_to_skip(record) {
                Some(Skip::WindowClosed(at)) => Some((record, at)),
                _ => None,
            }
        });
        waiting.min_by_key(|&(_, at)| at)
    }

    /// Every server with its part in the choice: the candidates in the order they would be tried, then the
    /// others in name order with the reason.
    #[must_use]
    pub fn considered(self: &Arc<Self>) -> Vec<(Arc<ServerRecord>, Option<Skip>)> {
        let servers = self.table.servers();
        let mut candidate = vec![false; servers.len()];
        let mut all = Vec::with_capacity(servers.len());
        for record in Candidates::of(self.clone()) {
            if let Some(at) = self.table.position(record.name().as_str()) {
                candidate[at] = true;
            }
            all.push((record, None));
        }
        let others = servers.iter().zip(candidate).filter(|(_, candidate)| !candidate);
        let skip = |record: &ServerRecord| self.reason_to_skip(record).unwrap_or(Skip::NotPreferred);
        all.extend(others.map(|(record, _)| (record.clone(), Some(skip(record)))));
        all
    }

    fn order(&self) -> Order {
        if self.selection.preferred.is_empty() && !self.selection.preferred_only {
            Order::Ranking
        } else {
            Order::Listed(self.table.base(&self.selection.preferred, self.selection.preferred_only))
        }
    }
}

/// The candidates of one call, lazily: healthy ones in preference order, then degraded, then unreachable
/// ones whose window is open. The table is the one of the call's start, so nothing reorders under way.
#[derive(Debug)]
pub struct Candidates {
    choice: Arc<Choice>,
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

impl Order {
    fn len(&self, table: &RoutingTable) -> usize {
        match self {
            Self::Ranking => table.ranking.len(),
            Self::Listed(listed) => listed.len(),
        }
    }

    fn position(&self, table: &RoutingTable, at: usize) -> usize {
        match self {
            Self::Ranking => table.ranking[at],
            Self::Listed(listed) => listed[at],
        }
    }
}

impl Candidates {
    /// The candidates at `now`.
    #[must_use]
    pub fn new(table: Arc<RoutingTable>, selection: Selection, now: Timestamp) -> Self {
        Self::of(Arc::new(Choice { table, selection: selection.into(), at: now }))
    }

    /// The candidates of a choice.
    #[must_use]
    pub fn of(choice: Arc<Choice>) -> Self {
        let order = choice.order();
        Self { choice, order, tier: 0, at: 0 }
    }

    /// What they are chosen from and by.
    #[must_use]
    pub fn choice(&self) -> &Arc<Choice> {
        &self.choice
    }
}

impl Iterator for Candidates {
    type Item = Arc<ServerRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.tier < TIERS.len() {
            while self.at < self.order.len(&self.choice.table) {
                let record = &self.choice.table.servers[self.order.position(&self.choice.table, self.at)];
                let fits = record.status == TIERS[self.tier] && self.choice.reason_to_skip(record).is_none();
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
