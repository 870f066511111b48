//! Contract §9.6: retry windows and re-entry, with `tools/call` and with `resources/read`.

use std::time::Duration;

use mcp_protocol::Method;
use mcp_registry::{ConnectionState, Status};
use mcp_testkit::{Action, ManualClock};

use crate::support::{World, pairs, phases, trace};

const INIT: &str = "initialize";
const METHODS: [Method; 2] = [Method::ToolsCall, Method::ResourcesRead];

fn at(seconds: u64) -> Option<mcp_registry::Timestamp> {
    Some(ManualClock::START + Duration::from_secs(seconds))
}

/// Only the handshakes and calls, without the notification in between.
fn requests(traffic: Vec<(String, String)>) -> Vec<(String, String)> {
    traffic.into_iter().filter(|(_, method)| !method.starts_with("notifications/")).collect()
}

#[tokio::test]
async fn e1_a_failed_server_is_skipped_during_its_window_and_comes_back() {
    for method in METHODS {
        let world = World::new(&["primary", "backup"], |policy| policy.unreachable_after = 2);
        let preferred = ["primary", "backup"];
        world.cluster.script("primary", method.as_str(), [Action::Timeout, Action::Ok]);

        let first = world.call(method.clone(), &preferred).await.unwrap();
        assert_eq!(first.server.as_str(), "backup");
        let expected = [("primary", "IS IY VS VF"), ("backup", "IS IY VS VY")];
        assert_eq!(world.phases(0), phases(&expected), "{method}");
        assert_eq!(world.transitions(0), [("primary".into(), Status::Degraded)]);

        let (events, traffic) = (world.phases(0).len(), world.traffic(0).len());
        let second = world.call(method.clone(), &preferred).await.unwrap();
        assert_eq!(second.server.as_str(), "backup");
        assert_eq!(world.phases(events), phases(&[("backup", "IS IY VS VY")]));
        assert_eq!(world.traffic(traffic), pairs(&[("backup", method.as_str())]));

        world.advance(1);
        world.manager.mark_degraded("backup", "manual degrade").unwrap();
        let (events, traffic, changes) =
            (world.phases(0).len(), world.traffic(0).len(), world.transitions(0).len());
        let third = world.call(method.clone(), &preferred).await.unwrap();
        assert_eq!(third.server.as_str(), "primary");
        assert_eq!(world.phases(events), phases(&[("primary", "IS IY VS VY")]));
        assert_eq!(world.transitions(changes), [("primary".into(), Status::Healthy)]);
        let expected = [("primary", INIT), ("primary", method.as_str())];
        assert_eq!(requests(world.traffic(traffic)), pairs(&expected));
    }
}

#[tokio::test]
async fn e2_failed_handshakes_climb_to_unreachable_and_one_success_resets() {
    for method in METHODS {
        let world = World::new(&["primary", "backup"], |policy| policy.unreachable_after = 2);
        let preferred = ["primary", "backup"];
        let name = method.as_str();
        world.cluster.script("primary", INIT, [Action::Timeout, Action::Timeout, Action::Ok]);

        assert_eq!(world.call(method.clone(), &preferred).await.unwrap().server.as_str(), "backup");
        assert_eq!(world.call(method.clone(), &preferred).await.unwrap().server.as_str(), "backup");
        world.advance(1);
        world.manager.mark_degraded("backup", "manual degrade").unwrap();
        let error = world.call(method.clone(), &["primary"]).await.unwrap_err();
        assert_eq!(
            trace(&error),
            [("primary".into(), mcp_registry::Stage::Initialize, Some("network_timeout"))]
        );
        let primary = world.record("primary");
        assert_eq!((primary.status, primary.retry_count), (Status::Unreachable, 2));
        assert_eq!(primary.next_retry_at, at(3));
        assert_eq!(primary.connection_state, ConnectionState::Error);

        world.advance(1);
        assert_eq!(world.call(method.clone(), &preferred).await.unwrap().server.as_str(), "backup");
        world.advance(2);
        world.manager.mark_degraded("backup", "manual degrade").unwrap();
        let last = world.call(method.clone(), &["backup", "primary"]).await.unwrap();
        assert_eq!(last.server.as_str(), "primary");

        let of_primary: Vec<_> =
            world.transitions(0).into_iter().filter(|(server, _)| server == "primary").collect();
        let statuses: Vec<_> = of_primary.into_iter().map(|(_, status)| status).collect();
        assert_eq!(statuses, [Status::Degraded, Status::Unreachable, Status::Healthy]);
        let expected = [
            ("backup", INIT),
            ("backup", name),
            ("backup", name),
            ("backup", INIT),
            ("backup", name),
            ("primary", INIT),
            ("primary", name),
        ];
        assert_eq!(requests(world.traffic(0)), pairs(&expected), "{method}");
    }
}

#[tokio::test]
async fn e6_with_every_window_closed_nothing_happens() {
    for method in METHODS {
        let world = World::new(&["primary", "backup"], |_| {});
        world.manager.mark_unavailable("primary", "gone").unwrap();
        world.manager.mark_degraded("backup", "gone").unwrap();
        let error = world.call(method.clone(), &[]).await.unwrap_err();
        assert_eq!(error.code, mcp_registry::FailureCode::NoCandidates);
        assert_eq!(
            error.message,
            "no server is reachable: every one that could serve failed lately; the next retry is backup in 1.0s"
        );
        assert_eq!((world.traffic(0), world.phases(0)), (vec![], vec![]));
        world.advance(1);
        assert_eq!(world.call(method, &["primary"]).await.unwrap().server.as_str(), "backup");
    }
}

#[tokio::test]
async fn e8_the_degraded_tier_comes_before_the_unreachable_one() {
    let world = World::new(&["primary", "backup"], |_| {});
    world.manager.mark_unavailable("primary", "gone").unwrap();
    world.manager.mark_degraded("backup", "slow").unwrap();
    world.advance(60);
    assert_eq!(world.tool(&["primary", "backup"]).await.unwrap().server.as_str(), "backup");
}
