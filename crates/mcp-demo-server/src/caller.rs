//! What one request says about the client that sent it.

use mcp_protocol::{Era, ErrorCode, ProtocolVersion, RawJson, Request, RpcError};

use crate::log_level::LogLevel;

pub(crate) const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
pub(crate) const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
pub(crate) const META_LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
pub(crate) const META_SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";

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
    /// Reads a `ClientCapabilities` object. `elicitation: {}` means forms, `{url}` alone does not.
    pub(crate) fn read(capabilities: &RawJson, version: ProtocolVersion) -> Self {
        let elicitation = capabilities.get("elicitation").is_some_and(|modes| {
            let only_url = modes.get("url").is_some() && modes.get("form").is_none();
            version >= ProtocolVersion::V2025_06_18 && !only_url
        });
        Self {
            elicitation,
            sampling: capabilities.get("sampling").is_some(),
            roots: capabilities.get("roots").is_some(),
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
    pub(crate) progress_token: Option<RawJson>,
}

impl Caller {
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

/// `params._meta`, if it is an object.
pub(crate) fn meta(params: Option<&RawJson>) -> Option<RawJson> {
    params?.get("_meta").filter(|meta| meta.members().is_ok())
}

/// The progress token of a request, in either era.
pub(crate) fn progress_token(request: &Request) -> Option<RawJson> {
    use mcp_protocol::JsonKind::{Number, String};
    meta(request.params.as_ref())?
        .get("progressToken")
        .filter(|token| matches!(token.kind(), Number | String))
}

/// The envelope of a stateless request, read but not yet judged by its version.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) version: String,
    capabilities: RawJson,
    log_level: Option<LogLevel>,
}

impl Envelope {
    /// Whether the request carries any of an envelope, which makes it a stateless one.
    pub(crate) fn is_on(request: &Request) -> bool {
        meta(request.params.as_ref())
            .is_some_and(|meta| meta.get(META_VERSION).is_some() || meta.get(META_CAPABILITIES).is_some())
    }

    /// Step 3 of the validation ladder: both required members are there (wire reference §3.9).
    pub(crate) fn read(request: &Request) -> Result<Self, RpcError> {
        let invalid = |text: String| RpcError::new(ErrorCode::INVALID_PARAMS, &text);
        let missing = |key: &str| invalid(format!("params._meta must hold {key:?}"));
        let meta = meta(request.params.as_ref()).ok_or_else(|| missing(META_VERSION))?;
        let version = meta
            .get(META_VERSION)
            .and_then(|version| version.to::<String>().ok())
            .ok_or_else(|| missing(META_VERSION))?;
        let capabilities = meta
            .get(META_CAPABILITIES)
            .filter(|capabilities| capabilities.members().is_ok())
            .ok_or_else(|| missing(META_CAPABILITIES))?;
        let log_level = match meta.get(META_LOG_LEVEL) {
            None => None,
            Some(level) => {
                let level = level.to().map_err(|_| invalid(format!("{level:?} is no log level")))?;
                Some(level)
            }
        };
        Ok(Self { version, capabilities, log_level })
    }

    /// The caller, if its revision is a stateless one.
    pub(crate) fn caller(&self, request: &Request) -> Option<Caller> {
        let version = self.version.parse::<ProtocolVersion>().ok()?;
        (version.era() == Era::Stateless).then(|| Caller {
            version,
            abilities: Abilities::read(&self.capabilities, version),
            log_level: self.log_level,
            progress_token: progress_token(request),
        })
    }
}
