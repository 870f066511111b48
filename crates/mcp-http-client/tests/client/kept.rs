//! Connections to servers without TLS are kept, and closed in time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::Request;
use mcp_http_client::{ClientPool, HttpClient, HttpOptions, Lane};
use mcp_transport::HttpEndpoint;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Barrier, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::peer::get;
use crate::wire::read_request;

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
const LONG_TIME: Duration = Duration::from_secs(10);

/// What became of a connection, by its number.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    Asked(usize),
    Closed(usize),
}

/// A server that answers the first `together` requests at once, and the others one by one.
struct Server {
    endpoint: HttpEndpoint,
    events: mpsc::Receiver<Event>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(answer: &'static str, together: usize) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let (tell, events) = mpsc::channel(64);
        let task = tokio::spawn(async move {
            let barrier = Arc::new(Barrier::new(together));
            for number in 1.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, answer, number, tell.clone(), barrier.clone()));
            }
        });
        Self { endpoint: HttpEndpoint::new(url.parse().unwrap()), events, task }
    }

    async fn next(&mut self) -> Event {
        timeout(LONG_TIME, self.events.recv()).await.unwrap().unwrap()
    }

    fn client(&self, options: HttpOptions) -> HttpClient {
        ClientPool::new(options).unwrap().get(&self.endpoint).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    answer: &'static str,
    number: usize,
    tell: mpsc::Sender<Event>,
    barrier: Arc<Barrier>,
) {
    let mut is_first = true;
    while read_request(&mut stream).await.is_some() {
        tell.send(Event::Asked(number)).await.unwrap();
        if std::mem::take(&mut is_first) {
            barrier.wait().await;
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
    let _ = tell.send(Event::Closed(number)).await;
}

#[tokio::test]
async fn requests_one_after_the_other_share_a_connection() {
    for answer in [HELLO, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"] {
        let mut server = Server::start(answer, 1).await;
        let client = server.client(HttpOptions::default());
        for _ in 0..5 {
            assert_eq!(get(&client, &server.endpoint).await.unwrap(), (200, "hello".into()));
            assert_eq!(server.next().await, Event::Asked(1), "{answer}");
        }
        // It is closed with its client.
        drop(client);
        assert_eq!(server.next().await, Event::Closed(1));
    }
}

#[tokio::test]
async fn no_more_connections_are_kept_than_was_said() {
    let mut server = Server::start(HELLO, 3).await;
    let client = server.client(HttpOptions { pool_max_idle: 2, ..HttpOptions::default() });
    let answers = join_all((0..3).map(|_| get(&client, &server.endpoint))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    for _ in 0..3 {
        assert!(matches!(server.next().await, Event::Asked(_)));
    }
    let Event::Closed(closed) = server.next().await else { panic!("none was closed") };
    get(&client, &server.endpoint).await.unwrap();
    let Event::Asked(asked) = server.next().await else { panic!("another one was closed") };
    assert!(asked <= 3 && asked != closed);
}

#[tokio::test]
async fn a_connection_is_closed_when_it_was_idle_for_too_long() {
    let mut server = Server::start(HELLO, 1).await;
    let client =
        server.client(HttpOptions { pool_idle_timeout: Duration::from_millis(20), ..HttpOptions::default() });
    for number in 1..=2 {
        get(&client, &server.endpoint).await.unwrap();
        assert_eq!(server.next().await, Event::Asked(number));
        assert_eq!(server.next().await, Event::Closed(number), "with nobody asking for anything");
    }
}

#[tokio::test]
async fn a_connection_is_not_used_again_before_its_answer_was_read() {
    let mut server = Server::start("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", 1).await;
    let client = server.client(HttpOptions::default());
    for number in 1..=3 {
        let request = Request::get(server.endpoint.url.as_str()).body(Bytes::new()).unwrap();
        let mut answer = client.place(Lane::Call, None).await.unwrap().send(request).await.unwrap();
        assert_eq!(answer.chunk().await.unwrap().as_deref(), Some(&b"hello"[..]));
        assert_eq!(server.next().await, Event::Asked(number));
        drop(answer);
        assert_eq!(server.next().await, Event::Closed(number));
    }
}

#[tokio::test]
async fn a_connection_that_its_server_closes_is_replaced() {
    let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";
    let mut server = Server::start(answer, 1).await;
    let client = server.client(HttpOptions::default());
    for number in 1..=20 {
        assert_eq!(get(&client, &server.endpoint).await.unwrap(), (200, "hello".into()));
        assert_eq!(server.next().await, Event::Asked(number));
        assert_eq!(server.next().await, Event::Closed(number));
    }
}
