//! Contract §6.3: looking after servers, directed calls, and the presets of §8.7.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use mcp_config::{Config, Format, preset};
use mcp_registry::HealthView;
use mcp_testkit::Action;
use serde_json::{Value, json};

use crate::support::World;

const SERVERS: &str = "/api/v1/mcp/servers";

fn at<'a>(value: &'a Value, keys: &[&str]) -> Vec<&'a Value> {
    keys.iter().map(|key| &value[*key]).collect()
}

#[tokio::test]
async fn i8_put_replaces_what_is_registered() {
    let world = World::new(&["a"], |_| {});
    world.manager.initialize("a", false).await.unwrap();
    let path = format!("{SERVERS}/a");
    let (status, server) =
        world.ask("PUT", &path, r#"{"url":"https://new.example/x","protocol":"legacy","priority":70}"#).await;
    assert_eq!(status, 200);
    assert_eq!(
        at(&server, &["name", "url", "priority", "initialized", "health_view"]),
        [&json!("a"), &json!("https://new.example/x"), &json!(70), &json!(false), &json!("unknown")]
    );
    assert_eq!(world.ask("PUT", &path, r#"{"name":"a","url":"https://new.example"}"#).await.0, 200);

    for (body, status, loc) in [
        (r#"{"name":"b","url":"https://new.example"}"#, 422, json!(["body", "name"])),
        (r#"{"url":"ftp://new.example"}"#, 422, json!(["body", "url"])),
        (r#"{"url":"https://new.example","colour":"red"}"#, 422, json!(["body", "colour"])),
        ("[]", 422, json!(["body"])),
    ] {
        let (got, answer) = world.ask("PUT", &path, body).await;
        assert_eq!((got, &answer["detail"][0]["loc"]), (status, &loc), "{body} {answer}");
    }
    assert_eq!(world.ask("PUT", &path, r#"{"command":"sh"}"#).await.0, 403);
    let (status, body) = world.ask("PUT", &format!("{SERVERS}/x"), "not read").await;
    assert_eq!((status, body), (404, json!({"detail": "no server is named \"x\"; there are: a"})));
    let (_, server) = world.get(&path).await;
    assert_eq!(server["url"], "https://new.example/mcp", "what was refused changed nothing");
}

#[tokio::test]
async fn i8_capabilities_are_null_before_the_first_handshake() {
    let world = World::new(&["a"], |_| {});
    let path = format!("{SERVERS}/a/capabilities");
    assert_eq!(world.get(&path).await, (200, Value::Null));
    let (_, server) = world.post(&format!("{SERVERS}/a/initialize"), "").await;
    let (status, snapshot) = world.get(&path).await;
    assert_eq!((status, &snapshot), (200, &server["capability_snapshot"]));
    assert_eq!(snapshot["server_info"], json!({"name": "a", "version": "1.0.0"}));
}

#[tokio::test]
async fn i8_health_is_read_without_a_probe() {
    let world = World::new(&["a", "b"], |_| {});
    let unknown = |server: &str| {
        json!({"server": server, "health_view": "unknown", "last_checked_at": null, "response_time_ms": null,
               "error_message": null, "consecutive_failures": 0})
    };
    assert_eq!(
        world.get("/api/v1/mcp/health").await,
        (200, json!({"items": [unknown("a"), unknown("b")]})),
        "asking is no check"
    );
    world.cluster.health("a", [Err("refused".into())]);
    world.post(&format!("{SERVERS}/a/health-check"), "").await;
    let expected = json!({"server": "a", "health_view": "unhealthy", "last_checked_at": "2026-01-01T00:00:00Z",
                          "response_time_ms": null, "error_message": "refused", "consecutive_failures": 1});
    for _ in 0..2 {
        assert_eq!(world.get(&format!("{SERVERS}/a/health")).await, (200, expected.clone()));
    }
    assert_eq!(world.get("/api/v1/mcp/health").await.1, json!({"items": [expected, unknown("b")]}));
}

#[tokio::test]
async fn i8_a_mark_is_a_check_result() {
    let world = World::new(&["a"], |_| {});
    let path = format!("{SERVERS}/a/mark");
    for (body, expected) in [
        (r#"{"as":"degraded","reason":"slow disk"}"#, json!(["degraded", "slow disk", 1])),
        (r#"{"as":"unavailable"}"#, json!(["unreachable", "health check failed", 3])),
        (r#"{"as":"healthy"}"#, json!(["healthy", null, 0])),
        (r#"{"as":"degraded","reason":""}"#, json!(["degraded", "health check failed", 1])),
        (r#"{"as":"healthy","reason":""}"#, json!(["healthy", null, 0])),
    ] {
        let (status, server) = world.post(&path, body).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(
            at(&server, &["status", "last_error", "retry_count"]),
            expected.as_array().unwrap().iter().collect::<Vec<_>>(),
            "{body}"
        );
    }
    let (_, events) = world.get("/api/v1/mcp/events").await;
    let reasons: Vec<_> = events["items"].as_array().unwrap().iter().map(|event| &event["reason"]).collect();
    assert_eq!(reasons, ["slow disk", "health check failed", "healthy", "health check failed", "healthy"]);

    let long = format!(r#"{{"as":"degraded","reason":"{}"}}"#, "x".repeat(1025));
    for (body, loc) in [
        (r#"{"as":"unreachable"}"#, json!(["body", "as"])),
        (r#"{"reason":"x"}"#, json!(["body", "as"])),
        (&*long, json!(["body", "reason"])),
        (r#"{"as":"healthy","reason":"disk replaced"}"#, json!(["body", "reason"])),
    ] {
        let (status, answer) = world.post(&path, body).await;
        assert_eq!((status, &answer["detail"][0]["loc"]), (422, &loc), "{answer}");
    }
}

#[tokio::test]
async fn i8_stats_sum_up_the_registry() {
    let world = World::new(&["a", "b", "c"], |_| {});
    let zero = json!({"total_servers": 3, "connected_servers": 0, "disconnected_servers": 3, "error_servers": 0,
                      "critical_servers_down": 0, "total_requests": 0, "total_errors": 0});
    assert_eq!(world.get("/api/v1/mcp/stats").await, (200, zero));

    for name in ["b", "c"] {
        let body = json!({"url": format!("https://{name}.example"), "protocol": "legacy", "critical": true});
        world.ask("PUT", &format!("{SERVERS}/{name}"), &body.to_string()).await;
    }
    world.post(&format!("{SERVERS}/b/mark"), r#"{"as":"unavailable"}"#).await;
    world.post(&format!("{SERVERS}/c/mark"), r#"{"as":"degraded"}"#).await;
    world.cluster.script("a", "tools/call", [Action::RpcError { code: Some(-32000), message: None }]);
    world
        .post(
            "/api/v1/mcp/invoke/tool",
            r#"{"tool_name":"x","preferred_servers":["a"],"preferred_only":true}"#,
        )
        .await;
    let stats = json!({"total_servers": 3, "connected_servers": 1, "disconnected_servers": 1, "error_servers": 1,
                       "critical_servers_down": 1, "total_requests": 2, "total_errors": 1});
    assert_eq!(world.get("/api/v1/mcp/stats").await, (200, stats), "a handshake and a call");
}

#[tokio::test]
async fn i8_a_check_can_be_forced_inside_the_retry_window() {
    let world = World::new(&["a"], |_| {});
    world.post(&format!("{SERVERS}/a/mark"), r#"{"as":"degraded"}"#).await;
    for (path, probes) in [
        ("a/health-check", 0),
        ("health-check", 0),
        ("a/health-check?force=true", 1),
        ("health-check?force=true", 2),
    ] {
        assert_eq!(world.post(&format!("{SERVERS}/{path}"), "").await.0, 200, "{path}");
        assert_eq!(world.cluster.probes(), probes, "{path}");
        if probes == 1 {
            assert_eq!(world.get(&format!("{SERVERS}/a")).await.1["status"], "healthy");
            world.post(&format!("{SERVERS}/a/mark"), r#"{"as":"degraded"}"#).await;
        }
    }
    assert_eq!(world.get(&format!("{SERVERS}/a")).await.1["status"], "healthy");
}

#[tokio::test]
async fn i8_connections_are_ended_and_made_anew() {
    let world = World::new(&["a"], |_| {});
    world.manager.initialize("a", false).await.unwrap();
    let expected = [
        ("disconnect", json!(["disconnected", false, "healthy"]), (1, 1)),
        ("reconnect", json!(["connected", true, "healthy"]), (2, 1)),
        ("reconnect", json!(["connected", true, "healthy"]), (3, 2)),
    ];
    for (action, state, sessions) in expected {
        let (status, server) = world.post(&format!("{SERVERS}/a/{action}"), "").await;
        assert_eq!(status, 200, "{action}");
        assert_eq!(
            json!([server["connection_state"], server["initialized"], server["status"]]),
            state,
            "{action}"
        );
        assert_eq!((world.cluster.opened("a"), world.cluster.closed("a")), sessions, "{action}");
    }
    world.cluster.script("a", "initialize", [Action::Error, Action::Error, Action::Error]);
    let path = format!("{SERVERS}/a/reconnect");
    let (status, server) = moving_the_clock(&world, world.post(&path, "")).await;
    assert_eq!(
        (status, &server["status"], &server["connection_state"]),
        (200, &json!("unreachable"), &json!("error")),
        "a failed reconnect is an answer"
    );
}

/// The outcome of `work`; whenever it waits for the clock, the clock moves on.
async fn moving_the_clock<T>(world: &World, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = tokio::task::yield_now() => {}
        }
        if let Some(at) = world.clock.next_wake() {
            world.clock.advance(at.since(world.manager.now()));
        }
    }
}

/// Posts a JSON body; gives the status, the `X-Request-Id` header and the body.
async fn post(world: &World, path: &str, body: &str) -> (u16, Option<String>, Value) {
    let request = Request::post(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_owned()))
        .unwrap();
    let (head, body) = world.exchange(request).await;
    let id = head.headers.get("x-request-id").map(|id| id.to_str().unwrap().to_owned());
    (head.status.as_u16(), id, body)
}

#[tokio::test]
async fn i8_a_directed_call_stays_with_its_server() {
    let world = World::new(&["a", "b"], |_| {});
    let path = format!("{SERVERS}/a/tools/se%2Farch%20x/call");
    let (status, id, body) = post(&world, &path, r#"{"parameters":{"q":12345678901234567890}}"#).await;
    assert_eq!((status, &body["server"], &body["method"]), (200, &json!("a"), &json!("tools/call")));
    assert_eq!(id.as_deref(), body["request_id"].as_str());
    assert_eq!(body["result"]["structuredContent"]["arguments"].to_string(), r#"{"q":12345678901234567890}"#);
    assert_eq!(body["raw_response"]["result"], body["result"]);

    world.cluster.script("a", "tools/call", [Action::HttpStatus(500), Action::Timeout, Action::Ok]);
    let (status, _, body) = moving_the_clock(&world, post(&world, &path, "{}")).await;
    assert_eq!(status, 200);
    let tried: Vec<_> = body["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tried| json!([tried["stage"], tried["attempt"], tried["success"]]))
        .collect();
    assert_eq!(
        tried,
        [
            json!(["initialize", null, true]),
            json!(["invoke", 1, false]),
            json!(["invoke", 2, false]),
            json!(["invoke", 3, true]),
        ]
    );
    assert!(body["attempts"][0].get("attempt").is_none(), "the key is absent where it says nothing");
    assert_eq!(world.clock.elapsed().as_secs(), 3, "waits of 1 s and 2 s");

    world.cluster.script(
        "a",
        "tools/call",
        [Action::HttpStatus(500), Action::HttpStatus(500), Action::HttpStatus(500)],
    );
    let (status, id, body) = moving_the_clock(&world, post(&world, &path, "{}")).await;
    assert_eq!((status, &body["detail"]["code"]), (503, &json!("all_candidates_failed")));
    assert!(id.is_some() && !body.to_string().contains(&id.unwrap()), "the id is in the header alone");
    assert!(world.cluster.calls().iter().all(|(server, _)| server == "a"));
}

#[tokio::test]
async fn n4_what_a_server_does_not_offer_is_404_with_what_there_is() {
    let world = World::new(&["b", "a"], |_| {});
    world.ask("PUT", &format!("{SERVERS}/b"), r#"{"url":"https://b.example","tools":["y","x"]}"#).await;
    for (server, tool, detail) in [
        ("z", "x", json!({"message": "no server is named \"z\"", "requested": "z", "available": ["a", "b"]})),
        (
            "b",
            "z",
            json!({"message": "the server \"b\" offers no tool named \"z\"", "requested": "z",
                   "available": ["x", "y"], "server": "b"}),
        ),
    ] {
        let (status, id, body) = post(&world, &format!("{SERVERS}/{server}/tools/{tool}/call"), "{}").await;
        assert_eq!((status, body), (404, json!({"detail": detail})));
        assert_eq!(id, None, "nothing began");
    }
    assert_eq!(world.cluster.calls(), []);
    assert_eq!(world.get("/api/v1/mcp/invocation-events").await.1, json!({"items": []}));
    assert_eq!(world.get(&format!("{SERVERS}/b/health")).await.1["health_view"], "unknown");
}

#[tokio::test]
async fn every_answer_of_a_call_names_its_request() {
    let world = World::new(&["a"], |_| {});
    let calls = [
        ("/api/v1/mcp/invoke/tool".to_owned(), r#"{"tool_name":"x"}"#),
        ("/api/v1/mcp/invoke/resource".to_owned(), r#"{"uri":"a://b"}"#),
        (format!("{SERVERS}/a/tools/x/call"), "{}"),
    ];
    let mut ids = std::collections::BTreeSet::new();
    for status in [200, 503] {
        for (path, body) in &calls {
            let (got, id, answer) = post(&world, path, body).await;
            assert_eq!(got, status, "{path} {answer}");
            let id = id.unwrap();
            assert_eq!(world.get(&format!("/api/v1/mcp/invocations/{id}")).await.0, 200, "{path}");
            ids.insert(id);
        }
        world.ask("PUT", &format!("{SERVERS}/a"), r#"{"url":"https://a.example","enabled":false}"#).await;
    }
    assert_eq!(ids.len(), 6);
    assert_eq!(post(&world, &calls[0].0, "{}").await.1, None, "a body that is wrong begins nothing");
}

#[tokio::test]
async fn n3_a_token_is_sent_with_its_call_and_shows_nowhere() {
    let world = World::new(&["a", "b"], |_| {});
    let body = json!({"url": "https://b.example", "protocol": "legacy", "forward_user_token": true});
    world.ask("PUT", &format!("{SERVERS}/b"), &body.to_string()).await;
    let user = r#""user_context":{"user_id":"u1","token":"canary-1"}"#;
    let mut answers = Vec::new();
    for (path, body) in [
        (format!("{SERVERS}/a/tools/x/call"), format!(r#"{{"parameters":{{}},{user}}}"#)),
        (
            "/api/v1/mcp/invoke/tool".to_owned(),
            format!(r#"{{"tool_name":"x","preferred_servers":["a"],{user}}}"#),
        ),
        (
            "/api/v1/mcp/invoke/resource".to_owned(),
            format!(r#"{{"uri":"x","preferred_servers":["b"],{user}}}"#),
        ),
        (format!("{SERVERS}/a/tools/x/call"), "{}".to_owned()),
    ] {
        let (status, _, answer) = post(&world, &path, &body).await;
        assert_eq!(status, 200, "{path} {answer}");
        answers.push(answer.to_string());
    }
    let calls = world.cluster.traffic().into_iter().filter(|sent| sent.method != "initialize");
    let sent: Vec<_> = calls
        .filter(|sent| sent.method.contains('/') && !sent.method.starts_with("notifications"))
        .map(|sent| (sent.server.clone(), sent.header("Authorization").map(str::to_owned)))
        .collect();
    let token = || Some("Bearer canary-1".to_owned());
    assert_eq!(
        sent,
        [
            ("a".to_owned(), token()),
            ("a".to_owned(), None),
            ("b".to_owned(), token()),
            ("a".to_owned(), None)
        ],
        "to the server named, or to one that is trusted with it"
    );
    for path in ["servers", "events", "invocation-events", "registry-events", "health"] {
        answers.push(world.get(&format!("/api/v1/mcp/{path}")).await.1.to_string());
    }
    assert!(answers.iter().all(|answer| !answer.contains("canary")));
}

#[tokio::test]
async fn i7_a_wrong_user_context_is_not_repeated() {
    let world = World::new(&["a"], |_| {});
    for user in [
        r#""canary""#,
        r#"["canary"]"#,
        r#"{"token":{"canary":1}}"#,
        r#"{"canary":"x"}"#,
        r#"{"token":"canary\n"}"#,
    ] {
        for (path, body) in [
            (format!("{SERVERS}/a/tools/x/call"), format!(r#"{{"user_context":{user}}}"#)),
            ("/api/v1/mcp/invoke/tool".to_owned(), format!(r#"{{"tool_name":"x","user_context":{user}}}"#)),
        ] {
            let (status, _, answer) = post(&world, &path, &body).await;
            assert_eq!(
                (status, &answer["detail"][0]["loc"]),
                (422, &json!(["body", "user_context"])),
                "{answer}"
            );
            assert!(!answer.to_string().contains("canary"), "{answer}");
        }
    }
    let (status, _, answer) =
        post(&world, "/api/v1/mcp/invoke/tool", r#"{"tool_name":"x","timeout_ms":"canary"}"#).await;
    assert_eq!(status, 422);
    assert_eq!(answer["detail"][0]["msg"], "must be an integer of at least 1");
}

#[tokio::test]
async fn i3_unknown_names_are_404_for_management_too() {
    let world = World::new(&["a"], |_| {});
    for (method, path, body) in [
        ("GET", "capabilities", ""),
        ("GET", "health", ""),
        ("POST", "mark", r#"{"as":"healthy"}"#),
        ("POST", "mark", "not read"),
        ("POST", "disconnect", ""),
        ("POST", "reconnect", ""),
        ("POST", "health-check?force=true", ""),
        ("POST", "health-check?force=not-read", ""),
        ("PUT", "", r#"{"url":"https://x.example"}"#),
    ] {
        let path = format!("{SERVERS}/x/{path}");
        let (status, body) = world.ask(method, path.trim_end_matches('/'), body).await;
        assert_eq!(
            (status, body),
            (404, json!({"detail": "no server is named \"x\"; there are: a"})),
            "{path}"
        );
    }
}

#[tokio::test]
async fn n2_the_preset_defines_two_servers_nobody_has_asked_yet() {
    let text = preset("restaurants").unwrap().text;
    let config = Config::parse(text, Format::Toml, "preset", &|_| None).unwrap();
    let world = World::new(&[], |_| {});
    for definition in config.servers {
        world.manager.register(definition).unwrap();
    }
    let (_, list) = world.get(SERVERS).await;
    let seen: Vec<_> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|server| json!([server["name"], server["url"], server["tools"]]))
        .collect();
    assert_eq!(
        seen,
        [
            json!([
                "restaurant-reasoning",
                "http://restaurant-reasoning-mcp:8080/mcp",
                ["analyze_restaurant_sentiment", "recommend_restaurants"]
            ]),
            json!([
                "restaurant-search",
                "http://restaurant-search-mcp:8080/mcp",
                [
                    "search_restaurants_by_district",
                    "search_restaurants_by_meal_type",
                    "search_restaurants_combined"
                ]
            ]),
        ]
    );
    let table = world.manager.table();
    assert!(table.servers().iter().all(|record| record.health_view() == HealthView::Unknown));
    assert!(world.manager.healthy_servers().is_empty());
}

async fn story(world: &World, id: &str) -> Value {
    let (status, told) = world.get(&format!("/api/v1/mcp/invocations/{id}")).await;
    assert_eq!(status, 200, "{told}");
    told
}

fn rows(told: &Value, list: &str, keys: &[&str]) -> Vec<Value> {
    let row = |item: &Value| keys.iter().map(|key| item[*key].clone()).collect();
    told[list].as_array().unwrap().iter().map(row).collect()
}

#[tokio::test]
async fn a_story_says_who_was_considered_and_what_came_of_it() {
    let world = World::new(&["backup", "primary", "waits", "without"], |policy| policy.unreachable_after = 1);
    for (name, definition) in [
        ("off", r#"{"group":"g","enabled":false}"#),
        ("without", r#"{"group":"g","tools":["other"]}"#),
        ("spare", r#"{"group":"g","protocol":"legacy","priority":1}"#),
        ("waits", r#"{"group":"g"}"#),
        ("primary", r#"{"group":"g","protocol":"legacy"}"#),
        ("backup", r#"{"group":"g","protocol":"legacy"}"#),
        ("stranger", "{}"),
    ] {
        let mut body: Value = serde_json::from_str(definition).unwrap();
        body["name"] = json!(name);
        body["url"] = json!(format!("https://{name}.example"));
        world.post(SERVERS, &body.to_string()).await;
    }
    world.post(&format!("{SERVERS}/waits/mark"), r#"{"as":"unavailable"}"#).await;
    world.cluster.script("primary", "tools/call", [Action::Timeout]);
    let call = r#"{"tool_name":"search","preferred_servers":["primary"],"group":"g"}"#;
    let (status, id, answer) = post(&world, "/api/v1/mcp/invoke/tool", call).await;
    assert_eq!(status, 200, "{answer}");
    let id = id.unwrap();
    let told = story(&world, &id).await;
    for (key, value) in [
        ("request_id", json!(id)),
        ("started_at", json!("2026-01-01T00:00:00Z")),
        ("ended_at", json!("2026-01-01T00:00:00Z")),
        ("method", json!("tools/call")),
        ("tool", json!("search")),
        ("server", Value::Null),
        ("preferred_servers", json!(["primary"])),
        ("preferred_only", json!(false)),
        ("group", json!("g")),
        ("outcome", json!("served")),
        ("served_by", json!("backup")),
        ("code", Value::Null),
        ("message", Value::Null),
        ("under_way", Value::Null),
        ("incomplete", json!(false)),
    ] {
        assert_eq!(told[key], value, "{key}");
    }
    assert_eq!(
        rows(&told, "candidates", &["server", "verdict", "status", "until"]),
        [
            json!(["primary", "tried", "healthy", null]),
            json!(["backup", "tried", "healthy", null]),
            json!(["spare", "not_tried", "healthy", null]),
            json!(["off", "disabled", "healthy", null]),
            json!(["stranger", "not_in_group", "healthy", null]),
            json!(["waits", "window_closed", "unreachable", "2026-01-01T00:00:01Z"]),
            json!(["without", "lacks_tool", "healthy", null]),
        ]
    );
    let keys = ["server", "stage", "success", "error_category", "delivery"];
    assert_eq!(
        rows(&told, "attempts", &keys),
        [
            json!(["primary", "initialize", true, null, null]),
            json!(["primary", "invoke", false, "network_timeout", "unknown"]),
            json!(["backup", "initialize", true, null, null]),
            json!(["backup", "invoke", true, null, null]),
        ]
    );
    let seen = rows(&told, "transitions", &["server", "from_status", "to_status", "correlation_id"]);
    assert_eq!(seen, [json!(["primary", "healthy", "unreachable", id])]);
    let (failed, changed) = (&told["attempts"][1], &told["transitions"][0]);
    assert!(
        failed["seq"].as_u64() < changed["seq"].as_u64(),
        "the failure comes before the change it caused"
    );
    let told_by_answer: Vec<_> = rows(&answer, "attempts", &["server", "stage", "error", "duration_ms"]);
    assert_eq!(rows(&told, "attempts", &["server", "stage", "error", "duration_ms"]), told_by_answer);
}

#[tokio::test]
async fn a_story_of_a_failure_says_why() {
    let world = World::new(&["a", "b"], |_| {});
    world.cluster.script("a", "tools/call", [Action::Disconnect]);
    let calls = [
        (
            "/api/v1/mcp/invoke/tool".to_owned(),
            r#"{"tool_name":"x","preferred_servers":["b","a"],"preferred_only":true,"group":"none"}"#,
            json!(["failed", "no_candidates"]),
            json!([["a", "not_in_group"], ["b", "not_in_group"]]),
        ),
        (
            "/api/v1/mcp/invoke/tool".to_owned(),
            r#"{"tool_name":"x","idempotent":false}"#,
            json!(["failed", "ambiguous_not_retried"]),
            json!([["a", "tried"], ["b", "not_tried"]]),
        ),
        (
            "/api/v1/mcp/invoke/tool".to_owned(),
            r#"{"tool_name":"x","preferred_servers":["a"],"preferred_only":true}"#,
            json!(["failed", "no_candidates"]),
            json!([["a", "window_closed"], ["b", "not_preferred"]]),
        ),
    ];
    for (path, body, ending, candidates) in calls {
        let (status, id, answer) = post(&world, &path, body).await;
        assert_eq!(status, 503, "{answer}");
        let told = story(&world, &id.unwrap()).await;
        assert_eq!(json!([told["outcome"], told["code"]]), ending, "{body}");
        assert_eq!(json!(rows(&told, "candidates", &["server", "verdict"])), candidates, "{body}");
        let message = &answer["detail"]["message"];
        assert_eq!(told["message"], if ending[1] == "no_candidates" { message.clone() } else { Value::Null });
        assert_eq!(told["incomplete"], false);
    }
}

#[tokio::test]
async fn a_story_of_a_directed_call_is_about_one_server() {
    let world = World::new(&["a", "b"], |_| {});
    world.post(&format!("{SERVERS}/a/mark"), r#"{"as":"degraded"}"#).await;
    world.cluster.script("a", "tools/call", [Action::Error, Action::Ok]);
    let path = format!("{SERVERS}/a/tools/x/call");
    let (_, id, _) = moving_the_clock(&world, post(&world, &path, "{}")).await;
    let told = story(&world, &id.unwrap()).await;
    assert_eq!(
        at(&told, &["server", "tool", "preferred_servers", "preferred_only", "outcome", "served_by"]),
        [&json!("a"), &json!("x"), &json!([]), &json!(false), &json!("served"), &json!("a")]
    );
    assert_eq!(
        rows(&told, "candidates", &["server", "status", "verdict"]),
        [json!(["a", "degraded", "tried"])]
    );
    let tried = rows(&told, "attempts", &["stage", "attempt", "success", "at"]);
    assert_eq!(tried[0], json!(["initialize", null, true, "2026-01-01T00:00:00Z"]));
    assert_eq!(tried[1], json!(["invoke", 1, false, "2026-01-01T00:00:00Z"]));
    assert_eq!(tried[2], json!(["invoke", 2, true, "2026-01-01T00:00:01Z"]));

    world.ask("PUT", &format!("{SERVERS}/a"), r#"{"url":"https://a.example","enabled":false}"#).await;
    let (status, id, _) = post(&world, &path, "{}").await;
    assert_eq!(status, 503);
    let told = story(&world, &id.unwrap()).await;
    assert_eq!(rows(&told, "candidates", &["server", "verdict"]), [json!(["a", "disabled"])]);
    assert_eq!(
        at(&told, &["outcome", "code", "message"]),
        [&json!("failed"), &json!("no_candidates"), &json!("the server \"a\" is disabled")]
    );
}

#[tokio::test]
async fn a_story_is_told_while_it_lasts_and_after_the_caller_has_left() {
    let world = World::new(&["a"], |_| {});
    world.cluster.script("a", "tools/call", [Action::Hang]);
    let call = post(&world, "/api/v1/mcp/invoke/tool", r#"{"tool_name":"x"}"#);
    let mut call = Box::pin(call);
    let id = loop {
        tokio::select! {
            biased;
            (status, ..) = &mut call => panic!("it ended with {status}"),
            () = tokio::task::yield_now() => {}
        }
        let (_, events) = world.get("/api/v1/mcp/invocation-events").await;
        if let Some(begun) =
            events["items"].as_array().unwrap().iter().find(|step| step["phase"] == "invoke_start")
        {
            break begun["request_id"].as_str().unwrap().to_owned();
        }
    };
    let told = story(&world, &id).await;
    assert_eq!(at(&told, &["outcome", "ended_at"]), [&json!("running"), &Value::Null]);
    let under_way = json!({"server": "a", "stage": "invoke", "since": "2026-01-01T00:00:00Z"});
    assert_eq!(told["under_way"], under_way);
    drop(call);
    let told = story(&world, &id).await;
    assert_eq!(at(&told, &["outcome", "under_way"]), [&json!("cancelled"), &Value::Null]);
    assert_eq!(told["attempts"][1]["error"], "cancelled by the caller");
}

#[tokio::test]
async fn stories_are_bounded_like_the_events_they_are_told_from() {
    let world = World::new(&["a"], |policy| policy.max_invocation_events = 4);
    let mut ids = Vec::new();
    for _ in 0..5 {
        let (_, id, _) = post(&world, "/api/v1/mcp/invoke/tool", r#"{"tool_name":"x"}"#).await;
        ids.push(id.unwrap());
    }
    assert_eq!(story(&world, &ids[4]).await["incomplete"], false);
    let told = story(&world, &ids[3]).await;
    assert_eq!(
        at(&told, &["incomplete", "outcome", "attempts"]),
        [&json!(true), &json!("served"), &json!([])]
    );
    for id in [&*ids[0], "nothing", "%ff"] {
        let (status, body) = world.get(&format!("/api/v1/mcp/invocations/{id}")).await;
        assert_eq!(status, 404, "{id}");
        assert!(
            body["detail"].as_str().unwrap().starts_with("no request of this id is remembered"),
            "{body}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_servers_stats_are_those_of_its_connection() {
    let world = World::new(&["a"], |_| {});
    let stats = async || world.get("/api/v1/mcp/servers/a").await.1["stats"].clone();
    assert_eq!(stats().await, Value::Null);
    let call = async || {
        let body = json!({"tool_name": "t", "arguments": {}}).to_string();
        world.post("/api/v1/mcp/invoke/tool", &body).await.0
    };
    world.cluster.script(
        "a",
        "tools/call",
        [
            Action::Ok.delayed(Duration::from_secs(3)),
            Action::RpcError { code: Some(-32602), message: None },
            Action::Timeout,
        ],
    );
    assert_eq!(call().await, 200);
    let first = stats().await;
    // The handshake took no time on the paused clock.
    assert_eq!((&first["requests_sent"], &first["errors_count"]), (&json!(2), &json!(0)));
    assert_eq!(first["average_latency"], json!(1.5));
    assert!(first["connected_at"].as_str() < first["last_activity"].as_str(), "{first}");
    // An answer that is an error counts as one, and has a latency.
    let _ = call().await;
    let second = stats().await;
    assert_eq!((&second["requests_sent"], &second["errors_count"]), (&json!(3), &json!(1)));
    // A timeout ends the connection; the next one starts anew.
    let _ = call().await;
    assert_eq!(stats().await, Value::Null);
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(call().await, 200);
    let anew = stats().await;
    assert_eq!((&anew["requests_sent"], &anew["errors_count"]), (&json!(2), &json!(0)));
}
