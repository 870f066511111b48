//! Many callers at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use serde_json::json;

use super::configuration::{Configuration, demo, demo_over_http};
use super::running::{Gateway, text, trace};
use crate::wait;

const CALLERS: usize = 100;

/// Each caller goes on until the second server has answered it, so that the first one ends under load. No call
/// fails, and nobody gets an answer that is somebody else's.
#[tokio::test]
async fn no_call_is_lost_or_mixed_up_when_the_preferred_server_is_killed() {
    let first = demo_over_http(&[]).await;
    let configuration = Configuration::left_alone().http("first", &first.url(), "priority = 90").stdio(
        "second",
        &demo(&[]),
        "",
    );
    let gateway = Gateway::configured(&configuration).await;
    gateway.all_healthy().await;
    let by_first = AtomicUsize::new(0);
    let moved_on = AtomicUsize::new(0);

    let caller = async |caller: usize| {
        for round in 0.. {
            let unique = format!("caller {caller}, round {round}");
            let call = json!({ "tool_name": "echo", "arguments": {"message": unique} });
            let result = gateway.invoke(call).await.unwrap_or_else(|failure| panic!("{unique}: {failure:?}"));
            assert_eq!(text(&result), unique, "{result:?}");
            let attempts = trace(&result.attempts);
            assert!(attempts.last().is_some_and(|last| last.0 == result.server), "{result:?}");
            moved_on.fetch_add(usize::from(attempts.len() > 2), Ordering::Relaxed);
            if result.server == "second" {
                break;
            }
            by_first.fetch_add(1, Ordering::Relaxed);
        }
    };
    let kill = async {
        let answered = async || (by_first.load(Ordering::Relaxed) >= CALLERS).then_some(());
        wait::until("the first server to have answered a hundred calls", answered).await;
        first.kill().await;
    };
    tokio::join!(join_all((0..CALLERS).map(caller)), kill);
    assert!(moved_on.load(Ordering::Relaxed) > 0, "nobody was under way when the server ended");
    gateway.stop().await;
}
