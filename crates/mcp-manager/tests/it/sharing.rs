//! Calls that share a session, a server or a manager, and what one of them does to the others.

use std::collections::BTreeMap;
use std::time::Duration;

use mcp_protocol::Method;
use mcp_registry::{
    Attempt, ConnectionFilter, ConnectionState, CorrelationId, ErrorCategory, FailureCode, InvocationEvent,
    InvocationFilter, Phase, Stage, Status,
};
use mcp_testkit::assert::{Ending, Shape};
use mcp_testkit::{Action, Dice};

use crate::support::{METHODS, World, definition, routed, spell, spell_phases};

const CALL: &str = "tools/call";

/// A world with one initialised server, and a call on it that never gets an answer.
async fn with_hanging_call(world: &World) {
    world.manager.initialize("a", false).await.unwrap();
    world.cluster.script("a", CALL, [Action::Hang]);
}

#[tokio::test(start_paused = true)]
async fn a_detached_session_serves_its_calls_until_its_time_is_up() {
    let world = World::new(&["a"], |_| {});
    with_hanging_call(&world).await;
    let slow = world.tool(&[]);
    futures::pin_mut!(slow);
    assert!(futures::poll!(&mut slow).is_pending());
    let record = world.manager.refresh("a").await.unwrap();
    assert!(record.initialized);
    assert_eq!(
        (world.cluster.opened("a"), world.cluster.closed("a")),
        (2, 0),
        "the old session has a call on it"
    );

    let started = tokio::time::Instant::now();
    let error = slow.await.unwrap_err();
    assert_eq!(started.elapsed(), Duration::from_secs(10));
    assert_eq!(
        error.attempts.last().unwrap().failure.as_ref().unwrap().category,
        ErrorCategory::TransportError
    );
    let record = world.record("a");
    assert_eq!(
        (record.status, record.initialized),
        (Status::Healthy, true),
        "we closed it: nobody is to blame"
    );
    assert_eq!(record.connection_state, ConnectionState::Connected);
    assert!(world.manager.session_state("a").unwrap().active);
}

#[tokio::test(start_paused = true)]
async fn one_calls_timeout_does_not_cut_the_others_and_counts_once() {
    let world = World::new(&["a"], |_| {});
    world.manager.initialize("a", false).await.unwrap();
    world.cluster.script("a", CALL, [Action::Hang, Action::Timeout]);
    let slow = world.tool(&[]);
    futures::pin_mut!(slow);
    assert!(futures::poll!(&mut slow).is_pending());
    world.tool(&[]).await.unwrap_err();
    assert_eq!((world.status("a"), world.record("a").retry_count), (Status::Degraded, 1));
    assert!(futures::poll!(&mut slow).is_pending(), "the other call goes on");
    slow.await.unwrap_err();
    assert_eq!(world.record("a").retry_count, 1);
}

#[tokio::test(start_paused = true)]
async fn a_callers_impatience_is_checked_and_not_blamed() {
    let world = World::new(&["a", "b"], |_| {});
    with_hanging_call(&world).await;
    let mut call = routed(Method::ToolsCall, &["a"]);
    call.timeout = Some(Duration::from_millis(1));
    let served = world.manager.call(call).await.unwrap();
    assert_eq!(served.server.as_str(), "b");
    let failure = served.attempts[1].failure.clone().unwrap();
    assert_eq!(failure.category, ErrorCategory::NetworkTimeout);
    while world.cluster.probes() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.status("a"), Status::Healthy);
    assert_eq!(world.cluster.opened("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_the_call_blames_a_server_that_had_most_of_it() {
    for (slow, status) in [(false, Status::Degraded), (true, Status::Healthy)] {
        let world = World::new(&["a"], |policy| policy.max_call_deadline = Duration::from_secs(2));
        if slow {
            // The manual clock is moved while the handshake waits: little of the call's time is left.
            let hello = Action::Ok.delayed(Duration::from_millis(10));
            world.cluster.script("a", "initialize", [hello]);
        }
        world.cluster.script("a", "tools/call", [Action::Hang]);
        let call = world.tool(&[]);
        futures::pin_mut!(call);
        assert!(futures::poll!(&mut call).is_pending());
        if slow {
            world.clock.advance(Duration::from_millis(1500));
        }
        let error = call.await.unwrap_err();
        assert_eq!((error.code, error.attempts.len()), (FailureCode::DeadlineExceeded, 2));
        world.settle().await;
        assert_eq!(world.status("a"), status, "slow: {slow}");
        assert_eq!(world.cluster.probes(), u32::from(slow), "who had little time is checked");
    }
}

#[tokio::test]
async fn disabled_servers_are_left_alone() {
    let world = World::new(&["a"], |_| {});
    let mut off = definition("off");
    off.enabled = false;
    world.manager.register(off).unwrap();
    let records = world.manager.connect_all(false).await;
    assert_eq!(records.len(), 2);
    world.manager.refresh_all_tools().await;
    assert_eq!((world.cluster.opened("a"), world.cluster.opened("off")), (1, 0));
}

#[tokio::test]
async fn configured_tools_stay_the_known_set() {
    let world = World::new(&[], |_| {});
    let mut configured = definition("a");
    configured.tools = Some(vec!["search".into(), "absent".into()]);
    world.manager.register(configured).unwrap();
    let list = r#"{"tools":[{"name":"search","annotations":{"idempotentHint":true}},{"name":"other"}]}"#;
    world.cluster.script("a", "tools/list", [Action::Result(list.into())]);
    let record = world.manager.refresh_tools("a").await.unwrap();
    let tools = record.tools.clone().unwrap();
    assert_eq!(tools.keys().map(|name| &**name).collect::<Vec<_>>(), ["absent", "search"]);
    assert_eq!(tools["search"].hints.idempotent, Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_check_hangs_is_not_checked_again_meanwhile() {
    let world = World::new(&["a", "b"], |_| {});
    // Neither has a health path; `a` takes the handshake of the probe and never answers.
    for name in ["a", "b"] {
        world.cluster.health(name, [Ok(404)]);
    }
    world.cluster.script("a", "initialize", [Action::Hang]);
    world.manager.start_monitor();
    world.manager.start_monitor();
    // Real tasks, no time: the hanging probe goes on all the while.
    let settle = || async {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    };
    settle().await; // the first check of `b` is a handshake
    for _ in 0..40 {
        world.clock.advance(Duration::from_secs(30));
        settle().await;
    }
    assert_eq!(world.cluster.opened("a"), 1);
    let pings =
        world.cluster.calls().iter().filter(|(server, method)| server == "b" && method == "ping").count();
    assert_eq!(pings, 40, "the other one is checked each time");
}

/// Real threads; what each call says of itself and what the events say of it must be the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn c18_concurrent_calls_over_flapping_servers_leave_legal_sequences() {
    const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let world = World::new(&NAMES, |policy| {
        policy.max_invocation_events = 100_000;
        policy.max_connection_events = 100_000;
    });
    let dice = Dice::new(18);
    let actions = [
        Action::Ok,
        Action::Ok,
        Action::Timeout,
        Action::Error,
        Action::HttpStatus(503),
        Action::RpcError { code: Some(-32603), message: None },
    ];
    // What the calls say, by their ids.
    let mut said: BTreeMap<CorrelationId, String> = BTreeMap::new();
    let mut served = 0;
    for _ in 0..20 {
        for name in NAMES {
            for method in ["initialize", CALL, "resources/read"] {
                world.cluster.script(name, method, (0..32).map(|_| dice.pick(&actions).clone()));
            }
        }
        let calls: Vec<_> = (0..64)
            .map(|_| {
                let preferred = [*dice.pick(&NAMES), *dice.pick(&NAMES)];
                let call = routed(dice.pick(&METHODS).clone(), &preferred);
                let manager = world.manager.clone();
                tokio::spawn(async move { manager.call(call).await })
            })
            .collect();
        for call in calls {
            let outcome =
                tokio::time::timeout(Duration::from_secs(60), call).await.expect("a deadlock").unwrap();
            let (id, attempts) = match outcome {
                Ok(done) => {
                    served += 1;
                    (done.request_id, done.attempts)
                }
                Err(error) => (error.request_id, error.attempts),
            };
            if !attempts.is_empty() {
                said.insert(id, spell_attempts(&attempts));
            }
        }
        world.advance(dice.below(4));
    }

    let journal = world.manager.journal();
    let mut told: BTreeMap<CorrelationId, Vec<InvocationEvent>> = BTreeMap::new();
    for event in journal.invocation_events(&InvocationFilter::default()) {
        told.entry(event.request_id.clone()).or_default().push(event);
    }
    let phases: BTreeMap<_, _> = told.iter().map(|(id, events)| (id.clone(), spell_phases(events))).collect();
    assert_eq!(phases, said);
    let endings: Vec<_> = told.values().map(|events| Shape::ROUTED.ending(events).unwrap()).collect();
    assert_eq!(endings.iter().filter(|ending| **ending == Ending::Success).count(), served);
    assert!(!endings.contains(&Ending::Open));

    let changes = journal.connection_events(&ConnectionFilter::default());
    for change in &changes {
        let id = change.correlation_id.as_ref().unwrap();
        let before = told[id].iter().rfind(|event| event.server == change.server && event.seq < change.seq);
        match before.unwrap().phase {
            // Within the invoke stage there is a handshake when another call's failure has ended the session.
            Phase::InitializeStart | Phase::InvokeStart => {}
            Phase::InvokeFailure => assert_ne!(change.to_status, Status::Healthy),
            Phase::InvokeSuccess => assert_eq!(change.to_status, Status::Healthy),
            phase => panic!("{change:?} after {phase:?}"),
        }
    }
    for name in NAMES {
        let record = world.record(name);
        let mut status = Status::Healthy;
        for change in changes.iter().filter(|change| change.server.as_str() == name) {
            assert_eq!(change.from_status, status);
            status = change.to_status;
        }
        assert_eq!(status, record.status);
        assert_eq!(status == Status::Healthy, record.retry_count == 0);
        assert_eq!(record.next_retry_at.is_some(), record.retry_count > 0);
        let open = u32::from(world.manager.session_state(name).unwrap().active);
        // Sessions are closed in the background.
        while world.cluster.opened(name) - world.cluster.closed(name) > open {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.cluster.opened(name) - world.cluster.closed(name), open);
    }
}

/// The events that a trace of attempts stands for.
fn spell_attempts(attempts: &[Attempt]) -> String {
    let word = |attempt: &Attempt| match (attempt.stage, attempt.failure.is_none()) {
        (Stage::Initialize, true) => "IS IY",
        (Stage::Initialize, false) => "IS IF",
        (Stage::Invoke, true) => "VS VY",
        (Stage::Invoke, false) => "VS VF",
    };
    spell(attempts.iter().map(|attempt| (attempt.server.to_string(), word(attempt).to_owned())))
}
