//! Contract §4.5: whose a failed call is, what is recorded of it, and how it counts in the error rate (§7.6).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mcp_manager::{DirectedCall, RoutedCall};
use mcp_protocol::Method;
use mcp_registry::{ErrorCategory, Policy, RpcErrorPolicy, Status};
use mcp_testkit::{Action, FnTransport};
use mcp_transport::{Delivery, TransportError, TransportErrorKind};
use serde_json::json;

use crate::support::{World, routed};

const CALL: &str = "tools/call";

/// A world with one server that has served twenty calls.
async fn world(adjust: impl FnOnce(&mut Policy)) -> World {
    let world = World::new(&["a"], adjust);
    for _ in 0..20 {
        world.tool(&[]).await.unwrap();
    }
    assert_eq!(world.manager.error_rate("a").unwrap(), Some(0.0));
    world
}

fn rpc(code: i64) -> Action {
    Action::RpcError { code: Some(code), message: None }
}

#[tokio::test]
async fn each_failure_is_recorded_against_whoever_is_at_fault() {
    use Delivery::{NotSent, Rejected, Unknown};
    use ErrorCategory::{HttpStatus, InvalidPayload, NetworkTimeout, RpcError, TransportError};

    for (action, blamed, category, delivery) in [
        (Action::Timeout, true, NetworkTimeout, Unknown),
        (Action::Error, true, TransportError, NotSent),
        (Action::Disconnect, true, TransportError, Unknown),
        (Action::HttpStatus(400), true, HttpStatus, Rejected),
        (Action::HttpStatus(401), true, HttpStatus, Rejected),
        (Action::HttpStatus(429), true, HttpStatus, Rejected),
        (Action::HttpStatus(500), true, HttpStatus, Unknown),
        (Action::RetryAfter(503, Duration::from_secs(1)), true, HttpStatus, Unknown),
        (Action::Malformed, true, InvalidPayload, Unknown),
        // What the caller sent cannot be held against the server.
        (rpc(-32700), false, RpcError, Rejected),
        (rpc(-32600), false, RpcError, Rejected),
        (rpc(-32601), false, RpcError, Rejected),
        (rpc(-32602), false, RpcError, Rejected),
        (rpc(-32020), false, RpcError, Rejected),
        (rpc(-32002), false, RpcError, Rejected),
        (rpc(-32603), true, RpcError, Rejected),
        (rpc(-32000), true, RpcError, Rejected),
        (Action::RpcError { code: None, message: None }, true, RpcError, Rejected),
    ] {
        let world = world(|_| {}).await;
        world.cluster.script("a", CALL, [action.clone()]);
        let error = world.tool(&[]).await.unwrap_err();
        let attempt = error.attempts.last().unwrap();
        let told = attempt.failure.as_ref().unwrap();
        assert_eq!((told.category, attempt.delivery), (category, Some(delivery)), "{action:?}");
        let record = world.record("a");
        let status = if blamed { Status::Degraded } else { Status::Healthy };
        assert_eq!((record.status, record.retry_count), (status, u32::from(blamed)), "{action:?}");
        let recorded = blamed.then_some((category, delivery));
        assert_eq!(record.last_error_category.zip(record.last_error_delivery), recorded, "{action:?}");
        let rate = if blamed { 0.05 } else { 0.0 };
        assert_eq!(world.manager.error_rate("a").unwrap(), Some(rate), "{action:?}");
    }
}

#[tokio::test]
async fn under_the_literal_policy_every_rpc_error_is_the_servers() {
    for code in [-32602, -32603] {
        let world = world(|policy| policy.rpc_error_policy = RpcErrorPolicy::AlwaysDegrade).await;
        world.cluster.script("a", CALL, [rpc(code)]);
        world.tool(&[]).await.unwrap_err();
        assert_eq!(
            (world.status("a"), world.manager.error_rate("a").unwrap()),
            (Status::Degraded, Some(0.05))
        );
    }
}

#[tokio::test]
async fn a_forgotten_session_is_nobodys_fault() {
    let world = world(|_| {}).await;
    world.cluster.script("a", CALL, [Action::ForgetSession]);
    world.tool(&[]).await.unwrap();
    assert_eq!((world.status("a"), world.manager.error_rate("a").unwrap()), (Status::Healthy, Some(0.0)));
    assert_eq!(world.cluster.opened("a"), 2);
}

/// Only a request that was not executed is sent again on a new session, whoever asked for it.
#[tokio::test]
async fn a_call_that_a_forgotten_session_may_have_executed_is_not_repeated() {
    for (delivery, sent) in [(Delivery::NotSent, 2), (Delivery::Rejected, 2), (Delivery::Unknown, 1)] {
        for directed in [false, true] {
            let calls = Arc::new(AtomicUsize::new(0));
            let server = FnTransport::new({
                let calls = calls.clone();
                move |_, _| match calls.fetch_add(1, Ordering::Relaxed) {
                    0 => Err(TransportError::new(TransportErrorKind::SessionExpired, delivery)),
                    _ => Ok(json!({"content": []})),
                }
            });
            let world = World::over(|_| Arc::new(server), &["a"], |_| {});
            let idempotent = Some(false);
            let served = match directed {
                true => {
                    let call = DirectedCall { idempotent, ..DirectedCall::new("a", "x") };
                    world.manager.call_tool_on_server(call).await.is_ok()
                }
                false => {
                    let call = RoutedCall { idempotent, ..routed(Method::ToolsCall, &[]) };
                    world.manager.call(call).await.is_ok()
                }
            };
            let found = (calls.load(Ordering::Relaxed), served);
            assert_eq!(found, (sent, delivery != Delivery::Unknown), "{delivery:?}, directed: {directed}");
        }
    }
}

/// Who waited how long decides: the server has `timeout_ms`, half of what a whole call may take is fair, too.
#[tokio::test(start_paused = true)]
async fn a_call_that_took_too_long_is_the_servers_if_it_had_its_time() {
    let secs = Duration::from_secs;
    // (longest call, the caller's limit) -> recorded, checked afterwards
    for (deadline, limit, recorded, checked) in [
        (120, None, true, false),
        (120, Some(30), true, false),
        (120, Some(60), true, false),
        (120, Some(29), false, true),
        // The deadline comes before the limit of the request: the server had all of it, which is fair.
        (20, None, true, false),
    ] {
        let world = world(|policy| policy.max_call_deadline = secs(deadline)).await;
        world.cluster.script("a", CALL, [Action::Hang]);
        let mut call = routed(Method::ToolsCall, &[]);
        call.timeout = limit.map(secs);
        let probes = world.cluster.probes();
        world.manager.call(call).await.unwrap_err();
        world.settle().await;
        let (count, probed) = (world.record("a").retry_count, world.cluster.probes() > probes);
        assert_eq!((count > 0, probed), (recorded, checked), "{deadline} s, {limit:?}");
        let rate = if recorded { 0.05 } else { 0.0 };
        assert_eq!(world.manager.error_rate("a").unwrap(), Some(rate), "{deadline} s, {limit:?}");
    }
}

#[tokio::test]
async fn a_handshake_that_fails_is_recorded_once_and_is_no_request_of_the_rate() {
    let world = world(|_| {}).await;
    world.manager.disconnect("a").await.unwrap();
    world.cluster.script("a", "initialize", [Action::Error]);
    world.tool(&[]).await.unwrap_err();
    let record = world.record("a");
    assert_eq!((record.status, record.retry_count), (Status::Degraded, 1));
    assert_eq!(record.last_error_delivery, None);
    assert_eq!(world.manager.error_rate("a").unwrap(), Some(0.0));
}
