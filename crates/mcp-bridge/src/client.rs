//! One request of a downstream client, and who sends it.

use std::sync::Arc;

use mcp_manager::Party;
use mcp_protocol::capability::ClientCapabilities;
use mcp_protocol::header::name_member;
use mcp_protocol::logging::{LogLevel, LogMessageParams};
use mcp_protocol::progress::ProgressToken;
use mcp_protocol::{Members, Method, Notification, ProtocolVersion, RawJson, meta};
use mcp_registry::CorrelationId;
use mcp_server::{Outlet, Principal, TransportShape};

use crate::library::Shelf;
use crate::mark::Mark;
use crate::party::Kind;

/// The key in `_meta` of results that says under which id the request is found in traces and events; with `true` in a
/// request it asks for that.
pub const REQUEST_ID: &str = "mcp-gateway/requestId";

static PROGRESS_TOKEN: Mark = Mark::new(meta::PROGRESS_TOKEN);
static ASKS_FOR_ID: Mark = Mark::new(REQUEST_ID);

/// A client, or all those that make no difference, as far as requests are concerned.
pub(crate) struct Client {
    pub(crate) principal: Principal,
    pub(crate) version: ProtocolVersion,
    pub(crate) capabilities: ClientCapabilities,
    pub(crate) kind: Kind,
    pub(crate) party: Arc<dyn Party>,
    /// What it is shown.
    pub(crate) shelf: Arc<Shelf>,
}

/// One request.
#[derive(Clone)]
pub(crate) struct Turn {
    pub(crate) client: Arc<Client>,
    /// Tells clients apart as owners of calls.
    pub(crate) owner: u64,
    pub(crate) method: Method,
    pub(crate) params: Option<RawJson>,
    /// What the request is about, if it is one thing.
    pub(crate) name: Option<Arc<str>>,
    pub(crate) outlet: Outlet,
    pub(crate) request_id: CorrelationId,
    /// What the client wants to hear of its request.
    pub(crate) ear: Ear,
    /// Whether the result says under which id the request is found.
    pub(crate) says_id: bool,
}

/// What is asked for.
pub(crate) struct Wanted {
    pub(crate) method: Method,
    pub(crate) params: Option<RawJson>,
    /// What it is about, if it is one thing: see [`name_member`].
    pub(crate) name: Option<Arc<str>>,
}

/// How a request came, and what goes back that way before its answer.
pub(crate) struct Way {
    pub(crate) transport: TransportShape,
    pub(crate) outlet: Outlet,
    /// What the client wants to hear of it.
    pub(crate) ear: Ear,
}

/// What a client wants to hear of its request while it is under way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ear {
    /// The client's token for progress.
    pub(crate) token: Option<ProgressToken>,
    /// The least level of log messages.
    pub(crate) level: Option<LogLevel>,
}

impl Ear {
    /// For a request whose `_meta` was not read.
    pub(crate) fn of(params: Option<&RawJson>, level: Option<LogLevel>) -> Self {
        let token = params.filter(|params| PROGRESS_TOKEN.stands_in(params));
        let token = token.and_then(|params| meta::get(params, PROGRESS_TOKEN.name)?.to().ok());
        Self { token, level }
    }

    /// What of a notification of a server goes to the client.
    pub(crate) fn hear(&self, notification: Notification) -> Option<Notification> {
        match notification.method {
            Method::Progress => self.hear_progress(notification.params?.members().ok()?),
            Method::LogMessage => is_wanted(self.level, &notification).then_some(notification),
            _ => None,
        }
    }

    /// The same of progress, by the members of its parameters.
    pub(crate) fn hear_progress(&self, mut members: Members<'_>) -> Option<Notification> {
        members.set_json("progressToken", RawJson::encode(self.token.as_ref()?).ok()?);
        Some(Notification { method: Method::Progress, params: Some(members.encode()) })
    }
}

/// Whether a log message has the level that is wanted.
pub(crate) fn is_wanted(level: Option<LogLevel>, notification: &Notification) -> bool {
    let Some(level) = level else { return false };
    let said = notification.params.as_ref().and_then(|params| params.to::<LogMessageParams>().ok());
    said.is_some_and(|said| said.level >= level)
}

impl Turn {
    /// A request, and what its `_meta` says beside the envelope.
    pub(crate) fn new(
        client: Arc<Client>,
        owner: u64,
        way: Way,
        wanted: Wanted,
        request_id: CorrelationId,
    ) -> Self {
        let Wanted { method, params, name } = wanted;
        let Way { transport, outlet, ear } = way;
        let asking = || params.as_ref().filter(|params| ASKS_FOR_ID.stands_in(params));
        let asks = || Some(meta::get(asking()?, REQUEST_ID)?.as_str() == "true");
        let says_id = transport != TransportShape::Http || asks().unwrap_or(false);
        Self { client, owner, method, params, name, outlet, request_id, ear, says_id }
    }

    /// A member of the parameters that is a text.
    pub(crate) fn text(&self, member: &str) -> Option<Arc<str>> {
        if name_member(&self.method) == Some(member) {
            return self.name.clone();
        }
        self.params.as_ref()?.get(member)?.to::<Box<str>>().ok().map(Arc::from)
    }

    /// A result with the id of the request in it, if it is to be there. An empty one stays empty: some clients take
    /// nothing else (rmcp 3.9 for `resources/subscribe`).
    pub(crate) fn signed(&self, result: RawJson) -> RawJson {
        if !self.says_id || result.as_str() == "{}" {
            return result;
        }
        meta::set(&result, REQUEST_ID, RawJson::string(&self.request_id)).unwrap_or(result)
    }
}

/// Whether what changed is the resource that somebody wants to hear of, or a part of it.
pub(crate) fn is_part(wanted: &str, changed: &str) -> bool {
    changed
        .strip_prefix(wanted)
        .is_some_and(|rest| rest.is_empty() || wanted.ends_with('/') || rest.starts_with(['/', '?', '#']))
}

/// An object of a few members.
pub(crate) fn object<const N: usize>(members: [(&'static str, RawJson); N]) -> RawJson {
    let mut all = Members::default();
    for (name, value) in members {
        all.set_json(name, value);
    }
    all.encode()
}
