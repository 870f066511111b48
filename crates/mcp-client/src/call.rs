//! Requests and what comes back.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use futures::future::BoxFuture;
use mcp_protocol::capability::ClientCapabilities;
use mcp_protocol::logging::LogLevel;
use mcp_protocol::{Method, Notification, RawJson};
use mcp_transport::Header;

use crate::answer::Answer;
use crate::client::Client;
use crate::deadline::Deadline;
use crate::error::CallError;
use crate::exchange::{Event, Exchange};
use crate::handler::Asker;
use crate::input;

/// A request to send. The id, the envelope of the era and the headers that mirror it are added.
#[derive(Clone)]
#[non_exhaustive]
pub struct Outgoing {
    /// What is asked for.
    pub method: Method,
    /// An object, if present. Passed on byte for byte, apart from `_meta`.
    pub params: Option<RawJson>,
    /// Further headers, for transports that have them. Kept no longer than the request takes; its
    /// cancellation and answers to what the server asks on its stream carry them, too.
    pub headers: Vec<Header>,
    /// Whether to ask for progress notifications, with a token of ours.
    pub progress: bool,
    /// Who answers what the server asks on account of this request; `None`: the connection's handler.
    pub asker: Option<Asker>,
    /// What the client is able to do, said with this request; `None`: what the connection said. Stateless era only:
    /// in the other one it is said once, by `initialize`.
    pub capabilities: Option<ClientCapabilities>,
    /// The least level of log messages wanted with this request; `None`: the connection's. In the handshake era the
    /// server has one for all requests, and is told the least of those under way.
    pub log_level: Option<LogLevel>,
    /// Who is given the notifications on the way to the answer of a [`call`](Client::call); `None`: whoever
    /// [subscribed](Client::notifications).
    pub sink: Option<NotificationSink>,
}

/// Takes notifications, without waiting.
pub type NotificationSink = Arc<dyn Fn(Notification) + Send + Sync>;

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("method", &self.method)
            .field("params", &self.params)
            .field("headers", &self.headers)
            .field("progress", &self.progress)
            .field("asker", &self.asker)
            .finish_non_exhaustive()
    }
}

impl Outgoing {
    /// A request without further headers that asks for no progress.
    #[must_use]
    pub fn new(method: Method, params: Option<RawJson>) -> Self {
        Self {
            method,
            params,
            headers: Vec::new(),
            progress: false,
            asker: None,
            capabilities: None,
            log_level: None,
            sink: None,
        }
    }
}

/// What happens on the way to the end of a call, and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallEvent {
    /// A notification that belongs to the call, such as progress.
    Notification(Notification),
    /// The answer; nothing follows.
    Done(Answer),
}

/// A request under way.
///
/// Dropping it before the end cancels the request: in the stateless era over HTTP by closing its
/// stream, else with `notifications/cancelled`, which a background task sends if it can.
pub struct Call {
    client: Client,
    state: State,
    /// Kept while the request may have to be sent again.
    repeats: Option<Repeats>,
    deadline: Option<Deadline>,
    sink: Option<NotificationSink>,
}

#[expect(clippy::large_enum_variant, reason = "the large state is the usual one")]
enum State {
    Running(Exchange),
    /// On the way to sending it again. Kept here so that `next` is cancel safe.
    Resending(BoxFuture<'static, Result<Exchange, CallError>>),
    Over,
}

/// A request and what may make us send it once more.
#[derive(Debug)]
struct Repeats {
    request: Outgoing,
    /// A header mismatch, mended by reading the tool list again.
    mend: bool,
    /// A session the server has forgotten; the one it was sent in.
    recover: Option<u64>,
    /// Questions of the server, answered so many times.
    rounds: u32,
}

impl Repeats {
    fn of(client: &Client, request: &Outgoing) -> Option<Self> {
        let mend = request.method == Method::ToolsCall && client.mirrors_arguments();
        let recover = client.recovers_session();
        (mend || recover.is_some() || client.answers(request)).then(|| Self {
            request: request.clone(),
            mend,
            recover,
            rounds: 0,
        })
    }
}

impl Call {
    #[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice")]
    pub(crate) fn start(
        client: Client,
        request: Outgoing,
        deadline: Option<Deadline>,
    ) -> impl Future<Output = Result<Self, CallError>> + Send {
        async move {
            let mut repeats = Repeats::of(&client, &request);
            let sink = request.sink.clone();
            let exchange = match client.open(request, deadline).await {
                Err(error) => {
                    match repeats.as_mut().and_then(|repeats| again(&client, repeats, &error, deadline)) {
                        Some(resending) => resending.await?,
                        None => return Err(error),
                    }
                }
                opened => opened?,
            };
            Ok(Self { client, state: State::Running(exchange), repeats, deadline, sink })
        }
    }

    /// Sends a request and waits for its answer. Notifications on the way go to whoever
    /// [subscribed](Client::notifications).
    #[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice")]
    pub(crate) fn run(
        client: Client,
        request: Outgoing,
        mut deadline: Deadline,
    ) -> impl Future<Output = Result<Answer, CallError>> + Send {
        async move {
            let mut call = {
                let mut starting = pin!(Self::start(client.clone(), request, Some(deadline)));
                loop {
                    match tokio::time::timeout_at(deadline.at, &mut starting).await {
                        Ok(call) => break call?,
                        // A question of the server that is being answered is progress, before the answer begins as well.
                        Err(_) => {
                            match client.link().last_served().map(|served| deadline.extended_at(served)) {
                                Some(extended) if extended.at > deadline.at => deadline = extended,
                                _ => return Err(CallError::timeout(deadline.limit)),
                            }
                        }
                    }
                }
            };
            // It may have been moved meanwhile.
            call.deadline = Some(deadline);
            if let State::Running(exchange) = &mut call.state {
                exchange.extend_to(deadline);
            }
            call.finish().await
        }
    }

    /// The next event; `None` after the end. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<CallEvent, CallError>> {
        loop {
            let error = match &mut self.state {
                State::Over => return None,
                State::Resending(sending) => match sending.await {
                    Ok(exchange) => {
                        self.state = State::Running(exchange);
                        continue;
                    }
                    Err(error) => error,
                },
                State::Running(exchange) => match exchange.next().await {
                    Ok(Event::Notification(notification)) => {
                        // What the server began it did not refuse: no second try after this.
                        if let Some(repeats) = &mut self.repeats {
                            repeats.mend = false;
                        }
                        return Some(Ok(CallEvent::Notification(notification)));
                    }
                    Ok(Event::Done(answer)) => match self.ask_handler(&answer) {
                        Some(resending) => {
                            self.state = State::Resending(resending);
                            continue;
                        }
                        None => return Some(Ok(CallEvent::Done(self.end(answer)))),
                    },
                    Err(error) => error,
                },
            };
            // That the server has answered is progress.
            let deadline = self.current_deadline().map(Deadline::extended);
            let again =
                self.repeats.as_mut().and_then(|repeats| again(&self.client, repeats, &error, deadline));
            match again {
                Some(resending) => self.state = State::Resending(resending),
                None => return Some(Err(self.end(error))),
            }
        }
    }

    /// Nothing of the request is kept beyond its end, least of all a caller's token.
    fn end<T>(&mut self, outcome: T) -> T {
        self.repeats = None;
        self.state = State::Over;
        outcome
    }

    /// If the answer asks for something that the handler is there for: has it answered and the request sent
    /// again.
    fn ask_handler(&mut self, answer: &Answer) -> Option<BoxFuture<'static, Result<Exchange, CallError>>> {
        let repeats = self.repeats.as_mut().filter(|repeats| self.client.answers(&repeats.request))?;
        if !answer.requires_input() {
            return None;
        }
        // From here on it is another request: nothing of it was refused yet.
        repeats.rounds += 1;
        repeats.recover = self.client.recovers_session();
        let (client, request, round) = (self.client.clone(), repeats.request.clone(), repeats.rounds);
        let (answer, deadline) = (answer.clone(), self.deadline);
        Some(Box::pin(async move {
            let request = input::answered(client.link(), request, &answer, round).await?;
            client.open(request, deadline.map(Deadline::extended)).await
        }))
    }

    /// When it has to be over, as far as that is known now.
    fn current_deadline(&self) -> Option<Deadline> {
        match &self.state {
            State::Running(exchange) => exchange.deadline(),
            // Somebody may be thinking about the answer to the server's question.
            State::Resending(_) | State::Over => self.deadline.map(Deadline::latest),
        }
    }

    /// Whether the time up to a deadline was used by something that counts as progress.
    fn has_progressed(&mut self, since: Deadline) -> bool {
        if let State::Running(exchange) = &mut self.state
            && let Some(served) = self.client.link().last_served()
        {
            exchange.extend_to(since.extended_at(served));
        }
        self.current_deadline().is_some_and(|now| now.at > since.at)
    }

    /// The answer.
    async fn finish(&mut self) -> Result<Answer, CallError> {
        loop {
            let next = match self.current_deadline() {
                None => self.next().await,
                Some(deadline) => match tokio::time::timeout_at(deadline.at, self.next()).await {
                    Ok(next) => next,
                    Err(_) if self.has_progressed(deadline) => continue,
                    Err(_) => return Err(CallError::timeout(deadline.limit)),
                },
            };
            match next {
                Some(Ok(CallEvent::Done(answer))) => return Ok(answer),
                Some(Ok(CallEvent::Notification(notification))) => match &self.sink {
                    Some(sink) => sink(notification),
                    None => self.client.link().publish(notification),
                },
                Some(Err(error)) => return Err(error),
                None => return Err(CallError::malformed("the call was polled after its end")),
            }
        }
    }
}

/// After a failure that can be mended, whatever the request was: mends it and sends the request again.
fn again(
    client: &Client,
    repeats: &mut Repeats,
    error: &CallError,
    deadline: Option<Deadline>,
) -> Option<BoxFuture<'static, Result<Exchange, CallError>>> {
    if error.is_header_mismatch() && std::mem::take(&mut repeats.mend) {
        return Some(mend(client.clone(), repeats.request.clone(), deadline, error.clone()));
    }
    if error.is_forgotten_session()
        && let Some(session) = repeats.recover.take()
    {
        return Some(recover(client.clone(), repeats.request.clone(), session, deadline, error.clone()));
    }
    None
}

/// After a header mismatch: refreshes the tool list, whose annotations say which headers a call needs,
/// and sends the request once more (wire reference §3.8).
fn mend(
    client: Client,
    request: Outgoing,
    deadline: Option<Deadline>,
    error: CallError,
) -> BoxFuture<'static, Result<Exchange, CallError>> {
    tracing::warn!(%error, "refreshing the tool list after a header mismatch");
    Box::pin(async move {
        client.refresh_tools(deadline).await.map_err(|_| error)?;
        client.open(request, deadline).await
    })
}

/// After the server has forgotten the session: sees to it that there is a new one and sends the request once
/// more. It was not executed (contract §7.5).
fn recover(
    client: Client,
    request: Outgoing,
    session: u64,
    deadline: Option<Deadline>,
    error: CallError,
) -> BoxFuture<'static, Result<Exchange, CallError>> {
    Box::pin(async move {
        if !client.recover(session).await {
            return Err(error);
        }
        client.open(request, deadline).await
    })
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("state", &self.state).finish_non_exhaustive()
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running(exchange) => exchange.fmt(f),
            Self::Resending(_) => f.write_str("Resending"),
            Self::Over => f.write_str("Over"),
        }
    }
}
