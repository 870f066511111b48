//! What only the handshake era has: `initialize`, log levels and subscriptions that outlive a request.

use std::collections::BTreeSet;

use mcp_protocol::capability::ClientCapabilities;
use mcp_protocol::logging::LogLevel;
use mcp_protocol::{Era, ErrorCode, Method, ProtocolVersion, RawJson, Request, RpcError};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{Answer, Outcome, invalid_params, raw};
use crate::caller::{Abilities, Caller, progress_token};
use crate::core::{DemoServer, PeerId, Session, Turn, UriParams};
use crate::params::required_params;
use crate::resources;
use crate::stateless::unsupported_version;

/// Most resources one session may subscribe to.
const MOST_SUBSCRIPTIONS: usize = 64;

pub(crate) const INSTRUCTIONS: &str = "A server to try clients on. Every tool says what it does.";

#[derive(Deserialize)]
struct InitializeParams {
    #[serde(rename = "protocolVersion")]
    version: String,
    capabilities: ClientCapabilities,
    #[serde(rename = "clientInfo")]
    _client: Implementation,
}

/// Required by every revision's schema, hence checked.
#[derive(Deserialize)]
struct Implementation {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "version")]
    _version: String,
}

#[derive(Deserialize)]
struct LevelParams {
    level: LogLevel,
}

impl DemoServer {
    /// `initialize`: agrees on the asked revision, else offers the newest one with a handshake.
    ///
    /// Asking for a stateless revision this way is a category error, answered in the same manner
    /// (wire reference §2.1). A second `initialize` starts over.
    pub(crate) fn initialize(&mut self, peer: PeerId, request: &Request) -> Result<RawJson, RpcError> {
        let params: InitializeParams = required_params(request)?;
        if !self.options.serves(Era::Handshake) {
            return Err(unsupported_version(&params.version, &self.options));
        }
        let asked =
            params.version.parse().ok().filter(|version: &ProtocolVersion| version.era() == Era::Handshake);
        let version = asked.unwrap_or(ProtocolVersion::LATEST_HANDSHAKE);
        self.running.retain(|(of, _), call| *of != peer || call.caller.is_stateless());
        self.peers.insert(
            peer,
            Some(Session {
                version,
                abilities: Abilities::of(&params.capabilities, version),
                log_level: LogLevel::Info,
                subscriptions: BTreeSet::new(),
            }),
        );
        Ok(raw(&json!({
            "protocolVersion": version,
            "capabilities": capabilities(version),
            "serverInfo": self.identity.describe(version),
            "instructions": INSTRUCTIONS,
        })))
    }

    /// The context of a request without an envelope.
    pub(crate) fn session_caller(&self, peer: PeerId, request: &Request) -> Result<Caller, RpcError> {
        if !self.options.serves(Era::Handshake) {
            // A server of the stateless era alone has no other kind of request.
            return self.stateless_caller(request);
        }
        let session = self.peers.get(&peer).and_then(Option::as_ref);
        let progress_token = progress_token(request);
        match session {
            Some(session) => Ok(Caller {
                version: session.version,
                abilities: session.abilities,
                log_level: Some(session.log_level),
                progress_token,
            }),
            // Allowed before `initialize`, in every revision that has it.
            None if request.method == Method::Ping => Ok(Caller {
                version: ProtocolVersion::LATEST_HANDSHAKE,
                abilities: Abilities::default(),
                log_level: None,
                progress_token,
            }),
            None if request.method == Method::ServerDiscover && !self.options.serves(Era::Stateless) => {
                Err(crate::core::method_not_found(&request.method))
            }
            None => Err(RpcError::new(
                ErrorCode::INVALID_PARAMS,
                "send initialize first, or the _meta members of a stateless request",
            )),
        }
    }

    /// `logging/setLevel`
    pub(crate) fn set_level(&mut self, peer: PeerId, request: &Request) -> Outcome {
        let params: LevelParams = required_params(request)?;
        if let Some(Some(session)) = self.peers.get_mut(&peer) {
            session.log_level = params.level;
        }
        Ok(Answer::new(json!({})))
    }

    /// `resources/subscribe`
    pub(crate) fn subscribe(&mut self, turn: &Turn<'_>, request: &Request) -> Outcome {
        let UriParams { uri } = required_params(request)?;
        if !resources::exists(&uri) {
            return Err(resources::not_found(&uri, &turn.caller));
        }
        if let Some(Some(session)) = self.peers.get_mut(&turn.peer) {
            if session.subscriptions.len() >= MOST_SUBSCRIPTIONS && !session.subscriptions.contains(&uri) {
                return Err(invalid_params("too many subscriptions in this session"));
            }
            session.subscriptions.insert(uri);
        }
        Ok(Answer::new(json!({})))
    }

    /// `resources/unsubscribe`
    pub(crate) fn unsubscribe(&mut self, peer: PeerId, request: &Request) -> Outcome {
        let UriParams { uri } = required_params(request)?;
        if let Some(Some(session)) = self.peers.get_mut(&peer) {
            session.subscriptions.remove(&uri);
        }
        Ok(Answer::new(json!({})))
    }
}

/// What a server of this revision says it can do.
pub(crate) fn capabilities(version: ProtocolVersion) -> Value {
    let mut capabilities = json!({
        "logging": {},
        "prompts": {},
        "resources": { "subscribe": true },
        "tools": { "listChanged": true },
    });
    if version >= ProtocolVersion::V2025_03_26 {
        capabilities["completions"] = json!({});
    }
    capabilities
}
