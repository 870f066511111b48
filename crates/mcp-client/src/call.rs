//! Requests and what comes back.

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use mcp_protocol::{Method, Notification, RawJson};
use mcp_transport::Header;
use tokio::time::Instant;

use crate::answer::Answer;
use crate::client::Client;
use crate::error::CallError;
use crate::exchange::{Event, Exchange};
use crate::stats::count;

/// A request to send. The id, the envelope of the era and the headers that mirror it are added.
#[derive(Debug, Clone)]
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
}

impl Outgoing {
    /// A request without further headers that asks for no progress.
    #[must_use]
    pub fn new(method: Method, params: Option<RawJson>) -> Self {
        Self { method, params, headers: Vec::new(), progress: false }
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
#[derive(Debug)]
pub struct Call {
    client: Client,
    state: State,
    /// Kept while a header mismatch may still be mended by refreshing the tool list.
    mendable: Option<Outgoing>,
    deadline: Option<Deadline>,
}

#[expect(clippy::large_enum_variant, reason = "the large state is the usual one")]
enum State {
    Running(Exchange),
    /// Refreshing the tool list, then sending again. Kept here so that `next` is cancel safe.
    Mending(BoxFuture<'static, Result<Exchange, CallError>>),
    Over,
}

/// When a call has to be over, and the limit to name when it is not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) limit: Duration,
}

impl Deadline {
    pub(crate) fn after(limit: Duration) -> Self {
        // Beyond the clock's range means: never within anybody's patience.
        let now = Instant::now();
        let at = now.checked_add(limit).unwrap_or_else(|| now + Duration::from_secs(86_400 * 365));
        Self { at, limit }
    }

    /// Runs a future until the deadline.
    pub(crate) async fn bound<T>(
        self,
        work: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        match tokio::time::timeout_at(self.at, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CallError::timeout(self.limit)),
        }
    }

    pub(crate) fn is_over(self) -> bool {
        Instant::now() >= self.at
    }
}

impl Call {
    pub(crate) async fn start(
        client: Client,
        request: Outgoing,
        deadline: Option<Deadline>,
    ) -> Result<Self, CallError> {
        let mendable = request.method == Method::ToolsCall && client.mirrors_arguments();
        let mendable = mendable.then(|| request.clone());
        let exchange = client.open(request, deadline).await?;
        Ok(Self { client, state: State::Running(exchange), mendable, deadline })
    }

    /// The next event; `None` after the end. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<CallEvent, CallError>> {
        loop {
            let error = match &mut self.state {
                State::Over => return None,
                State::Mending(sending) => match sending.await {
                    Ok(exchange) => {
                        self.state = State::Running(exchange);
                        continue;
                    }
                    Err(error) => error,
                },
                State::Running(exchange) => match exchange.next().await {
                    Ok(Event::Notification(notification)) => {
                        // What the server began it did not refuse: no second try after this.
                        self.mendable = None;
                        return Some(Ok(CallEvent::Notification(notification)));
                    }
                    Ok(Event::Done(answer)) => {
                        // Nothing of the request is kept beyond its end, least of all a caller's token.
                        self.mendable = None;
                        self.state = State::Over;
                        return Some(Ok(CallEvent::Done(answer)));
                    }
                    Err(error) => error,
                },
            };
            match self.mendable.take().filter(|_| error.is_header_mismatch()) {
                Some(request) => {
                    self.state = State::Mending(mend(self.client.clone(), request, self.deadline, error));
                }
                None => {
                    self.state = State::Over;
                    return Some(Err(error));
                }
            }
        }
    }

    /// The answer, with the notifications on the way dropped and counted.
    pub(crate) async fn finish(mut self) -> Result<Answer, CallError> {
        loop {
            match self.next().await {
                Some(Ok(CallEvent::Done(answer))) => return Ok(answer),
                Some(Ok(CallEvent::Notification(_))) => {
                    count(&self.client.link().counters.notifications_dropped);
                }
                Some(Err(error)) => return Err(error),
                None => return Err(CallError::malformed("the call was polled after its end")),
            }
        }
    }
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

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running(exchange) => exchange.fmt(f),
            Self::Mending(_) => f.write_str("Mending"),
            Self::Over => f.write_str("Over"),
        }
    }
}
