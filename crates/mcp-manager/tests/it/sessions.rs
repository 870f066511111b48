//! Contract §9.9: what becomes of sessions, and who is told.

use std::sync::Arc;
use std::time::Duration;

use mcp_manager::{Freshness, SessionControlError, SessionState};
use mcp_protocol::Method;
use mcp_registry::{ConnectionState, Status};
use mcp_testkit::{Action, FnTransport};
use serde_json::json;

use crate::support::{BP, METHODS, PB, World, at, definition, word};

const CALL: &str = "tools/call";

const NONE: SessionState =
    SessionState { active: false, initialized: false, last_activity_at: None, freshness: Freshness::Unknown };

impl World {
    fn session(&self, name: &str) -> SessionState {
        self.manager.session_state(name).unwrap()
    }
}

#[tokio::test]
async fn h1_before_its_first_use_a_server_has_no_session() {
    let world = World::pair(3);
    assert_eq!([world.session("primary"), world.session("backup")], [NONE, NONE]);
    assert_eq!((world.cluster.opened("primary"), world.traffic(0)), (0, String::new()));
}

#[tokio::test]
async fn h2_a_call_leaves_a_session_on_the_server_that_served_it() {
    let world = World::pair(3);
    world.advance(7);
    world.tool(&PB).await.unwrap();
    let used = SessionState {
        active: true,
        initialized: true,
        last_activity_at: at(7),
        freshness: Freshness::ActiveRecent,
    };
    assert_eq!([world.session("primary"), world.session("backup")], [used, NONE]);
}

#[tokio::test]
async fn h4_a_session_unused_for_too_long_is_stale() {
    for (limit, after) in [(Some(60), Freshness::Stale), (None, Freshness::ActiveRecent)] {
        let limit = limit.map(Duration::from_secs);
        let world = World::new(&["a"], |policy| policy.adapter_session_stale_after = limit);
        world.tool(&[]).await.unwrap();
        for (advance, freshness) in [(0, Freshness::ActiveRecent), (60, Freshness::ActiveRecent), (1, after)]
        {
            world.advance(advance);
            let session = world.session("a");
            assert_eq!((session.freshness, session.last_activity_at), (freshness, at(0)));
            assert!(session.active && session.initialized);
        }
        world.tool(&[]).await.unwrap();
        assert_eq!(world.session("a").freshness, Freshness::ActiveRecent);
    }
}

#[tokio::test]
async fn h5_invalidate_closes_and_refresh_reopens() {
    let world = World::new(&["a"], |_| {});
    assert!(!world.manager.invalidate("a").await.unwrap());
    world.tool(&[]).await.unwrap();
    assert_eq!(world.last_session("a"), "a-session-1");
    assert!(world.manager.invalidate("a").await.unwrap());
    assert_eq!((world.cluster.opened("a"), world.cluster.closed("a")), (1, 1));
    assert_eq!(
        (world.record("a").connection_state, world.session("a")),
        (ConnectionState::Disconnected, NONE)
    );
    assert!(!world.record("a").initialized);
    assert!(world.record("a").capability_snapshot.is_some());

    for opened in [2, 3] {
        world.advance(1);
        let record = world.manager.refresh("a").await.unwrap();
        assert!(record.initialized);
        assert_eq!((world.cluster.opened("a"), world.cluster.closed("a")), (opened, opened - 1));
        assert_eq!(world.last_session("a"), format!("a-session-{opened}"));
        let session = world.session("a");
        assert!(session.active && session.initialized);
        assert_eq!(session.freshness, Freshness::ActiveRecent);
        assert_eq!(record.capability_snapshot.as_ref().unwrap().captured_at, world.manager.now());
    }
}

#[tokio::test]
async fn h6_a_failed_call_ends_the_session_only_by_its_category() {
    for (action, kept) in [
        (Action::Timeout, false),
        (Action::HttpStatus(503), false),
        (Action::Error, false),
        (Action::Disconnect, false),
        (Action::RpcError { code: Some(-32000), message: None }, true),
        (Action::Malformed, true),
    ] {
        let world = World::new(&["a"], |_| {});
        world.cluster.script("a", CALL, [action.clone()]);
        world.tool(&[]).await.unwrap_err();
        let session = world.session("a");
        assert_eq!((session.active, session.initialized), (kept, false), "{action:?}");
        let (state, next) = match kept {
            true => (ConnectionState::Connected, "a-session-1"),
            false => (ConnectionState::Error, "a-session-2"),
        };
        assert_eq!(world.record("a").connection_state, state, "{action:?}");
        world.advance(1);
        world.tool(&[]).await.unwrap();
        assert_eq!(world.last_session("a"), next, "{action:?}");
        assert!(world.session("a").initialized, "{action:?}");
    }
}

#[tokio::test]
async fn h7_a_transport_without_sessions_offers_no_controls() {
    let plain = FnTransport::new(|_, _| Ok(json!({"content": []})));
    let world = World::over(|_| Arc::new(plain), &["a"], |_| {});
    let served = world.tool(&[]).await.unwrap();
    assert_eq!(served.result.as_str(), r#"{"content":[]}"#);
    let (manager, before) = (&world.manager, world.record("a"));
    assert!(!manager.supports_session_controls() && !manager.has_session_controls(&before));
    let none = SessionControlError::NotAvailable { server: "a".into() };
    assert_eq!(manager.session_state("a").unwrap_err(), none);
    assert_eq!(manager.invalidate("a").await.unwrap_err(), none);
    assert_eq!(manager.refresh("a").await.unwrap_err(), none);
    assert!(Arc::ptr_eq(&world.record("a"), &before), "nothing has changed");
    // That there is no such server comes first.
    assert!(matches!(manager.invalidate("x").await, Err(SessionControlError::UnknownServer(_))));
    assert!(matches!(manager.refresh("x").await, Err(SessionControlError::UnknownServer(_))));
}

#[tokio::test]
async fn h8_an_error_on_a_refreshed_session_fails_over() {
    for method in METHODS {
        let world = World::pair(3);
        world.request(&method, &PB).await;
        world.manager.refresh("primary").await.unwrap();
        world.cluster.script("primary", method.as_str(), [Action::Error]);
        let seen = world.request(&method, &PB).await;
        assert_eq!((seen.server(), seen.events.len()), ("backup", 8));
        assert_eq!(seen.phases, "primary IS IY VS VF, backup IS IY VS VY");
        assert_eq!(seen.transitions, "primary H→D");
    }
}

#[tokio::test]
async fn h9_invalidating_one_server_leaves_the_other_alone() {
    let world = World::pair(3);
    world.tool(&PB).await.unwrap();
    world.tool(&BP).await.unwrap();
    let snapshot = world.record("backup").capability_snapshot.clone();
    world.advance(5);
    world.manager.invalidate("primary").await.unwrap();
    let seen = world.request(&Method::ToolsCall, &BP).await;
    assert_eq!((seen.server(), &*seen.traffic), ("backup", "backup tool"));
    assert_eq!(world.last_session("backup"), "backup-session-1");
    assert_eq!(world.record("backup").capability_snapshot, snapshot);
    assert_eq!(world.session("primary"), NONE);
}

#[tokio::test]
async fn h10_refresh_invalidation_and_a_timeout_each_touch_their_own_server() {
    for method in METHODS {
        let world = World::pair(3);
        world.request(&method, &PB).await;
        world.request(&method, &BP).await;
        world.advance(1);
        world.manager.refresh("primary").await.unwrap();
        world.manager.invalidate("backup").await.unwrap();
        world.cluster.script("primary", method.as_str(), [Action::Timeout]);
        world.advance(1);
        let seen = world.request(&method, &PB).await;
        assert_eq!(seen.server(), "backup");
        let call = word(method.as_str());
        assert_eq!(seen.traffic, format!("primary {call}, backup init ready {call}"));
        assert_eq!(world.last_session("backup"), "backup-session-2");
        let captured = |name| world.record(name).capability_snapshot.as_ref().map(|at| at.captured_at);
        assert_eq!((captured("primary"), captured("backup")), (at(1), at(2)));
        assert_eq!(world.session("primary"), NONE);
        assert_eq!(world.session("backup").freshness, Freshness::ActiveRecent);
    }
}

#[tokio::test]
async fn h11_a_replaced_url_is_called_on_a_session_of_its_own() {
    let world = World::new(&["a"], |_| {});
    world.tool(&[]).await.unwrap();
    world.fail("a");
    let mut moved = definition("a");
    moved.endpoint = definition("elsewhere").endpoint;
    let record = world.manager.register(moved).unwrap();
    assert_eq!((record.status, record.retry_count, record.initialized), (Status::Healthy, 0, false));
    world.tool(&[]).await.unwrap();
    assert_eq!(world.cluster.traffic().last().unwrap().session, "elsewhere-session-1");
    while world.cluster.closed("a") == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn h12_a_failure_keeps_its_category_and_text() {
    for (action, category, text) in [
        (Action::Timeout, "network_timeout", "timed out after 30s"),
        (Action::HttpStatus(503), "http_status", "http status 503"),
        (Action::Malformed, "invalid_payload", "not valid JSON"),
    ] {
        for key in ["initialize", CALL] {
            let world = World::new(&["a"], |_| {});
            world.cluster.script("a", key, [action.clone()]);
            let seen = world.request(&Method::ToolsCall, &[]).await;
            let failure = seen.error().attempts.last().unwrap().failure.clone().unwrap();
            assert_eq!((failure.category.as_str(), &*failure.text), (category, text), "{key}");
            let record = world.record("a");
            assert_eq!(record.last_error_category, Some(failure.category), "{key}");
            assert_eq!(record.last_error.as_deref(), Some(text), "{key}");
        }
    }
}
