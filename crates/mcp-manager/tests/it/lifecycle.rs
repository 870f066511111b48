//! Registration and tools.

use mcp_registry::{RegistryFilter, Status};
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
    moved.priority = 7;
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
