//! How requests get to the server: straight, or through a proxy.

use std::error::Error;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use crate::direct::Direct;

/// Sends requests. Which of the two it is shows in nothing but the proxy's own part of a request.
#[derive(Debug)]
pub(crate) enum Carrier {
    Direct(Box<Direct>),
    /// What proxies want (tunnels, absolute targets, credentials) is left to `reqwest`.
    Proxied(reqwest::Client),
}

/// The body of an answer.
pub(crate) enum Content {
    Direct(Incoming),
    Proxied(reqwest::Body),
}

/// What [`failure`](crate::failure) makes a transport error of.
type BoxError = Box<dyn Error + Send + Sync>;

impl Carrier {
    /// Waits for the head of the answer.
    pub(crate) async fn send(&self, request: Request<Bytes>) -> Result<Response<Content>, BoxError> {
        match self {
            Self::Direct(direct) => Ok(direct.send(request).await?.map(Content::Direct)),
            Self::Proxied(client) => {
                let answer = client.execute(request.try_into()?).await?;
                Ok(Response::<reqwest::Body>::from(answer).map(Content::Proxied))
            }
        }
    }
}

impl Content {
    /// The next piece; `None` after the last.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, BoxError> {
        loop {
            let frame = match self {
                Self::Direct(body) => body.frame().await.transpose()?,
                Self::Proxied(body) => body.frame().await.transpose()?,
            };
            match frame.map(|frame| frame.into_data()) {
                None => return Ok(None),
                Some(Ok(data)) => return Ok(Some(data)),
                // Trailers.
                Some(Err(_)) => {}
            }
        }
    }

    /// How many bytes there are left, if that was announced.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Direct(body) => body.size_hint().exact(),
            Self::Proxied(body) => body.size_hint().exact(),
        }
    }
}
