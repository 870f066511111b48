//! A bare HTTP client: one kept-alive connection.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Failure;

/// Longest time an answer may take before the run fails.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A connection and what every request on it says.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    headers: HeaderMap,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, driver) = handshake(TokioIo::new(stream)).await?;
        // Ends when the caller is gone; its failures reach the caller as well.
        tokio::spawn(driver);
        let mut headers = HeaderMap::new();
        headers.insert(HOST, address.to_string().parse()?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        Ok(Self { sender, headers })
    }

    /// The headers of every request from now on.
    pub(crate) fn headers(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    pub(crate) async fn post(&mut self, path: &str, body: Bytes) -> Result<Answer, Failure> {
        self.exchange(Method::POST, path, body).await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Result<StatusCode, Failure> {
        Ok(self.exchange(Method::GET, path, Bytes::new()).await?.status)
    }

    pub(crate) async fn delete(&mut self, path: &str) -> Result<StatusCode, Failure> {
        Ok(self.exchange(Method::DELETE, path, Bytes::new()).await?.status)
    }

    async fn exchange(&mut self, method: Method, path: &str, body: Bytes) -> Result<Answer, Failure> {
        let mut request = Request::builder().method(method).uri(path).body(Full::new(body))?;
        *request.headers_mut() = self.headers.clone();
        tokio::time::timeout(LIMIT, async {
            self.sender.ready().await?;
            let (parts, body) = self.sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Answer { status: parts.status, headers: parts.headers, body })
        })
        .await?
    }
}
