//! What HTTP/2 has of its own.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use h2::Reason;
use http::{Request, Response};
use mcp_transport::{Delivery, HttpEndpoint, TransportErrorKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::peer::{client, send};
use crate::tls::Authority;

/// What a server does with a request it does not want.
#[derive(Debug, Clone, Copy)]
enum Unwanted {
    /// Refuses its stream.
    Refused,
    /// Says that it is about to close the connection, on which it has looked at nothing.
    GoneAway,
}

/// Does not want the first requests and answers those after them. Counts them all.
async fn start(
    authority: &Authority,
    unwanted: Unwanted,
    first: usize,
) -> (HttpEndpoint, Arc<AtomicUsize>, JoinHandle<()>) {
    let acceptor = TlsAcceptor::from(Arc::new(authority.server()));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("https://{}/mcp", listener.local_addr().unwrap()).parse().unwrap();
    let seen = Arc::<AtomicUsize>::default();
    let counted = seen.clone();
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let stream = acceptor.accept(stream).await.unwrap();
            match unwanted {
                Unwanted::GoneAway if counted.load(Ordering::Relaxed) < first => {
                    counted.fetch_add(1, Ordering::Relaxed);
                    go_away(stream).await;
                }
                _ => serve(stream, &counted, first).await,
            }
        }
    });
    (HttpEndpoint { tls: authority.trusted(), ..HttpEndpoint::new(url) }, seen, task)
}

async fn serve(stream: TlsStream<TcpStream>, seen: &AtomicUsize, first: usize) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    // It ends when the client goes away.
    while let Some(Ok((_, mut answer))) = connection.accept().await {
        if seen.fetch_add(1, Ordering::Relaxed) < first {
            answer.send_reset(Reason::REFUSED_STREAM);
        } else {
            answer.send_response(Response::new(()), true).unwrap();
        }
    }
    let _ = poll_fn(|context| connection.poll_closed(context)).await;
}

/// Reads a request, and says that it was none (RFC 9113 §6.8).
async fn go_away(mut stream: TlsStream<TcpStream>) {
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    stream.write_all(&settings).await.unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("TAKE-ME") {
        assert!(stream.read_buf(&mut seen).await.unwrap() > 0, "the request is not complete");
    }
    let last_stream_and_no_error = [0; 8];
    stream.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0]).await.unwrap();
    stream.write_all(&last_stream_and_no_error).await.unwrap();
    stream.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_request_the_server_has_not_looked_at_is_sent_again() {
    let authority = Authority::new();
    for unwanted in [Unwanted::Refused, Unwanted::GoneAway] {
        let (endpoint, seen, task) = start(&authority, unwanted, 2).await;
        let client = client(&endpoint).unwrap();
        let request = || Request::post(client.uri()).body("TAKE-ME".into()).unwrap();
        assert_eq!(send(&client, request()).await, Ok((200, String::new())), "{unwanted:?}");
        assert_eq!(seen.load(Ordering::Relaxed), 3, "{unwanted:?}");
        task.abort();

        // Not for ever.
        let (endpoint, seen, task) = start(&authority, unwanted, usize::MAX).await;
        let client = crate::peer::client(&endpoint).unwrap();
        let request = Request::post(client.uri()).body("TAKE-ME".into()).unwrap();
        let error = send(&client, request).await.unwrap_err();
        assert!(matches!(error.kind, TransportErrorKind::Closed(_)), "{unwanted:?}: {error:?}");
        assert_eq!(error.delivery, Delivery::Unknown, "{unwanted:?}");
        assert_eq!(seen.load(Ordering::Relaxed), 3, "{unwanted:?}");
        task.abort();
    }
}
