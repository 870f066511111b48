//! Product: why did a call end as it did. Told from what the journal retains.

use std::sync::Arc;

use mcp_protocol::Method;
use mcp_registry::{
    Ending, Explanation, FailureCode, InvocationEvent, Outcome, Part, Phase, Selection, Skip, Story,
};

use crate::support::{Core, START, calling, failure, names, preferring, secs};

/// Begins an invocation.
fn begin(core: &Core, id: &str, selection: Selection, directed: bool) -> Arc<Story> {
    let story = Arc::new(Story::new(id.into(), Method::ToolsCall, core.choice(selection), directed));
    core.journal.story(story.clone());
    story
}

/// The steps of one candidate.
fn steps(core: &Core, id: &str, server: &str, phases: &[Phase]) {
    for &phase in phases {
        let server = server.parse().unwrap();
        let event = InvocationEvent::new(core.now, server, Method::ToolsCall, id.into(), phase);
        core.journal.invocation(event);
    }
}

const SERVED: [Phase; 4] =
    [Phase::InitializeStart, Phase::InitializeSuccess, Phase::InvokeStart, Phase::InvokeSuccess];
const UNREADY: [Phase; 2] = [Phase::InitializeStart, Phase::InitializeFailure];

fn explain(core: &Core, id: &str) -> Explanation {
    core.journal.explain(id).unwrap()
}

fn parts(explanation: &Explanation) -> Vec<(String, Part)> {
    let considered = explanation.considered().into_iter();
    considered.map(|considered| (considered.key.name.to_string(), considered.part)).collect()
}

fn expected(parts: &[(&str, Part)]) -> Vec<(String, Part)> {
    parts.iter().map(|&(name, part)| (name.to_owned(), part)).collect()
}

#[test]
fn a_story_has_its_own_steps_and_transitions() {
    let mut core = Core::new(&["a", "b", "c"], |_| {});
    let story = begin(&core, "1", Selection::default(), false);
    begin(&core, "2", Selection::default(), false);
    steps(&core, "1", "a", &UNREADY[..1]);
    steps(&core, "2", "b", &UNREADY[..1]);
    let ids = ["1", "2"].map(Arc::from);
    core.registry.record_failure(core.now, &core.key("a"), failure("down"), Some(&ids[0]), false);
    core.registry.record_failure(core.now, &core.key("b"), failure("down"), Some(&ids[1]), false);
    core.fail("c");
    steps(&core, "1", "a", &UNREADY[1..]);
    let explanation = explain(&core, "1");
    assert!(Arc::ptr_eq(&explanation.story, &story));
    let phases: Vec<_> = explanation.steps.iter().map(|step| (step.server.as_str(), step.phase)).collect();
    assert_eq!(phases, [("a", Phase::InitializeStart), ("a", Phase::InitializeFailure)]);
    let servers: Vec<_> = explanation.transitions.iter().map(|event| event.server.as_str()).collect();
    assert_eq!(servers, ["a"]);
    assert!(core.journal.explain("3").is_none());
    assert!(core.journal.explain("").is_none());
}

#[test]
fn an_invocation_ends_once() {
    let core = Core::new(&["a"], |_| {});
    let story = begin(&core, "1", Selection::default(), false);
    assert_eq!(story.ending(), None);
    let ending = Ending { at: START + secs(1), outcome: Outcome::Served("a".parse().unwrap()) };
    story.end(ending.at, ending.outcome.clone());
    story.end(START + secs(2), Outcome::Abandoned);
    assert_eq!(story.ending(), Some(&ending));
    assert_eq!(explain(&core, "1").story.ending(), Some(&ending));
}

#[test]
fn every_server_had_a_part_in_a_routed_call() {
    let mut core = Core::new(&["a", "b", "c"], |_| {});
    core.add("d", |definition| definition.enabled = false);
    core.fail("a");
    begin(&core, "1", preferring(&["c", "b"]), false);
    let closed = Part::Skipped(Skip::WindowClosed(START + secs(1)));
    let off = Part::Skipped(Skip::Disabled);
    let before = [("c", Part::NotTried), ("b", Part::NotTried), ("a", closed), ("d", off)];
    assert_eq!(parts(&explain(&core, "1")), expected(&before), "it has just begun");
    steps(&core, "1", "c", &SERVED);
    let after = [("c", Part::Tried), ("b", Part::NotTried), ("a", closed), ("d", off)];
    assert_eq!(parts(&explain(&core, "1")), expected(&after));
    core.registry.unregister(core.now, "b");
    core.succeed("a");
    assert_eq!(parts(&explain(&core, "1")), expected(&after), "told of the time when it began");
}

#[test]
fn a_directed_call_has_one_candidate_whatever_its_state() {
    let mut core = Core::new(&["a", "b", "c"], |_| {});
    core.fail("b");
    let selection = Selection { preferred_only: true, ..preferring(&["b"]) };
    begin(&core, "1", selection.clone(), true);
    let others = Part::Skipped(Skip::NotPreferred);
    assert_eq!(
        parts(&explain(&core, "1")),
        expected(&[("b", Part::NotTried), ("a", others), ("c", others)]),
        "its window does not matter"
    );
    steps(&core, "1", "b", &SERVED);
    assert_eq!(parts(&explain(&core, "1")), expected(&[("b", Part::Tried), ("a", others), ("c", others)]));
    core.registry
        .register(core.now, {
            let mut definition = crate::support::definition("a");
            definition.enabled = false;
            definition
        })
        .unwrap();
    begin(&core, "2", selection, true);
    assert_eq!(
        parts(&explain(&core, "2")),
        expected(&[("b", Part::NotTried), ("a", others), ("c", others)]),
        "that another one is disabled does not matter either"
    );
}

#[test]
fn who_was_tried_was_tried_whatever_the_list_says() {
    let mut core = Core::new(&["a", "b"], |_| {});
    core.fail("b");
    begin(&core, "1", Selection::default(), false);
    steps(&core, "1", "b", &SERVED);
    assert_eq!(parts(&explain(&core, "1")), expected(&[("a", Part::NotTried), ("b", Part::Tried)]));
}

#[test]
fn a_story_whose_beginning_is_gone_says_so() {
    let core = Core::new(&["a", "b"], |policy| policy.max_invocation_events = 6);
    begin(&core, "1", Selection::default(), false);
    assert!(!explain(&core, "1").is_truncated(), "nothing happened yet");
    steps(&core, "1", "a", &UNREADY);
    steps(&core, "1", "b", &SERVED);
    assert!(!explain(&core, "1").is_truncated());
    steps(&core, "2", "a", &UNREADY[..1]);
    assert!(explain(&core, "1").is_truncated(), "the first step is gone");
    steps(&core, "2", "a", &UNREADY[1..]);
    let explanation = explain(&core, "1");
    assert_eq!(explanation.steps[0].phase, Phase::InitializeStart);
    assert!(explanation.is_truncated(), "the first candidate is gone");
    let parts = parts(&explanation);
    assert_eq!(parts, expected(&[("a", Part::NotTried), ("b", Part::Tried)]), "as far as is known");
}

#[test]
fn a_directed_call_begins_with_its_handshake_whoever_comes_first_otherwise() {
    let core = Core::new(&["a", "b"], |policy| policy.max_invocation_events = 4);
    begin(&core, "1", Selection { preferred_only: true, ..preferring(&["b"]) }, true);
    begin(&core, "2", Selection::default(), true);
    steps(&core, "1", "b", &SERVED);
    assert!(!explain(&core, "1").is_truncated());
    steps(&core, "2", "b", &UNREADY);
    assert!(explain(&core, "1").is_truncated(), "the handshake is gone");
    assert!(!explain(&core, "2").is_truncated());
}

#[test]
fn a_server_that_was_tried_although_there_was_no_candidate_came_first() {
    let core = Core::new(&[], |_| {});
    begin(&core, "1", Selection::default(), false);
    steps(&core, "1", "a", &UNREADY);
    assert!(!explain(&core, "1").is_truncated());
}

#[test]
fn an_invocation_without_steps_had_no_candidate_or_is_forgotten() {
    let core = Core::new(&["a"], |_| {});
    for (at, (outcome, truncated)) in [
        (Outcome::Failed(FailureCode::NoCandidates), false),
        (Outcome::Failed(FailureCode::NoServerOffersTool), false),
        (Outcome::Failed(FailureCode::ShuttingDown), false),
        (Outcome::Failed(FailureCode::AllCandidatesFailed), true),
        (Outcome::Failed(FailureCode::DeadlineExceeded), true),
        (Outcome::Served("a".parse().unwrap()), true),
        (Outcome::Abandoned, true),
    ]
    .into_iter()
    .enumerate()
    {
        let id = at.to_string();
        begin(&core, &id, Selection::default(), false).end(START, outcome.clone());
        assert_eq!(explain(&core, &id).is_truncated(), truncated, "{outcome:?}");
    }
}

#[test]
fn the_reason_for_nobody_is_given_where_that_is_how_it_ended() {
    let core = Core::new(&[], |_| {});
    let reason = |outcome: Option<Outcome>, directed, selection| {
        let story = begin(&core, "1", selection, directed);
        if let Some(outcome) = outcome {
            story.end(START, outcome);
        }
        let explanation = Explanation { story, steps: Vec::new(), transitions: Vec::new() };
        explanation.reason_for_nobody().map(str::to_owned)
    };
    let failed = |code| Some(Outcome::Failed(code));
    let nobody = Some("no server is reachable: none is registered and enabled".to_owned());
    let all = Selection::default;
    assert_eq!(reason(failed(FailureCode::NoCandidates), false, all()), nobody);
    assert_eq!(reason(failed(FailureCode::NoServerOffersTool), false, all()), nobody);
    let off = Selection { preferred: names(&["off"]), ..all() };
    let disabled = Some(r#"the server "off" is disabled"#.to_owned());
    assert_eq!(reason(failed(FailureCode::NoCandidates), true, off), disabled);
    assert_eq!(reason(failed(FailureCode::AllCandidatesFailed), false, all()), None);
    assert_eq!(reason(Some(Outcome::Abandoned), false, all()), None);
    assert_eq!(reason(None, false, all()), None, "under way");

    let mut core = Core::new(&[], |_| {});
    core.add("a", |definition| definition.tools = Some(names(&["other"])));
    begin(&core, "1", calling("tool"), false).end(START, Outcome::Failed(FailureCode::NoServerOffersTool));
    let explanation = explain(&core, "1");
    assert_eq!(
        explanation.reason_for_nobody(),
        Some(r#"no server that could be asked offers the tool "tool""#)
    );
}

#[test]
fn a_story_that_has_ended_keeps_nothing_of_the_servers_but_how_they_stood() {
    let core = Core::new(&["a", "b"], |_| {});
    let choice = core.choice(Selection::default());
    let shared = Arc::downgrade(&choice);
    let story = Arc::new(Story::new("1".into(), Method::ToolsCall, choice, false));
    core.journal.story(story.clone());
    let before = parts(&explain(&core, "1"));
    assert!(shared.upgrade().is_some(), "the call is under way");
    story.end(START, Outcome::Served("a".parse().unwrap()));
    assert!(shared.upgrade().is_none(), "no table, and so no definitions and tool lists");
    assert_eq!(parts(&explain(&core, "1")), before);
}

#[test]
fn a_directed_call_to_a_disabled_server_is_told_as_such() {
    let mut core = Core::new(&["b"], |_| {});
    core.add("a", |definition| definition.enabled = false);
    let selection = Selection { preferred: names(&["a"]), preferred_only: true, ..Selection::default() };
    begin(&core, "1", selection, true).end(START, Outcome::Failed(FailureCode::NoCandidates));
    let expected = [("a", Skip::Disabled), ("b", Skip::NotPreferred)];
    let expected = expected.map(|(name, skip)| (name.to_owned(), Part::Skipped(skip)));
    assert_eq!(parts(&explain(&core, "1")), expected);
}

#[test]
fn as_many_stories_as_steps_are_kept() {
    for (events, kept) in [(0, 1), (1, 1), (2, 2), (5, 5)] {
        let core = Core::new(&[], |policy| policy.max_invocation_events = events);
        for n in 0..10 {
            begin(&core, &n.to_string(), Selection::default(), false);
        }
        let known: Vec<_> = (0..10).filter(|n| core.journal.explain(&n.to_string()).is_some()).collect();
        assert_eq!(known, (10 - kept..10).collect::<Vec<_>>(), "{events}");
    }
}
