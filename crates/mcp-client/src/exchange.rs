//! One request on the wire until its answer.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::StreamExt;
use mcp_protocol::result::ResultType;
use mcp_protocol::{Message, Method, Notification, ProtocolVersion, RawJson, Request, RequestId};
use mcp_transport::{Delivery, Header, Inbox, Incoming, Outbound, Reply, TransportError, TransportErrorKind};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::answer::{Answer, check_result};
use crate::askers::Subject;
use crate::deadline::Deadline;
use crate::error::CallError;
use crate::handler::Asker;
use crate::level::Leveled;
use crate::link::{Connection, Link, Waiter};
use crate::stats::count;

/// Progress notifications of one call that may wait to be read; more are dropped and counted.
const EVENTS: usize = 64;

/// A request, ready to be sent.
pub(crate) struct Prepared {
    /// From [`Link::next_id`].
    pub(crate) id: i64,
    pub(crate) method: Method,
    pub(crate) params: Option<RawJson>,
    pub(crate) version: Option<ProtocolVersion>,
    /// The caller's. What else the request makes us send carries them as well: its cancellation, and answers
    /// to what the server asks on its stream. Kept no longer than the request takes.
    pub(crate) headers: Vec<Header>,
    /// Those that mirror the body, for the request alone.
    pub(crate) mirrored: Vec<Header>,
    /// How to tell the server that the answer is not wanted any more.
    pub(crate) cancel: Cancel,
    /// Whether notifications on the inbox may belong to it.
    pub(crate) events: bool,
    /// Whether it asks what is at the other end, while nothing else can be under way. An error without id
    /// may then be the answer, and something that is no server may send the request itself back.
    pub(crate) probe: bool,
    /// Who answers what the server asks on its account.
    pub(crate) asker: Option<Asker>,
    /// What it wants to hear of, in the handshake era.
    pub(crate) level: Option<Leveled>,
    /// The values `resultType` may have; `None` in the handshake era, which has no such member.
    pub(crate) result_types: Option<&'static [ResultType]>,
    pub(crate) deadline: Option<Deadline>,
}

/// How a request is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancel {
    /// Not at all (`initialize`), or by closing its stream.
    Silently,
    /// With `notifications/cancelled`.
    ByNotification,
}

/// What comes on the way to the answer, and the answer.
#[derive(Debug)]
pub(crate) enum Event {
    Notification(Notification),
    Done(Answer),
}

/// A request that was sent and is not answered yet. Dropping it cancels the request.
pub(crate) struct Exchange {
    source: Source,
    ticket: Ticket,
    result_types: Option<&'static [ResultType]>,
    method: Method,
    version: Option<ProtocolVersion>,
    probe: bool,
}

enum Source {
    /// The inbox's reader passes on what belongs here.
    Shared {
        events: Option<mpsc::Receiver<Notification>>,
        answer: oneshot::Receiver<Result<Answer, CallError>>,
    },
    /// A stream of our own. `complaint`: why a message on it could not be the answer.
    Own { inbox: Inbox, complaint: Option<CallError> },
}

impl Exchange {
    /// Sends a request.
    #[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice")]
    pub(crate) fn open(
        connection: Arc<Connection>,
        prepared: Prepared,
    ) -> impl Future<Output = Result<Self, CallError>> + Send {
        async move {
            let Prepared {
                id,
                method,
                params,
                version,
                headers,
                mirrored,
                cancel,
                deadline,
                asker,
                level,
                ..
            } = prepared;
            let mut of_request = mirrored;
            of_request.splice(..0, headers.iter().cloned());
            let link = connection.link();
            let until = deadline.map(|deadline| deadline.at.into_std());
            let subject =
                (asker.is_some() && link.expects_answers).then(|| Subject::of(&method, params.as_ref()));
            let message =
                Message::Request(Request { id: RequestId::Integer(id), method: method.clone(), params });

            // Registered before sending: the answer can arrive before `send` returns.
            let shared = link.register(id, prepared.events, &method, prepared.probe)?;
            count(&link.counters.requests_sent);
            link.counters.active();
            link.in_flight.fetch_add(1, Ordering::Relaxed);
            let has_asker = asker.is_some();
            if let Some(asker) = asker {
                link.askers().begin(id, asker, subject);
            }
            let mut ticket = Ticket {
                connection: connection.clone(),
                id,
                has_asker,
                _level: level,
                cancel,
                headers,
                deadline,
                started: Instant::now(),
                questions: Vec::new(),
                open: true,
            };
            // Over HTTP sending lasts until the head of the answer: closing must not wait for that.
            let sending = tokio::select! {
                biased;
                reply = link.transport.send(Outbound { message, version, headers: of_request, until }) => reply,
                reason = link.aborted.wait() => Err(reason),
            };
            let reply = match sending {
                Ok(reply) => reply,
                Err(error) => {
                    if error.delivery == Delivery::NotSent {
                        link.counters.requests_sent.fetch_sub(1, Ordering::Relaxed);
                    }
                    if matches!(error.kind, TransportErrorKind::Payload(_)) {
                        count(&link.counters.bad_messages);
                    }
                    link.note_send_failure(&error);
                    ticket.fail();
                    return Err(error.into());
                }
            };
            let source = match (reply, shared) {
                (Reply::Own(inbox), shared) => {
                    if shared.is_some() {
                        link.forget(id);
                    }
                    Source::Own { inbox, complaint: None }
                }
                (Reply::Inbox, Some((events, answer))) => Source::Shared { events, answer },
                (Reply::Inbox | Reply::Accepted, _) => {
                    ticket.fail();
                    let kind = TransportErrorKind::Payload(
                        "the server accepted the request without an answer".into(),
                    );
                    return Err(TransportError::new(kind, Delivery::Unknown).into());
                }
            };
            Ok(Self {
                source,
                ticket,
                result_types: prepared.result_types,
                method,
                version,
                probe: prepared.probe,
            })
        }
    }

    /// The next event. After [`Event::Done`] or an error nothing follows. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Event, CallError> {
        let event = match &mut self.source {
            Source::Shared { events, answer } => next_shared(events, answer).await,
            Source::Own { inbox, complaint } => {
                let Ticket { id, headers, questions, connection, .. } = &mut self.ticket;
                let ours = Ours {
                    id: *id,
                    headers,
                    questions,
                    method: &self.method,
                    version: self.version,
                    probe: self.probe,
                };
                next_own(connection.link(), ours, inbox, complaint).await
            }
        };
        match event {
            Ok(Event::Notification(_)) => {
                self.extend();
                event
            }
            Ok(Event::Done(answer)) => {
                self.answered();
                self.check(answer).map(Event::Done)
            }
            Err(error) => {
                if matches!(error, CallError::Rpc { .. }) {
                    self.answered();
                }
                if let CallError::Transport(error) = &error {
                    self.ticket.connection.link().note_failure(error);
                }
                self.ticket.fail();
                Err(error)
            }
        }
    }

    /// When it has to be over, as far as that is known now.
    pub(crate) fn deadline(&self) -> Option<Deadline> {
        self.ticket.deadline
    }

    /// Moves the deadline to one that is later.
    pub(crate) fn extend_to(&mut self, deadline: Deadline) {
        if self.ticket.deadline.is_none_or(|own| own.at < deadline.at) {
            self.ticket.deadline = Some(deadline);
        }
    }

    /// Takes note of a sign of progress.
    pub(crate) fn extend(&mut self) {
        self.ticket.deadline = self.ticket.deadline.map(Deadline::extended);
    }

    /// The answer is there, good or bad.
    fn answered(&mut self) {
        self.ticket.close();
        self.ticket.connection.link().counters.answered(self.ticket.started);
    }

    /// A result that is none counts as an error.
    fn check(&self, answer: Answer) -> Result<Answer, CallError> {
        let checked = check_result(&self.method, answer, self.result_types);
        if checked.is_err() {
            count(&self.ticket.connection.link().counters.errors);
        }
        checked
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("id", &self.ticket.id).field("method", &self.method).finish()
    }
}

async fn next_shared(
    events: &mut Option<mpsc::Receiver<Notification>>,
    answer: &mut oneshot::Receiver<Result<Answer, CallError>>,
) -> Result<Event, CallError> {
    // The reader drops the sender of events with the answer, so everything before it comes first.
    if let Some(receiver) = events {
        if let Some(notification) = receiver.recv().await {
            return Ok(Event::Notification(notification));
        }
        *events = None;
    }
    match answer.await {
        Ok(outcome) => outcome.map(Event::Done),
        Err(_) => Err(CallError::closed("the connection was closed", Delivery::Unknown)),
    }
}

/// The request a stream of its own belongs to.
struct Ours<'a> {
    id: i64,
    headers: &'a [Header],
    questions: &'a mut Vec<RequestId>,
    method: &'a Method,
    version: Option<ProtocolVersion>,
    probe: bool,
}

async fn next_own(
    link: &Arc<Link>,
    Ours { id, headers, questions, method, version, probe }: Ours<'_>,
    inbox: &mut Inbox,
    complaint: &mut Option<CallError>,
) -> Result<Event, CallError> {
    loop {
        let item = tokio::select! {
            biased;
            item = inbox.next() => item,
            reason = link.aborted.wait() => return Err(CallError::Transport(reason)),
        };
        let Incoming { message, frame } = match item {
            Some(Ok(incoming)) => incoming,
            Some(Err(error)) if matches!(error.kind, TransportErrorKind::Payload(_)) => {
                count(&link.counters.bad_messages);
                *complaint = Some(CallError::Transport(error));
                continue;
            }
            // That the stream ended early is less of a reason than what came in place of the answer.
            Some(Err(error)) => {
                let complaint =
                    complaint.take().filter(|_| matches!(error.kind, TransportErrorKind::Closed(_)));
                return Err(complaint.unwrap_or(CallError::Transport(error)));
            }
            None => {
                return Err(complaint.take().unwrap_or_else(|| {
                    CallError::closed("the stream ended before the answer", Delivery::Unknown)
                }));
            }
        };
        link.counters.active();
        match message {
            Message::Response(response) if response.id == RequestId::Integer(id) => {
                return Ok(Event::Done(Answer::new(response.result, frame)));
            }
            // On a stream of our own an error without id can only mean our request.
            Message::Failure(failure) if failure.id.as_ref().is_none_or(|i| *i == RequestId::Integer(id)) => {
                return Err(CallError::Rpc { error: failure.error, frame });
            }
            Message::Response(_) | Message::Failure(_) => {
                count(&link.counters.unknown_answers);
                *complaint = Some(CallError::unusable("the answer carries another id", frame));
            }
            Message::Request(request)
                if probe && request.id == RequestId::Integer(id) && request.method == *method =>
            {
                return Err(CallError::echo());
            }
            Message::Request(request) => {
                questions.retain(|question| link.serves(question));
                questions.extend(link.answer_request(request, version, headers.to_vec(), Some(id)));
            }
            Message::Notification(notification) if notification.method == Method::Cancelled => {
                link.take_back(&notification, version);
            }
            Message::Notification(notification) if is_of_call(method, &notification.method) => {
                return Ok(Event::Notification(notification));
            }
            Message::Notification(notification) => link.publish(notification),
        }
    }
}

/// Whether a notification on a request's own stream belongs to the request, and not to the server as a
/// whole. A listen request asks for the latter.
fn is_of_call(request: &Method, notification: &Method) -> bool {
    *request == Method::SubscriptionsListen
        || !matches!(
            notification,
            Method::ToolsListChanged
                | Method::PromptsListChanged
                | Method::ResourcesListChanged
                | Method::ResourcesUpdated
                | Method::ElicitationComplete
                | Method::TasksStatus
        )
}

/// The progress token of a request: its id, marked as ours, so that a token a caller put into its own
/// parameters is never taken for it.
pub(crate) fn progress_token(id: i64) -> String {
    format!("{TOKEN_PREFIX}{id}")
}

const TOKEN_PREFIX: &str = "mcp-client/";

/// The id of the request a progress token of ours belongs to.
pub(crate) fn id_of_token(token: &str) -> Option<i64> {
    token.strip_prefix(TOKEN_PREFIX)?.parse().ok()
}

/// What is to be undone when a request ends without its answer.
struct Ticket {
    connection: Arc<Connection>,
    id: i64,
    /// Whether somebody of its own answers questions.
    has_asker: bool,
    _level: Option<Leveled>,
    cancel: Cancel,
    /// The caller's.
    headers: Vec<Header>,
    deadline: Option<Deadline>,
    started: Instant,
    /// What the server asked on the request's own stream and is being answered.
    questions: Vec<RequestId>,
    open: bool,
}

impl Ticket {
    /// The request is over and nothing has to be undone.
    fn close(&mut self) {
        self.open = false;
    }

    /// The same, and it failed.
    fn fail(&mut self) {
        self.connection.link().forget(self.id);
        count(&self.connection.link().counters.errors);
        self.open = false;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let link = self.connection.link();
        link.in_flight.fetch_sub(1, Ordering::Relaxed);
        // Nobody waits for what the answers were for.
        for question in &self.questions {
            link.stop_serving(question);
        }
        if !self.open {
            if self.has_asker {
                link.askers().end(self.id);
            }
            return;
        }
        link.give_up(self.id, self.has_asker);
        let timed_out = self.deadline.filter(|deadline| deadline.is_over());
        let reason = match timed_out {
            Some(Deadline { limit, .. }) => {
                count(&link.counters.errors);
                format!("timed out after {limit:?}")
            }
            None => "not wanted any more".to_owned(),
        };
        if self.cancel == Cancel::ByNotification {
            link.cancel(self.id, &reason, std::mem::take(&mut self.headers));
        }
    }
}

/// The sending ends of a waiting request.
pub(crate) fn channels(wants_events: bool, method: &Method, probe: bool) -> (Waiter, Shared) {
    let (answer, answer_end) = oneshot::channel();
    let (events, events_end) = wants_events.then(|| mpsc::channel(EVENTS)).unzip();
    let listens = *method == Method::SubscriptionsListen;
    let probe = probe.then(|| method.clone());
    (Waiter { answer, events, listens, probe }, (events_end, answer_end))
}

/// The receiving ends.
pub(crate) type Shared = (Option<mpsc::Receiver<Notification>>, oneshot::Receiver<Result<Answer, CallError>>);
