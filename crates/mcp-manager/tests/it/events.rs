//! Contract §9.8: both event streams and their filters.

use mcp_protocol::Method;
use mcp_registry::{ConnectionFilter, InvocationFilter, RegistryFilter, Status};
use mcp_testkit::Action;

use crate::support::{METHODS, PB, World};

#[tokio::test]
async fn g1_g4_a_failover_is_told_in_order_under_one_id() {
    let world = World::pair(3);
    world.cluster.script("primary", "initialize", [Action::Error]);
    let seen = world.request(&Method::ToolsCall, &PB).await;
    assert_eq!(seen.phases, "primary IS IF, backup IS IY VS VY");
    let journal = world.manager.journal();
    let events = journal.invocation_events(&InvocationFilter::default());
    assert!(events.iter().all(|event| *event.request_id == *seen.id));
    assert!(events.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    let failures: Vec<_> =
        events.iter().map(|event| event.failure.as_ref().map(|f| (f.category.as_str(), &*f.text))).collect();
    assert_eq!(failures, [None, Some(("transport_error", "primary unavailable")), None, None, None, None]);

    world.fail("backup");
    let of_primary = InvocationFilter {
        server: Some("primary"),
        request_id: Some(&seen.id),
        limit: None,
        method: Some("tools/call"),
    };
    assert_eq!(journal.invocation_events(&of_primary), events[..2]);
    let newest = journal.invocation_events(&InvocationFilter { limit: Some(2), ..Default::default() });
    assert_eq!(newest, events[4..]);
    let caused =
        journal.connection_events(&ConnectionFilter { correlation_id: Some(&seen.id), ..Default::default() });
    assert_eq!(caused.len(), 1);
    assert_eq!((caused[0].server.as_str(), caused[0].to_status), ("primary", Status::Degraded));
    let of_backup =
        journal.connection_events(&ConnectionFilter { server: Some("backup"), ..Default::default() });
    assert_eq!(of_backup.iter().map(|event| event.correlation_id.clone()).collect::<Vec<_>>(), [None]);
    let newest = journal.connection_events(&ConnectionFilter { limit: Some(1), ..Default::default() });
    assert_eq!(newest, of_backup);
}

#[tokio::test]
async fn g2_g3_the_ring_keeps_the_newest() {
    for (capacity, kept) in [(3, "a IY VS VY"), (0, "a VY"), (1, "a VY")] {
        let world = World::new(&["a"], |policy| policy.max_invocation_events = capacity);
        world.tool(&[]).await.unwrap();
        assert_eq!(world.phases(0), kept, "capacity {capacity}");
    }
}

#[tokio::test]
async fn g5_a_transition_carries_the_id_of_the_invocation_that_caused_it() {
    let world = World::new(&["a"], |_| {});
    world.cluster.script("a", "initialize", [Action::Timeout]);
    let seen = world.request(&Method::ToolsCall, &[]).await;
    assert_eq!((&*seen.phases, &*seen.transitions), ("a IS IF", "a H→D"));
    let changes = world.manager.journal().connection_events(&ConnectionFilter::default());
    let ids: Vec<_> = changes.iter().map(|event| event.correlation_id.as_deref()).collect();
    assert_eq!(ids, [Some(&*seen.id)]);
}

#[tokio::test]
async fn g6_a_limit_of_zero_asks_for_nothing() {
    let world = World::new(&["a"], |_| {});
    world.cluster.script("a", "tools/call", [Action::Timeout]);
    world.tool(&[]).await.unwrap_err();
    let journal = world.manager.journal();
    for (limit, found) in [(Some(0), 0), (Some(1), 1)] {
        assert_eq!(journal.connection_events(&ConnectionFilter { limit, ..Default::default() }).len(), found);
        assert_eq!(journal.invocation_events(&InvocationFilter { limit, ..Default::default() }).len(), found);
        assert_eq!(journal.registry_events(&RegistryFilter { limit, ..Default::default() }).len(), found);
    }
}

/// What each request must leave in the streams; `World::request` compares every filter with it.
#[tokio::test]
async fn g7_failover_skip_and_recovery_are_found_by_every_filter() {
    for method in METHODS {
        let world = World::pair(2);
        world.cluster.script("primary", method.as_str(), [Action::Timeout]);
        let failover = world.request(&method, &PB).await;
        assert_eq!(failover.phases, "primary IS IY VS VF, backup IS IY VS VY");
        assert_eq!(
            (failover.errors(), &*failover.transitions),
            (vec![(3, "network_timeout")], "primary H→D")
        );

        let skip = world.request(&method, &["primary"]).await;
        assert_eq!((&*skip.phases, &*skip.transitions), ("backup IS IY VS VY", ""));

        world.advance(1);
        world.fail("backup");
        let recovery = world.request(&method, &["primary"]).await;
        assert_eq!((&*recovery.phases, &*recovery.transitions), ("primary IS IY VS VY", "primary D→H"));

        let journal = world.manager.journal();
        let elsewhere = InvocationFilter { server: Some("Primary"), ..Default::default() };
        assert_eq!(journal.invocation_events(&elsewhere), [], "names are compared exactly");
        let elsewhere = ConnectionFilter { correlation_id: Some("nobody's"), ..Default::default() };
        assert_eq!(journal.connection_events(&elsewhere), []);
    }
}

#[tokio::test]
async fn g8_observers_that_panic_or_lag_hold_nobody_up() {
    let world = World::pair(3);
    let mut slow = world.manager.journal().subscribe();
    let mut panicking = world.manager.journal().subscribe();
    let observer = tokio::spawn(async move {
        let event = panicking.next().await;
        panic!("expected by the test: {event:?}");
    });
    let mut calls = 0;
    while slow.dropped() == 0 {
        for _ in 0..100 {
            world.tool(&PB).await.unwrap();
            calls += 1;
        }
        // It looks at one event now and then.
        assert!(slow.next().await.is_some());
    }
    assert!(observer.await.unwrap_err().is_panic());
    assert_eq!((world.status("primary"), &*world.transitions(0)), (Status::Healthy, ""));
    assert_eq!(world.cluster.calls().len(), calls + 2, "every call was made");
    let newest = InvocationFilter { limit: Some(1), ..Default::default() };
    let newest = world.manager.journal().invocation_events(&newest).remove(0);
    // Behind as it is, it catches up with the newest, in order.
    let mut last = 0;
    while last < newest.seq {
        let seq = slow.next().await.unwrap().seq();
        assert!(seq > last);
        last = seq;
    }
}

#[tokio::test]
async fn g9_full_rings_keep_the_newest_in_order() {
    let world = World::new(&["a", "b"], |policy| {
        policy.max_connection_events = 3;
        policy.max_invocation_events = 5;
        policy.max_registry_events = 4;
    });
    for _ in 0..50 {
        world.cluster.script("a", "tools/call", [Action::Timeout]);
        world.tool(&["a"]).await.unwrap();
        world.advance(1);
        world.manager.mark_healthy("a").unwrap();
    }
    let journal = world.manager.journal();
    let changes = journal.connection_events(&ConnectionFilter::default());
    let invocations = journal.invocation_events(&InvocationFilter::default());
    let registry = journal.registry_events(&RegistryFilter::default());
    assert_eq!((changes.len(), invocations.len(), registry.len()), (3, 5, 4));
    assert_eq!(world.transitions(0), "a D→H H→D D→H");
    assert_eq!(world.phases(0), "a VF, b IS IY VS VY");
    let orders: [Vec<u64>; 3] = [
        changes.iter().map(|event| event.seq).collect(),
        invocations.iter().map(|event| event.seq).collect(),
        registry.iter().map(|event| event.seq).collect(),
    ];
    for order in &orders {
        assert!(order.is_sorted());
    }
    // The newest of all is the last status change; the newest of each stream is the newest it ever had.
    assert_eq!(changes[2].timestamp, world.manager.now());
    assert_eq!(orders.iter().flatten().max(), orders[0].last());
}

#[tokio::test]
async fn a_call_whose_caller_leaves_still_ends_in_the_events() {
    let world = World::new(&["a"], |_| {});
    world.manager.initialize("a", false).await.unwrap();
    world.cluster.script("a", "tools/call", [Action::Hang]);
    {
        let call = world.tool(&[]);
        futures::pin_mut!(call);
        assert!(futures::poll!(&mut call).is_pending());
        assert_eq!(world.phases(0), "a IS IY VS");
    }
    assert_eq!(world.phases(0), "a IS IY VS VF");
    let last =
        world.manager.journal().invocation_events(&InvocationFilter { limit: Some(1), ..Default::default() });
    assert_eq!(&*last[0].failure.as_ref().unwrap().text, "cancelled by the caller");
    assert_eq!(world.status("a"), Status::Healthy, "a cancelled call is no check result");
}
