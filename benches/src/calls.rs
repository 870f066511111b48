//! The ways to make one and the same tool call.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use mcp_client::{Client, ConnectOptions, Outgoing};
use mcp_protocol::capability::ClientCapabilities;
use mcp_protocol::meta::RequestMeta;
use mcp_protocol::{Era, EraPolicy, Message, Method, RawJson, Request as RpcRequest, RequestId, header};
use mcp_transport::{Endpoint, HttpEndpoint};
use mcp_transport_http::{HttpConnector, HttpOptions};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::Failure;
use crate::upstream::{TOOL, Upstream, text, version};

/// Longest time a call may take before the run fails.
const LIMIT: Duration = Duration::from_secs(10);

/// A caller: makes one call after the other.
pub(crate) enum Caller {
    /// A kept-alive connection of its own, on which the same bytes are sent again and again.
    Raw(Box<RawCaller>),
    /// `mcp-client`; all callers share its connections.
    Client { client: Client, params: RawJson },
}

pub(crate) struct RawCaller {
    connection: SendRequest<Full<Bytes>>,
    post: Post,
    /// What a good answer holds.
    expected: Bytes,
}

/// An HTTP request that can be sent any number of times.
#[derive(Clone)]
pub(crate) struct Post {
    address: SocketAddr,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Caller {
    /// Makes one call and checks that the answer is the upstream's.
    pub(crate) async fn call(&mut self) -> Result<(), Failure> {
        match self {
            Self::Raw(caller) => tokio::time::timeout(LIMIT, caller.call()).await?,
            Self::Client { client, params } => {
                let answer =
                    client.call(Outgoing::new(Method::ToolsCall, Some(params.clone())), LIMIT).await?;
                check(answer.result.as_bytes().len() > text().len(), answer.result.as_bytes())
            }
        }
    }

    /// `count` connections on which `post` is sent.
    pub(crate) async fn raw(post: &Post, count: usize) -> Result<Vec<Self>, Failure> {
        let mut callers = Vec::with_capacity(count);
        for _ in 0..count {
            callers.push(Self::Raw(Box::new(RawCaller::connect(post.clone()).await?)));
        }
        Ok(callers)
    }

    /// `count` users of one client, which speaks the upstream's era.
    pub(crate) async fn clients(upstream: &Upstream, count: usize) -> Result<Vec<Self>, Failure> {
        let url = format!("http://{}/mcp", upstream.address()).parse()?;
        let endpoint = Endpoint::Http(HttpEndpoint::new(url));
        let connector = HttpConnector::new(HttpOptions::default())?;
        let options = ConnectOptions { policy: EraPolicy::Only(upstream.era()), ..ConnectOptions::default() };
        let client = mcp_client::connect(&connector, &endpoint, &options).await?;
        let params = RawJson::encode(&params())?;
        let caller = || Self::Client { client: client.clone(), params: params.clone() };
        Ok(std::iter::repeat_with(caller).take(count).collect())
    }
}

impl RawCaller {
    async fn connect(post: Post) -> Result<Self, Failure> {
        let stream = TcpStream::connect(post.address).await?;
        stream.set_nodelay(true)?;
        let (connection, driver) = handshake(TokioIo::new(stream)).await?;
        // Ends when the caller is gone; its failures reach the caller as well.
        tokio::spawn(driver);
        Ok(Self { connection, post, expected: text().into() })
    }

    async fn call(&mut self) -> Result<(), Failure> {
        let mut request = Request::post(self.post.uri.clone()).body(Full::new(self.post.body.clone()))?;
        *request.headers_mut() = self.post.headers.clone();
        self.connection.ready().await?;
        let response = self.connection.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let holds_text = body.windows(self.expected.len()).any(|part| part == self.expected);
        check(status == StatusCode::OK && holds_text, &body)
    }
}

impl Post {
    /// The call as an MCP client sends it to the upstream itself.
    pub(crate) fn to_upstream(upstream: &Upstream) -> Result<Self, Failure> {
        let era = upstream.era();
        let mut params = RawJson::encode(&params())?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        headers.insert(
            HeaderName::from_static("mcp-protocol-version"),
            HeaderValue::from_static(version(era).as_str()),
        );
        match era {
            Era::Handshake => {
                headers
                    .insert(HeaderName::from_static("mcp-session-id"), HeaderValue::from_static("benchmark"));
            }
            Era::Stateless => {
                params =
                    RequestMeta::new(version(era), ClientCapabilities::default()).stamp(Some(&params))?;
                headers.insert(
                    HeaderName::from_bytes(header::METHOD.as_bytes())?,
                    Method::ToolsCall.as_str().parse()?,
                );
                headers.insert(HeaderName::from_bytes(header::NAME.as_bytes())?, TOOL.parse()?);
            }
        }
        let request =
            RpcRequest { id: RequestId::Integer(1), method: Method::ToolsCall, params: Some(params) };
        Self::new(upstream.address(), "/mcp", headers, Message::Request(request).encode())
    }

    /// The call as a client of the gateway's REST API makes it, for one server and no other.
    pub(crate) fn to_gateway(gateway: SocketAddr, server: &str) -> Result<Self, Failure> {
        let body = json!({
            "tool_name": TOOL, "arguments": arguments(), "preferred_servers": [server], "preferred_only": true,
        });
        let body = serde_json::to_vec(&body)?.into();
        Self::new(gateway, "/api/v1/mcp/invoke/tool", HeaderMap::new(), body)
    }

    fn new(address: SocketAddr, path: &str, mut headers: HeaderMap, body: Bytes) -> Result<Self, Failure> {
        headers.insert(HOST, address.to_string().parse()?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(Self { address, uri: path.parse()?, headers, body })
    }
}

fn params() -> Value {
    json!({"name": TOOL, "arguments": arguments()})
}

fn arguments() -> Value {
    json!({"query": "what is measured here", "limit": 10})
}

fn check(good: bool, answer: &[u8]) -> Result<(), Failure> {
    if good {
        return Ok(());
    }
    Err(format!("not the answer of the upstream: {}", String::from_utf8_lossy(answer)).into())
}
