//! Sessions that servers forget, and servers of the older transport.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use mcp_client::{Client, ConnectOptions, Interest, Outgoing};
use mcp_protocol::{Era, EraPolicy, Method};
use mcp_transport::{Delivery, Header, Outbound, Reply, TransportError, TransportErrorKind, TransportKind};

use crate::wire::*;

const LIMIT: Duration = Duration::from_secs(30);

fn call() -> Outgoing {
    let mut call = Outgoing::new(Method::ToolsCall, None);
    call.headers.push(Header::secret("authorization", "Bearer t"));
    call
}

fn forgotten() -> Result<Reply, TransportError> {
    Err(refuse(TransportErrorKind::SessionExpired, Delivery::Rejected))
}

/// A server that forgets its session after every `calls` calls: it knows only calls of the newest one.
async fn forgetful(calls: usize, again: bool) -> (Client, Wire, Arc<AtomicUsize>) {
    let left = Arc::new(AtomicUsize::new(calls));
    let executed = Arc::new(AtomicUsize::new(0));
    let counted = executed.clone();
    let handshakes = AtomicUsize::new(0);
    let server = Server::new(TransportKind::Http, move |out: &Outbound, _: &Wire| {
        match method(out) {
            Some(Method::Initialize) if handshakes.fetch_add(1, Ordering::Relaxed) > 0 => {
                if !again {
                    return Err(status(400));
                }
                left.store(calls, Ordering::Relaxed);
            }
            Some(Method::ToolsCall) => {
                let took = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
                if took.is_err() {
                    return forgotten();
                }
                executed.fetch_add(1, Ordering::Relaxed);
                return own([result(out, "{}")]);
            }
            Some(Method::ResourcesSubscribe) => return own([result(out, "{}")]),
            Some(Method::Ping) if left.load(Ordering::Relaxed) == 0 => return forgotten(),
            Some(Method::Ping) => return own([result(out, "{}")]),
            _ => {}
        }
        match handshake(Era::Handshake, out) {
            Some(Some(frame)) => own([frame]),
            _ => Ok(Reply::Accepted),
        }
    });
    (server.connect(&ConnectOptions::default()).await.unwrap(), server.wire(), counted)
}

#[tokio::test(start_paused = true)]
async fn j8_however_many_calls_notice_there_is_one_new_handshake() {
    let (client, wire, executed) = forgetful(50, true).await;
    join_all((0..50).map(|_| client.call(call(), LIMIT)))
        .await
        .into_iter()
        .for_each(|got| drop(got.unwrap()));
    let handshakes = || wire.methods().iter().filter(|method| *method == "initialize").count();
    assert_eq!((handshakes(), client.stats().sessions_recovered), (1, 0));
    let outcomes = join_all((0..50).map(|_| client.call(call(), LIMIT))).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!((handshakes(), client.stats().sessions_recovered), (2, 1));
    assert_eq!(executed.load(Ordering::Relaxed), 100, "each call once");
    let again = wire.sent().into_iter().filter(|out| method(out) == Some(&Method::Initialize)).nth(1);
    assert!(again.unwrap().headers.is_empty(), "the session is everybody's, the token one caller's");
}

#[tokio::test(start_paused = true)]
async fn a_call_is_sent_again_once_only() {
    let (client, wire, _) = forgetful(0, true).await;
    let error = client.call(call(), LIMIT).await.unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.delivery()),
        ("the server ended the session", Delivery::Rejected)
    );
    assert_eq!(wire.wait_for_many(&Method::ToolsCall, 2).await.len(), 2);
    assert!(!client.is_closed());
}

#[tokio::test(start_paused = true)]
async fn without_a_new_session_the_connection_has_ended() {
    let (client, wire, executed) = forgetful(0, false).await;
    let error = client.call(call(), LIMIT).await.unwrap_err();
    assert_eq!(error.delivery(), Delivery::Rejected);
    assert_eq!(client.closed().await.kind, TransportErrorKind::SessionExpired);
    assert_eq!(wire.wait_for_many(&Method::ToolsCall, 1).await.len(), 1);
    assert_eq!(executed.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_new_session_is_told_of_the_subscriptions_and_the_gap_is_announced() {
    let (client, wire, _) = forgetful(1, true).await;
    let uris = Interest { uris: ["a://b".to_owned()].into(), ..Interest::default() };
    let _subscription = client.subscribe(uris, LIMIT).await.unwrap();
    let mut told = client.notifications();
    client.call(call(), LIMIT).await.unwrap();
    client.call(call(), LIMIT).await.unwrap();
    assert_eq!(wire.wait_for_many(&Method::ResourcesSubscribe, 2).await.len(), 2);
    let update = told.recv().await.unwrap();
    assert_eq!(update.method, Method::ResourcesUpdated);
    assert_eq!(update.params.unwrap().as_str(), r#"{"uri":"a://b"}"#);
    assert_eq!(client.stats().gaps, 1);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_notices_a_forgotten_session_by_itself() {
    let (client, wire, _) = forgetful(1, true).await;
    let uris = Interest { uris: ["a://b".to_owned()].into(), ..Interest::default() };
    let _subscription = client.subscribe(uris, LIMIT).await.unwrap();
    settle().await;
    client.call(call(), LIMIT).await.unwrap();
    // The stream of the server's messages ended with the session; nobody calls anything.
    wire.push_item(Err(refuse(TransportErrorKind::Gap, Delivery::NotSent)));
    assert_eq!(wire.wait_for_many(&Method::ResourcesSubscribe, 2).await.len(), 2);
    assert_eq!(client.stats().sessions_recovered, 1);
}

#[tokio::test(start_paused = true)]
async fn a_url_of_the_older_transport_is_found_out() {
    for (code, policy, found) in [
        (404, EraPolicy::Auto, true),
        (405, EraPolicy::Only(Era::Handshake), true),
        (405, EraPolicy::Only(Era::Stateless), false),
        (401, EraPolicy::Auto, false),
        (503, EraPolicy::Auto, false),
    ] {
        // The first start is the Streamable HTTP attempt.
        let refuses = move |_: &Outbound, _: &Wire| Err(status(code));
        let server =
            Server::starts(TransportKind::Sse, vec![refuses.into(), stdio(Era::Handshake, |_, _| {}).into()]);
        let options = ConnectOptions { policy, ..ConnectOptions::default() };
        match server.connect(&options).await {
            Ok(client) => {
                assert!(found, "{code}");
                assert_eq!(client.transport(), TransportKind::Sse);
                assert_eq!(server.wire().methods(), ["initialize", "notifications/initialized"]);
            }
            Err(error) => assert!(!found && server.wires().len() == 1, "{code}: {error}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn if_neither_transport_works_the_first_failure_is_the_reason() {
    let refuses = |_: &Outbound, _: &Wire| Err(status(405));
    let no_stream = refuse(TransportErrorKind::Payload("no event stream".into()), Delivery::NotSent);
    let server = Server::starts(TransportKind::Sse, vec![refuses.into(), no_stream.into()]);
    let error = server.connect(&ConnectOptions::default()).await.unwrap_err();
    assert!(error.to_string().starts_with("http status 405"), "{error}");
    assert_eq!(error.tried.len(), 3, "{:?}", error.tried);
    assert!(error.tried[2].contains("open sse") && error.tried[2].contains("no event stream"));
}
