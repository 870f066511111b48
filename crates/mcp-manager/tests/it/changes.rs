//! R22, contract §8.3: servers that say that their tools have changed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{BoxFuture, ready};
use mcp_manager::{Manager, Setup};
use mcp_protocol::{Limits, Message, Method, Request};
use mcp_registry::{Definition, Policy};
use mcp_testkit::{Dice, ManualClock};
use mcp_transport::{
    Connector, Endpoint, HttpEndpoint, Inbox, Incoming, Outbound, Reply, StdioEndpoint, Transport,
    TransportError,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

type Stream = mpsc::Sender<Result<Incoming, TransportError>>;

/// A server whose tools can be changed. Of the handshake era over stdio, stateless over HTTP.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    tools: Vec<String>,
    listed: usize,
    /// Where the server says that its tools have changed.
    told_on: Option<Stream>,
}

impl Server {
    /// Changes the tools and says so.
    fn change(&self, tools: &[&str]) {
        self.0.lock().unwrap().tools = tools.iter().map(ToString::to_string).collect();
        let frame = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
        let told_on = self.0.lock().unwrap().told_on.clone().unwrap();
        told_on.try_send(Ok(incoming(&frame))).unwrap();
    }

    fn listed(&self) -> usize {
        self.0.lock().unwrap().listed
    }

    fn result(&self, method: &Method) -> Option<Value> {
        let capabilities = json!({"tools": {"listChanged": true}});
        let mut state = self.0.lock().unwrap();
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
    fn answer(&self, Request { id, method, .. }: &Request) -> Reply {
        if *method == Method::SubscriptionsListen {
            let (stream, inbox) = channel();
            let acknowledged = json!({
                "jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
                "params": {"notifications": {"toolsListChanged": true}},
            });
            stream.try_send(Ok(incoming(&acknowledged))).unwrap();
            self.server.0.lock().unwrap().told_on = Some(stream);
            return Reply::Own(inbox);
        }
        let era_is_other =
            if self.shared.is_some() { Method::ServerDiscover } else { Method::Initialize } == *method;
        let result = self.server.result(method).filter(|_| !era_is_other);
        let answer = match result {
            Some(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            None => json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "no"}}),
        };
        match &self.shared {
            Some(shared) => {
                shared.try_send(Ok(incoming(&answer))).unwrap();
                Reply::Inbox
            }
            None => Reply::Own(futures::stream::iter([Ok(incoming(&answer))]).boxed()),
        }
    }
}

impl Transport for Wire {
    fn send(&self, out: Outbound) -> BoxFuture<'_, Result<Reply, TransportError>> {
        Box::pin(ready(Ok(match &out.message {
            Message::Request(request) => self.answer(request),
            _ => Reply::Accepted,
        })))
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
            self.0.lock().unwrap().told_on = Some(stream.clone());
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
    let (server, clock) = (Server::default(), ManualClock::new());
    server.0.lock().unwrap().tools = vec!["one".to_owned()];
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
        if server.0.lock().unwrap().told_on.is_some() {
            server.change(&["two"]);
        }
        settle().await;
        assert_eq!((server.listed(), names(&manager)), (before, vec!["fixed".to_owned()]));
    }
}
