//! Reading bodies of unknown size.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use mcp_transport::TransportError;
use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode};
use tokio::sync::OwnedSemaphorePermit;

use crate::failure;

/// What is left of a body after the answer: more bytes or time than this, and the connection is closed.
const REST_BYTES: usize = 64 << 10;
const REST_TIME: Duration = Duration::from_secs(1);

/// An answer whose head has arrived, and the place of its exchange among those under way, which is free
/// again when the body is gone.
pub(crate) struct Body {
    response: Response,
    /// After the response: the connection is given back, or closed, first.
    _permit: OwnedSemaphorePermit,
}

impl Body {
    pub(crate) fn new(response: Response, permit: OwnedSemaphorePermit) -> Self {
        Self { response, _permit: permit }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The next piece; `None` after the last.
    pub(crate) async fn chunk(&mut self) -> reqwest::Result<Option<Bytes>> {
        self.response.chunk().await
    }

    /// Reads all of it, at most `limit` bytes.
    pub(crate) async fn read(mut self, limit: usize, origin: &str) -> Result<Bytes, TransportError> {
        let too_large = || failure::payload(format!("the answer exceeds the limit of {limit} bytes"));
        let announced = self.response.content_length().unwrap_or(0);
        if announced > limit as u64 {
            return Err(too_large());
        }
        let mut next = async || self.chunk().await.map_err(|error| failure::reading(&error, origin));
        let Some(first) = next().await? else { return Ok(Bytes::new()) };
        // The usual small answer arrives in one chunk and is not copied.
        if first.len() as u64 == announced {
            return Ok(first);
        }
        let mut body = BytesMut::from(first);
        loop {
            if body.len() > limit {
                return Err(too_large());
            }
            match next().await? {
                Some(chunk) => body.extend_from_slice(&chunk),
                None => return Ok(body.freeze()),
            }
        }
    }

    /// Lets go of a body whose rest does not matter.
    ///
    /// A connection can be used again only after its body was read to the end, which most servers send
    /// right after the answer. So a small, prompt rest is read; otherwise the connection is closed.
    pub(crate) fn release(self) {
        let mut rest = Box::pin(self.drain());
        if rest.as_mut().now_or_never().is_none() {
            tokio::spawn(tokio::time::timeout(REST_TIME, rest));
        }
    }

    async fn drain(mut self) {
        let mut bytes = 0;
        while let Ok(Some(chunk)) = self.chunk().await {
            bytes += chunk.len();
            if bytes > REST_BYTES {
                return;
            }
        }
    }
}
