//! Requests, and the circuit breaker before them.

use std::sync::Arc;
use std::time::Duration;

use mcp_clients::{BreakerOptions, BreakerState, ClientError, McpClient, Outgoing, Patience};
use mcp_protocol::tool::CallToolResult;
use mcp_protocol::{Era, EraPolicy, Method, RawJson};
use mcp_registry::{Definition, ErrorCategory, RateLimit};
use mcp_testkit::{Action, FnTransport};
use mcp_transport::Delivery;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::support::{World, http, process, settle};

async fn connected() -> World {
    let world = World::new(http("p"));
    assert!(world.client.connect().await.success());
    world
}

fn result(text: &str) -> Action {
    Action::Result(text.into())
}

#[tokio::test(start_paused = true)]
async fn lists_are_typed_and_keep_what_they_do_not_know() {
    let world = connected().await;
    world.cluster.script(
        "p",
        "tools/list",
        [
            result(r#"{"tools":[{"name":"a","inputSchema":{"type":"object"},"x":1.0}],"nextCursor":"2"}"#),
            result(r#"{"tools":[{"noName":true},{"name":"b","title":"B","inputSchema":{}}]}"#),
        ],
    );
    let tools = world.client.list_tools().await.unwrap();
    assert_eq!(tools.iter().map(|tool| &*tool.name).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(tools[0].unknown.get("x").map(RawJson::as_str), Some("1.0"));
    assert_eq!(tools[1].title.as_deref(), Some("B"));

    let resources = r#"{"resources":[{"uri":"a:b","name":"n","mimeType":"text/plain","size":7}]}"#;
    world.cluster.script("p", "resources/list", [result(resources)]);
    let resources = world.client.list_resources().await.unwrap();
    assert_eq!((&*resources[0].uri, resources[0].mime_type.as_deref()), ("a:b", Some("text/plain")));

    let templates = r#"{"resourceTemplates":[{"uriTemplate":"a:{b}","name":"n"}]}"#;
    world.cluster.script("p", "resources/templates/list", [result(templates)]);
    assert_eq!(&*world.client.list_resource_templates().await.unwrap()[0].uri_template, "a:{b}");
    world.cluster.script("p", "prompts/list", [result(r#"{"prompts":[{"name":"q"}]}"#)]);
    assert_eq!(&*world.client.list_prompts().await.unwrap()[0].name, "q");
}

#[tokio::test(start_paused = true)]
async fn calls_and_reads_are_typed() {
    let world = connected().await;
    let called = world.client.call_tool("t", &json!({"a": 1})).await.unwrap();
    assert_eq!(called.content[0].as_text(), Some("p answered"));
    let structured = called.structured_content.unwrap();
    assert_eq!(structured.get("arguments").unwrap().as_str(), r#"{"a":1}"#);
    let contents = world.client.read_resource("a:b").await.unwrap();
    assert_eq!(contents[0].uri(), "a:b");

    let told = world.client.initialize().unwrap();
    assert_eq!(told.protocol_version, "2025-11-25");
    assert_eq!(told.server_info.as_ref().unwrap().get("name").unwrap().as_str(), r#""p""#);
    assert!(told.capabilities.is_some() && told.instructions.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_used_is_told_apart() {
    let world = connected().await;
    let call = async |action| {
        world.cluster.script("p", "tools/call", [action]);
        world.client.call_tool("t", &json!({})).await.unwrap_err()
    };
    let rpc = Action::RpcError { code: Some(-32602), message: Some("no such tool".into()) };
    for (action, text, category, delivery) in [
        (rpc, "rpc error: no such tool", ErrorCategory::RpcError, Delivery::Rejected),
        (Action::HttpStatus(503), "http status 503", ErrorCategory::HttpStatus, Delivery::Unknown),
        (Action::Malformed, "not valid JSON", ErrorCategory::InvalidPayload, Delivery::Unknown),
        (Action::Timeout, "timed out after 30s", ErrorCategory::NetworkTimeout, Delivery::Unknown),
        (
            result(r#"{"content":7}"#),
            "the answer to tools/call is not what it should be",
            ErrorCategory::InvalidPayload,
            Delivery::Unknown,
        ),
    ] {
        let error = call(action).await;
        assert!(error.to_string().starts_with(text), "{error}");
        assert_eq!((error.category(), error.delivery()), (category, delivery), "{error}");
    }
    let traffic = world.cluster.traffic().len();
    let error = world.client.call_tool("t", &[1]).await.unwrap_err();
    assert!(matches!(error, ClientError::Request { .. }) && error.delivery() == Delivery::NotSent, "{error}");
    assert_eq!(world.cluster.traffic().len(), traffic);
}

#[tokio::test(start_paused = true)]
async fn m5_a_result_that_asks_for_input_is_an_outcome_of_its_own() {
    let asks = json!({"resultType": "input_required", "inputRequests": {}});
    let connector = FnTransport::new(move |_, _| Ok(asks.clone())).stateless();
    let server = Definition { protocol: EraPolicy::Only(Era::Stateless), ..http("p") };
    let client = McpClient::new(server, Arc::new(connector), Default::default());
    client.connect().await;
    let error = client.call_tool("t", &json!({})).await.unwrap_err();
    let ClientError::InputRequired { result } = error else { panic!("{error}") };
    assert!(result.get("inputRequests").is_some());
    client.disconnect().await;
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_yes_or_no() {
    let world = connected().await;
    assert!(world.client.ping().await);
    world.cluster.script("p", "ping", [Action::Ok.delayed(Duration::from_secs(6))]);
    assert!(!world.client.ping().await, "slower than ping_timeout");
    world.cluster.script("p", "ping", [Action::HttpStatus(500)]);
    assert!(!world.client.ping().await);
    assert!(world.client.ping().await);
}

#[tokio::test(start_paused = true)]
async fn j8_breaker_opens_after_five_failures_without_traffic_and_tries_once_after_thirty_seconds() {
    let world = connected().await;
    let call = async || world.client.call_tool("t", &json!({})).await;
    let calls = || world.cluster.calls().iter().filter(|(_, method)| method == "tools/call").count();
    world.cluster.script("p", "tools/call", vec![Action::HttpStatus(500); 6]);
    for _ in 0..5 {
        assert_eq!(world.client.breaker_state(), Some(BreakerState::Closed));
        assert_eq!(call().await.unwrap_err().category(), ErrorCategory::HttpStatus);
    }
    assert_eq!(world.client.breaker_state(), Some(BreakerState::Open));
    world.clock.advance(Duration::from_secs(10));
    let refused = call().await.unwrap_err();
    assert_eq!(refused, ClientError::BreakerOpen { retry_in: Duration::from_secs(20) });
    assert_eq!((refused.category(), refused.delivery()), (ErrorCategory::TransportError, Delivery::NotSent));
    assert!(!world.client.ping().await, "nothing passes");
    assert_eq!(calls(), 5);

    world.clock.advance(Duration::from_secs(20));
    assert_eq!(world.client.breaker_state(), Some(BreakerState::HalfOpen));
    call().await.unwrap_err();
    assert_eq!((calls(), world.client.breaker_state()), (6, Some(BreakerState::Open)));

    // A trial that is given up makes room for another one.
    world.clock.advance(Duration::from_secs(30));
    world.cluster.script("p", "tools/call", [Action::Hang]);
    let client = world.client.clone();
    let trial = tokio::spawn(async move { client.call_tool("t", &json!({})).await });
    settle().await;
    assert_eq!(call().await, Err(ClientError::BreakerOpen { retry_in: Duration::ZERO }));
    trial.abort();
    settle().await;
    assert!(call().await.is_ok());
    assert_eq!(world.client.breaker_state(), Some(BreakerState::Closed));
}

#[tokio::test(start_paused = true)]
async fn j8_breaker_does_not_count_what_the_server_answers_and_can_be_off() {
    let world = connected().await;
    let rpc = Action::RpcError { code: Some(-32602), message: Some("no".into()) };
    let failed = result(r#"{"content":[],"isError":true}"#);
    world.cluster.script("p", "tools/call", [vec![rpc; 6], vec![failed; 6]].concat());
    for _ in 0..12 {
        let _ = world.client.call_tool("t", &json!({})).await;
    }
    assert_eq!(world.client.breaker_state(), Some(BreakerState::Closed));

    let off = World::with(http("p"), |options| options.breaker = None);
    off.client.connect().await;
    off.cluster.script("p", "tools/call", vec![Action::HttpStatus(500); 20]);
    for _ in 0..20 {
        assert_eq!(
            off.client.call_tool("t", &json!({})).await.unwrap_err().category(),
            ErrorCategory::HttpStatus
        );
    }
    assert_eq!(off.client.breaker_state(), None);

    let nervous = World::with(http("p"), |options| {
        options.breaker = Some(BreakerOptions { failures: 1, open_for: Duration::from_secs(1) });
    });
    nervous.client.connect().await;
    nervous.cluster.script("p", "ping", [Action::Timeout]);
    assert!(!nervous.client.ping().await);
    assert_eq!(nervous.client.breaker_state(), Some(BreakerState::Open));
}

/// Calls under way that the server will not answer.
async fn hanging(world: &World, count: usize) -> Vec<JoinHandle<Result<CallToolResult, ClientError>>> {
    world.cluster.script("p", "tools/call", vec![Action::Hang; count]);
    let call = |client: McpClient| async move { client.call_tool("t", &json!({})).await };
    let calls = (0..count).map(|_| tokio::spawn(call(world.client.clone()))).collect();
    settle().await;
    calls
}

#[tokio::test(start_paused = true)]
async fn j8_breaker_does_not_count_what_we_break_off_ourselves() {
    let world = connected().await;
    let calls = hanging(&world, 5).await;
    assert!(world.client.reconnect().await.success());
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap_err().category(), ErrorCategory::TransportError);
    }
    assert_eq!(world.client.breaker_state(), Some(BreakerState::Closed));
    let calls = hanging(&world, 5).await;
    world.client.disconnect().await;
    for call in calls {
        call.await.unwrap().unwrap_err();
    }
    assert_eq!(world.client.breaker_state(), Some(BreakerState::Closed));
}

#[tokio::test(start_paused = true)]
async fn j8_breaker_counts_a_crash_once_and_closes_with_a_new_connection() {
    let world = World::with(process("p"), |options| {
        options.breaker = Some(BreakerOptions { failures: 2, ..BreakerOptions::default() });
    });
    assert!(world.client.connect().await.success());
    let calls = hanging(&world, 5).await;
    world.cluster.crash("p");
    for call in calls {
        call.await.unwrap().unwrap_err();
    }
    assert_eq!(world.client.breaker_state(), Some(BreakerState::Closed));
    assert!(world.client.reconnect().await.success());

    world.cluster.script("p", "tools/call", vec![Action::Malformed; 2]);
    for _ in 0..2 {
        assert!(world.client.call_tool("t", &json!({})).await.is_err());
    }
    assert_eq!(world.client.breaker_state(), Some(BreakerState::Open));
    assert!(world.client.reconnect().await.success());
    assert!(world.client.call_tool("t", &json!({})).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn j8_a_rate_limit_holds_for_all_connections_of_a_client() {
    let mut definition = http("p");
    definition.rate_limit = Some(RateLimit { requests: 1, per: Duration::from_secs(1), burst: 1 });
    definition.request_timeout = Duration::from_millis(1500);
    let world = World::new(definition);
    world.client.connect().await;
    let started = tokio::time::Instant::now();
    let call = async || world.client.call_tool("t", &json!({})).await;
    call().await.unwrap();
    call().await.unwrap();
    assert_eq!(started.elapsed(), Duration::from_secs(1));
    world.client.reconnect().await;
    let (first, second) = futures::future::join(call(), call()).await;
    first.unwrap();
    assert_eq!(started.elapsed(), Duration::from_secs(2), "a new connection has no new allowance");
    let late = second.unwrap_err();
    assert!(matches!(late, ClientError::Busy { .. }), "{late}");
    assert_eq!((late.category(), late.delivery()), (ErrorCategory::NetworkTimeout, Delivery::NotSent));
    assert_eq!(world.client.breaker_state(), Some(BreakerState::Closed));
}

#[tokio::test(start_paused = true)]
async fn any_other_request_has_limits_of_its_own() {
    let world = connected().await;
    let patience =
        |seconds| Patience { idle: Duration::from_secs(seconds), total: Duration::from_secs(seconds) };
    let params = RawJson::encode(&json!({"name": "q"})).ok();
    world.cluster.script("p", "prompts/get", [result(r#"{"messages":[]}"#), Action::Hang]);
    let request = Outgoing::new(Method::PromptsGet, params);
    let answer = world.client.request(request.clone(), patience(1)).await.unwrap();
    assert_eq!(answer.as_str(), r#"{"messages":[]}"#);
    let error = world.client.request(request, patience(2)).await.unwrap_err();
    assert_eq!(error.to_string(), "timed out after 2s");
    assert_eq!(world.client.connection().unwrap().profile().protocol_version, "2025-11-25");
}
