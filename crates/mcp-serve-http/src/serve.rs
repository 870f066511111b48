//! The accept loop.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::accept::AcceptBackoff;
use crate::connection::{Site, drive};
use crate::limits::ServeLimits;

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServeReport {
    /// Connections accepted in total.
    pub accepted: u64,
    /// Connections open at the shutdown signal that ended within the grace.
    pub finished: usize,
    /// Connections that were cut when the grace was over.
    pub cut: usize,
}

/// Serves `site`, a router for example, on `listener` until `shutdown` resolves, then ends in an orderly way.
///
/// At the signal the listener is closed at once, idle connections are closed, and requests in flight may
/// finish within [`ServeLimits::grace`]; what is left then is cut. A handler that streams without end
/// (SSE) has to watch for the shutdown itself, else it is cut.
///
/// Failing accepts, for example for want of file descriptors, are retried with growing pauses and end
/// nothing. A panic in a handler ends its connection only. Dropping the future cuts every connection.
pub async fn serve(
    listener: TcpListener,
    site: impl Site,
    limits: ServeLimits,
    shutdown: impl Future<Output = ()>,
) -> ServeReport {
    let limits = Arc::new(limits);
    let (closing, _) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut report = ServeReport::default();
    tokio::pin!(shutdown);

    let mut backoff = AcceptBackoff::default();
    loop {
        let has_room = connections.len() < limits.max_connections.max(1);
        tokio::select! {
            biased;
            () = shutdown.as_mut() => break,
            Some(ended) = connections.join_next() => note_panic(ended),
            (stream, peer) = accept(&listener, &mut backoff), if has_room => {
                report.accepted += 1;
                // Answers are small and written whole; waiting to merge them only delays them.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%peer, %error, "no TCP_NODELAY");
                }
                let connection =
                    drive(stream, peer, site.clone(), Arc::clone(&limits), closing.subscribe());
                connections.spawn(connection);
            }
        }
    }

    drop(listener);
    while let Some(ended) = connections.try_join_next() {
        note_panic(ended); // these ended before the signal
    }
    let open = connections.len();
    closing.send_replace(true);
    let drained = async {
        while let Some(ended) = connections.join_next().await {
            note_panic(ended);
        }
    };
    if timeout(limits.grace, drained).await.is_err() {
        report.cut = connections.len();
        connections.shutdown().await;
    }
    report.finished = open - report.cut;
    report
}

/// The next connection; waits out failures.
async fn accept(listener: &TcpListener, backoff: &mut AcceptBackoff) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => {
                backoff.succeeded();
                return accepted;
            }
            Err(error) => {
                let wait = backoff.failed(&error);
                if backoff.is_first() {
                    tracing::warn!(%error, "accepting connections fails, trying again");
                }
                sleep(wait).await;
            }
        }
    }
}

fn note_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!("a connection handler panicked");
    }
}
