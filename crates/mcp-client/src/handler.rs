//! What a server may ask of us.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_protocol::capability::ClientCapabilities;
use mcp_protocol::{ErrorCode, JsonKind, Method, ProtocolVersion, RawJson, RpcError};

/// Answers what servers ask of a client: `sampling/createMessage`, `elicitation/create` and `roots/list`.
///
/// The era makes no difference to it. A server of the handshake era sends a request; a stateless one answers
/// a call with `input_required`, and the call is sent again with the answers. Only what
/// [`ConnectOptions::capabilities`](crate::ConnectOptions::capabilities) declares reaches the handler.
/// Source: wire reference §2.7, §2.8, §3.5.
pub trait RequestHandler: Send + Sync + 'static {
    /// Answers one question with the bare result object of its method.
    ///
    /// Several may be asked at once. The future is dropped when the answer is not wanted any more: the server
    /// took the question back, the connection ended, the [time](crate::ConnectOptions::handler_timeout) was up,
    /// or the call ended that it was asked for, where that can be told (not on the shared channel of stdio and
    /// of the two-endpoint transport). A panic counts as an error.
    ///
    /// # Errors
    /// What the server is told instead of an answer; in the stateless era, which has no way to say it, the
    /// call that led to the question fails as [`Unanswered`](crate::CallError::Unanswered).
    fn handle(&self, request: ServerRequest) -> BoxFuture<'_, Result<RawJson, RpcError>>;
}

/// A question of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerRequest {
    /// [`SamplingCreateMessage`](Method::SamplingCreateMessage),
    /// [`ElicitationCreate`](Method::ElicitationCreate) or [`RootsList`](Method::RootsList).
    pub method: Method,
    /// Its parameters as they came.
    pub params: Option<RawJson>,
    /// The revision the server speaks, in whose words the answer is to be.
    pub version: ProtocolVersion,
}

impl ServerRequest {
    /// A question that comes in another way than by itself, as those of tasks do.
    #[must_use]
    pub fn new(method: Method, params: Option<RawJson>, version: ProtocolVersion) -> Self {
        Self { method, params, version }
    }
}

/// Who answers what a server asks on account of one request. On a channel that all requests share a question does
/// not say which of them it is about: if all that wait there for an answer have an asker of the same owner, the newest
/// one is asked, and otherwise the server is told that nobody can know. A request that was given up counts until the
/// server has answered it all the same. Source: bridging §6.3.2.
#[derive(Clone)]
pub struct Asker {
    /// Whose the request is: questions about requests of one owner may be mistaken for one another without harm.
    pub owner: u64,
    /// Answers.
    pub handler: Arc<dyn RequestHandler>,
    /// Whether it also answers what a stateless server asks by an `input_required` result, after which the request
    /// is sent again. Otherwise the caller gets such results as they are.
    pub resolves: bool,
    /// The server's id of the task that the request waits for, if it does: what the server asks on account of the task
    /// is for this asker, wherever it comes.
    pub task: Option<Box<str>>,
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker")
            .field("owner", &self.owner)
            .field("resolves", &self.resolves)
            .finish_non_exhaustive()
    }
}

/// Who is asked, and within what.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) handler: &'a Arc<dyn RequestHandler>,
    /// What was declared to the server.
    pub(crate) capabilities: &'a ClientCapabilities,
}

/// Everything needed to answer a server.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) handler: Option<Arc<dyn RequestHandler>>,
    pub(crate) capabilities: ClientCapabilities,
    /// The longest an answer may take.
    pub(crate) limit: Duration,
}

impl Host {
    /// Answers a question.
    pub(crate) async fn answer(
        &self,
        asked: Option<Asked<'_>>,
        method: Method,
        params: Option<RawJson>,
        version: ProtocolVersion,
    ) -> Result<RawJson, RpcError> {
        let Some(Asked { handler, capabilities }) = asked.filter(|_| is_question(&method)) else {
            return Err(RpcError::new(ErrorCode::METHOD_NOT_FOUND, "Method not found"));
        };
        check_declared(capabilities, &method, params.as_ref())?;
        // The call to `handle` may panic as well.
        let answering = async { handler.handle(ServerRequest { method, params, version }).await };
        let answering = AssertUnwindSafe(answering).catch_unwind();
        let answer = tokio::time::timeout(self.limit, answering).await.map_err(|_| {
            RpcError::new(ErrorCode::INTERNAL_ERROR, &format!("no answer within {:?}", self.limit))
        })?;
        let result = answer.unwrap_or_else(|_| {
            tracing::error!("the handler of the server's requests panicked");
            Err(RpcError::new(ErrorCode::INTERNAL_ERROR, "Internal error"))
        })?;
        if result.kind() != JsonKind::Object {
            tracing::warn!(found = %result.kind(), "the handler's answer is no object");
            return Err(RpcError::new(ErrorCode::INTERNAL_ERROR, "Internal error"));
        }
        Ok(result)
    }

    /// The connection's own handler.
    pub(crate) fn own(&self) -> Option<Asked<'_>> {
        Some(Asked { handler: self.handler.as_ref()?, capabilities: &self.capabilities })
    }
}

/// Refuses what was never declared. Source: wire reference §1.3.
fn check_declared(
    capabilities: &ClientCapabilities,
    method: &Method,
    params: Option<&RawJson>,
) -> Result<(), RpcError> {
    let declared = |path: &[&str]| capabilities.has(path);
    let has = |name: &str| params.is_some_and(|params| params.get(name).is_some());
    let capability = match method {
        Method::SamplingCreateMessage => "sampling",
        Method::ElicitationCreate => "elicitation",
        _ => "roots",
    };
    if !declared(&[capability]) {
        let text = format!("the client has not declared {capability}");
        return Err(RpcError::new(ErrorCode::METHOD_NOT_FOUND, &text));
    }
    let undeclared = match method {
        Method::SamplingCreateMessage if has("tools") || has("toolChoice") => {
            (!declared(&["sampling", "tools"])).then_some("sampling.tools")
        }
        Method::ElicitationCreate => {
            let mode = params.and_then(|params| params.get("mode")?.to::<String>().ok());
            match mode.as_deref() {
                Some("url") => (!capabilities.elicits_urls()).then_some("elicitation.url"),
                _ => (!capabilities.elicits_forms()).then_some("elicitation.form"),
            }
        }
        _ => None,
    };
    match undeclared {
        None => Ok(()),
        Some(path) => {
            let text = format!("the client has not declared {path}");
            Err(RpcError::new(ErrorCode::INVALID_PARAMS, &text))
        }
    }
}

/// Whether servers ask clients for this.
pub(crate) fn is_question(method: &Method) -> bool {
    matches!(method, Method::SamplingCreateMessage | Method::ElicitationCreate | Method::RootsList)
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("handler", &self.handler.is_some())
            .field("capabilities", &self.capabilities)
            .field("limit", &self.limit)
            .finish()
    }
}
