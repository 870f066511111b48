//! Contract §9.8: both event streams and their filters.

use mcp_registry::{ConnectionFilter, InvocationFilter, Status};
use mcp_testkit::Action;

use crate::support::{World, phases};

#[tokio::test]
async fn g1_g4_a_failover_is_told_in_order_under_one_id() {
    let world = World::new(&["primary", "backup"], |_| {});
    world.cluster.script("primary", "initialize", [Action::Error]);
    let served = world.tool(&["primary", "backup"]).await.unwrap();
    assert_eq!(world.phases(0), phases(&[("primary", "IS IF"), ("backup", "IS IY VS VY")]));
    let journal = world.manager.journal();
    let events = journal.invocation_events(&InvocationFilter::default());
    assert!(events.iter().all(|event| event.request_id == served.request_id));
    assert!(events.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    let failures: Vec<_> =
        events.iter().map(|event| event.failure.as_ref().map(|f| (f.category.as_str(), &*f.text))).collect();
    assert_eq!(failures, [None, Some(("transport_error", "primary unavailable")), None, None, None, None]);

    world.manager.mark_degraded("backup", "by hand").unwrap();
    let of_primary = InvocationFilter {
        server: Some("primary"),
        request_id: Some(&served.request_id),
        limit: None,
        method: Some("tools/call"),
    };
    assert_eq!(journal.invocation_events(&of_primary).len(), 2);
    let newest = journal.invocation_events(&InvocationFilter { limit: Some(2), ..Default::default() });
    assert_eq!(newest, events[4..]);
    let caused = journal.connection_events(&ConnectionFilter {
        correlation_id: Some(&served.request_id),
        ..Default::default()
    });
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
    for (capacity, kept) in [(3, "IY VS VY"), (0, "VY"), (1, "VY")] {
        let world = World::new(&["a"], |policy| policy.max_invocation_events = capacity);
        world.tool(&[]).await.unwrap();
        assert_eq!(world.phases(0), phases(&[("a", kept)]), "capacity {capacity}");
    }
}

#[tokio::test]
async fn g5_a_transition_carries_the_id_of_the_invocation_that_caused_it() {
    let world = World::new(&["a"], |_| {});
    world.cluster.script("a", "initialize", [Action::Timeout]);
    world.tool(&[]).await.unwrap_err();
    let journal = world.manager.journal();
    let id = journal.invocation_events(&InvocationFilter::default())[0].request_id.clone();
    let changes = journal.connection_events(&ConnectionFilter::default());
    assert_eq!(changes.iter().map(|event| event.correlation_id.clone()).collect::<Vec<_>>(), [Some(id)]);
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
        assert_eq!(world.phases(0), phases(&[("a", "IS IY VS")]));
    }
    assert_eq!(world.phases(0), phases(&[("a", "IS IY VS VF")]));
    let last =
        world.manager.journal().invocation_events(&InvocationFilter { limit: Some(1), ..Default::default() });
    assert_eq!(&*last[0].failure.as_ref().unwrap().text, "cancelled by the caller");
    assert_eq!(world.status("a"), Status::Healthy, "a cancelled call is no check result");
}
