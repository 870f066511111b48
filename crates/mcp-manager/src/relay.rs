//! Calls that are passed on for clients of a gateway: answered word for word, refusals included.

use std::fmt;
use std::future::ready;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::future::Either;
use mcp_client::{Answer, Asker, CallError, Client, NotificationSink, Outgoing, ServerProfile};
use mcp_protocol::logging::LogLevel;
use mcp_protocol::{Era, Method, ProtocolVersion, RawJson, RpcError};
use mcp_registry::{
    AmbiguousFailover, Attempt, CorrelationId, Failure, InvocationError, Plan, Selection, ServerName,
    ServerRecord,
};
use mcp_transport::TransportKind;

use crate::call::new_request_id;
use crate::handshake::{Cause, Need};
use crate::manager::{Manager, UnknownServer};
use crate::run::{Met, Request, Run, Target};
use crate::session::Session;
use crate::user::{Occupant, Party, Seat, Sitting, UserContext};

/// A request of a client of the gateway, for one server or for whichever of a group can serve it.
#[derive(Clone)]
#[non_exhaustive]
pub struct Relay {
    /// What is asked for.
    pub method: Method,
    /// Its `params` as the server is to get them, but for the envelope of its era.
    pub params: Option<RawJson>,
    /// Which servers.
    pub selection: Arc<Selection>,
    /// The tool that is called, for its story: its servers are not chosen by it.
    pub tool: Option<Arc<str>>,
    /// Names the invocation in the events and traces: from [`Manager::new_request_id`].
    pub request_id: CorrelationId,
    /// Whose sessions are used; `None`: those of everybody.
    pub party: Option<Arc<dyn Party>>,
    /// Who answers what the server asks on account of this request.
    pub asker: Option<Asker>,
    /// Who gets the notifications on the way to the answer.
    pub sink: Option<NotificationSink>,
    /// Whether the server is asked for progress.
    pub progress: bool,
    /// The least level of log messages wanted.
    pub log_level: Option<LogLevel>,
    /// The longest the whole may take, people who are asked included.
    pub total: Duration,
}

impl Relay {
    /// A request without anybody to ask or to tell.
    #[must_use]
    pub fn new(
        method: Method,
        params: Option<RawJson>,
        selection: impl Into<Arc<Selection>>,
        request_id: CorrelationId,
    ) -> Self {
        Self {
            method,
            params,
            selection: selection.into(),
            tool: None,
            request_id,
            party: None,
            asker: None,
            sink: None,
            progress: false,
            log_level: None,
            total: Duration::from_secs(300),
        }
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("method", &self.method)
            .field("selection", &self.selection)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

/// What a server said to a relayed request.
#[derive(Debug, Clone)]
pub struct Relayed {
    /// Who.
    pub server: ServerName,
    /// The revision it speaks.
    pub version: ProtocolVersion,
    /// The way to it.
    pub transport: TransportKind,
    /// Its answer.
    pub outcome: Result<Answer, Refusal>,
    /// What was tried, in order.
    pub attempts: Vec<Attempt>,
}

/// Why a server that could be reached gave no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It answered with an error.
    Rpc(RpcError),
    /// It asked the client something and got no answer.
    Unanswered {
        /// What.
        method: Method,
        /// Why.
        error: RpcError,
    },
}

impl Refusal {
    pub(crate) fn of(error: &CallError) -> Option<Self> {
        match error {
            CallError::Rpc { error, .. } => Some(Self::Rpc(error.clone())),
            CallError::Unanswered { method, error } => {
                Some(Self::Unanswered { method: method.clone(), error: error.clone() })
            }
            _ => None,
        }
    }
}

/// How a relayed request differs from others.
pub(crate) struct Bridged {
    pub(crate) tool: Option<Arc<str>>,
    pub(crate) request_id: CorrelationId,
    pub(crate) party: Option<Arc<dyn Party>>,
    pub(crate) asker: Option<Asker>,
    pub(crate) total: Duration,
    sink: Option<NotificationSink>,
    progress: bool,
    log_level: Option<LogLevel>,
}

impl Bridged {
    /// What the request says of its sender to this server.
    pub(crate) fn prepare(&self, outgoing: &mut Outgoing, profile: &ServerProfile) {
        outgoing.asker = self.asker.clone();
        outgoing.sink = self.sink.clone();
        outgoing.progress = self.progress;
        outgoing.log_level = self.log_level;
        if profile.era == Era::Stateless {
            outgoing.capabilities = self.party.as_ref().map(|party| party.capabilities(profile.version));
        }
    }
}

/// A connection to a server that a party may use beside its calls.
#[derive(Debug)]
pub struct Attached {
    /// The connection. It ends when the server's, or the party's session there, does.
    pub client: Client,
    /// The server when it was found.
    pub record: Arc<ServerRecord>,
    _seat: Option<Arc<Seat>>,
    _session: Arc<Session>,
}

impl Manager {
    /// A new name for an invocation.
    #[must_use]
    pub fn new_request_id(&self) -> CorrelationId {
        new_request_id(&*self.0.random)
    }

    /// Passes a request on. A JSON-RPC error is an answer. Where several servers may be asked, another one is tried
    /// only if the one before did nothing, or the request is safe to repeat (product §5). The invocation begins with this
    /// call, not when the future is first polled; dropping that abandons it.
    ///
    /// # Errors
    /// [`InvocationError`] with the trace of every attempt, if no server answered.
    pub fn relay(&self, relay: Relay) -> impl Future<Output = Result<Relayed, InvocationError>> + Send {
        let Relay {
            method,
            params,
            selection,
            tool,
            request_id,
            party,
            asker,
            sink,
            progress,
            log_level,
            total,
        } = relay;
        let bridged = Bridged { tool, request_id, party, asker, total, sink, progress, log_level };
        let request = Request {
            method,
            params,
            idempotent: None,
            timeout: None,
            user: UserContext::default(),
            directed: false,
            bridged: Some(bridged),
        };
        match Run::begin(&self.0, request, selection) {
            Ok((run, plan)) => Either::Left(async move {
                let plan = plan.with_failover(AmbiguousFailover::SafeOnly);
                let outcome =
                    run.fail_over(plan, |target, said, plan| Ok(run.relayed(target, said, plan))).await;
                run.end_relay(outcome)
            }),
            Err(refused) => Either::Right(ready(Err(refused))),
        }
    }

    /// Whether the server's own connection is open at this moment: it may be lost before its record says so.
    #[must_use]
    pub fn is_connected(&self, server: &str) -> bool {
        self.link(server).is_ok_and(|link| link.session().is_some())
    }

    /// The connection a party uses at a server, which is made if there is none.
    ///
    /// # Errors
    /// [`AttachError`].
    pub async fn attach(
        &self,
        server: &str,
        party: Option<&Arc<dyn Party>>,
    ) -> Result<Attached, AttachError> {
        let link = self.link(server)?;
        self.0.ready(&link, Need::Any, Cause::Itself).await.map_err(|unready| unready.failure)?;
        let record = self.server(server)?;
        let seat = party
            .and_then(|party| Some(Sitting { seat: party.seat(&record)?, number: 1, party: party.clone() }));
        let seat = seat.filter(|_| record.era == Some(Era::Handshake));
        let (seat, session) = match seat {
            None => (None, link.session()),
            Some(party) => {
                let who = Occupant { user: None, party: Some(party) };
                let Some((seat, left)) = link.seats.seat(&who, None) else {
                    return Err(AttachError::NoSeat);
                };
                for session in left {
                    self.0.end_session(session);
                }
                // It says nothing about the server that its own connection would not.
                let ready = self.0.ready_for_user(&link, &seat, &who, Cause::Attempt).await;
                ready.map_err(|unready| unready.failure)?;
                let session = seat.session();
                (Some(seat), session)
            }
        };
        let session = session.ok_or(AttachError::Lost)?;
        Ok(Attached { client: session.client().clone(), record, _seat: seat, _session: session })
    }

    /// Ends the sessions that were opened for this seat alone; calls on them end first.
    pub fn leave(&self, seat: &str) {
        let seat = Arc::from(seat);
        let sessions: Vec<_> =
            self.0.snapshot().links().iter().flat_map(|link| link.seats.vacate(&seat)).collect();
        for session in sessions {
            self.0.end_session(session);
        }
    }

    /// Ends the sessions of parties that have not been used for a while and are not [attached](Self::attach) to: those
    /// that were added for calls at the same time, and the others.
    pub fn release_idle(&self, added: Duration, others: Duration) {
        let now = self.0.now();
        let (added, others) = (now - added, now - others);
        let sessions: Vec<_> =
            self.0.snapshot().links().iter().flat_map(|link| link.seats.release(added, others)).collect();
        for session in sessions {
            self.0.end_session(session);
        }
    }

    /// Is told whenever the table of servers is another one.
    #[must_use]
    pub fn watch_table(&self) -> tokio::sync::watch::Receiver<()> {
        self.0.published.subscribe()
    }
}

/// Why there is no connection for a party.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AttachError {
    /// There is no such server.
    #[error(transparent)]
    Unknown(#[from] UnknownServer),
    /// It could not be made ready.
    #[error("{}", .0.text)]
    Unready(Failure),
    /// Every place for sessions of their own is in use.
    #[error("every place for a session of a client's own is in use")]
    NoSeat,
    /// It was lost at once.
    #[error("the connection was lost at once")]
    Lost,
}

impl From<Failure> for AttachError {
    fn from(failure: Failure) -> Self {
        Self::Unready(failure)
    }
}

impl Run<'_> {
    /// What is told of an answer, and in which words.
    fn relayed(&self, target: &Target, outcome: Result<Answer, Refusal>, plan: Plan) -> Relayed {
        // Without having been met it could not have answered.
        let met = *target.met.lock().unwrap_or_else(PoisonError::into_inner);
        let met = met.unwrap_or(Met {
            version: ProtocolVersion::LATEST_HANDSHAKE,
            transport: target.link.definition().endpoint.kind(),
        });
        Relayed {
            server: target.link.key.name.clone(),
            version: met.version,
            transport: met.transport,
            outcome,
            attempts: plan.into_attempts(),
        }
    }
}
