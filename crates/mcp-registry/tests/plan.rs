//! Contract §4.2 to §4.6: what follows from each outcome, and what the caller is told in the end.

use std::sync::Arc;
use std::time::Duration;

use mcp_protocol::{ErrorCode, Method};
use mcp_registry::{
    AmbiguousFailover, Attempt, CallFailure, CallSafety, ErrorCategory, Failure, FailureCode,
    InvocationError, Plan, Policy, RpcErrorPolicy, Selection, ServerName, Stage, Verdict,
};
use mcp_transport::Delivery;

use crate::support::{Core, calling, names, policy, preferring, secs};

const TOOK: Duration = Duration::from_millis(5);

fn plan(adjust: impl FnOnce(&mut Policy)) -> Plan {
    Plan::new(Arc::new(policy(adjust)), "id".into(), Method::ToolsCall)
}

fn server(name: &str) -> ServerName {
    name.parse().unwrap()
}

/// A failed call: its class and text, and how far it got.
fn failed(category: ErrorCategory, text: &str, delivery: Delivery) -> CallFailure {
    let failure = Failure::new(category, text);
    CallFailure { failure, delivery, rpc_code: None, transient: true, retry_after: None }
}

/// A JSON-RPC error with this code.
fn rpc_error(code: Option<i64>) -> CallFailure {
    let failure = failed(ErrorCategory::RpcError, "rpc error: no", Delivery::Rejected);
    CallFailure { rpc_code: code.map(ErrorCode), ..failure }
}

/// The error of a plan over servers that are all there.
fn exhausted(plan: Plan) -> InvocationError {
    plan.exhausted(&Core::new(&["a", "b"], |_| {}).choice(Selection::default()))
}

#[test]
fn a_trace_has_an_entry_for_each_stage_in_the_order_of_execution() {
    let mut plan = plan(|_| {});
    let (timeout, refused) = (
        Failure::new(ErrorCategory::NetworkTimeout, "primary initialize timed out"),
        failed(ErrorCategory::HttpStatus, "http status 503", Delivery::Unknown),
    );
    plan.not_initialized(&server("primary"), timeout.clone(), TOOK);
    plan.initialized(&server("backup"), TOOK * 2);
    let verdict = plan.failed(&server("backup"), refused.clone(), CallSafety::Unknown, TOOK * 3);
    assert_eq!(verdict, Verdict { blame_server: true, go_on: true });
    let error = exhausted(plan);
    let entry = |name, stage, failure, delivery, duration| Attempt {
        server: server(name),
        stage,
        failure,
        delivery,
        duration,
        attempt: None,
    };
    assert_eq!(
        error.attempts,
        [
            entry("primary", Stage::Initialize, Some(timeout), Some(Delivery::NotSent), TOOK),
            entry("backup", Stage::Initialize, None, None, TOOK * 2),
            entry("backup", Stage::Invoke, Some(refused.failure), Some(Delivery::Unknown), TOOK * 3),
        ]
    );
    assert_eq!(error.code, FailureCode::AllCandidatesFailed);
    assert_eq!((&*error.request_id, &error.method), ("id", &Method::ToolsCall));
    assert_eq!(
        error.to_string(),
        "all candidates failed: primary: initialize: primary initialize timed out; backup: invoke: http status 503"
    );
}

#[test]
fn the_trace_of_a_success_ends_with_it() {
    let mut plan = plan(|_| {});
    plan.initialized(&server("a"), TOOK);
    let _ = plan.failed(&server("a"), rpc_error(None), CallSafety::Unknown, TOOK);
    plan.initialized(&server("b"), TOOK);
    plan.succeeded(&server("b"), TOOK);
    let trace: Vec<_> = plan
        .into_attempts()
        .into_iter()
        .map(|entry| (entry.server.to_string(), entry.stage.as_str(), entry.failure.is_none(), entry.attempt))
        .collect();
    let expected = [
        ("a", "initialize", true, None),
        ("a", "invoke", false, None),
        ("b", "initialize", true, None),
        ("b", "invoke", true, None),
    ];
    assert_eq!(trace, expected.map(|(server, stage, ok, attempt)| (server.to_owned(), stage, ok, attempt)));
}

#[test]
fn attempts_of_a_directed_call_are_numbered_their_handshake_is_not() {
    let mut plan = plan(|_| {});
    plan.number(1);
    plan.initialized(&server("a"), TOOK);
    for attempt in 1..=2 {
        plan.number(attempt);
        let failure = failed(ErrorCategory::TransportError, "broken pipe", Delivery::NotSent);
        let _ = plan.failed(&server("a"), failure, CallSafety::Unknown, TOOK);
    }
    let error = exhausted(plan);
    assert_eq!(
        error.attempts.iter().map(|entry| entry.attempt).collect::<Vec<_>>(),
        [None, Some(1), Some(2)]
    );
    assert_eq!(error.message, "the call failed: a: invoke: broken pipe; a: invoke: broken pipe");
}

#[test]
fn errors_of_the_caller_blame_nobody_and_the_next_server_is_asked() {
    let callers: &[i64] = &[-32700, -32600, -32601, -32602, -32020, -32021, -32022, -32002];
    let servers: &[i64] = &[-32603, -32000, -32001, -32003, 0, 1, 404];
    for (codes, blamed) in [(callers, false), (servers, true)] {
        for &code in codes {
            for (policy, blamed) in
                [(RpcErrorPolicy::Classify, blamed), (RpcErrorPolicy::AlwaysDegrade, true)]
            {
                let mut plan = plan(|with| with.rpc_error_policy = policy);
                let verdict = plan.failed(&server("a"), rpc_error(Some(code)), CallSafety::Unsafe, TOOK);
                assert_eq!(verdict, Verdict { blame_server: blamed, go_on: true }, "{code} {policy:?}");
                let expected =
                    if blamed { FailureCode::AllCandidatesFailed } else { FailureCode::CallerError };
                assert_eq!(exhausted(plan).code, expected, "{code} {policy:?}");
            }
        }
    }
    let mut without = plan(|_| {});
    let verdict = without.failed(&server("a"), rpc_error(None), CallSafety::Unknown, TOOK);
    assert!(verdict.blame_server, "an error without a code is the server's");
}

#[test]
fn only_a_json_rpc_error_can_be_the_callers() {
    let mut plan = plan(|_| {});
    let odd = CallFailure {
        rpc_code: Some(ErrorCode::INVALID_PARAMS),
        ..failed(ErrorCategory::InvalidPayload, "wrong id", Delivery::Unknown)
    };
    assert!(plan.failed(&server("a"), odd, CallSafety::Safe, TOOK).blame_server);
    assert_eq!(exhausted(plan).code, FailureCode::AllCandidatesFailed);
}

#[test]
fn it_is_the_callers_error_only_if_every_failure_was() {
    let callers = || rpc_error(Some(-32602));
    let mut both = plan(|_| {});
    for name in ["a", "b"] {
        both.initialized(&server(name), TOOK);
        let _ = both.failed(&server(name), callers(), CallSafety::Unknown, TOOK);
    }
    let error = exhausted(both);
    assert_eq!(error.code, FailureCode::CallerError);
    assert_eq!(
        error.message,
        "every server refused the call: a: invoke: rpc error: no; b: invoke: rpc error: no"
    );

    for server_first in [true, false] {
        let mut mixed = plan(|_| {});
        let mut failures = [rpc_error(Some(-32603)), callers()];
        if !server_first {
            failures.reverse();
        }
        for failure in failures {
            let _ = mixed.failed(&server("a"), failure, CallSafety::Unknown, TOOK);
        }
        assert_eq!(exhausted(mixed).code, FailureCode::AllCandidatesFailed, "{server_first}");
    }

    let mut unready = plan(|_| {});
    unready.not_initialized(&server("a"), Failure::new(ErrorCategory::RpcError, "rpc error: no"), TOOK);
    let _ = unready.failed(&server("b"), callers(), CallSafety::Unknown, TOOK);
    assert_eq!(exhausted(unready).code, FailureCode::AllCandidatesFailed, "a handshake is not the caller's");
}

#[test]
fn after_an_unknown_outcome_the_policy_decides_whether_to_go_on() {
    use AmbiguousFailover::{Always, SafeOnly, UnlessUnsafe};
    use CallSafety::{Safe, Unknown, Unsafe};
    for (policy, goes_on) in
        [(Always, [true, true, true]), (UnlessUnsafe, [true, true, false]), (SafeOnly, [true, false, false])]
    {
        for (safety, goes_on) in [Safe, Unknown, Unsafe].into_iter().zip(goes_on) {
            for (delivery, goes_on) in
                [(Delivery::NotSent, true), (Delivery::Rejected, true), (Delivery::Unknown, goes_on)]
            {
                let case = format!("{policy:?} {safety:?} {delivery:?}");
                let mut plan = plan(|with| with.ambiguous_failover = policy);
                let failure = failed(ErrorCategory::NetworkTimeout, "timed out", delivery);
                let verdict = plan.failed(&server("a"), failure, safety, TOOK);
                assert_eq!(verdict, Verdict { blame_server: true, go_on: goes_on }, "{case}");
                let (code, lead) = if goes_on {
                    (FailureCode::AllCandidatesFailed, "all candidates failed")
                } else {
                    (FailureCode::AmbiguousNotRetried, "not retried, since the call may have been executed")
                };
                let error = exhausted(plan);
                assert_eq!(error.code, code, "{case}");
                assert_eq!(error.message, format!("{lead}: a: invoke: timed out"), "{case}");
            }
        }
    }
}

#[test]
fn an_unknown_outcome_in_the_end_outweighs_what_came_before() {
    let mut plan = plan(|policy| policy.ambiguous_failover = AmbiguousFailover::SafeOnly);
    assert!(plan.failed(&server("a"), rpc_error(Some(-32602)), CallSafety::Unknown, TOOK).go_on);
    let lost = failed(ErrorCategory::TransportError, "reset", Delivery::Unknown);
    assert!(!plan.failed(&server("b"), lost, CallSafety::Unknown, TOOK).go_on);
    assert_eq!(exhausted(plan).code, FailureCode::AmbiguousNotRetried);
}

#[test]
fn an_end_for_another_reason_keeps_the_trace() {
    for (code, lead) in [
        (FailureCode::DeadlineExceeded, "the deadline of the call passed"),
        (FailureCode::NoCandidates, "no server is reachable"),
        (FailureCode::NoServerOffersTool, "no server offers the tool"),
    ] {
        let bare = plan(|_| {}).end(code);
        assert_eq!((bare.code, &*bare.message, bare.attempts.len()), (code, lead, 0));
        let mut tried = plan(|_| {});
        tried.initialized(&server("a"), TOOK);
        let failure = failed(ErrorCategory::NetworkTimeout, "timed out", Delivery::Unknown);
        let _ = tried.failed(&server("a"), failure, CallSafety::Unknown, TOOK);
        let error = tried.end(code);
        assert_eq!(error.message, format!("{lead}: a: invoke: timed out"));
        assert_eq!((error.code, error.attempts.len()), (code, 2));
    }
    let mut tried = plan(|_| {});
    tried.not_initialized(&server("a"), Failure::new(ErrorCategory::Unknown, "closing"), TOOK);
    let error = tried.end(FailureCode::ShuttingDown);
    assert_eq!((&*error.message, error.attempts.len()), ("the gateway is shutting down", 1));
}

#[test]
fn codes_have_their_stable_spelling() {
    use FailureCode as Code;
    for (code, spelling) in [
        (Code::NoCandidates, "no_candidates"),
        (Code::NoServerOffersTool, "no_server_offers_tool"),
        (Code::AllCandidatesFailed, "all_candidates_failed"),
        (Code::AmbiguousNotRetried, "ambiguous_not_retried"),
        (Code::CallerError, "caller_error"),
        (Code::DeadlineExceeded, "deadline_exceeded"),
        (Code::ShuttingDown, "shutting_down"),
    ] {
        assert_eq!(code.as_str(), spelling);
    }
}

/// Code and message of a call for which there was nobody to try.
fn nobody(core: &Core, selection: Selection) -> (FailureCode, String) {
    let error = plan(|_| {}).exhausted(&core.choice(selection));
    assert_eq!(
        (error.attempts.as_slice(), &error.method, &*error.request_id),
        (&[][..], &Method::ToolsCall, "id")
    );
    (error.code, error.message)
}

#[test]
fn without_a_candidate_the_message_says_why() {
    let mut core = Core::new(&[], |_| {});
    let unreachable = |why: &str| (FailureCode::NoCandidates, format!("no server is reachable: {why}"));
    assert_eq!(nobody(&core, calling("tool")), unreachable("none is registered and enabled"));
    let narrow = Selection { group: Some("g".into()), preferred_only: true, ..preferring(&["a", "b"]) };
    assert_eq!(
        nobody(&core, narrow),
        unreachable(r#"none is registered and enabled in the group "g" among ["a", "b"]"#)
    );

    core.add("a", |definition| definition.tools = Some(names(&["other"])));
    let no_tool = r#"no server that could be asked offers the tool "tool""#;
    assert_eq!(nobody(&core, calling("tool")), (FailureCode::NoServerOffersTool, no_tool.into()));

    core.add("b", |_| {});
    core.add("c", |_| {});
    for _ in 0..3 {
        core.fail("b");
    }
    core.now = core.now + Duration::from_millis(1500);
    core.fail("c");
    core.fail("c");
    let waiting =
        |first| unreachable(&format!("every one that could serve failed lately; the next retry is {first}"));
    assert_eq!(nobody(&core, calling("tool")), waiting("c in 2.0s"));
    let only_b = Selection { preferred_only: true, ..preferring(&["b"]) };
    assert_eq!(nobody(&core, only_b), waiting("b in 2.5s"));
    core.now = core.now + secs(1);
    assert_eq!(nobody(&core, calling("tool")), waiting("c in 1.0s"));
}

#[test]
fn a_disabled_server_is_named_to_whoever_calls_it() {
    let error = plan(|_| {}).refused_as_disabled(&server("a"));
    assert_eq!(error.message, r#"the server "a" is disabled"#);
    assert_eq!((error.code, error.attempts.len(), &*error.request_id), (FailureCode::NoCandidates, 0, "id"));
}
