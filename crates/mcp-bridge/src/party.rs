//! A downstream client, as far as servers are concerned.

use std::fmt;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_client::{RequestHandler, ServerRequest};
use mcp_manager::Party;
use mcp_protocol::capability::ClientCapabilities;
use mcp_protocol::roots::{ListRootsResult, Root};
use mcp_protocol::{ErrorCode, Method, ProtocolVersion, RawJson, RpcError};
use mcp_registry::{ServerRecord, Sharing};
use mcp_server::Principal;
use mcp_transport::TransportKind;

use crate::ask::AskClient;
use crate::convert::capabilities::{Extensions, Profile};
use crate::settings::Scope;

/// Extensions that are passed on between clients and servers. Source: bridging §4.
const EXTENSIONS: Extensions<'static> = Extensions::named(&["io.modelcontextprotocol/ui"]);

/// The extensions that an endpoint passes on: one server is shown with all it has.
pub(crate) fn extensions(scope: &Scope) -> Extensions<'static> {
    match scope {
        Scope::One(_) => EXTENSIONS.and_others(),
        Scope::All | Scope::View(_) => EXTENSIONS,
    }
}

/// What a kind of client is to servers: all clients of one principal that are able to do the same.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Kind {
    pub(crate) profile: Profile,
    principal: Arc<str>,
    /// The name of the seat for them.
    seat: Option<Arc<str>>,
}

impl Kind {
    pub(crate) fn of(
        principal: &Principal,
        capabilities: &ClientCapabilities,
        version: ProtocolVersion,
        scope: &Scope,
    ) -> Self {
        let profile = Profile::of(capabilities, version, &extensions(scope));
        // What only stateless servers are told makes no difference to the others.
        let told = profile.clip(ProtocolVersion::LATEST_HANDSHAKE);
        let seat = (!told.is_empty()).then(|| {
            let declared = told.declare(ProtocolVersion::LATEST_HANDSHAKE);
            format!("kind {} {}", principal.as_str(), declared.as_raw().as_str()).into()
        });
        if profile.is_empty() {
            return Self::plain();
        }
        Self { profile, principal: principal.as_str().into(), seat }
    }

    /// Clients that cannot be asked anything, whose they are making no difference.
    pub(crate) fn plain() -> Self {
        Self { profile: Profile::default(), principal: "".into(), seat: None }
    }

    /// Its lists are those of everybody.
    pub(crate) fn is_plain(&self) -> bool {
        self.profile.is_empty()
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kind").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// The kind itself is a party: its sessions serve for lists, and for the calls of all who share.
impl Party for Kind {
    fn seat(&self, _server: &ServerRecord) -> Option<Arc<str>> {
        self.seat.clone()
    }

    fn capabilities(&self, version: ProtocolVersion) -> ClientCapabilities {
        self.profile.declare(version)
    }

    fn handler(&self, server: &ServerRecord) -> Option<Arc<dyn RequestHandler>> {
        static_roots(server)
    }
}

/// A client with a session of the handshake era.
pub(crate) struct Guest {
    pub(crate) kind: Kind,
    /// The name of its own seats.
    pub(crate) own: Arc<str>,
    /// Who answers what a server asks in a session of the client's own, outside of any call.
    pub(crate) handler: AskClient,
    /// Whether it sees one server only, so that it is clear who asks.
    pub(crate) is_one: bool,
}

impl Guest {
    /// Whether it has a session of its own at a server.
    pub(crate) fn sits_alone(&self, server: &ServerRecord) -> bool {
        match server.definition.sharing {
            Some(Sharing::PerSession) => true,
            Some(Sharing::Shared) => false,
            // Nearly free over HTTP; over stdio it would be a process for each client.
            None => {
                !self.kind.profile.is_empty() && server.definition.endpoint.kind() != TransportKind::Stdio
            }
        }
    }
}

impl Party for Guest {
    fn seat(&self, server: &ServerRecord) -> Option<Arc<str>> {
        if self.sits_alone(server) { Some(self.own.clone()) } else { self.kind.seat(server) }
    }

    fn capabilities(&self, version: ProtocolVersion) -> ClientCapabilities {
        self.kind.capabilities(version)
    }

    fn handler(&self, server: &ServerRecord) -> Option<Arc<dyn RequestHandler>> {
        if !self.sits_alone(server) {
            return static_roots(server);
        }
        let server_name = (!self.is_one).then(|| server.definition.owner().as_str().into());
        Some(Arc::new(AskClient { server_name, ..self.handler.clone() }))
    }
}

/// Answers a server that asks for roots on a session which no single client has, if the operator gave some.
fn static_roots(server: &ServerRecord) -> Option<Arc<dyn RequestHandler>> {
    let roots = server.definition.roots.clone()?;
    Some(Arc::new(StaticRoots(roots)))
}

struct StaticRoots(Vec<String>);

impl RequestHandler for StaticRoots {
    fn handle(&self, request: ServerRequest) -> BoxFuture<'_, Result<RawJson, RpcError>> {
        let answer = match request.method {
            Method::RootsList => {
                let roots = self.0.iter().map(|uri| Root::new(uri.as_str())).collect::<Vec<_>>();
                RawJson::encode(&ListRootsResult::new(roots))
                    .map_err(|error| RpcError::new(ErrorCode::INTERNAL_ERROR, &error.to_string()))
            }
            _ => Err(unsolicited()),
        };
        std::future::ready(answer).boxed()
    }
}

/// What a server is told that asks outside of any call. Source: bridging §6.3.2.
pub(crate) fn unsolicited() -> RpcError {
    RpcError::new(ErrorCode::INVALID_PARAMS, "no request of a client is under way that this could be for")
}
