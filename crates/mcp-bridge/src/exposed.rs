//! What operators ask of a bridge: which names clients see, what became of tools, and single fetches on their behalf.

use std::collections::HashSet;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_protocol::header::name_of;
use mcp_protocol::meta::RequestMeta;
use mcp_protocol::{Method, Notification, ProtocolVersion, RawJson, Request, RequestId};
use mcp_registry::{OnToolChange, Selection, ServerName, ServerRecord, StoreError};
use mcp_server::{AskError, Channel, Outcome, Principal, Service, StatelessCall, TransportShape};

use crate::bridge::Bridge;
use crate::catalog::ListKind;
use crate::digest::Digest;
use crate::directory::{Entry, Why};
use crate::endpoint::Endpoint;
use crate::guard::History;
use crate::library::Shelf;
use crate::names;
use crate::party::Kind;
use crate::settings::Scope;
use crate::watchman::{ApproveError, Withheld};

/// What clients see of all servers as one, as [`Bridge::exposed`] tells it.
#[derive(Debug, Clone)]
pub struct Exposed {
    /// List by list: what is shown in the order of the list, then what is not.
    pub entries: Vec<ExposedEntry>,
    /// Servers and groups whose lists are not known, or out of reach.
    pub missing: Vec<ServerName>,
}

/// One tool, prompt, resource or template.
#[derive(Debug, Clone)]
pub struct ExposedEntry {
    /// What it is.
    pub kind: ListKind,
    /// The name, or URI, that clients use.
    pub exposed: Box<str>,
    /// Whether that is a shortened name, from which those of the owner and the tool cannot be read.
    pub shortened: bool,
    /// Whose it is: a server or a group.
    pub owner: ServerName,
    /// The servers of the owner that list it.
    pub servers: Vec<ServerName>,
    /// The name they know it by.
    pub name: Box<str>,
    /// As it is listed.
    pub definition: RawJson,
    /// Why clients do not see it; `None`: they do.
    pub hidden: Option<Hiding>,
}

/// Why clients do not see something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hiding {
    /// The name, or URI, is in use.
    Taken {
        /// By whom.
        by: ServerName,
    },
    /// It is a tool that is not as approved.
    Withheld,
}

/// A tool that is, or was, defined in another way than when it was first seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolHistory {
    /// Whose it is.
    pub server: ServerName,
    /// The name the server gave it.
    pub tool: Box<str>,
    /// What became of it.
    pub history: History,
}

impl Bridge {
    /// What clients that cannot be asked anything see of all servers, or of a view. Whoever is the first to ask waits
    /// a moment for the servers. `None`: there is no such view.
    pub async fn exposed(&self, view: Option<&str>) -> Option<Exposed> {
        let shelf = self.aggregate(view)?.shelf(&Kind::plain()).await;
        let directory = shelf.directory();
        let prefix = self.0.settings().prefix;
        let mut entries = Vec::new();
        for kind in ListKind::ALL {
            let listed = Listed::of(&shelf, kind);
            let tell = |entry: &Entry, hidden| ExposedEntry {
                kind,
                exposed: entry.exposed.clone(),
                shortened: prefix && names::is_shortened(&entry.exposed) && *entry.exposed != *entry.name,
                owner: entry.owner.name.clone(),
                servers: listed.by(self, entry),
                name: (&*entry.name).into(),
                definition: entry.item.clone(),
                hidden,
            };
            entries.extend(directory.list(kind).iter().map(|entry| tell(entry, None)));
            let hidden = directory.hidden.iter().filter(|hidden| hidden.kind == kind);
            entries.extend(hidden.map(|hidden| {
                let why = match &hidden.why {
                    Why::Taken(by) => Hiding::Taken { by: by.clone() },
                    Why::Withheld(_) => Hiding::Withheld,
                };
                tell(&hidden.entry, Some(why))
            }));
        }
        Some(Exposed { entries, missing: directory.missing.iter().map(|owner| owner.name.clone()).collect() })
    }

    /// Asks for something as a client would that cannot be asked anything itself. `None`: there is no such view.
    ///
    /// The second value is the id under which the request is found in traces and events, if it came that far.
    pub async fn fetch(
        &self,
        view: Option<&str>,
        method: Method,
        params: RawJson,
    ) -> Option<(Outcome, Option<Arc<str>>)> {
        let endpoint = self.aggregate(view)?;
        let version = ProtocolVersion::LATEST_STATELESS;
        let outlet = Arc::new(Nobody::default());
        let name = name_of(&method, Some(&params));
        let call = StatelessCall {
            principal: Principal::anonymous(),
            transport: TransportShape::Http,
            request: Request { id: RequestId::from(1), method, params: Some(params) },
            meta: RequestMeta::new(version, mcp_protocol::capability::ClientCapabilities::default()),
            name,
            outlet: outlet.clone(),
        };
        let outcome = endpoint.call(call).await;
        Some((outcome, outlet.0.get().cloned()))
    }

    /// All tools that are, or were, defined in another way than when they were first seen, by server and name.
    #[must_use]
    pub fn tool_changes(&self) -> Vec<ToolHistory> {
        let tell = |(server, tool, history): (&ServerName, &str, &History)| ToolHistory {
            server: server.clone(),
            tool: tool.into(),
            history: history.clone(),
        };
        self.0.watchman.remembered(|guard| guard.changed().map(tell).collect())
    }

    /// Keeps a call of a tool that does not come from a client from servers that withhold it.
    ///
    /// # Errors
    /// [`Withheld`] if no other server is left.
    pub fn restrict(&self, selection: &mut Selection) -> Result<(), Withheld> {
        let Some(tool) = selection.tool.clone() else { return Ok(()) };
        let table = self.0.manager.table();
        let blocks = |record: &Arc<ServerRecord>| record.definition.on_tool_change == OnToolChange::Block;
        if !table.servers().iter().any(blocks) {
            return Ok(());
        }
        let mut servers = table.eligible(selection);
        servers.retain(|record| !record.lacks_tool(&tool));
        self.0.watchman.restrict(selection, &servers, &tool)
    }

    /// Approves what a tool is now, and waits until that is saved. The digest says what it was when somebody decided.
    ///
    /// # Errors
    /// [`ApproveError`].
    pub async fn approve_tool(
        &self,
        server: &ServerName,
        tool: &str,
        digest: Digest,
    ) -> Result<(), ApproveError> {
        self.0.watchman.approve(server, tool, digest).await
    }

    /// Forgets the tools of a server that an operator has removed: one that comes under its name starts anew. What a
    /// reloaded configuration leaves out is not removed in this sense.
    pub fn forget_tools(&self, server: &ServerName) {
        self.0.watchman.forget(server);
    }

    /// Saves what is remembered of tools, if it is kept anywhere and not saved yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn save_tools(&self) -> Result<(), StoreError> {
        self.0.watchman.save().await
    }

    fn aggregate(&self, view: Option<&str>) -> Option<Endpoint> {
        let scope = view.map_or(Scope::All, |view| Scope::View(view.into()));
        self.has(&scope).then(|| Endpoint::new(self.0.clone(), scope))
    }
}

/// Which servers list what.
struct Listed {
    names: Vec<(ServerName, HashSet<Box<str>>)>,
}

impl Listed {
    fn of(shelf: &Shelf, kind: ListKind) -> Self {
        let names = shelf.upstreams().into_iter().map(|upstream| {
            let catalog = upstream.catalog();
            let names = catalog.list(kind).items.iter().filter_map(|item| kind.name_of(item)).collect();
            (upstream.server.name.clone(), names)
        });
        Self { names: names.collect() }
    }

    /// The servers of its owner that list an entry, by name.
    fn by(&self, bridge: &Bridge, entry: &Entry) -> Vec<ServerName> {
        let table = bridge.0.manager.table();
        let is_owned = |server: &ServerName| {
            table.get(server.as_str()).is_some_and(|record| *record.definition.owner() == entry.owner.name)
        };
        let lists = self.names.iter().filter(|(_, names)| names.contains(&*entry.name));
        lists.map(|(server, _)| server).filter(|server| is_owned(server)).cloned().collect()
    }
}

/// A client that hears nothing but the id of its request.
#[derive(Default)]
struct Nobody(std::sync::OnceLock<Arc<str>>);

impl Channel for Nobody {
    fn notify(&self, _notification: Notification) {}

    fn ask(
        &self,
        _method: Method,
        _params: Option<RawJson>,
    ) -> BoxFuture<'static, Result<RawJson, AskError>> {
        std::future::ready(Err(AskError::Unreachable("nobody is there to answer"))).boxed()
    }

    fn trace(&self, request_id: Arc<str>) {
        // The first one stays: it is the one that was asked for.
        let _ = self.0.set(request_id);
    }
}
