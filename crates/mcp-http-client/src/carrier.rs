//! How requests get to the server: straight, or through a proxy.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use crate::direct::{self, Direct};
use crate::kept::Lent;

/// Sends requests. Which of the two it is shows in nothing but the proxy's own part of a request.
#[derive(Debug)]
pub(crate) enum Carrier {
    Direct(Box<Direct>),
    /// What proxies want (tunnels, absolute targets, credentials) is left to `reqwest`.
    Proxied(reqwest::Client),
}

/// The body of an answer.
pub(crate) enum Content {
    Kept(Lent),
    Direct(Incoming),
    Proxied(reqwest::Body),
}

/// What [`failure`](crate::failure) makes a transport error of.
pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

impl Carrier {
    /// Sends a request.
    pub(crate) fn send(&self, request: Request<Bytes>) -> Sending {
        match self {
            Self::Direct(direct) => Sending::Direct(direct.send(request)),
            Self::Proxied(client) => {
                let client = client.clone();
                let sending = async move {
                    let answer = client.execute(request.try_into()?).await?;
                    Ok(Response::<reqwest::Body>::from(answer).map(Content::Proxied))
                };
                Sending::Proxied(sending.boxed())
            }
        }
    }
}

/// A request under way, until the head of its answer.
pub(crate) enum Sending {
    Direct(direct::Sending),
    Proxied(BoxFuture<'static, Result<Response<Content>, BoxError>>),
}

impl Future for Sending {
    type Output = Result<Response<Content>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Direct(sending) => sending.poll_unpin(cx),
            Self::Proxied(sending) => sending.poll_unpin(cx),
        }
    }
}

impl Content {
    /// The next piece; `None` after the last.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, BoxError> {
        loop {
            let frame = match self {
                Self::Kept(body) => body.frame().await.transpose()?,
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
            Self::Kept(body) => body.size_hint().exact(),
            Self::Direct(body) => body.size_hint().exact(),
            Self::Proxied(body) => body.size_hint().exact(),
        }
    }
}
