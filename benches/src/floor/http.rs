//! An upstream over HTTP.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use mcp_protocol::header;

use crate::Failure;

use super::events::Events;
use super::{Body, Forward, answer, is_end, status};

/// Most sessions at a time.
const MAX_SESSIONS: usize = 100_000;

/// What goes to the upstream of the headers of the client, besides the session and the name of the tool.
const PASSED: [HeaderName; 4] = [
    ACCEPT,
    CONTENT_TYPE,
    HeaderName::from_static(header::PROTOCOL_VERSION),
    HeaderName::from_static(header::METHOD),
];

const SESSION_ID: HeaderName = HeaderName::from_static(header::SESSION_ID);
const NAME: HeaderName = HeaderName::from_static(header::NAME);

pub(super) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    url: Uri,
    /// The session of the upstream for each of ours.
    sessions: RwLock<HashMap<HeaderValue, HeaderValue>>,
}

impl Http {
    pub(super) fn new(url: Uri) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { client, url, sessions: RwLock::default() }
    }

    pub(super) async fn forward(&self, parts: &Parts, forward: Forward) -> Result<Response<Body>, Failure> {
        let Some(headers) = self.headers(&parts.headers, forward.tool.as_deref())? else {
            return Ok(status(StatusCode::NOT_FOUND));
        };
        let mut request = Request::new(Full::new(forward.body));
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = headers;
        let (mut came, body) = self.client.request(request).await?.into_parts();
        if let (true, Some(ours)) = (is_end(parts), parts.headers.get(SESSION_ID)) {
            self.sessions.write().unwrap_or_else(PoisonError::into_inner).remove(ours);
        }
        let kind = came.headers.remove(CONTENT_TYPE);
        let is_stream = kind.as_ref().is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let body = match forward.ids {
            Some(ids) if is_stream => Either::Right(Events::new(body, ids)),
            ids => {
                let body = body.collect().await?.to_bytes();
                Either::Left(Full::new(match &ids {
                    Some(ids) if !body.is_empty() => answer(&body, ids)?.encode(),
                    _ => body,
                }))
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = came.status;
        if let Some(kind) = kind {
            response.headers_mut().insert(CONTENT_TYPE, kind);
        }
        if let Some(theirs) = came.headers.remove(SESSION_ID) {
            response.headers_mut().insert(SESSION_ID, self.opened(theirs)?);
        }
        Ok(response)
    }

    /// The headers for the upstream; `None` if the session is not known.
    fn headers(&self, came: &HeaderMap, tool: Option<&str>) -> Result<Option<HeaderMap>, Failure> {
        let mut headers = HeaderMap::with_capacity(8);
        for name in &PASSED {
            if let Some(value) = came.get(name) {
                headers.insert(name.clone(), value.clone());
            }
        }
        if let (Some(tool), true) = (tool, came.contains_key(NAME)) {
            headers.insert(NAME, HeaderValue::from_str(&header::encode_value(tool))?);
        }
        if let Some(ours) = came.get(SESSION_ID) {
            let sessions = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
            let Some(theirs) = sessions.get(ours) else { return Ok(None) };
            headers.insert(SESSION_ID, theirs.clone());
        }
        Ok(Some(headers))
    }

    /// Takes note of a session of the upstream, and gives ours.
    fn opened(&self, theirs: HeaderValue) -> Result<HeaderValue, Failure> {
        let mut sessions = self.sessions.write().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() >= MAX_SESSIONS {
            return Err(format!("more than {MAX_SESSIONS} sessions").into());
        }
        let ours = HeaderValue::from_str(&uuid::Uuid::new_v4().simple().to_string())?;
        sessions.insert(ours.clone(), theirs);
        Ok(ours)
    }
}
