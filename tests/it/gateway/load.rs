//! Many callers at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::future::join_all;
use mcp_api_types::RegistryStats;
use rustix::process::Signal;
use serde_json::json;

use super::configuration::{Configuration, demo, demo_over_http, demo_over_sse};
use super::process::Process;
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

/// Three transports behind one gateway, each preferred by some callers. One server is killed for good, one
/// crashes and is started again, one is replaced, all under load: no call fails, and nobody gets an answer that
/// is somebody else's.
#[tokio::test]
async fn j13_three_transports_serve_at_once_while_servers_end_and_are_switched() {
    const NAMES: [&str; 3] = ["http", "sse", "stdio"];
    let (http, sse, switched) =
        (demo_over_http(&[]).await, demo_over_sse(&[]).await, demo_over_sse(&[]).await);
    let with = |sse: &url::Url| {
        Configuration::left_alone()
            .http("http", &http.url(), "")
            .http("sse", sse, "transport = \"sse\"")
            .stdio("stdio", &demo(&[]), "")
    };
    let configuration = with(&sse.url());
    let next = with(&switched.url());
    let gateway = Gateway::configured(&configuration).await;
    let servers = gateway.all_healthy().await;
    let pid = servers.iter().find_map(|server| server.details.get("pid")).unwrap().parse().unwrap();

    let served = [const { AtomicUsize::new(0) }; NAMES.len()];
    let count = |name: &str| &served[NAMES.iter().position(|known| *known == name).unwrap()];
    let over = AtomicBool::new(false);
    let caller = async |caller: usize| {
        for round in 0.. {
            if over.load(Ordering::Relaxed) {
                return round;
            }
            let unique = format!("caller {caller}, round {round}");
            let call = json!({
                "tool_name": "echo", "arguments": {"message": unique}, "idempotent": true,
                "preferred_servers": [NAMES[caller % NAMES.len()]],
            });
            let result = gateway.invoke(call).await.unwrap_or_else(|failure| panic!("{unique}: {failure:?}"));
            assert_eq!(text(&result), unique, "{result:?}");
            count(&result.server).fetch_add(1, Ordering::Relaxed);
        }
        unreachable!("there is no last round")
    };
    let more = async |name: &str| {
        let before = count(name).load(Ordering::Relaxed);
        let answered = async || (count(name).load(Ordering::Relaxed) > before + 20).then_some(());
        wait::until(&format!("{name} to answer"), answered).await;
    };
    let operate = async {
        for name in NAMES {
            more(name).await;
        }
        Process::of(pid).signal(Signal::KILL);
        let back = |server: &mcp_api_types::Server| {
            server.initialized && server.details.get("pid").is_some_and(|now| *now != pid.to_string())
        };
        gateway.until("stdio", "started again", back).await;
        more("stdio").await;
        gateway.home().write("mcp-gateway.toml", next.text());
        gateway.logged("why=\"the file changed\"").await;
        more("sse").await;
        // Nobody asks the old one any more.
        sse.kill().await;
        more("sse").await;
        http.kill().await;
        more("stdio").await;
        over.store(true, Ordering::Relaxed);
    };
    let (rounds, ()) = tokio::join!(join_all((0..30).map(caller)), operate);
    let calls: usize = rounds.into_iter().sum();
    assert_eq!(calls, served.iter().map(|count| count.load(Ordering::Relaxed)).sum::<usize>());
    let stats: RegistryStats = gateway.get("/stats").await;
    assert!(stats.total_requests >= calls as u64, "{stats:?}: {calls} calls");
    assert_eq!((stats.total_servers, stats.connected_servers), (3, 2), "{stats:?}");
    gateway.stop().await;
}
