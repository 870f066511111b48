//! Contract §9.12: calls of one server's tool. Those on behalf of users are in `users.rs`, but for the first.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mcp_manager::{DirectedCall, DirectedError, Invocation};
use mcp_protocol::{Limits, Method, RawJson};
use mcp_registry::{FailureCode, InvocationError, Status};
use mcp_testkit::Action;
use tracing::field::Field;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::support::{World, definition};

const CALL: &str = "tools/call";

/// Makes a directed call of `search` on `a`, moving the clock by each wait between attempts; the waits in
/// seconds come second.
async fn insist(world: &World) -> (Result<Invocation, DirectedError>, Vec<u64>) {
    let call = world.manager.call_tool_on_server(DirectedCall::new("a", "search"));
    futures::pin_mut!(call);
    let mut waits = Vec::new();
    loop {
        if let std::task::Poll::Ready(outcome) = futures::poll!(&mut call) {
            return (outcome, waits);
        }
        match world.clock.next_wake() {
            Some(at) => {
                let wait = at.since(world.manager.now());
                waits.push(wait.as_secs());
                world.clock.advance(wait);
            }
            None => tokio::task::yield_now().await,
        }
    }
}

fn failed(outcome: Result<Invocation, DirectedError>) -> InvocationError {
    match outcome {
        Err(DirectedError::Failed(error)) => error,
        other => panic!("not a failure of the call: {other:?}"),
    }
}

#[tokio::test]
async fn n3_a_token_is_on_the_messages_of_its_call_only() {
    let world = World::new(&["a"], |_| {});
    // The tokens of the messages after the first so many.
    let tokens = |skip: usize| -> Vec<Option<String>> {
        let traffic = world.cluster.traffic().into_iter().skip(skip);
        traffic.map(|entry| entry.header("authorization").map(str::to_owned)).collect()
    };
    world.tool(&[]).await.unwrap();
    assert_eq!(tokens(0), [None, None, None]);

    let arguments = r#"{"q":"12 € lunch","limit":3}"#;
    let mut call = DirectedCall::new("a", "search");
    call.arguments = RawJson::parse(arguments, &Limits::default()).unwrap();
    call.user.token = Some("secret-of-alice".into());
    let served = world.manager.call_tool_on_server(call).await.unwrap();
    assert_eq!((served.server.as_str(), served.method), ("a", Method::ToolsCall));
    let echo: serde_json::Value = serde_json::from_str(served.result.as_str()).unwrap();
    let expected: serde_json::Value = serde_json::from_str(arguments).unwrap();
    assert_eq!(
        (&echo["structuredContent"]["tool"], &echo["structuredContent"]["arguments"]),
        (&"search".into(), &expected)
    );
    // On a session of alice's own.
    let bearer = || Some("Bearer secret-of-alice".to_owned());
    assert_eq!(tokens(3), [bearer(), bearer(), bearer()]);
    assert_eq!(world.last_session("a"), "a-session-2");

    world.tool(&[]).await.unwrap();
    world.manager.call_tool_on_server(DirectedCall::new("a", "search")).await.unwrap();
    world.manager.initialize("a", true).await.unwrap();
    assert_eq!(tokens(6), [None, None, None, None]);
    assert_eq!(world.last_session("a"), "a-session-1");
}

#[tokio::test]
async fn n4_unknown_servers_and_tools_are_the_callers_mistake() {
    let world = World::new(&["b", "a"], |_| {});
    let mut known = definition("known");
    known.tools = Some(vec!["search".into(), "fetch".into()]);
    world.manager.register(known).unwrap();

    let call = DirectedCall::new("nobody", "search");
    let Err(DirectedError::UnknownServer(error)) = world.manager.call_tool_on_server(call).await else {
        panic!("the server is unknown");
    };
    assert_eq!(
        (&*error.requested, error.available),
        ("nobody", ["a", "b", "known"].map(String::from).to_vec())
    );

    let call = DirectedCall::new("known", "serach");
    let error = world.manager.call_tool_on_server(call).await.unwrap_err();
    let expected = DirectedError::UnknownTool {
        server: "known".into(),
        requested: "serach".into(),
        available: vec!["fetch".into(), "search".into()],
    };
    assert_eq!(error, expected);
    assert!(error.to_string().contains("\"serach\"") && error.to_string().contains("\"known\""));

    assert_eq!((&*world.traffic(0), &*world.phases(0), &*world.transitions(0)), ("", "", ""));
    let record = world.record("known");
    assert_eq!((record.last_checked_at(), record.consecutive_failures), (None, 0));
}

#[tokio::test]
async fn j8_n5_n6_a_failing_server_is_tried_three_times() {
    for (action, category, text) in [
        (Action::HttpStatus(500), "http_status", "http status 500"),
        (Action::Timeout, "network_timeout", "timed out after 30s"),
    ] {
        let world = World::new(&["a"], |_| {});
        world.cluster.script("a", CALL, [action.clone(), action.clone(), action.clone()]);
        let (outcome, waits) = insist(&world).await;
        let error = failed(outcome);
        assert_eq!(waits, [1, 2], "{action:?}");
        assert_eq!(world.cluster.scripted("a", CALL), 0);
        assert_eq!(world.phases(0), "a IS IY VS VF VS VF VS VF");

        assert_eq!(error.code, FailureCode::AllCandidatesFailed);
        assert!(error.message.contains(text), "{}", error.message);
        let attempts: Vec<_> = error.attempts.iter().map(|attempt| attempt.attempt).collect();
        assert_eq!(attempts, [None, Some(1), Some(2), Some(3)]);
        for attempt in &error.attempts[1..] {
            let failure = attempt.failure.as_ref().unwrap();
            assert_eq!((failure.category.as_str(), &*failure.text), (category, text));
        }
        let record = world.record("a");
        assert_eq!((record.consecutive_failures, record.retry_count), (3, 1), "three attempts, one result");
        assert_eq!(record.last_error.as_deref(), Some(text));
        assert_eq!(world.transitions(0), "a H→D");
    }
}

#[tokio::test]
async fn n6_a_success_after_a_timeout_forgets_the_failure() {
    let world = World::new(&["a"], |_| {});
    world.cluster.script("a", CALL, [Action::Timeout, Action::Ok]);
    let (outcome, waits) = insist(&world).await;
    let served = outcome.unwrap();
    assert_eq!((waits, served.attempts.len()), (vec![1], 3));
    let record = world.record("a");
    assert_eq!((record.consecutive_failures, record.retry_count, record.status), (0, 0, Status::Healthy));
    assert_eq!((&*world.phases(0), &*world.transitions(0)), ("a IS IY VS VF VS VY", ""));
}

#[tokio::test]
async fn n7_what_repeating_cannot_mend_is_tried_once() {
    for (action, status) in [
        (Action::HttpStatus(404), Status::Degraded),
        (Action::HttpStatus(501), Status::Degraded),
        (Action::RpcError { code: Some(-32000), message: Some("no".into()) }, Status::Degraded),
        (Action::RpcError { code: Some(-32602), message: Some("no such argument".into()) }, Status::Healthy),
        (Action::Malformed, Status::Degraded),
    ] {
        let world = World::new(&["a"], |_| {});
        world.cluster.script("a", CALL, [action.clone()]);
        let (outcome, waits) = insist(&world).await;
        let error = failed(outcome);
        assert_eq!((waits, error.attempts.len()), (vec![], 2), "{action:?}");
        assert_eq!(world.traffic(0), "a init ready tool");
        assert_eq!(world.status("a"), status, "{action:?}");
    }
}

#[tokio::test]
async fn n7_a_server_that_forgets_every_session_is_asked_twice_and_no_more() {
    let world = World::new(&["a"], |_| {});
    world.cluster.script("a", CALL, vec![Action::ForgetSession; 6]);
    let (outcome, waits) = insist(&world).await;
    let error = failed(outcome);
    assert_eq!((waits, error.attempts.len()), (vec![], 2));
    assert_eq!(world.traffic(0), "a init ready tool init ready tool");
    let failure = error.attempts[1].failure.as_ref().unwrap();
    assert_eq!(failure.category, mcp_registry::ErrorCategory::HttpStatus);
    assert!(failure.text.starts_with("http status 404"), "{failure:?}");
    assert_eq!(world.status("a"), Status::Degraded);
}

#[tokio::test]
async fn n12_an_unhealthy_server_is_called_with_a_warning() {
    let world = World::new(&["a"], |_| {});
    world.manager.mark_unavailable("a", "maintenance").unwrap();
    let log = Warnings::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    // Its window is closed; only routed calls care.
    assert!(!world.manager.should_retry("a"));
    world.tool(&[]).await.unwrap_err();
    assert_eq!(log.take(), Vec::<String>::new());
    let (outcome, _) = insist(&world).await;
    assert_eq!(outcome.unwrap().server.as_str(), "a");
    assert_eq!(log.take(), ["calling a server that is not healthy"]);
    assert_eq!(world.transitions(0), "a H→X X→H");
    insist(&world).await.0.unwrap();
    assert_eq!(log.take(), Vec::<String>::new());
}

/// The messages of warnings logged on this thread.
#[derive(Debug, Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        let mut messages = self.0.lock().unwrap();
        event.record(&mut |field: &Field, value: &dyn std::fmt::Debug| {
            if field.name() == "message" {
                messages.push(format!("{value:?}"));
            }
        });
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn arguments_must_be_an_object_and_a_disabled_server_is_not_called() {
    let world = World::new(&["a"], |_| {});
    let mut call = DirectedCall::new("a", "search");
    call.arguments = RawJson::string("text");
    let error = world.manager.call_tool_on_server(call).await.unwrap_err();
    assert!(matches!(&error, DirectedError::InvalidArguments { .. }), "{error}");
    let mut off = definition("off");
    off.enabled = false;
    world.manager.register(off).unwrap();
    let error = world.manager.call_tool_on_server(DirectedCall::new("off", "search")).await.unwrap_err();
    assert_eq!(error.to_string(), "the server \"off\" is disabled");
    assert_eq!(world.traffic(0), "");
}

#[tokio::test(start_paused = true)]
async fn a_directed_call_ends_with_its_deadline_or_the_manager() {
    let world = World::new(&["primary"], |policy| policy.max_call_deadline = Duration::from_secs(20));
    world.tool(&[]).await.unwrap();
    world.cluster.script("primary", "tools/call", [Action::Hang]);
    let error = failed(world.manager.call_tool_on_server(DirectedCall::new("primary", "search")).await);
    assert_eq!((error.code, world.record("primary").retry_count), (FailureCode::DeadlineExceeded, 1));

    world.cluster.script("primary", "tools/call", [Action::Error]);
    let manager = world.manager.clone();
    let waiting =
        tokio::spawn(
            async move { manager.call_tool_on_server(DirectedCall::new("primary", "search")).await },
        );
    while world.clock.next_wake().is_none() {
        tokio::task::yield_now().await;
    }
    world.manager.shutdown(Duration::ZERO).await;
    assert_eq!(failed(waiting.await.unwrap()).code, FailureCode::ShuttingDown);
}

#[tokio::test]
async fn a_server_that_forgot_the_session_is_asked_again_on_a_new_one() {
    for directed in [false, true] {
        let world = World::new(&["primary"], |_| {});
        world.tool(&[]).await.unwrap();
        for (refused, served) in [(false, true), (true, false)] {
            world.cluster.script("primary", "tools/call", [Action::ForgetSession]);
            if refused {
                // The new session cannot be opened either; a directed call would try again later.
                world.cluster.script(
                    "primary",
                    "initialize",
                    [Action::RpcError { code: None, message: None }],
                );
            }
            let outcome = if directed {
                world.manager.call_tool_on_server(DirectedCall::new("primary", "search")).await.is_ok()
            } else {
                world.tool(&[]).await.is_ok()
            };
            assert_eq!(outcome, served, "directed: {directed}");
            let failures = u32::from(!served);
            let record = world.record("primary");
            assert_eq!((record.retry_count, record.consecutive_failures), (failures, failures));
        }
    }
}
