//! R22, contract §8.3: servers that say that their tools have changed.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{BoxFuture, ready};
use mcp_manager::{Manager, Setup};
use mcp_protocol::{Limits, Message, Method, Request};
use mcp_registry::{Definition, Policy};
use mcp_testkit::{Dice, ManualClock};
use mcp_transport::{
    Connector, Delivery, Endpoint, HttpEndpoint, Inbox, Incoming, Outbound, Reply, StdioEndpoint, Transport,
    TransportError, TransportErrorKind,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

type Stream = mpsc::Sender<Result<Incoming, TransportError>>;

/// A server whose tools can be changed. Of the handshake era over stdio, stateless over HTTP.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

/// Why a server does not tell of changes although it declares to.
#[derive(Clone, Copy, PartialEq)]
enum Unwilling {
    Overloaded,
    /// It never answers.
    Silent,
    /// It knows no such method.
    Refuses,
}

#[derive(Default)]
struct State {
    tools: Vec<String>,
    listed: usize,
    /// How often it was asked to tell of changes, and what it says to that.
    asked: usize,
    unwilling: Option<Unwilling>,
    /// Where the server says that its tools have changed.
    told_on: Option<Stream>,
}

impl Server {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Changes the tools and says so.
    fn change(&self, tools: &[&str]) {
        self.state().tools = tools.iter().map(ToString::to_string).collect();
        self.tell(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
    }

    fn tell(&self, frame: &Value) {
        let told_on = self.state().told_on.clone().unwrap();
        told_on.try_send(Ok(incoming(frame))).unwrap();
    }

    fn asked(&self) -> usize {
        self.state().asked
    }

    fn listed(&self) -> usize {
        self.state().listed
    }

    fn result(&self, method: &Method) -> Option<Value> {
        let capabilities = json!({"tools": {"listChanged": true}});
        let mut state = self.state();
        Some(match method {
            Method::ServerDiscover => json!({
                "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": capabilities,
                "ttlMs": 0, "cacheScope": "public",
            }),
            Method::Initialize => json!({"protocolVersion": "2025-11-25", "capabilities": capabilities}),
            Method::ToolsList => {
                state.listed += 1;
                let tools = state.tools.iter().map(|name| json!({"name": name, "inputSchema": {}}));
                json!({"tools": tools.collect::<Vec<_>>(), "resultType": "complete"})
            }
            _ => return None,
        })
    }
}

fn incoming(frame: &Value) -> Incoming {
    let frame = Bytes::from(frame.to_string());
    Incoming { message: Message::parse(&frame, &Limits::default()).unwrap(), frame }
}

fn channel() -> (Stream, Inbox) {
    let (sender, receiver) = mpsc::channel(64);
    let items = futures::stream::unfold(receiver, async |mut receiver| {
        let item = receiver.recv().await?;
        Some((item, receiver))
    });
    (sender, items.boxed())
}

struct Wire {
    server: Server,
    /// The shared channel of stdio.
    shared: Option<Stream>,
    inbox: Mutex<Option<Inbox>>,
}

impl Wire {
    fn answer(&self, Request { id, method, .. }: &Request) -> Result<Reply, TransportError> {
        if *method == Method::SubscriptionsListen {
            self.server.state().asked += 1;
            let unwilling = self.server.state().unwilling;
            match unwilling {
                Some(Unwilling::Overloaded) => {
                    let kind = TransportErrorKind::Status { status: 503, retry_after: None };
                    return Err(TransportError::new(kind, Delivery::Unknown));
                }
                Some(Unwilling::Silent) => return Ok(Reply::Own(futures::stream::pending().boxed())),
                Some(Unwilling::Refuses) => {
                    let error = json!({"code": -32601, "message": "no"});
                    let answer = json!({"jsonrpc": "2.0", "id": id, "error": error});
                    return Ok(Reply::Own(futures::stream::iter([Ok(incoming(&answer))]).boxed()));
                }
                None => {}
            }
            let (stream, inbox) = channel();
            let acknowledged = json!({
                "jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
                "params": {"notifications": {"toolsListChanged": true}},
            });
            stream.try_send(Ok(incoming(&acknowledged))).unwrap();
            self.server.state().told_on = Some(stream);
            return Ok(Reply::Own(inbox));
        }
        let era_is_other =
            if self.shared.is_some() { Method::ServerDiscover } else { Method::Initialize } == *method;
        let result = self.server.result(method).filter(|_| !era_is_other);
        let answer = match result {
            Some(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            None => json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "no"}}),
        };
        Ok(match &self.shared {
            Some(shared) => {
                shared.try_send(Ok(incoming(&answer))).unwrap();
                Reply::Inbox
            }
            None => Reply::Own(futures::stream::iter([Ok(incoming(&answer))]).boxed()),
        })
    }
}

impl Transport for Wire {
    fn send(&self, out: Outbound) -> BoxFuture<'_, Result<Reply, TransportError>> {
        Box::pin(ready(match &out.message {
            Message::Request(request) => self.answer(request),
            _ => Ok(Reply::Accepted),
        }))
    }

    fn take_inbox(&mut self) -> Option<Inbox> {
        self.inbox.get_mut().unwrap().take()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(ready(()))
    }
}

impl Connector for Server {
    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
    ) -> BoxFuture<'a, Result<Box<dyn Transport>, TransportError>> {
        let mut wire = Wire { server: self.clone(), shared: None, inbox: Mutex::default() };
        if let Endpoint::Stdio(_) = endpoint {
            let (stream, inbox) = channel();
            self.state().told_on = Some(stream.clone());
            (wire.shared, wire.inbox) = (Some(stream), Mutex::new(Some(inbox)));
        }
        Box::pin(ready(Ok(Box::new(wire) as Box<dyn Transport>)))
    }
}

fn endpoints() -> [Endpoint; 2] {
    [
        Endpoint::Stdio(StdioEndpoint::new("server", [""; 0])),
        Endpoint::Http(HttpEndpoint::new("https://a.example/mcp".parse().unwrap())),
    ]
}

async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

async fn manager(endpoint: Endpoint, tools: Option<Vec<String>>) -> (Manager, Server, ManualClock) {
    manager_of(Server::default(), endpoint, tools).await
}

async fn manager_of(
    server: Server,
    endpoint: Endpoint,
    tools: Option<Vec<String>>,
) -> (Manager, Server, ManualClock) {
    let clock = ManualClock::new();
    server.state().tools = vec!["one".to_owned()];
    let manager = Manager::new(Setup {
        policy: Policy::default(),
        client_info: mcp_client::ClientInfo::new("test", "0"),
        connector: Arc::new(server.clone()),
        timer: Arc::new(clock.clone()),
        random: Arc::new(Dice::new(1)),
    });
    let mut definition = Definition::new("a".parse().unwrap(), endpoint);
    definition.discover_tools = true;
    definition.tools = tools;
    manager.register(definition).unwrap();
    manager.initialize("a", false).await.unwrap();
    settle().await;
    (manager, server, clock)
}

fn names(manager: &Manager) -> Vec<String> {
    manager.available_tools(Some("a")).into_values().flat_map(|tools| tools.names).collect()
}

#[tokio::test]
async fn r22_changed_tools_are_known_at_once() {
    for endpoint in endpoints() {
        let kind = endpoint.kind();
        let (manager, server, clock) = manager(endpoint, None).await;
        assert_eq!(names(&manager), ["one"], "{kind}");
        server.change(&["two", "three"]);
        settle().await;
        assert_eq!(names(&manager), ["three", "two"], "{kind}");
        clock.advance(Duration::from_secs(1));
        settle().await;
        server.change(&["four"]);
        settle().await;
        assert_eq!(names(&manager), ["four"], "{kind}");
    }
}

#[tokio::test]
async fn r21_a_server_that_keeps_saying_so_is_asked_twice_a_second_at_most() {
    for endpoint in endpoints() {
        let kind = endpoint.kind();
        let (manager, server, clock) = manager(endpoint, None).await;
        let before = server.listed();
        for n in 0..40 {
            server.change(&[&format!("t{n}")]);
            settle().await;
            clock.advance(Duration::from_millis(50));
            settle().await;
        }
        clock.advance(Duration::from_secs(1));
        settle().await;
        let asked = server.listed() - before;
        assert!((3..=6).contains(&asked), "{kind}: {asked} in 2 s");
        for _ in 0..40 {
            clock.advance(Duration::from_millis(500));
            settle().await;
        }
        assert_eq!(names(&manager), ["t39"], "{kind}: the last word counts");
    }
}

#[tokio::test]
async fn configured_tools_are_not_asked_for() {
    for endpoint in endpoints() {
        let (manager, server, _clock) = manager(endpoint, Some(vec!["fixed".to_owned()])).await;
        let before = server.listed();
        if server.state().told_on.is_some() {
            server.change(&["two"]);
        }
        settle().await;
        assert_eq!((server.listed(), names(&manager)), (before, vec!["fixed".to_owned()]));
    }
}

/// A server of the stateless era that does not agree to tell of changes at first.
async fn unwilling(how: Unwilling) -> (Manager, Server, ManualClock) {
    let server = Server::default();
    server.state().unwilling = Some(how);
    let [_, stateless] = endpoints();
    manager_of(server, stateless, None).await
}

#[tokio::test(start_paused = true)]
async fn r37_a_server_that_cannot_tell_of_changes_yet_is_asked_again() {
    let limit = Policy::default().handshake_timeout;
    for how in [Unwilling::Overloaded, Unwilling::Silent] {
        let (manager, server, clock) = unwilling(how).await;
        for (asked, wait) in (1..).zip([1, 2, 4, 8, 16, 32, 60, 60].map(Duration::from_secs)) {
            tokio::time::advance(limit).await;
            settle().await;
            clock.advance(wait - Duration::from_millis(1));
            settle().await;
            assert_eq!(server.asked(), asked, "not before {wait:?}");
            clock.advance(Duration::from_millis(1));
            settle().await;
            assert_eq!(server.asked(), asked + 1, "after {wait:?}");
        }
        server.state().unwilling = None;
        server.state().tools = vec!["two".to_owned()];
        tokio::time::advance(limit).await;
        settle().await;
        assert_eq!(names(&manager), ["one"]);
        clock.advance(Duration::from_secs(60));
        settle().await;
        assert_eq!(names(&manager), ["two"], "what changed before it agreed was told to nobody");
        clock.advance(Duration::from_secs(1));
        settle().await;
        server.change(&["three"]);
        settle().await;
        assert_eq!((names(&manager), server.asked()), (vec!["three".to_owned()], 10));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_is_asked_no_more_once_it_has_refused_or_its_session_is_over() {
    for how in [Unwilling::Refuses, Unwilling::Overloaded] {
        let (manager, server, clock) = unwilling(how).await;
        if how == Unwilling::Overloaded {
            manager.disconnect("a").await.unwrap();
            settle().await;
        }
        assert_eq!(clock.next_wake(), None, "nobody waits to ask again");
        clock.advance(Duration::from_secs(3600));
        settle().await;
        assert_eq!((server.asked(), names(&manager)), (1, vec!["one".to_owned()]));
    }
}

#[tokio::test]
async fn r21_a_change_is_not_lost_in_other_talk() {
    let [stdio, _] = endpoints();
    let (manager, server, clock) = manager(stdio, None).await;
    server.change(&["two"]);
    settle().await;
    // Before the server is asked again.
    server.change(&["three"]);
    for n in 0..1000 {
        let params = json!({"level": "info", "data": n});
        server.tell(&json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params}));
        if n % 32 == 0 {
            settle().await;
        }
    }
    settle().await;
    assert_eq!(names(&manager), ["two"]);
    clock.advance(Duration::from_millis(500));
    settle().await;
    assert_eq!(names(&manager), ["three"]);
}
