//! Contract §2.3, §3.1 to §3.4: what handshakes leave behind.

use mcp_protocol::{Era, Limits, RawJson};
use mcp_registry::{ConnectionFilter, ConnectionState, ErrorCategory, Failure, Handshake, Loss, Status};

use crate::support::{Core, START, failure, handshake, secs};

fn talkative() -> Handshake {
    let object = |text: &str| Some(RawJson::parse(text.to_owned(), &Limits::default()).unwrap());
    Handshake {
        era: Era::Stateless,
        protocol_version: Some("2026-07-28".into()),
        server_info: object(r#"{"name":"x"}"#),
        capabilities: object(r#"{"tools":{}}"#),
        ttl: None,
    }
}

#[test]
fn a_handshake_is_fresh_for_the_shorter_of_both_limits() {
    for (age, ttl, expected) in [
        (Some(300), None, Some(300)),
        (Some(300), Some(60), Some(60)),
        (Some(300), Some(600), Some(300)),
        (Some(0), Some(60), Some(0)),
        (None, Some(60), Some(60)),
        (None, None, None),
    ] {
        let mut core = Core::new(&["a"], |policy| policy.max_initialization_age = age.map(secs));
        core.advance(10);
        let with_ttl = Handshake { ttl: ttl.map(secs), ..handshake() };
        core.registry.handshake_succeeded(core.now, &core.key("a"), with_ttl, None, true);
        let record = core.record("a");
        let expected = expected.map(|after| core.now + secs(after));
        assert_eq!(record.initialization_expires_at, expected, "{age:?} {ttl:?}");
        assert_eq!((record.initialized, record.last_initialized_at), (true, Some(core.now)));
    }
}

#[test]
fn a_snapshot_is_replaced_by_handshakes_and_by_nothing_else() {
    let mut core = Core::new(&["a", "b"], |_| {});
    core.registry.handshake_succeeded(START, &core.key("a"), talkative(), None, true);
    let first = core.record("a").capability_snapshot.clone().unwrap();
    assert_eq!((first.captured_at, first.protocol_version.as_deref()), (START, Some("2026-07-28")));
    assert_eq!(first.server_info.as_ref().unwrap().as_str(), r#"{"name":"x"}"#);
    assert_eq!(first.capabilities.as_ref().unwrap().as_str(), r#"{"tools":{}}"#);
    assert_eq!(core.record("a").era, Some(Era::Stateless));
    core.advance(1);
    core.fail("a");
    core.registry.handshake_failed(core.now, &core.key("a"), failure("refused"), None, None, true);
    core.registry.connection_lost(core.now, &core.key("a"), Loss::Lazy);
    core.registry.disconnected(core.now, &core.key("a"));
    core.initialize("b");
    let record = core.record("a");
    assert_eq!(record.capability_snapshot.as_ref(), Some(&first));
    assert_eq!((record.last_initialized_at, record.protocol_version.clone()), (Some(START), None));
    core.initialize("a");
    let second = core.record("a").capability_snapshot.clone().unwrap();
    assert_eq!((second.captured_at, &second.server_info, &second.capabilities), (core.now, &None, &None));
}

#[test]
fn a_failed_handshake_is_one_failure() {
    let mut core = Core::new(&["a"], |_| {});
    core.initialize("a");
    core.advance(1);
    let id = "call".into();
    let refused = Failure::new(ErrorCategory::RpcError, "rpc error: no");
    core.registry.handshake_failed(core.now, &core.key("a"), refused, Some(&id), None, true);
    let record = core.record("a");
    assert_eq!((record.status, record.retry_count, record.consecutive_failures), (Status::Degraded, 1, 1));
    assert_eq!((record.initialized, record.initialization_expires_at), (false, None));
    assert_eq!((&record.protocol_version, record.connection_state), (&None, ConnectionState::Error));
    let events = core.journal.connection_events(&ConnectionFilter::default());
    assert_eq!(events.len(), 1);
    assert_eq!((&*events[0].reason, events[0].correlation_id.as_ref()), ("rpc error: no", Some(&id)));
}

#[test]
fn a_handshake_whose_last_notification_fails_leaves_a_snapshot_and_one_failure() {
    let mut core = Core::new(&["a"], |_| {});
    core.fail("a");
    core.registry.connecting(core.now, &core.key("a"));
    core.advance(1);
    let partial = Some(talkative());
    core.registry.handshake_failed(core.now, &core.key("a"), failure("reset"), None, partial, true);
    let record = core.record("a");
    assert_eq!((record.initialized, record.initialization_expires_at), (false, None));
    assert_eq!((&record.protocol_version, record.retry_count), (&None, 2));
    assert_eq!((record.last_initialized_at, record.era), (Some(core.now), Some(Era::Stateless)));
    assert_eq!(record.capability_snapshot.as_ref().unwrap().captured_at, core.now);
    assert_eq!(core.transitions(), [(Status::Healthy, Status::Degraded)], "not healthy in between");
}

#[test]
fn a_handshake_inside_something_that_counts_itself_records_nothing() {
    let mut core = Core::new(&["a"], |_| {});
    core.fail("a");
    core.registry.connecting(core.now, &core.key("a"));
    core.advance(1);
    core.registry.handshake_succeeded(core.now, &core.key("a"), handshake(), None, false);
    let record = core.record("a");
    assert_eq!((record.status, record.retry_count, record.consecutive_failures), (Status::Degraded, 1, 1));
    assert_eq!((record.initialized, record.connection_state), (true, ConnectionState::Connected));
    assert_eq!(record.last_checked_at(), Some(START));
    core.registry.handshake_failed(core.now, &core.key("a"), failure("refused"), None, None, false);
    let record = core.record("a");
    assert_eq!((record.status, record.retry_count, record.consecutive_failures), (Status::Degraded, 1, 1));
    assert_eq!((record.initialized, record.connection_state), (false, ConnectionState::Error));
    assert_eq!((record.last_error.as_deref(), &record.protocol_version), (Some("timeout"), &None));
    assert_eq!(core.transitions().len(), 1);
}

#[test]
fn calls_that_fail_after_good_handshakes_oscillate_unless_only_calls_count() {
    for (record, statuses) in
        [(true, [Status::Degraded; 3]), (false, [Status::Degraded, Status::Degraded, Status::Unreachable])]
    {
        let mut core = Core::new(&["a"], |_| {});
        for (round, status) in statuses.into_iter().enumerate() {
            core.advance(10);
            core.registry.handshake_succeeded(core.now, &core.key("a"), handshake(), None, record);
            core.fail("a");
            assert_eq!(core.record("a").status, status, "round {round}, {record}");
        }
        assert_eq!(core.transitions().len(), if record { 5 } else { 2 }, "{record}");
    }
}

#[test]
fn states_of_a_connection_follow_what_happens_to_it() {
    use ConnectionState::{Connected, Disconnected, Error, Initializing, Reconnecting};
    let mut core = Core::new(&["a"], |_| {});
    let key = core.key("a");
    let is = |core: &Core, state| assert_eq!(core.record("a").connection_state, state);
    core.registry.connecting(START, &key);
    is(&core, Initializing);
    core.registry.connecting(START, &key);
    is(&core, Initializing);
    core.registry.handshake_succeeded(START, &key, handshake(), None, true);
    is(&core, Connected);
    core.registry.connecting(START, &key);
    is(&core, Connected);
    core.registry.record_failure(START, &key, failure("http"), None, false);
    is(&core, Connected);
    core.registry.record_failure(START, &key, failure("reset"), None, true);
    is(&core, Error);
    core.registry.connecting(START, &key);
    is(&core, Reconnecting);
    core.registry.disconnected(START, &key);
    is(&core, Disconnected);
    // The end of a handshake that was under way when the server was disconnected.
    core.registry.handshake_succeeded(START, &key, handshake(), None, true);
    is(&core, Connected);
    core.registry.reconnecting(START, &key);
    is(&core, Reconnecting);
    assert!(!core.record("a").initialized);
    let changes = core.changes();
    let states: Vec<_> = changes
        .iter()
        .filter_map(|change| match change {
            mcp_registry::RegistryChange::StateChanged { from, to } => Some((*from, *to)),
            _ => None,
        })
        .collect();
    let path = [
        Disconnected,
        Initializing,
        Connected,
        Error,
        Reconnecting,
        Disconnected,
        Initializing,
        Connected,
        Reconnecting,
    ];
    let steps: Vec<_> = path.windows(2).map(|pair| (pair[0], pair[1])).collect();
    assert_eq!(states, steps, "each step is an event, staying is none");
}

#[test]
fn a_loss_outside_of_any_call_does_not_change_the_status() {
    let mut core = Core::new(&["a"], |_| {});
    core.initialize("a");
    core.registry.connection_lost(core.now, &core.key("a"), Loss::Lazy);
    let record = core.record("a");
    assert_eq!((record.status, record.connection_state), (Status::Healthy, ConnectionState::Error));
    assert_eq!((record.initialized, record.initialization_expires_at), (false, None));
    assert_eq!(core.transitions(), []);
}

#[test]
fn what_was_disconnected_meanwhile_does_not_break() {
    type End = fn(&mut Core);
    let ends: [End; 3] = [
        |core| core.registry.record_failure(core.now, &core.key("a"), failure("reset"), None, true),
        |core| core.registry.handshake_failed(core.now, &core.key("a"), failure("reset"), None, None, true),
        |core| core.registry.connection_lost(core.now, &core.key("a"), Loss::Lazy),
    ];
    for (at, end) in ends.into_iter().enumerate() {
        let mut core = Core::new(&["a"], |_| {});
        core.initialize("a");
        core.registry.disconnected(core.now, &core.key("a"));
        end(&mut core);
        assert_eq!(core.record("a").connection_state, ConnectionState::Disconnected, "end {at}");
        core.registry.connecting(core.now, &core.key("a"));
        end(&mut core);
        assert_eq!(core.record("a").connection_state, ConnectionState::Error, "end {at}");
    }
}
