//! Contract §6.3: looking after servers, and the presets of §8.7.

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
        (r#"{"as":"unavailable"}"#, json!(["unreachable", "marked unavailable by an operator", 3])),
        (r#"{"as":"healthy"}"#, json!(["healthy", null, 0])),
        (r#"{"as":"degraded"}"#, json!(["degraded", "marked degraded by an operator", 1])),
        (r#"{"as":"healthy","reason":"disk replaced"}"#, json!(["healthy", null, 0])),
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
    assert_eq!(
        reasons,
        [
            "slow disk",
            "marked unavailable by an operator",
            "healthy",
            "marked degraded by an operator",
            "healthy"
        ]
    );

    let long = format!(r#"{{"as":"degraded","reason":"{}"}}"#, "x".repeat(1025));
    for (body, loc) in [
        (r#"{"as":"unreachable"}"#, json!(["body", "as"])),
        (r#"{"reason":"x"}"#, json!(["body", "as"])),
        (&*long, json!(["body", "reason"])),
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

    for (name, critical) in [("b", true), ("c", true), ("off", true)] {
        let body = json!({"url": format!("https://{name}.example"), "protocol": "legacy", "critical": critical,
                          "enabled": name != "off", "name": name});
        world.post(SERVERS, &body.to_string()).await;
        world.post(&format!("{SERVERS}/{name}/mark"), r#"{"as":"unavailable"}"#).await;
    }
    world.post(&format!("{SERVERS}/c/mark"), r#"{"as":"healthy"}"#).await;
    world.cluster.script(
        "a",
        "tools/call",
        [Action::RpcError { code: Some(-32000), message: Some("busy".into()) }],
    );
    for _ in 0..2 {
        let call = r#"{"tool_name":"x","preferred_servers":["a"],"preferred_only":true}"#;
        world.post("/api/v1/mcp/invoke/tool", call).await;
        world.clock.advance(std::time::Duration::from_secs(60));
    }
    let (_, stats) = world.get("/api/v1/mcp/stats").await;
    assert_eq!(
        at(&stats, &["total_servers", "connected_servers", "disconnected_servers", "error_servers"]),
        [4, 1, 0, 3]
    );
    // `c` is healthy again, `off` is not meant to be up.
    assert_eq!(stats["critical_servers_down"], 1);
    let (_, a) = world.get(&format!("{SERVERS}/a")).await;
    assert_eq!(
        at(&stats, &["total_requests", "total_errors"]),
        at(&a["stats"], &["requests_sent", "errors_count"])
    );
    assert_eq!(stats["total_errors"], 1);
}

#[tokio::test]
async fn i3_unknown_names_are_404_for_management_too() {
    let world = World::new(&["a"], |_| {});
    for (method, path, body) in [
        ("GET", "capabilities", ""),
        ("GET", "health", ""),
        ("POST", "mark", r#"{"as":"healthy"}"#),
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
}
