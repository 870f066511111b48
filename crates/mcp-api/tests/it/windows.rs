//! Contract §9.6 over HTTP: retry windows and re-entry, through `/invoke/tool` and `/invoke/resource`.

use mcp_testkit::Action;
use serde_json::json;

use crate::support::{BP, METHODS, PB, World, at, attempts, word};

const INIT: &str = "initialize";

impl World {
    async fn status(&self, name: &str) -> String {
        self.server(name).await["status"].as_str().unwrap().to_owned()
    }

    async fn fail_times(&self, name: &str, times: u64) {
        for _ in 0..times {
            self.fail(name).await;
        }
    }
}

#[tokio::test]
async fn e1_e3_a_failed_server_is_skipped_during_its_window_and_comes_back() {
    for method in METHODS {
        for (unreachable_after, letter) in [(2, 'D'), (3, 'D'), (1, 'X')] {
            let world = World::pair(unreachable_after);
            world.cluster.script("primary", method, [Action::Timeout, Action::Ok]);
            let first = world.request(method, &PB).await;
            assert_eq!(
                (&*first.server(), &*first.phases),
                ("backup", "primary IS IY VS VF, backup IS IY VS VY")
            );
            assert_eq!(first.transitions, format!("primary H→{letter}"));
            let second = world.request(method, &PB).await;
            assert_eq!((&*second.server(), &*second.phases), ("backup", "backup IS IY VS VY"));
            assert_eq!((&*second.transitions, second.traffic), ("", format!("backup {}", word(method))));
            world.advance(1);
            world.fail("backup").await;
            let third = world.request(method, &PB).await;
            assert_eq!((&*third.server(), &*third.phases), ("primary", "primary IS IY VS VY"));
            assert_eq!(third.transitions, format!("primary {letter}→H"));
            assert_eq!(third.traffic, format!("primary init ready {}", word(method)));
        }
    }
}

#[tokio::test]
async fn e2_failed_handshakes_climb_to_unreachable_and_one_success_resets() {
    for method in METHODS {
        let world = World::pair(2);
        world.cluster.script("primary", INIT, [Action::Timeout, Action::Timeout, Action::Ok]);
        let served = |server: &str, transitions: &str, traffic: &str| {
            (server.to_owned(), transitions.to_owned(), traffic.replace("CALL", &word(method)))
        };
        let request = async |preferred: &[&str]| {
            let seen = world.request(method, preferred).await;
            (seen.server(), seen.transitions, seen.traffic)
        };
        assert_eq!(request(&PB).await, served("backup", "primary H→D", "backup init ready CALL"));
        assert_eq!(request(&PB).await, served("backup", "", "backup CALL"));

        world.advance(1);
        world.fail("backup").await;
        let third = world.request(method, &["primary"]).await;
        assert_eq!((third.status, &*third.transitions, &*third.traffic), (503, "primary D→X", ""));
        assert_eq!(attempts(&third.answer), [("primary", "initialize", Some("network_timeout"))]);
        let primary = world.server("primary").await;
        let seen = json!([primary["status"], primary["retry_count"], primary["next_retry_at"]]);
        assert_eq!(seen, json!(["unreachable", 2, at(3)]));

        world.advance(1);
        assert_eq!(request(&PB).await, served("backup", "backup D→H", "backup init ready CALL"));
        world.advance(2);
        world.fail("backup").await;
        assert_eq!(request(&BP).await, served("primary", "primary X→H", "primary init ready CALL"));
    }
}

#[tokio::test]
async fn e4_a_preferred_server_is_skipped_while_its_window_is_closed() {
    for method in METHODS {
        for (of_primary, of_backup) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            let world = World::pair(2);
            world.fail_times("primary", of_primary).await;
            world.advance(2);
            world.fail_times("backup", of_backup).await;
            let expected = if of_backup == 1 { "degraded" } else { "unreachable" };
            assert_eq!(world.status("backup").await, expected);
            let seen = world.request(method, &BP).await;
            assert_eq!((&*seen.server(), &*seen.phases), ("primary", "primary IS IY VS VY"));
        }
    }
}

#[tokio::test]
async fn e5_a_degraded_server_hands_shakes_again_before_it_serves() {
    for method in METHODS {
        let world = World::pair(2);
        world.request(method, &BP).await;
        world.fail_times("primary", 2).await;
        world.fail("backup").await;
        world.advance(1);
        let seen = world.request(method, &PB).await;
        assert_eq!((&*seen.server(), &*seen.transitions), ("backup", "backup D→H"));
        assert_eq!(seen.traffic, format!("backup init ready {}", word(method)));
        assert_eq!(world.status("primary").await, "unreachable");
    }
}

#[tokio::test]
async fn e6_with_every_window_closed_nothing_happens_until_one_opens() {
    for method in METHODS {
        for failures in [1, 2] {
            let world = World::pair(2);
            // Its window of 4 s outlasts those of `backup`.
            world.fail_times("primary", 3).await;
            world.fail_times("backup", failures).await;
            let changes = world.items("events").await;
            let seen = world.request(method, &PB).await;
            assert_eq!((seen.status, &seen.answer["detail"]["code"]), (503, &json!("no_candidates")));
            assert_eq!((&seen.answer["detail"]["method"], attempts(&seen.answer)), (&json!(method), vec![]));
            assert!(world.cluster.calls().is_empty());
            assert_eq!((world.items("events").await, &*seen.phases), (changes, ""));

            world.advance(failures);
            let seen = world.request(method, &PB).await;
            assert_eq!((&*seen.server(), &*seen.phases), ("backup", "backup IS IY VS VY"));
            assert_eq!(seen.traffic, format!("backup init ready {}", word(method)));
        }
    }
}

#[tokio::test]
async fn e7_reopened_windows_are_tried_in_the_order_of_preference() {
    for method in METHODS {
        for order in [PB, BP] {
            let [first, second] = order;
            let world = World::pair(1);
            world.fail("primary").await;
            world.fail("backup").await;
            world.cluster.script(first, INIT, [Action::Timeout]);
            world.cluster.script(second, INIT, [Action::Ok]);
            let closed = world.request(method, &order).await;
            assert_eq!((closed.status, &*closed.phases, &*closed.traffic), (503, "", ""));
            assert_eq!(world.items("events").await.len(), 2, "the two marks");
            world.advance(1);
            let reopened = world.request(method, &order).await;
            assert_eq!(reopened.server(), second);
            assert_eq!(reopened.phases, format!("{first} IS IF, {second} IS IY VS VY"));
            assert_eq!(reopened.transitions, format!("{second} X→H"), "the first was unreachable already");
            assert_eq!(reopened.traffic, format!("{second} init ready {}", word(method)));
        }
    }
}

#[tokio::test]
async fn e8_the_degraded_tier_comes_before_the_unreachable_one() {
    for method in METHODS {
        let world = World::pair(3);
        world.manage("primary", "mark", r#"{"as":"unavailable"}"#).await;
        world.fail("backup").await;
        world.advance(60);
        assert_eq!(world.request(method, &PB).await.phases, "backup IS IY VS VY");
    }
}
