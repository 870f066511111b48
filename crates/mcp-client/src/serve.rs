//! Answering the server's requests.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use mcp_protocol::{
    Era, ErrorCode, Failure, Message, Method, ProtocolVersion, RawJson, Request, RequestId, Response,
    RpcError, meta,
};
use mcp_transport::{Header, Outbound};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::askers::Whom;
use crate::handler::{Asked, RequestHandler, is_question};
use crate::link::{Link, REPLY_LIMIT};
use crate::stats::count;

/// Requests of the server answered at once; more are refused.
const MAX_SERVING: usize = 16;

impl Link {
    /// Answers a request of the server: `ping`, what the handler is for, or that we offer nothing else.
    ///
    /// `version` and `headers` are those of the request of ours it came along with, if it did. In the stateless
    /// era only clients send requests and only servers answer (wire reference §1.1 and §4.3): there it is
    /// ignored. Gives the id if the handler is at work.
    pub(crate) fn answer_request(
        self: &Arc<Self>,
        request: Request,
        version: Option<ProtocolVersion>,
        headers: Vec<Header>,
        in_call: Option<i64>,
    ) -> Option<RequestId> {
        if version.or(self.version()).is_some_and(|version| version.era() == Era::Stateless) {
            tracing::debug!(method = %request.method, "ignored a request of a stateless server");
            count(&self.counters.requests_ignored);
            return None;
        }
        if request.method == Method::Ping {
            let pong = Response { id: request.id, result: RawJson::empty_object() };
            self.reply(Message::Response(pong), headers);
            return None;
        }
        let id = request.id.clone();
        match self.begin_serving(request, &headers, in_call) {
            Ok(()) => Some(id),
            Err(error) => {
                tracing::debug!(%error, "refused a request of the server");
                self.reply(Message::Failure(Failure { id: Some(id), error }), headers);
                None
            }
        }
    }

    /// Has a request answered in the background. An error is the answer.
    fn begin_serving(
        self: &Arc<Self>,
        request: Request,
        headers: &[Header],
        in_call: Option<i64>,
    ) -> Result<(), RpcError> {
        let Request { id, method, params } = request;
        if !is_question(&method) {
            return Err(RpcError::new(ErrorCode::METHOD_NOT_FOUND, "Method not found"));
        }
        let handler = self.handler_of(in_call, &method, params.as_ref())?;
        // A person is asked only on account of something we do (wire reference §7, A13).
        let solicited = in_call.is_some() || self.in_flight.load(Ordering::Relaxed) > 0;
        if !solicited && method != Method::RootsList {
            let text = "no request of the client is under way that this could be for";
            return Err(RpcError::new(ErrorCode::INVALID_PARAMS, text));
        }
        let Ok(runtime) = Handle::try_current() else {
            return Err(RpcError::new(ErrorCode::INTERNAL_ERROR, "Internal error"));
        };
        // Locked until the task is in the map, so that it cannot end before.
        let mut serving = self.serving();
        if serving.contains_key(&id) {
            return Err(RpcError::new(ErrorCode::INVALID_REQUEST, "the id is that of a request under way"));
        }
        if serving.len() >= MAX_SERVING {
            let text = format!("{MAX_SERVING} requests of the server are under way, which is the limit");
            return Err(RpcError::new(ErrorCode::INTERNAL_ERROR, &text));
        }
        count(&self.counters.questions);
        let work = self.clone().serve(id.clone(), handler, method, params, headers.to_vec());
        serving.insert(id, runtime.spawn(work).abort_handle());
        Ok(())
    }

    /// Who answers a question: the asker that waits for the task it is about, or of the call it came with, or, where
    /// that cannot be seen, of the calls under way if they have one owner; else the connection's handler.
    /// Source: bridging §6.3.2.
    fn handler_of(
        &self,
        in_call: Option<i64>,
        method: &Method,
        params: Option<&RawJson>,
    ) -> Result<Arc<dyn RequestHandler>, RpcError> {
        let own = || {
            let none = || RpcError::new(ErrorCode::METHOD_NOT_FOUND, "Method not found");
            self.host.handler.clone().ok_or_else(none)
        };
        let mut askers = self.askers();
        let task: Option<Box<str>> =
            params.and_then(|params| meta::get(params, meta::RELATED_TASK)?.get("taskId")?.to().ok());
        if let Some(asker) = task.and_then(|task| askers.of_task(&task)) {
            return Ok(asker.handler.clone());
        }
        if let Some(call) = in_call {
            return askers.of_call(call).map_or_else(own, |asker| Ok(asker.handler.clone()));
        }
        // Which roots there are is a question a server may well ask on its own account.
        let may_be_its_own = *method == Method::RootsList;
        let roots = self.host.handler.as_ref().filter(|_| may_be_its_own);
        match (askers.whom(may_be_its_own), roots) {
            (Whom::Nobody, _) => own(),
            (Whom::Asker(asker), _) => Ok(asker.handler),
            (Whom::Unclear, Some(roots)) => Ok(roots.clone()),
            (Whom::Unclear, None) => {
                let text = "several requests of different users are under way, and this does not say which it is for";
                Err(RpcError::new(ErrorCode::INTERNAL_ERROR, text))
            }
        }
    }

    async fn serve(
        self: Arc<Self>,
        id: RequestId,
        handler: Arc<dyn RequestHandler>,
        method: Method,
        params: Option<RawJson>,
        headers: Vec<Header>,
    ) {
        let version = self.version().unwrap_or(ProtocolVersion::LATEST_HANDSHAKE);
        let asked = Asked { handler: &handler, capabilities: &self.host.capabilities };
        let outcome = tokio::select! {
            biased;
            _ = self.aborted.wait() => None,
            outcome = self.host.answer(Some(asked), method, params, version) => Some(outcome),
        };
        *self.served() = Some(Instant::now());
        self.serving().remove(&id);
        let message = match outcome {
            None => return,
            Some(Ok(result)) => Message::Response(Response { id, result }),
            Some(Err(error)) => Message::Failure(Failure { id: Some(id), error }),
        };
        let out = Outbound { version: self.version(), headers, ..Outbound::new(message) };
        match tokio::time::timeout(REPLY_LIMIT, self.transport.send(out)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "an answer to the server was lost"),
            Err(_) => tracing::warn!("an answer to the server could not be sent within {REPLY_LIMIT:?}"),
        }
    }

    /// Gives up answering a request of the server.
    pub(crate) fn stop_serving(&self, id: &RequestId) {
        if let Some(task) = self.serving().remove(id) {
            task.abort();
        }
    }

    /// Whether this request of the server is being answered.
    pub(crate) fn serves(&self, id: &RequestId) -> bool {
        self.serving().contains_key(id)
    }

    /// When a question of the server was last being answered.
    pub(crate) fn last_served(&self) -> Option<Instant> {
        if self.serving().is_empty() { *self.served() } else { Some(Instant::now()) }
    }

    fn served(&self) -> MutexGuard<'_, Option<Instant>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serving(&self) -> MutexGuard<'_, HashMap<RequestId, AbortHandle>> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
