//! A connector made of a closure.

use std::sync::Arc;

use futures::future::{BoxFuture, ready};
use mcp_protocol::{Era, ErrorCode, Message, Method, RawJson, Request};
use mcp_transport::{Connector, Endpoint, Inbox, Outbound, Reply, Transport, TransportError};
use serde_json::Value;

use crate::server::{discovered, greeting, refusal, respond};

/// What answers a request: method and parameters in, result or failure out.
type Answer = dyn Fn(&Method, Option<&RawJson>) -> Result<Value, TransportError> + Send + Sync;

/// A connector whose servers are all one closure: no sessions to look at or invalidate, no scripts. The
/// handshake is answered for it. Source: contract §9.1 (`FnTransport`).
///
/// # Examples
/// ```
/// use mcp_testkit::FnTransport;
/// use serde_json::json;
///
/// let echo = FnTransport::new(|method, _params| Ok(json!({"method": method.as_str()})));
/// // Give `echo` as the connector to a manager.
/// # let _: &dyn mcp_transport::Connector = &echo;
/// ```
#[derive(Clone)]
pub struct FnTransport {
    answer: Arc<Answer>,
    era: Era,
}

impl FnTransport {
    /// A connector that answers every request but those of the handshake with `answer`.
    pub fn new(
        answer: impl Fn(&Method, Option<&RawJson>) -> Result<Value, TransportError> + Send + Sync + 'static,
    ) -> Self {
        Self { answer: Arc::new(answer), era: Era::Handshake }
    }

    /// The same as servers of the stateless era alone.
    #[must_use]
    pub fn stateless(self) -> Self {
        Self { era: Era::Stateless, ..self }
    }

    fn answer(&self, request: &Request) -> Result<Reply, TransportError> {
        match (&request.method, self.era) {
            (Method::ServerDiscover, Era::Stateless) => Ok(respond(request, &discovered("function"))),
            (Method::Initialize, Era::Handshake) => Ok(respond(request, &greeting("function"))),
            (Method::ServerDiscover | Method::Initialize, _) => {
                Ok(refusal(request, ErrorCode::METHOD_NOT_FOUND, "unknown method"))
            }
            (method, _) => Ok(respond(request, &(self.answer)(method, request.params.as_ref())?)),
        }
    }
}

impl std::fmt::Debug for FnTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FnTransport")
    }
}

impl Connector for FnTransport {
    fn session_controls(&self, _endpoint: &Endpoint) -> bool {
        false
    }

    fn connect<'a>(
        &'a self,
        _endpoint: &'a Endpoint,
    ) -> BoxFuture<'a, Result<Box<dyn Transport>, TransportError>> {
        let transport: Box<dyn Transport> = Box::new(self.clone());
        Box::pin(ready(Ok(transport)))
    }
}

impl Transport for FnTransport {
    fn send(&self, out: Outbound) -> BoxFuture<'_, Result<Reply, TransportError>> {
        Box::pin(ready(match &out.message {
            Message::Request(request) => self.answer(request),
            Message::Notification(_) | Message::Response(_) | Message::Failure(_) => Ok(Reply::Accepted),
        }))
    }

    fn take_inbox(&mut self) -> Option<Inbox> {
        None
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(ready(()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::{FutureExt, StreamExt};
    use mcp_protocol::RequestId;
    use mcp_transport::{Delivery, HttpEndpoint, Incoming, TransportErrorKind};
    use serde_json::json;

    use super::*;
    use crate::{Action, ScriptedCluster};

    fn endpoint() -> Endpoint {
        Endpoint::Http(HttpEndpoint::new("https://p.example/mcp".parse().unwrap()))
    }

    fn request(method: Method) -> Outbound {
        let params = RawJson::encode(&json!({"name": "t"})).ok();
        Outbound::new(Message::Request(Request { id: RequestId::from(1), method, params }))
    }

    async fn ask(connector: &dyn Connector, method: Method) -> Result<Message, TransportError> {
        let transport = connector.connect(&endpoint()).await?;
        let Reply::Own(mut answers) = transport.send(request(method)).await? else { panic!("no answer") };
        answers.next().await.unwrap().map(|Incoming { message, .. }| message)
    }

    fn result(answer: Result<Message, TransportError>) -> Value {
        let Ok(Message::Response(response)) = answer else { panic!("{answer:?}") };
        serde_json::from_str(response.result.as_str()).unwrap()
    }

    #[test]
    fn a_closure_answers_what_is_asked() {
        let connector = FnTransport::new(|method, params| match method {
            Method::ToolsCall => Ok(json!({"got": params.map(RawJson::as_str)})),
            _ => Err(TransportError::new(TransportErrorKind::Connect("gone".into()), Delivery::NotSent)),
        });
        let stateless = connector.clone().stateless();
        let ask_stateless = |method| ask(&stateless, method).now_or_never().unwrap();
        assert_eq!(result(ask_stateless(Method::ServerDiscover))["supportedVersions"], json!(["2026-07-28"]));
        assert!(matches!(ask_stateless(Method::Initialize), Ok(Message::Failure(_))));
        let ask = |method| ask(&connector, method).now_or_never().unwrap();
        assert_eq!(result(ask(Method::ToolsCall)), json!({"got": r#"{"name":"t"}"#}));
        assert_eq!(result(ask(Method::Initialize))["serverInfo"]["name"], "function");
        assert_eq!(ask(Method::ResourcesRead).unwrap_err().to_string(), "gone");
        assert!(matches!(ask(Method::ServerDiscover), Ok(Message::Failure(_))));
        assert!(!connector.session_controls(&endpoint()));
    }

    #[test]
    fn a_delayed_action_takes_its_time() {
        let cluster = ScriptedCluster::new();
        assert!(cluster.session_controls(&endpoint()));
        let second = Duration::from_secs(1);
        cluster.script("p", "tools/call", [Action::Timeout.delayed(second).delayed(second)]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let started = tokio::time::Instant::now();
            assert!(ask(&cluster, Method::ToolsCall).await.is_err());
            assert_eq!(started.elapsed(), 2 * second);
            assert!(ask(&cluster, Method::ToolsCall).await.is_ok());
            assert_eq!(started.elapsed(), 2 * second);
        });
    }
}
