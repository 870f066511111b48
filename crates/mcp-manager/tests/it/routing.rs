//! Contract §9.4: routed calls and their trace.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mcp_protocol::{Message, Method};
use mcp_registry::{AmbiguousFailover, ErrorCategory, FailureCode, RpcErrorPolicy, Stage, Status};
use mcp_testkit::{Action, FnTransport, Toggle};
use mcp_transport::{Connector, Connectors, Outbound};
use serde_json::json;

use crate::intercept::{answer, intercept};
use crate::support::{METHODS, PB, World, definition, routed, trace};

const INIT: &str = "initialize";
const CALL: &str = "tools/call";
const READ: &str = "resources/read";

fn rpc(code: Option<i64>, message: &str) -> Action {
    Action::RpcError { code, message: Some(message.into()) }
}

#[tokio::test]
async fn c1_the_second_server_serves_when_the_first_fails() {
    let world = World::new(&["primary", "backup"], |_| {});
    world.cluster.script("primary", CALL, [Action::Error]);
    let served = world.tool(&["primary", "backup"]).await.unwrap();
    assert_eq!(served.server.as_str(), "backup");
    assert_eq!(world.traffic(0), "primary init ready tool, backup init ready tool");
    let (primary, backup) = (world.record("primary"), world.record("backup"));
    assert_eq!((primary.status, primary.initialized), (Status::Degraded, false));
    assert_eq!((backup.status, backup.initialized), (Status::Healthy, true));
    let stages: Vec<_> = served
        .attempts
        .iter()
        .map(|attempt| (attempt.server.as_str(), attempt.stage, attempt.failure.is_none()))
        .collect();
    assert_eq!(
        stages,
        [
            ("primary", Stage::Initialize, true),
            ("primary", Stage::Invoke, false),
            ("backup", Stage::Initialize, true),
            ("backup", Stage::Invoke, true),
        ]
    );
}

#[tokio::test]
async fn c2_an_error_without_a_code_is_the_servers_fault() {
    for methods in [&[READ][..], &[INIT, READ]] {
        let world = World::pair(3);
        for method in methods {
            world.cluster.script("primary", method, [Action::RpcError { code: None, message: None }]);
        }
        let served = world.read(&["primary"]).await.unwrap();
        assert_eq!(served.server.as_str(), "backup");
        let primary = world.record("primary");
        assert_eq!((primary.status, primary.retry_count), (Status::Degraded, 1));
        assert_eq!(primary.last_error_category.unwrap().as_str(), "rpc_error");
    }
}

#[tokio::test]
async fn c3_without_servers_there_is_no_attempt_and_no_event() {
    let world = World::new(&[], |_| {});
    let error = world.tool(&[]).await.unwrap_err();
    assert_eq!((error.method, error.code), (Method::ToolsCall, FailureCode::NoCandidates));
    assert_eq!(error.attempts, []);
    assert_eq!((world.phases(0), world.transitions(0)), (String::new(), String::new()));
}

#[tokio::test]
async fn c4_the_trace_names_stage_and_category_in_order() {
    let world = World::new(&["primary", "backup"], |_| {});
    world.cluster.script("primary", INIT, [Action::Error]);
    world.cluster.script("backup", CALL, [rpc(Some(-32000), "backup is full")]);
    let error = world.tool(&["primary", "backup"]).await.unwrap_err();
    assert_eq!(error.code, FailureCode::AllCandidatesFailed);
    assert_eq!(
        trace(&error),
        [
            ("primary".into(), Stage::Initialize, Some("transport_error")),
            ("backup".into(), Stage::Initialize, None),
            ("backup".into(), Stage::Invoke, Some("rpc_error")),
        ]
    );
    assert_eq!(
        error.message,
        "all candidates failed: primary: initialize: primary unavailable; backup: invoke: rpc error: backup is full"
    );
}

#[tokio::test]
async fn c5_c6_c7_single_server_failures() {
    let table = [
        ("c5", CALL, Action::HttpStatus(503), Stage::Invoke, "http_status", "http status 503"),
        ("c6", READ, Action::Malformed, Stage::Invoke, "invalid_payload", "not valid JSON"),
        ("c7", INIT, rpc(Some(-32000), "go away"), Stage::Initialize, "rpc_error", "rpc error: go away"),
    ];
    for (id, method, action, stage, category, text) in table {
        let world = World::new(&["a"], |_| {});
        world.cluster.script("a", method, [action]);
        let error = if method == CALL { world.tool(&[]).await } else { world.read(&[]).await }.unwrap_err();
        let last = error.attempts.last().unwrap();
        assert_eq!(error.attempts.len(), if stage == Stage::Invoke { 2 } else { 1 }, "{id}");
        assert_eq!(last.stage, stage, "{id}");
        let failure = last.failure.as_ref().unwrap();
        assert_eq!((failure.category.as_str(), &*failure.text), (category, text), "{id}");
        let record = world.record("a");
        assert_eq!(record.last_error_category, Some(failure.category), "{id}");
        assert_eq!(record.last_error.as_deref(), Some(text), "{id}");
    }
}

/// P healthy and initialised but its call fails; R recovered; G degraded with its window open.
async fn c8_world() -> World {
    let world = World::new(&["p", "r", "g"], |_| {});
    for name in ["p", "r", "g"] {
        world.manager.initialize(name, false).await.unwrap();
    }
    for name in ["r", "g"] {
        world.manager.mark_degraded(name, "earlier trouble").unwrap();
    }
    world.manager.mark_healthy("r").unwrap();
    world.cluster.toggle("p", Toggle::FailToolCalls, true);
    world.advance(2);
    world
}

#[tokio::test]
async fn c8_a_recovered_server_comes_before_a_degraded_one() {
    let world = c8_world().await;
    let seen = world.request(&Method::ToolsCall, &["p", "r", "g"]).await;
    assert_eq!((seen.server(), &*seen.traffic), ("r", "p tool, r init ready tool"));
    assert_eq!(
        [world.status("p"), world.status("r"), world.status("g")],
        [Status::Degraded, Status::Healthy, Status::Degraded]
    );
}

#[tokio::test]
async fn c9_a_new_session_hands_shakes_before_its_call() {
    let world = c8_world().await;
    // The session of P is gone, so that its next use opens a new one.
    world.manager.invalidate("p").await.unwrap();
    world.manager.invalidate("g").await.unwrap();
    let seen = world.request(&Method::ToolsCall, &["p", "r", "g"]).await;
    assert_eq!((seen.server(), &*seen.traffic), ("r", "p init ready tool, r init ready tool"));
    assert!(!world.manager.session_state("g").unwrap().active);
}

#[tokio::test]
async fn c10_the_adapter_comes_before_the_plain_transport() {
    let plain = || Arc::new(FnTransport::new(|_, _| Ok(json!({"by": "plain"}))));
    let both = |adapter| {
        let connectors = Connectors::new().with("adapter", Arc::new(adapter));
        Arc::new(connectors.with("plain", plain())) as Arc<dyn Connector>
    };
    let world = World::over(both, &["a"], |_| {});
    for method in METHODS {
        let served = world.call(method, &[]).await.unwrap();
        assert!(!served.result.as_str().contains("plain"));
    }
    world.manager.health_check("a").await.unwrap();
    assert_eq!((&*world.traffic(0), world.cluster.probes()), ("a init ready tool read", 1));
    assert!(world.manager.session_state("a").unwrap().active);

    // Alone, the plain one would serve.
    let world = World::over(|_| plain(), &["a"], |_| {});
    assert_eq!(world.tool(&[]).await.unwrap().result.as_str(), r#"{"by":"plain"}"#);
}

#[tokio::test]
async fn c11_c12_a_preference_is_a_ranking_unless_it_is_a_restriction() {
    let world = World::new(&["a", "b"], |_| {});
    for name in ["a", "b"] {
        world.cluster.toggle(name, Toggle::FailToolCalls, true);
    }
    let error = world.tool(&["b", "nobody", "b", "a", "b"]).await.unwrap_err();
    let order: Vec<_> = error.attempts.iter().map(|attempt| attempt.server.to_string()).collect();
    assert_eq!(order, ["b", "b", "a", "a"]);

    for (only, served) in [(false, true), (true, false)] {
        let world = World::new(&["a", "b"], |_| {});
        world.cluster.toggle("b", Toggle::FailToolCalls, true);
        let mut call = routed(Method::ToolsCall, &["b"]);
        call.selection.preferred_only = only;
        assert_eq!(world.manager.call(call).await.is_ok(), served, "only {only}");
        let phases = if only { "b IS IY VS VF" } else { "b IS IY VS VF, a IS IY VS VY" };
        assert_eq!(world.phases(0), phases);
    }
}

#[tokio::test]
async fn c13_a_tool_that_reports_an_error_has_answered() {
    let world = World::new(&["a", "b"], |_| {});
    world.cluster.script("a", CALL, [Action::Result(r#"{"content":[],"isError":true}"#.into())]);
    let served = world.tool(&["a"]).await.unwrap();
    assert_eq!(served.server.as_str(), "a");
    assert_eq!(served.result.as_str(), r#"{"content":[],"isError":true}"#);
    assert_eq!(world.phases(0), "a IS IY VS VY");
    assert_eq!((world.status("a"), &*world.transitions(0)), (Status::Healthy, ""));
}

#[tokio::test]
async fn c14_an_answer_without_a_result_is_no_answer() {
    for method in METHODS {
        // Only the first call is answered like that.
        let first = AtomicBool::new(true);
        let wanted = method.clone();
        let look = move |out: &Outbound| match &out.message {
            Message::Request(request) if request.method == wanted && first.swap(false, Ordering::SeqCst) => {
                Some(answer(format!(r#"{{"jsonrpc":"2.0","id":{}}}"#, request.id)))
            }
            _ => None,
        };
        let world = World::over(|cluster| intercept(cluster, look), &PB, |_| {});
        let seen = world.request(&method, &PB).await;
        assert_eq!((seen.server(), &*seen.transitions), ("backup", "primary H→D"));
        assert_eq!(seen.phases, "primary IS IY VS VF, backup IS IY VS VY");
        assert_eq!(seen.errors(), [(3, "invalid_payload")]);
        let primary = world.record("primary");
        assert_eq!(primary.last_error_category, Some(ErrorCategory::InvalidPayload));
        assert!(primary.last_error.as_ref().unwrap().starts_with("missing result"), "{primary:?}");
    }
}

#[tokio::test]
async fn c15_the_callers_errors_degrade_nobody() {
    for (policy, code, status) in [
        (RpcErrorPolicy::Classify, FailureCode::CallerError, Status::Healthy),
        (RpcErrorPolicy::AlwaysDegrade, FailureCode::AllCandidatesFailed, Status::Degraded),
    ] {
        let world = World::new(&["a", "b"], |settings| settings.rpc_error_policy = policy);
        for name in ["a", "b"] {
            world.cluster.script(name, CALL, [rpc(Some(-32602), "no such tool")]);
        }
        let error = world.tool(&[]).await.unwrap_err();
        assert_eq!(error.code, code);
        let refused = |name: &str| (name.to_owned(), Stage::Invoke, Some("rpc_error"));
        let ready = |name: &str| (name.to_owned(), Stage::Initialize, None);
        assert_eq!(trace(&error), [ready("a"), refused("a"), ready("b"), refused("b")]);
        assert_eq!([world.status("a"), world.status("b")], [status, status]);
    }
}

#[tokio::test]
async fn c16_an_unsafe_call_with_an_unknown_outcome_is_not_repeated() {
    let table = [
        (AmbiguousFailover::UnlessUnsafe, None, true),
        (AmbiguousFailover::UnlessUnsafe, Some(false), false),
        (AmbiguousFailover::SafeOnly, None, false),
        (AmbiguousFailover::SafeOnly, Some(true), true),
        (AmbiguousFailover::Always, Some(false), true),
    ];
    for (policy, idempotent, served) in table {
        let world = World::new(&["a", "b"], |settings| settings.ambiguous_failover = policy);
        world.cluster.script("a", CALL, [Action::Timeout]);
        let mut call = routed(Method::ToolsCall, &["a"]);
        call.idempotent = idempotent;
        let outcome = world.manager.call(call).await;
        assert_eq!(outcome.is_ok(), served, "{policy:?} {idempotent:?}");
        if let Err(error) = outcome {
            assert_eq!(error.code, FailureCode::AmbiguousNotRetried);
        }
    }
    // A refused connection is never ambiguous.
    let world = World::new(&["a", "b"], |settings| settings.ambiguous_failover = AmbiguousFailover::SafeOnly);
    world.cluster.script("a", CALL, [Action::Error]);
    let mut call = routed(Method::ToolsCall, &["a"]);
    call.idempotent = Some(false);
    assert_eq!(world.manager.call(call).await.unwrap().server.as_str(), "b");
}

#[tokio::test]
async fn c16_j8_a_tool_declared_harmful_is_not_repeated_either() {
    let hints = r#"{"readOnlyHint":false,"idempotentHint":false,"destructiveHint":true}"#;
    let list = format!(r#"{{"tools":[{{"name":"search","annotations":{hints}}}]}}"#);
    for (policy, failure, served) in [
        (AmbiguousFailover::UnlessUnsafe, Action::Timeout, None),
        (AmbiguousFailover::UnlessUnsafe, Action::HttpStatus(503), None),
        (AmbiguousFailover::Always, Action::Timeout, Some("b")),
        (AmbiguousFailover::UnlessUnsafe, Action::Error, Some("b")),
        (AmbiguousFailover::UnlessUnsafe, Action::HttpStatus(429), Some("b")),
    ] {
        let world = World::new(&["a", "b"], |settings| settings.ambiguous_failover = policy);
        world.cluster.script("a", "tools/list", [Action::Result(list.clone())]);
        world.manager.refresh_tools("a").await.unwrap();
        world.cluster.script("a", CALL, [failure.clone()]);
        let outcome = world.tool(&["a"]).await;
        assert_eq!(outcome.as_ref().ok().map(|done| done.server.as_str()), served, "{policy:?} {failure:?}");
        if let Err(error) = outcome {
            assert_eq!((error.code, error.attempts.len()), (FailureCode::AmbiguousNotRetried, 2));
            assert_eq!(world.cluster.opened("b"), 0);
        }
        assert_eq!(world.status("a"), Status::Degraded);
    }
}

#[tokio::test(start_paused = true)]
async fn c17_a_server_removed_before_its_turn_fails_its_initialize_stage() {
    let world = World::new(&["a", "b", "c"], |_| {});
    world.cluster.script("a", CALL, [Action::Hang]);
    let served = {
        let call = world.tool(&["a", "b", "c"]);
        futures::pin_mut!(call);
        while world.cluster.calls().last().is_none_or(|(_, method)| method != CALL) {
            assert!(futures::poll!(&mut call).is_pending());
            tokio::task::yield_now().await;
        }
        world.manager.unregister("b").await.unwrap();
        call.await.unwrap()
    };
    assert_eq!(served.server.as_str(), "c");
    assert_eq!(world.phases(0), "a IS IY VS VF, b IS IF, c IS IY VS VY");
    let gone = &served.attempts[2];
    assert_eq!((gone.server.as_str(), gone.stage), ("b", Stage::Initialize));
    let failure = gone.failure.as_ref().unwrap();
    assert_eq!((failure.category.as_str(), &*failure.text), ("initialize_error", "server not found"));
}

#[tokio::test]
async fn a_server_known_to_lack_the_tool_is_skipped() {
    let world = World::new(&["b"], |_| {});
    let mut without = definition("a");
    without.tools = Some(vec!["other".into()]);
    world.manager.register(without).unwrap();
    assert_eq!(world.tool(&["a"]).await.unwrap().server.as_str(), "b");
    assert_eq!(world.traffic(0), "b init ready tool");

    world.manager.unregister("b").await.unwrap();
    let error = world.tool(&[]).await.unwrap_err();
    assert_eq!((error.code, error.attempts.len()), (FailureCode::NoServerOffersTool, 0));
}

#[tokio::test]
async fn groups_and_disabled_servers_restrict_the_candidates() {
    let world = World::new(&["a"], |_| {});
    for (name, group, enabled) in [("b", "search", true), ("c", "search", false)] {
        let mut definition = definition(name);
        definition.group = Some(group.parse().unwrap());
        definition.enabled = enabled;
        world.manager.register(definition).unwrap();
    }
    let mut call = routed(Method::ToolsCall, &["c", "a"]);
    call.selection.group = Some("search".into());
    assert_eq!(world.manager.call(call).await.unwrap().server.as_str(), "b");
}

#[tokio::test]
async fn priority_orders_what_the_caller_leaves_open() {
    let world = World::new(&["a", "b"], |_| {});
    let mut high = definition("z");
    high.priority = 80;
    world.manager.register(high).unwrap();
    assert_eq!(world.tool(&[]).await.unwrap().server.as_str(), "z");
    assert_eq!(world.tool(&["b"]).await.unwrap().server.as_str(), "b");
    world.manager.mark_degraded("z", "trouble").unwrap();
    assert_eq!(world.tool(&[]).await.unwrap().server.as_str(), "a");
}

/// A server that lists one tool with these annotations, if asked, and fails its call with an unknown outcome.
async fn harmful(annotations: &str, list_takes: u64) -> World {
    let world = World::new(&["b"], |_| {});
    let mut server = definition("a");
    server.discover_tools = true;
    world.manager.register(server).unwrap();
    let list = format!(
        r#"{{"tools":[{{"name":"search","inputSchema":{{"type":"object"}},"annotations":{annotations}}}]}}"#
    );
    let answer = Action::Result(list).delayed(std::time::Duration::from_millis(list_takes));
    world.cluster.script("a", "tools/list", [answer]);
    world.cluster.script("a", "tools/call", [Action::Timeout]);
    world
}

#[tokio::test(start_paused = true)]
async fn what_a_tool_says_of_repeats_counts_from_its_first_call_on() {
    let destructive = r#"{"readOnlyHint":false,"idempotentHint":false,"destructiveHint":true}"#;
    for (annotations, takes, served) in [
        (destructive, 0, false),
        // The list is still being read when the call fails.
        (destructive, 1000, false),
        ("{}", 1000, true),
        // A list that does not come leaves the tool unknown.
        (destructive, 60_000, true),
    ] {
        let world = harmful(annotations, takes).await;
        let outcome = world.tool(&["a"]).await;
        assert_eq!(outcome.is_ok(), served, "{annotations} after {takes} ms");
        if let Err(error) = outcome {
            assert_eq!(error.code, FailureCode::AmbiguousNotRetried);
        }
        let calls = world.cluster.calls().into_iter().filter(|(_, method)| method == "tools/call").count();
        assert_eq!(calls, if served { 2 } else { 1 });
    }
}
