//! Registration and tools.

use std::time::Duration;

use mcp_registry::{Definition, OnToolChange, RegistryChange, RegistryFilter, Sharing, Status};
use mcp_testkit::{Action, Toggle};

use crate::support::{World, definition};

#[tokio::test]
async fn the_registry_is_bounded() {
    let world = World::new(&["a", "b"], |policy| policy.max_servers = 2);
    assert_eq!(world.manager.register(definition("c")).unwrap_err().limit, 2);
    world.manager.register(definition("a")).unwrap();
}

#[tokio::test]
async fn a_missing_health_path_leads_to_a_probe_by_protocol() {
    for status in [404, 405, 406, 501] {
        let world = World::new(&["a"], |_| {});
        world.cluster.health("a", [Ok(status)]);
        // Without a session the handshake is the probe, with one it is a ping; the path is not asked again.
        for _ in 0..2 {
            let record = world.manager.health_check("a").await.unwrap();
            assert_eq!((record.status, record.initialized), (Status::Healthy, true), "{status}");
        }
        assert_eq!(world.cluster.probes(), 1);
        assert_eq!(world.traffic(0), "a init ready ping");
    }
    let world = World::new(&["a"], |_| {});
    world.cluster.health("a", [Ok(503)]);
    let record = world.manager.health_check("a").await.unwrap();
    assert_eq!((record.status, record.last_error.as_deref()), (Status::Degraded, Some("http 503")));
}

#[tokio::test]
async fn refreshing_tools_remembers_what_the_server_lists() {
    let world = World::new(&["a"], |_| {});
    let list = r#"{"tools":[{"name":"search","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}]}"#;
    world.cluster.script("a", "tools/list", [Action::Result(list.into())]);
    let record = world.manager.refresh_tools("a").await.unwrap();
    let tools = record.tools.clone().unwrap();
    assert_eq!(tools.keys().map(|name| &**name).collect::<Vec<_>>(), ["search"]);
    assert_eq!(tools["search"].hints.read_only, Some(true));
    let refreshed = RegistryFilter { kind: Some("tools_refreshed"), ..Default::default() };
    assert_eq!(world.manager.journal().registry_events(&refreshed).len(), 1);
}

#[tokio::test]
async fn a_flapping_server_keeps_its_record_consistent() {
    let world = World::new(&["a"], |_| {});
    for round in 0..20 {
        world.cluster.toggle("a", Toggle::FailToolCalls, round % 2 == 0);
        let _ = world.tool(&[]).await;
        let record = world.record("a");
        let healthy = record.status == Status::Healthy;
        assert_eq!(healthy, record.retry_count == 0);
        assert_eq!(healthy, record.next_retry_at.is_none());
        assert_eq!(healthy, record.last_error.is_none());
        world.advance(10);
    }
}

#[tokio::test]
async fn a_new_configuration_leaves_alone_what_did_not_change() {
    let world = World::new(&["kept", "moved", "gone", "other"], |policy| policy.max_servers = 5);
    for name in ["kept", "moved", "gone", "other"] {
        world.manager.initialize(name, false).await.unwrap();
    }
    let mut moved = definition("moved");
    moved.request_timeout *= 2;
    let before: Vec<_> = ["kept", "moved", "gone"].iter().map(|name| name.parse().unwrap()).collect();
    let desired = vec![definition("kept"), moved, definition("new")];
    let applied = world.manager.apply(&before, desired).unwrap();
    let names =
        |names: &[mcp_registry::ServerName]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&applied.unchanged), ["kept"]);
    assert_eq!(names(&applied.changed), ["moved"]);
    assert_eq!(names(&applied.added), ["new"]);
    assert_eq!(names(&applied.removed), ["gone"]);
    let seen: Vec<_> =
        world.manager.table().servers().iter().map(|record| record.name().to_string()).collect();
    assert_eq!(seen, ["kept", "moved", "new", "other"]);
    assert!(world.record("kept").initialized && world.record("other").initialized);
    assert!(!world.record("moved").initialized);

    let many = ["a", "b", "c", "d", "e"].map(definition).to_vec();
    assert_eq!(world.manager.apply(&[], many).unwrap_err().limit, 5);
    assert_eq!(world.manager.table().servers().len(), 4, "nothing has changed");
}

/// Changes everything that does not concern the server.
fn retouch(definition: &mut Definition) {
    definition.description = Some("new".into());
    definition.priority = 99;
    definition.critical = true;
    definition.trust_annotations = true;
    definition.sharing = Some(Sharing::PerSession);
    definition.exposure.tools.deny.push("secret_*".parse().unwrap());
    definition.on_tool_change = OnToolChange::Block;
}

#[tokio::test]
async fn what_does_not_concern_a_server_leaves_it_connected() {
    let world = World::new(&["a", "b"], |_| {});
    world.tool(&["a"]).await.unwrap();
    world.fail("a");
    let mut table = world.manager.watch_table();
    for way in 0..3 {
        let before = world.record("a");
        let mut wanted = Definition::clone(&before.definition);
        retouch(&mut wanted);
        wanted.description = Some(format!("way {way}"));
        table.mark_unchanged();
        match way {
            0 => {
                let names = [before.name().clone()];
                let applied = world.manager.apply(&names, vec![wanted.clone()]).unwrap();
                assert_eq!((applied.changed.len(), applied.unchanged.len()), (1, 0));
            }
            1 => drop(world.manager.register(wanted.clone()).unwrap()),
            _ => drop(world.manager.replace(wanted.clone()).unwrap()),
        }
        assert!(table.has_changed().unwrap(), "way {way}");
        let after = world.record("a");
        assert_eq!((*after.definition == wanted, after.key()), (true, before.key()), "way {way}");
        assert_eq!((after.status, after.retry_count), (Status::Degraded, 1), "way {way}");
        assert!(after.initialized == before.initialized && world.manager.session_state("a").unwrap().active);
    }
    world.manager.mark_healthy("a").unwrap();
    let skip = world.cluster.calls().len();
    assert_eq!(world.tool(&[]).await.unwrap().server.as_str(), "a", "by its new priority");
    assert_eq!((world.traffic(skip).as_str(), world.cluster.closed("a")), ("a init ready tool", 0));
    let of_a = RegistryFilter { server: Some("a"), kind: Some("server_redefined"), ..Default::default() };
    let told = world.manager.journal().registry_events(&of_a);
    assert_eq!(told.len(), 3);
    assert!(told.iter().all(|event| event.change == RegistryChange::Redefined));
}

#[tokio::test]
async fn what_concerns_a_server_and_the_same_once_more_start_it_anew() {
    let world = World::new(&["a"], |_| {});
    let changes: [fn(&mut Definition); 4] = [
        |_| {},
        |definition| definition.request_timeout *= 2,
        |definition| definition.roots = Some(vec!["file:///a".into()]),
        |definition| {
            retouch(definition);
            definition.tools = Some(vec!["search".into()]);
        },
    ];
    for (at, change) in changes.into_iter().enumerate() {
        world.tool(&[]).await.unwrap();
        let before = world.record("a");
        let mut wanted = Definition::clone(&before.definition);
        change(&mut wanted);
        world.manager.register(wanted).unwrap();
        let after = world.record("a");
        assert!(after.generation > before.generation && !after.initialized, "{at}");
    }
}

#[tokio::test]
async fn new_trust_in_annotations_counts_at_once() {
    let list = r#"{"tools":[{"name":"search","annotations":{"readOnlyHint":true}}]}"#;
    for trusted in [false, true] {
        let world = World::new(&["a", "b"], |policy| {
            policy.ambiguous_failover = mcp_registry::AmbiguousFailover::SafeOnly;
        });
        world.cluster.script("a", "tools/list", [Action::Result(list.into())]);
        world.manager.refresh_tools("a").await.unwrap();
        // It changes while the call is under way.
        world.cluster.script("a", "tools/call", [Action::Timeout.delayed(Duration::from_millis(20))]);
        let change = async {
            let mut definition = definition("a");
            definition.trust_annotations = trusted;
            definition.description = Some("changed".into());
            while world.cluster.calls().iter().all(|(_, method)| method != "tools/call") {
                tokio::task::yield_now().await;
            }
            world.manager.register(definition).unwrap();
        };
        let (outcome, ()) = futures::future::join(world.tool(&["a", "b"]), change).await;
        assert_eq!(outcome.is_ok(), trusted);
    }
}
