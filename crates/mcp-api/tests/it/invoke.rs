//! Calls with failover over HTTP.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use mcp_api_types::InvocationResult;
use mcp_registry::{AmbiguousFailover, RpcErrorPolicy};
use mcp_testkit::Action;
use serde_json::{Value, json};

use crate::support::{PB, World, attempts};

const TOOL: &str = "/api/v1/mcp/invoke/tool";
const MARK: &str = "/api/v1/mcp/servers/a/mark";
const RESOURCE: &str = "/api/v1/mcp/invoke/resource";
const CALL: &str =
    r#"{"tool_name":"search","arguments":{"q":12345678901234567890},"preferred_servers":["primary"]}"#;

#[tokio::test]
async fn c1_the_answer_says_who_served_and_what_was_tried() {
    let world = World::new(&["primary", "backup"], |_| {});
    world.cluster.script("primary", "tools/call", [Action::HttpStatus(503)]);
    let (status, body) = world.post(TOOL, CALL).await;
    assert_eq!(status, 200);
    assert_eq!((&body["server"], &body["method"]), (&json!("backup"), &json!("tools/call")));
    assert_eq!(body["raw_response"]["result"], body["result"]);
    assert_eq!(body["result"]["structuredContent"]["arguments"].to_string(), r#"{"q":12345678901234567890}"#);
    let tried: Vec<_> = body["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| (attempt["server"].as_str().unwrap(), attempt["success"].as_bool().unwrap()))
        .collect();
    assert_eq!(tried, [("primary", true), ("primary", false), ("backup", true), ("backup", true)]);
    for (name, status, initialized) in [("primary", "degraded", false), ("backup", "healthy", true)] {
        let server = world.server(name).await;
        assert_eq!((&server["status"], &server["initialized"]), (&json!(status), &json!(initialized)));
    }
    let typed: InvocationResult = serde_json::from_value(body).unwrap();
    assert_eq!(typed.attempts.len(), 4);
}

#[tokio::test]
async fn c3_without_servers_the_body_names_the_method_and_no_attempt() {
    let world = World::new(&[], |_| {});
    for (path, body, method) in
        [(TOOL, CALL, "tools/call"), (RESOURCE, r#"{"uri":"a://b"}"#, "resources/read")]
    {
        let (status, answer) = world.post(path, body).await;
        assert_eq!(status, 503);
        let detail = &answer["detail"];
        assert_eq!(detail["method"], method);
        assert_eq!((&detail["attempts"], &detail["code"]), (&json!([]), &json!("no_candidates")));
        assert!(detail["message"].as_str().unwrap().starts_with("no server is reachable"));
    }
    for stream in ["events", "invocation-events"] {
        assert_eq!(world.get(&format!("/api/v1/mcp/{stream}")).await.1, json!({"items": []}));
    }
}

#[tokio::test]
async fn c5_c6_c7_single_server_failures() {
    let table = [
        ("tools/call", "tools/call", Action::HttpStatus(503), "invoke", "http_status", "http status 503"),
        (
            "resources/read",
            "resources/read",
            Action::Malformed,
            "invoke",
            "invalid_payload",
            "not valid JSON",
        ),
        (
            "resources/read",
            "initialize",
            Action::RpcError { code: Some(-32000), message: Some("go away".into()) },
            "initialize",
            "rpc_error",
            "rpc error: go away",
        ),
    ];
    for (method, key, action, stage, category, text) in table {
        let world = World::new(&["a"], |_| {});
        world.cluster.script("a", key, [action]);
        let seen = world.request(method, &[]).await;
        assert_eq!((seen.status, &seen.answer["detail"]["method"]), (503, &json!(method)));
        let mut expected = vec![("a", stage, Some(category))];
        if stage == "invoke" {
            expected.insert(0, ("a", "initialize", None));
        }
        assert_eq!(attempts(&seen.answer), expected, "{key}");
        let last = seen.answer["detail"]["attempts"].as_array().unwrap().last().unwrap();
        let server = world.server("a").await;
        assert_eq!((&last["error"], &server["last_error"]), (&json!(text), &json!(text)), "{key}");
        assert_eq!(
            (&server["last_error_category"], &server["status"]),
            (&json!(category), &json!("degraded"))
        );
    }
}

#[tokio::test]
async fn c13_a_tool_that_reports_an_error_has_answered() {
    let world = World::pair(3);
    let result = r#"{"content":[],"isError":true}"#;
    world.cluster.script("primary", "tools/call", [Action::Result(result.into())]);
    let seen = world.request("tools/call", &PB).await;
    assert_eq!((seen.status, &*seen.server(), &*seen.transitions), (200, "primary", ""));
    assert_eq!(seen.answer["result"], json!({"content": [], "isError": true}));
    assert_eq!(seen.phases, "primary IS IY VS VY");
}

#[tokio::test]
async fn c15_the_callers_errors_degrade_nobody() {
    for (policy, code, status) in [
        (RpcErrorPolicy::Classify, "caller_error", "healthy"),
        (RpcErrorPolicy::AlwaysDegrade, "all_candidates_failed", "degraded"),
    ] {
        let world = World::new(&PB, |settings| settings.rpc_error_policy = policy);
        for name in PB {
            let action = Action::RpcError { code: Some(-32602), message: Some("no such tool".into()) };
            world.cluster.script(name, "tools/call", [action]);
        }
        let seen = world.request("tools/call", &PB).await;
        assert_eq!((seen.status, &seen.answer["detail"]["code"]), (503, &json!(code)));
        let of = |server| [(server, "initialize", None), (server, "invoke", Some("rpc_error"))];
        assert_eq!(attempts(&seen.answer), [of("primary"), of("backup")].concat());
        for name in PB {
            assert_eq!(world.server(name).await["status"], status);
        }
    }
}

#[tokio::test]
async fn c16_a_call_said_to_be_unsafe_is_not_repeated() {
    let call = r#"{"tool_name":"search","preferred_servers":["primary"],"idempotent":false}"#;
    for (policy, action, status) in [
        (AmbiguousFailover::UnlessUnsafe, Action::Timeout, 503),
        (AmbiguousFailover::UnlessUnsafe, Action::Error, 200),
        (AmbiguousFailover::Always, Action::Timeout, 200),
    ] {
        let world = World::new(&PB, |settings| settings.ambiguous_failover = policy);
        world.cluster.script("primary", "tools/call", [action]);
        let (got, answer) = world.post(TOOL, call).await;
        assert_eq!(got, status, "{answer}");
        if got == 503 {
            assert_eq!(answer["detail"]["code"], "ambiguous_not_retried");
            let tried = [("primary", "initialize", None), ("primary", "invoke", Some("network_timeout"))];
            assert_eq!(attempts(&answer), tried);
        }
    }
}

#[tokio::test]
async fn i6_the_failure_body_is_that_of_the_contract() {
    let world = World::new(&["primary", "backup"], |_| {});
    for _ in 0..2 {
        world.cluster.script("primary", "initialize", [Action::Timeout]);
        world.cluster.script("backup", "tools/call", [Action::HttpStatus(503)]);
        let (status, mut answer) = world.post(TOOL, CALL).await;
        assert_eq!(status, 503);
        for attempt in answer["detail"]["attempts"].as_array_mut().unwrap() {
            let attempt = attempt.as_object_mut().unwrap();
            attempt.remove("duration_ms");
            attempt.remove("delivery");
        }
        let expected = json!({"detail": {
            "message": "all candidates failed: primary: initialize: timed out after 30s; backup: invoke: http status 503",
            "method": "tools/call",
            "code": "all_candidates_failed",
            "attempts": [
                {"server": "primary", "stage": "initialize", "success": false,
                 "error": "timed out after 30s", "error_category": "network_timeout"},
                {"server": "backup", "stage": "initialize", "success": true, "error": null, "error_category": null},
                {"server": "backup", "stage": "invoke", "success": false,
                 "error": "http status 503", "error_category": "http_status"},
            ],
        }});
        assert_eq!(answer, expected);
        world.clock.advance(std::time::Duration::from_secs(60));
    }
}

#[tokio::test]
async fn bad_bodies_are_located() {
    let world = World::new(&["a"], |_| {});
    let deep = format!(r#"{{"tool_name":"x","arguments":{{"a":{}1{}}}}}"#, "[".repeat(200), "]".repeat(200));
    for (body, loc, kind) in
        [("{", json!(["body"]), "json_invalid"), (&deep, json!(["body"]), "json_invalid")]
    {
        let (status, answer) = world.post(TOOL, body).await;
        assert_eq!(status, 422, "{body}");
        assert_eq!(answer["detail"][0]["loc"], loc, "{answer}");
        assert_eq!(answer["detail"][0]["type"], kind, "{answer}");
    }
    let whole = "must be an integer of at least 1";
    for (rest, loc, msg) in [
        (r#""preferred_servers":["a",1]"#, json!(["body", "preferred_servers", 1]), "must be a string"),
        (r#""preferred_servers":"a""#, json!(["body", "preferred_servers"]), "must be a list"),
        (r#""preferred_only":"yes""#, json!(["body", "preferred_only"]), "must be true or false"),
        (r#""arguments":[]"#, json!(["body", "arguments"]), "must be a JSON object"),
        (r#""timeout_ms":0"#, json!(["body", "timeout_ms"]), whole),
        (r#""timeout_ms":-1"#, json!(["body", "timeout_ms"]), whole),
        (r#""timeout_ms":1.5"#, json!(["body", "timeout_ms"]), whole),
        (r#""timeout_ms":"1""#, json!(["body", "timeout_ms"]), whole),
        (r#""tool_name":"y""#, json!(["body", "tool_name"]), "is given twice"),
    ] {
        let (status, answer) = world.post(TOOL, &format!(r#"{{"tool_name":"x",{rest}}}"#)).await;
        let detail = json!([{"loc": loc, "msg": msg, "type": "value_error"}]);
        assert_eq!((status, answer), (422, json!({"detail": detail})), "{rest}");
    }
    for (path, body, loc, msg, kind) in [
        (TOOL, "{}", json!(["body", "tool_name"]), "is missing", "missing"),
        (TOOL, r#"["x"]"#, json!(["body"]), "must be a JSON object", "value_error"),
        (MARK, r#"{"as":7}"#, json!(["body", "as"]), "must be a string", "value_error"),
        (
            MARK,
            r#"{"as":"canary"}"#,
            json!(["body", "as"]),
            "must be one of `healthy`, `degraded`, `unavailable`",
            "value_error",
        ),
        (MARK, r#"{"like":1}"#, json!(["body", "like"]), "is unknown; use `as` or `reason`", "value_error"),
    ] {
        let (status, answer) = world.post(path, body).await;
        let detail = json!([{"loc": loc, "msg": msg, "type": kind}]);
        assert_eq!((status, answer), (422, json!({"detail": detail})), "{body}");
    }
}

#[tokio::test]
async fn what_is_kept_of_a_request_is_bounded() {
    let world = World::new(&["a"], |_| {});
    let long = "canary".repeat(3 << 20 >> 3);
    for (path, body, loc, most) in [
        (TOOL, json!({"tool_name": long}), json!(["body", "tool_name"]), 1024),
        (TOOL, json!({"tool_name": "x".repeat(1025)}), json!(["body", "tool_name"]), 1024),
        (TOOL, json!({"tool_name": "x", "group": long}), json!(["body", "group"]), 64),
        (RESOURCE, json!({"uri": "x", "group": "x".repeat(65)}), json!(["body", "group"]), 64),
        (
            TOOL,
            json!({"tool_name": "x", "preferred_servers": ["a", long]}),
            json!(["body", "preferred_servers", 1]),
            64,
        ),
        (
            &*format!("/api/v1/mcp/servers/a/tools/{}/call", "x".repeat(1025)),
            json!({}),
            json!(["path", "tool"]),
            1024,
        ),
    ] {
        let (status, answer) = world.post(path, &body.to_string()).await;
        let msg = format!("must be at most {most} bytes long");
        let detail = json!([{"loc": loc, "msg": msg, "type": "too_long"}]);
        assert_eq!((status, answer), (422, json!({"detail": detail})));
    }
    assert_eq!(world.cluster.calls(), []);
    let longest = json!({"tool_name": "x".repeat(1024), "group": "g".repeat(64), "preferred_servers": ["b".repeat(64)]});
    assert_eq!(world.post(TOOL, &longest.to_string()).await.0, 503, "nobody is of that group");
    let tool = "x".repeat(1024);
    assert_eq!(world.post(&format!("/api/v1/mcp/servers/a/tools/{tool}/call"), "{}").await.0, 200);
}

#[tokio::test]
async fn s04_only_json_reaches_a_handler() {
    let world = World::new(&["a"], |_| {});
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
        let request =
            Request::post(TOOL).header(header::CONTENT_TYPE, content_type).body(Body::from(CALL)).unwrap();
        assert_eq!(world.send(request).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type:?}");
    }
    let json = "application/json; charset=utf-8";
    let request = Request::post(TOOL).header(header::CONTENT_TYPE, json).body(Body::from(CALL)).unwrap();
    assert_eq!(world.send(request).await.0, StatusCode::OK);
}

#[tokio::test]
async fn s35_bodies_are_bounded() {
    let world = World::new(&["a"], |_| {});
    for (path, limit) in [(TOOL, 4 << 20), ("/api/v1/mcp/servers", 1 << 20)] {
        let (status, body) = world.post(path, &" ".repeat(limit + 1)).await;
        assert_eq!(
            (status, body),
            (413, json!({"detail": "the body is larger than 4 MiB for a call, or 1 MiB for anything else"}))
        );
        assert_eq!(world.post(path, &" ".repeat(limit)).await.0, 422);
    }
    assert_eq!(world.get("/api/v1/mcp/events").await.1["items"], Value::Array(vec![]));
}
