//! Contract §9.3: handshake, freshness, snapshot.

use std::time::Duration;

use mcp_protocol::{Message, Method};
use mcp_registry::{ConnectionState, ErrorCategory, Status};
use mcp_testkit::{Action, ManualClock, Toggle};
use mcp_transport::Outbound;

use crate::intercept::{intercept, unsent};
use crate::support::{World, at};

const INIT: &str = "initialize";
const CALL: &str = "tools/call";

#[tokio::test]
async fn b1_a_good_server_is_initialised_with_a_snapshot() {
    let world = World::new(&["a"], |_| {});
    let record = world.manager.initialize("a", false).await.unwrap();
    assert!(record.initialized);
    assert_eq!(record.status, Status::Healthy);
    assert_eq!(record.connection_state, ConnectionState::Connected);
    assert_eq!(record.protocol_version.as_deref(), Some("2025-11-25"));
    assert_eq!(record.last_initialized_at, at(0));
    assert_eq!(record.initialization_expires_at, at(300));
    let snapshot = record.capability_snapshot.clone().unwrap();
    assert_eq!(snapshot.server_info.as_ref().unwrap().as_str(), r#"{"name":"a","version":"1.0.0"}"#);
    assert_eq!(snapshot.capabilities.as_ref().unwrap().as_str(), r#"{"resources":{},"tools":{}}"#);
    assert_eq!(snapshot.captured_at, ManualClock::START);
}

#[tokio::test]
async fn b2_a_transport_error_degrades_and_keeps_its_text() {
    let world = World::new(&["a"], |_| {});
    world.cluster.script("a", INIT, [Action::Error]);
    let record = world.manager.initialize("a", false).await.unwrap();
    assert_eq!((record.status, record.initialized), (Status::Degraded, false));
    assert_eq!(record.last_error.as_deref(), Some("a unavailable"));
    assert_eq!(record.last_error_category, Some(ErrorCategory::TransportError));
    assert_eq!(record.connection_state, ConnectionState::Error);
}

#[tokio::test]
async fn b3_a_failed_second_handshake_keeps_the_first_snapshot() {
    let world = World::new(&["a"], |_| {});
    world.manager.initialize("a", false).await.unwrap();
    let first = world.record("a").capability_snapshot.clone();
    world.advance(5);
    world.cluster.script("a", INIT, [Action::Timeout]);
    let record = world.manager.initialize("a", true).await.unwrap();
    assert_eq!(record.status, Status::Degraded);
    assert!(!record.initialized);
    assert_eq!(record.protocol_version, None);
    assert_eq!(record.capability_snapshot, first);
}

#[tokio::test]
async fn b4_initialize_all_returns_every_record_in_name_order() {
    let world = World::new(&["b", "a", "c"], |_| {});
    world.cluster.script("b", INIT, [Action::Error]);
    let records = world.manager.initialize_all(false).await;
    let seen: Vec<_> = records.iter().map(|record| (record.name().as_str(), record.initialized)).collect();
    assert_eq!(seen, [("a", true), ("b", false), ("c", true)]);
}

#[tokio::test]
async fn b5_unusable_answers_have_their_category() {
    for (action, category, text) in [
        (Action::Result("[1]".into()), ErrorCategory::InvalidPayload, "invalid initialize result"),
        (
            Action::RpcError { code: Some(-32000), message: Some("no".into()) },
            ErrorCategory::RpcError,
            "rpc error: no",
        ),
        (Action::RpcError { code: Some(-7), message: None }, ErrorCategory::RpcError, "rpc error: code=-7"),
        (Action::RpcError { code: None, message: None }, ErrorCategory::RpcError, "rpc error: {}"),
        (Action::HttpStatus(503), ErrorCategory::HttpStatus, "http status 503"),
        (Action::Malformed, ErrorCategory::InvalidPayload, "not valid JSON"),
    ] {
        let world = World::new(&["a"], |_| {});
        world.cluster.script("a", INIT, [action.clone()]);
        let record = world.manager.initialize("a", false).await.unwrap();
        assert_eq!(record.status, Status::Degraded, "{action:?}");
        assert_eq!(record.last_error_category, Some(category), "{action:?}");
        assert_eq!(record.last_error.as_deref(), Some(text), "{action:?}");
    }
}

#[tokio::test]
async fn b6_missing_members_leave_null_in_the_snapshot() {
    let world = World::new(&["a"], |_| {});
    world.cluster.script("a", INIT, [Action::Result(r#"{"protocolVersion":"2025-06-18"}"#.into())]);
    let record = world.manager.initialize("a", false).await.unwrap();
    let snapshot = record.capability_snapshot.clone().unwrap();
    assert_eq!(snapshot.protocol_version.as_deref(), Some("2025-06-18"));
    assert_eq!((&snapshot.server_info, &snapshot.capabilities), (&None, &None));
}

#[tokio::test]
async fn b7_a_call_on_an_uninitialised_server_hands_shakes_first() {
    let world = World::new(&["a"], |_| {});
    world.tool(&[]).await.unwrap();
    assert_eq!(world.traffic(0), "a init ready tool");
}

#[tokio::test]
async fn b8_age_zero_means_a_handshake_before_every_call() {
    let world = World::new(&["a"], |policy| policy.max_initialization_age = Some(Duration::ZERO));
    world.manager.initialize("a", false).await.unwrap();
    world.tool(&[]).await.unwrap();
    assert_eq!(world.traffic(0), "a init ready init ready tool");
    assert_eq!(world.record("a").initialization_expires_at, at(0));
}

#[tokio::test]
async fn b9_a_stale_handshake_is_repeated_once() {
    let world = World::new(&["a"], |_| {});
    world.tool(&[]).await.unwrap();
    for (seconds, traffic) in [(299, "a tool"), (1, "a init ready tool"), (0, "a tool")] {
        world.advance(seconds);
        assert_eq!(world.request(&Method::ToolsCall, &[]).await.traffic, traffic);
    }
    assert_eq!(world.record("a").initialization_expires_at, at(600));
}

#[tokio::test]
async fn b10_without_an_age_a_handshake_never_gets_stale() {
    let world = World::new(&["a"], |policy| policy.max_initialization_age = None);
    world.tool(&[]).await.unwrap();
    assert_eq!(world.record("a").initialization_expires_at, None);
    world.advance(10 * 365 * 86_400);
    assert_eq!(world.request(&Method::ToolsCall, &[]).await.traffic, "a tool");
}

#[tokio::test]
async fn b11_initialize_is_cached_unless_forced() {
    let world = World::new(&["a"], |_| {});
    for (force, handshakes) in [(false, 1), (false, 1), (true, 2)] {
        world.manager.initialize("a", force).await.unwrap();
        let expected = ["a", &" init ready".repeat(handshakes)].concat();
        assert_eq!(world.traffic(0), expected, "force {force}");
    }
}

#[tokio::test]
async fn b12_b13_connect_probes_first() {
    let world = World::new(&["good", "bad"], |policy| policy.unreachable_after = 1);
    world.cluster.health("bad", [Err("refused".into())]);
    let record = world.manager.connect("good", false).await.unwrap();
    assert_eq!((record.status, record.initialized), (Status::Healthy, true));
    assert_eq!(world.cluster.probes(), 1);
    assert_eq!(world.traffic(0), "good init ready");

    let record = world.manager.connect("bad", false).await.unwrap();
    assert_eq!((record.status, record.initialized), (Status::Unreachable, false));
    assert_eq!(record.last_error_category, Some(ErrorCategory::HealthCheck));
    assert_eq!(world.traffic(2), "");
    let record = world.manager.connect("bad", true).await.unwrap();
    assert!(record.initialized);
    assert_eq!(world.traffic(2), "bad init ready");
}

#[tokio::test]
async fn b14_any_failure_clears_the_handshake_but_not_the_snapshot() {
    let calls = |action| (CALL, vec![action]);
    for (what, (method, script)) in [
        ("operator", (CALL, vec![])),
        ("probe", (CALL, vec![])),
        ("call", calls(Action::Timeout)),
        ("call", calls(Action::Error)),
        ("call", calls(Action::Malformed)),
        ("call", calls(Action::RpcError { code: None, message: None })),
        ("handshake", (INIT, vec![Action::Timeout])),
    ] {
        let world = World::new(&["a"], |_| {});
        let first = world.manager.initialize("a", false).await.unwrap();
        world.advance(5);
        world.cluster.script("a", method, script);
        world.cluster.health("a", [Ok(503)]);
        match what {
            "operator" => drop(world.manager.mark_degraded("a", "said the operator")),
            "probe" => drop(world.manager.health_check("a").await),
            "call" => drop(world.tool(&[]).await.unwrap_err()),
            _ => drop(world.manager.initialize("a", true).await),
        }
        let record = world.record("a");
        assert_eq!(world.standing("a"), (Status::Degraded, 1), "{what}");
        assert_eq!((record.initialized, record.initialization_expires_at), (false, None), "{what}");
        assert_eq!(record.capability_snapshot, first.capability_snapshot, "{what}");
        assert_eq!(record.last_initialized_at, at(0), "{what}");
    }
}

#[tokio::test]
async fn b15_a_handshake_whose_last_message_is_lost_has_failed() {
    let look = |out: &Outbound| match &out.message {
        Message::Notification(_) => Some(unsent("a went away")),
        _ => None,
    };
    let world = World::over(|cluster| intercept(cluster, look), &["a"], |_| {});
    world.fail("a");
    world.advance(1);
    let changes = world.transitions(0);
    let record = world.manager.initialize("a", false).await.unwrap();
    assert_eq!(world.traffic(0), "a init");
    assert_eq!(world.standing("a"), (Status::Degraded, 2), "one failure");
    assert_eq!(world.transitions(0), changes, "it was not healthy in between");
    assert_eq!((record.initialized, record.initialization_expires_at), (false, None));
    assert_eq!(record.protocol_version, None);
    assert_eq!(record.last_error.as_deref(), Some("a went away"));
    assert_eq!(record.last_error_category, Some(ErrorCategory::TransportError));
    // What the server said of itself it did say.
    assert_eq!(record.capability_snapshot.as_ref().unwrap().captured_at, world.manager.now());
}

#[tokio::test]
async fn b16_concurrent_calls_share_one_handshake() {
    let world = World::new(&["a"], |_| {});
    let calls = futures::future::join_all((0..10).map(|_| world.tool(&[]))).await;
    assert!(calls.iter().all(Result::is_ok));
    let count = |wanted: &str| world.cluster.calls().iter().filter(|(_, method)| method == wanted).count();
    assert_eq!((count(INIT), count(CALL)), (1, 10));
}

#[tokio::test]
async fn b17_unknown_names_are_reported_with_what_exists() {
    let world = World::new(&["b", "a"], |_| {});
    let errors = [
        world.manager.initialize("x", false).await.unwrap_err(),
        world.manager.connect("x", false).await.unwrap_err(),
        world.manager.health_check("x").await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.requested, "x");
        assert_eq!(error.available, ["a", "b"]);
    }
}

#[tokio::test]
async fn a_forced_handshake_refused_on_a_live_session_is_retried_on_a_new_one() {
    let world = World::new(&["a"], |_| {});
    world.tool(&[]).await.unwrap();
    let refusal = Action::RpcError { code: Some(-32600), message: Some("already initialized".into()) };
    world.cluster.script("a", INIT, [refusal]);
    let record = world.manager.initialize("a", true).await.unwrap();
    assert_eq!((record.status, record.initialized), (Status::Healthy, true));
    assert_eq!(world.cluster.opened("a"), 2);
}

#[tokio::test]
async fn a_handshake_timeout_toggle_fails_until_it_is_cleared() {
    let world = World::new(&["a"], |_| {});
    world.cluster.toggle("a", Toggle::TimeoutInitialize, true);
    let error = world.call(Method::ResourcesRead, &[]).await.unwrap_err();
    assert_eq!(error.attempts.len(), 1);
    assert_eq!(world.record("a").last_error_category, Some(ErrorCategory::NetworkTimeout));
    world.cluster.toggle("a", Toggle::TimeoutInitialize, false);
    world.advance(1);
    world.call(Method::ResourcesRead, &[]).await.unwrap();
    assert_eq!(world.status("a"), Status::Healthy);
}

#[tokio::test(start_paused = true)]
async fn a_callers_patience_bounds_the_wait_for_a_handshake_but_not_the_handshake() {
    let world = World::new(&["a", "b"], |_| {});
    world.cluster.script("a", INIT, [Action::Hang]);
    let mut call = crate::support::routed(Method::ToolsCall, &["a"]);
    call.timeout = Some(Duration::from_millis(100));
    let started = tokio::time::Instant::now();
    let served = world.manager.call(call).await.unwrap();
    assert_eq!(started.elapsed(), Duration::from_millis(100));
    assert_eq!(served.server.as_str(), "b");
    let failure = served.attempts[0].failure.as_ref().unwrap();
    assert_eq!(failure.category, ErrorCategory::NetworkTimeout);
    assert_eq!(world.status("a"), Status::Healthy, "the handshake has not ended yet");
    // It ends by its own limit, and only then the server is to blame.
    world.manager.initialize("a", false).await.unwrap();
    assert_eq!(world.record("a").last_error_category, Some(ErrorCategory::NetworkTimeout));
    assert_eq!(started.elapsed(), Duration::from_secs(10));
}
