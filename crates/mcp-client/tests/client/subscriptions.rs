//! Being told of changes.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use futures::StreamExt;
use mcp_client::{Client, ConnectOptions, Interest, Notifications};
use mcp_protocol::logging::LogLevel;
use mcp_protocol::{Era, Method};
use mcp_transport::{Delivery, Incoming, Outbound, Reply, TransportError, TransportErrorKind, TransportKind};
use tokio::sync::mpsc;

use crate::wire::*;

const LIMIT: Duration = Duration::from_secs(30);

type Stream = mpsc::Sender<Result<Incoming, TransportError>>;

/// The streams of `subscriptions/listen` that a server has open, each acknowledged with `accepted`.
#[derive(Clone, Default)]
struct Streams(Arc<Mutex<Vec<Stream>>>);

impl Streams {
    fn open(&self, out: &Outbound, accepted: &str) -> Result<Reply, TransportError> {
        let (sender, receiver) = mpsc::channel(16);
        sender.try_send(Ok(incoming(acknowledged(out, accepted)))).unwrap();
        self.0.lock().unwrap().push(sender);
        let items = futures::stream::unfold(receiver, async |mut receiver| {
            let item = receiver.recv().await?;
            Some((item, receiver))
        });
        Ok(Reply::Own(items.boxed()))
    }

    fn push(&self, frame: &str) {
        self.0.lock().unwrap().last().unwrap().try_send(Ok(incoming(frame))).unwrap();
    }

    fn cut(&self) {
        self.0.lock().unwrap().clear();
    }

    fn is_open(&self) -> bool {
        self.0.lock().unwrap().last().is_some_and(|stream| !stream.is_closed())
    }
}

fn acknowledged(out: &Outbound, accepted: &str) -> String {
    let id = id(out);
    let meta = format!(r#"{{"io.modelcontextprotocol/subscriptionId":{id}}}"#);
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"notifications":{accepted},"_meta":{meta}}}}}"#
    )
}

const TOOLS: &str = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;

fn wanted() -> Interest {
    Interest { uris: ["a://b".to_owned()].into(), ..Interest::in_lists() }
}

async fn next(told: &mut Notifications) -> Method {
    told.recv().await.unwrap().method
}

fn nothing(told: &mut Notifications) -> bool {
    futures::FutureExt::now_or_never(told.recv()).is_none()
}

async fn stateless() -> (Client, Wire, Streams) {
    let streams = Streams::default();
    let open = streams.clone();
    let server = Server::new(
        TransportKind::Http,
        http(Era::Stateless, move |out| {
            open.open(out, r#"{"toolsListChanged":true,"resourceSubscriptions":["a://b","c://d"]}"#)
        }),
    );
    let client = server.connect(&ConnectOptions::default()).await.unwrap();
    (client, server.wire(), streams)
}

#[tokio::test(start_paused = true)]
async fn a_stateless_server_tells_on_the_stream_it_was_asked_for() {
    let (client, wire, streams) = stateless().await;
    let mut told = client.notifications();
    let subscription = client.subscribe(wanted(), LIMIT).await.unwrap();
    let sent = wire.wait_for(|out| method(out) == Some(&Method::SubscriptionsListen)).await;
    let filter = params_json(&sent).get("notifications").unwrap();
    assert_eq!(
        filter.as_str(),
        r#"{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true,"resourceSubscriptions":["a://b"]}"#
    );
    let accepted = Interest { tools: true, uris: ["a://b".to_owned()].into(), ..Interest::default() };
    assert_eq!(*subscription.accepted(), accepted, "what both want");
    streams.push(TOOLS);
    assert_eq!(next(&mut told).await, Method::ToolsListChanged);
    assert!(streams.is_open());
    drop(subscription);
    settle().await;
    assert!(!streams.is_open(), "closing the stream ends it");
}

#[tokio::test(start_paused = true)]
async fn a_lost_stream_is_opened_again_and_the_gap_announced_once() {
    let (client, wire, streams) = stateless().await;
    let mut told = client.notifications();
    let _subscription = client.subscribe(wanted(), LIMIT).await.unwrap();
    for round in 2..4 {
        streams.cut();
        wire.wait_for_many(&Method::SubscriptionsListen, round).await;
        assert_eq!(next(&mut told).await, Method::ToolsListChanged);
        assert_eq!(next(&mut told).await, Method::ResourcesUpdated);
        assert!(nothing(&mut told), "only what the server accepted, and once");
        streams.push(TOOLS);
        assert_eq!(next(&mut told).await, Method::ToolsListChanged);
    }
    assert_eq!(client.stats().gaps, 2);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_does_not_last_is_opened_less_and_less_often() {
    let server = Server::new(
        TransportKind::Http,
        http(Era::Stateless, |out| own([acknowledged(out, r#"{"toolsListChanged":true}"#)])),
    );
    let client = server.connect(&ConnectOptions::default()).await.unwrap();
    let _subscription = client.subscribe(wanted(), LIMIT).await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let many = server.wire().methods().iter().filter(|method| *method == "subscriptions/listen").count();
    assert!((20..40).contains(&many), "{many}");
}

#[tokio::test(start_paused = true)]
async fn what_a_server_does_not_agree_to_is_an_error() {
    for (frame, text) in [
        (r#""error":{"code":-32601,"message":"no"}"#, "rpc error: no"),
        (r#""result":{"resultType":"complete"}"#, "the server ended the subscription at once"),
    ] {
        let server = Server::new(
            TransportKind::Http,
            http(Era::Stateless, move |out| {
                own([format!(r#"{{"jsonrpc":"2.0","id":{},{frame}}}"#, id(out))])
            }),
        );
        let client = server.connect(&ConnectOptions::default()).await.unwrap();
        assert_eq!(client.subscribe(wanted(), LIMIT).await.unwrap_err().to_string(), text);
    }
    let silent = Server::new(TransportKind::Http, http(Era::Stateless, |_| own_silent()));
    let client = silent.connect(&ConnectOptions::default()).await.unwrap();
    assert!(client.subscribe(wanted(), LIMIT).await.unwrap_err().is_timeout());
}

#[tokio::test(start_paused = true)]
async fn over_stdio_the_stream_is_told_apart_by_its_id() {
    let server = Server::new(
        TransportKind::Stdio,
        stdio(Era::Stateless, |out, wire| {
            if method(out) == Some(&Method::SubscriptionsListen) {
                wire.push(acknowledged(out, r#"{"toolsListChanged":true}"#));
            }
        }),
    );
    let client = server.connect(&ConnectOptions::default()).await.unwrap();
    let mut told = client.notifications();
    let subscription = client.subscribe(wanted(), LIMIT).await.unwrap();
    let wire = server.wire();
    wire.push(TOOLS);
    assert_eq!(next(&mut told).await, Method::ToolsListChanged);
    // The server ends it: by taking back what we asked for.
    let listen = wire.wait_for(|out| method(out) == Some(&Method::SubscriptionsListen)).await;
    let taken = format!(r#"{{"requestId":{}}}"#, id(&listen));
    wire.push(format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{taken}}}"#));
    wire.wait_for_many(&Method::SubscriptionsListen, 2).await;
    assert_eq!(next(&mut told).await, Method::ToolsListChanged, "the gap");
    drop(subscription);
    let cancelled = wire.wait_for(|out| method(out) == Some(&Method::Cancelled)).await;
    let again = wire.wait_for_many(&Method::SubscriptionsListen, 2).await;
    assert!(params(&cancelled).contains(&format!("{}", id(&again[1]))));
}

/// A handshake server that tells of changed tools by itself.
async fn handshake_client(kind: TransportKind) -> (Client, Wire) {
    let answer = |out: &Outbound| match method(out) {
        Some(Method::Initialize) => Some(result(
            out,
            r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"prompts":{}}}"#,
        )),
        Some(Method::ServerDiscover) => Some(error(out, -32601, "")),
        Some(Method::Initialized) => None,
        _ => Some(result(out, "{}")),
    };
    let server = Server::new(kind, move |out: &Outbound, wire: &Wire| match (answer(out), kind) {
        (Some(frame), TransportKind::Http) => own([frame]),
        (None, TransportKind::Http) => Ok(Reply::Accepted),
        (frame, _) => {
            frame.into_iter().for_each(|frame| wire.push(frame));
            Ok(Reply::Inbox)
        }
    });
    (server.connect(&ConnectOptions::default()).await.unwrap(), server.wire())
}

#[tokio::test(start_paused = true)]
async fn a_handshake_server_is_asked_for_each_resource() {
    let (client, wire) = handshake_client(TransportKind::Stdio).await;
    let first = client.subscribe(wanted(), LIMIT).await.unwrap();
    assert!(first.accepted().tools && !first.accepted().prompts, "{:?}", first.accepted());
    assert_eq!(first.accepted().uris.len(), 1);
    let second = client.subscribe(wanted(), LIMIT).await.unwrap();
    drop(first);
    settle().await;
    assert!(!wire.methods().contains(&"resources/unsubscribe".to_owned()), "somebody else wants to know");
    drop(second);
    let end = wire.wait_for(|out| method(out) == Some(&Method::ResourcesUnsubscribe)).await;
    assert_eq!(params(&end), r#"{"uri":"a://b"}"#);
}

#[tokio::test(start_paused = true)]
async fn a_gap_in_what_a_handshake_server_says_is_announced() {
    let (client, wire) = handshake_client(TransportKind::Http).await;
    let mut told = client.notifications();
    let _subscription = client.subscribe(wanted(), LIMIT).await.unwrap();
    wire.push(TOOLS);
    assert_eq!(next(&mut told).await, Method::ToolsListChanged);
    wire.push_item(Err(TransportError::new(TransportErrorKind::Gap, Delivery::Unknown)));
    assert_eq!(next(&mut told).await, Method::ToolsListChanged);
    assert_eq!(next(&mut told).await, Method::ResourcesUpdated);
    assert!(nothing(&mut told) && !client.is_closed());
    assert_eq!(client.stats().gaps, 1);
}

#[tokio::test(start_paused = true)]
async fn the_level_of_log_messages_is_said_as_the_era_has_it() {
    let (client, wire) = handshake_client(TransportKind::Stdio).await;
    client.set_log_level(LogLevel::Warning, LIMIT).await.unwrap();
    let sent = wire.wait_for(|out| method(out) == Some(&Method::LoggingSetLevel)).await;
    assert_eq!(params(&sent), r#"{"level":"warning"}"#);

    let (client, wire, _streams) = stateless().await;
    client.set_log_level(LogLevel::Warning, LIMIT).await.unwrap();
    let _subscription = client.subscribe(wanted(), LIMIT).await.unwrap();
    let sent = wire.wait_for(|out| method(out) == Some(&Method::SubscriptionsListen)).await;
    let level = mcp_protocol::meta::get(&params_json(&sent), mcp_protocol::meta::LOG_LEVEL).unwrap();
    assert_eq!(level.as_str(), r#""warning""#);
}
