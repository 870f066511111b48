//! R24 to R26: clocks, names and ports.

use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use mcp_testkit::fault::Step;
use mcp_transport::{Delivery, Endpoint, HttpEndpoint, SseEndpoint};
use tokio::net::{TcpSocket, TcpStream};

use crate::table::{HTTP, NET, Phase, Row, Transport};
use crate::world::{AMPLE, LIMIT, World};

pub(crate) fn r24() -> Row {
    Row::new(
        "R24",
        "clocks",
        "The upstream's wall clock is an hour or a day off",
        "what it says in dates is judged by its own clock; no wait is too long or gone (our own clock: the simulator)",
    )
    .on(HTTP, Phase::Request, "an_hour_ahead", |w| dated(w, "Sat, 06 Nov 2094 09:49:37 GMT", "Sat, 06 Nov 2094 09:49:44 GMT"))
    .on(HTTP, Phase::Request, "years_behind", |w| dated(w, "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:44 GMT"))
    .on(HTTP, Phase::Request, "a_day_of_its_own", undated)
}

async fn dated(w: Rc<World>, now: &str, then: &str) {
    let head = format!("Date: {now}\r\nRetry-After: {then}\r\n");
    assert_eq!(retry_after(w, head).await, Some(Duration::from_secs(7)));
}

/// A date alone, by a clock nobody knows.
async fn undated(w: Rc<World>) {
    assert_eq!(retry_after(w, "Retry-After: Sat, 06 Nov 2094 09:49:44 GMT\r\n".into()).await, None);
}

async fn retry_after(w: Rc<World>, head: String) -> Option<Duration> {
    w.plan("a", [Step::Status(429, head, String::new())]);
    let client = w.connect().await;
    let failed = w.call(&client, "a", AMPLE).await.failed(&["status"], Delivery::Rejected).at_once();
    w.works(&client).await;
    failed.has_status(429)
}

pub(crate) fn r25() -> Row {
    Row::new(
        "R25",
        "names",
        "The upstream's name does not resolve",
        "an error within the time for connecting, `not_sent`",
    )
    .on(NET, Phase::Connect, "unknown", |w| unresolved(w, "nowhere.invalid"))
    .on(NET, Phase::Connect, "no_name", |w| unresolved(w, "a..b"))
}

async fn unresolved(w: Rc<World>, name: &str) {
    let port = w.upstream.address().port();
    let Ok(url) = format!("http://{name}:{port}/mcp").parse() else { panic!("{name} is no host") };
    let mut endpoint = HttpEndpoint::new(url);
    endpoint.allow_insecure_http = true;
    w.reach(match w.transport {
        Transport::Sse => Endpoint::Sse(SseEndpoint::new(endpoint)),
        _ => Endpoint::Http(endpoint),
    });
    let connect = w.http.borrow().connect_timeout;
    let failed = w.connect_fails().await.failed(&["connect", "endpoint"], Delivery::NotSent);
    // Both eras may be tried.
    failed.took.at_most(connect * 2);
    assert_eq!(w.upstream.ledger().connections(), 0);
}

pub(crate) fn r26() -> Row {
    Row::new(
        "R26",
        "ports",
        "The upstream's port is closed, or does not answer",
        "closed: an error within 100 ms, `not_sent`; silent: within the time for connecting, `not_sent`; well again when it is open",
    )
    .on(NET, Phase::Connect, "closed", closed)
    .on(NET, Phase::Connect, "filtered", filtered)
    .on(HTTP, Phase::Request, "closed", closed_later)
    .on(HTTP, Phase::Request, "filtered", filtered_later)
    .on(NET, Phase::Recovery, "open_again", open_again)
}

async fn closed(w: Rc<World>) {
    w.upstream.order_exit().await;
    let failed = w.connect_fails().await.failed(&["connect"], Delivery::NotSent).at_once();
    failed.says("refused");
}

/// A port whose listener has room for nobody: attempts to connect are not answered.
async fn full(address: SocketAddr) -> (tokio::net::TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(LIMIT / 5, TcpStream::connect(address)).await {
        waiting.push(stream);
    }
    (listener, waiting)
}

async fn filtered(w: Rc<World>) {
    let (listener, _waiting) = full((Ipv4Addr::LOCALHOST, 0).into()).await;
    w.reach(w.upstream.endpoint_at(listener.local_addr().unwrap()));
    let connect = w.http.borrow().connect_timeout;
    let failed = w.connect_fails().await.failed(&["connect"], Delivery::NotSent);
    failed.took.at_most(connect * 2);
}

async fn closed_later(w: Rc<World>) {
    let client = w.connect().await;
    w.works_as(&client, "before").await;
    w.upstream.order_exit().await;
    w.noticed().await;
    for name in ["a", "b"] {
        w.call(&client, name, AMPLE).await.failed(&["connect"], Delivery::NotSent).at_once();
    }
    assert!(!client.is_closed());
}

async fn filtered_later(w: Rc<World>) {
    let client = w.connect().await;
    w.upstream.order_exit().await;
    w.noticed().await;
    let (listener, waiting) = full(w.upstream.address()).await;
    let connect = w.http.borrow().connect_timeout;
    let failed = w.call(&client, "a", AMPLE).await.failed(&["connect"], Delivery::NotSent);
    failed.took.about(connect);
    drop((listener, waiting));
}

async fn open_again(w: Rc<World>) {
    w.upstream.order_exit().await;
    w.connect_fails().await.failed(&["connect"], Delivery::NotSent);
    w.upstream.revive().await;
    let client = w.connect().await;
    w.works(&client).await;
}
