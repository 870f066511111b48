//! What the bridge adds: changed tools, exposed names, and fetching single things.

use axum::body::Body;
use axum::http::{Request, header};
use mcp_api::ApiKeys;
use mcp_bridge::View;
use mcp_registry::{Exposure, NameFilter, OnToolChange};
use mcp_testkit::Action;
use serde_json::{Value, json};

use crate::support::World;

const CHANGES: &str = "/api/v1/mcp/tool-changes";
const EXPOSED: &str = "/api/v1/mcp/exposed";

fn listing(description: &str) -> Action {
    let tool = json!({"name": "t", "description": description, "inputSchema": {"type": "object"}});
    Action::Result(json!({"tools": [tool]}).to_string())
}

/// Servers that list the tool `t`, and withhold it if it changes.
fn world(servers: &[&str]) -> World {
    let world = World::new(servers, |_| {});
    for name in servers {
        let mut definition = mcp_registry::Definition::clone(&world.manager.server(name).unwrap().definition);
        definition.on_tool_change = OnToolChange::Block;
        definition.discover_tools = false;
        world.manager.replace(definition).unwrap();
        world.cluster.script(name, "tools/list", [listing("adds")]);
    }
    world.bridged(|settings| {
        let filter = NameFilter { allow: Some(Vec::new()), deny: Vec::new() };
        let exposure = Exposure { tools: filter, ..Exposure::default() };
        settings.views = vec![View { name: "none".into(), servers: NameFilter::default(), exposure }];
    })
}

impl World {
    /// Asks the MCP endpoint of one server.
    async fn ask_mcp(&self, server: &str, method: &str, mut params: Value) -> Value {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let mut request = Request::post(format!("/mcp/{server}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header("MCP-Protocol-Version", "2026-07-28")
            .header("Mcp-Method", method);
        if let Some(name) = params["name"].as_str() {
            request = request.header("Mcp-Name", name);
        }
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.send(request.body(Body::from(body.to_string())).unwrap()).await.1
    }

    async fn list(&self, path: &str) -> Vec<Value> {
        let (status, mut list) = self.get(path).await;
        assert_eq!(status, 200, "{path} {list}");
        serde_json::from_value(list["items"].take()).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn s22_what_changed_is_shown_refused_and_approved() {
    let world = world(&["a"]);
    assert_eq!(world.list(EXPOSED).await[0]["exposed"], "a__t");
    assert_eq!(world.get(CHANGES).await, (200, json!({"items": []})));
    world.cluster.script("a", "tools/list", [listing("tells")]);
    let answer = world.ask_mcp("a", "tools/list", json!({})).await;
    assert_eq!(answer["result"]["tools"], json!([]), "{answer}");

    let changes = world.list(CHANGES).await;
    let [change] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!(change["current"]["since"], "2026-01-01T00:00:00Z");
    assert_eq!(
        (&change["server"], &change["tool"], &change["pending"], &change["withheld"], &change["approved"]),
        (&json!("a"), &json!("t"), &json!(true), &json!(true), &change["earlier"][0]["digest"])
    );
    let digest = change["current"]["digest"].as_str().unwrap();
    for (query, count) in [("server=a", 1), ("server=b", 0), ("pending=true", 1), ("pending=false", 0)] {
        assert_eq!(world.list(&format!("{CHANGES}?{query}")).await.len(), count, "{query}");
    }
    assert_eq!(
        world.list("/api/v1/mcp/registry-events?type=tool_changed").await[0]["detail"],
        json!({"tool": "t", "digest": digest, "withheld": true})
    );

    // No way of calling it is open.
    let answer = world.ask_mcp("a", "tools/call", json!({"name": "t", "arguments": {}})).await;
    assert_eq!(answer["error"]["data"]["reason"], "tool_changed", "{answer}");
    for (path, body) in [("invoke/tool", r#"{"tool_name":"t"}"#), ("servers/a/tools/t/call", "{}")] {
        let (status, body) = world.post(&format!("/api/v1/mcp/{path}"), body).await;
        assert_eq!(status, 403, "{path} {body}");
        assert!(body["detail"].as_str().unwrap().contains("mcp-gateway changes approve a TOOL"), "{body}");
    }
    assert!(world.cluster.calls().iter().all(|(_, method)| method != "tools/call"));

    let approve = async |tool: &str, digest: &str| {
        let body = json!({"server": "a", "tool": tool, "digest": digest}).to_string();
        world.post(&format!("{CHANGES}/approve"), &body).await
    };
    let earlier = change["approved"].as_str().unwrap();
    assert_eq!(approve("t", earlier).await.0, 409, "it is not that any more");
    assert_eq!(approve("u", digest).await.0, 409);
    let (status, body) = approve("t", "1234").await;
    assert_eq!((status, &body["detail"][0]["loc"]), (422, &json!(["body", "digest"])));
    let (status, body) = approve("t", digest).await;
    assert_eq!((status, &body["pending"], &body["approved"]), (200, &json!(false), &json!(digest)));
    let (status, body) = world.post("/api/v1/mcp/invoke/tool", r#"{"tool_name":"t"}"#).await;
    assert_eq!((status, &body["server"]), (200, &json!("a")), "{body}");
    assert_eq!(world.list(&format!("{CHANGES}?pending=false")).await.len(), 1, "the history stays");

    assert_eq!(world.ask("DELETE", "/api/v1/mcp/servers/a", "").await.0, 204);
    assert!(world.list(CHANGES).await.is_empty(), "an operator's removal forgets it");
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_to_the_server_whose_tool_is_as_approved() {
    let world = world(&["a", "b"]);
    assert_eq!(world.list(EXPOSED).await.len(), 2);
    let call = async |body: Value| {
        let (status, answer) = world.post("/api/v1/mcp/invoke/tool", &body.to_string()).await;
        (status, answer["server"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(call(json!({"tool_name": "t"})).await, (200, "a".to_owned()));
    world.cluster.script("a", "tools/list", [listing("tells")]);
    world.ask_mcp("a", "tools/list", json!({})).await;
    assert_eq!(call(json!({"tool_name": "t"})).await, (200, "b".to_owned()));
    assert_eq!(call(json!({"tool_name": "t", "preferred_servers": ["a"]})).await, (200, "b".to_owned()));
    let only = json!({"tool_name": "t", "preferred_servers": ["a"], "preferred_only": true});
    assert_eq!(call(only).await.0, 403);
}

#[tokio::test(start_paused = true)]
async fn exposed_names_are_told_with_what_is_hidden() {
    let world = World::new(&["a", "b"], |_| {});
    for name in ["a", "b"] {
        world.cluster.script(name, "tools/list", [listing("adds"), listing("adds")]);
    }
    let world = world.bridged(|settings| settings.prefix = false);
    let items = world.list(&format!("{EXPOSED}?kind=tool")).await;
    let spelled: Vec<_> = items
        .iter()
        .map(|item| {
            ["kind", "exposed", "owner", "servers", "hidden", "taken_by"].map(|key| item[key].to_string())
        })
        .map(|texts| texts.join(" "))
        .collect();
    assert_eq!(spelled, [r#""tool" "t" "a" ["a"] null null"#, r#""tool" "t" "b" ["b"] "taken" "a""#],);
    assert_eq!(items[0]["definition"]["description"], "adds");
    assert!(world.list(&format!("{EXPOSED}?kind=prompt")).await.is_empty());
    for (query, key) in [("kind=server", "kind"), ("views=x", "views")] {
        let (status, body) = world.get(&format!("{EXPOSED}?{query}")).await;
        assert_eq!((status, &body["detail"][0]["loc"]), (422, &json!(["query", key])), "{body}");
    }
    let (status, body) = world.get(&format!("{EXPOSED}?view=x")).await;
    assert_eq!((status, body), (404, json!({"detail": "no view is named \"x\""})));
}

#[tokio::test(start_paused = true)]
async fn single_things_are_fetched_as_clients_see_them() {
    let world = world(&["a"]);
    let read = r#"{"uri":"x://1"}"#;
    let (head, body) = {
        let request =
            Request::post("/api/v1/mcp/resources/read").header(header::CONTENT_TYPE, "application/json");
        world.exchange(request.body(Body::from(read)).unwrap()).await
    };
    assert_eq!((head.status.as_u16(), &body["result"]["contents"][0]["text"]), (200, &json!("a")), "{body}");
    assert_eq!(body["request_id"], head.headers["x-request-id"].to_str().unwrap());

    let (status, body) = world.post("/api/v1/mcp/prompts/get", r#"{"name":"a__p"}"#).await;
    assert_eq!(
        (status, &body["detail"][0]["loc"], &body["detail"][0]["msg"]),
        (422, &json!(["body", "name"]), &json!("Unknown prompt: a__p"))
    );
    for (path, body, status) in [
        ("resources/read", r#"{"uri":"x://1","view":"x"}"#, 404),
        ("resources/read", r#"{"uri":1}"#, 422),
        ("prompts/get", r#"{"name":"p","arguments":[]}"#, 422),
    ] {
        assert_eq!(world.post(&format!("/api/v1/mcp/{path}"), body).await.0, status, "{path} {body}");
    }
    world.cluster.script("a", "resources/read", [Action::HttpStatus(500)]);
    let (status, body) = world.post("/api/v1/mcp/resources/read", read).await;
    assert_eq!(status, 503, "{body}");
    assert!(body["detail"].as_str().is_some_and(|text| text.contains("500")), "{body}");
}

#[tokio::test]
async fn without_a_bridge_there_is_nothing_of_that() {
    let world = World::with_keys(&["a"], |_| {}, ApiKeys::default());
    for path in [EXPOSED, CHANGES] {
        assert_eq!(world.get(path).await, (409, json!({"detail": "the gateway serves no MCP clients"})));
    }
}

#[tokio::test]
async fn an_endpoint_is_found_by_its_path_however_that_is_spelled() {
    let world = world(&["a"]);
    for (plain, encoded) in
        [("a", "%61"), ("views/none", "views/n%6fne"), ("b", "%62"), ("views/b", "views/%62")]
    {
        let answer = world.ask_mcp(plain, "server/discover", json!({})).await;
        assert_eq!(world.ask_mcp(encoded, "server/discover", json!({})).await, answer, "{plain}");
        assert_eq!(answer["result"].is_object(), !plain.ends_with('b'), "{answer}");
    }
    for nowhere in ["views%2Fnone", "a/b", "a/", "%FF"] {
        let answer = world.ask_mcp(nowhere, "server/discover", json!({})).await;
        assert!(
            answer["detail"].as_str().is_some_and(|text| text.starts_with("there is no")),
            "{nowhere}: {answer}"
        );
    }
    // One that was found before is found for as long as its server is there.
    let server = mcp_registry::Definition::clone(&world.manager.server("a").unwrap().definition);
    assert_eq!(world.ask("DELETE", "/api/v1/mcp/servers/a", "").await.0, 204);
    let gone = world.ask_mcp("a", "server/discover", json!({})).await;
    assert!(gone["detail"].as_str().is_some_and(|text| text.starts_with("there is no")), "{gone}");
    world.manager.register(server).unwrap();
    let back = world.ask_mcp("a", "server/discover", json!({})).await;
    assert!(back["result"].is_object(), "{back}");
}
