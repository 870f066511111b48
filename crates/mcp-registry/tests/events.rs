//! Contract §5: the streams of events, their rings and their filters.

use std::sync::Arc;

use futures::FutureExt;
use mcp_protocol::Method;
use mcp_registry::{
    ConnectionFilter, ConnectionState, ErrorCategory, Event, InvocationEvent, InvocationFilter, Journal,
    Loss, Phase, RegistryChange, RegistryFilter, Status, Subscription,
};

use crate::support::{Core, START, failure, policy};

fn step(journal: &Journal, server: &str, method: Method, id: &str, phase: Phase) {
    journal.invocation(InvocationEvent::new(START, server.parse().unwrap(), method, id.into(), phase));
}

/// Events of three servers: a with the ids x and y, b with x, c without.
fn transitions() -> Core {
    let mut core = Core::new(&["a", "b", "c"], |_| {});
    for (server, id) in [("a", Some("x")), ("b", Some("x")), ("a", Some("y")), ("c", None)] {
        let id = id.map(Arc::from);
        core.registry.record_failure(core.now, &core.key(server), failure("down"), id.as_ref(), false);
        core.registry.record_success(core.now, &core.key(server), id.as_ref());
    }
    core
}

#[test]
fn connection_events_are_filtered_by_server_and_correlation() {
    let core = transitions();
    for (server, correlation_id, limit, expected) in [
        (None, None, None, &["a", "a", "b", "b", "a", "a", "c", "c"][..]),
        (Some("a"), None, None, &["a", "a", "a", "a"]),
        (None, Some("x"), None, &["a", "a", "b", "b"]),
        (Some("a"), Some("x"), None, &["a", "a"]),
        (Some("b"), Some("y"), None, &[]),
        (Some("c"), Some("x"), None, &[]),
        (Some("A"), None, None, &[]),
        (None, Some("X"), None, &[]),
        (None, None, Some(3), &["a", "c", "c"]),
        (Some("a"), None, Some(1), &["a"]),
        (Some("a"), None, Some(100), &["a", "a", "a", "a"]),
        (Some("a"), None, Some(0), &[]),
    ] {
        let filter = ConnectionFilter { server, correlation_id, limit };
        let events = core.journal.connection_events(&filter);
        let servers: Vec<_> = events.iter().map(|event| event.server.as_str()).collect();
        assert_eq!(servers, expected, "{filter:?}");
        assert!(events.is_sorted_by(|one, next| one.seq < next.seq), "{filter:?}");
    }
}

#[test]
fn a_transition_says_from_what_to_what_why_and_through_whom() {
    let core = transitions();
    let events = core.journal.connection_events(&ConnectionFilter::default());
    let shown = |at: usize| {
        let event = &events[at];
        (event.from_status, event.to_status, &*event.reason, event.correlation_id.as_deref(), event.timestamp)
    };
    assert_eq!(shown(0), (Status::Healthy, Status::Degraded, "down", Some("x"), START));
    assert_eq!(shown(1), (Status::Degraded, Status::Healthy, "healthy", Some("x"), START));
    assert_eq!(shown(6), (Status::Healthy, Status::Degraded, "down", None, START));
}

#[test]
fn invocation_events_are_filtered_by_server_method_and_id() {
    let journal = Journal::new(&policy(|_| {}));
    for (server, method, id) in [
        ("a", Method::ToolsCall, "1"),
        ("a", Method::ResourcesRead, "1"),
        ("b", Method::ToolsCall, "1"),
        ("a", Method::ToolsCall, "2"),
        ("b", Method::ResourcesRead, "2"),
    ] {
        step(&journal, server, method, id, Phase::InvokeStart);
    }
    let (call, read) = (Some("tools/call"), Some("resources/read"));
    for (server, method, request_id, limit, expected) in [
        (None, None, None, None, &[1, 2, 3, 4, 5][..]),
        (Some("a"), None, None, None, &[1, 2, 4]),
        (None, call, None, None, &[1, 3, 4]),
        (None, None, Some("2"), None, &[4, 5]),
        (Some("a"), call, None, None, &[1, 4]),
        (None, read, Some("1"), None, &[2]),
        (Some("b"), None, Some("2"), None, &[5]),
        (Some("a"), read, Some("2"), None, &[]),
        (None, Some("Tools/call"), None, None, &[]),
        (None, None, Some("3"), None, &[]),
        (Some("a"), call, None, Some(1), &[4]),
        (None, None, None, Some(2), &[4, 5]),
        (None, None, None, Some(0), &[]),
    ] {
        let filter = InvocationFilter { server, method, request_id, limit };
        let events = journal.invocation_events(&filter);
        assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), expected, "{filter:?}");
    }
}

#[test]
fn registry_events_are_filtered_by_server_and_type() {
    let mut core = Core::new(&["a", "b"], |_| {});
    core.initialize("a");
    core.registry.connection_lost(core.now, &core.key("a"), Loss::Restartable);
    core.registry.mark_unavailable(core.now, &core.key("b"), "by hand");
    core.list_tools("b", &["one"]);
    core.registry.unregister(core.now, "b");
    for (server, kind, limit, expected) in [
        (Some("a"), None, None, 5),
        (Some("b"), None, None, 5),
        (None, Some("server_registered"), None, 2),
        (None, Some("state_changed"), None, 4),
        (Some("a"), Some("state_changed"), None, 3),
        (Some("b"), Some("reconnect_scheduled"), None, 0),
        (Some("a"), Some("reconnect_scheduled"), None, 1),
        (None, Some("server_unavailable"), None, 1),
        (None, Some("tools_refreshed"), None, 1),
        (None, Some("server_unregistered"), None, 1),
        (None, Some("Server_registered"), None, 0),
        (None, None, None, 10),
        (None, None, Some(4), 4),
        (Some("c"), None, None, 0),
    ] {
        let filter = RegistryFilter { server, kind, limit };
        assert_eq!(core.journal.registry_events(&filter).len(), expected, "{filter:?}");
    }
    let newest =
        core.journal.registry_events(&RegistryFilter { limit: Some(1), ..RegistryFilter::default() });
    assert_eq!((newest[0].server.as_str(), &newest[0].change), ("b", &RegistryChange::Unregistered));
}

#[test]
fn each_stream_has_a_ring_of_its_own_size() {
    let mut core = Core::new(&["a", "b"], |policy| {
        policy.max_connection_events = 2;
        policy.max_registry_events = 3;
        policy.max_invocation_events = 1;
    });
    for _ in 0..3 {
        core.initialize("a");
        step(&core.journal, "a", Method::ToolsCall, "1", Phase::InvokeFailure);
        core.fail("a");
        core.registry.disconnected(core.now, &core.key("a"));
    }
    let states: Vec<_> = core.transitions().into_iter().map(|(_, to)| to).collect();
    assert_eq!(states, [Status::Healthy, Status::Degraded]);
    let (initializing, connected) = (ConnectionState::Initializing, ConnectionState::Connected);
    let last = RegistryChange::StateChanged { from: connected, to: ConnectionState::Disconnected };
    assert_eq!(core.changes().len(), 3);
    assert_eq!(
        core.changes()[1..],
        [RegistryChange::StateChanged { from: initializing, to: connected }, last]
    );
    assert_eq!(core.journal.invocation_events(&InvocationFilter::default()).len(), 1);
}

#[test]
fn one_counter_numbers_the_events_of_all_streams() {
    let mut core = Core::new(&["a"], |_| {});
    core.fail("a");
    step(&core.journal, "a", Method::ToolsCall, "1", Phase::InitializeStart);
    core.succeed("a");
    core.registry.unregister(core.now, "a");
    let registry = core.journal.registry_events(&RegistryFilter::default());
    assert_eq!(registry.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 5]);
    let connections = core.journal.connection_events(&ConnectionFilter::default());
    assert_eq!(connections.iter().map(|event| event.seq).collect::<Vec<_>>(), [2, 4]);
    assert_eq!(core.journal.invocation_events(&InvocationFilter::default())[0].seq, 3);
}

#[test]
fn a_success_that_changes_nothing_is_no_event() {
    let mut core = Core::new(&["a"], |_| {});
    core.succeed("a");
    core.succeed("a");
    core.fail("a");
    core.fail("a");
    assert_eq!(core.transitions(), [(Status::Healthy, Status::Degraded)]);
    assert_eq!(core.changes(), [RegistryChange::Registered]);
}

fn next(subscription: &mut Subscription) -> Option<Event> {
    subscription.next().now_or_never().flatten()
}

#[test]
fn an_observer_gets_the_events_of_all_streams_in_their_order() {
    let mut core = Core::new(&["a"], |_| {});
    let (mut one, mut other) = (core.journal.subscribe(), core.journal.subscribe());
    step(&core.journal, "a", Method::ToolsCall, "1", Phase::InvokeStart);
    core.fail("a");
    core.registry.unregister(core.now, "a");
    for observer in [&mut one, &mut other] {
        let events: Vec<_> = std::iter::from_fn(|| next(observer)).collect();
        assert_eq!(events.iter().map(Event::seq).collect::<Vec<_>>(), [2, 3, 4]);
        assert!(matches!(&events[0], Event::Invocation(event) if event.phase == Phase::InvokeStart));
        assert!(matches!(&events[1], Event::Connection(event) if event.to_status == Status::Degraded));
        assert!(matches!(&events[2], Event::Registry(event) if event.change == RegistryChange::Unregistered));
        assert_eq!(observer.dropped(), 0);
    }
    drop(one);
    core.add("a", |_| {});
    assert_eq!(next(&mut other).map(|event| event.seq()), Some(5), "the other one still listens");
}

#[test]
fn only_failures_have_a_category() {
    let journal = Journal::new(&policy(|_| {}));
    step(&journal, "a", Method::ToolsCall, "1", Phase::InvokeSuccess);
    let mut event = journal.invocation_events(&InvocationFilter::default()).remove(0);
    assert_eq!(event.error_category(), None);
    event.failure = Some(failure("reset"));
    assert_eq!(event.error_category(), Some(ErrorCategory::TransportError));
}

#[test]
fn words_have_their_stable_spelling() {
    use ErrorCategory as Category;
    for (word, spelling) in [
        (Phase::InitializeStart.as_str(), "initialize_start"),
        (Phase::InitializeSuccess.as_str(), "initialize_success"),
        (Phase::InitializeFailure.as_str(), "initialize_failure"),
        (Phase::InvokeStart.as_str(), "invoke_start"),
        (Phase::InvokeSuccess.as_str(), "invoke_success"),
        (Phase::InvokeFailure.as_str(), "invoke_failure"),
        (Status::Healthy.as_str(), "healthy"),
        (Status::Degraded.as_str(), "degraded"),
        (Status::Unreachable.as_str(), "unreachable"),
        (mcp_registry::HealthView::Unknown.as_str(), "unknown"),
        (mcp_registry::HealthView::Healthy.as_str(), "healthy"),
        (mcp_registry::HealthView::Unhealthy.as_str(), "unhealthy"),
        (mcp_registry::ProbeKind::Auto.as_str(), "auto"),
        (mcp_registry::ProbeKind::HttpGet.as_str(), "http_get"),
        (mcp_registry::ProbeKind::McpPing.as_str(), "mcp_ping"),
        (mcp_registry::ProbeKind::McpDiscover.as_str(), "mcp_discover"),
    ] {
        assert_eq!(word, spelling);
    }
    let states = ["initializing", "connected", "disconnected", "error", "reconnecting"];
    assert_eq!(ConnectionState::ALL.map(ConnectionState::as_str), states);
    for (category, spelling, ends_session) in [
        (Category::NetworkTimeout, "network_timeout", true),
        (Category::HttpStatus, "http_status", true),
        (Category::InvalidPayload, "invalid_payload", false),
        (Category::RpcError, "rpc_error", false),
        (Category::TransportError, "transport_error", true),
        (Category::HealthCheck, "health_check", false),
        (Category::InitializeError, "initialize_error", false),
        (Category::Unknown, "unknown", false),
    ] {
        assert_eq!((category.as_str(), &*category.to_string()), (spelling, spelling));
        assert_eq!(category.ends_session(), ends_session, "{spelling}");
    }
}
