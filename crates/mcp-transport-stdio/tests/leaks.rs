//! Many servers in a row leave nothing behind. Alone in its binary, because it counts what the process has.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

#[path = "stdio/peer.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod peer;

use mcp_transport::StdioEndpoint;
use peer::{quick, run, start, until};

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn children() -> String {
    std::fs::read_to_string("/proc/thread-self/children").unwrap()
}

#[tokio::test]
async fn two_hundred_starts_and_stops_leave_no_descriptor_process_or_task() {
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let mut before = None;
    for round in 0..200 {
        let mut server = match round % 2 {
            0 => start(&StdioEndpoint::new("cat", [""; 0]), quick()),
            _ => run("read line; echo \"$line\"; exit 1"),
        };
        server.send(ping).await.unwrap();
        assert_eq!(server.next().await.unwrap(), ping);
        match round % 4 {
            0 => server.close().await,
            1 => drop(server.rest().await),
            _ => {} // dropped without a word
        }
        drop(server);
        // The first round opens what the runtime needs for good.
        if round == 0 {
            before = Some(descriptors());
        }
    }
    let before = before.unwrap();
    until("everything is given back", || {
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        descriptors() <= before && children().is_empty() && tasks == 0
    })
    .await;
}
