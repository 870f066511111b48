//! What is subscribed to on the wire.

use std::time::Duration;

use mcp_clients::Interest;
use mcp_testkit::Action;

use crate::support::{World, http, settle};

fn resource(uri: &str) -> Interest {
    Interest { uris: [uri.into()].into(), ..Interest::default() }
}

fn count(world: &World, method: &str) -> usize {
    world.cluster.calls().iter().filter(|(_, called)| called == method).count()
}

#[tokio::test(start_paused = true)]
async fn each_resource_is_subscribed_to_once_and_let_go_with_its_last_user() {
    let world = World::new(http("p"));
    let first = world.client.subscribe(resource("a:1"));
    world.client.connect().await;
    settle().await;
    let second = world.client.subscribe(resource("a:1"));
    let third = world.client.subscribe(resource("a:2"));
    settle().await;
    assert_eq!(count(&world, "resources/subscribe"), 2);
    drop(first);
    settle().await;
    assert_eq!(count(&world, "resources/unsubscribe"), 0, "there is another user");
    drop((second, third));
    settle().await;
    assert_eq!(count(&world, "resources/unsubscribe"), 2);
}

#[tokio::test(start_paused = true)]
async fn what_the_server_refuses_spoils_nothing_else_and_is_asked_for_on_the_next_connection() {
    let world = World::new(http("p"));
    world.client.connect().await;
    let refused = Action::RpcError { code: Some(-32002), message: Some("no such resource".into()) };
    world.cluster.script("p", "resources/subscribe", [refused]);
    let _all = [world.client.subscribe(resource("a:1")), world.client.subscribe(resource("a:2"))];
    settle().await;
    assert_eq!(count(&world, "resources/subscribe"), 2);
    let _more = world.client.subscribe(resource("a:3"));
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(count(&world, "resources/subscribe"), 3, "no means no");
    world.client.reconnect().await;
    settle().await;
    assert_eq!(count(&world, "resources/subscribe"), 6);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_got_no_answer_is_asked_for_again() {
    let world = World::new(http("p"));
    world.client.connect().await;
    world.cluster.script("p", "resources/subscribe", [Action::Timeout, Action::Timeout]);
    let _one = world.client.subscribe(resource("a:1"));
    settle().await;
    for asked in 1..=3 {
        assert_eq!(count(&world, "resources/subscribe"), asked);
        tokio::time::sleep(Duration::from_secs(31)).await;
    }
    assert_eq!(count(&world, "resources/subscribe"), 3, "then it was agreed to");
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_missed_is_told_once_to_those_who_want_it() {
    let world = World::new(http("p"));
    let lists = Interest { tools: true, ..Interest::default() };
    let (mut tools, mut one) = (world.client.subscribe(lists), world.client.subscribe(resource("a:1")));
    let mut nothing = world.client.subscribe(Interest::default());
    world.client.connect().await;
    settle().await;
    let quiet = tokio::time::timeout(Duration::from_secs(1), tools.next());
    assert!(quiet.await.is_err(), "nothing was missed before the first connection");
    for _ in 0..2 {
        world.client.reconnect().await;
        let told = tools.next().await.unwrap();
        assert_eq!(told.method.as_str(), "notifications/tools/list_changed");
        let told = one.next().await.unwrap();
        assert_eq!(told.method.as_str(), "notifications/resources/updated");
        assert_eq!(told.params.unwrap().as_str(), r#"{"uri":"a:1"}"#);
        for quiet in [&mut tools, &mut one, &mut nothing] {
            assert!(tokio::time::timeout(Duration::from_secs(1), quiet.next()).await.is_err(), "once");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_holds_up_no_other_resource_and_no_new_wish() {
    let world = World::new(http("p"));
    let lists = Interest { tools: true, ..Interest::default() };
    let (mut tools, mut stuck) = (world.client.subscribe(lists), world.client.subscribe(resource("a:1")));
    let mut fine = world.client.subscribe(resource("a:2"));
    world.client.connect().await;
    settle().await;
    assert_eq!(count(&world, "resources/subscribe"), 2);

    world.cluster.script("p", "resources/subscribe", [Action::Hang]);
    let began = tokio::time::Instant::now();
    world.client.reconnect().await;
    tools.next().await.unwrap();
    fine.next().await.unwrap();
    let _new = world.client.subscribe(resource("a:3"));
    settle().await;
    assert_eq!(count(&world, "resources/subscribe"), 5);
    assert!(began.elapsed() < Duration::from_secs(1));
    stuck.next().await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 30, "told when the time for an answer is up");
    stuck.next().await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 60, "and when it was agreed to after all");
    assert_eq!(count(&world, "resources/subscribe"), 6);
}

#[tokio::test(start_paused = true)]
async fn only_some_subscriptions_are_asked_for_at_the_same_time() {
    let world = World::new(http("p"));
    world.cluster.script("p", "resources/subscribe", vec![Action::Hang; 20]);
    let _all: Vec<_> = (0..20).map(|nth| world.client.subscribe(resource(&format!("a:{nth}")))).collect();
    world.client.connect().await;
    // In the end the rest and, since they get answers again, the first ones once more.
    for asked in [8, 16, 20 + 8] {
        settle().await;
        assert_eq!(count(&world, "resources/subscribe"), asked);
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
}
