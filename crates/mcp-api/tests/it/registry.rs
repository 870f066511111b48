//! Registering, checking, initialising, events, keys.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use mcp_api::ApiKeys;
use serde_json::{Value, json};

use crate::support::World;

const SERVERS: &str = "/api/v1/mcp/servers";

#[tokio::test]
async fn i1_register_list_get_check_delete_twice() {
    let world = World::new(&[], |_| {});
    let body = r#"{"name":"primary","url":"https://primary.example","protocol":"legacy"}"#;
    let (status, server) = world.post(SERVERS, body).await;
    assert_eq!(status, 201);
    assert_eq!(server["url"], "https://primary.example/mcp");
    assert_eq!((&server["status"], &server["initialized"]), (&json!("healthy"), &json!(false)));
    let (status, list) = world.get(SERVERS).await;
    assert_eq!((status, list["items"].as_array().unwrap().len()), (200, 1));
    assert_eq!(list["adapter_controls_available"], true);
    assert_eq!(world.get("/api/v1/mcp/servers/primary").await.0, 200);
    assert_eq!(world.post("/api/v1/mcp/servers/primary/health-check", "").await.0, 200);
    assert_eq!(world.ask("DELETE", "/api/v1/mcp/servers/primary", "").await, (204, Value::Null));
    let (status, body) = world.ask("DELETE", "/api/v1/mcp/servers/primary", "").await;
    assert_eq!(
        (status, body),
        (404, json!({"detail": "no server is named \"primary\"; none is registered"}))
    );
}

#[tokio::test]
async fn every_mandatory_key_of_a_server_is_present() {
    let world = World::new(&["a"], |_| {});
    let (_, server) = world.get("/api/v1/mcp/servers/a").await;
    for key in [
        "name",
        "url",
        "status",
        "last_error",
        "last_error_category",
        "retry_count",
        "last_checked_at",
        "next_retry_at",
        "initialized",
        "protocol_version",
        "last_initialized_at",
        "initialization_expires_at",
        "adapter_controls_available",
        "capability_snapshot",
        "adapter_session",
    ] {
        assert!(server.as_object().unwrap().contains_key(key), "{key}");
    }
    let session =
        json!({"active": false, "initialized": false, "last_activity_at": null, "freshness": "unknown"});
    assert_eq!(server["adapter_session"], session);
}

#[tokio::test]
async fn i2_bad_registrations_say_where_they_are_wrong() {
    let world = World::new(&["a"], |policy| policy.max_servers = 1);
    for (body, status, loc) in [
        (r#"{"name":"b","url":"not a url"}"#, 422, json!(["body", "url"])),
        (r#"{"name":"b","url":"ftp://x.example"}"#, 422, json!(["body", "url"])),
        (r#"{"name":"","url":"https://x.example"}"#, 422, json!(["body", "name"])),
        (r#"{"url":"https://x.example"}"#, 422, json!(["body", "name"])),
        (r#"{"name":"b","url":"https://x.example","colour":"red"}"#, 422, json!(["body", "colour"])),
        (r#"{"name":"b""#, 422, json!(["body"])),
    ] {
        let (got, answer) = world.post(SERVERS, body).await;
        assert_eq!((got, &answer["detail"][0]["loc"]), (status, &loc), "{body} {answer}");
        assert!(answer["detail"][0]["msg"].as_str().is_some_and(|msg| !msg.is_empty()), "{body}");
    }
    assert_eq!(world.post(SERVERS, r#"{"name":"b","command":"sh"}"#).await.0, 403);
    assert_eq!(world.post(SERVERS, r#"{"name":"b","url":"https://x.example"}"#).await.0, 409);
    assert_eq!(world.post(SERVERS, r#"{"name":"a","url":"https://x.example"}"#).await.0, 201);
}

#[tokio::test]
async fn i3_unknown_names_are_404_everywhere() {
    let world = World::new(&["a"], |_| {});
    let paths = [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/health-check"),
        ("POST", "/initialize"),
        ("POST", "/connect"),
        ("GET", "/tools"),
        ("POST", "/refresh-tools"),
        ("POST", "/adapter/invalidate"),
        ("POST", "/adapter/refresh"),
    ];
    for (method, path) in paths {
        let (status, body) = world.ask(method, &format!("{SERVERS}/x{path}"), "").await;
        assert_eq!(status, 404, "{method} {path}");
        assert_eq!(body, json!({"detail": "no server is named \"x\"; there are: a"}));
    }
    assert_eq!(world.get("/api/v1/mcp/nothing").await.0, 404);
    assert_eq!(world.ask("PATCH", SERVERS, "").await.0, 405);
}

#[tokio::test]
async fn a_path_that_is_no_text_says_so_in_json() {
    let world = World::new(&["a"], |_| {});
    for (method, path) in
        [("GET", "%ff"), ("DELETE", "%ff"), ("GET", "%ff/tools"), ("POST", "%C3%28/initialize?force=true")]
    {
        let (status, body) = world.ask(method, &format!("{SERVERS}/{path}"), "").await;
        assert_eq!((status, &body["detail"][0]["loc"]), (422, &json!(["path", "name"])), "{path} {body}");
    }
    assert_eq!(world.get("/api/v1/mcp/servers/%61").await.0, 200);
}

#[tokio::test]
async fn i4_a_failing_probe_is_an_answer_and_one_event() {
    let world = World::new(&["a"], |_| {});
    world.cluster.health("a", [Err("refused".into())]);
    let (status, server) = world.post("/api/v1/mcp/servers/a/health-check", "").await;
    assert_eq!(status, 200);
    assert_eq!(
        (&server["status"], &server["last_error"], &server["last_error_category"]),
        (&json!("degraded"), &json!("refused"), &json!("health_check"))
    );
    let (_, events) = world.get("/api/v1/mcp/events").await;
    let items = events["items"].as_array().unwrap();
    assert_eq!(items.len(), 1);
    assert_eq!((&items[0]["to_status"], &items[0]["correlation_id"]), (&json!("degraded"), &Value::Null));
    let (_, events) = world.get("/api/v1/mcp/registry-events?type=server_registered").await;
    assert_eq!(events["items"][0]["server"], "a");
}

#[tokio::test]
async fn i5_initialize_and_connect_report_good_and_bad_servers_alike() {
    for action in ["initialize", "connect"] {
        let world = World::new(&["bad", "good"], |_| {});
        world.cluster.script("bad", "initialize", [mcp_testkit::Action::Error]);
        let (status, list) = world.post(&format!("{SERVERS}/{action}"), "").await;
        assert_eq!(status, 200);
        let seen: Vec<_> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|server| (server["name"].as_str().unwrap(), server["initialized"].as_bool().unwrap()))
            .collect();
        assert_eq!(seen, [("bad", false), ("good", true)], "{action}");
        let (status, server) = world.post(&format!("{SERVERS}/bad/{action}?force=true"), "").await;
        assert_eq!((status, &server["initialized"]), (200, &json!(true)), "{action}");
    }
}

#[tokio::test]
async fn unknown_and_repeated_parameters_are_422_with_their_place() {
    let world = World::new(&["a"], |_| {});
    for (path, key) in [
        ("events?limit=1&limit=2", "limit"),
        ("events?unknown=1", "unknown"),
        ("events?server=a&%73erver_name=a", "server_name"),
        ("invocation-events?correlation_id=x", "correlation_id"),
        ("registry-events?kind=x", "kind"),
        ("adapter-sessions?a%3A%20b", "a: b"),
    ] {
        let (status, body) = world.get(&format!("/api/v1/mcp/{path}")).await;
        assert_eq!((status, &body["detail"][0]["loc"]), (422, &json!(["query", key])), "{path} {body}");
        let issue = &body["detail"][0];
        assert!(issue["msg"].as_str().is_some_and(|msg| !msg.contains("query string")), "{path} {body}");
    }
    for path in ["initialize", "connect", "a/initialize", "a/connect"] {
        let (status, body) = world.post(&format!("{SERVERS}/{path}?forced=true"), "").await;
        assert_eq!((status, &body["detail"][0]["loc"]), (422, &json!(["query", "forced"])), "{path} {body}");
    }
}

#[tokio::test]
async fn a_query_where_none_is_read_is_422() {
    let world = World::new(&["a"], |_| {});
    for (method, path, body) in [
        ("GET", "servers", ""),
        ("GET", "servers/a", ""),
        ("DELETE", "servers/a", ""),
        ("PUT", "servers/a", r#"{"url":"https://x.example"}"#),
        ("POST", "servers/a/mark", r#"{"as":"degraded"}"#),
        ("POST", "servers/a/refresh-tools", ""),
        ("GET", "stats", ""),
        ("POST", "reload", ""),
        ("POST", "invoke/tool", r#"{"tool_name":"x"}"#),
        ("POST", "invoke/resource", r#"{"uri":"x"}"#),
        ("POST", "servers/a/tools/x/call", "{}"),
    ] {
        let (status, answer) =
            world.ask(method, &format!("/api/v1/mcp/{path}?timeout%5Fms=secret"), body).await;
        let detail = json!([{"loc": ["query", "timeout_ms"], "type": "value_error",
                             "msg": "is unknown; this path takes no parameters"}]);
        assert_eq!((status, answer), (422, json!({"detail": detail})), "{method} {path}");
    }
    assert_eq!(world.cluster.calls(), [], "none was carried out");
    assert_eq!(world.get("/api/v1/mcp/servers?").await.0, 200, "nothing is asked by it");
}

#[tokio::test]
async fn readiness_follows_start_and_shutdown() {
    let world = World::new(&[], |_| {});
    assert_eq!(world.get("/healthz").await, (200, json!({"status": "ok"})));
    assert_eq!(world.get("/api/v1/health").await, (200, json!({"status": "ok"})));
    for (status, word) in [(503, "starting"), (200, "ready"), (503, "draining")] {
        let (got, body) = world.get("/readyz").await;
        assert_eq!((got, &body["status"]), (status, &json!(word)));
        match word {
            "starting" => world.state.set_ready(),
            _ => drop(world.manager.shutdown(std::time::Duration::ZERO).await),
        }
    }
}

#[tokio::test]
async fn s05_without_a_key_only_the_public_list_answers() {
    let key = "0123456789abcdef0123456789abcdef";
    let world = World::with_keys(&["a"], |_| {}, ApiKeys::new(&[key.into()]));
    world.state.set_ready();
    let ask = |method: &str, path: &str, key: Option<&str>| {
        let mut request =
            Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        world.send(request.body(Body::from("{}")).unwrap())
    };
    for (method, path) in [
        ("GET", "/api/v1/mcp/servers"),
        ("POST", "/api/v1/mcp/servers"),
        ("DELETE", "/api/v1/mcp/servers/a"),
        ("POST", "/api/v1/mcp/invoke/tool"),
        ("GET", "/api/v1/mcp/events"),
        ("GET", "/api/v1/health"),
        ("GET", "/api/v1/mcp/servers/"),
        ("GET", "//api/v1/mcp/servers"),
        ("GET", "/api/v1/mcp/%73ervers"),
        ("GET", "/no/such/path"),
    ] {
        assert_eq!(ask(method, path, None).await.0, StatusCode::UNAUTHORIZED, "{method} {path}");
        assert_eq!(ask(method, path, Some("wrong")).await.0, StatusCode::UNAUTHORIZED, "{method} {path}");
    }
    assert_eq!(ask("GET", "/api/v1/mcp/servers", Some(key)).await.0, StatusCode::OK);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(ask("GET", path, None).await.0, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn without_a_configuration_file_there_is_nothing_to_reload() {
    let world = World::new(&[], |_| {});
    let (status, body) = world.post("/api/v1/mcp/reload", "").await;
    assert_eq!(
        (status, body),
        (409, json!({"detail": "the gateway was started without a configuration file"}))
    );
}
