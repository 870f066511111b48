//! The server over HTTP: Streamable HTTP with both eras at `/mcp`, and the transport before it at `/sse`.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{any, get, post};
use futures::StreamExt;
use mcp_protocol::{Era, EraPolicy};
use mcp_serve_http::{ServeLimits, ServeReport, serve};
use mcp_server::{Endpoint, HttpFront, Principal};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::demo::Demo;
use crate::options::DemoOptions;
use crate::service::{DemoService, limits};

/// The path of the endpoint.
const PATH: &str = "/mcp";
/// The stream of the two-endpoint transport.
const STREAM: &str = "/sse";
/// Where its messages are posted.
const MESSAGES: &str = "/messages";

/// How an HTTP server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpEnd {
    /// `shutdown` resolved; what became of the connections.
    Shutdown(ServeReport),
    /// The tool `crash` was called; the process should exit with this status.
    Crash {
        /// The exit status.
        status: u8,
    },
}

/// What handlers share.
#[derive(Clone)]
struct Site {
    demo: Arc<Demo>,
    front: HttpFront,
    endpoint: Endpoint,
}

/// The endpoint at `/mcp`, behind its Host and Origin guard.
///
/// The tool `crash` is not offered: a router has nothing it could end. Requests must be served within a tokio
/// runtime.
pub fn router(options: DemoOptions) -> Router {
    let site = Site::new(DemoOptions { allow_crash: false, ..options });
    site.guarded(Router::new().route(PATH, any(handle)))
}

/// Serves the endpoint at `/mcp` on `listener` until `shutdown` resolves or the tool `crash` is called.
pub async fn serve_http(
    options: DemoOptions,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> HttpEnd {
    Site::new(options).attend(Router::new().route(PATH, any(handle)), listener, shutdown).await
}

/// Serves the two-endpoint transport of 2024-11-05 on `listener`, with its stream at `/sse`, until `shutdown`
/// resolves or the tool `crash` is called. It has the revisions with a handshake only, whatever
/// [`DemoOptions::protocol`] says.
pub async fn serve_sse(
    options: DemoOptions,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> HttpEnd {
    let options = DemoOptions { protocol: EraPolicy::Only(Era::Handshake), ..options };
    let routes = Router::new().route(STREAM, get(open_stream)).route(MESSAGES, post(take_message));
    Site::new(options).attend(routes, listener, shutdown).await
}

impl Site {
    fn new(options: DemoOptions) -> Self {
        let demo = Demo::new(options);
        let endpoint = Endpoint { key: PATH.into(), service: Arc::new(DemoService(Arc::clone(&demo))) };
        Self { demo, front: HttpFront::new(limits()), endpoint }
    }

    fn guarded(self, routes: Router<Self>) -> Router {
        routes.layer(self.demo.options.hosts.clone().layer()).with_state(self)
    }

    async fn attend(
        self,
        routes: Router<Self>,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> HttpEnd {
        let (demo, front) = (Arc::clone(&self.demo), self.front.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = serve(listener, self.guarded(routes), ServeLimits::default(), async move {
            let _ = stopped.await; // an error means that `stop` is gone, which is the same
        });
        tokio::pin!(serving, shutdown);
        let mut stop = Some(stop);
        loop {
            tokio::select! {
                report = &mut serving => return HttpEnd::Shutdown(report),
                () = &mut shutdown, if stop.is_some() => {
                    stop = None;
                    // Streams that only wait for news would hold up the end for all of the grace.
                    demo.shut_down();
                    front.shutdown();
                }
                status = demo.crashed() => return HttpEnd::Crash { status },
            }
        }
    }
}

async fn handle(State(site): State<Site>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    site.front.handle(&site.endpoint, Principal::anonymous(), &head, body).await
}

async fn open_stream(State(site): State<Site>, request: Request) -> Response {
    let stream = site.front.open_sse(&site.endpoint, Principal::anonymous(), &request, MESSAGES);
    // Nobody waits for calls under way: the session ends with its stream, and they with the session.
    let shutting_down = site.demo.shutting_down();
    stream.map(|body| Body::from_stream(body.into_data_stream().take_until(shutting_down)))
}

async fn take_message(State(site): State<Site>, request: Request) -> Response {
    site.front.post_message(&Principal::anonymous(), request).await
}
