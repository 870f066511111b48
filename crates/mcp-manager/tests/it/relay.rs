//! Requests that are passed on for clients of the gateway: an answer is an answer, whatever it says.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_client::{Asker, RequestHandler, ServerRequest};
use mcp_manager::{Refusal, Relay, Relayed};
use mcp_protocol::{Era, EraPolicy, ErrorCode, Message, Method, RawJson, RpcError};
use mcp_registry::{ErrorCategory, FailureCode, InvocationError, Outcome, Selection, Stage, Status};
use mcp_testkit::Action;
use mcp_transport::{Delivery, TransportKind};
use serde_json::{Value, json};

use crate::intercept::{answer, intercept, then_silence};
use crate::support::{World, definition, routed, trace};

/// What the client sends, whoever is to get it.
pub(crate) fn relay(world: &World, method: Method, selection: Selection) -> Relay {
    let params = routed(method.clone(), &[]).params;
    Relay::new(method, Some(params), selection, world.manager.new_request_id())
}

/// One server.
pub(crate) fn only(server: &str) -> Selection {
    Selection { preferred: vec![server.to_owned()], preferred_only: true, ..Selection::default() }
}

/// Two servers that stand in for one another.
fn group(adjust: impl Fn(&mut mcp_registry::Definition)) -> World {
    let world = World::new(&[], |_| {});
    for name in ["a", "b"] {
        let mut definition = definition(name);
        definition.group = Some("g".parse().unwrap());
        adjust(&mut definition);
        world.manager.register(definition).unwrap();
    }
    world
}

fn in_group(tool: Option<&str>) -> Selection {
    Selection { group: Some("g".into()), tool: tool.map(Into::into), ..Selection::default() }
}

/// How the story of an invocation ends.
fn ending(world: &World, id: &str) -> Outcome {
    let story = world.manager.journal().explain(id).unwrap_or_else(|| panic!("no story of {id}"));
    story.story.ending().unwrap().outcome.clone()
}

#[tokio::test]
async fn a_result_comes_back_as_it_is_with_who_gave_it() {
    let world = group(|_| {});
    world.cluster.script("a", "tools/call", [Action::Result(r#"{"x":1.0, "isError":true}"#.into())]);
    let relay = relay(&world, Method::ToolsCall, in_group(Some("search")));
    let id = relay.request_id.clone();
    let relayed = world.manager.relay(relay).await.unwrap();
    assert_eq!((relayed.server.as_str(), relayed.version.as_str()), ("a", "2025-11-25"));
    assert_eq!(relayed.transport, TransportKind::Http);
    assert_eq!(relayed.outcome.unwrap().result.as_str(), r#"{"x":1.0, "isError":true}"#);
    let stages: Vec<_> = relayed.attempts.iter().map(|attempt| attempt.stage).collect();
    assert_eq!(stages, [Stage::Initialize, Stage::Invoke]);
    assert_eq!(world.phases(0), "a IS IY VS VY");
    assert_eq!(ending(&world, &id), Outcome::Served("a".parse().unwrap()));
    let header = world.cluster.traffic().into_iter().find(|entry| entry.method == "tools/call").unwrap();
    assert_eq!(header.header("x-request-id"), Some(&*id));
}

#[tokio::test]
async fn the_tool_is_told_where_servers_are_not_chosen_by_it() {
    let world = group(|_| {});
    for (selection, tool, told) in [
        (only("a"), Some("t"), Some("t")),
        (only("a"), None, None),
        (in_group(Some("search")), None, Some("search")),
    ] {
        world.cluster.script("a", "tools/call", [Action::Result("{}".into())]);
        let mut relay = relay(&world, Method::ToolsCall, selection);
        relay.tool = tool.map(Into::into);
        let id = relay.request_id.clone();
        world.manager.relay(relay).await.unwrap();
        assert_eq!(world.manager.journal().explain(&id).unwrap().story.tool.as_deref(), told);
    }
}

#[tokio::test]
async fn a_json_rpc_error_is_an_answer() {
    for code in [-32602, -32601, -32603, -32000, 7] {
        let world = group(|_| {});
        let refuse = Action::RpcError { code: Some(code), message: Some("not today".into()) };
        world.cluster.script("a", "tools/call", vec![refuse; 5]);
        for _ in 0..5 {
            let relay = relay(&world, Method::ToolsCall, in_group(Some("search")));
            let id = relay.request_id.clone();
            let Relayed { server, outcome, attempts, .. } = world.manager.relay(relay).await.unwrap();
            let Err(Refusal::Rpc(error)) = outcome else { panic!("{outcome:?}") };
            assert_eq!((server.as_str(), error.code()), ("a", Some(ErrorCode(code))));
            assert!(error.to_string().contains("not today"), "{error}");
            // The trace and the events tell of it, and nobody is blamed.
            let failure = attempts.last().unwrap().failure.as_ref().unwrap();
            assert_eq!((attempts.len(), failure.category), (2, ErrorCategory::RpcError));
            assert_eq!(ending(&world, &id), Outcome::Served("a".parse().unwrap()));
        }
        assert_eq!(world.phases(0), ["a", &["IS IY VS VF"; 5].join(" ")].join(" "));
        assert_eq!((world.transitions(0).as_str(), world.standing("a")), ("", (Status::Healthy, 0)));
        assert_eq!(world.record("a").consecutive_failures, 0);
        assert_eq!(world.cluster.opened("b"), 0, "nobody else is asked");
    }
}

/// Whether another server of the group was asked after the first one failed like this.
async fn goes_on(method: &Method, action: Action, hints: Option<&str>, trusted: bool) -> bool {
    let world = group(|definition| definition.trust_annotations = trusted);
    if let Some(hints) = hints {
        let list = format!(r#"{{"tools":[{{"name":"search","annotations":{{{hints}}}}}]}}"#);
        for name in ["a", "b"] {
            world.cluster.script(name, "tools/list", [Action::Result(list.clone())]);
            world.manager.refresh_tools(name).await.unwrap();
        }
    }
    world.cluster.script("a", method.as_str(), [action.clone()]);
    let tool = (*method == Method::ToolsCall).then_some("search");
    let relay = relay(&world, method.clone(), in_group(tool));
    let id = relay.request_id.clone();
    let outcome = world.manager.relay(relay).await;
    match outcome {
        Ok(relayed) => {
            assert_eq!((relayed.server.as_str(), relayed.attempts.len()), ("b", 4), "{action:?}");
            assert_eq!(ending(&world, &id), Outcome::Served("b".parse().unwrap()));
            true
        }
        Err(error) => {
            assert_eq!(error.code, FailureCode::AmbiguousNotRetried, "{action:?}");
            assert_eq!(error.attempts.last().unwrap().delivery, Some(Delivery::Unknown));
            assert_eq!(ending(&world, &id), Outcome::Failed(error.code));
            false
        }
    }
}

#[tokio::test]
async fn another_server_is_asked_only_if_the_first_did_nothing_or_a_repeat_is_safe() {
    let deliveries = [
        (Action::Error, Delivery::NotSent),
        (Action::HttpStatus(429), Delivery::Rejected),
        (Action::HttpStatus(404), Delivery::Rejected),
        (Action::HttpStatus(503), Delivery::Unknown),
        (Action::Timeout, Delivery::Unknown),
        (Action::Disconnect, Delivery::Unknown),
        (Action::Malformed, Delivery::Unknown),
    ];
    let reads = Some(r#""readOnlyHint":true"#);
    let repeats = Some(r#""idempotentHint":true"#);
    let erases = Some(r#""readOnlyHint":false,"idempotentHint":false,"destructiveHint":true"#);
    let calls = [
        (Method::ToolsCall, None, true, false),
        (Method::ToolsCall, reads, true, true),
        (Method::ToolsCall, reads, false, false),
        (Method::ToolsCall, repeats, true, true),
        (Method::ToolsCall, erases, true, false),
        (Method::ResourcesRead, None, false, true),
        (Method::PromptsGet, None, false, true),
        (Method::from("vendor/thing"), None, true, false),
    ];
    for (method, hints, trusted, safe) in &calls {
        for (action, delivery) in &deliveries {
            let expected = *safe || *delivery != Delivery::Unknown;
            let found = goes_on(method, action.clone(), *hints, *trusted).await;
            assert_eq!(found, expected, "{method} {hints:?} trusted {trusted} after {action:?}");
        }
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_blamed_as_always() {
    let world = World::new(&["a"], |_| {});
    world.cluster.script("a", "tools/call", [Action::Error]);
    let relay = relay(&world, Method::ToolsCall, only("a"));
    let id = relay.request_id.clone();
    let error: InvocationError = world.manager.relay(relay).await.unwrap_err();
    assert_eq!((error.code, &error.request_id), (FailureCode::AllCandidatesFailed, &id));
    let expected =
        [("a".to_owned(), Stage::Initialize, None), ("a".to_owned(), Stage::Invoke, Some("transport_error"))];
    assert_eq!(trace(&error), expected);
    assert_eq!(world.transitions(0), "a H→D");
    assert_eq!(ending(&world, &id), Outcome::Failed(FailureCode::AllCandidatesFailed));
}

#[tokio::test]
async fn nobody_there_is_an_error_with_its_reason() {
    let world = World::new(&["a"], |_| {});
    let relay = relay(&world, Method::ToolsCall, only("b"));
    let error = world.manager.relay(relay).await.unwrap_err();
    assert_eq!((error.code, error.attempts.len()), (FailureCode::NoCandidates, 0));
    assert!(error.message.contains(r#"among ["b"]"#), "{}", error.message);
    world.manager.shutdown(Duration::ZERO).await;
    let late = self::relay(&world, Method::ToolsCall, only("a"));
    assert_eq!(world.manager.relay(late).await.unwrap_err().code, FailureCode::ShuttingDown);
}

/// Answers nothing, after a while.
struct Silent(Mutex<Vec<Method>>);

impl RequestHandler for Silent {
    fn handle(&self, request: ServerRequest) -> BoxFuture<'_, Result<RawJson, RpcError>> {
        self.0.lock().unwrap().push(request.method);
        std::future::ready(Err(RpcError::new(ErrorCode::USER_REJECTED, "nobody is there"))).boxed()
    }
}

#[tokio::test]
async fn a_question_without_an_answer_is_told_and_is_nobodys_fault() {
    let look = |out: &mcp_transport::Outbound| {
        let Message::Request(request) = &out.message else { return None };
        let result: Value = match request.method {
            Method::ServerDiscover => json!({
                "resultType": "complete", "supportedVersions": ["2026-07-28"], "ttlMs": 0,
                "cacheScope": "public", "capabilities": {"tools": {}},
            }),
            _ => json!({
                "resultType": "input_required",
                "inputRequests": {"q": {"method": "roots/list"}},
            }),
        };
        Some(answer(json!({"jsonrpc": "2.0", "id": request.id, "result": result}).to_string()))
    };
    let world = World::over(|cluster| intercept(cluster, look), &[], |_| {});
    let mut stateless = definition("a");
    stateless.protocol = EraPolicy::Only(Era::Stateless);
    world.manager.register(stateless).unwrap();
    let handler = Arc::new(Silent(Mutex::default()));
    for resolves in [true, false] {
        let mut relay = relay(&world, Method::ToolsCall, only("a"));
        relay.asker = Some(Asker { owner: 1, handler: handler.clone(), resolves, task: None });
        relay.party = Some(crate::parties::Guest::new(None, r#"{"roots":{}}"#));
        let relayed = world.manager.relay(relay).await.unwrap();
        assert_eq!(relayed.version.as_str(), "2026-07-28");
        match relayed.outcome {
            Err(Refusal::Unanswered { method, error }) => {
                assert_eq!((resolves, method), (true, Method::RootsList));
                assert!(error.to_string().contains("nobody is there"), "{error}");
            }
            Ok(answer) => {
                assert!(!resolves && answer.result.get("inputRequests").is_some(), "{answer:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(*handler.0.lock().unwrap(), [Method::RootsList], "the other one was not asked");
    assert_eq!((world.transitions(0).as_str(), world.standing("a")), ("", (Status::Healthy, 0)));
    assert_eq!(world.phases(0), "a IS IY VS VF IS IY VS VY");
}

#[tokio::test(start_paused = true)]
async fn time_that_people_take_is_not_held_against_the_server() {
    let look = |out: &mcp_transport::Outbound| match &out.message {
        Message::Request(request) if request.method == Method::ToolsCall => {
            Some(then_silence(json!({"jsonrpc": "2.0", "id": 7, "method": "roots/list"}).to_string()))
        }
        _ => None,
    };
    let world = World::over(|cluster| intercept(cluster, look), &["a"], |_| {});
    let mut relay = relay(&world, Method::ToolsCall, only("a"));
    relay.party = Some(crate::parties::Guest::slow("one", r#"{"roots":{}}"#));
    relay.total = Duration::from_secs(300);
    let start = tokio::time::Instant::now();
    let error = world.manager.relay(relay).await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::from_secs(300), "longer than the server may take for an answer");
    assert_eq!(error.code, FailureCode::DeadlineExceeded);
    assert_eq!((world.transitions(0).as_str(), world.standing("a")), ("", (Status::Healthy, 0)));
}
