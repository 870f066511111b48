//! One connection from accept to its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tower::{Service, ServiceExt};

use crate::body::TimedBody;
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
    let head_due = Instant::now() + limits.head_timeout;
    let first_head = Arc::new(Notify::new());
    let service = {
        let (first_head, limits) = (Arc::clone(&first_head), Arc::clone(&limits));
        service_fn(move |request: hyper::Request<Incoming>| {
            first_head.notify_one();
            site.clone().oneshot(request.map(|body| timed(body, &limits)))
        })
    };
    // hyper's header timeout runs from the first poll, and again from the end of every response, until a
    // head is complete; bytes do not extend it. So it is the keep-alive limit, and the shorter limit of
    // the first head is kept here.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.keep_alive)
        .max_header_size(limits.max_head_bytes)
        .max_headers(limits.max_headers)
        .serve_connection(TokioIo::new(StallGuard::new(stream, limits.write_stall)), service);
    tokio::pin!(connection);

    let mut awaits_first_head = true;
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "connection ended early");
                }
                return;
            }
            () = first_head.notified(), if awaits_first_head => awaits_first_head = false,
            _ = closing.wait_for(|closing| *closing), if open => {
                open = false;
                connection.as_mut().graceful_shutdown();
            }
            () = sleep_until(head_due), if awaits_first_head => {
                tracing::debug!(%peer, limit = ?limits.head_timeout, "no request head in time");
                return;
            }
        }
    }
}

fn timed(body: Incoming, limits: &ServeLimits) -> Body {
    Body::new(TimedBody::new(body, limits.body_idle, limits.body_total))
}
