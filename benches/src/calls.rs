//! The ways to make one and the same tool call.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use hyper::StatusCode;
use hyper::header::HeaderValue;
use mcp_client::{Client, ConnectOptions, Outgoing};
use mcp_protocol::capability::ClientCapabilities;
use mcp_protocol::meta::RequestMeta;
use mcp_protocol::{
    Era, EraPolicy, Limits, Message, Method, Notification, RawJson, Request, RequestId, header,
};
use mcp_transport::{Endpoint, HttpEndpoint};
use mcp_transport_http::{HttpConnector, HttpOptions};
use serde_json::{Value, json};

use crate::Failure;
use crate::answers::{Shape, TOOL, text, version};
use crate::connection::{Answer, Connection, LIMIT};
use crate::upstream::Upstream;

/// Stands in a body where the nonce of each call goes; as long as one.
const NONCE: &str = "NNNNNNNNNNNNNNNN";

/// Where an MCP endpoint is, and what it calls the tool.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    pub(crate) tool: String,
    pub(crate) era: Era,
}

/// What is asked for in a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Bytes of text in the answer.
    pub(crate) size: usize,
    pub(crate) shape: Shape,
}

/// A caller: makes one call after the other.
pub(crate) enum Caller {
    /// A kept-alive connection of its own, on which the same request is sent again and again.
    Raw(Box<RawCaller>),
    /// `mcp-client`; all callers share its connections.
    Client { client: Client, params: Template, expected: Bytes },
}

pub(crate) struct RawCaller {
    connection: Connection,
    path: String,
    body: Template,
    /// What follows the nonce in a good answer.
    expected: Bytes,
    /// What else a good answer holds.
    marks: Vec<String>,
    has_session: bool,
}

/// A body with a place for a nonce.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    head: Bytes,
    tail: Bytes,
}

impl Caller {
    /// Makes one call and checks that the answer is the one to this call.
    pub(crate) async fn call(&mut self) -> Result<(), Failure> {
        let nonce = nonce();
        match self {
            Self::Raw(caller) => caller.call(&nonce).await,
            Self::Client { client, params, expected } => {
                let params = RawJson::parse(params.with(&nonce), &Limits::default())?;
                let answer = client.call(Outgoing::new(Method::ToolsCall, Some(params)), LIMIT).await?;
                let body = answer.result.as_bytes();
                check(holds(body, &nonce, expected), body)
            }
        }
    }

    /// `count` clients of an MCP endpoint, each with a connection and, in the handshake era, a session of its own.
    pub(crate) async fn raw(door: &Door, wanted: Wanted, count: usize) -> Result<Vec<Self>, Failure> {
        let mut callers = Vec::with_capacity(count);
        for number in 1000..1000 + count {
            callers.push(Self::Raw(Box::new(RawCaller::open(door, wanted, number).await?)));
        }
        Ok(callers)
    }

    /// `count` clients of the gateway's REST API who want `server` and no other.
    pub(crate) async fn rest(
        gateway: SocketAddr,
        server: &str,
        wanted: Wanted,
        count: usize,
    ) -> Result<Vec<Self>, Failure> {
        let body = json!({
            "tool_name": TOOL, "arguments": arguments(wanted), "preferred_servers": [server], "preferred_only": true,
        });
        let body = Template::new(&serde_json::to_vec(&body)?)?;
        let mut callers = Vec::with_capacity(count);
        for _ in 0..count {
            callers.push(Self::Raw(Box::new(RawCaller {
                connection: Connection::open(gateway).await?,
                path: "/api/v1/mcp/invoke/tool".to_owned(),
                body: body.clone(),
                expected: text(wanted.size).into(),
                marks: Vec::new(),
                has_session: false,
            })));
        }
        Ok(callers)
    }

    /// `count` users of one client, which speaks the upstream's era.
    pub(crate) async fn clients(
        upstream: &Upstream,
        wanted: Wanted,
        count: usize,
    ) -> Result<Vec<Self>, Failure> {
        let url = format!("http://{}/mcp", upstream.address()).parse()?;
        let endpoint = Endpoint::Http(HttpEndpoint::new(url));
        let connector = HttpConnector::new(HttpOptions::default())?;
        let options = ConnectOptions { policy: EraPolicy::Only(upstream.era()), ..ConnectOptions::default() };
        let client = mcp_client::connect(&connector, &endpoint, &options).await?;
        let params = json!({"name": TOOL, "arguments": arguments(wanted)});
        let params = Template::new(&serde_json::to_vec(&params)?)?;
        let caller = || Self::Client {
            client: client.clone(),
            params: params.clone(),
            expected: text(wanted.size).into(),
        };
        Ok(std::iter::repeat_with(caller).take(count).collect())
    }

    /// Ends its session, if it has one.
    pub(crate) async fn end(self) -> Result<(), Failure> {
        match self {
            Self::Raw(caller) => caller.end().await,
            Self::Client { .. } => Ok(()),
        }
    }
}

impl RawCaller {
    /// Client `number` of an endpoint: its JSON-RPC id, always the same, and its progress token. All numbers have as
    /// many digits, so that none is the start of another.
    pub(crate) async fn open(door: &Door, wanted: Wanted, number: usize) -> Result<Self, Failure> {
        let mut connection = Connection::open(door.address).await?;
        let has_session = open_session(&mut connection, door).await?;
        let mut params = json!({"name": door.tool, "arguments": arguments(wanted)});
        let mut marks = vec![format!(r#""id":{number}"#)];
        if wanted.shape == Shape::Progress {
            params["_meta"] = json!({"progressToken": number});
            marks.push(format!(r#""progressToken":{number}"#));
        }
        if door.era == Era::Stateless {
            connection.headers().insert(header::NAME, door.tool.parse()?);
        }
        let id = RequestId::Integer(i64::try_from(number)?);
        let body = Template::new(&request(&mut connection, door.era, id, Method::ToolsCall, Some(params))?)?;
        let expected = text(wanted.size).into();
        Ok(Self { connection, path: door.path.clone(), body, expected, marks, has_session })
    }

    async fn call(&mut self, nonce: &str) -> Result<(), Failure> {
        let Answer { status, body, .. } = self.connection.post(&self.path, self.body.with(nonce)).await?;
        let is_good = status == StatusCode::OK
            && holds(&body, nonce, &self.expected)
            && self.marks.iter().all(|mark| memchr::memmem::find(&body, mark.as_bytes()).is_some());
        check(is_good, &body)
    }

    async fn end(mut self) -> Result<(), Failure> {
        if self.has_session {
            self.connection.delete(&self.path).await?;
        }
        Ok(())
    }
}

impl Template {
    fn new(body: &[u8]) -> Result<Self, Failure> {
        let at = memchr::memmem::find(body, NONCE.as_bytes()).ok_or("there is no place for a nonce")?;
        let (head, tail) = (&body[..at], &body[at + NONCE.len()..]);
        Ok(Self { head: Bytes::copy_from_slice(head), tail: Bytes::copy_from_slice(tail) })
    }

    fn with(&self, nonce: &str) -> Bytes {
        let mut body = BytesMut::with_capacity(self.head.len() + nonce.len() + self.tail.len());
        body.put_slice(&self.head);
        body.put_slice(nonce.as_bytes());
        body.put_slice(&self.tail);
        body.freeze()
    }
}

/// In the handshake era: introduces the client. Says whether the server keeps a session for it.
pub(crate) async fn open_session(connection: &mut Connection, door: &Door) -> Result<bool, Failure> {
    if door.era == Era::Stateless {
        return Ok(false);
    }
    let answer = connection.post(&door.path, initialize()).await?;
    check(answer.status == StatusCode::OK, &answer.body)?;
    let version = HeaderValue::from_static(version(door.era).as_str());
    connection.headers().insert(header::PROTOCOL_VERSION, version);
    let session = answer.headers.get(header::SESSION_ID).cloned();
    let has_session = session.is_some();
    if let Some(session) = session {
        connection.headers().insert(header::SESSION_ID, session);
    }
    let initialized = Notification { method: Method::Initialized, params: None };
    let answer = connection.post(&door.path, Message::Notification(initialized).encode()).await?;
    check(answer.status.is_success(), &answer.body)?;
    Ok(has_session)
}

/// The first request of a client of the handshake era.
pub(crate) fn initialize() -> Bytes {
    let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": version(Era::Handshake), "capabilities": {},
        "clientInfo": {"name": "benchmark", "version": "1.0.0"},
    }});
    body.to_string().into()
}

/// A request as a client of an era makes it, whose headers are set on the connection.
pub(crate) fn request(
    connection: &mut Connection,
    era: Era,
    id: RequestId,
    method: Method,
    params: Option<Value>,
) -> Result<Bytes, Failure> {
    let mut params = params.map(|params| RawJson::encode(&params)).transpose()?;
    if era == Era::Stateless {
        let meta = RequestMeta::new(version(era), ClientCapabilities::default());
        params = Some(meta.stamp(params.as_ref())?);
        let headers = connection.headers();
        headers.insert(header::PROTOCOL_VERSION, HeaderValue::from_static(version(era).as_str()));
        headers.insert(header::METHOD, method.as_str().parse()?);
    }
    Ok(Message::Request(Request { id, method, params }).encode())
}

fn arguments(wanted: Wanted) -> Value {
    json!({"nonce": NONCE, "size": wanted.size, "answer": wanted.shape.wanted()})
}

/// A text that no other call of the run has.
fn nonce() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{:016x}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Whether an answer holds the whole text, and before it the nonce of the call.
fn holds(answer: &[u8], nonce: &str, expected: &[u8]) -> bool {
    memchr::memmem::find(answer, nonce.as_bytes())
        .and_then(|at| answer.get(at + nonce.len()..))
        .is_some_and(|rest| rest.starts_with(expected))
}

pub(crate) fn check(is_good: bool, answer: &[u8]) -> Result<(), Failure> {
    if is_good {
        return Ok(());
    }
    let shown = &answer[..answer.len().min(2_000)];
    Err(format!("not the answer to this call: {}", String::from_utf8_lossy(shown)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_has_a_nonce_of_its_own_in_its_place() {
        let template = Template::new(format!(r#"{{"nonce":"{NONCE}"}}"#).as_bytes()).unwrap();
        let (first, second) = (nonce(), nonce());
        assert_ne!(first, second);
        assert_eq!(first.len(), NONCE.len());
        assert_eq!(template.with(&first), format!(r#"{{"nonce":"{first}"}}"#));
    }

    #[test]
    fn answers_to_other_calls_and_cut_ones_are_wrong() {
        assert!(holds(b"[n1 The quick]", "n1", b" The quick"));
        assert!(!holds(b"[n2 The quick]", "n1", b" The quick"));
        assert!(!holds(b"[n1 The q", "n1", b" The quick"));
    }
}
