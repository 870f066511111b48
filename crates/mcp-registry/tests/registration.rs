//! Contract §1.1, §8.1: what is registered, what is known of it, and when it is looked after.

use mcp_registry::{
    Answered, ConnectionState, Due, ErrorCategory, HealthView, KnownTool, RegistryChange, RegistryFilter,
    RegistryFull, Status, ToolHints,
};

use crate::support::{Core, START, definition, failure, names, secs};

#[test]
fn a_server_starts_with_the_initial_values() {
    let mut core = Core::new(&[], |_| {});
    let record = core.registry.register(START, definition("a")).unwrap();
    assert_eq!(record.name().as_str(), "a");
    assert_eq!((record.status, record.health_view()), (Status::Healthy, HealthView::Unknown));
    assert_eq!((record.initialized, record.connection_state.as_str()), (false, "disconnected"));
    assert_eq!((record.retry_count, record.consecutive_failures), (0, 0));
    assert_eq!((record.last_checked_at(), record.response_time, record.era), (None, None, None));
    assert!(record.tools.is_none() && record.capability_snapshot.is_none());
    assert!(std::sync::Arc::ptr_eq(&record, core.registry.table().get("a").unwrap()));
    assert_eq!(core.changes(), [RegistryChange::Registered]);
}

#[test]
fn one_server_too_many_is_refused_but_a_replacement_is_not() {
    let mut core = Core::new(&["a", "b"], |policy| policy.max_servers = 2);
    let refused = core.registry.register(START, definition("c")).unwrap_err();
    assert_eq!(refused, RegistryFull { limit: 2 });
    let text = "2 servers are registered, which is the limit (policy.max_servers); remove one first";
    assert_eq!(refused.to_string(), text);
    assert!(core.registry.get("c").is_none());
    assert_eq!(core.changes().len(), 2, "a refusal is no event");
    core.registry.register(START, definition("b")).unwrap();
    core.registry.unregister(START, "a").unwrap();
    core.registry.register(START, definition("c")).unwrap();
    assert_eq!(core.registry.table().servers().len(), 2);
}

#[test]
fn unregistering_takes_a_server_out_once() {
    let mut core = Core::new(&["a", "b"], |_| {});
    core.fail("a");
    core.advance(7);
    let last = core.registry.unregister(core.now, "a").unwrap();
    assert_eq!((last.name().as_str(), last.status), ("a", Status::Degraded));
    assert!(core.registry.unregister(core.now, "a").is_none());
    assert!(core.registry.get("a").is_none() && core.registry.table().get("a").is_none());
    let of_a = RegistryFilter { server: Some("a"), ..RegistryFilter::default() };
    let events = core.journal.registry_events(&of_a);
    assert_eq!(events.len(), 2);
    assert_eq!((&events[1].change, events[1].timestamp), (&RegistryChange::Unregistered, core.now));
}

#[test]
fn every_registration_has_a_generation_of_its_own() {
    let mut core = Core::new(&["a", "b"], |_| {});
    let (a, b) = (core.key("a"), core.key("b"));
    core.registry.unregister(START, "b");
    core.add("b", |_| {});
    core.add("a", |_| {});
    let mut seen = [a, b, core.key("b"), core.key("a")].map(|key| key.generation.get());
    assert!(seen.is_sorted_by(|one, next| one < next), "{seen:?}");
    seen.reverse();
    assert_eq!(core.record("a").key().name.as_str(), "a");
}

#[test]
fn a_definition_takes_the_place_of_another_if_the_server_need_not_know() {
    let mut core = Core::new(&["a", "b"], |_| {});
    core.fail("a");
    let before = core.record("a");
    let mut wanted = definition("a");
    assert!(core.registry.redefine(core.now, &wanted).is_none(), "nothing is different");
    assert!(core.registry.redefine(core.now, &definition("c")).is_none(), "there is none");
    wanted.priority = 80;
    wanted.trust_annotations = true;
    let after = core.registry.redefine(core.now, &wanted).unwrap();
    assert_eq!((&*after.definition, after.generation), (&wanted, before.generation));
    assert_eq!((after.status, &after.last_error), (Status::Degraded, &before.last_error));
    assert_eq!(core.changes().last(), Some(&RegistryChange::Redefined));
    assert_eq!(core.registry.table().choose(&[]).unwrap().name().as_str(), "b", "a is degraded");
    // An older one that is still under way counts.
    core.registry.record_success(core.now, &before.key(), None);
    assert_eq!(core.registry.table().choose(&[]).unwrap().name().as_str(), "a", "by priority");
    let others: [fn(&mut mcp_registry::Definition); 14] = [
        |it| it.endpoint = definition("elsewhere").endpoint,
        |it| it.enabled = false,
        |it| it.group = Some("g".parse().unwrap()),
        |it| it.protocol = mcp_protocol::EraPolicy::Only(mcp_protocol::Era::Handshake),
        |it| it.request_timeout = secs(1),
        |it| it.restart = false,
        |it| it.rate_limit = Some(mcp_registry::RateLimit::default()),
        |it| it.max_retries = Some(7),
        |it| it.retry_delay = Some(secs(7)),
        |it| it.health_path = "/up".into(),
        |it| it.probe = mcp_registry::ProbeKind::McpPing,
        |it| it.forward_user_token = true,
        |it| it.discover_tools = true,
        |it| it.roots = Some(Vec::new()),
    ];
    for (at, change) in others.into_iter().enumerate() {
        let mut other = wanted.clone();
        other.priority = 1;
        change(&mut other);
        assert!(core.registry.redefine(core.now, &other).is_none(), "{at}");
    }
    assert_eq!(*core.record("a").definition, wanted);
}

#[test]
fn configured_tools_are_known_at_once_and_listing_only_describes_them() {
    let mut core = Core::new(&[], |_| {});
    core.add("a", |definition| definition.tools = Some(names(&["one", "two"])));
    assert!(!core.record("a").lacks_tool("one") && core.record("a").lacks_tool("three"));
    let hints = ToolHints { read_only: Some(true), ..ToolHints::default() };
    let listed = [("one".into(), KnownTool { listed: None, hints }), ("three".into(), KnownTool::default())];
    core.registry.tools_listed(core.now, &core.key("a"), listed.into());
    let tools = core.record("a").tools.clone().unwrap();
    let known: Vec<_> = tools.iter().map(|(name, tool)| (&**name, tool.hints.read_only)).collect();
    assert_eq!(known, [("one", Some(true)), ("two", None)]);
    assert_eq!(core.changes().last(), Some(&RegistryChange::ToolsRefreshed { count: 2 }));
}

#[test]
fn listed_tools_replace_those_listed_before() {
    let mut core = Core::new(&["a"], |_| {});
    assert!(!core.record("a").lacks_tool("one"), "an unknown set lacks nothing");
    core.list_tools("a", &["one", "two"]);
    core.list_tools("a", &["two", "three", "four"]);
    let record = core.record("a");
    assert_eq!(
        ["one", "two", "three", "four"].map(|tool| record.lacks_tool(tool)),
        [true, false, false, false]
    );
    assert_eq!(core.changes().last(), Some(&RegistryChange::ToolsRefreshed { count: 3 }));
    assert_eq!(core.transitions(), [], "tools say nothing of the status");
}

#[test]
fn a_disabled_server_is_never_due() {
    let mut core = Core::new(&[], |_| {});
    assert_eq!((core.registry.due(START), core.registry.next_deadline()), (vec![], None));
    core.add("a", |definition| definition.enabled = false);
    core.registry.connect_exhausted(START, &core.key("a"), failure("refused"), 3, 0.0);
    assert_eq!(core.registry.next_deadline(), None);
    assert_eq!(core.registry.due(START + secs(3600)), []);
    core.add("b", |_| {});
    assert_eq!(core.registry.next_deadline(), Some(START));
    assert_eq!(core.registry.due(START), [Due::Check(core.key("b"))]);
}

#[test]
fn the_next_deadline_is_the_earliest_of_all_servers() {
    let mut core = Core::new(&["a", "b"], |policy| policy.max_backoff = secs(300));
    assert_eq!(core.registry.due(START).len(), 2);
    assert_eq!(core.registry.next_deadline(), Some(START + secs(30)));
    core.advance(2);
    core.fail("b");
    assert_eq!(core.registry.next_deadline(), Some(START + secs(7)), "5 s after the failure");
    core.now = START + secs(7);
    for _ in 0..6 {
        core.fail("b"); // the window now lasts 64 s
    }
    assert_eq!(core.registry.due(core.now), [], "planned before the window grew");
    assert_eq!(core.registry.next_deadline(), Some(START + secs(30)), "that of a");
    core.now = START + secs(30);
    assert_eq!(core.registry.due(core.now), [Due::Check(core.key("a"))]);
    assert_eq!(core.registry.next_deadline(), Some(START + secs(60)));
    core.now = START + secs(70);
    assert_eq!(
        core.registry.due(core.now),
        [Due::Check(core.key("a"))],
        "the window of b is closed until 71 s"
    );
    core.advance(1);
    assert_eq!(core.registry.due(core.now), [Due::Check(core.key("b"))]);
}

#[test]
fn a_failure_never_puts_a_planned_check_off() {
    let mut core = Core::new(&["a"], |_| {});
    assert_eq!(core.registry.due(START).len(), 1);
    core.now = START + secs(28);
    core.fail("a");
    assert_eq!(core.registry.next_deadline(), Some(START + secs(30)), "not 33 s");
}

#[test]
fn operators_marks_are_results_of_category_unknown_without_a_cause() {
    let mut core = Core::new(&["a"], |_| {});
    core.registry.mark_degraded(core.now, &core.key("a"), "disk full");
    let record = core.record("a");
    assert_eq!((record.status, record.last_error.as_deref()), (Status::Degraded, Some("disk full")));
    assert_eq!(record.health_view(), HealthView::Unhealthy);
    assert_eq!(record.last_error_category.unwrap().to_string(), "unknown");
    assert_eq!(record.connection_state.as_str(), "disconnected", "a mark says nothing of the connection");
    core.advance(1);
    core.registry.mark_healthy(core.now, &core.key("a"));
    assert_eq!(core.record("a").status, Status::Healthy);
    assert_eq!(core.record("a").last_checked_at(), Some(core.now));
}

#[test]
fn out_of_service_means_unreachable_whatever_the_count_was() {
    for (after, failures, count) in [(1, 0, 1), (3, 0, 3), (3, 1, 3), (3, 4, 5), (0, 0, 1)] {
        let mut core = Core::new(&["a"], |policy| policy.unreachable_after = after);
        for _ in 0..failures {
            core.fail("a");
        }
        core.registry.mark_unavailable(core.now, &core.key("a"), "maintenance");
        let record = core.record("a");
        assert_eq!((record.status, record.retry_count), (Status::Unreachable, count), "{after} {failures}");
        let reason = "maintenance".into();
        assert_eq!(core.changes().last(), Some(&RegistryChange::Unavailable { reason }));
    }
}

#[test]
fn the_time_of_the_last_check_never_moves_backwards() {
    let mut core = Core::new(&["a"], |_| {});
    let early = core.record("a");
    assert!(core.record("a").touch_if_settled(START + secs(5)));
    assert!(early.touch_if_settled(START + secs(3)), "a call that began earlier and ended later");
    assert_eq!(early.last_checked_at(), Some(START + secs(5)), "older versions of the record see it too");
    core.now = START + secs(4);
    core.fail("a");
    assert_eq!(core.record("a").last_checked_at(), Some(START + secs(5)));
    assert!(!core.record("a").touch_if_settled(START + secs(9)), "a success would change more than the time");
    assert_eq!(core.record("a").last_checked_at(), Some(START + secs(5)));
}

#[test]
fn a_good_probe_is_a_success_with_a_latency() {
    let mut core = Core::new(&["a"], |_| {});
    core.fail("a");
    let probe = Answered { latency: secs(2), opened: false, error_rate: None };
    assert!(core.registry.probe_answered(core.now, &core.key("a"), probe).is_none());
    let record = core.record("a");
    assert_eq!((record.status, record.response_time), (Status::Healthy, Some(secs(2))));
    core.fail("a");
    assert_eq!(core.record("a").response_time, Some(secs(2)), "of the last one that was answered");
    assert_eq!(core.transitions().len(), 3);
}

#[test]
fn an_answer_beyond_a_threshold_is_a_failure_that_keeps_the_connection() {
    let mut core = Core::new(&["a"], |policy| policy.latency_threshold = Some(secs(1)));
    core.initialize("a");
    let probe = Answered { latency: secs(2), opened: false, error_rate: None };
    let failure = core.registry.probe_answered(core.now, &core.key("a"), probe).unwrap();
    assert_eq!(failure.category, ErrorCategory::HealthCheck);
    let record = core.record("a");
    assert_eq!((record.status, record.retry_count, record.consecutive_failures), (Status::Degraded, 1, 1));
    assert_eq!((record.last_error.as_ref(), record.response_time), (Some(&failure.text), Some(secs(2))));
    assert_eq!(record.connection_state, ConnectionState::Connected);
}

#[test]
fn the_interval_of_healthy_servers_begins_with_the_success() {
    let mut core = Core::new(&["a"], |_| {});
    assert_eq!(core.registry.due(core.now).len(), 1);
    core.fail("a");
    assert_eq!(core.registry.next_deadline(), Some(START + secs(5)));
    core.now = START + secs(3);
    core.registry.mark_healthy(core.now, &core.key("a"));
    assert_eq!(core.registry.next_deadline(), Some(START + secs(33)));
    core.now = START + secs(4);
    core.registry.mark_healthy(core.now, &core.key("a"));
    assert_eq!(core.registry.next_deadline(), Some(START + secs(33)), "it was healthy already");
    core.fail("a");
    core.now = START + secs(9);
    core.registry.mark_healthy(core.now, &core.key("a"));
    assert_eq!(core.registry.next_deadline(), Some(START + secs(9)), "a check that is due stays so");
}
