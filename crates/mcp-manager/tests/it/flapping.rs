//! Contract §9.7: scripts, toggles, flapping, isolation per server and per method.

use mcp_protocol::Method;
use mcp_registry::{Gate, Status};
use mcp_testkit::assert::{assert_subsequence, call_order};
use mcp_testkit::{Action, Toggle};

use crate::support::{BP, METHODS, PB, World, at, spell, word};

const INIT: &str = "initialize";
const TOOL: &str = "tools/call";
const READ: &str = "resources/read";

fn timeout_of(method: &Method) -> Toggle {
    if *method == Method::ToolsCall { Toggle::TimeoutToolCalls } else { Toggle::TimeoutResourceReads }
}

/// The second attempt went to `backup`, because `primary` timed out.
fn assert_timed_out(world: &World) {
    let primary = world.record("primary");
    assert_eq!((primary.status, primary.retry_count), (Status::Degraded, 1));
    assert_eq!(primary.last_error_category.unwrap().as_str(), "network_timeout");
}

#[tokio::test]
async fn f1_a_script_is_followed_in_order_and_then_forgotten() {
    for key in [INIT, TOOL, READ] {
        let world = World::new(&["primary"], |policy| policy.max_backoff = std::time::Duration::ZERO);
        world.manager.initialize("primary", false).await.unwrap();
        world.cluster.script("primary", key, [Action::Ok, Action::Timeout, Action::Error]);
        let mut seen = Vec::new();
        for left in [2, 1, 0, 0] {
            match key {
                INIT => drop(world.manager.initialize("primary", true).await),
                TOOL => drop(world.tool(&[]).await),
                _ => drop(world.read(&[]).await),
            }
            seen.push(world.record("primary").last_error_category.map(|category| category.as_str()));
            assert_eq!(world.cluster.scripted("primary", key), left, "{key}");
        }
        assert_eq!(seen, [None, Some("network_timeout"), Some("transport_error"), None], "{key}");
    }
}

#[tokio::test]
async fn f3_consuming_one_script_leaves_the_others_alone() {
    let keys = [("primary", INIT), ("primary", TOOL), ("primary", READ), ("backup", INIT), ("backup", TOOL)];
    for order in permutations(&keys) {
        let world = World::pair(3);
        world.manager.initialize_all(false).await;
        for (server, method) in keys {
            world.cluster.script(server, method, [Action::Ok]);
        }
        for (done, (server, method)) in order.iter().enumerate() {
            match *method {
                INIT => drop(world.manager.initialize(server, true).await.unwrap()),
                TOOL => assert_eq!(world.tool(&[server]).await.unwrap().server.as_str(), *server),
                _ => assert_eq!(world.read(&[server]).await.unwrap().server.as_str(), *server),
            }
            for (at, (server, method)) in order.iter().enumerate() {
                let left = usize::from(at > done);
                assert_eq!(world.cluster.scripted(server, method), left, "{order:?} after {done}");
            }
        }
    }
}

fn permutations<T: Copy>(items: &[T]) -> Vec<Vec<T>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for at in 0..items.len() {
        let mut rest = items.to_vec();
        let first = rest.remove(at);
        all.extend(permutations(&rest).into_iter().map(|tail| [vec![first], tail].concat()));
    }
    all
}

#[tokio::test]
async fn f4_f8_a_script_beats_the_toggle_once() {
    for method in METHODS {
        for (key, toggle) in [(method.as_str(), timeout_of(&method)), (INIT, Toggle::TimeoutInitialize)] {
            let world = World::pair(3);
            world.cluster.toggle("primary", toggle, true);
            world.cluster.script("primary", key, [Action::Ok]);
            let first = world.request(&method, &PB).await;
            assert_eq!((first.server(), &*first.transitions), ("primary", ""), "{key}");
            let failed = if key == INIT {
                world.manager.invalidate("primary").await.unwrap();
                "IS IF"
            } else {
                "IS IY VS VF"
            };
            let second = world.request(&method, &PB).await;
            assert_eq!(second.server(), "backup", "{key}");
            assert_eq!(second.phases, format!("primary {failed}, backup IS IY VS VY"));
            assert_eq!(second.transitions, "primary H→D");
            assert_timed_out(&world);
        }
    }
}

#[tokio::test]
async fn f5_servers_flap_each_in_its_own_method() {
    let world = World::pair(3);
    world.cluster.script("primary", TOOL, [Action::Timeout, Action::Ok]);
    world.cluster.script("backup", READ, [Action::Timeout, Action::Ok]);

    let first = world.request(&Method::ToolsCall, &PB).await;
    assert_eq!(first.server(), "backup");
    assert_eq!(first.phases, "primary IS IY VS VF, backup IS IY VS VY");
    assert_eq!(first.transitions, "primary H→D");

    world.advance(1);
    let second = world.request(&Method::ResourcesRead, &BP).await;
    assert_eq!(second.server(), "primary");
    assert_eq!(second.phases, "backup IS IY VS VF, primary IS IY VS VY");
    assert_eq!(second.transitions, "backup H→D, primary D→H");

    let third = world.request(&Method::ToolsCall, &PB).await;
    assert_eq!((third.server(), &*third.transitions), ("primary", ""));

    world.fail("primary");
    world.advance(1);
    let fourth = world.request(&Method::ResourcesRead, &["backup"]).await;
    assert_eq!((fourth.server(), &*fourth.transitions), ("backup", "backup D→H"));
    assert_eq!(world.status("primary"), Status::Degraded);
}

#[tokio::test]
async fn f6_what_the_servers_see_follows_the_phases() {
    let world = World::pair(3);
    world.cluster.script("primary", TOOL, [Action::Timeout]);
    world.cluster.script("backup", READ, [Action::Timeout]);
    let first = world.request(&Method::ToolsCall, &PB).await;
    world.advance(1);
    let second = world.request(&Method::ResourcesRead, &BP).await;
    assert_eq!((first.server(), second.server()), ("backup", "primary"));

    let observed: Vec<_> = world
        .cluster
        .calls()
        .into_iter()
        .filter(|(_, method)| !method.starts_with("notifications/"))
        .collect();
    let spelled = spell(observed.iter().map(|(server, method)| (server.clone(), word(method).to_owned())));
    assert_eq!(spelled, "primary init tool, backup init tool read, primary init read");
    assert_subsequence(&observed, &[call_order(&first.events), call_order(&second.events)].concat());
}

#[tokio::test]
async fn f7_a_scripted_error_fails_over_in_either_stage() {
    for method in METHODS {
        for (key, phases, failed) in [
            (INIT, "primary IS IF, backup IS IY VS VY", 1),
            (method.as_str(), "primary IS IY VS VF, backup IS IY VS VY", 3),
        ] {
            let world = World::pair(2);
            world.cluster.script("primary", key, [Action::Error]);
            let seen = world.request(&method, &PB).await;
            assert_eq!((seen.server(), &*seen.phases), ("backup", phases));
            assert_eq!(seen.errors(), [(failed, "transport_error")]);
            assert_eq!(seen.transitions, "primary H→D");
            assert_eq!(world.standing("primary"), (Status::Degraded, 1));
        }
    }
}

#[tokio::test]
async fn f9_a_scripted_timeout_after_a_success_fails_over() {
    for method in METHODS {
        let world = World::pair(3);
        world.cluster.toggle("primary", Toggle::TimeoutInitialize, true);
        world.cluster.script("primary", INIT, [Action::Ok]);
        let first = world.request(&method, &PB).await;
        assert_eq!((first.server(), &*first.transitions), ("primary", ""));
        world.manager.invalidate("primary").await.unwrap();
        world.cluster.script("primary", INIT, [Action::Timeout]);
        let second = world.request(&method, &PB).await;
        assert_eq!(second.server(), "backup");
        assert_eq!(second.phases, "primary IS IF, backup IS IY VS VY");
        assert_eq!((&*second.transitions, world.cluster.scripted("primary", INIT)), ("primary H→D", 0));
        assert_timed_out(&world);
    }
}

#[tokio::test]
async fn f10_each_request_takes_only_the_scripts_it_reaches() {
    let world = World::pair(3);
    let keys = [("primary", INIT), ("backup", INIT), ("primary", TOOL), ("primary", READ), ("backup", READ)];
    let actions = [Action::Ok, Action::Ok, Action::Error, Action::Ok, Action::Timeout];
    for ((server, method), action) in keys.into_iter().zip(actions) {
        world.cluster.script(server, method, [action]);
    }
    let left = || keys.map(|(server, method)| world.cluster.scripted(server, method));

    assert_eq!(world.request(&Method::ToolsCall, &PB).await.server(), "backup");
    assert_eq!(left(), [0, 0, 0, 1, 1]);
    world.manager.mark_healthy("primary").unwrap();
    assert_eq!(world.request(&Method::ResourcesRead, &PB).await.server(), "primary");
    assert_eq!(left(), [0, 0, 0, 0, 1]);
    assert_eq!(world.request(&Method::ResourcesRead, &BP).await.server(), "primary");
    assert_eq!(left(), [0; 5]);
}

#[tokio::test]
async fn f11_a_script_waits_for_its_method() {
    let world = World::pair(3);
    world.cluster.toggle("primary", Toggle::TimeoutInitialize, true);
    world.cluster.script("primary", INIT, [Action::Ok]);
    world.cluster.script("primary", TOOL, [Action::Ok]);
    let left = || world.cluster.scripted("primary", TOOL);

    assert_eq!(world.request(&Method::ResourcesRead, &PB).await.server(), "primary");
    assert_eq!(left(), 1);
    world.manager.invalidate("primary").await.unwrap();
    assert_eq!(world.request(&Method::ResourcesRead, &PB).await.server(), "backup");
    assert_eq!(left(), 1);
    world.manager.mark_healthy("primary").unwrap();
    world.cluster.toggle("primary", Toggle::TimeoutInitialize, false);
    assert_eq!(world.request(&Method::ToolsCall, &PB).await.server(), "primary");
    assert_eq!(left(), 0);
}

#[tokio::test]
async fn f12_a_handshake_lasts_until_its_session_is_invalidated() {
    for method in METHODS {
        let world = World::pair(3);
        let call = word(method.as_str());
        let mut sessions = Vec::new();
        for traffic in ["primary init ready CALL", "primary CALL", "primary init ready CALL"] {
            if sessions.len() == 2 {
                world.manager.invalidate("primary").await.unwrap();
            }
            let seen = world.request(&method, &PB).await;
            assert_eq!(seen.traffic, traffic.replace("CALL", call));
            sessions.push(world.last_session("primary"));
        }
        assert_eq!(sessions, ["primary-session-1", "primary-session-1", "primary-session-2"]);
    }
}

#[tokio::test]
async fn f13_staleness_and_degradation_cost_one_handshake() {
    for method in METHODS {
        for (stale, transitions) in [(true, ""), (false, "primary D→H")] {
            // Without a backoff the window of a degraded server is open at once.
            let world = World::new(&["primary"], |policy| policy.max_backoff = std::time::Duration::ZERO);
            world.request(&method, &[]).await;
            if stale {
                world.advance(300);
            } else {
                world.fail("primary");
            }
            let call = word(method.as_str());
            let seen = world.request(&method, &[]).await;
            assert_eq!(seen.traffic, format!("primary init ready {call}"));
            assert_eq!((&*seen.phases, &*seen.transitions), ("primary IS IY VS VY", transitions));
            assert_eq!(world.request(&method, &[]).await.traffic, format!("primary {call}"));
        }
    }
}

/// A server that is degraded although its handshake is in force and its window is open. No recorded
/// failure leaves a record like that; the gate must not rely on it.
#[tokio::test]
async fn f13_a_degraded_record_is_never_used_without_a_handshake() {
    let world = World::pair(3);
    world.tool(&PB).await.unwrap();
    let mut record = (*world.record("primary")).clone();
    assert_eq!(Gate::of(&record, world.manager.now()), Gate::Cached);
    record.status = Status::Degraded;
    assert_eq!((record.initialized, record.next_retry_at), (true, None));
    assert_eq!(Gate::of(&record, world.manager.now()), Gate::Forced);
}

#[tokio::test]
async fn f14_forced_expiry_and_degradation_show_in_traffic_and_transitions() {
    for (forced, traffic, last) in [
        (false, "primary init ready tool tool read read", ""),
        (true, "primary init ready tool init ready tool read init ready read", "primary D→H"),
    ] {
        let world = World::new(&["primary"], |_| {});
        let calls = [Method::ToolsCall, Method::ToolsCall, Method::ResourcesRead, Method::ResourcesRead];
        let mut transitions = Vec::new();
        for (number, method) in (1..).zip(&calls) {
            match number {
                2 if forced => world.advance(300),
                4 if forced => {
                    world.fail("primary");
                    world.advance(1);
                }
                _ => {}
            }
            transitions.push(world.request(method, &["primary"]).await.transitions);
        }
        assert_eq!(world.traffic(0), traffic);
        assert_eq!(transitions, ["", "", "", last]);
        assert_eq!(world.record("primary").initialization_expires_at, at(if forced { 601 } else { 300 }));
    }
}
