//! Connections to servers without TLS are kept, and closed in time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::Request;
use mcp_http_client::{ClientPool, HttpClient, HttpOptions, Lane};
use mcp_transport::HttpEndpoint;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Barrier, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::peer::{get, send};
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
async fn a_connection_whose_answer_says_that_it_closes_is_replaced() {
    let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";
    let mut server = Server::start(answer, 1).await;
    let client = server.client(HttpOptions::default());
    for number in 1..=20 {
        assert_eq!(get(&client, &server.endpoint).await.unwrap(), (200, "hello".into()));
        assert_eq!(server.next().await, Event::Asked(number));
        assert_eq!(server.next().await, Event::Closed(number));
    }
}

#[tokio::test]
async fn a_connection_that_its_server_has_closed_is_replaced() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = HttpEndpoint::new(format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap());
    let client = ClientPool::new(HttpOptions::default()).unwrap().get(&endpoint).unwrap();
    for _ in 0..5 {
        let serving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await.unwrap();
            stream.write_all(HELLO.as_bytes()).await.unwrap();
        };
        let (answer, ()) = tokio::join!(get(&client, &endpoint), serving);
        assert_eq!(answer.unwrap(), (200, "hello".into()));
        // Its task has to see it, which on one thread it does when nothing else is left to do.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
    }
}

/// Health checks and the two-endpoint transport ask for other paths.
#[tokio::test]
async fn other_urls_of_the_origin_share_the_connection() {
    let mut server = Server::start(HELLO, 1).await;
    let client = server.client(HttpOptions::default());
    for path in ["/mcp", "/health?of=all", "/"] {
        let url = server.endpoint.url.join(path).unwrap();
        let answer = send(&client, Request::get(url.as_str()).body(Bytes::new()).unwrap()).await;
        assert_eq!(answer.unwrap(), (200, "hello".into()));
        assert_eq!(server.next().await, Event::Asked(1), "{path}");
    }
}

/// A server may refuse a request by its head and leave the rest where it is: that connection is of no use for a long time.
#[tokio::test]
async fn a_connection_with_an_unread_request_holds_nobody_up() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = HttpEndpoint::new(format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap());
    let client = ClientPool::new(HttpOptions::default()).unwrap().get(&endpoint).unwrap();
    let refused = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.windows(4).any(|end| end == b"\r\n\r\n") {
            assert!(stream.read_buf(&mut seen).await.unwrap() > 0);
        }
        stream.write_all(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        stream
    };
    let large = Request::post(endpoint.url.as_str()).body(Bytes::from(vec![b'x'; 64 << 20])).unwrap();
    let (answer, mut stream) = tokio::join!(send(&client, large), refused);
    assert_eq!(answer.unwrap().0, 429);
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await.unwrap();
        stream.write_all(HELLO.as_bytes()).await.unwrap();
    };
    let next = async { tokio::join!(get(&client, &endpoint), serving).0 };
    assert_eq!(timeout(LONG_TIME, next).await.unwrap().unwrap(), (200, "hello".into()));
    // And it is closed: what it had in flight comes to its end.
    let rest = async {
        let mut buffer = vec![0; 1 << 20];
        while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    };
    timeout(LONG_TIME, rest).await.unwrap();
}

#[tokio::test]
async fn a_timeout_beyond_all_time_is_none() {
    let server = Server::start(HELLO, 1).await;
    let client = server.client(HttpOptions { pool_idle_timeout: Duration::MAX, ..HttpOptions::default() });
    for _ in 0..2 {
        assert_eq!(get(&client, &server.endpoint).await.unwrap(), (200, "hello".into()));
    }
}
