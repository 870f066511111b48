//! Contract §3.2, §4.1: who may serve a call, in which order, and what has to be done first.

use std::sync::Arc;
use std::time::Duration;

use mcp_registry::{Candidates, Gate, RoutingTable, Selection, ServerRecord, Skip, Status};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::support::{Core, START, calling, handshake, names, preferring, secs};

/// One server of each kind, at a time when some windows are open and some are not.
///
/// a: unreachable, open; b: degraded, open; c: healthy; d: degraded, closed; e: healthy; f: unreachable, closed.
fn all_kinds() -> Core {
    let mut core = Core::new(&["a", "b", "c", "d", "e", "f"], |policy| policy.unreachable_after = 2);
    core.fail("a");
    core.fail("a");
    core.fail("b");
    core.advance(2);
    core.fail("d");
    core.fail("f");
    core.fail("f");
    core
}

#[test]
fn healthy_servers_come_before_degraded_and_those_before_unreachable_ones() {
    for (preferred, expected) in [
        (&[][..], ["c", "e", "b", "a"]),
        (&["e"], ["e", "c", "b", "a"]),
        (&["a", "b", "e"], ["e", "c", "b", "a"]),
        (&["d", "f"], ["c", "e", "b", "a"]),
        (&["f", "e", "d", "c", "b", "a"], ["e", "c", "b", "a"]),
    ] {
        assert_eq!(all_kinds().candidates(preferring(preferred)), expected, "{preferred:?}");
    }
}

#[test]
fn within_a_tier_the_preference_comes_first_then_priority_then_the_name() {
    let mut core = Core::new(&[], |_| {});
    for (name, priority) in [("a", 10), ("b", 50), ("c", 90), ("d", 50)] {
        core.add(name, |definition| definition.priority = priority);
    }
    assert_eq!(core.candidates(Selection::default()), ["c", "b", "d", "a"]);
    assert_eq!(core.candidates(preferring(&["d", "a"])), ["d", "a", "c", "b"]);
    core.fail("d");
    core.fail("a");
    core.advance(1);
    assert_eq!(core.candidates(Selection::default()), ["c", "b", "d", "a"]);
    assert_eq!(core.candidates(preferring(&["a"])), ["c", "b", "a", "d"]);
    let by_name: Vec<_> = core.registry.table().servers().iter().map(|record| record.name()).collect();
    assert_eq!(by_name, ["a", "b", "c", "d"].map(|name| name.parse().unwrap()).each_ref());
}

#[test]
fn a_ranking_skips_repeats_and_names_nobody_has() {
    let core = Core::new(&["a", "b", "c"], |_| {});
    assert_eq!(core.candidates(preferring(&["b", "nobody", "b", "a", "b"])), ["b", "a", "c"]);
    let selection = Selection { preferred_only: true, ..preferring(&["c", "nobody", "c", "a"]) };
    assert_eq!(core.candidates(selection), ["c", "a"]);
    let selection = Selection { preferred_only: true, ..Selection::default() };
    assert_eq!(core.candidates(selection), [""; 0], "a restriction to nobody");
}

#[test]
fn a_window_is_open_from_its_last_instant_on() {
    let mut core = Core::new(&["a"], |_| {});
    core.fail("a");
    for (micros, open) in [(0, false), (999_999, false), (1_000_000, true), (1_000_001, true)] {
        core.now = START + Duration::from_micros(micros);
        let choice = core.choice(Selection::default());
        let skip = (!open).then_some(Skip::WindowClosed(START + secs(1)));
        assert_eq!(choice.reason_to_skip(&core.record("a")), skip, "after {micros} µs");
        assert_eq!(core.candidates(Selection::default()).len(), usize::from(open), "after {micros} µs");
    }
}

#[test]
fn one_success_brings_a_server_back_into_the_first_tier() {
    let mut core = Core::new(&["a", "b"], |_| {});
    for _ in 0..5 {
        core.fail("a");
    }
    assert_eq!(core.candidates(preferring(&["a"])), ["b"]);
    core.succeed("a");
    assert_eq!(core.candidates(preferring(&["a"])), ["a", "b"]);
}

#[test]
fn the_list_is_that_of_the_calls_start() {
    let mut core = Core::new(&["a", "b", "c"], |_| {});
    let mut candidates = Candidates::new(core.registry.table().clone(), Selection::default(), core.now);
    assert_eq!(candidates.next().unwrap().name().as_str(), "a");
    core.fail("b");
    core.registry.unregister(core.now, "c");
    core.add("d", |_| {});
    let rest: Vec<_> = candidates.by_ref().map(|record| record.name().to_string()).collect();
    assert_eq!(rest, ["b", "c"]);
    assert!(candidates.next().is_none(), "the end is the end");
    assert_eq!(candidates.choice().at, START);
    assert_eq!(candidates.choice().table.servers().len(), 3);
}

/// Servers that are passed over for each reason, and one that is not.
fn passed_over() -> Core {
    let mut core = Core::new(&[], |_| {});
    let in_group = |name: &'static str| {
        move |definition: &mut mcp_registry::Definition| definition.group = Some(name.parse().unwrap())
    };
    core.add("disabled", |definition| {
        in_group("g")(definition);
        definition.enabled = false;
    });
    core.add("elsewhere", in_group("h"));
    core.add("lacking", in_group("g"));
    core.add("nowhere", |_| {});
    core.add("right", in_group("g"));
    core.add("waiting", in_group("g"));
    core.list_tools("lacking", &["other"]);
    core.list_tools("right", &["other", "tool"]);
    core.fail("waiting");
    core
}

#[test]
fn a_server_is_passed_over_for_the_first_reason_that_holds() {
    let mut core = passed_over();
    let selection = Selection { group: Some("g".into()), ..calling("tool") };
    assert_eq!(core.candidates(selection.clone()), ["right"]);
    let choice = core.choice(selection.clone());
    for (name, skip) in [
        ("disabled", Some(Skip::Disabled)),
        ("elsewhere", Some(Skip::NotInGroup)),
        ("lacking", Some(Skip::LacksTool)),
        ("nowhere", Some(Skip::NotInGroup)),
        ("right", None),
        ("waiting", Some(Skip::WindowClosed(START + secs(1)))),
    ] {
        assert_eq!(choice.reason_to_skip(&core.record(name)), skip, "{name}");
    }
    core.list_tools("waiting", &[]);
    let choice = core.choice(selection);
    assert_eq!(
        choice.reason_to_skip(&core.record("waiting")),
        Some(Skip::LacksTool),
        "for ever, not for 1 s"
    );
}

#[test]
fn what_is_not_asked_for_does_not_matter() {
    let mut core = passed_over();
    let everybody_enabled = ["elsewhere", "lacking", "nowhere", "right"];
    assert_eq!(core.candidates(Selection::default()), everybody_enabled);
    core.advance(1);
    let in_h = Selection { group: Some("h".into()), ..Selection::default() };
    assert_eq!(core.candidates(in_h), ["elsewhere"]);
    let unknown_group = Selection { group: Some("G".into()), ..Selection::default() };
    assert_eq!(core.candidates(unknown_group), [""; 0], "names are case-sensitive");
    assert_eq!(core.candidates(calling("tool")), ["elsewhere", "nowhere", "right", "waiting"]);
}

#[test]
fn everybody_is_considered_candidates_first() {
    let core = passed_over();
    let considered = |selection| {
        let considered = core.choice(selection).considered();
        considered.into_iter().map(|stood| (stood.key.name.to_string(), stood.skip)).collect::<Vec<_>>()
    };
    let selection =
        Selection { preferred: names(&["right", "elsewhere"]), preferred_only: true, ..calling("tool") };
    let closed = Skip::WindowClosed(START + secs(1));
    let expected = [
        ("right", None),
        ("elsewhere", None),
        ("disabled", Some(Skip::Disabled)),
        ("lacking", Some(Skip::LacksTool)),
        ("nowhere", Some(Skip::NotPreferred)),
        ("waiting", Some(closed)),
    ];
    assert_eq!(considered(selection), expected.map(|(name, skip)| (name.to_owned(), skip)));
    let everybody = considered(Selection::default());
    assert_eq!(everybody.len(), 6);
    assert_eq!(everybody[4..], [("disabled".into(), Some(Skip::Disabled)), ("waiting".into(), Some(closed))]);
}

#[test]
fn a_tool_is_offered_nowhere_when_every_server_that_could_serve_is_known_to_lack_it() {
    let mut core = Core::new(&[], |_| {});
    let nowhere = |core: &Core, selection| core.choice(selection).tool_is_offered_nowhere();
    assert!(!nowhere(&core, calling("tool")), "nobody lacks it");
    core.add("off", |definition| definition.enabled = false);
    assert!(!nowhere(&core, calling("tool")), "the disabled server may have it");
    core.add("a", |definition| definition.tools = Some(names(&["other"])));
    assert!(nowhere(&core, calling("tool")));
    assert!(!nowhere(&core, calling("other")));
    assert!(!nowhere(&core, Selection::default()), "no tool is asked for");
    core.add("b", |definition| definition.group = Some("g".parse().unwrap()));
    assert!(!nowhere(&core, calling("tool")), "the tools of b are unknown");
    assert!(nowhere(&core, Selection { preferred_only: true, preferred: names(&["a"]), ..calling("tool") }));
    core.fail("b");
    assert!(!nowhere(&core, calling("tool")), "b may have it once its window is open");
    core.list_tools("b", &["other"]);
    assert!(nowhere(&core, calling("tool")), "b lacks it in its window, too");
    assert!(nowhere(&core, Selection { group: Some("g".into()), ..calling("tool") }));
    assert!(!nowhere(&core, Selection { group: Some("h".into()), ..calling("tool") }), "the group is empty");
}

#[test]
fn the_first_retry_is_that_of_the_window_that_opens_first() {
    let mut core = Core::new(&["a", "b", "c"], |_| {});
    let first = |core: &Core, selection| {
        let choice = core.choice(selection);
        choice.first_retry().map(|(record, at)| (record.name().to_string(), at.since(core.now).as_secs()))
    };
    assert_eq!(first(&core, Selection::default()), None, "no window is closed");
    for (name, failures) in [("a", 3), ("b", 2), ("c", 4)] {
        for _ in 0..failures {
            core.fail(name);
        }
    }
    assert_eq!(first(&core, Selection::default()), Some(("b".into(), 2)));
    assert_eq!(first(&core, preferring(&["c"])), Some(("b".into(), 2)), "a ranking excludes nobody");
    let only = Selection { preferred_only: true, ..preferring(&["c", "a"]) };
    assert_eq!(first(&core, only.clone()), Some(("a".into(), 4)));
    core.list_tools("a", &[]);
    let tool = Some("tool".into());
    assert_eq!(first(&core, Selection { tool, ..only }), Some(("c".into(), 8)), "the wait for a is in vain");
    core.advance(2);
    assert_eq!(first(&core, Selection::default()), Some(("a".into(), 2)), "the window of b is open");
}

#[test]
fn choosing_considers_no_windows_and_never_an_unreachable_server() {
    let mut core = all_kinds();
    assert_eq!(core.choose(&[]).as_deref(), Some("c"));
    assert_eq!(core.choose(&["a", "d", "e"]).as_deref(), Some("e"));
    core.fail("c");
    core.fail("e");
    assert_eq!(core.choose(&[]).as_deref(), Some("b"));
    assert_eq!(core.choose(&["f", "nobody", "d"]).as_deref(), Some("d"), "its window is closed");
    for name in ["b", "c", "d", "e"] {
        core.fail(name);
    }
    assert_eq!(core.choose(&["b"]), None);
}

#[test]
fn a_disabled_server_is_not_chosen_however_healthy_or_preferred() {
    let mut core = Core::new(&["b", "c"], |_| {});
    core.add("a", |definition| definition.enabled = false);
    assert_eq!(core.choose(&["a"]).as_deref(), Some("b"));
    core.fail("b");
    core.fail("c");
    assert_eq!(core.choose(&["a", "c"]).as_deref(), Some("c"), "nor before a degraded one");
    core.fail("a");
    core.registry.unregister(core.now, "b");
    core.registry.unregister(core.now, "c");
    assert_eq!(core.choose(&["a"]), None);
}

#[test]
fn a_table_finds_records_by_their_exact_name() {
    let core = Core::new(&["a", "b", "c"], |_| {});
    let table = core.registry.table();
    for name in ["a", "b", "c"] {
        assert_eq!(table.get(name).unwrap().name().as_str(), name);
    }
    for name in ["", "A", "ab", "d"] {
        assert!(table.get(name).is_none(), "{name:?}");
    }
    assert!(RoutingTable::default().get("a").is_none());
    assert!(RoutingTable::default().choose(&names(&["a"])).is_none());
    let nobody = Candidates::new(Arc::default(), preferring(&["a"]), START);
    assert_eq!(nobody.count(), 0);
}

#[test]
fn a_call_hands_shakes_unless_a_fresh_handshake_is_in_force_on_a_healthy_server() {
    let mut core = Core::new(&["a"], |policy| policy.max_initialization_age = Some(secs(300)));
    let gate = |core: &Core| Gate::of(&core.record("a"), core.now);
    assert_eq!(gate(&core), Gate::Ordinary, "never initialised");
    core.initialize("a");
    for (after, expected) in
        [(0, Gate::Cached), (299, Gate::Cached), (300, Gate::Forced), (301, Gate::Forced)]
    {
        core.now = START + secs(after);
        assert_eq!(gate(&core), expected, "after {after} s");
    }
    core.fail("a");
    assert_eq!(gate(&core), Gate::Ordinary, "a failure ends the handshake");
    core.succeed("a");
    assert_eq!(gate(&core), Gate::Ordinary, "recovered, but not initialised");
    core.initialize("a");
    core.registry.disconnected(core.now, &core.key("a"));
    assert_eq!(gate(&core), Gate::Ordinary);
}

#[test]
fn a_handshake_in_force_on_a_server_that_is_not_healthy_is_repeated() {
    let mut core = Core::new(&["a"], |_| {});
    core.fail("a");
    // Within an invocation whose call decides over the count (`reset_retry_on = invoke_success`).
    core.registry.handshake_succeeded(core.now, &core.key("a"), handshake(), None, false);
    assert_eq!(core.record("a").status, Status::Degraded);
    assert_eq!(Gate::of(&core.record("a"), core.now), Gate::Forced);
}

#[test]
fn an_age_of_zero_is_stale_at_once_and_no_age_never() {
    for (age, at_once, later) in [(Some(0), Gate::Forced, Gate::Forced), (None, Gate::Cached, Gate::Cached)] {
        let mut core = Core::new(&["a"], |policy| policy.max_initialization_age = age.map(secs));
        core.initialize("a");
        assert_eq!(Gate::of(&core.record("a"), core.now), at_once, "{age:?}");
        assert_eq!(Gate::of(&core.record("a"), core.now + secs(315_576_000)), later, "{age:?}");
    }
}

/// What there is to know of one server: priority, enabled, group, tools, failures in a row.
type Kind = (u8, bool, Option<&'static str>, Option<&'static str>, u32);

fn kind() -> impl Strategy<Value = Kind> {
    let word = |words: &'static [&'static str]| option::of(proptest::sample::select(words));
    (1u8..4, proptest::bool::weighted(0.8), word(&["g", "h"]), word(&["tool", "other"]), 0u32..5)
}

fn selection() -> impl Strategy<Value = Selection> {
    let preferred = vec(proptest::sample::select(&["s0", "s1", "s2", "s3", "s4", "s5", "nobody"][..]), 0..5);
    let group = option::of(proptest::sample::select(&["g", "h"][..]));
    (preferred, any::<bool>(), group, option::of(Just("tool"))).prop_map(|(preferred, only, group, tool)| {
        Selection {
            preferred: names(&preferred),
            preferred_only: only,
            group: group.map(Into::into),
            tool: tool.map(Into::into),
        }
    })
}

proptest! {
    /// The rules of contract §4.1 once more, as a filter and a sort.
    #[test]
    fn candidates_are_those_who_may_serve_by_tier_preference_priority_and_name(
        kinds in vec(kind(), 0..6),
        selection in selection(),
        later in 0u64..10,
    ) {
        let mut core = Core::new(&[], |_| {});
        for (at, &(priority, enabled, group, tool, failures)) in kinds.iter().enumerate() {
            let name = format!("s{at}");
            core.add(&name, |definition| {
                (definition.priority, definition.enabled) = (priority, enabled);
                definition.group = group.map(|group| group.parse().unwrap());
                definition.tools = tool.map(|tool| names(&[tool]));
            });
            for _ in 0..failures {
                core.fail(&name);
            }
        }
        core.advance(later);
        let preference = |record: &ServerRecord| {
            let position = selection.preferred.iter().position(|name| name == record.name().as_str());
            position.unwrap_or(usize::MAX)
        };
        let mut expected: Vec<_> = core.registry.table().servers().to_vec();
        expected.retain(|record| {
            record.definition.enabled
                && (!selection.preferred_only || preference(record) != usize::MAX)
                && selection.group.as_deref().is_none_or(|asked| {
                    record.definition.group.as_ref().is_some_and(|group| group.as_str() == asked)
                })
                && selection.tool.as_deref().is_none_or(|tool| !record.lacks_tool(tool))
                && record.should_retry(core.now)
        });
        expected.sort_by_key(|record| {
            let unranked = preference(record) == usize::MAX;
            let priority = if unranked { 255 - record.definition.priority } else { 0 };
            (record.status, preference(record), priority, record.name().clone())
        });
        let expected: Vec<_> = expected.iter().map(|record| record.name().to_string()).collect();
        prop_assert_eq!(core.candidates(selection.clone()), expected.clone());

        let choice = core.choice(selection);
        let considered = choice.considered();
        let (candidates, passed_over) = considered.split_at(expected.len());
        prop_assert!(candidates.iter().all(|stood| stood.skip.is_none()));
        prop_assert!(passed_over.iter().all(|stood| stood.skip.is_some()));
        prop_assert!(passed_over.is_sorted_by_key(|stood| stood.key.name.clone()));
        prop_assert_eq!(considered.len(), kinds.len());
        prop_assert!(!choice.tool_is_offered_nowhere() || candidates.is_empty());
        if let Some((record, at)) = choice.first_retry() {
            prop_assert!(at > core.now);
            prop_assert!(passed_over.iter().any(|stood| stood.key.name == *record.name()));
        }
    }
}
