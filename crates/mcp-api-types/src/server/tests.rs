use super::*;
use crate::Freshness;

/// The object of a server right after it was registered: every key there, null when empty.
const FRESH: &str = concat!(
    r#"{"name":"files","url":null,"status":"healthy","last_error":null,"last_error_category":null,"#,
    r#""retry_count":0,"last_checked_at":null,"next_retry_at":null,"initialized":false,"#,
    r#""protocol_version":null,"last_initialized_at":null,"initialization_expires_at":null,"#,
    r#""adapter_controls_available":false,"capability_snapshot":null,"adapter_session":null,"#,
    r#""transport":"stdio","connection_state":"disconnected","health_view":"unknown","#,
    r#""consecutive_failures":0,"response_time_ms":null,"era":"unknown","enabled":true,"stats":null,"#,
    r#""group":null,"priority":null,"last_error_delivery":null,"error_rate":null,"restarts":0,"#,
    r#""next_reconnect_at":null,"tools":null,"details":{}}"#
);

const BUSY: &str = concat!(
    r#"{"name":"search-a","url":"https://a.example/mcp","status":"degraded","last_error":"http status 503","#,
    r#""last_error_category":"http_status","retry_count":1,"last_checked_at":"2026-01-01T00:00:00Z","#,
    r#""next_retry_at":"2026-01-01T00:00:01Z","initialized":false,"protocol_version":"2025-11-25","#,
    r#""last_initialized_at":"2026-01-01T00:00:00Z","initialization_expires_at":null,"#,
    r#""adapter_controls_available":true,"capability_snapshot":{"protocol_version":"2025-11-25","#,
    r#""server_info":{"name":"a", "extra":1.0},"capabilities":null,"captured_at":"2026-01-01T00:00:00Z"},"#,
    r#""adapter_session":{"active":true,"initialized":true,"last_activity_at":"2026-01-01T00:00:00Z","#,
    r#""freshness":"active_recent"},"#,
    r#""transport":"http","connection_state":"connected","health_view":"unhealthy","#,
    r#""consecutive_failures":1,"response_time_ms":1.5,"era":"legacy","enabled":true,"#,
    r#""stats":{"connected_at":"2026-01-01T00:00:00Z","last_activity":"2026-01-01T00:00:00Z","#,
    r#""requests_sent":4,"errors_count":1,"average_latency":0.25},"#,
    r#""group":"search","priority":80,"last_error_delivery":"unknown","error_rate":0.05,"restarts":1,"#,
    r#""next_reconnect_at":"2026-01-01T00:00:04Z","tools":["search"],"details":{"pid":"42"}}"#
);

#[test]
fn every_key_is_there_and_null_when_empty() {
    let fresh = Server {
        name: "files".into(),
        url: None,
        status: Status::Healthy,
        last_error: None,
        last_error_category: None,
        retry_count: 0,
        last_checked_at: None,
        next_retry_at: None,
        initialized: false,
        protocol_version: None,
        last_initialized_at: None,
        initialization_expires_at: None,
        adapter_controls_available: false,
        capability_snapshot: None,
        adapter_session: None,
        transport: TransportKind::Stdio,
        connection_state: ConnectionState::Disconnected,
        health_view: HealthView::Unknown,
        consecutive_failures: 0,
        response_time_ms: None,
        era: Era::Unknown,
        enabled: true,
        stats: None,
        group: None,
        priority: None,
        tools: None,
        last_error_delivery: None,
        error_rate: None,
        restarts: 0,
        next_reconnect_at: None,
        details: BTreeMap::new(),
    };
    assert_eq!(serde_json::to_string(&fresh).unwrap(), FRESH);
}

#[test]
fn a_server_keeps_its_bytes() {
    for text in [FRESH, BUSY] {
        let server: Server = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&server).unwrap(), text);
    }
    let busy: Server = serde_json::from_str(BUSY).unwrap();
    assert_eq!(busy.adapter_session.unwrap().freshness, Freshness::ActiveRecent);
    assert_eq!(
        busy.capability_snapshot.unwrap().server_info.unwrap().get(),
        r#"{"name":"a", "extra":1.0}"#,
        "verbatim"
    );
}

#[test]
fn lists_and_tools_keep_their_shape() {
    let text = format!(r#"{{"items":[{FRESH},{BUSY}],"adapter_controls_available":false}}"#);
    let list: ServerList = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&list).unwrap(), text);

    let text = r#"{"a":[{"name":"add","x-own": 1.0}],"b":null}"#;
    let tools: ServerTools = serde_json::from_str(text).unwrap();
    assert!(tools["b"].is_none());
    assert_eq!(serde_json::to_string(&tools).unwrap(), text);
}

#[test]
fn registering_keeps_the_keys_it_does_not_know() {
    let text =
        r#"{"name":"a","url":"https://a.example/mcp","group":"g","headers":{"Authorization":"canary"}}"#;
    let request: RegisterServer = serde_json::from_str(text).unwrap();
    assert_eq!(request.rest.keys().collect::<Vec<_>>(), ["group", "headers"]);
    assert_eq!(serde_json::to_string(&request).unwrap(), text);
    assert!(!format!("{request:?}").contains("canary"));

    let stdio: RegisterServer = serde_json::from_str(r#"{"name":"a","command":"npx"}"#).unwrap();
    assert_eq!(stdio.url, None);
    assert!(serde_json::from_str::<RegisterServer>(r#"{"url":"http://a/"}"#).is_err(), "a name is needed");
}
