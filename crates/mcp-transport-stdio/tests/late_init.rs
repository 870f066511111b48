//! The system's first process takes its time to reap orphans: dead ones hold nobody up.
//!
//! Here that process is this program, and what it starts is this program again, running `host`.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "helpers of tests are tests, too")]

#[path = "stdio/peer.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod peer;

use std::process::{Command, Stdio};
use std::time::Duration;

use mcp_transport::Transport;
use mcp_transport_stdio::StdioOptions;
use peer::{members, quick, script, start, until};
use rustix::process::{getpid, set_child_subreaper};
use tokio::time::Instant;

/// Set for the host.
const HOST: &str = "TEST_HOST";

/// Long enough to notice that it is waited for.
const REAP: Duration = Duration::from_secs(10);

#[tokio::test]
async fn host() {
    if std::env::var_os(HOST).is_none() {
        return;
    }
    let server = start(&script("sleep 1000 & exec cat"), StdioOptions { reap: REAP, ..quick() });
    let group = server.transport.pid();
    until("both run", || {
        let members = members(group);
        ["(sleep)", "(cat)"].iter().all(|name| members.iter().any(|stat| stat.contains(name)))
    })
    .await;
    let began = Instant::now();
    server.close().await;
    assert!(began.elapsed() < REAP, "{:?}", began.elapsed());
    assert_eq!(server.transport.unclean_end(), None);
    let zombie =
        |pid: &u32| peer::stat(*pid).is_some_and(|stat| stat[0] == "Z" && stat[2] == group.to_string());
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let mut pids = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    assert!(pids.any(|pid| zombie(&pid)), "the orphan was reaped: this shows nothing");
    println!("stopped");
}

#[test]
fn zombies_of_a_group_are_not_waited_for() {
    // From here on orphans are ours, and nobody reaps them.
    set_child_subreaper(Some(getpid())).unwrap();
    let host = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "host", "--nocapture"])
        .env(HOST, "1")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&host.stdout).into_owned();
    assert!(host.status.success() && told.contains("stopped"), "{told}");
}
