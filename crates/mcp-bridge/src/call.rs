//! Passing one request on, and what the client gets of the answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mcp_client::{Answer, Asker, NotificationSink};
use mcp_manager::{Refusal, Relay, Relayed};
use mcp_protocol::result::{Caching, Envelope, InputRequest, ResultType};
use mcp_protocol::{Era, ErrorCode, Members, Method, Notification, ProtocolVersion, RawJson, RpcError};
use mcp_registry::{FailureCode, InvocationError, ServerName};
use mcp_server::{Outcome, Outlet};
use mcp_transport::Delivery;

use crate::bridge::Inner;
use crate::client::{Ear, Turn};
use crate::convert::envelope;
use crate::convert::error::{self, Asked, InternalError, Reply, Resource, reason};
use crate::convert::result;
use crate::route::Target;
use crate::settings::Scope;
use crate::tasks;

/// What came of a request that was passed on.
pub(crate) enum Passed {
    /// The answer for the client.
    Done(Outcome),
    /// The server has to know more first: its result, of the stateless era.
    Asks { server: ServerName, result: RawJson },
    /// The server has to know more first and has given up until then. The client is asked and the request repeated.
    AsksFirst(Vec<InputRequest>),
}

/// Where notifications about a request go: it changes when a held call is taken up again.
#[derive(Clone)]
pub(crate) struct Mouth(Arc<Mutex<Speaking>>);

struct Speaking {
    outlet: Outlet,
    ear: Ear,
    /// Nobody listens at the moment: the latest progress is kept.
    is_held: bool,
    latest: Option<Notification>,
    progress: Rounds,
}

/// Progress over all the times that a request is sent, each with a token of its own.
#[derive(Default)]
struct Rounds {
    token: Option<RawJson>,
    highest: Option<f64>,
    /// The highest of the rounds before.
    before: Option<f64>,
}

impl Rounds {
    /// Whether it is more than in the rounds before; what a server says within one is its own affair.
    fn rises(&mut self, params: &RawJson, members: &Members<'_>) -> bool {
        let progress =
            members.get_text("progress").and_then(|progress| serde_json::from_str::<f64>(progress).ok());
        let Some(progress) = progress else { return true };
        let token = members.get_text("progressToken");
        if self.token.as_ref().map(RawJson::as_str) != token {
            (self.token, self.before) =
                (params.get("progressToken").map(|token| token.detached()), self.highest);
        }
        let rises = self.before.is_none_or(|before| progress > before);
        if rises && self.highest.is_none_or(|highest| progress > highest) {
            self.highest = Some(progress);
        }
        rises
    }
}

impl Speaking {
    fn say(&mut self, notification: Notification) {
        let told = if notification.method == Method::Progress {
            let Some(params) = &notification.params else { return };
            let Ok(members) = params.members() else { return };
            if !self.progress.rises(params, &members) {
                return;
            }
            if self.is_held {
                drop(members);
                self.latest = Some(notification);
                return;
            }
            self.ear.hear_progress(members)
        } else {
            self.ear.hear(notification)
        };
        if let Some(told) = told {
            self.outlet.notify(told);
        }
    }
}

impl Mouth {
    pub(crate) fn new(outlet: Outlet, ear: Ear) -> Self {
        let progress = Rounds::default();
        Self(Arc::new(Mutex::new(Speaking { outlet, ear, is_held: false, latest: None, progress })))
    }

    fn speaking(&self) -> MutexGuard<'_, Speaking> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on nobody listens.
    pub(crate) fn hold(&self) {
        self.speaking().is_held = true;
    }

    /// From now on somebody else listens, who is told of the latest progress first.
    pub(crate) fn turn_to(&self, outlet: Outlet, ear: Ear) {
        let mut speaking = self.speaking();
        (speaking.outlet, speaking.ear, speaking.is_held) = (outlet, ear, false);
        if let Some(latest) = speaking.latest.take().and_then(|latest| speaking.ear.hear(latest)) {
            speaking.outlet.notify(latest);
        }
    }

    pub(crate) fn sink(&self) -> NotificationSink {
        let this = self.clone();
        Arc::new(move |notification| this.speaking().say(notification))
    }
}

/// How a request is passed on, beside what it says.
#[derive(Default)]
pub(crate) struct Manner {
    pub(crate) asker: Option<Asker>,
    pub(crate) sink: Option<NotificationSink>,
}

impl Inner {
    /// What goes to the manager for a request.
    pub(crate) fn relay(
        &self,
        turn: &Turn,
        target: &Target,
        params: Option<RawJson>,
        manner: Manner,
    ) -> Relay {
        // Before anything is said to the client.
        turn.outlet.trace(turn.request_id.clone());
        let mut relay =
            Relay::new(turn.method.clone(), params, target.selection.clone(), turn.request_id.clone());
        if turn.method == Method::ToolsCall {
            relay.tool = target.name.clone().or_else(|| turn.text("name"));
        }
        relay.party = Some(turn.client.party.clone());
        relay.asker = manner.asker;
        relay.sink = manner.sink;
        relay.progress = turn.ear.token.is_some();
        relay.log_level = turn.ear.level;
        relay.total = self.settings().call_limit;
        relay
    }

    /// The parameters as the server is to get them.
    pub(crate) fn params(&self, turn: &Turn, target: &Target) -> Result<Option<RawJson>, RpcError> {
        let invalid = |error: mcp_protocol::InvalidJson| {
            RpcError::new(ErrorCode::INVALID_PARAMS, &format!("params: {error}"))
        };
        let server = target.owner.version.unwrap_or(ProtocolVersion::LATEST_STATELESS);
        let params = tasks::without_wish(turn).map_err(invalid)?;
        let params = params.as_ref().or(turn.params.as_ref());
        let name = target.name.as_deref();
        envelope::upstream_params(params, &turn.method, name, server, turn.client.version).map_err(invalid)
    }

    /// What the client gets of what the manager says.
    pub(crate) fn conclude(
        &self,
        scope: &Scope,
        turn: &Turn,
        target: &Target,
        relayed: Result<Relayed, InvocationError>,
    ) -> Passed {
        let relayed = match relayed {
            Ok(relayed) => relayed,
            Err(error) => return Passed::Done(Err(no_answer(&error))),
        };
        match &relayed.outcome {
            Ok(answer) => self.answered(scope, turn, target, &relayed, answer),
            Err(Refusal::Unanswered { method, error }) if is_undeclared(turn, method, error) => {
                let why = format!("it asks for {method}, which the client has not declared");
                Passed::Done(Err(unreadable(turn, &why)))
            }
            Err(Refusal::Unanswered { method, error }) => {
                let mut failed = InternalError::new(
                    reason::CLIENT_REFUSED,
                    &format!("the server asked for {method}, which the client refused: {error}"),
                );
                failed.request_id = Some(&turn.request_id);
                failed.upstream = Some(error);
                self.reply(turn, &relayed, failed.to_reply(&turn.method))
            }
            Err(Refusal::Rpc(error)) => {
                let uri = turn.text("uri");
                let asked = Asked {
                    server: relayed.version,
                    client: turn.client.version,
                    capabilities: &turn.client.capabilities,
                    method: &turn.method,
                    resource: uri.as_deref().map(|uri| Resource { asked: uri, sent: uri }),
                    server_name: (!matches!(scope, Scope::One(_))).then_some(target.owner.name.as_str()),
                };
                self.reply(turn, &relayed, error::translate(error, &asked))
            }
        }
    }

    fn reply(&self, turn: &Turn, relayed: &Relayed, reply: Reply) -> Passed {
        match reply {
            Reply::Error(error) => Passed::Done(Err(error)),
            Reply::Result(result) => {
                Passed::Done(self.sealed(turn, relayed, &result, None, Caching::default()))
            }
            Reply::Ask(questions) => Passed::AsksFirst(questions),
        }
    }

    fn answered(
        &self,
        scope: &Scope,
        turn: &Turn,
        target: &Target,
        relayed: &Relayed,
        answer: &Answer,
    ) -> Passed {
        let result = &answer.result;
        let mut caching = None;
        if tasks::is_created(turn, relayed.version, result) {
            return Passed::Done(self.classic_task_created(scope, turn, relayed, result));
        }
        if tasks::is_hosted(turn, relayed.version, result) {
            return Passed::Done(self.hosted_task_created(scope, turn, relayed, result));
        }
        if let Some(envelope) = &answer.envelope {
            match envelope.result_type {
                ResultType::InputRequired => {
                    return Passed::Asks { server: relayed.server.clone(), result: result.clone() };
                }
                ResultType::Task => return Passed::Done(self.task_created(scope, turn, relayed, result)),
                _ => caching = envelope.caching,
            }
        }
        let newer = relayed.version > turn.client.version;
        let schema = target.tool.as_ref().filter(|_| newer).and_then(|tool| tool.get("outputSchema"));
        let schema = schema.as_ref();
        let adapted = result::to_client(result, &turn.method, schema, relayed.version, turn.client.version);
        let adapted = match adapted {
            Ok(adapted) => adapted,
            Err(error) => return Passed::Done(Err(unreadable(turn, &error.to_string()))),
        };
        let caching = envelope::caching(caching, Duration::ZERO, false);
        Passed::Done(self.sealed(turn, relayed, &adapted, answer.envelope.as_ref(), caching))
    }

    /// A stateless server has said itself who it is, if it wanted to: its results pass as they are.
    fn sealed(
        &self,
        turn: &Turn,
        relayed: &Relayed,
        result: &RawJson,
        said: Option<&Envelope>,
        caching: Caching,
    ) -> Outcome {
        let (server, client) = (relayed.version, turn.client.version);
        let name = (server.era() == Era::Handshake).then_some(&self.server_info);
        let sealed = envelope::seal(result, said, &turn.method, caching, name, server, client);
        sealed.map(|result| turn.signed(result)).map_err(|error| unreadable(turn, &error.to_string()))
    }
}

/// Whether a stateless server asked for what it was not told of, so that the client never saw the question.
fn is_undeclared(turn: &Turn, question: &Method, error: &RpcError) -> bool {
    let profile = &turn.client.kind.profile;
    match question {
        Method::SamplingCreateMessage => !profile.samples(),
        Method::RootsList => !profile.has_roots(),
        // What a client says to a form is never an error to such a server: this one is our own.
        _ => matches!(error.code(), Some(ErrorCode::METHOD_NOT_FOUND | ErrorCode::INVALID_PARAMS)),
    }
}

/// An answer that breaks the protocol.
pub(crate) fn unreadable(turn: &Turn, why: &str) -> RpcError {
    let mut failed = InternalError::new(
        reason::INVALID_RESPONSE,
        &format!("the server's answer breaks the protocol: {why}"),
    );
    failed.request_id = Some(&turn.request_id);
    failed.delivery = Some(Delivery::Unknown);
    failed.to_error()
}

/// The error of a request that no server answered. Source: bridging §9, product §5.
pub(crate) fn no_answer(error: &InvocationError) -> RpcError {
    let last = error.attempts.iter().rev().find(|attempt| attempt.failure.is_some());
    let delivery = last.and_then(|attempt| attempt.delivery).unwrap_or(Delivery::NotSent);
    let failure = last.and_then(|attempt| attempt.failure.as_ref());
    let category = failure.map(|failure| failure.category);
    let reason = match (error.code, category, delivery) {
        (FailureCode::DeadlineExceeded, ..) => reason::TIMEOUT,
        (_, Some(mcp_registry::ErrorCategory::NetworkTimeout), Delivery::Unknown) => reason::TIMEOUT,
        (_, _, Delivery::Unknown) => reason::OUTCOME_UNKNOWN,
        _ if failure.is_some_and(|failure| {
            ["http status 401", "http status 403"].iter().any(|status| failure.text.starts_with(status))
        }) =>
        {
            reason::UPSTREAM_AUTHORIZATION
        }
        _ => reason::UPSTREAM_UNAVAILABLE,
    };
    let mut failed = InternalError::new(reason, &error.message);
    failed.delivery = Some(delivery);
    failed.request_id = Some(&error.request_id);
    failed.to_error()
}
