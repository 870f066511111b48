//! Contract §9.6: retry windows and re-entry, with `tools/call` and with `resources/read`.

use mcp_registry::{ConnectionState, FailureCode, Stage, Status};
use mcp_testkit::Action;

use crate::support::{BP, METHODS, PB, World, at, trace, word};

const INIT: &str = "initialize";

#[tokio::test]
async fn e1_e3_a_failed_server_is_skipped_during_its_window_and_comes_back() {
    for method in METHODS {
        let word = word(method.as_str());
        for (unreachable_after, letter) in [(2, 'D'), (3, 'D'), (1, 'X')] {
            let world = World::pair(unreachable_after);
            world.cluster.script("primary", method.as_str(), [Action::Timeout, Action::Ok]);

            let first = world.request(&method, &PB).await;
            assert_eq!(first.server(), "backup");
            assert_eq!(first.phases, "primary IS IY VS VF, backup IS IY VS VY");
            assert_eq!(first.transitions, format!("primary H→{letter}"));

            let second = world.request(&method, &PB).await;
            assert_eq!(second.server(), "backup");
            assert_eq!(second.phases, "backup IS IY VS VY");
            assert_eq!(second.transitions, "");
            assert_eq!(second.traffic, format!("backup {word}"));

            world.advance(1);
            world.fail("backup");
            let third = world.request(&method, &PB).await;
            assert_eq!(third.server(), "primary");
            assert_eq!(third.phases, "primary IS IY VS VY");
            assert_eq!(third.transitions, format!("primary {letter}→H"));
            assert_eq!(third.traffic, format!("primary init ready {word}"));
        }
    }
}

#[tokio::test]
async fn e2_failed_handshakes_climb_to_unreachable_and_one_success_resets() {
    for method in METHODS {
        let call = word(method.as_str());
        let world = World::pair(2);
        world.cluster.script("primary", INIT, [Action::Timeout, Action::Timeout, Action::Ok]);

        let first = world.request(&method, &PB).await;
        assert_eq!((first.server(), &*first.transitions), ("backup", "primary H→D"));
        assert_eq!(first.traffic, format!("backup init ready {call}"));

        let second = world.request(&method, &PB).await;
        assert_eq!((second.server(), &*second.transitions), ("backup", ""));
        assert_eq!(second.traffic, format!("backup {call}"));

        world.advance(1);
        world.fail("backup");
        let third = world.request(&method, &["primary"]).await;
        let tried = trace(third.error());
        assert_eq!(tried, [("primary".into(), Stage::Initialize, Some("network_timeout"))]);
        assert_eq!((&*third.transitions, &*third.traffic), ("primary D→X", ""));
        let primary = world.record("primary");
        assert_eq!((primary.status, primary.retry_count), (Status::Unreachable, 2));
        assert_eq!(primary.next_retry_at, at(3));
        assert_eq!(primary.connection_state, ConnectionState::Error);

        world.advance(1);
        let fourth = world.request(&method, &PB).await;
        assert_eq!((fourth.server(), &*fourth.transitions), ("backup", "backup D→H"));
        assert_eq!(fourth.traffic, format!("backup init ready {call}"));

        world.advance(2);
        world.fail("backup");
        let fifth = world.request(&method, &BP).await;
        assert_eq!((fifth.server(), &*fifth.transitions), ("primary", "primary X→H"));
        assert_eq!(fifth.traffic, format!("primary init ready {call}"));
    }
}

#[tokio::test]
async fn e4_a_preferred_server_is_skipped_while_its_window_is_closed() {
    for method in METHODS {
        for (of_primary, of_backup) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            let world = World::pair(2);
            let fail = |name, times| (0..times).for_each(|_| world.fail(name));
            fail("primary", of_primary);
            world.advance(2);
            fail("backup", of_backup);
            let standing = |failures| if failures == 1 { Status::Degraded } else { Status::Unreachable };
            assert_eq!(
                [world.status("primary"), world.status("backup")],
                [of_primary, of_backup].map(standing)
            );
            let seen = world.request(&method, &BP).await;
            assert_eq!((seen.server(), &*seen.phases), ("primary", "primary IS IY VS VY"));
            assert_eq!(world.status("backup"), standing(of_backup));
        }
    }
}

#[tokio::test]
async fn e5_a_degraded_server_hands_shakes_again_before_it_serves() {
    for method in METHODS {
        let world = World::pair(2);
        world.request(&method, &BP).await;
        world.fail("primary");
        world.fail("primary");
        world.fail("backup");
        world.advance(1);
        let seen = world.request(&method, &PB).await;
        assert_eq!((seen.server(), &*seen.transitions), ("backup", "backup D→H"));
        assert_eq!(seen.traffic, format!("backup init ready {}", word(method.as_str())));
        assert_eq!(world.status("primary"), Status::Unreachable);
    }
}

#[tokio::test]
async fn e6_with_every_window_closed_nothing_happens_until_one_opens() {
    for method in METHODS {
        for failures in [1, 2] {
            let world = World::pair(2);
            // Its window of 4 s outlasts those of `backup`.
            (0..3).for_each(|_| world.fail("primary"));
            (0..failures).for_each(|_| world.fail("backup"));
            let changes = world.transitions(0);
            let seen = world.request(&method, &PB).await;
            assert_eq!((seen.error().code, seen.error().attempts.len()), (FailureCode::NoCandidates, 0));
            assert_eq!(
                seen.error().message,
                format!(
                    "no server is reachable: every one that could serve failed lately; the next retry is backup in {failures}.0s"
                )
            );
            assert_eq!((world.traffic(0), world.phases(0)), (String::new(), String::new()));
            assert_eq!(world.transitions(0), changes);

            world.advance(failures);
            let seen = world.request(&method, &PB).await;
            assert_eq!((seen.server(), &*seen.phases), ("backup", "backup IS IY VS VY"));
            assert_eq!(seen.traffic, format!("backup init ready {}", word(method.as_str())));
        }
    }
}

#[tokio::test]
async fn e7_reopened_windows_are_tried_in_the_order_of_preference() {
    for method in METHODS {
        for order in [PB, BP] {
            let [first, second] = order;
            let world = World::pair(1);
            world.fail("primary");
            world.fail("backup");
            world.cluster.script(first, INIT, [Action::Timeout]);
            world.cluster.script(second, INIT, [Action::Ok]);
            let closed = world.request(&method, &order).await;
            assert_eq!(closed.error().code, FailureCode::NoCandidates);
            assert_eq!((&*closed.phases, &*closed.traffic), ("", ""));
            assert_eq!(world.transitions(0), "primary H→X, backup H→X");

            world.advance(1);
            let reopened = world.request(&method, &order).await;
            assert_eq!(reopened.server(), second);
            assert_eq!(reopened.phases, format!("{first} IS IF, {second} IS IY VS VY"));
            assert_eq!(reopened.transitions, format!("{second} X→H"), "the first was unreachable already");
            assert_eq!(reopened.traffic, format!("{second} init ready {}", word(method.as_str())));
        }
    }
}

#[tokio::test]
async fn e8_the_degraded_tier_comes_before_the_unreachable_one() {
    for method in METHODS {
        let world = World::pair(3);
        world.manager.mark_unavailable("primary", "gone").unwrap();
        world.fail("backup");
        world.advance(60);
        assert_eq!(world.request(&method, &PB).await.phases, "backup IS IY VS VY");
        // It comes after it all the same.
        world.fail("backup");
        world.advance(60);
        world.cluster.script("backup", INIT, [Action::Timeout]);
        let seen = world.request(&method, &PB).await;
        assert_eq!(seen.phases, "backup IS IF, primary IS IY VS VY");
    }
}
