//! What an endpoint shows to one kind of client: the lists of all its servers, put together.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mcp_protocol::capability::ServerCapabilities;
use mcp_protocol::result::Caching;
use mcp_protocol::{ProtocolVersion, RawJson};
use mcp_registry::{Exposure, OnToolChange, Selection, ServerName, ServerRecord, Status};
use mcp_transport::TransportKind;
use tokio::time::Instant;

use crate::catalog::{Catalog, ListKind};
use crate::convert;
use crate::guard::Verdict;
use crate::names;
use crate::settings::{Scope, Settings, View};
use crate::watchman::Watchman;

/// A server, or a group of servers that stand in for one another.
#[derive(Debug)]
pub(crate) struct Owner {
    /// What clients know it as.
    pub(crate) name: ServerName,
    /// How its servers are chosen from.
    pub(crate) selection: Arc<Selection>,
    /// Whether there may be several.
    pub(crate) is_group: bool,
    /// Its servers, those of the highest priority first, and what clients get to see of each.
    pub(crate) members: Vec<(ServerName, Exposure)>,
    /// All its servers, those of the highest priority first, if one of them withholds tools that change; else none.
    pub(crate) guarded: Vec<Arc<ServerRecord>>,
    /// The revision of the server that would be asked first, as far as it is known.
    pub(crate) version: Option<ProtocolVersion>,
}

impl Owner {
    /// Whether one of its servers may be asked for this.
    pub(crate) fn admits(&self, kind: ListKind, name: &str) -> bool {
        self.members.iter().any(|(_, exposure)| kind.filter(exposure).admits(name))
    }

    /// Whether a server is one of them that may be asked for this.
    pub(crate) fn lets(&self, server: &str, kind: ListKind, name: &str) -> bool {
        let mut members = self.members.iter();
        members.any(|(member, exposure)| member.as_str() == server && kind.filter(exposure).admits(name))
    }

    /// Keeps a request from those of its servers that may not be asked for this; says whether any are left.
    pub(crate) fn restrict(&self, selection: &mut Arc<Selection>, kind: ListKind, name: &str) -> bool {
        if self.members.iter().all(|(_, exposure)| kind.filter(exposure).admits(name)) {
            return true;
        }
        let selection = Arc::make_mut(selection);
        if !std::mem::replace(&mut selection.preferred_only, true) {
            selection.preferred = self.members.iter().map(|(member, _)| member.to_string()).collect();
        }
        selection.preferred.retain(|member| self.lets(member, kind, name));
        !selection.preferred.is_empty()
    }
}

/// One tool, prompt, resource or template.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The name, or URI, that clients use.
    pub(crate) exposed: Box<str>,
    /// Whose it is.
    pub(crate) owner: Arc<Owner>,
    /// The name its server knows it by.
    pub(crate) name: Arc<str>,
    /// As the server lists it.
    pub(crate) item: RawJson,
    /// The revision the server speaks, and whether over stdio: what has to be adapted depends on them.
    pub(crate) version: ProtocolVersion,
    pub(crate) transport: TransportKind,
    /// Whether clients of 2025-11-25 may run it as a task.
    pub(crate) tasks: bool,
    /// Whether it is a tool that the server does not show to the gateway itself, as some do with tools for clients
    /// that can be asked.
    pub(crate) reserved: bool,
}

/// One list, with its pages ready to be sent.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    all: Vec<Entry>,
    by_exposed: HashMap<Box<str>, usize>,
    pub(crate) caching: Caching,
    /// The items of each page, per revision: worked out when first asked for.
    pages: [OnceLock<Vec<RawJson>>; ProtocolVersion::ALL.len()],
    edition: OnceLock<u64>,
}

impl Entries {
    pub(crate) fn get(&self, exposed: &str) -> Option<&Entry> {
        self.all.get(*self.by_exposed.get(exposed)?)
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.all.iter()
    }

    /// Tells lists of other entries, or in another order, apart: pages of one are none of the other.
    pub(crate) fn edition(&self) -> u64 {
        *self.edition.get_or_init(|| {
            let mut hash = DefaultHasher::new();
            for entry in &self.all {
                entry.exposed.hash(&mut hash);
            }
            hash.finish()
        })
    }

    /// Adds an entry, unless the name is taken already: then it comes back, with whose the name is.
    fn add(&mut self, entry: Entry) -> Result<(), (Entry, ServerName)> {
        if let Some(first) = self.get(&entry.exposed) {
            let by = first.owner.name.clone();
            return Err((entry, by));
        }
        self.by_exposed.insert(entry.exposed.clone(), self.all.len());
        self.all.push(entry);
        Ok(())
    }

    /// The result of the list method for one page, without what the stateless era adds.
    pub(crate) fn pages(&self, kind: ListKind, version: ProtocolVersion, size: usize) -> &[RawJson] {
        self.pages[position(version)].get_or_init(|| {
            let items: Vec<RawJson> =
                self.all.iter().filter_map(|entry| shown(kind, entry, version)).collect();
            let size = size.max(1);
            let count = items.len().div_ceil(size).max(1);
            (0..count)
                .map(|page| {
                    let start = page * size;
                    join(&items[start..(start + size).min(items.len())])
                })
                .collect()
        })
    }

    pub(crate) fn same_as(&self, other: &Self) -> bool {
        self.all.len() == other.all.len()
            && self
                .all
                .iter()
                .zip(&other.all)
                .all(|(a, b)| a.exposed == b.exposed && a.owner.name == b.owner.name && a.item == b.item)
    }
}

/// The place of a revision among all.
fn position(version: ProtocolVersion) -> usize {
    ProtocolVersion::ALL.iter().position(|known| *known == version).unwrap_or(0)
}

/// An array of items.
fn join(items: &[RawJson]) -> RawJson {
    let mut text = String::with_capacity(items.iter().map(|item| item.as_str().len() + 1).sum::<usize>() + 2);
    text.push('[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        text.push_str(item.as_str());
    }
    text.push(']');
    RawJson::parse(text, &mcp_protocol::Limits::default().with_max_bytes(usize::MAX))
        .unwrap_or_else(|_| RawJson::empty_object())
}

/// An entry as a client of a revision sees it; `None` if it must not see it.
fn shown(kind: ListKind, entry: &Entry, version: ProtocolVersion) -> Option<RawJson> {
    let item = match kind {
        ListKind::Tools | ListKind::Prompts if *entry.exposed != *entry.name => {
            let mut members = entry.item.members().ok()?;
            members.set_json("name", RawJson::string(&entry.exposed));
            members.encode()
        }
        _ => entry.item.clone(),
    };
    match kind {
        ListKind::Tools => {
            let route = convert::definition::Route {
                server: entry.version,
                client: version,
                over_http: entry.transport != TransportKind::Stdio,
                tasks: entry.tasks,
            };
            convert::definition::tool(&item, &route)
                .inspect_err(|why| tracing::warn!(tool = %entry.exposed, %why, "a tool is left out"))
                .ok()
        }
        _ => Some(item),
    }
}

/// A server that is shown, as it was when the directory was made.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) owner: Arc<Owner>,
    pub(crate) server: ServerName,
    pub(crate) catalog: Arc<Catalog>,
}

/// Something that a server lists and clients do not see.
#[derive(Debug, Clone)]
pub(crate) struct Hidden {
    pub(crate) kind: ListKind,
    pub(crate) entry: Entry,
    /// The server that lists it.
    pub(crate) server: ServerName,
    pub(crate) why: Why,
}

/// Why something is hidden.
#[derive(Debug, Clone)]
pub(crate) enum Why {
    /// The name, or URI, is in use: by whom.
    Taken(ServerName),
    /// It is a tool that is not as approved.
    Withheld(Verdict),
}

/// All that an endpoint shows.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    lists: [Entries; 4],
    /// What it does not show although nobody denies it.
    pub(crate) hidden: Vec<Hidden>,
    /// Those that are there, one for each owner, in order.
    pub(crate) shown: Vec<Shown>,
    /// Owners that may have more than is known: their lists were not read yet for this kind of client, or they are out
    /// of reach.
    pub(crate) missing: Vec<Arc<Owner>>,
    /// What is offered to clients of each revision: worked out when first asked for, as it takes a look at every server.
    offered: [OnceLock<ServerCapabilities>; ProtocolVersion::ALL.len()],
    /// The instructions of all servers.
    instructions: OnceLock<Option<RawJson>>,
}

impl Directory {
    /// What is offered to clients of a revision, as `work_out` finds from what each server offers.
    pub(crate) fn offered(
        &self,
        version: ProtocolVersion,
        work_out: impl FnOnce(&[(ProtocolVersion, ServerCapabilities)]) -> ServerCapabilities,
    ) -> &ServerCapabilities {
        self.offered[position(version)].get_or_init(|| work_out(&self.capabilities()))
    }

    /// The instructions for clients, as `work_out` finds them.
    pub(crate) fn instructions(&self, work_out: impl FnOnce() -> Option<RawJson>) -> Option<&RawJson> {
        self.instructions.get_or_init(work_out).as_ref()
    }

    pub(crate) fn list(&self, kind: ListKind) -> &Entries {
        &self.lists[kind.index()]
    }

    /// The tool that would be found by a name if it were not withheld.
    pub(crate) fn withheld(&self, exposed: &str) -> Option<(&Hidden, Verdict)> {
        self.hidden.iter().find_map(|hidden| match hidden.why {
            Why::Withheld(verdict) if *hidden.entry.exposed == *exposed => Some((hidden, verdict)),
            _ => None,
        })
    }

    /// The owner of an endpoint that shows one.
    pub(crate) fn only(&self) -> Option<&Arc<Owner>> {
        self.shown.first().map(|shown| &shown.owner).or_else(|| self.missing.first())
    }

    /// Whether clients of 2025-11-25 may run the tools of a server as tasks.
    pub(crate) fn runs_tasks(&self, server: &ServerName) -> bool {
        let shown = self.shown.iter().find(|shown| shown.server == *server);
        shown
            .and_then(|shown| shown.catalog.profile.as_ref())
            .is_some_and(|profile| crate::tasks::runs_tasks(profile))
    }

    /// What the servers offer, each with its revision.
    fn capabilities(&self) -> Vec<(ProtocolVersion, ServerCapabilities)> {
        let of = |shown: &Shown| {
            let profile = shown.catalog.profile.as_ref()?;
            Some((profile.version, ServerCapabilities::from_raw(profile.capabilities.clone()?).ok()?))
        };
        self.shown.iter().filter_map(of).collect()
    }
}

/// The owners an endpoint has, in order: by the highest priority of their servers, then by name; each with its
/// servers in the order they stand in for one another.
pub(crate) fn owners(
    records: &[Arc<ServerRecord>],
    scope: &Scope,
    settings: &Settings,
) -> Vec<(ServerName, Vec<Arc<ServerRecord>>)> {
    let view = match scope {
        Scope::View(name) => settings.views.iter().find(|view| view.name == **name),
        Scope::All | Scope::One(_) => None,
    };
    let wanted = |record: &ServerRecord| match scope {
        Scope::All => true,
        Scope::View(_) => view.is_some_and(|view| view.servers.admits(record.definition.owner().as_str())),
        Scope::One(name) => {
            record.name().as_str() == &**name
                || record.definition.group.as_ref().is_some_and(|group| group.as_str() == &**name)
        }
    };
    let mut owners: BTreeMap<ServerName, Vec<Arc<ServerRecord>>> = BTreeMap::new();
    for record in records.iter().filter(|record| record.definition.enabled && wanted(record)) {
        owners.entry(record.definition.owner().clone()).or_default().push(record.clone());
    }
    for servers in owners.values_mut() {
        // Stable: servers of the same priority stay in name order.
        servers.sort_by_key(|record| std::cmp::Reverse(record.definition.priority));
    }
    let mut owners: Vec<_> = owners.into_iter().collect();
    owners.sort_by_key(|(_, servers)| {
        std::cmp::Reverse(servers.first().map_or(0, |record| record.definition.priority))
    });
    owners
}

/// An owner with its servers and what they offer.
type Part = (ServerName, Vec<(Arc<ServerRecord>, Arc<Catalog>)>);

/// Puts the lists of owners together.
pub(crate) fn assemble(
    owners: &[Part],
    scope: &Scope,
    view: Option<&View>,
    settings: &Settings,
    watchman: &Watchman,
) -> Directory {
    let mut directory = Directory::default();
    // One server is shown as it is.
    let prefix = settings.prefix && !matches!(scope, Scope::One(_));
    let mut caching: [Vec<Caching>; 4] = Default::default();
    for (owner, servers) in owners {
        let there = |(record, catalog): &&(Arc<ServerRecord>, Arc<Catalog>)| {
            record.status != Status::Unreachable && catalog.is_known()
        };
        // The one that would be asked first speaks for its group.
        let first = servers
            .iter()
            .filter(there)
            .min_by_key(|(record, _)| if record.status == Status::Healthy { 0 } else { 1 });
        let owner = Arc::new(owner_of(owner, servers, scope));
        let Some((record, catalog)) = first else {
            directory.missing.push(owner);
            continue;
        };
        for kind in ListKind::ALL {
            let list = catalog.list(kind);
            let said = list.caching.map(|said| {
                let age = list.at.map_or(Duration::ZERO, |at| Instant::now() - at);
                convert::envelope::caching(Some(said), age, false)
            });
            caching[kind.index()].push(said.unwrap_or_default());
            for (at, item) in list.items.iter().enumerate() {
                let Some(entry) = entry(kind, item, &owner, record, catalog, view, prefix) else {
                    continue;
                };
                let withheld = (kind == ListKind::Tools)
                    .then(|| catalog.verdict(at))
                    .filter(|verdict| !watchman.offers(record, &entry.name, *verdict));
                let other = || {
                    let there = servers.iter().filter(there);
                    let (item, record, catalog) = stand_in(there, &entry.name, watchman)?;
                    self::entry(kind, item, &owner, record, catalog, view, prefix)
                };
                let shown = match withheld {
                    None => Ok(entry),
                    Some(verdict) => other().ok_or((entry, Why::Withheld(verdict))),
                };
                let list = &mut directory.lists[kind.index()];
                let shown =
                    shown.and_then(|entry| list.add(entry).map_err(|(entry, by)| (entry, Why::Taken(by))));
                let Err((entry, why)) = shown else { continue };
                directory.hidden.push(Hidden { kind, entry, server: record.name().clone(), why });
            }
        }
        if catalog.is_provisional {
            directory.missing.push(owner.clone());
        }
        let (server, catalog) = (record.name().clone(), catalog.clone());
        directory.shown.push(Shown { owner, server, catalog });
    }
    for kind in ListKind::ALL {
        // What is missing may come at any time.
        directory.lists[kind.index()].caching = match directory.missing.is_empty() {
            true => convert::envelope::caching_of_all(std::mem::take(&mut caching[kind.index()])),
            false => Caching::default(),
        };
    }
    directory
}

/// One of these servers by whom a tool of that name is offered, and the tool.
fn stand_in<'a>(
    mut servers: impl Iterator<Item = &'a (Arc<ServerRecord>, Arc<Catalog>)>,
    tool: &str,
    watchman: &Watchman,
) -> Option<(&'a RawJson, &'a ServerRecord, &'a Catalog)> {
    servers.find_map(|(record, catalog)| {
        let items = &catalog.list(ListKind::Tools).items;
        let is_it = |item: &RawJson| ListKind::Tools.name_of(item).is_some_and(|name| *name == *tool);
        let at = items.iter().position(is_it)?;
        watchman.offers(record, tool, catalog.verdict(at)).then(|| (&items[at], &**record, &**catalog))
    })
}

fn owner_of(name: &ServerName, servers: &[(Arc<ServerRecord>, Arc<Catalog>)], scope: &Scope) -> Owner {
    let asked_for_alone = match scope {
        // A server of a group, by its own name.
        Scope::One(asked) => servers.iter().any(|(record, _)| record.name().as_str() == &**asked),
        Scope::All | Scope::View(_) => false,
    };
    let is_group =
        !asked_for_alone && servers.iter().any(|(record, _)| record.definition.group.as_ref() == Some(name));
    let selection = if is_group {
        Selection { group: Some(name.to_string()), ..Selection::default() }
    } else {
        let preferred = servers.iter().map(|(record, _)| record.name().to_string()).collect();
        Selection { preferred, preferred_only: true, ..Selection::default() }
    };
    let members =
        servers.iter().map(|(record, _)| (record.name().clone(), record.definition.exposure.clone()));
    let version = servers.iter().find_map(|(record, catalog)| {
        let profile = catalog.profile.as_ref().map(|profile| profile.version);
        profile.or_else(|| record.protocol_version.as_deref()?.parse().ok())
    });
    let blocks = |(record, _): &(Arc<ServerRecord>, Arc<Catalog>)| {
        record.definition.on_tool_change == OnToolChange::Block
    };
    let guarded = match servers.iter().any(blocks) {
        true => servers.iter().map(|(record, _)| record.clone()).collect(),
        false => Vec::new(),
    };
    Owner {
        name: name.clone(),
        selection: Arc::new(selection),
        is_group,
        members: members.collect(),
        guarded,
        version,
    }
}

fn entry(
    kind: ListKind,
    item: &RawJson,
    owner: &Arc<Owner>,
    record: &ServerRecord,
    catalog: &Catalog,
    view: Option<&View>,
    prefix: bool,
) -> Option<Entry> {
    let name = kind.name_of(item)?;
    let exposed: Box<str> = match kind {
        ListKind::Tools | ListKind::Prompts if prefix => names::exposed(&owner.name, &name),
        _ => name.clone(),
    };
    if !kind.filter(&record.definition.exposure).admits(&name)
        || view.is_some_and(|view| !kind.filter(&view.exposure).admits(&exposed))
    {
        return None;
    }
    let profile = catalog.profile.as_ref()?;
    let reserved = kind == ListKind::Tools && record.lacks_tool(&name);
    Some(Entry {
        exposed,
        owner: owner.clone(),
        name: name.into(),
        item: item.clone(),
        version: profile.version,
        transport: catalog.transport?,
        tasks: kind == ListKind::Tools && crate::tasks::runs_tasks(profile),
        reserved,
    })
}
