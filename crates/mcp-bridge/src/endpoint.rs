//! One endpoint: the service that front ends put clients through to.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::FutureExt;
use futures::future::{BoxFuture, Either};
use mcp_client::Asker;
use mcp_manager::Relayed;
use mcp_protocol::capability::{ClientCapabilities, ServerCapabilities};
use mcp_protocol::header::ParamHeaders;
use mcp_protocol::result::{Caching, Envelope, may_require_input};
use mcp_protocol::{Era, ErrorCode, Members, Method, ProtocolVersion, RawJson, RpcError};
use mcp_server::{Opened, Opening, Outcome, Principal, Service, StatelessCall};

use crate::bridge::Inner;
use crate::call::{Manner, Mouth, Passed};
use crate::catalog::ListKind;
use crate::client::{Client, Ear, Turn, Wanted, Way};
use crate::convert::capabilities::{offered_alone, offered_together};
use crate::directory::Directory;
use crate::held::{Parking, Passing, Questions, Step};
use crate::library::Shelf;
use crate::mark::Mark;
use crate::party::{Kind, extensions};
use crate::route::{Router, Target, only};
use crate::session::Session;
use crate::settings::Scope;
use crate::state::Place;
use crate::tasks::with_tasks;

/// One endpoint of a bridge.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) bridge: Arc<Inner>,
    pub(crate) scope: Arc<Scope>,
    known: Arc<ArcSwap<Known>>,
}

/// Stateless clients seen lately, by whose they are and what they say they are able to do.
#[derive(Default)]
struct Known {
    /// Of the library, when the first of them was added: what it has thrown away since must not be kept alive.
    generation: u64,
    clients: HashMap<(Principal, RawJson), Arc<Client>>,
}

static REQUEST_STATE: Mark = Mark::new("requestState");

/// Most kinds of stateless clients kept at hand.
const MAX_KNOWN: usize = 256;

impl Endpoint {
    pub(crate) fn new(bridge: Arc<Inner>, scope: Scope) -> Self {
        Self { bridge, scope: Arc::new(scope), known: Arc::default() }
    }

    /// What this kind of client is shown. The first ones of their kind wait a moment for the servers.
    pub(crate) async fn shelf(&self, kind: &Kind) -> Arc<Shelf> {
        let shelf = self.bridge.library.shelf(&self.scope, kind);
        if !shelf.is_settled() {
            shelf.settle(self.bridge.settings().list_wait).await;
        }
        shelf
    }

    /// A stateless client.
    async fn client(&self, principal: Principal, capabilities: ClientCapabilities) -> Arc<Client> {
        let generation = self.bridge.library.generation();
        let key = (principal, capabilities.as_raw().clone());
        let known = self.known.load();
        if known.generation == generation
            && let Some(client) = known.clients.get(&key)
        {
            client.shelf.touch();
            return client.clone();
        }
        drop(known);
        let version = ProtocolVersion::LATEST_STATELESS;
        // Kept for longer than the request it came in.
        let key = (key.0, key.1.detached());
        let capabilities = ClientCapabilities::from_raw(key.1.clone()).unwrap_or_default();
        let kind = Kind::of(&key.0, &capabilities, version, &self.scope);
        let shelf = self.shelf(&kind).await;
        let party = Arc::new(kind.clone());
        let principal = key.0.clone();
        let client = Arc::new(Client { principal, version, capabilities, kind, party, shelf });
        self.known.rcu(|known| {
            let mut clients = match known.generation == generation && known.clients.len() < MAX_KNOWN {
                true => known.clients.clone(),
                false => HashMap::new(),
            };
            clients.insert(key.clone(), client.clone());
            Known { generation, clients }
        });
        client
    }

    pub(crate) fn is_one(&self) -> bool {
        matches!(*self.scope, Scope::One(_))
    }

    /// What is offered to a client of a revision.
    pub(crate) fn capabilities(&self, directory: &Directory, version: ProtocolVersion) -> ServerCapabilities {
        let offered = directory.offered(version, |all| {
            let extensions = extensions(&self.scope);
            match (self.is_one(), all) {
                (true, [one]) => with_tasks(offered_alone(one, version, &extensions), all, version),
                _ => {
                    let offered = with_tasks(offered_together(all, true, version, &extensions), all, version);
                    let may_grow = version.era() == Era::Handshake && !directory.missing.is_empty();
                    if may_grow { with_whatever_may_come(offered).clip(version) } else { offered }
                }
            }
        });
        offered.clone()
    }

    /// What is offered to a client. Lists of tasks are for those alone that are somebody (wire reference §2.9).
    pub(crate) fn offers(&self, directory: &Directory, client: &Client) -> ServerCapabilities {
        let offered = self.capabilities(directory, client.version);
        let lists = ["tasks", "list"];
        let is_nobody = client.principal.as_str().is_empty();
        if is_nobody && offered.has(&lists) { offered.without(&lists) } else { offered }
    }

    /// Instructions of all servers, each under its name, as a JSON string.
    pub(crate) fn instructions(&self, directory: &Directory) -> Option<RawJson> {
        let all = || {
            let texts = directory.shown.iter().filter_map(|shown| {
                let text = shown.catalog.profile.as_ref()?.instructions.clone()?;
                Some(if self.is_one() { text } else { format!("## {}\n\n{text}", shown.owner.name) })
            });
            let texts: Vec<_> = texts.collect();
            (!texts.is_empty()).then(|| RawJson::string(&texts.join("\n\n")))
        };
        directory.instructions(all).cloned()
    }

    /// What the endpoint calls itself: one server is shown under its own name.
    pub(crate) fn server_info(&self, directory: &Directory) -> RawJson {
        let own = || directory.shown.first()?.catalog.profile.as_ref()?.server_info.clone();
        self.is_one().then(own).flatten().unwrap_or_else(|| self.bridge.server_info.clone())
    }

    /// Where a request goes.
    pub(crate) fn targets(&self, turn: &Turn) -> Result<Vec<Target>, RpcError> {
        let (settings, directory) = (self.bridge.settings(), turn.client.shelf.directory());
        let router = Router {
            scope: &self.scope,
            settings: &settings,
            directory: &directory,
            watchman: &self.bridge.watchman,
        };
        router.find(turn)
    }

    /// Passes a request on to whichever of its targets has what it asks for, with who answers their questions.
    pub(crate) async fn pass(
        &self,
        turn: &Turn,
        asker: impl Fn(&Target) -> Option<Asker>,
    ) -> Result<(Target, Passed), RpcError> {
        let targets = self.targets(turn)?;
        let last = targets.len().saturating_sub(1);
        for (at, target) in targets.into_iter().enumerate() {
            let params = self.bridge.params(turn, &target)?;
            let sink = (turn.ear.token.is_some() || turn.ear.level.is_some())
                .then(|| Mouth::new(turn.outlet.clone(), turn.ear.clone()).sink());
            let manner = Manner { asker: asker(&target), sink };
            let relay = self.bridge.relay(turn, &target, params, manner);
            // In a box, or each of the futures around it would be moved with room for it.
            let relayed = Box::pin(self.bridge.carry(turn, &target, relay)).await;
            let passed = self.bridge.conclude(&self.scope, turn, &target, relayed);
            if at < last && is_not_found(&passed) {
                continue;
            }
            return Ok((target, passed));
        }
        Err(RpcError::new(ErrorCode::INTERNAL_ERROR, "no server was found for the request"))
    }

    /// The result of a list method.
    pub(crate) async fn list(&self, turn: &Turn, kind: ListKind) -> Outcome {
        if self.is_one() {
            return self.list_of_one(turn, kind).await;
        }
        turn.client.shelf.refresh(kind);
        let directory = turn.client.shelf.directory();
        let size = self.bridge.settings().page_size;
        let entries = directory.list(kind);
        let pages = entries.pages(kind, turn.client.version, size);
        // Another size makes other pages, too.
        let edition = entries.edition() ^ size as u64;
        let at = self.page_at(turn, edition, pages.len())?;
        let Some(items) = pages.get(at) else { return Err(bad_cursor()) };
        let mut members = Members::default();
        members.set_json(kind.member(), items.clone());
        if at + 1 < pages.len() {
            members.set_json("nextCursor", RawJson::string(&self.cursor(turn, edition, at + 1)?));
        }
        let result = members.encode();
        self.own(turn, result, Some(entries.caching))
    }

    /// A page of the list of one server, as it is: passed on, and its items adapted.
    async fn list_of_one(&self, turn: &Turn, kind: ListKind) -> Outcome {
        let targets = self.targets(turn)?;
        let Some(mut target) = targets.into_iter().next() else { return Err(bad_cursor()) };
        let mut params = self.bridge.params(turn, &target)?;
        if target.owner.is_group {
            params = self.next_in_group(turn, &mut target, params)?;
        }
        let relay = self.bridge.relay(turn, &target, params, Manner::default());
        let mut relayed = Box::pin(self.bridge.manager.relay(relay)).await;
        if let Ok(relayed) = &mut relayed
            && let Ok(answer) = &relayed.outcome
        {
            let page = self.shown_page(turn, kind, relayed, &answer.result);
            let page = page.map_err(|error| crate::call::unreadable(turn, &error.to_string()))?;
            if let (Some(page), Ok(answer)) = (page, &mut relayed.outcome) {
                answer.result = page;
            }
        }
        if let Ok(Relayed { server, outcome: Ok(answer), .. }) = &mut relayed
            && target.owner.is_group
            && let Some(next) = answer.result.get("nextCursor").and_then(|next| next.to::<Box<str>>().ok())
        {
            let next = self.cursor_at(turn, server, &next)?;
            answer.result = with_text(&answer.result, "nextCursor", &next)?;
        }
        match self.bridge.conclude(&self.scope, turn, &target, relayed) {
            Passed::Done(outcome) => outcome,
            Passed::Asks { .. } | Passed::AsksFirst(_) => {
                Err(crate::call::unreadable(turn, "a list cannot ask anything"))
            }
        }
    }

    /// What is asked of the server of a group that gave the page before.
    fn next_in_group(
        &self,
        turn: &Turn,
        target: &mut Target,
        params: Option<RawJson>,
    ) -> Result<Option<RawJson>, RpcError> {
        let (Some(Place { server, cursor }), Some(params)) = (self.place_at(turn)?, &params) else {
            return Ok(params);
        };
        if !target.owner.members.iter().any(|(member, _)| member.as_str() == &*server) {
            return Err(bad_cursor());
        }
        target.selection = only(&server);
        with_text(params, "cursor", &cursor).map(Some)
    }

    /// A result of our own.
    pub(crate) fn own(&self, turn: &Turn, result: RawJson, caching: Option<Caching>) -> Outcome {
        let result = match turn.client.version.era() {
            Era::Handshake => result,
            Era::Stateless => Envelope::complete(caching)
                .stamp(&result, Some(&self.bridge.server_info))
                .map_err(|error| RpcError::new(ErrorCode::INTERNAL_ERROR, &error.to_string()))?,
        };
        // No server was asked: there is no trace to be found by an id.
        Ok(result)
    }

    /// Answers one request of the stateless era.
    async fn answer(self, call: StatelessCall) -> Outcome {
        let StatelessCall { principal, transport, request, meta, name, outlet } = call;
        let client = self.client(principal, meta.client_capabilities).await;
        let owner = self.bridge.new_owner();
        let id = self.bridge.manager.new_request_id();
        let listen = request.id.clone();
        let ear = Ear { token: meta.progress_token, level: meta.log_level };
        let way = Way { transport, outlet, ear };
        let wanted = Wanted { method: request.method, params: request.params, name };
        let turn = Turn::new(client, owner, way, wanted, id);
        if let Some(kind) = ListKind::of(&turn.method) {
            return self.list(&turn, kind).await;
        }
        match &turn.method {
            Method::ServerDiscover => self.discover(&turn).await,
            Method::SubscriptionsListen => self.listen(&turn, listen).await,
            method if may_require_input(method) => self.hold(turn).await,
            // In boxes, so that calls need no room for them.
            Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => Box::pin(self.task(&turn)).await,
            Method::CompletionComplete => match self.pass(&turn, |_| None).await?.1 {
                Passed::Done(outcome) => outcome,
                Passed::Asks { .. } | Passed::AsksFirst(_) => {
                    Err(crate::call::unreadable(&turn, "completion cannot ask anything"))
                }
            },
            _ => Box::pin(self.extend(&turn)).await,
        }
    }

    async fn discover(&self, turn: &Turn) -> Outcome {
        let directory = turn.client.shelf.directory();
        let mut result = Members::default();
        let versions: Vec<_> = ProtocolVersion::ALL.iter().rev().collect();
        let encode = |value| RawJson::encode(&value).unwrap_or_else(|_| RawJson::empty_object());
        result.set_json("supportedVersions", encode(versions));
        let capabilities = self.capabilities(&directory, turn.client.version);
        result.set_json("capabilities", capabilities.as_raw().clone());
        if let Some(instructions) = self.instructions(&directory) {
            result.set_json("instructions", instructions);
        }
        let result = Envelope::complete(Some(Caching::default()))
            .stamp(&result.encode(), Some(&self.server_info(&directory)))
            .map_err(|error| RpcError::new(ErrorCode::INTERNAL_ERROR, &error.to_string()))?;
        Ok(result)
    }

    /// Passes on a request during which the server may have to know more. Source: bridging §6.3, §6.4.
    fn hold(self, turn: Turn) -> impl Future<Output = Outcome> + Send {
        match turn.params.as_ref().and_then(|params| REQUEST_STATE.of(params)) {
            // In a box, so that other calls need no room for it.
            Some(state) => Either::Left(self.resume(turn, state).boxed()),
            None => Either::Right(self.begin_anew(turn)),
        }
    }

    /// The same for a request that carries nothing on.
    #[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice")]
    pub(crate) fn begin_anew(self, turn: Turn) -> impl Future<Output = Outcome> + Send {
        async move {
            if !turn.client.kind.profile.can_be_asked() {
                let (_, passed) = self.pass(&turn, |_| None).await?;
                return self.outcome(&turn, passed);
            }
            let targets = self.targets(&turn)?;
            let last = targets.len().saturating_sub(1);
            for (at, target) in targets.into_iter().enumerate() {
                let params = self.bridge.params(&turn, &target)?;
                let (mut passing, questions, mouth) = self.begin(&turn, &target, params);
                let relayed = match Parking::first(&mut passing, &questions).await {
                    Step::Ended(relayed) => relayed,
                    Step::Asks(requests) => {
                        return self.park(&turn, target, passing, questions, mouth, requests);
                    }
                };
                let passed = self.bridge.conclude(&self.scope, &turn, &target, relayed);
                if at < last && is_not_found(&passed) {
                    continue;
                }
                return self.outcome(&turn, passed);
            }
            Err(RpcError::new(ErrorCode::INTERNAL_ERROR, "no server was found for the request"))
        }
    }

    /// Begins to pass on a request that may be held.
    pub(crate) fn begin(
        &self,
        turn: &Turn,
        target: &Target,
        params: Option<RawJson>,
    ) -> (Passing, Arc<Questions>, Mouth) {
        let server_name = (!self.is_one()).then(|| target.owner.name.as_str().into());
        let questions = Questions::new(turn.client.version, turn.client.kind.profile.clone(), server_name);
        let mouth = Mouth::new(turn.outlet.clone(), turn.ear.clone());
        let asker = Asker { owner: turn.owner, handler: questions.clone(), resolves: false, task: None };
        let manner = Manner { asker: Some(asker), sink: Some(mouth.sink()) };
        let relay = self.bridge.relay(turn, target, params, manner);
        (Passing::new(self.bridge.carry(turn, target, relay), questions.clone()), questions, mouth)
    }
}

/// What a session may need before it ends, while servers are still missing: it is told once what is offered.
fn with_whatever_may_come(offered: ServerCapabilities) -> ServerCapabilities {
    let yes = || RawJson::encode(&true).unwrap_or_else(|_| RawJson::empty_object());
    let flags = ["logging", "completions"].into_iter().filter(|name| !offered.has(&[name]));
    let flags: Vec<_> = flags.collect();
    let offered = flags.into_iter().fold(offered, |all, name| all.with(&[name], RawJson::empty_object()));
    offered.with(&["resources", "subscribe"], yes())
}

/// Whether a server says that it does not have what was asked for.
pub(crate) fn is_not_found(passed: &Passed) -> bool {
    let Passed::Done(Err(error)) = passed else { return false };
    matches!(error.code(), Some(ErrorCode::INVALID_PARAMS | ErrorCode::RESOURCE_NOT_FOUND))
}

/// An object with another text in it.
fn with_text(object: &RawJson, member: &'static str, text: &str) -> Result<RawJson, RpcError> {
    let members = object.members();
    let mut members =
        members.map_err(|error| RpcError::new(ErrorCode::INTERNAL_ERROR, &error.to_string()))?;
    members.set_json(member, RawJson::string(text));
    Ok(members.encode())
}

pub(crate) fn bad_cursor() -> RpcError {
    RpcError::new(
        ErrorCode::INVALID_PARAMS,
        "params.cursor is not one of ours, or the list has changed: begin anew",
    )
}

impl Service for Endpoint {
    fn open(&self, opening: Opening) -> BoxFuture<'static, Result<Opened, RpcError>> {
        let this = self.clone();
        async move { Session::open(this, opening).await }.boxed()
    }

    fn call(&self, call: StatelessCall) -> BoxFuture<'static, Outcome> {
        self.clone().answer(call).boxed()
    }

    fn mirrored(&self, principal: &Principal, tool: &str) -> Option<Arc<ParamHeaders>> {
        let of = |shelf: &Shelf| {
            let directory = shelf.directory();
            let entry = directory.list(ListKind::Tools).get(tool)?;
            let shown = directory.shown.iter().find(|shown| Arc::ptr_eq(&shown.owner, &entry.owner))?;
            shown.catalog.mirrored.get(&*entry.name).cloned()
        };
        // As it was listed to whoever of this principal was here lately.
        let known = self.known.load();
        let mut clients = known.clients.iter().filter(|((whose, _), _)| whose == principal).peekable();
        if clients.peek().is_none() {
            return of(&self.bridge.library.shelf(&self.scope, &Kind::plain()));
        }
        clients.find_map(|(_, client)| of(&client.shelf))
    }
}

/// What a client of the handshake era says it is able to do.
pub(crate) fn declared(params: &RawJson) -> ClientCapabilities {
    let declared = params.get("capabilities");
    declared.and_then(|raw| ClientCapabilities::from_raw(raw.detached()).ok()).unwrap_or_default()
}
