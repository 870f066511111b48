//! Clients of the built-in transports with the demo server behind a real socket.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use mcp_clients::{
    ClientConfig, ClientFactory, ClientOptions, ClientRegistry, ConnectionState, Interest, McpClient,
    Notifications, RequestHandler, ResourceContents, ServerRequest,
};
use mcp_demo_server::{DemoOptions, serve_http, serve_sse};
use mcp_protocol::resource::ResourceUpdatedParams;
use mcp_protocol::{Era, EraPolicy, ErrorCode, Method, RawJson, RpcError};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long anything here may take. Only a hang takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

const COUNTER: &str = "demo://counter";

/// A demo server on a port of this machine, ended with this value.
struct Demo {
    port: u16,
    serving: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Legacy,
    Modern,
    Sse,
}

impl Demo {
    async fn start(kind: Kind) -> Self {
        Self::on(kind, TcpListener::bind(("127.0.0.1", 0)).await.unwrap())
    }

    fn on(kind: Kind, listener: TcpListener) -> Self {
        let port = listener.local_addr().unwrap().port();
        let era = if kind == Kind::Modern { Era::Stateless } else { Era::Handshake };
        let options = DemoOptions { protocol: EraPolicy::Only(era), ..DemoOptions::default() };
        let serving = tokio::spawn(async move {
            if kind == Kind::Sse {
                serve_sse(options, listener, std::future::pending()).await;
            } else {
                serve_http(options, listener, std::future::pending()).await;
            }
        });
        Self { port, serving }
    }

    fn config(&self, kind: Kind) -> (&'static str, ClientConfig) {
        let (transport, path) = if kind == Kind::Sse { ("sse", "sse") } else { ("http", "mcp") };
        (transport, json!({"url": format!("http://127.0.0.1:{}/{path}", self.port), "name": "demo"}).into())
    }

    /// Ends it, and waits until its port is free.
    async fn stop(mut self) {
        self.serving.abort();
        // Aborted.
        let _ = (&mut self.serving).await;
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn factory() -> ClientFactory {
    ClientFactory::new(ClientOptions::default()).unwrap()
}

async fn connected(demo: &Demo, kind: Kind) -> McpClient {
    let (transport, config) = demo.config(kind);
    let client = factory().create(transport, config).unwrap();
    let result = client.connect().await;
    assert!(result.success(), "{kind:?}: {result:?}");
    client
}

async fn counter(client: &McpClient) -> String {
    let contents = client.read_resource(COUNTER).await.unwrap();
    let [ResourceContents::Text(text)] = &contents[..] else { panic!("{contents:?}") };
    text.text.to_string()
}

/// Listens again on a port.
async fn on_port(port: u16) -> TcpListener {
    let listener = async {
        // It may be in use by connections that are still being closed.
        loop {
            match TcpListener::bind(("127.0.0.1", port)).await {
                Ok(listener) => return listener,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    timeout(PATIENCE, listener).await.expect("the port stays in use")
}

/// The next notification; of a resource with its URI.
async fn next(notifications: &mut Notifications) -> String {
    let told = timeout(PATIENCE, notifications.next()).await.expect("no notification").unwrap();
    match told.params {
        Some(params) if told.method == Method::ResourcesUpdated => {
            params.to::<ResourceUpdatedParams>().unwrap().uri.into()
        }
        _ => told.method.to_string(),
    }
}

#[tokio::test]
async fn every_operation_works_over_every_transport_of_urls() {
    for kind in [Kind::Legacy, Kind::Modern, Kind::Sse] {
        let demo = Demo::start(kind).await;
        let client = connected(&demo, kind).await;
        let told = client.initialize().unwrap();
        assert_eq!(told.protocol_version == "2026-07-28", kind == Kind::Modern, "{kind:?}");
        assert!(told.server_info.is_some() && told.capabilities.is_some());
        let tools = client.list_tools().await.unwrap();
        assert!(tools.iter().any(|tool| &*tool.name == "echo"), "{kind:?}");
        let echoed = client.call_tool("echo", &json!({"message": "hello"})).await.unwrap();
        assert_eq!(echoed.content[0].as_text(), Some("hello"));
        assert!(client.call_tool("fail", &json!({"message": "no"})).await.unwrap().failed());
        assert!(client.list_resources().await.unwrap().len() > 4, "more than a page");
        assert_eq!(client.list_resource_templates().await.unwrap().len(), 1);
        assert!(!client.list_prompts().await.unwrap().is_empty());
        assert_eq!(counter(&client).await, "0");
        assert!(client.ping().await);
        let stats = client.get_stats().unwrap();
        assert!(stats.requests_sent >= 8 && stats.errors_count >= 1, "{stats:?}");
        assert!(stats.last_activity >= stats.connected_at);
        client.disconnect().await;
        assert!(!client.ping().await);
        demo.stop().await;
    }
}

#[tokio::test]
async fn subscriptions_outlive_connections_and_tell_once_of_what_may_have_been_missed() {
    for kind in [Kind::Legacy, Kind::Modern] {
        let demo = Demo::start(kind).await;
        let (transport, config) = demo.config(kind);
        let client = factory().create(transport, config).unwrap();
        // The wish may come before the connection.
        let interest = Interest { tools: true, uris: [COUNTER.into()].into(), ..Interest::default() };
        let mut changes = client.subscribe(interest);
        let mut everything = client.notifications();
        client.connect().await;
        let subscribed = async {
            // Until the server has agreed, changes are not told.
            loop {
                client.call_tool("increment", &json!({})).await.unwrap();
                if let Ok(told) = timeout(Duration::from_millis(50), next(&mut changes)).await {
                    return told;
                }
            }
        };
        assert_eq!(timeout(PATIENCE, subscribed).await.unwrap(), COUNTER, "{kind:?}");
        client.call_tool("add_tool", &json!({"name": "added"})).await.unwrap();
        while next(&mut changes).await != "notifications/tools/list_changed" {}
        assert_eq!(next(&mut everything).await, COUNTER, "whoever wants everything gets it, too");

        assert!(client.reconnect().await.success());
        let mut told = [next(&mut changes).await, next(&mut changes).await];
        told.sort();
        assert_eq!(told, [COUNTER, "notifications/tools/list_changed"], "{kind:?}");
        client.call_tool("increment", &json!({})).await.unwrap();
        assert_eq!(next(&mut changes).await, COUNTER, "on the new connection, once");
        client.call_tool("remove_tool", &json!({"name": "added"})).await.unwrap();
        assert_eq!(next(&mut changes).await, "notifications/tools/list_changed", "{kind:?}");
        assert_eq!(changes.dropped(), 0);
        client.disconnect().await;
        drop(client);
        assert_eq!(changes.next().await, None, "the client is gone");
        demo.stop().await;
    }
}

#[tokio::test]
async fn a_server_that_comes_back_is_connected_again_by_itself() {
    let demo = Demo::start(Kind::Legacy).await;
    let registry = ClientRegistry::new(&ClientOptions::default());
    let client = connected(&demo, Kind::Legacy).await;
    registry.register("demo".parse().unwrap(), client.clone()).unwrap();
    let mut events = client.events();
    let port = demo.port;
    demo.stop().await;
    let call = async || client.call_tool("echo", &json!({"message": "x"})).await;
    let lost = async {
        // The first of them may break off on a connection that is just being closed, which is not the same.
        while client.is_connected() {
            assert!(call().await.is_err());
        }
    };
    timeout(PATIENCE, lost).await.expect("the loss is not noticed");
    let state = registry.get_server("demo").unwrap().record.connection_state;
    assert_ne!(state, ConnectionState::Connected);
    let demo = Demo::on(Kind::Legacy, on_port(port).await);
    let back = async {
        while !client.is_connected() {
            events.next().await.unwrap();
        }
    };
    timeout(PATIENCE, back).await.expect("it is not connected again");
    assert!(call().await.is_ok());
    let state = registry.get_server("demo").unwrap().record.connection_state;
    assert_eq!(state, ConnectionState::Connected);
    registry.unregister("demo").await.unwrap();
    demo.stop().await;
}

#[tokio::test]
async fn changes_are_told_after_a_server_has_forgotten_the_session() {
    for uris in [vec![COUNTER.to_owned()], vec![]] {
        let demo = Demo::start(Kind::Legacy).await;
        let client = connected(&demo, Kind::Legacy).await;
        let mut changes = client.subscribe(Interest {
            tools: true,
            uris: uris.into_iter().collect(),
            ..Interest::default()
        });
        let add_tools = async |client: &McpClient, changes: &mut Notifications| {
            for n in 0.. {
                // Whether it is there already is all the same.
                client.call_tool("add_tool", &json!({"name": format!("added{n}")})).await.unwrap();
                if let Ok(told) = timeout(Duration::from_millis(100), next(changes)).await {
                    return told;
                }
            }
            unreachable!()
        };
        let lists = "notifications/tools/list_changed";
        let told =
            timeout(PATIENCE, add_tools(&client, &mut changes)).await.expect("the stream is not opened");
        assert_eq!(told, lists);
        let port = demo.port;
        demo.stop().await;
        let demo = Demo::on(Kind::Legacy, on_port(port).await);
        // What may have been missed. Whoever has nothing to ask for learns of a new session as well.
        while next(&mut changes).await != lists {}
        let other = connected(&demo, Kind::Legacy).await;
        let told = async { while add_tools(&other, &mut changes).await != lists {} };
        timeout(PATIENCE, told).await.expect("connected, subscribed, and told of nothing");
        assert!(client.is_connected());
        demo.stop().await;
    }
}

/// Agrees to everything.
struct Agreeable;

impl RequestHandler for Agreeable {
    fn handle(&self, request: ServerRequest) -> BoxFuture<'_, Result<RawJson, RpcError>> {
        let answer = match request.method {
            Method::ElicitationCreate => json!({"action": "accept", "content": {"name": "Ada", "age": 36}}),
            Method::RootsList => json!({"roots": [{"uri": "file:///srv/data"}]}),
            _ => return Box::pin(ready(Err(RpcError::new(ErrorCode::METHOD_NOT_FOUND, "Method not found")))),
        };
        Box::pin(ready(RawJson::encode(&answer).map_err(|_| unreachable!())))
    }
}

#[tokio::test]
async fn what_servers_ask_reaches_the_handler_in_both_eras() {
    let mut options = ClientOptions::default();
    options.connect.handler = Some(Arc::new(Agreeable));
    options.connect.capabilities =
        RawJson::encode(&json!({"roots": {}, "elicitation": {"form": {}}})).unwrap();
    let factory = ClientFactory::new(options).unwrap();
    for kind in [Kind::Legacy, Kind::Modern, Kind::Sse] {
        let demo = Demo::start(kind).await;
        let (transport, config) = demo.config(kind);
        let client = factory.create(transport, config).unwrap();
        assert!(client.connect().await.success());
        let roots = client.call_tool("list_roots", &json!({})).await.unwrap();
        assert!(
            !roots.failed() && format!("{:?}", roots.content).contains("file:///srv/data"),
            "{kind:?}: {roots:?}"
        );
        client.disconnect().await;
        demo.stop().await;
    }
}
