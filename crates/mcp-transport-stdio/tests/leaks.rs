//! Many servers in a row leave nothing behind. Alone in its binary, because it counts what the process has.
//!
//! `STDIO_CYCLES=10000 cargo test -p mcp-transport-stdio --test leaks -- --nocapture` runs as many starts and
//! stops, and shows the figures.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

#[path = "stdio/peer.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod peer;

use std::path::PathBuf;
use std::time::Duration;

use mcp_transport::StdioEndpoint;
use peer::{quick, run, start, until};
use tokio::runtime::Handle;
use tokio::time::Instant;

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

/// Rounds before the first count: they open what the runtime needs for good.
const WARM_UP: usize = 20;

/// What this process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Holdings {
    descriptors: usize,
    /// Child processes. Zombies count, and so would a watchdog.
    children: usize,
    tasks: usize,
    threads: usize,
}

impl Holdings {
    fn now() -> Self {
        let threads: Vec<_> = std::fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok).collect();
        let children =
            threads.iter().filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
        Self {
            descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            children: children.map(|list| list.split_whitespace().count()).sum(),
            tasks: Handle::current().metrics().num_alive_tasks(),
            threads: threads.len(),
        }
    }
}

/// Memory of this process in KiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

/// The command lines of processes whose environment holds a text.
fn bearers(marker: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok).map(|process| process.path());
    let bears = |process: &PathBuf| {
        let environment = std::fs::read(process.join("environ")).unwrap_or_default();
        memchr::memmem::find(&environment, marker.as_bytes()).is_some()
    };
    let command = |process: PathBuf| std::fs::read_to_string(process.join("cmdline")).unwrap_or_default();
    processes.filter(bears).map(command).collect()
}

/// One start and end, in one of the ways there are.
async fn cycle(round: usize) {
    let mut server = match round % 5 {
        0 | 1 => start(&StdioEndpoint::new("cat", [""; 0]), quick()),
        2 => run("read line; echo \"$line\"; exit 1"),
        3 => run("setsid sleep 1000 >/dev/null 2>&1 </dev/null & exec cat"),
        _ => run("exit 3"),
    };
    if round % 5 == 4 {
        assert!(server.rest().await.1.is_some());
    } else {
        server.send(PING).await.unwrap();
        assert_eq!(server.next().await.unwrap(), PING);
    }
    match round % 5 {
        0 | 3 => server.close().await,
        2 => drop(server.rest().await),
        _ => {} // dropped without a word
    }
}

#[tokio::test]
async fn j7_starts_and_stops_leave_no_descriptor_process_task_or_thread() {
    let cycles = std::env::var("STDIO_CYCLES").map_or(300, |count| count.parse().unwrap());
    let marker = {
        let mut server = run("echo $MCP_STDIO_OWNER >&2");
        server.rest().await;
        let line = server.transport.stderr_lines(1).remove(0);
        format!("MCP_STDIO_OWNER={}.", line.split_once('.').unwrap().0)
    };
    for round in 0..WARM_UP {
        cycle(round).await;
    }
    // The test harness has a thread of its own.
    until("the warm-up is over", || {
        let now = Holdings::now();
        (now.children, now.tasks, now.threads) == (0, 0, 2) && bearers(&marker).is_empty()
    })
    .await;
    let idle = Holdings::now();
    let memory_before = memory();
    let began = Instant::now();
    for round in 0..cycles {
        cycle(round).await;
    }
    let took = began.elapsed();
    let settled = async {
        until("", || Holdings::now() == idle && bearers(&marker).is_empty()).await;
    };
    if tokio::time::timeout(Duration::from_secs(10), settled).await.is_err() {
        panic!("{idle:?} became {:?}, and there are {:?}", Holdings::now(), bearers(&marker));
    }
    let after = memory();
    println!("{cycles} cycles in {took:?}: {idle:?} and {memory_before} KiB before, {after} KiB after");
    assert!(after < memory_before + 4096, "{memory_before} KiB, then {after} KiB");
}
