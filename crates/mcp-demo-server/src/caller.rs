//! What one request says about the client that sent it.

use mcp_protocol::capability::ClientCapabilities;
use mcp_protocol::logging::LogLevel;
use mcp_protocol::meta::{self, RequestMeta};
use mcp_protocol::progress::ProgressToken;
use mcp_protocol::{Era, ProtocolVersion, Request};

/// What a client offers to do for a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Abilities {
    /// It shows forms to its user.
    pub(crate) elicitation: bool,
    /// It lets a server use its language model.
    pub(crate) sampling: bool,
    /// It says which directories it works in.
    pub(crate) roots: bool,
}

impl Abilities {
    pub(crate) fn of(capabilities: &ClientCapabilities, version: ProtocolVersion) -> Self {
        Self {
            elicitation: version >= ProtocolVersion::V2025_06_18 && capabilities.elicits_forms(),
            sampling: capabilities.has(&["sampling"]),
            roots: capabilities.has(&["roots"]),
        }
    }
}

/// The context of one request: from the session in the handshake era, from `_meta` in the stateless one.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) version: ProtocolVersion,
    pub(crate) abilities: Abilities,
    /// The least severe log messages the client wants; `None`: none at all.
    pub(crate) log_level: Option<LogLevel>,
    /// Names the request in progress notifications, if the client wants them.
    pub(crate) progress_token: Option<ProgressToken>,
}

impl Caller {
    /// The caller of a stateless request.
    pub(crate) fn stateless(meta: &RequestMeta) -> Self {
        // The front end lets no other through than those of this era.
        let version = meta.protocol_version.parse().unwrap_or(ProtocolVersion::LATEST_STATELESS);
        Self {
            version,
            abilities: Abilities::of(&meta.client_capabilities, version),
            log_level: meta.log_level,
            progress_token: meta.progress_token.clone(),
        }
    }

    pub(crate) fn era(&self) -> Era {
        self.version.era()
    }

    pub(crate) fn is_stateless(&self) -> bool {
        self.era() == Era::Stateless
    }

    pub(crate) fn since(&self, version: ProtocolVersion) -> bool {
        self.version >= version
    }
}

/// The progress token of a request of the handshake era.
pub(crate) fn progress_token(request: &Request) -> Option<ProgressToken> {
    meta::get(request.params.as_ref()?, meta::PROGRESS_TOKEN)?.to().ok()
}
