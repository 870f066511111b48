//! The traits.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use mcp_protocol::{Message, ProtocolVersion};

use crate::endpoint::Endpoint;
use crate::error::TransportError;

/// Messages from the server, in the order they came.
///
/// An `Err` whose kind is [`Payload`](crate::TransportErrorKind::Payload) concerns one unusable message, one
/// whose kind is [`Gap`](crate::TransportErrorKind::Gap) says that some may be missing; both times the stream
/// goes on. Any other error is the last item.
pub type Inbox = BoxStream<'static, Result<Incoming, TransportError>>;

/// One message from the server with the bytes it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// The message, its bodies slices of `frame`.
    pub message: Message,
    /// The whole frame, unchanged.
    pub frame: Bytes,
}

/// One HTTP header to send along. Transports without headers ignore it.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    /// Name.
    pub name: Cow<'static, str>,
    /// Value. Cheap to clone.
    pub value: Arc<str>,
    /// Whether the value must never show in logs.
    pub sensitive: bool,
}

impl Header {
    /// A header whose value may be logged.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>, value: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), value: value.into(), sensitive: false }
    }

    /// A header whose value is a secret.
    #[must_use]
    pub fn secret(name: impl Into<Cow<'static, str>>, value: impl Into<Arc<str>>) -> Self {
        Self { sensitive: true, ..Self::new(name, value) }
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = if self.sensitive { "[REDACTED]" } else { &self.value };
        write!(f, "{}: {value}", self.name)
    }
}

/// A message on its way out.
#[derive(Debug, Clone)]
pub struct Outbound {
    /// The message.
    pub message: Message,
    /// The revision to name in `MCP-Protocol-Version`; `None` before one is agreed.
    pub version: Option<ProtocolVersion>,
    /// Headers that mirror the body (`Mcp-Method`, …) or belong to this message alone.
    pub headers: Vec<Header>,
    /// When the message is of no use any more; `None` if it always is. A transport in which messages wait
    /// for a connection fails with [`Busy`](crate::TransportErrorKind::Busy) shortly before, instead of
    /// leaving its sender in doubt whether anything was sent. What was sent is not bound by it.
    pub until: Option<Instant>,
}

impl Outbound {
    /// A message without context, as before negotiation, that is of use at any time.
    #[must_use]
    pub fn new(message: Message) -> Self {
        Self { message, version: None, headers: Vec::new(), until: None }
    }
}

/// Where the answer to a sent message comes from.
pub enum Reply {
    /// On the inbox, told apart by id (stdio).
    Inbox,
    /// On a stream of its own that ends after the answer (Streamable HTTP). Dropping it closes the
    /// exchange, which in the stateless era cancels the request.
    Own(Inbox),
    /// There is none: the message was accepted (a notification or response).
    Accepted,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inbox => "Inbox",
            Self::Own(_) => "Own",
            Self::Accepted => "Accepted",
        })
    }
}

/// One live connection to one server.
pub trait Transport: Send + Sync + 'static {
    /// Sends one message. An error says how far it got ([`TransportError::delivery`]).
    ///
    /// May be called concurrently. Dropping the future before it resolves leaves the delivery unknown,
    /// but never half a message on a shared channel.
    fn send(&self, out: Outbound) -> BoxFuture<'_, Result<Reply, TransportError>>;

    /// The messages that belong to no exchange of their own. `None` if the transport has no such channel
    /// or it was taken before. The stream ends, with an error that says why, when the connection is lost,
    /// and without one after [`close`](Transport::close).
    fn take_inbox(&mut self) -> Option<Inbox>;

    /// Whether requests are answered on the inbox, [`Reply::Inbox`]. By default they are. A transport that
    /// always gives a [`Reply::Own`] says no, which saves its caller to expect answers in both places.
    fn answers_on_inbox(&self) -> bool {
        true
    }

    /// Waits until the server can be heard on the inbox, or it is clear that it cannot: what it says before is
    /// lost. By default that is at once. Somebody has to read the inbox meanwhile, and to limit the wait.
    fn listening(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Closes the connection in the orderly way of the transport. Idempotent; bounded in time.
    fn close(&self) -> BoxFuture<'_, ()>;

    /// Facts worth showing to an operator: `pid`, recent stderr lines, the session in use.
    fn details(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// What did not end in order, once [`close`](Transport::close) has completed: a process that had to be
    /// killed, for example. `None` if everything did. Source: contract §7.7, step 8.
    fn unclean_end(&self) -> Option<String> {
        None
    }
}

/// Opens transports.
pub trait Connector: Send + Sync + 'static {
    /// Whether it can open this endpoint at all. By default it can.
    ///
    /// [`Connectors`](crate::Connectors) asks this to choose; an endpoint that is supported may still turn
    /// out to be unusable.
    fn supports(&self, endpoint: &Endpoint) -> bool {
        let _ = endpoint;
        true
    }

    /// Whether a connection to this endpoint keeps a session that an operator can look at, invalidate and
    /// refresh. By default it does. Source: contract §3.7.
    fn session_controls(&self, endpoint: &Endpoint) -> bool {
        let _ = endpoint;
        true
    }

    /// Opens a connection: starts the process, or prepares the HTTP client (which may connect lazily).
    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
    ) -> BoxFuture<'a, Result<Box<dyn Transport>, TransportError>>;

    /// The same with further headers, for transports whose opening is a request of its own. Others ignore them:
    /// they are given with each message as well ([`Outbound::headers`]).
    fn connect_with<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        headers: &'a [Header],
    ) -> BoxFuture<'a, Result<Box<dyn Transport>, TransportError>> {
        let _ = headers;
        self.connect(endpoint)
    }

    /// Asks the plain HTTP health path of an endpoint and gives the status code; redirects are not
    /// followed and the body is ignored. `None` if the endpoint has no URL. Source: contract §3.5.
    fn health<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        path: &'a str,
    ) -> BoxFuture<'a, Option<Result<u16, TransportError>>> {
        let _ = (endpoint, path);
        Box::pin(std::future::ready(None))
    }
}
