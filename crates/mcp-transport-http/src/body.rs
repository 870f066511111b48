//! Reading bodies of unknown size.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use mcp_transport::TransportError;
use reqwest::Response;

use crate::failure;

/// What is left of a body after the answer: more bytes or time than this, and the connection is closed.
const REST_BYTES: usize = 64 << 10;
const REST_TIME: Duration = Duration::from_secs(1);

/// Reads a whole body of at most `limit` bytes.
pub(crate) async fn read(
    mut response: Response,
    limit: usize,
    origin: &str,
) -> Result<Bytes, TransportError> {
    let too_large = || failure::payload(format!("the answer exceeds the limit of {limit} bytes"));
    let announced = response.content_length().unwrap_or(0);
    if announced > limit as u64 {
        return Err(too_large());
    }
    let mut next = async || response.chunk().await.map_err(|error| failure::reading(&error, origin));
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
/// A connection can be used again only after its body was read to the end, which most servers send right
/// after the answer. So a small, prompt rest is read; otherwise the connection is closed.
pub(crate) fn release(response: Response) {
    let mut rest = Box::pin(drain(response));
    if rest.as_mut().now_or_never().is_none() {
        tokio::spawn(tokio::time::timeout(REST_TIME, rest));
    }
}

async fn drain(mut response: Response) {
    let mut bytes = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes += chunk.len();
        if bytes > REST_BYTES {
            return;
        }
    }
}
