//! The story of an invocation, told afterwards.

use std::time::Duration;

use mcp_manager::{DirectedCall, RoutedCall};
use mcp_protocol::Method;
use mcp_registry::{ErrorCategory, Explanation, FailureCode, Outcome, Part, Phase, Selection, Skip, Status};
use mcp_testkit::{Action, ManualClock, Toggle};
use mcp_transport::Delivery;

use crate::support::{World, definition, routed};

fn explain(world: &World, id: &str) -> Explanation {
    world.manager.journal().explain(id).unwrap_or_else(|| panic!("no story of {id}"))
}

/// Every server with its part, spelled out.
fn parts(story: &Explanation) -> Vec<(String, Part)> {
    story.considered().into_iter().map(|one| (one.key.name.to_string(), one.part)).collect()
}

#[tokio::test]
async fn a_story_says_who_was_considered_and_why_not() {
    let world = World::new(&["closed", "primary", "spare"], |_| {});
    let mut off = definition("off");
    off.enabled = false;
    let mut lacking = definition("lacking");
    lacking.tools = Some(vec!["other".into()]);
    let mut grouped = definition("grouped");
    grouped.group = Some("elsewhere".parse().unwrap());
    for mut definition in [off, lacking, grouped] {
        if definition.group.is_none() {
            definition.group = Some("here".parse().unwrap());
        }
        world.manager.register(definition).unwrap();
    }
    for name in ["closed", "primary", "spare"] {
        let mut definition = definition(name);
        definition.group = Some("here".parse().unwrap());
        world.manager.register(definition).unwrap();
    }
    world.fail("closed");
    world.cluster.script("primary", "tools/call", [Action::HttpStatus(503)]);
    let call = routed(Method::ToolsCall, &["primary"]);
    let selection = Selection { group: Some("here".into()), ..call.selection };
    let served = world.manager.call(RoutedCall { selection, ..call }).await.unwrap();

    let story = explain(&world, &served.request_id);
    let window = Skip::WindowClosed(ManualClock::START + Duration::from_secs(1));
    let expected = [
        ("primary", Part::Tried),
        ("spare", Part::Tried),
        ("closed", Part::Skipped(window)),
        ("grouped", Part::Skipped(Skip::NotInGroup)),
        ("lacking", Part::Skipped(Skip::LacksTool)),
        ("off", Part::Skipped(Skip::Disabled)),
    ];
    assert_eq!(parts(&story), expected.map(|(name, part)| (name.to_owned(), part)));
    let failed = story.steps.iter().find(|step| step.phase == Phase::InvokeFailure).unwrap();
    assert_eq!(failed.error_category(), Some(ErrorCategory::HttpStatus));
    assert_eq!((failed.delivery, failed.duration), (Some(Delivery::Unknown), Some(Duration::ZERO)));
    let caused: Vec<_> =
        story.transitions.iter().map(|event| (event.server.as_str(), event.to_status)).collect();
    assert_eq!(caused, [("primary", Status::Degraded)]);
    let ending = story.story.ending().unwrap();
    assert_eq!(ending.outcome, Outcome::Served("spare".parse().unwrap()));
    assert!(!story.is_truncated());

    // What changes afterwards changes nothing in the story.
    world.manager.unregister("primary").await.unwrap();
    world.advance(60);
    assert_eq!(parts(&explain(&world, &served.request_id)).len(), 6);
}

#[tokio::test]
async fn a_call_without_candidates_has_a_story_too() {
    let world = World::pair(3);
    world.fail("primary");
    let mut call = routed(Method::ToolsCall, &["primary"]);
    call.selection.preferred_only = true;
    let error = world.manager.call(call).await.unwrap_err();
    let story = explain(&world, &error.request_id);
    let window = Skip::WindowClosed(ManualClock::START + Duration::from_secs(1));
    assert_eq!(
        parts(&story),
        [
            ("backup".to_owned(), Part::Skipped(Skip::NotPreferred)),
            ("primary".to_owned(), Part::Skipped(window))
        ]
    );
    assert_eq!(story.story.ending().unwrap().outcome, Outcome::Failed(FailureCode::NoCandidates));
    assert_eq!(story.reason_for_nobody(), Some(error.message.as_str()));
    assert!(story.steps.is_empty() && !story.is_truncated());
}

#[tokio::test]
async fn the_story_of_a_directed_call_has_one_candidate() {
    let world = World::pair(3);
    world.fail("primary");
    let mut call = DirectedCall::new("primary", "search");
    call.idempotent = Some(false);
    world.cluster.script("primary", "tools/call", [Action::Timeout]);
    let Err(mcp_manager::DirectedError::Failed(error)) = world.manager.call_tool_on_server(call).await else {
        panic!("it was served")
    };
    let story = explain(&world, &error.request_id);
    assert!(story.story.directed);
    assert_eq!(
        parts(&story),
        [("primary".to_owned(), Part::Tried), ("backup".to_owned(), Part::Skipped(Skip::NotPreferred))]
    );
    assert_eq!(story.steps.last().unwrap().attempt, Some(1));
    assert_eq!(story.reason_for_nobody(), None);
}

#[tokio::test]
async fn a_call_under_way_and_one_whose_caller_left_say_so() {
    let world = World::new(&["p"], |_| {});
    world.cluster.script("p", "tools/call", [Action::Hang]);
    let manager = world.manager.clone();
    let call = tokio::spawn(async move { manager.call(routed(Method::ToolsCall, &[])).await });
    while world.cluster.scripted("p", "tools/call") > 0 || world.cluster.calls().len() < 3 {
        tokio::task::yield_now().await;
    }
    let all = world.manager.journal().invocation_events(&mcp_registry::InvocationFilter::default());
    let id = &all[0].request_id;
    assert!(explain(&world, id).story.ending().is_none());
    call.abort();
    assert!(call.await.is_err());
    let story = explain(&world, id);
    assert_eq!(story.story.ending().unwrap().outcome, Outcome::Abandoned);
    assert_eq!(story.steps.last().unwrap().phase, Phase::InvokeFailure);
}

#[tokio::test]
async fn stories_are_as_bounded_as_events() {
    let world = World::new(&["p"], |policy| policy.max_invocation_events = 6);
    let mut ids = Vec::new();
    for _ in 0..9 {
        ids.push(world.tool(&[]).await.unwrap().request_id);
    }
    let told = |id: &mcp_registry::CorrelationId| world.manager.journal().explain(id);
    let kept: Vec<bool> = ids.iter().map(|id| told(id).is_some()).collect();
    assert_eq!(kept, [false, false, false, true, true, true, true, true, true]);
    // Six events are one call and a half.
    let cut: Vec<bool> = ids[3..].iter().map(|id| told(id).unwrap().is_truncated()).collect();
    assert_eq!(cut, [true, true, true, true, true, false]);
    assert!(world.manager.journal().explain("no such id").is_none());
    world.cluster.toggle("p", Toggle::FailToolCalls, true);
    let failed = world.tool(&[]).await.unwrap_err();
    assert!(!explain(&world, &failed.request_id).is_truncated());
}
