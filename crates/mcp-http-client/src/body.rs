//! Reading bodies of unknown size.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http::{HeaderMap, Response, StatusCode, Uri};
use mcp_transport::TransportError;
use tokio::sync::OwnedSemaphorePermit;

use crate::carrier::Content;
use crate::client::HttpClient;
use crate::failure;

/// What is left of a body after the answer: more bytes or time than this, and the connection is closed.
const REST_BYTES: usize = 64 << 10;
const REST_TIME: Duration = Duration::from_secs(1);

/// An answer whose head has arrived, and the place of its exchange among those under way, which is free
/// again when the body is gone.
pub struct Body {
    /// Where the request went, if not to the endpoint of the client.
    elsewhere: Option<Box<Uri>>,
    response: Response<Content>,
    client: HttpClient,
    /// After the response: the connection is given back, or closed, first.
    _permit: OwnedSemaphorePermit,
}

impl Body {
    pub(crate) fn new(
        elsewhere: Option<Box<Uri>>,
        response: Response<Content>,
        client: HttpClient,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self { elsewhere, response, client, _permit: permit }
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The headers of the answer.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Where the request went.
    pub(crate) fn uri(&self) -> &Uri {
        self.elsewhere.as_deref().unwrap_or_else(|| self.client.uri())
    }

    /// The next piece; `None` after the last.
    ///
    /// # Errors
    /// [`Closed`](mcp_transport::TransportErrorKind::Closed) if the connection broke.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, TransportError> {
        let chunk = self.response.body_mut().chunk().await;
        chunk.map_err(|error| failure::reading(&*error, self.client.target()))
    }

    /// Reads all of it, at most `limit` bytes.
    ///
    /// # Errors
    /// [`Payload`](mcp_transport::TransportErrorKind::Payload) if it is larger,
    /// [`Closed`](mcp_transport::TransportErrorKind::Closed) if the connection broke.
    #[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice")]
    pub fn read(mut self, limit: usize) -> impl Future<Output = Result<Bytes, TransportError>> + Send {
        async move {
            let too_large = || failure::payload(format!("the answer exceeds the limit of {limit} bytes"));
            let announced = self.response.body().length().unwrap_or(0);
            if announced > limit as u64 {
                return Err(too_large());
            }
            let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
            // The usual small answer arrives in one chunk and is not copied.
            if first.len() as u64 == announced {
                return Ok(first);
            }
            let mut body = BytesMut::from(first);
            loop {
                if body.len() > limit {
                    return Err(too_large());
                }
                match self.chunk().await? {
                    Some(chunk) => body.extend_from_slice(&chunk),
                    None => return Ok(body.freeze()),
                }
            }
        }
    }

    /// Lets go of a body whose rest does not matter.
    ///
    /// A connection can be used again only after its body was read to the end, which most servers send
    /// right after the answer. So a small, prompt rest is read; otherwise the connection is closed.
    pub fn release(mut self) {
        let mut bytes = 0;
        // Mostly it is there already.
        while let Some(chunk) = self.chunk().now_or_never() {
            match chunk {
                Ok(Some(chunk)) => bytes += chunk.len(),
                _ => return,
            }
            if bytes > REST_BYTES {
                return;
            }
        }
        let rest = async move {
            while let Ok(Some(chunk)) = self.chunk().await {
                bytes += chunk.len();
                if bytes > REST_BYTES {
                    return;
                }
            }
        };
        tokio::spawn(tokio::time::timeout(REST_TIME, rest));
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("status", &self.status()).finish_non_exhaustive()
    }
}
