//! What only the handshake era has: `initialize`, log levels and subscriptions that outlive a request.

use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_protocol::capability::ClientCapabilities;
use mcp_protocol::logging::LogLevel;
use mcp_protocol::{Method, Notification, ProtocolVersion, Request, RpcError};
use mcp_server::{Conversation, Opened, Opening, Outlet};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{Answer, Outcome, invalid_params, raw};
use crate::caller::{Abilities, Caller, progress_token};
use crate::demo::{Demo, Turn, UriParams};
use crate::in_flight::InFlight;
use crate::news::{Filter, Listener, Seat};
use crate::params::{read, required_params};
use crate::resources;

/// Most resources one session may subscribe to.
const MOST_SUBSCRIPTIONS: usize = 64;

pub(crate) const INSTRUCTIONS: &str = "A server to try clients on. Every tool says what it does.";

#[derive(Deserialize)]
struct InitializeParams {
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

/// One session of the handshake era.
pub(crate) struct Session {
    seat: Seat,
    version: ProtocolVersion,
    abilities: Abilities,
    log_level: Mutex<LogLevel>,
    in_flight: InFlight,
}

impl Session {
    /// Answers `initialize`.
    pub(crate) fn open(demo: &Arc<Demo>, opening: Opening) -> Result<Opened, RpcError> {
        let params: InitializeParams = read(&opening.params)?;
        let version = opening.version;
        let result = raw(&json!({
            "protocolVersion": version,
            "capabilities": capabilities(version),
            "serverInfo": demo.identity.describe(version),
            "instructions": INSTRUCTIONS,
        }));
        let filter = Filter { tools_list_changed: true, ..Filter::default() };
        let session = Self {
            seat: Seat::take(demo, Listener { outlet: opening.outlet, filter, subscription: None }),
            version,
            abilities: Abilities::of(&params.capabilities, version),
            log_level: Mutex::new(LogLevel::Info),
            in_flight: InFlight::default(),
        };
        Ok(Opened { result, conversation: Arc::new(session) })
    }

    fn caller(&self, request: &Request) -> Caller {
        Caller {
            version: self.version,
            abilities: self.abilities,
            log_level: Some(*self.log_level.lock().unwrap_or_else(PoisonError::into_inner)),
            progress_token: progress_token(request),
        }
    }

    /// `logging/setLevel`
    fn set_level(&self, request: &Request) -> Outcome {
        let params: LevelParams = required_params(request)?;
        *self.log_level.lock().unwrap_or_else(PoisonError::into_inner) = params.level;
        Ok(Answer::new(json!({})))
    }

    /// `resources/subscribe`
    fn subscribe(&self, request: &Request, caller: &Caller) -> Outcome {
        let UriParams { uri } = required_params(request)?;
        if !resources::exists(&uri) {
            return Err(resources::not_found(&uri, caller));
        }
        let subscribed = self.seat.change(|filter| {
            let subscribed = &mut filter.resource_subscriptions;
            let fits = subscribed.len() < MOST_SUBSCRIPTIONS || subscribed.contains(&uri);
            if fits {
                subscribed.insert(uri);
            }
            fits
        });
        match subscribed {
            Some(false) => Err(invalid_params("too many subscriptions in this session")),
            Some(true) | None => Ok(Answer::new(json!({}))),
        }
    }

    /// `resources/unsubscribe`
    fn unsubscribe(&self, request: &Request) -> Outcome {
        let UriParams { uri } = required_params(request)?;
        self.seat.change(|filter| filter.resource_subscriptions.remove(&uri));
        Ok(Answer::new(json!({})))
    }
}

impl Conversation for Session {
    fn call(&self, request: Request, outlet: Outlet) -> BoxFuture<'static, mcp_server::Outcome> {
        let entry = match self.in_flight.enter(&request.id) {
            Ok(entry) => entry,
            Err(error) => return ready(Err(error)).boxed(),
        };
        let (demo, caller) = (&self.seat.demo, self.caller(&request));
        let outcome = match request.method {
            Method::LoggingSetLevel => self.set_level(&request),
            Method::ResourcesSubscribe => self.subscribe(&request, &caller),
            Method::ResourcesUnsubscribe => self.unsubscribe(&request),
            _ => return entry.until(demo.answer(Turn { id: request.id.clone(), caller, outlet }, &request)),
        };
        ready(demo.conclude(outcome, &caller)).boxed()
    }

    fn notified(&self, _notification: Notification) {} // nothing here depends on one

    fn end(&self) {
        self.seat.leave();
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
