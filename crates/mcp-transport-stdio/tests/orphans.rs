//! The host process is killed, and its servers with everything they started are gone soon afterwards.
//!
//! A host is this program again, running `host`, which is no test unless it is told what to do.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "helpers of tests are tests, too")]

#[path = "stdio/peer.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod peer;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use peer::{quick, run, runs, script, start, stat, until};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::Instant;

/// Longest time a server may outlive its host.
const LIMIT: Duration = Duration::from_secs(2);

/// What a host is to do when its server is ready.
const SERVER: &str = "TEST_HOST_SERVER";
const THEN: &str = "TEST_HOST_THEN";

/// Says that the server and all it starts are ready.
const READY: &str = r#"echo '{"jsonrpc":"2.0","method":"ready"}'"#;

/// The host process that the tests start.
#[tokio::test]
async fn host() {
    let Ok(server) = std::env::var(SERVER) else { return };
    let mut server = run(&server);
    server.next().await.unwrap();
    println!("ready");
    if std::env::var(THEN).unwrap() == "exit" {
        std::process::exit(0); // without a word to anybody
    }
    std::future::pending::<()>().await;
}

/// A host process with one server, whose processes leave their numbers in files.
struct Host {
    process: Child,
    files: TempDir,
}

impl Host {
    /// `server` is a shell script; `$FILES` in it is where the files belong.
    fn start(server: &str, then: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let server = server.replace("$FILES", files.path().to_str().unwrap());
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "host", "--nocapture"])
            .env(SERVER, server)
            .env(THEN, then)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "ready"), "the host has ended");
        Self { process, files }
    }

    /// The processes of the server that have said who they are.
    fn processes(&self) -> Vec<u32> {
        let files = std::fs::read_dir(self.files.path()).unwrap().map(|file| file.unwrap().path());
        let pids = files.filter(|file| file.extension().is_some_and(|extension| extension == "pid"));
        pids.map(|file| std::fs::read_to_string(file).unwrap().trim().parse().unwrap()).collect()
    }

    fn kill(&mut self) -> Instant {
        self.process.kill().unwrap();
        let killed = Instant::now();
        self.process.wait().unwrap();
        killed
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The watchdog of a host, if one runs.
fn watchdog(host: u32) -> Option<u32> {
    let is_one = |pid: &u32| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        stat(*pid).is_some_and(|fields| fields[1] == host.to_string() && fields[0] != "Z")
            && command.ends_with(b"\0mcp-stdio-watchdog\0")
    };
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    processes.filter_map(|process| process.file_name().to_str()?.parse().ok()).find(is_one)
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

/// All these processes are dead within the limit. They are reaped by whoever inherits them: that is not
/// a matter of this crate.
async fn assert_gone(what: &str, pids: &[u32], killed: Instant) {
    until("the processes are dead", || !pids.iter().any(|pid| runs(*pid))).await;
    let took = killed.elapsed();
    println!("{what}: {} processes gone after {took:?}", pids.len());
    assert!(took < LIMIT, "{what}: {took:?}");
}

/// Writes the number of the shell that runs it to a file.
fn pid_to(name: &str) -> String {
    format!("echo $$ >$FILES/{name}.part; mv $FILES/{name}.part $FILES/{name}.pid")
}

/// Waits until there are files of so many processes.
fn all(count: usize) -> String {
    format!("until [ $(ls $FILES/*.pid | wc -l) -eq {count} ]; do sleep 0.01; done; {READY}")
}

/// Ignores the end of stdin and every signal that can be ignored.
const STUBBORN: &str = "trap : HUP INT QUIT TERM PIPE; while :; do sleep 1000; done";

/// A server, its child and its grandchild, all of them stubborn.
fn stubborn_family() -> String {
    let (server, child, grandchild) = (pid_to("server"), pid_to("child"), pid_to("grandchild"));
    // In a shell within a shell the number is that of the inner one.
    let grandchild = grandchild.replace("$$", "\\$\\$");
    format!(
        "{server}; sh -c '{child}; sh -c \"{grandchild}; {STUBBORN}\" & {STUBBORN}' & {}; {STUBBORN}",
        all(3)
    )
}

#[tokio::test]
async fn servers_that_ignore_everything_go_with_their_families() {
    let mut host = Host::start(&stubborn_family(), "wait");
    let pids = host.processes();
    assert!(pids.len() == 3 && pids.iter().all(|pid| runs(*pid)), "{pids:?}");
    let watchdog = watchdog(host.process.id()).unwrap();
    let killed = host.kill();
    assert_gone("a stubborn family", &pids, killed).await;
    until("the watchdog has ended", || !runs(watchdog)).await;
}

/// A server behind a wrapper, a daemon of the double fork, and a stubborn process in a session of its own.
fn runaways() -> String {
    let (session, daemon, server) = (pid_to("session"), pid_to("daemon"), pid_to("server"));
    let daemon = daemon.replace("$$", "\\$\\$");
    format!(
        "setsid sh -c '{session}; {STUBBORN}' >/dev/null 2>&1 </dev/null &
         (setsid sh -c '(sh -c \"{daemon}; exec sleep 1000\" &)' >/dev/null 2>&1 </dev/null &)
         sh -c '{server}; exec sleep 1000' & {}; wait",
        all(3)
    )
}

#[tokio::test]
async fn processes_that_left_the_group_go_as_well() {
    let mut host = Host::start(&runaways(), "wait");
    let pids = host.processes();
    let groups: Vec<_> = pids.iter().map(|pid| stat(*pid).unwrap()[2].clone()).collect();
    assert!(groups.iter().any(|group| *group != groups[0]), "they did leave it: {groups:?}");
    let killed = host.kill();
    assert_gone("runaways", &pids, killed).await;
}

#[tokio::test]
async fn a_host_that_exits_without_closing_leaves_nothing_either() {
    let mut host = Host::start(&runaways(), "exit");
    let pids = host.processes();
    host.process.wait().unwrap();
    assert_gone("runaways of a host that exits", &pids, Instant::now()).await;
}

#[tokio::test]
async fn a_server_may_save_its_state_first() {
    for (name, how) in [
        ("stdin", "cat >/dev/null; sleep 0.2; touch $FILES/saved"),
        // A shell reports that its `sleep` was ended, too, and would die of the closed pipe.
        (
            "SIGTERM",
            "exec 2>/dev/null; trap 'sleep 0.2; touch $FILES/saved; exit' TERM; while :; do sleep 0.01; done",
        ),
    ] {
        let mut host = Host::start(&format!("{}; {READY}; {how}", pid_to("server")), "wait");
        let pids = host.processes();
        let killed = host.kill();
        assert_gone(name, &pids, killed).await;
        assert!(host.files.path().join("saved").exists(), "{name}");
    }
}

#[tokio::test]
async fn a_killed_watchdog_is_replaced() {
    let mut host = Host::start(&stubborn_family(), "wait");
    let mut last = watchdog(host.process.id()).unwrap();
    for _ in 0..3 {
        signal(last, Signal::KILL);
        until("another one runs", || watchdog(host.process.id()).is_some_and(|now| now != last)).await;
        last = watchdog(host.process.id()).unwrap();
    }
    let pids = host.processes();
    let killed = host.kill();
    assert_gone("servers of a replaced watchdog", &pids, killed).await;
}

#[tokio::test]
async fn the_watchdog_has_only_its_pipe_and_is_in_a_group_of_its_own() {
    let server = start(&script("exec sleep 1000"), quick());
    let us = std::process::id();
    let watchdog = watchdog(us).unwrap();
    assert_eq!(stat(watchdog).unwrap()[2], watchdog.to_string());
    until("it has closed what it was given besides", || {
        let open = std::fs::read_dir(format!("/proc/{watchdog}/fd")).unwrap();
        let mut open: Vec<_> = open.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        open.sort();
        open.iter().filter(|fd| fd.len() == 1).eq(["0", "1", "2"])
    })
    .await;
    let target = |fd: u32| std::fs::read_link(format!("/proc/{watchdog}/fd/{fd}")).unwrap();
    assert!(target(0).to_str().unwrap().starts_with("pipe:"));
    assert_eq!((target(1).to_str(), target(2).to_str()), (Some("/dev/null"), Some("/dev/null")));
    let names: Vec<_> = std::fs::read_to_string(format!("/proc/{watchdog}/environ"))
        .unwrap()
        .split_terminator('\0')
        .map(|entry| entry.split('=').next().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["MCP_STDIO_WATCHDOG", "PATH"], "what it runs, and where programs are");
    server.close().await;
}
