//! One session with a scripted server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{BoxFuture, ready};
use mcp_protocol::{ErrorCode, Failure, Limits, Message, Method, RawJson, Request, Response, RpcError};
use mcp_transport::{
    Delivery, Header, Inbox, Incoming, Outbound, Reply, Transport, TransportError, TransportErrorKind,
};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::cluster::{Action, ScriptedCluster, Traffic};

/// A connection to one scripted server.
pub(crate) struct ScriptedTransport {
    cluster: ScriptedCluster,
    server: String,
    session: String,
    /// Tells of the end of a process; taken with the inbox.
    crash: Option<oneshot::Receiver<()>>,
    closed: AtomicBool,
}

impl ScriptedTransport {
    pub(crate) fn new(
        cluster: ScriptedCluster,
        server: String,
        session: String,
        crash: Option<oneshot::Receiver<()>>,
    ) -> Self {
        Self { cluster, server, session, crash, closed: AtomicBool::new(false) }
    }

    async fn handle(&self, out: Outbound) -> Result<Reply, TransportError> {
        let request = match &out.message {
            Message::Request(request) => request,
            Message::Notification(notification) => {
                self.log(notification.method.as_str(), &out.headers);
                return Ok(Reply::Accepted);
            }
            Message::Response(_) | Message::Failure(_) => return Ok(Reply::Accepted),
        };
        let mut action = match request.method {
            // Legacy by construction: an era probe is refused and leaves no trace.
            Method::ServerDiscover => {
                return Ok(refusal(request, ErrorCode::METHOD_NOT_FOUND, "unknown method"));
            }
            _ => self.cluster.state().decide(&self.server, request.method.as_str()),
        };
        let is_handshake = request.method == Method::Initialize;
        if !is_handshake {
            self.log(request.method.as_str(), &out.headers);
        }
        while let Action::Delay(time, then) = action {
            tokio::time::sleep(time).await;
            action = *then;
        }
        if is_handshake && action == Action::Ok {
            self.log(request.method.as_str(), &out.headers);
        }
        self.perform(request, action)
    }

    fn perform(&self, request: &Request, action: Action) -> Result<Reply, TransportError> {
        let name = &self.server;
        let fail = |kind, delivery| Err(TransportError::new(kind, delivery));
        let refuse = |status, retry_after| {
            let delivery = if status >= 500 { Delivery::Unknown } else { Delivery::Rejected };
            fail(TransportErrorKind::Status { status, retry_after }, delivery)
        };
        match action {
            Action::Ok => Ok(respond(request, &self.result(request))),
            Action::Delay(_, then) => self.perform(request, *then),
            Action::Timeout => {
                fail(TransportErrorKind::Timeout { limit: Duration::from_secs(30) }, Delivery::Unknown)
            }
            Action::Hang => Ok(Reply::Own(futures::stream::pending().boxed())),
            Action::Error => {
                fail(TransportErrorKind::Connect(format!("{name} unavailable").into()), Delivery::NotSent)
            }
            Action::Disconnect => fail(
                TransportErrorKind::Closed(format!("{name} closed the connection").into()),
                Delivery::Unknown,
            ),
            Action::ForgetSession => fail(TransportErrorKind::SessionExpired, Delivery::Rejected),
            Action::HttpStatus(status) => refuse(status, None),
            Action::RetryAfter(status, after) => refuse(status, Some(after)),
            Action::Malformed => {
                fail(TransportErrorKind::Payload("not valid JSON".into()), Delivery::Unknown)
            }
            Action::RpcError { code, message } => {
                let mut error = serde_json::Map::new();
                error.extend(code.map(|code| ("code".to_owned(), code.into())));
                error.extend(message.map(|message| ("message".to_owned(), message.into())));
                let text = json!({"jsonrpc": "2.0", "id": request.id, "error": error}).to_string();
                Ok(frame(text.into()))
            }
            Action::Result(text) => {
                Ok(frame(format!(r#"{{"jsonrpc":"2.0","id":{},"result":{text}}}"#, request.id).into()))
            }
        }
    }

    fn result(&self, request: &Request) -> Value {
        let member = |name| request.params.as_ref().and_then(|params| params.get(name));
        match request.method {
            Method::Initialize => greeting(&self.server),
            Method::ToolsCall => json!({
                "content": [{"type": "text", "text": format!("{} answered", self.server)}],
                "structuredContent": {
                    "session_id": self.session,
                    "server": self.server,
                    "tool": member("name"),
                    "arguments": member("arguments"),
                },
                "isError": false,
            }),
            Method::ResourcesRead => json!({"contents": [{"uri": member("uri"), "text": self.server}]}),
            Method::ToolsList => json!({"tools": []}),
            _ => json!({}),
        }
    }

    fn log(&self, method: &str, headers: &[Header]) {
        self.cluster.state().traffic.push(Traffic {
            server: self.server.clone(),
            session: self.session.clone(),
            method: method.to_owned(),
            headers: headers.to_vec(),
        });
    }
}

/// The result of a handshake with the server of that name.
pub(crate) fn greeting(name: &str) -> Value {
    json!({
        "protocolVersion": "2025-11-25",
        "serverInfo": {"name": name, "version": "1.0.0"},
        "capabilities": {"tools": {}, "resources": {}},
    })
}

/// What a server of the stateless era says of itself.
pub(crate) fn discovered(name: &str) -> Value {
    json!({
        "resultType": "complete",
        "supportedVersions": ["2026-07-28"],
        "capabilities": {"tools": {}, "resources": {}},
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": name, "version": "1.0.0"}},
    })
}

/// A result as the answer to a request.
pub(crate) fn respond(request: &Request, result: &Value) -> Reply {
    let result = RawJson::encode(result).unwrap_or_else(|_| RawJson::empty_object());
    frame(Message::Response(Response { id: request.id.clone(), result }).encode())
}

/// A JSON-RPC error as the answer to a request.
pub(crate) fn refusal(request: &Request, code: ErrorCode, message: &str) -> Reply {
    let error = RpcError::new(code, message);
    frame(Message::Failure(Failure { id: Some(request.id.clone()), error }).encode())
}

/// A frame as the peer would send it. It goes through the parser, as a real one does.
fn frame(bytes: Bytes) -> Reply {
    let parsed = Message::parse(&bytes, &Limits::default());
    let item = parsed.map(|message| Incoming { message, frame: bytes }).map_err(|error| {
        TransportError::new(TransportErrorKind::Payload(error.to_string().into()), Delivery::Unknown)
    });
    Reply::Own(futures::stream::once(ready(item)).boxed())
}

impl Transport for ScriptedTransport {
    fn send(&self, out: Outbound) -> BoxFuture<'_, Result<Reply, TransportError>> {
        Box::pin(self.handle(out))
    }

    /// Nothing comes on it but the end of the process.
    fn take_inbox(&mut self) -> Option<Inbox> {
        let crash = self.crash.take()?;
        let ended = futures::stream::once(crash).filter_map(|crash| {
            let exited = TransportErrorKind::Exited("exit status: 1".into());
            ready(crash.ok().map(|()| Err(TransportError::new(exited, Delivery::Unknown))))
        });
        // A process that is left alone lives on.
        Some(ended.chain(futures::stream::pending()).boxed())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        if !self.closed.swap(true, Ordering::SeqCst) {
            *self.cluster.state().closed.entry(self.server.clone()).or_default() += 1;
        }
        Box::pin(ready(()))
    }
}
