//! What went wrong once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::StreamExt;
use futures::future::BoxFuture;
use mcp_client::{
    Client, ConnectOptions, Interest, Outgoing, Patience, RateLimit, RequestHandler, ServerRequest,
};
use mcp_protocol::{Era, Limits, Method, RawJson, RpcError};
use mcp_transport::{Delivery, Header, Outbound, Reply, TransportError, TransportErrorKind, TransportKind};
use tokio::time::Instant;

use crate::wire::*;

const LIMIT: Duration = Duration::from_secs(30);

fn json(text: &str) -> RawJson {
    RawJson::parse(text.to_owned(), &Limits::default()).unwrap()
}
fn call() -> Outgoing {
    Outgoing::new(Method::ToolsCall, None)
}
fn forgotten() -> Result<Reply, TransportError> {
    Err(refuse(TransportErrorKind::SessionExpired, Delivery::Rejected))
}
fn slow(frame: String, by: Duration) -> Result<Reply, TransportError> {
    Ok(Reply::Own(
        futures::stream::once(async move {
            tokio::time::sleep(by).await;
            Ok(incoming(frame))
        })
        .boxed(),
    ))
}
fn of(uris: &[&str]) -> Interest {
    Interest { uris: uris.iter().map(|u| (*u).to_owned()).collect(), ..Interest::default() }
}
fn count(wire: &Wire, name: &str) -> usize {
    wire.methods().iter().filter(|m| *m == name).count()
}

#[tokio::test(start_paused = true)]
async fn an_impatient_caller_does_not_end_the_recovery_of_others() {
    let n = AtomicUsize::new(0);
    let new = Arc::new(AtomicBool::new(false));
    let server = Server::new(TransportKind::Http, move |out: &Outbound, _: &Wire| match method(out) {
        Some(Method::Initialize) if n.load(Ordering::Relaxed) > 0 => {
            new.store(true, Ordering::Relaxed);
            slow(result(out, INITIALIZED), Duration::from_secs(1))
        }
        Some(Method::ToolsCall) if !new.load(Ordering::Relaxed) => forgotten(),
        Some(Method::ToolsCall) => own([result(out, "{}")]),
        _ => match handshake(Era::Handshake, out) {
            Some(Some(frame)) => {
                if method(out) == Some(&Method::Initialize) {
                    n.fetch_add(1, Ordering::Relaxed);
                }
                own([frame])
            }
            _ => Ok(Reply::Accepted),
        },
    });
    let client = server.connect(&ConnectOptions::default()).await.unwrap();
    let a = client.call(call(), Duration::from_millis(100));
    let b = client.call(call(), LIMIT);
    let (a, b) = tokio::join!(a, b);
    assert!(a.unwrap_err().is_timeout() && b.is_ok() && !client.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_recovery_goes_on_when_its_caller_leaves_and_is_made_up_for_if_it_fails() {
    let n = AtomicUsize::new(0);
    let i = AtomicUsize::new(0);
    let old = Arc::new(AtomicBool::new(true));
    let gone = Arc::new(AtomicBool::new(false));
    let (o, g) = (old.clone(), gone.clone());
    let server = Server::new(TransportKind::Http, move |out: &Outbound, _: &Wire| match method(out) {
        Some(Method::Initialize) => {
            if n.fetch_add(1, Ordering::Relaxed) > 0 {
                o.store(false, Ordering::Relaxed);
            }
            own([result(out, INITIALIZED)])
        }
        // The second one is slow to be accepted.
        Some(Method::Initialized) if i.fetch_add(1, Ordering::Relaxed) == 1 => Ok(Reply::Inbox),
        Some(Method::Initialized) => Ok(Reply::Accepted),
        Some(Method::ServerDiscover) => own([error(out, -32601, "")]),
        _ if g.load(Ordering::Relaxed) && o.load(Ordering::Relaxed) => forgotten(),
        _ => own([result(out, "{}")]),
    });
    let client = server.connect(&ConnectOptions::default()).await.unwrap();
    let _sub = client.subscribe(of(&["a://b"]), LIMIT).await.unwrap();
    gone.store(true, Ordering::Relaxed);
    // The caller gives up.
    let _ = tokio::time::timeout(Duration::from_secs(1), client.call(call(), LIMIT)).await.unwrap_err();
    client.call(call(), LIMIT).await.unwrap();
    tokio::time::sleep(Duration::from_secs(120)).await;
    let wire = server.wire();
    assert_eq!(count(&wire, "resources/subscribe"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_forgets_every_session_is_given_up() {
    let broken = Arc::new(AtomicBool::new(false));
    let b = broken.clone();
    let server = Server::new(TransportKind::Http, move |out: &Outbound, _: &Wire| {
        match handshake(Era::Handshake, out) {
            Some(Some(frame)) => own([frame]),
            Some(None) => Ok(Reply::Accepted),
            None if b.load(Ordering::Relaxed) => forgotten(),
            None => own([result(out, "{}")]),
        }
    });
    let client = server.connect(&ConnectOptions::default()).await.unwrap();
    let _sub = client.subscribe(of(&["a://b", "c://d"]), LIMIT).await.unwrap();
    broken.store(true, Ordering::Relaxed);
    let _ = client.call(call(), LIMIT).await;
    let wire = server.wire();
    let mut seen = Vec::new();
    for _ in 0..5 {
        for _ in 0..20 {
            settle().await;
        }
        seen.push((
            count(&wire, "initialize"),
            tokio::runtime::Handle::current().metrics().num_alive_tasks(),
        ));
    }
    assert!(seen[4].0 < 5, "one call of a user");
}

#[tokio::test(start_paused = true)]
async fn a_resource_given_up_and_wanted_again_stays_subscribed() {
    let server = Server::new(
        TransportKind::Stdio,
        stdio(Era::Handshake, |out, wire| {
            if matches!(out.message, mcp_protocol::Message::Request(_)) {
                wire.push(result(out, "{}"));
            }
        }),
    );
    let client = server.connect(&ConnectOptions::default()).await.unwrap();
    let first = client.subscribe(of(&["a://b"]), LIMIT).await.unwrap();
    drop(first);
    let _second = client.subscribe(of(&["a://b"]), LIMIT).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(server.wire().methods().last().unwrap(), "resources/subscribe");
}

struct Panics(AtomicUsize);
impl RequestHandler for Panics {
    fn handle(&self, _: ServerRequest) -> BoxFuture<'_, Result<RawJson, RpcError>> {
        async move {
            assert!(self.0.fetch_add(1, Ordering::Relaxed) >= 16, "a bug of the user");
            Ok(json(r#"{"roots":[]}"#))
        }
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_answers_with_an_error() {
    let server = Server::new(TransportKind::Stdio, stdio(Era::Handshake, |_, _| {}));
    let options = ConnectOptions {
        capabilities: json(r#"{"roots":{}}"#),
        handler: Some(Arc::new(Panics(AtomicUsize::new(0)))),
        ..ConnectOptions::default()
    };
    let _client = server.connect(&options).await.unwrap();
    let wire = server.wire();
    for id in 0..17 {
        wire.push(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"roots/list"}}"#));
        settle().await;
    }
    tokio::time::sleep(Duration::from_secs(400)).await;
    let answers: Vec<_> = wire
        .sent()
        .iter()
        .filter(|o| method(o).is_none())
        .map(|o| String::from_utf8(o.message.encode().to_vec()).unwrap())
        .collect();
    assert_eq!(answers.len(), 17);
}

#[tokio::test(start_paused = true)]
async fn a_callers_token_is_for_the_callers_messages_alone() {
    let n = AtomicUsize::new(0);
    let server = Server::new(TransportKind::Http, move |out: &Outbound, _: &Wire| match method(out) {
        Some(Method::ToolsCall) if n.fetch_add(1, Ordering::Relaxed) == 0 => forgotten(),
        _ => match handshake(Era::Handshake, out) {
            Some(Some(frame)) => own([frame]),
            Some(None) => Ok(Reply::Accepted),
            None => own([result(out, "{}")]),
        },
    });
    let client = server.connect(&ConnectOptions::default()).await.unwrap();
    let _sub = client.subscribe(of(&["a://b"]), LIMIT).await.unwrap();
    let mut request = call();
    request.headers.push(Header::secret("authorization", "Bearer of-one-user"));
    client.call(request, LIMIT).await.unwrap();
    let all = server.wire().wait_for_many(&Method::ResourcesSubscribe, 2).await;
    assert!(all[1].headers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn closing_ends_the_wait_for_a_turn() {
    let server = Server::new(
        TransportKind::Http,
        http(Era::Stateless, |out| own([result(out, r#"{"resultType":"complete"}"#)])),
    );
    let options = ConnectOptions {
        rate_limit: Some(RateLimit::new(1, Duration::from_secs(60), 1)),
        ..ConnectOptions::default()
    };
    let client = server.connect(&options).await.unwrap();
    client.call(call(), LIMIT).await.unwrap();
    let start = Instant::now();
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.call(call(), Duration::from_secs(300)).await }
    });
    settle().await;
    client.close().await;
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(error.delivery(), Delivery::NotSent);
    assert!(start.elapsed() < Duration::from_secs(1));
}

struct Slow(Arc<AtomicBool>, Duration);
struct OnDrop(Arc<AtomicBool>);
impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
impl RequestHandler for Slow {
    fn handle(&self, _: ServerRequest) -> BoxFuture<'_, Result<RawJson, RpcError>> {
        let guard = OnDrop(self.0.clone());
        async move {
            tokio::time::sleep(self.1).await;
            drop(guard);
            Ok(json(r#"{"roots":[]}"#))
        }
        .boxed()
    }
}
fn with(handler: Slow) -> ConnectOptions {
    ConnectOptions {
        capabilities: json(r#"{"roots":{}}"#),
        handler: Some(Arc::new(handler)),
        ..ConnectOptions::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_is_given_up_with_the_call_it_was_asked_for() {
    let over = Arc::new(AtomicBool::new(false));
    let server = Server::new(
        TransportKind::Http,
        http(Era::Handshake, |out| {
            if method(out) != Some(&Method::ToolsCall) {
                return Ok(Reply::Accepted);
            }
            let ask = incoming(r#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#);
            Ok(Reply::Own(futures::stream::iter([Ok(ask)]).chain(futures::stream::pending()).boxed()))
        }),
    );
    let client: Client = server.connect(&with(Slow(over.clone(), Duration::from_secs(200)))).await.unwrap();
    let _ = tokio::time::timeout(Duration::from_secs(1), client.call(call(), LIMIT)).await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(over.load(Ordering::Relaxed));
}

#[tokio::test(start_paused = true)]
async fn a_question_before_the_answer_begins_is_progress() {
    let over = Arc::new(AtomicBool::new(false));
    let server = Server::new(TransportKind::Http, |out: &Outbound, wire: &Wire| {
        match handshake(Era::Handshake, out) {
            Some(Some(frame)) => own([frame]),
            Some(None) => Ok(Reply::Accepted),
            None if method(out) == Some(&Method::ToolsCall) => {
                wire.push(r#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#);
                no_head()
            }
            None => Ok(Reply::Accepted),
        }
    });
    let client = server.connect(&with(Slow(over.clone(), Duration::from_secs(8)))).await.unwrap();
    let start = Instant::now();
    let patience = Patience { idle: Duration::from_secs(5), total: Duration::from_secs(60) };
    let error = client.call_with(call(), patience).await.unwrap_err();
    assert!(error.is_timeout() && over.load(Ordering::Relaxed));
    assert!(start.elapsed() > Duration::from_secs(8));
}

#[tokio::test(start_paused = true)]
async fn another_handshake_renews_the_subscriptions() {
    let server = Server::new(TransportKind::Http, http(Era::Handshake, |out| own([result(out, "{}")])));
    let client = server.connect(&ConnectOptions::default()).await.unwrap();
    let _sub = client.subscribe(of(&["a://b"]), LIMIT).await.unwrap();
    client.handshake(LIMIT).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(count(&server.wire(), "resources/subscribe"), 2);
}

#[tokio::test(start_paused = true)]
async fn after_a_long_question_there_is_time_to_mend_a_header() {
    let server = Server::new(
        TransportKind::Http,
        http(Era::Stateless, {
            let n = AtomicUsize::new(0);
            move |out| {
                if method(out) == Some(&Method::ToolsList) {
                    return slow(
                        result(out, r#"{"resultType":"complete","tools":[]}"#),
                        Duration::from_millis(10),
                    );
                }
                match n.fetch_add(1, Ordering::Relaxed) {
                    0 => own([result(
                        out,
                        r#"{"resultType":"input_required","inputRequests":{"r":{"method":"roots/list"}}}"#,
                    )]),
                    1 => own([error(out, -32020, "")]),
                    _ => own([result(out, r#"{"resultType":"complete","content":[]}"#)]),
                }
            }
        }),
    );
    let over = Arc::new(AtomicBool::new(false));
    let client = server.connect(&with(Slow(over, Duration::from_secs(8)))).await.unwrap();
    let patience = Patience { idle: Duration::from_secs(5), total: Duration::from_secs(60) };
    let mut request = call();
    request.params = Some(json(r#"{"name":"a"}"#));
    let got = client.call_with(request, patience).await;
    assert!(got.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_fails_the_call_alone() {
    let server = Server::new(
        TransportKind::Http,
        http(Era::Stateless, |out| {
            own([result(
                out,
                r#"{"resultType":"input_required","inputRequests":{"r":{"method":"roots/list"}}}"#,
            )])
        }),
    );
    let options = ConnectOptions {
        capabilities: json(r#"{"roots":{}}"#),
        handler: Some(Arc::new(Panics(AtomicUsize::new(0)))),
        ..ConnectOptions::default()
    };
    let client = server.connect(&options).await.unwrap();
    let got = tokio::spawn(async move { client.call(call(), LIMIT).await }).await;
    assert!(got.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_session_that_may_be_gone_is_asked_about_until_there_is_an_answer() {
    let gone = Arc::new(AtomicBool::new(false));
    let fresh = Arc::new(AtomicBool::new(false));
    let (g, f, n) = (gone.clone(), fresh.clone(), AtomicUsize::new(0));
    let server = Server::new(TransportKind::Http, move |out: &Outbound, _: &Wire| {
        if g.load(Ordering::Relaxed) && method(out) == Some(&Method::Initialize) {
            f.store(true, Ordering::Relaxed);
        }
        match handshake(Era::Handshake, out) {
            Some(Some(frame)) => own([frame]),
            Some(None) => Ok(Reply::Accepted),
            None if g.load(Ordering::Relaxed) && !f.load(Ordering::Relaxed) => {
                // A proxy whose server is just coming back, then the server.
                if n.fetch_add(1, Ordering::Relaxed) == 0 { Err(status(503)) } else { forgotten() }
            }
            None => own([result(out, "{}")]),
        }
    });
    let client = server.connect(&ConnectOptions::default()).await.unwrap();
    let _sub = client.subscribe(of(&["a://b"]), LIMIT).await.unwrap();
    settle().await;
    gone.store(true, Ordering::Relaxed);
    let wire = server.wire();
    wire.push_item(Err(refuse(TransportErrorKind::Gap, Delivery::NotSent)));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(client.is_closed() || count(&wire, "resources/subscribe") == 2);
}

#[tokio::test(start_paused = true)]
async fn one_gap_is_one_ping() {
    let server = Server::new(TransportKind::Http, http(Era::Handshake, |out| own([result(out, "{}")])));
    let client = server.connect(&ConnectOptions::default()).await.unwrap();
    let mut subs = Vec::new();
    for n in 0..100 {
        subs.push(client.subscribe(of(&[&format!("a://{n}")]), LIMIT).await.unwrap());
    }
    settle().await;
    let wire = server.wire();
    wire.push_item(Err(refuse(TransportErrorKind::Gap, Delivery::NotSent)));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(count(&wire, "ping"), 1);
}

#[tokio::test(start_paused = true)]
async fn who_notices_first_that_a_process_has_ended_finds_the_connection_closed() {
    let server = Server::new(TransportKind::Stdio, |out: &Outbound, wire: &Wire| {
        if method(out) == Some(&Method::ToolsCall) {
            return Err(refuse(TransportErrorKind::Exited("signal 9".into()), Delivery::NotSent));
        }
        stdio(Era::Handshake, |_, _| {})(out, wire)
    });
    let client = server.connect(&ConnectOptions::default()).await.unwrap();
    client.call(call(), LIMIT).await.unwrap_err();
    assert!(client.is_closed(), "the inbox has told nothing yet");
}

#[tokio::test(start_paused = true)]
async fn calls_fail_with_the_loss_even_if_somebody_closes_the_connection_for_it() {
    let sent = AtomicUsize::new(0);
    let server = Server::new(TransportKind::Stdio, move |out: &Outbound, wire: &Wire| {
        if method(out) == Some(&Method::ToolsCall) && sent.fetch_add(1, Ordering::Relaxed) == 1 {
            return Err(refuse(TransportErrorKind::Exited("signal 9".into()), Delivery::NotSent));
        }
        stdio(Era::Handshake, |_, _| {})(out, wire)
    });
    let client = server.connect(&ConnectOptions::default()).await.unwrap();
    let under_way = tokio::spawn({
        let client = client.clone();
        async move { client.call(call(), LIMIT).await.unwrap_err() }
    });
    settle().await;
    client.call(call(), LIMIT).await.unwrap_err();
    client.close().await;
    assert_eq!(under_way.await.unwrap().to_string(), "server process ended: signal 9");
}

#[tokio::test(start_paused = true)]
async fn who_falls_behind_is_told_that_everything_may_have_changed() {
    const LOG: &str =
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#;
    let capabilities = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}}}"#;
    let server = Server::new(TransportKind::Stdio, move |out: &Outbound, wire: &Wire| {
        match method(out) {
            Some(Method::ServerDiscover) => wire.push(error(out, -32601, "")),
            Some(Method::Initialize) => wire.push(result(out, capabilities)),
            _ => {}
        }
        Ok(Reply::Inbox)
    });
    let client = server.connect(&ConnectOptions::default()).await.unwrap();
    let mut told = client.notifications();
    server.wire().push(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
    for _ in 0..400 {
        server.wire().push(LOG);
    }
    settle().await;
    assert_eq!(told.recv().await.unwrap().method, Method::ToolsListChanged);
    assert_eq!(told.recv().await.unwrap().method, Method::LogMessage);
    assert_eq!(client.stats().notifications_dropped, 401 - 256);
}
