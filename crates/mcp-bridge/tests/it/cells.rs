//! Every operation between clients and servers of either era: the demo server behind both kinds of connection.

use mcp_protocol::logging::LogLevel;
use mcp_protocol::{Method, ProtocolVersion};
use mcp_registry::InvocationFilter;
use mcp_server::{Principal, TransportShape};
use mcp_transport::TransportKind;
use serde_json::{Value, json};

use crate::demo;
use crate::net::Server;
use crate::support::*;

/// A client of any revision.
enum Client {
    Modern(Modern),
    Classic(Classic),
}

impl Client {
    async fn new(world: &World, version: ProtocolVersion, capabilities: Value) -> Self {
        if version == V2026_07_28 {
            Self::Modern(world.modern().able(capabilities))
        } else {
            Self::Classic(world.classic(version, capabilities).await)
        }
    }

    fn start(&self, method: Method, params: Value) -> Pending {
        match self {
            Self::Modern(client) => client.start(method, params),
            Self::Classic(client) => client.start(method, params),
        }
    }

    async fn call(&self, method: Method, params: Value) -> Value {
        self.start(method, params).ok().await
    }
}

/// Every client against every server.
async fn each_cell(check: impl AsyncFn(&World, &Server, ProtocolVersion)) {
    for (kind, version) in [
        (TransportKind::Stdio, V2025_11_25),
        (TransportKind::Stdio, V2026_07_28),
        (TransportKind::Http, V2025_11_25),
        (TransportKind::Http, V2026_07_28),
        (TransportKind::Sse, V2025_11_25),
    ] {
        let server = demo::server("demo", kind, version).await;
        for client in ProtocolVersion::ALL {
            let world = World::new(&[&server]);
            check(&world, &server, client).await;
        }
    }
}

#[tokio::test]
async fn lists_calls_reads_prompts_and_completions() {
    each_cell(async |world, server, version| {
        let what = format!("{version} to {} over {:?}", server.version(), server.kind());
        let client = Client::new(world, version, json!({})).await;
        let tools = client.call(Method::ToolsList, json!({})).await;
        assert!(names(&tools, "tools").contains(&"demo__echo".into()), "{what}: {tools}");
        assert_eq!(tools["resultType"], if version == V2026_07_28 { json!("complete") } else { Value::Null });
        assert_eq!(tools["ttlMs"].is_u64(), version == V2026_07_28, "{what}: {tools}");

        let params = json!({"name": "demo__echo", "arguments": {"message": "grüße"}});
        let echoed = client.call(Method::ToolsCall, params).await;
        assert_eq!(said(&echoed), "grüße", "{what}");
        assert_eq!(echoed["resultType"] == "complete", version == V2026_07_28, "{what}: {echoed}");

        let params = json!({"name": "demo__add", "arguments": {"a": 2, "b": 3}});
        let sum = client.call(Method::ToolsCall, params).await;
        let structured = (version >= V2025_06_18).then(|| json!({"sum": 5}));
        assert_eq!(sum.get("structuredContent"), structured.as_ref(), "{what}: {sum}");
        assert!(said(&sum).contains('5'), "{what}: {sum}");

        let resources = client.call(Method::ResourcesList, json!({})).await;
        assert!(names(&resources, "resources").contains(&"demo://counter".into()), "{what}: {resources}");
        let templates = client.call(Method::ResourceTemplatesList, json!({})).await;
        assert_eq!(names(&templates, "resourceTemplates"), ["demo://items/{id}"], "{what}");
        for uri in ["demo://text", "demo://items/77"] {
            let read = client.call(Method::ResourcesRead, json!({"uri": uri})).await;
            assert_eq!(read["contents"][0]["uri"], uri, "{what}");
        }

        let prompts = client.call(Method::PromptsList, json!({})).await;
        assert_eq!(names(&prompts, "prompts"), ["demo__greeting", "demo__essay"], "{what}");
        let params = json!({"name": "demo__essay", "arguments": {"topic": "gateways"}});
        let prompt = client.call(Method::PromptsGet, params).await;
        assert_eq!(prompt["messages"][0]["content"]["text"], "Write a brief essay about gateways.", "{what}");

        for (reference, argument, values) in [
            (
                json!({"type": "ref/prompt", "name": "demo__essay"}),
                ("style", "f"),
                json!(["formal", "friendly", "funny"]),
            ),
            (json!({"type": "ref/resource", "uri": "demo://items/{id}"}), ("id", "100"), json!(["100"])),
        ] {
            let argument = json!({"name": argument.0, "value": argument.1});
            let params = json!({"ref": reference, "argument": argument});
            let completed = client.call(Method::CompletionComplete, params).await;
            assert_eq!(completed["completion"]["values"], values, "{what}");
        }
    })
    .await;
}

#[tokio::test]
async fn errors_come_in_the_words_of_the_clients_revision() {
    each_cell(async |world, server, version| {
        let what = format!("{version} to {} over {:?}", server.version(), server.kind());
        let client = Client::new(world, version, json!({})).await;
        let modern = version == V2026_07_28;
        let tool = |name: &str, arguments: Value| {
            client.start(Method::ToolsCall, json!({"name": name, "arguments": arguments}))
        };
        let failed = tool("demo__fail", json!({"message": "no"})).ok().await;
        assert_eq!((&failed["isError"], said(&failed)), (&json!(true), "no"), "{what}");
        let unknown = tool("demo__nope", json!({})).err().await;
        assert_eq!(unknown["code"], -32602, "{what}: {unknown}");
        assert!(unknown["message"].as_str().unwrap().contains("demo__nope"), "{what}: {unknown}");
        // What an application says is passed on, what has a meaning on one leg alone is not.
        for (code, seen) in
            [(-32603, -32603), (-1, -1), (7, 7), (-32001, if modern { -32603 } else { -32001 })]
        {
            let error = tool("demo__rpc_error", json!({"code": code, "message": "boo"})).err().await;
            assert_eq!(error["code"], seen, "{what}: {error}");
            assert!(error["message"].as_str().unwrap().contains("boo"), "{what}: {error}");
            if seen != code {
                assert_eq!(error["data"]["reason"], "upstream_error", "{what}: {error}");
                assert!(error["data"].to_string().contains("-32001"), "{what}: {error}");
            }
        }
        let missing = client.start(Method::ResourcesRead, json!({"uri": "demo://items/999"})).err().await;
        assert_eq!(missing["code"], if modern { -32602 } else { -32002 }, "{what}: {missing}");
        assert_eq!(missing["data"]["uri"], "demo://items/999", "{what}: {missing}");
    })
    .await;
}

#[tokio::test]
async fn progress_and_log_messages_reach_whoever_wants_them() {
    each_cell(async |world, server, version| {
        let what = format!("{version} to {} over {:?}", server.version(), server.kind());
        let client = Client::new(world, version, json!({})).await;
        let slow = json!({"name": "demo__slow", "arguments": {"ms": 40, "steps": 4}, "_meta": {"progressToken": "mine"}});
        let call = client.start(Method::ToolsCall, slow);
        let probe = call.probe.clone();
        call.ok().await;
        let told = probe.told_of("notifications/progress");
        assert!(!told.is_empty(), "{what}");
        assert!(told.iter().all(|told| told["progressToken"] == "mine"), "{what}: {told:?}");
        let rising = told.windows(2).all(|pair| pair[0]["progress"].as_f64() < pair[1]["progress"].as_f64());
        assert!(rising, "{what}: {told:?}");

        let log = |client: &Client| {
            let params = json!({"name": "demo__log", "arguments": {"level": "notice", "message": "hear, hear"}});
            client.start(Method::ToolsCall, params)
        };
        let call = log(&client);
        let probe = call.probe.clone();
        call.ok().await;
        assert_eq!(probe.told_of("notifications/message"), Vec::<Value>::new(), "{what}: nobody asked for it");
        let call = match &client {
            Client::Modern(client) => {
                let mut client = client.clone();
                client.level = Some(LogLevel::Info);
                log(&Client::Modern(client))
            }
            Client::Classic(session) => {
                session.call(Method::LoggingSetLevel, json!({"level": "info"})).await;
                log(&client)
            }
        };
        let probe = call.probe.clone();
        call.ok().await;
        let told = probe.hear("notifications/message", 1).await;
        assert_eq!((&told["level"], &told["data"]), (&json!("notice"), &json!("hear, hear")), "{what}");
    })
    .await;
}

#[tokio::test]
async fn a_client_that_takes_a_call_back_has_the_server_told() {
    for kind in KINDS {
        for upstream in [V2025_11_25, V2026_07_28] {
            for version in [V2025_11_25, V2026_07_28] {
                let server = Server::scripted("s", kind, upstream).tools(&["t"]);
                let world = World::new(&[&server]);
                let client = Client::new(&world, version, json!({})).await;
                let call = client.start(Method::ToolsCall, json!({"name": "s__t"}));
                let asked = server.next(Method::ToolsCall).await;
                call.leave().await;
                asked.cancelled().await;
            }
        }
    }
}

#[tokio::test]
async fn what_the_servers_are_is_told_when_a_client_opens() {
    for upstream in [V2025_11_25, V2026_07_28] {
        let a = demo::server("a", TransportKind::Http, upstream).await;
        let b = Server::scripted("b", TransportKind::Stdio, upstream).instructing("Be kind.");
        let world = World::new(&[&a, &b]);
        for version in ProtocolVersion::ALL {
            let told = match Client::new(&world, version, json!({})).await {
                Client::Classic(session) => {
                    assert_eq!(session.opened["protocolVersion"], version.as_str());
                    assert_eq!(session.opened["serverInfo"]["name"], "gateway");
                    session.opened
                }
                Client::Modern(client) => {
                    let told = client.call(Method::ServerDiscover, json!({})).await;
                    let versions: Vec<_> =
                        ProtocolVersion::ALL.iter().rev().map(|version| version.as_str()).collect();
                    assert_eq!(told["supportedVersions"], json!(versions));
                    assert_eq!((&told["ttlMs"], &told["cacheScope"]), (&json!(0), &json!("private")));
                    assert_eq!(told["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "gateway");
                    told
                }
            };
            let instructions = told["instructions"].as_str().unwrap();
            assert!(
                instructions.starts_with("## a\n\n") && instructions.ends_with("## b\n\nBe kind."),
                "{told}"
            );
            for list in ["tools", "prompts", "resources"] {
                assert_eq!(told["capabilities"][list]["listChanged"], true, "{told}");
            }
            assert_eq!(told["capabilities"]["resources"]["subscribe"], true, "{told}");
            assert_eq!(told["capabilities"]["completions"].is_object(), version >= V2025_03_26, "{told}");
        }
        // One server alone is shown under its own name.
        let alone = world.classic_at(&one("b"), V2025_11_25, json!({})).await;
        assert_eq!(
            (&alone.opened["serverInfo"]["name"], &alone.opened["instructions"]),
            (&json!("b"), &json!("Be kind."))
        );
        let alone = world.modern_at(&one("b")).call(Method::ServerDiscover, json!({})).await;
        assert_eq!(alone["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "b");
        assert_eq!(alone["instructions"], "Be kind.");
    }
}

#[tokio::test]
async fn methods_of_the_other_era_are_unknown() {
    let server = demo::server("demo", TransportKind::Stdio, V2025_11_25).await;
    let world = World::new(&[&server]);
    let session = world.classic(V2025_11_25, json!({})).await;
    for method in [
        Method::SubscriptionsListen,
        Method::ServerDiscover,
        Method::from("tasks/update"),
        Method::from("x/y"),
    ] {
        let error = session.refused(method.clone(), json!({})).await;
        assert_eq!(error["code"], -32601, "{method}");
    }
    let client = world.modern();
    for method in [
        Method::LoggingSetLevel,
        Method::ResourcesSubscribe,
        Method::Ping,
        Method::from("tasks/list"),
        Method::from("x/y"),
    ] {
        let error = client.refused(method.clone(), json!({})).await;
        assert_eq!(error["code"], -32601, "{method}");
    }
}

#[tokio::test]
async fn the_request_id_is_said_where_there_are_no_headers_or_the_client_wants_it() {
    let server = demo::server("demo", TransportKind::Http, V2025_11_25).await;
    let world = World::new(&[&server]);
    let echo = json!({"name": "demo__echo", "arguments": {"message": "x"}});
    let mut wanting = echo.clone();
    wanting["_meta"] = json!({"mcp-gateway/requestId": true});
    for (shape, params, says) in [
        (TransportShape::Http, &echo, false),
        (TransportShape::Http, &wanting, true),
        (TransportShape::Stdio, &echo, true),
        (TransportShape::Sse, &echo, true),
    ] {
        let mut modern = world.modern();
        modern.transport = shape;
        let service = &*modern.service.clone();
        let classic = Classic::open(service, Principal::anonymous(), shape, V2025_11_25, json!({})).await;
        for (method, params) in
            [(Method::ToolsCall, params.clone()), (Method::ToolsList, json!({"_meta": params["_meta"]}))]
        {
            for call in [modern.start(method.clone(), &params), classic.start(method.clone(), &params)] {
                let probe = call.probe.clone();
                let result = call.ok().await;
                let said = result["_meta"].get(mcp_bridge::REQUEST_ID);
                // No server is asked for a list.
                let says = says && method == Method::ToolsCall;
                assert_eq!(said.is_some(), says, "{shape:?} {method} {params}");
                if method == Method::ToolsCall {
                    // What was passed on is found under it.
                    let [id] = &probe.ids()[..] else { panic!("{:?}", probe.ids()) };
                    assert!(said.is_none_or(|said| said == id.as_str()));
                    let of_call = InvocationFilter { request_id: Some(id), ..InvocationFilter::default() };
                    assert!(!world.manager.journal().invocation_events(&of_call).is_empty());
                }
            }
        }
        let level = json!({"level": "info", "_meta": params["_meta"]});
        let result = classic.start(Method::LoggingSetLevel, &level).ok().await;
        assert_eq!(result, json!({}), "{shape:?} {level}");
    }
}
