//! One connection from accept to its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt, TryFutureExt};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tower::{Service, ServiceExt};

use crate::body::TimedBody;
use crate::idle::Idle;
use crate::limits::ServeLimits;
use crate::stall::StallGuard;

/// What can be served: a [`Router`](axum::Router), or one behind a layer such as
/// [`HostPolicy::guard`](crate::HostPolicy::guard).
pub trait Site:
    Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<S> Site for S where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// Serves one client until it leaves, breaks a deadline, or `closing` turns true and nothing is in flight.
pub(crate) async fn drive(
    stream: TcpStream,
    peer: SocketAddr,
    site: impl Site,
    limits: Arc<ServeLimits>,
    mut closing: watch::Receiver<bool>,
) {
    let idle = Arc::new(Idle::new(&limits));
    let service = {
        let (idle, limits) = (Arc::clone(&idle), Arc::clone(&limits));
        service_fn(move |request: hyper::Request<Incoming>| {
            let serving = idle.clone().serving();
            let answer = site.clone().oneshot(request.map(|body| timed(body, &limits)));
            answer.map_ok(|answer| answer.map(|body| serving.until_end_of(body)))
        })
    };
    let connection = http1::Builder::new()
        // It would be a timer set and taken back for each request: `Idle` does with one for the connection.
        .header_read_timeout(None)
        .max_header_size(limits.max_head_bytes)
        .max_headers(limits.max_headers)
        .serve_connection(
            TokioIo::new(StallGuard::new(stream, limits.write_stall, Arc::clone(&idle))),
            service,
        );
    tokio::pin!(connection);

    let closed = async {
        // It fails only without the server, which waits for its connections.
        let _ = closing.wait_for(|closing| *closing).await;
        Notice::Closing
    };
    let overdue = async {
        idle.overdue().await;
        Notice::Overdue
    };
    // Looked at only when one of them has something to say, not with every request.
    let mut notices: FuturesUnordered<_> =
        [closed.left_future(), overdue.right_future()].into_iter().collect();
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "connection ended early");
                }
                return;
            }
            Some(notice) = notices.next() => match notice {
                Notice::Closing => connection.as_mut().graceful_shutdown(),
                Notice::Overdue => {
                    tracing::debug!(%peer, "no request in time");
                    return;
                }
            }
        }
    }
}

/// What becomes of a connection without the client's doing.
enum Notice {
    /// The server is shutting down.
    Closing,
    /// No request came in time.
    Overdue,
}

fn timed(body: Incoming, limits: &ServeLimits) -> Body {
    Body::new(TimedBody::new(body, limits.body_idle, limits.body_total))
}
