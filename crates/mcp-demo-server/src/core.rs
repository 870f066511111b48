//! The server as a state machine: messages and time in, effects out. No sockets, no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mcp_protocol::logging::LogLevel;
use mcp_protocol::{
    Era, ErrorCode, Failure, Message, Method, Notification, ProtocolVersion, RawJson, Request, RequestId,
    Response, RpcError,
};
use serde::Deserialize;
use serde_json::json;

use crate::answer::{Answer, Identity, Outcome};
use crate::caller::{Abilities, Caller, is_stateless};
use crate::listen::Filter;
use crate::options::DemoOptions;
use crate::page::ListParams;
use crate::params::{read_params, required_params};
use crate::running::{Running, Work};
use crate::seal::Seal;
use crate::tools::{self, Tool};
use crate::{prompts, resources};

/// How long clients may keep lists.
const LIST_TTL: Duration = Duration::from_secs(60);
/// Most calls in flight, of one peer and of all. More are refused.
const PEER_CALLS: usize = 64;
const ALL_CALLS: usize = 1024;

/// One client as far as the core can tell clients apart: a stdio pipe, a session, or one stateless
/// HTTP exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(u64);

/// What the front end has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// Send a message.
    Send {
        /// To whom.
        peer: PeerId,
        /// The request it belongs to: over HTTP, the message goes on the stream of its answer.
        within: Option<RequestId>,
        /// The message. If it answers `within`, it is the last one within it.
        message: Message,
    },
    /// End at once with this exit status, leaving everything as it is.
    Crash {
        /// The exit status.
        status: u8,
    },
}

/// The demo server without any I/O.
#[derive(Debug)]
pub struct DemoServer {
    pub(crate) options: DemoOptions,
    pub(crate) identity: Identity,
    pub(crate) tools: Vec<Tool>,
    pub(crate) counter: u64,
    pub(crate) seal: Seal,
    pub(crate) peers: BTreeMap<PeerId, Option<Session>>,
    pub(crate) running: BTreeMap<(PeerId, RequestId), Running>,
    pub(crate) listens: BTreeMap<(PeerId, RequestId), Filter>,
    next_peer: u64,
    next_request: i64,
}

/// What a client of the handshake era agreed on.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) version: ProtocolVersion,
    pub(crate) abilities: Abilities,
    pub(crate) log_level: LogLevel,
    pub(crate) subscriptions: BTreeSet<String>,
}

/// One request being answered.
pub(crate) struct Turn<'a> {
    pub(crate) now: Duration,
    pub(crate) peer: PeerId,
    pub(crate) id: &'a RequestId,
    pub(crate) caller: Caller,
}

/// How far a request got.
pub(crate) enum Step {
    /// It is answered.
    Done(Outcome),
    /// The answer comes later.
    Waits(Work),
    /// There is no answer for now.
    Silent,
}

impl DemoServer {
    /// A server without peers.
    #[must_use]
    pub fn new(options: DemoOptions) -> Self {
        Self {
            identity: Identity { name: options.name.clone() },
            tools: tools::built_in(options.allow_crash),
            counter: 0,
            seal: Seal::default(),
            peers: BTreeMap::new(),
            running: BTreeMap::new(),
            listens: BTreeMap::new(),
            next_peer: 0,
            next_request: 0,
            options,
        }
    }

    /// A new client.
    pub fn open_peer(&mut self) -> PeerId {
        self.next_peer += 1;
        let peer = PeerId(self.next_peer);
        self.peers.insert(peer, None);
        peer
    }

    /// Forgets a client and cancels its calls.
    pub fn close_peer(&mut self, peer: PeerId) {
        self.peers.remove(&peer);
        self.running.retain(|(of, _), _| *of != peer);
        self.listens.retain(|(of, _), _| *of != peer);
    }

    /// Takes a message of a client. `now` is the time since any fixed moment, never going back.
    #[must_use]
    pub fn receive(&mut self, now: Duration, peer: PeerId, message: Message) -> Vec<Effect> {
        let mut out = Vec::new();
        match message {
            Message::Request(request) => self.on_request(now, peer, &request, &mut out),
            Message::Notification(notification) => self.on_notification(peer, &notification),
            Message::Response(Response { id, result }) => self.on_answer(peer, &id, Ok(result), &mut out),
            Message::Failure(Failure { id: Some(id), error }) => {
                self.on_answer(peer, &id, Err(error), &mut out);
            }
            Message::Failure(Failure { id: None, .. }) => {} // says nothing about any request of ours
        }
        out
    }

    /// Does what has become due.
    #[must_use]
    pub fn on_deadline(&mut self, now: Duration) -> Vec<Effect> {
        let mut out = Vec::new();
        let due: Vec<_> =
            self.running.iter().filter(|(_, call)| call.due() <= now).map(|(key, _)| key.clone()).collect();
        for (peer, id) in due {
            let Some(call) = self.running.get_mut(&(peer, id.clone())) else { continue };
            let outcome = match &mut call.work {
                Work::Slow(slow) => {
                    out.extend(slow.advance(now, &call.caller).into_iter().map(|message| Effect::Send {
                        peer,
                        within: Some(id.clone()),
                        message,
                    }));
                    slow.is_done().then(|| Answer::text(format!("took {:?}", slow.total)))
                }
                Work::Asked { question, .. } => {
                    Some(Answer::tool_error(format!("the client did not answer {}", question.method())))
                }
            };
            if let Some(answer) = outcome {
                self.finish(peer, &id, Ok(answer), &mut out);
            }
        }
        out
    }

    /// When [`on_deadline`](Self::on_deadline) has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.running.values().map(Running::due).min()
    }

    /// The revision agreed with a client of the handshake era.
    #[must_use]
    pub fn session_version(&self, peer: PeerId) -> Option<ProtocolVersion> {
        Some(self.peers.get(&peer)?.as_ref()?.version)
    }

    fn on_request(&mut self, now: Duration, peer: PeerId, request: &Request, out: &mut Vec<Effect>) {
        let key = (peer, request.id.clone());
        if self.running.contains_key(&key) || self.listens.contains_key(&key) {
            let text = "a request with this id is still in flight";
            return refuse(peer, request, RpcError::new(ErrorCode::INVALID_REQUEST, text), out);
        }
        if !self.peers.contains_key(&peer) {
            let text = "the connection is closed";
            return refuse(peer, request, RpcError::new(ErrorCode::INVALID_REQUEST, text), out);
        }
        let stateless = self.options.serves(Era::Stateless) && is_stateless(request);
        if request.method == Method::Initialize && !stateless {
            return match self.initialize(peer, request) {
                Ok(result) => out.push(Effect::Send {
                    peer,
                    within: Some(request.id.clone()),
                    message: Message::Response(Response { id: request.id.clone(), result }),
                }),
                Err(error) => refuse(peer, request, error, out),
            };
        }
        let caller =
            if stateless { self.stateless_caller(request) } else { self.session_caller(peer, request) };
        let turn = match caller {
            Ok(caller) => Turn { now, peer, id: &request.id, caller },
            Err(error) => return refuse(peer, request, error, out),
        };
        match self.dispatch(&turn, request, out) {
            Step::Done(outcome) => self.answer(peer, &request.id, &turn.caller, outcome, out),
            Step::Waits(work) => {
                self.running.insert(key, Running { caller: turn.caller, work });
            }
            Step::Silent => {}
        }
    }

    fn dispatch(&mut self, turn: &Turn<'_>, request: &Request, out: &mut Vec<Effect>) -> Step {
        let version = turn.caller.version;
        if !request.method.exists_in(version) {
            return Step::Done(Err(method_not_found(&request.method)));
        }
        Step::Done(match request.method {
            Method::ToolsCall => return self.call_tool(turn, request, out),
            Method::SubscriptionsListen => return self.listen(turn, request, out),
            Method::ToolsList => {
                let tools = self.tools.iter().map(|tool| tool.describe(version)).collect();
                self.list("tools", tools, request)
            }
            Method::ResourcesList => self.list("resources", resources::list(version), request),
            Method::ResourceTemplatesList => {
                self.list("resourceTemplates", resources::templates(version), request)
            }
            Method::PromptsList => self.list("prompts", prompts::list(version), request),
            Method::ResourcesRead => required_params::<UriParams>(request)
                .and_then(|params| resources::read(&params.uri, self.counter, &turn.caller)),
            Method::PromptsGet => {
                required_params::<prompts::GetParams>(request).and_then(prompts::GetParams::answer)
            }
            Method::CompletionComplete => {
                required_params::<prompts::CompleteParams>(request).and_then(|params| params.answer())
            }
            Method::Ping => Ok(Answer::new(json!({}))),
            Method::ServerDiscover => Ok(self.discover(version)),
            Method::LoggingSetLevel => self.set_level(turn.peer, request),
            Method::ResourcesSubscribe => self.subscribe(turn, request),
            Method::ResourcesUnsubscribe => self.unsubscribe(turn.peer, request),
            ref other => Err(method_not_found(other)),
        })
    }

    fn list(&self, member: &str, entries: Vec<serde_json::Value>, request: &Request) -> Outcome {
        let params: ListParams = read_params(request)?;
        let (page, next) = params.page(entries, self.options.page_size)?;
        let mut body = json!({ member: page });
        if let Some(next) = next {
            body["nextCursor"] = next.into();
        }
        Ok(Answer::cached(body, LIST_TTL))
    }

    fn on_notification(&mut self, peer: PeerId, notification: &Notification) {
        if notification.method != Method::Cancelled {
            return; // nothing here depends on the others
        }
        let id = notification.params.as_ref().and_then(|params| params.get("requestId")?.to().ok());
        if let Some(id) = id {
            // Nothing more is sent for a cancelled request, not even its answer.
            let key = (peer, id);
            self.running.remove(&key);
            self.listens.remove(&key);
        }
    }

    /// The client answers a request of ours. Answers to unknown ids are late ones: ignored.
    fn on_answer(
        &mut self,
        peer: PeerId,
        ours: &RequestId,
        answer: Result<RawJson, RpcError>,
        out: &mut Vec<Effect>,
    ) {
        let call = self.running.iter().find_map(|((of, id), call)| match call.work {
            Work::Asked { ours: sent, question, .. } if *of == peer && *ours == RequestId::Integer(sent) => {
                Some((id.clone(), question))
            }
            _ => None,
        });
        if let Some((id, question)) = call {
            let outcome = match answer {
                Ok(result) => question.conclude(&result),
                Err(error) => Ok(question.refused(&error)),
            };
            self.finish(peer, &id, outcome, out);
        }
    }

    /// Answers a call in flight.
    fn finish(&mut self, peer: PeerId, id: &RequestId, outcome: Outcome, out: &mut Vec<Effect>) {
        if let Some(call) = self.running.remove(&(peer, id.clone())) {
            self.answer(peer, id, &call.caller, outcome, out);
        }
    }

    fn answer(&self, peer: PeerId, id: &RequestId, caller: &Caller, outcome: Outcome, out: &mut Vec<Effect>) {
        let message = match outcome {
            Ok(answer) => Message::Response(Response {
                id: id.clone(),
                result: answer.into_result(caller, &self.identity),
            }),
            Err(error) => Message::Failure(Failure { id: Some(id.clone()), error }),
        };
        out.push(Effect::Send { peer, within: Some(id.clone()), message });
    }

    /// An id for a request of ours; no two are alike, whoever they go to.
    pub(crate) fn mint_id(&mut self) -> i64 {
        self.next_request += 1;
        self.next_request
    }

    /// Whether one more call may wait.
    pub(crate) fn has_room(&self, peer: PeerId) -> bool {
        let of_all = self.running.len() + self.listens.len();
        let of_peer = |(of, _): &&(PeerId, RequestId)| *of == peer;
        let mine = self.running.keys().filter(of_peer).count() + self.listens.keys().filter(of_peer).count();
        of_all < ALL_CALLS && mine < PEER_CALLS
    }
}

/// The params of the methods that name one resource.
#[derive(Debug, Deserialize)]
pub(crate) struct UriParams {
    pub(crate) uri: String,
}

pub(crate) fn method_not_found(method: &Method) -> RpcError {
    RpcError::new(ErrorCode::METHOD_NOT_FOUND, &format!("unknown method {method}"))
}

pub(crate) fn busy() -> RpcError {
    RpcError::new(ErrorCode::INTERNAL_ERROR, "too many requests in flight")
}

fn refuse(peer: PeerId, request: &Request, error: RpcError, out: &mut Vec<Effect>) {
    let id = Some(request.id.clone());
    out.push(Effect::Send { peer, within: id.clone(), message: Message::Failure(Failure { id, error }) });
}
