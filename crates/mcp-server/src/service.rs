//! What stands behind a front end: whoever knows the answers.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use mcp_protocol::header::ParamHeaders;
use mcp_protocol::meta::RequestMeta;
use mcp_protocol::{EraPolicy, Method, Notification, ProtocolVersion, RawJson, Request, RpcError};

/// The answer to a request: a `result` object, passed on byte for byte, or an error object.
pub type Outcome = Result<RawJson, RpcError>;

/// On whose behalf a client talks to us, as far as its credentials say. Sessions and everything else that outlives
/// a request belong to one of these.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Principal(Option<Arc<str>>);

impl Principal {
    /// Whoever needs no credentials.
    #[must_use]
    pub fn anonymous() -> Self {
        Self(None)
    }

    /// A principal by a stable name, which is no secret. The one without a name is the anonymous one.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self((!name.is_empty()).then(|| Arc::from(name)))
    }

    /// The name; empty for the anonymous one.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Principal").field(&self.as_str()).finish()
    }
}

/// How a client is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportShape {
    /// Streamable HTTP: an answer has a stream and headers of its own.
    Http,
    /// The two-endpoint transport of 2024-11-05: one stream for everything.
    Sse,
    /// stdin and stdout: one channel for everything.
    Stdio,
}

/// Answers what clients ask. One service is one endpoint: the front ends keep sessions of different services apart.
pub trait Service: Send + Sync + 'static {
    /// Answers `initialize`, for a revision that the front end has chosen already.
    ///
    /// # Errors
    /// What the client is told; there is no session then.
    fn open(&self, opening: Opening) -> BoxFuture<'static, Result<Opened, RpcError>>;

    /// Answers one request of the stateless era, whose envelope and headers are in order. Dropping the future
    /// cancels the request. `subscriptions/listen` is answered when it ends.
    fn call(&self, call: StatelessCall) -> BoxFuture<'static, Outcome>;

    /// Which arguments of a tool a client must repeat in headers, as the tool was listed to this principal.
    /// `None` if there are none or the tool is not known.
    fn mirrored(&self, principal: &Principal, tool: &str) -> Option<Arc<ParamHeaders>>;

    /// Which eras there are, both unless it says otherwise. Clients of the other one get the answers of a server
    /// that knows nothing of it. The two-endpoint transport has the handshake era in any case.
    fn eras(&self) -> EraPolicy {
        EraPolicy::Auto
    }
}

/// A request of the stateless era with everything it says of its sender.
pub struct StatelessCall {
    /// Whose it is.
    pub principal: Principal,
    /// How it came.
    pub transport: TransportShape,
    /// The request as it came.
    pub request: Request,
    /// Its envelope, read.
    pub meta: RequestMeta,
    /// What it is about: see [`name_of`](mcp_protocol::header::name_of).
    pub name: Option<Arc<str>>,
    /// What is said to the client before the answer.
    pub outlet: Outlet,
}

/// A client of the handshake era that introduces itself.
pub struct Opening {
    /// Whose it is.
    pub principal: Principal,
    /// How it is connected.
    pub transport: TransportShape,
    /// The revision of the session: the client's if it is one of the handshake era, else the newest of those.
    pub version: ProtocolVersion,
    /// The parameters of `initialize` as they came, an object.
    pub params: RawJson,
    /// What is said to the client outside of any request. On Streamable HTTP that is its GET stream, or waits
    /// until there is one.
    pub outlet: Outlet,
}

/// A session of the handshake era, opened.
pub struct Opened {
    /// The result of `initialize`.
    pub result: RawJson,
    /// Who goes on talking with the client.
    pub conversation: Arc<dyn Conversation>,
}

/// One session of the handshake era.
pub trait Conversation: Send + Sync + 'static {
    /// Answers a request: any but `initialize` and `ping`. Dropping the future cancels the request, which the front
    /// end does when the client says so (a client that merely leaves has not said so) and when the session ends.
    fn call(&self, request: Request, outlet: Outlet) -> BoxFuture<'static, Outcome>;

    /// Takes note of a notification of the client: any but `notifications/cancelled`.
    fn notified(&self, notification: Notification);

    /// The session is over: ended by the client, expired, or its connection is gone. Called once.
    fn end(&self);
}

/// The way to the client, within one request or outside of any.
pub type Outlet = Arc<dyn Channel>;

/// The way to one client.
pub trait Channel: Send + Sync + 'static {
    /// Sends a notification, or, when the client does not read what is waiting for it, drops it, which is counted.
    /// After the answer of the request nothing is sent.
    fn notify(&self, notification: Notification);

    /// Asks the client and waits for its answer. Handshake era only. Dropping the future takes the question back
    /// with `notifications/cancelled`.
    ///
    /// # Errors
    /// [`AskError`].
    fn ask(&self, method: Method, params: Option<RawJson>) -> BoxFuture<'static, Result<RawJson, AskError>>;

    /// Says under which id the request is found in traces and events. Where answers have headers it becomes
    /// `X-Request-Id`, if it is said before anything is sent.
    fn trace(&self, request_id: Arc<str>);
}

/// A client that did not answer a question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// It answered with an error.
    #[error("{0}")]
    Refused(RpcError),
    /// There is no way to ask it: it is gone, or it is one of the stateless era.
    #[error("the client cannot be asked: {0}")]
    Unreachable(&'static str),
}

impl fmt::Debug for StatelessCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatelessCall")
            .field("principal", &self.principal)
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening")
            .field("principal", &self.principal)
            .field("version", &self.version)
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("result", &self.result).finish_non_exhaustive()
    }
}
