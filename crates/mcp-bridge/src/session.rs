//! A client of the handshake era.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_client::Asker;
use mcp_manager::Party;
use mcp_protocol::header::name_of;
use mcp_protocol::logging::{LogLevel, SetLevelParams};
use mcp_protocol::result::may_require_input;
use mcp_protocol::{
    Era, ErrorCode, Members, Method, Notification, ProtocolVersion, RawJson, Request, RpcError, meta,
};
use mcp_registry::{ServerName, ServerRecord};
use mcp_server::{Conversation, Opened, Opening, Outcome, Outlet, TransportShape};

use crate::ask::{AskClient, Course};
use crate::call::{Passed, unreadable};
use crate::catalog::ListKind;
use crate::client::{Client, Ear, Turn, Wanted, Way, is_part, is_wanted};
use crate::endpoint::{Endpoint, declared};
use crate::library::Reader;
use crate::party::{Guest, Kind};
use crate::route::Target;
use crate::tasks::Remembered;
use crate::upstream::{Listener, News, Upstream};

/// Time for a server to agree to tell of a resource.
const SUBSCRIBE_LIMIT: Duration = Duration::from_secs(30);
/// Most resources that one session may subscribe to.
const MAX_SUBSCRIPTIONS: usize = 1000;

/// One session of the handshake era.
pub(crate) struct Session {
    endpoint: Endpoint,
    client: Arc<Client>,
    transport: TransportShape,
    guest: Arc<Guest>,
    owner: u64,
    outlet: Outlet,
    state: Mutex<State>,
    me: Weak<Self>,
}

#[derive(Default)]
struct State {
    level: Option<LogLevel>,
    /// Resources the client wants to hear of, and where they are.
    subscriptions: BTreeMap<Arc<str>, Arc<Upstream>>,
    /// Servers at which it has a session of its own, listened to.
    own: BTreeMap<ServerName, Arc<Upstream>>,
    tasks: Remembered,
    ended: bool,
}

impl Session {
    pub(crate) async fn open(endpoint: Endpoint, opening: Opening) -> Result<Opened, RpcError> {
        let Opening { principal, transport, version, params, outlet } = opening;
        let capabilities = declared(&params);
        let kind = Kind::of(&principal, &capabilities, version, &endpoint.scope);
        let shelf = endpoint.shelf(&kind).await;
        let directory = shelf.directory();
        let owner = endpoint.bridge.new_owner();
        let handler = AskClient {
            outlet: outlet.clone(),
            version,
            profile: kind.profile.clone(),
            server_name: None,
            page_id: page_ids(&endpoint),
            course: Arc::default(),
        };
        let (own, is_one) = (format!("session {owner}").into(), endpoint.is_one());
        let guest = Arc::new(Guest { kind: kind.clone(), own, handler, is_one });
        let party: Arc<dyn Party> = guest.clone();
        let client = Arc::new(Client { principal, version, capabilities, kind, party, shelf: shelf.clone() });
        let session = Arc::new_cyclic(|me| Self {
            endpoint,
            client,
            transport,
            guest,
            owner,
            outlet,
            state: Mutex::default(),
            me: me.clone(),
        });
        shelf.read(session.me.clone() as Weak<dyn Reader>);
        let result = session.introduction(&directory);
        Ok(Opened { result, conversation: session })
    }

    /// The result of `initialize`.
    fn introduction(&self, directory: &crate::directory::Directory) -> RawJson {
        let mut result = Members::default();
        result.set_json("protocolVersion", RawJson::string(self.client.version.as_str()));
        let capabilities = self.endpoint.offers(directory, &self.client);
        result.set_json("capabilities", capabilities.as_raw().clone());
        result.set_json("serverInfo", self.endpoint.server_info(directory));
        if let Some(instructions) = self.endpoint.instructions(directory) {
            result.set_json("instructions", instructions);
        }
        result.encode()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(self: Arc<Self>, request: Request, outlet: Outlet) -> Outcome {
        let Request { method, params, .. } = request;
        if !method.exists_in(self.client.version) && !matches!(method, Method::Other(_)) {
            // Source: bridging §14, I14.
            return Err(method_not_found(&method));
        }
        let id = self.endpoint.bridge.manager.new_request_id();
        let ear = Ear::of(params.as_ref(), self.state().level);
        let way = Way { transport: self.transport, outlet, ear };
        let name = name_of(&method, params.as_ref());
        let turn = Turn::new(self.client.clone(), self.owner, way, Wanted { method, params, name }, id);
        self.client.shelf.touch();
        if let Some(kind) = ListKind::of(&turn.method) {
            return self.endpoint.list(&turn, kind).await;
        }
        match &turn.method {
            // In boxes, so that calls need no room for them.
            Method::LoggingSetLevel => Box::pin(self.set_level(&turn)).await,
            Method::ResourcesSubscribe => Box::pin(self.subscribe(&turn)).await,
            Method::ResourcesUnsubscribe => self.unsubscribe(&turn),
            method if may_require_input(method) || *method == Method::CompletionComplete => {
                self.pass(&turn).await
            }
            Method::TasksGet | Method::TasksResult | Method::TasksCancel => {
                let leaving = Leaving::of(&self);
                let asks = |server_name| self.asker(&turn, server_name, &leaving.course);
                let outcome = Box::pin(self.endpoint.classic_task(&turn, asks)).await;
                if outcome.is_ok() {
                    leaving.course.served(&turn.outlet);
                }
                outcome
            }
            Method::TasksList => self.endpoint.list_tasks(&turn),
            _ => Box::pin(self.endpoint.extend(&turn)).await,
        }
    }

    /// Who is asked on account of a request.
    fn asker(&self, turn: &Turn, server_name: Option<Box<str>>, course: &Arc<Course>) -> Asker {
        Asker {
            owner: self.owner,
            handler: Arc::new(AskClient {
                outlet: turn.outlet.clone(),
                version: self.client.version,
                profile: self.client.kind.profile.clone(),
                server_name,
                page_id: page_ids(&self.endpoint),
                course: course.clone(),
            }),
            resolves: true,
            task: None,
        }
    }

    async fn pass(&self, turn: &Turn) -> Outcome {
        if let Some(created) = self.endpoint.begin_task(turn, &self.outlet) {
            self.end_tasks_at_the_end();
            return created;
        }
        let asks = may_require_input(&turn.method) && self.client.kind.profile.can_be_asked();
        let leaving = Leaving::of(self);
        let asker = |target: &Target| {
            let name = (!self.endpoint.is_one()).then(|| target.owner.name.as_str().into());
            asks.then(|| self.asker(turn, name, &leaving.course))
        };
        let passed = self.endpoint.pass(turn, asker).await;
        let (target, passed) = passed?;
        self.listen_to_own(&target);
        match passed {
            Passed::Done(outcome) => {
                if outcome.is_ok() {
                    leaving.course.served(&turn.outlet);
                }
                self.state().tasks.note(&self.endpoint, turn, &outcome);
                outcome
            }
            Passed::Asks { .. } | Passed::AsksFirst(_) => {
                Err(unreadable(turn, "it asks for something that the client has not declared"))
            }
        }
    }

    /// Sees to it that the client hears what the server says in a session of its own, now that it has one.
    fn listen_to_own(&self, target: &Target) {
        let directory = self.client.shelf.directory();
        let Some(shown) = directory.shown.iter().find(|shown| shown.owner.name == target.owner.name) else {
            return;
        };
        let Ok(record) = self.endpoint.bridge.manager.server(shown.server.as_str()) else { return };
        if self.guest.sits_alone(&record) && record.era == Some(Era::Handshake) {
            self.own_upstream(&record);
        } else {
            // It had one before the operator has changed that.
            self.state().own.remove(record.name());
        }
    }

    /// Whether the client still has a session of its own with this server.
    fn is_own(&self, upstream: &Upstream) -> bool {
        upstream.record().is_some_and(|record| self.guest.sits_alone(&record))
    }

    /// Where this client's own session with a server is listened to.
    fn own_upstream(&self, record: &ServerRecord) -> Option<Arc<Upstream>> {
        let mut state = self.state();
        if state.ended {
            return None;
        }
        if let Some(known) = state.own.get(record.name())
            && known.server.generation == record.generation
        {
            return Some(known.clone());
        }
        let party: Arc<dyn Party> = self.guest.clone();
        let upstream = Upstream::start(&self.endpoint.bridge.manager, record.key(), party, None, None);
        upstream.listen(self.me.clone() as Weak<dyn Listener>);
        state.own.insert(record.name().clone(), upstream.clone());
        Some(upstream)
    }

    /// The connection on which this client's wishes toward a server are kept.
    fn upstream(&self, server: &ServerName) -> Option<Arc<Upstream>> {
        let record = self.endpoint.bridge.manager.server(server.as_str()).ok()?;
        if self.guest.sits_alone(&record) && record.era == Some(Era::Handshake) {
            return self.own_upstream(&record);
        }
        self.client.shelf.upstream(server)
    }

    async fn set_level(&self, turn: &Turn) -> Outcome {
        let level = turn.params.as_ref().and_then(|params| params.to::<SetLevelParams>().ok());
        let Some(level) = level.map(|params| params.level) else {
            let text =
                "params.level must be one of debug, info, notice, warning, error, critical, alert, emergency";
            return Err(RpcError::new(ErrorCode::INVALID_PARAMS, text));
        };
        self.state().level = Some(level);
        let upstreams = self.client.shelf.upstreams();
        let told = upstreams.iter().filter(|upstream| upstream.may_log()).map(|upstream| async {
            let Some(upstream) = self.upstream(&upstream.server.name) else { return };
            if let Err(error) = upstream.want_level(self.owner, level).await {
                tracing::debug!(server = %upstream.server.name, %error, "the server does not take the log level");
            }
        });
        futures::future::join_all(told).await;
        self.forget_levels_at_the_end();
        Ok(turn.signed(RawJson::empty_object()))
    }

    /// Takes back what was said of levels, if the session has ended.
    fn forget_levels_at_the_end(&self) {
        if self.state().ended {
            for upstream in self.client.shelf.upstreams() {
                upstream.forget_level(self.owner);
            }
        }
    }

    /// Ends the tasks that nobody can come back for, if the session has ended.
    fn end_tasks_at_the_end(&self) {
        if self.state().ended {
            self.endpoint.bridge.jobs.leave(self.owner);
        }
    }

    async fn subscribe(&self, turn: &Turn) -> Outcome {
        let uri = crate::route::required(turn, "uri")?;
        {
            let state = self.state();
            if state.subscriptions.contains_key(&uri) {
                return Ok(turn.signed(RawJson::empty_object()));
            }
            if state.subscriptions.len() >= MAX_SUBSCRIPTIONS {
                let text = format!("a session may subscribe to {MAX_SUBSCRIPTIONS} resources");
                return Err(RpcError::new(ErrorCode::INVALID_REQUEST, &text));
            }
        }
        let directory = self.client.shelf.directory();
        let offered = self.endpoint.capabilities(&directory, self.client.version);
        if directory.missing.is_empty() && !offered.has(&["resources", "subscribe"]) {
            return Err(method_not_found(&turn.method));
        }
        let targets = self.endpoint.targets(turn)?;
        let mut refused = None;
        for target in targets {
            let Some(shown) = directory.shown.iter().find(|shown| shown.owner.name == target.owner.name)
            else {
                continue;
            };
            let Some(upstream) = self.upstream(&shown.server) else { continue };
            match upstream.subscribe(&uri, SUBSCRIBE_LIMIT).await {
                Ok(()) => {
                    let mut state = self.state();
                    let unwanted = match state.ended {
                        true => Some(upstream),
                        false => state.subscriptions.insert(uri.clone(), upstream),
                    };
                    drop(state);
                    if let Some(unwanted) = unwanted {
                        unwanted.unsubscribe(&uri);
                    }
                    return Ok(turn.signed(RawJson::empty_object()));
                }
                Err(error) => refused = Some(error),
            }
        }
        Err(match refused {
            Some(mcp_client::CallError::Rpc { error, .. }) => error,
            Some(error) => RpcError::new(ErrorCode::INTERNAL_ERROR, &error.to_string()),
            None => crate::route::unknown_resource(turn, &uri),
        })
    }

    fn unsubscribe(&self, turn: &Turn) -> Outcome {
        let uri = crate::route::required(turn, "uri")?;
        if let Some(upstream) = self.state().subscriptions.remove(&uri) {
            upstream.unsubscribe(&uri);
        }
        Ok(turn.signed(RawJson::empty_object()))
    }

    fn hear_from(&self, from: &Upstream, news: &News) {
        match news {
            News::Lists(changed) => self.tell_changes(*changed),
            News::Updated { uri, notification } => {
                let wanted = {
                    let state = self.state();
                    // What is updated may be a part of what was subscribed to.
                    let mut subscriptions = state.subscriptions.iter();
                    subscriptions
                        .any(|(known, upstream)| upstream.server == from.server && is_part(known, uri))
                };
                if wanted {
                    // What a stateless server says of its own leg is not for this one.
                    let params = notification.params.as_ref();
                    let params = params.and_then(|params| meta::strip(params, meta::HOP_KEYS).ok());
                    self.outlet.notify(Notification { method: Method::ResourcesUpdated, params });
                }
            }
            News::Said(notification) => match notification.method {
                Method::LogMessage if is_wanted(self.state().level, notification) => {
                    self.outlet.notify(notification.clone());
                }
                Method::TasksStatus => {
                    let told = self.state().tasks.hear(&from.server.name, notification);
                    if let Some(told) = told {
                        self.outlet.notify(told);
                    }
                }
                Method::ElicitationComplete if self.client.version == ProtocolVersion::V2025_11_25 => {
                    self.outlet.notify(notification.clone());
                }
                _ => {}
            },
        }
    }

    fn tell_changes(&self, changed: [bool; 4]) {
        let methods: BTreeSet<_> = ListKind::ALL
            .into_iter()
            .filter(|kind| changed[kind.index()])
            .map(|kind| kind.changed().as_str().to_owned())
            .collect();
        for method in methods {
            self.outlet.notify(Notification { method: Method::from(&*method), params: None });
        }
    }
}

impl Conversation for Session {
    fn call(&self, request: Request, outlet: Outlet) -> BoxFuture<'static, Outcome> {
        let me = self.me.upgrade();
        async move {
            match me {
                Some(session) => session.answer(request, outlet).await,
                None => Err(RpcError::new(ErrorCode::INVALID_REQUEST, "the session is over")),
            }
        }
        .boxed()
    }

    fn notified(&self, notification: Notification) {
        let passes = match notification.method {
            Method::RootsListChanged => self.client.kind.profile.has_roots(),
            // Of an extension: between the client and the one server it has a session with.
            Method::Other(_) => self.endpoint.is_one(),
            _ => false,
        };
        if passes {
            let own: Vec<_> = self.state().own.values().cloned().collect();
            for upstream in own {
                upstream.pass_on(notification.clone());
            }
        }
    }

    fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        let subscriptions = std::mem::take(&mut state.subscriptions);
        let own = std::mem::take(&mut state.own);
        drop(state);
        for (uri, upstream) in subscriptions {
            upstream.unsubscribe(&uri);
        }
        drop(own);
        self.forget_levels_at_the_end();
        self.end_tasks_at_the_end();
        self.endpoint.bridge.manager.leave(&self.guest.own);
    }
}

/// A request under way, which may outlive its session, or be given up.
struct Leaving<'a> {
    session: &'a Session,
    course: Arc<Course>,
}

impl<'a> Leaving<'a> {
    fn of(session: &'a Session) -> Self {
        Self { session, course: Arc::default() }
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        // What was asked on its account is of no use to anybody.
        self.course.given_up.cancel();
        if self.session.state().ended {
            // It may have opened another session of the client's own since.
            self.session.endpoint.bridge.manager.leave(&self.session.guest.own);
        }
    }
}

impl Reader for Session {
    fn changed(&self, lists: [bool; 4]) {
        self.tell_changes(lists);
    }

    fn heard(&self, from: &Upstream, news: &News) {
        self.hear_from(from, news);
    }
}

impl Listener for Session {
    fn hear(&self, from: &Upstream, news: &News) {
        if !self.is_own(from) {
            // It shares the session of others now, which is listened to already.
            return;
        }
        if let News::Said(notification) = news
            && matches!(notification.method, Method::Other(_))
            && self.endpoint.is_one()
        {
            self.outlet.notify(notification.clone());
        }
        self.hear_from(from, news);
    }
}

fn method_not_found(method: &Method) -> RpcError {
    RpcError::new(ErrorCode::METHOD_NOT_FOUND, &format!("unknown method {method}"))
}

fn page_ids(endpoint: &Endpoint) -> Arc<dyn Fn() -> Box<str> + Send + Sync> {
    let manager = endpoint.bridge.manager.clone();
    Arc::new(move || manager.new_request_id().as_ref().into())
}
