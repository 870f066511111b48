//! Which servers may serve a call, and in which order. Source: contract §3.2, §4.1.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::name::ServerName;
use crate::record::{ServerKey, ServerRecord, Status};

/// All records at one moment, in name order. Requests read it without a lock.
#[derive(Debug, Default)]
pub struct RoutingTable {
    servers: Box<[Arc<ServerRecord>]>,
    lineup: Arc<Lineup>,
}

/// How all servers stand at one moment, in name order, without what is large of their records: the memory of a call
/// keeps it.
#[derive(Debug, Default)]
pub(crate) struct Lineup {
    servers: Box<[Standing]>,
    /// Positions by priority, highest first, then by name: the order without a preference.
    ranking: Box<[usize]>,
}

/// How one server stands.
#[derive(Debug)]
struct Standing {
    key: ServerKey,
    status: Status,
    enabled: bool,
    group: Option<ServerName>,
    next_retry_at: Option<Timestamp>,
}

impl Standing {
    fn of(record: &ServerRecord) -> Self {
        let definition = &record.definition;
        Self {
            key: record.key(),
            status: record.status,
            enabled: definition.enabled,
            group: definition.group.clone(),
            next_retry_at: record.next_retry_at,
        }
    }
}

impl RoutingTable {
    /// `servers` come in name order.
    pub(crate) fn new(servers: impl Iterator<Item = Arc<ServerRecord>>) -> Self {
        let servers: Box<[_]> = servers.collect();
        let mut ranking: Box<[usize]> = (0..servers.len()).collect();
        // Stable, so that names order what priority leaves open (contract §4.1).
        ranking.sort_by_key(|&at| std::cmp::Reverse(servers[at].definition.priority));
        let standing = servers.iter().map(|record| Standing::of(record)).collect();
        let lineup = Arc::new(Lineup { servers: standing, ranking });
        Self { servers, lineup }
    }

    /// All servers in name order.
    #[must_use]
    pub fn servers(&self) -> &[Arc<ServerRecord>] {
        &self.servers
    }

    /// The record of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<ServerRecord>> {
        self.lineup.position(name).map(|at| &self.servers[at])
    }

    /// First healthy server in preference order, else the first degraded one whatever its window, else
    /// none; never a disabled one (contract §4.1, `choose_server`).
    #[must_use]
    pub fn choose(&self, preferred: &[String]) -> Option<&Arc<ServerRecord>> {
        let base = self.lineup.base(preferred, false);
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
        let base = self.lineup.base(&selection.preferred, selection.preferred_only);
        base.into_iter().map(|at| &self.servers[at]).filter(wanted).cloned().collect()
    }
}

impl Lineup {
    fn position(&self, name: &str) -> Option<usize> {
        self.servers.binary_search_by(|server| server.key.name.as_str().cmp(name)).ok()
    }

    /// Preferred names that exist, without repeats, then (unless `only`) all others in ranking order.
    fn base(&self, preferred: &[String], only: bool) -> Positions {
        let mut base = Positions::new();
        let named = preferred.iter().filter_map(|name| self.position(name));
        if let (true, [_]) = (only, preferred) {
            base.extend(named);
            return base;
        }
        let mut taken = vec![false; self.servers.len()];
        for at in named {
            if !std::mem::replace(&mut taken[at], true) {
                base.push(at);
            }
        }
        if !only {
            base.extend(self.ranking.iter().copied().filter(|&at| !taken[at]));
        }
        base
    }

    fn order(&self, selection: &Selection) -> Order {
        if selection.preferred.is_empty() && !selection.preferred_only {
            Order::Ranking
        } else {
            Order::Listed(self.base(&selection.preferred, selection.preferred_only))
        }
    }

    /// Every server with its part in a choice: the candidates in the order they would be tried, then the others in
    /// name order with the reason. `lacks`: which servers lack the tool.
    pub(crate) fn considered(
        &self,
        selection: &Selection,
        at: Timestamp,
        lacks: impl Fn(usize) -> bool,
    ) -> Vec<Stood> {
        let stood = |at: usize, skip| {
            let Standing { key, status, .. } = &self.servers[at];
            Stood { key: key.clone(), status: *status, skip }
        };
        let skip = |position: usize| selection.skips(&self.servers[position], at, || lacks(position));
        let order = self.order(selection);
        let mut candidate = vec![false; self.servers.len()];
        let mut all = Vec::with_capacity(self.servers.len());
        for tier in TIERS {
            for at in (0..order.len(self)).map(|at| order.position(self, at)) {
                if self.servers[at].status == tier && skip(at).is_none() {
                    candidate[at] = true;
                    all.push(stood(at, None));
                }
            }
        }
        let others = (0..self.servers.len()).filter(|&at| !candidate[at]);
        all.extend(others.map(|at| stood(at, Some(skip(at).unwrap_or(Skip::NotPreferred)))));
        all
    }
}

/// Positions in a table: mostly few.
type Positions = SmallVec<[usize; 4]>;

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
    pub tool: Option<Arc<str>>,
}

impl Selection {
    /// Why a server would not be a candidate, apart from the list of preferred ones.
    fn skips(&self, server: &Standing, at: Timestamp, lacks: impl FnOnce() -> bool) -> Option<Skip> {
        if !server.enabled {
            return Some(Skip::Disabled);
        }
        if let Some(group) = &self.group
            && server.group.as_ref().is_none_or(|own| own.as_str() != group)
        {
            return Some(Skip::NotInGroup);
        }
        if self.tool.is_some() && lacks() {
            return Some(Skip::LacksTool);
        }
        match server.next_retry_at {
            Some(opens) if server.status != Status::Healthy && at < opens => Some(Skip::WindowClosed(opens)),
            _ => None,
        }
    }

    fn is_lacked_by(&self, record: &ServerRecord) -> bool {
        self.tool.as_ref().is_some_and(|tool| record.lacks_tool(tool))
    }
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

/// How one server stood when an invocation began, and why it was passed over, if it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stood {
    /// Which registration.
    pub key: ServerKey,
    /// Its status then.
    pub status: Status,
    /// Why it was no candidate; `None` if it was one.
    pub skip: Option<Skip>,
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
        self.selection.skips(&Standing::of(record), self.at, || self.selection.is_lacked_by(record))
    }

    fn skip_at(&self, position: usize) -> Option<Skip> {
        let RoutingTable { servers, lineup } = &*self.table;
        self.selection
            .skips(&lineup.servers[position], self.at, || self.selection.is_lacked_by(&servers[position]))
    }

    /// Positions of the servers that may be candidates, in preference order.
    fn positions(&self) -> impl Iterator<Item = usize> {
        let lineup = &self.table.lineup;
        let order = lineup.order(&self.selection);
        (0..order.len(lineup)).map(move |at| order.position(lineup, at))
    }

    /// Whether servers were passed over only because they lack the tool.
    #[must_use]
    pub fn tool_is_offered_nowhere(&self) -> bool {
        let mut lacking = false;
        for at in self.positions() {
            match self.skip_at(at) {
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
        let waiting = self.positions().filter_map(|at| match self.skip_at(at) {
            Some(Skip::WindowClosed(opens)) => Some((&self.table.servers[at], opens)),
            _ => None,
        });
        waiting.min_by_key(|&(_, opens)| opens)
    }

    /// Every server with its part in the choice: the candidates in the order they would be tried, then the
    /// others in name order with the reason.
    #[must_use]
    pub fn considered(&self) -> Vec<Stood> {
        let servers = &self.table.servers;
        self.lineup().considered(&self.selection, self.at, |at| self.selection.is_lacked_by(&servers[at]))
    }

    pub(crate) fn lineup(&self) -> &Arc<Lineup> {
        &self.table.lineup
    }

    /// Positions of the servers that are no candidates because they lack the tool.
    pub(crate) fn lacking(&self) -> Box<[usize]> {
        if self.selection.tool.is_none() {
            return Box::default();
        }
        (0..self.table.servers.len()).filter(|&at| self.skip_at(at) == Some(Skip::LacksTool)).collect()
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
    Listed(Positions),
}

const TIERS: [Status; 3] = [Status::Healthy, Status::Degraded, Status::Unreachable];

impl Order {
    fn len(&self, lineup: &Lineup) -> usize {
        match self {
            Self::Ranking => lineup.ranking.len(),
            Self::Listed(listed) => listed.len(),
        }
    }

    fn position(&self, lineup: &Lineup, at: usize) -> usize {
        match self {
            Self::Ranking => lineup.ranking[at],
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
        let order = choice.lineup().order(&choice.selection);
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
        let Self { choice, order, tier, at } = self;
        let lineup = choice.lineup();
        while *tier < TIERS.len() {
            while *at < order.len(lineup) {
                let position = order.position(lineup, *at);
                let fits =
                    lineup.servers[position].status == TIERS[*tier] && choice.skip_at(position).is_none();
                *at += 1;
                if fits {
                    return Some(choice.table.servers[position].clone());
                }
            }
            *tier += 1;
            *at = 0;
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
