//! Starting, dying, stopping: nothing is left of a server.

use std::time::Duration;

use crate::peer::{members, message, patient, quick, run, runs, script, start, until};
use mcp_transport::{Delivery, Outbound, Transport, TransportErrorKind};
use mcp_transport_stdio::StdioOptions;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;

fn pid(number: u32) -> Pid {
    Pid::from_raw(number.cast_signed()).unwrap()
}

/// No process of the group runs, and the one we started was reaped. Those it started are for init to reap.
fn assert_nothing_left(group: u32) {
    assert_eq!(members(group), [""; 0]);
    assert!(!std::fs::exists(format!("/proc/{group}")).unwrap(), "{group} was not reaped");
}

#[tokio::test]
async fn the_end_of_the_process_says_how_and_why() {
    for (text, expected) in [
        ("read line; echo first >&2; echo 'last words' >&2; exit 3", "exit status 3; stderr: last words"),
        ("read line; printf 'no line end' >&2; exit 1", "exit status 1; stderr: no line end"),
        ("read line; exit 0", "exit status 0"),
        ("read line; kill -9 $$", "signal 9 (SIGKILL)"),
        ("read line; kill -TERM $$", "signal 15 (SIGTERM)"),
    ] {
        let mut server = run(text);
        server.send(PING).await.unwrap();
        let (messages, end) = server.rest().await;
        let end = end.unwrap();
        assert!(messages.is_empty());
        assert_eq!(end.kind, TransportErrorKind::Exited(expected.into()));
        assert_eq!(end.delivery, Delivery::Unknown);
        let late = server.send(PING).await.unwrap_err();
        assert_eq!((late.kind, late.delivery), (end.kind, Delivery::NotSent));
        server.close().await;
        assert_nothing_left(server.transport.pid());
    }
}

#[tokio::test]
async fn what_was_written_before_the_end_counts() {
    let mut server = run(&format!(
        "i=0; while [ $i -lt 2000 ]; do echo '{RESULT}'; i=$((i+1)); done; printf '%s' '{RESULT}'; exit 7"
    ));
    // More messages than the inbox holds, and nobody takes them until the process is dead for long.
    until("the server is dead or blocked", || {
        members(server.transport.pid()).iter().all(|stat| !stat.contains(") R "))
    })
    .await;
    let (messages, end) = server.rest().await;
    assert_eq!(messages.len(), 2001);
    assert_eq!(end.unwrap().kind, TransportErrorKind::Exited("exit status 7".into()));
}

#[tokio::test]
async fn j7_a_crash_is_noticed_within_100_ms() {
    let half = r#"printf '{"jsonrpc":"2.0","id":2,"resu'"#;
    for (what, text, messages, expected) in [
        ("at once", "exit 2".to_owned(), 0, "exit status 2"),
        ("before it answers", "read line; exit 3".to_owned(), 0, "exit status 3"),
        ("within a line", format!("read line; echo '{RESULT}'; {half}; exit 4"), 1, "exit status 4"),
        ("with children", "sleep 1000 & read line; exit 5".to_owned(), 0, "exit status 5"),
        ("by a signal", format!("read line; echo '{RESULT}'; {half}; kill -9 $$"), 1, "signal 9 (SIGKILL)"),
    ] {
        let mut times = Vec::new();
        // The machine may be busy; the best of some runs says what the code does.
        for _ in 0..5 {
            let mut server = run(&text);
            if what != "at once" {
                // It waits for a line, and has nothing else to do when one comes.
                until("the server waits", || {
                    members(server.transport.pid()).iter().all(|stat| stat.contains(") S "))
                })
                .await;
                server.send(PING).await.unwrap();
            }
            let began = Instant::now();
            let (received, end) = server.rest().await;
            times.push(began.elapsed());
            assert_eq!(received.len(), messages, "{what}");
            assert_eq!(end.unwrap().kind, TransportErrorKind::Exited(expected.into()), "{what}");
            server.close().await;
            assert_nothing_left(server.transport.pid());
        }
        assert!(times.iter().min().unwrap() <= &Duration::from_millis(100), "{what}: {times:?}");
    }
}

#[tokio::test]
async fn what_a_dead_server_printed_can_still_be_seen() {
    let mut endpoint = script(
        "i=0; while [ $i -lt 25 ]; do echo line $i >&2; i=$((i+1)); done
         echo 'no message'; echo \"key $KEY is wrong\" >&2; exit 1",
    );
    endpoint.env.insert("KEY".into(), "s3cr3t-value".into());
    let mut server = start(&endpoint, quick());
    let (_, end) = server.rest().await;
    let expected = "exit status 1; stderr: key [REDACTED] is wrong";
    assert_eq!(end.unwrap().kind, TransportErrorKind::Exited(expected.into()));
    server.close().await;
    let details = server.transport.details();
    let [("pid", pid), ("stderr", stderr), ("stdout_noise", noise)] = &details[..] else {
        panic!("{details:?}")
    };
    assert_eq!((pid, noise.as_str()), (&server.transport.pid().to_string(), "1"));
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[19]), (20, "line 6", "key [REDACTED] is wrong"));
}

#[tokio::test]
async fn j7_a_pending_send_fails_with_the_process() {
    let server = run("sleep 0.2; exit 5");
    let big = format!(r#"{{"jsonrpc":"2.0","method":"x","params":{{"t":"{}"}}}}"#, "x".repeat(1 << 20));
    let sends = [big.as_str(), PING].map(|text| server.transport.send(Outbound::new(message(text))));
    for result in patient(futures::future::join_all(sends)).await {
        let error = result.unwrap_err();
        assert_eq!(error.kind, TransportErrorKind::Exited("exit status 5".into()));
        assert_eq!(error.delivery, Delivery::NotSent);
    }
}

#[tokio::test]
async fn closed_pipes_of_a_living_process_end_the_connection() {
    for (text, expected) in [
        ("exec >&-; echo why >&2; exec sleep 1000", "the server closed its stdout; stderr: why"),
        ("exec <&-; echo '{}'; exec sleep 1000", "writing to the server failed: Broken pipe (os error 32)"),
    ] {
        let mut server = run(text);
        if text.contains("<&-") {
            until("stdin is closed", || {
                std::fs::read_link(format!("/proc/{}/fd/0", server.transport.pid())).is_err()
            })
            .await;
            let error = server.send(PING).await.unwrap_err();
            assert_eq!(error.kind, TransportErrorKind::Closed(expected.into()));
            assert_eq!(error.delivery, Delivery::NotSent);
        }
        let (_, end) = server.rest().await;
        assert_eq!(end.unwrap().kind, TransportErrorKind::Closed(expected.into()));
        server.close().await;
        assert_nothing_left(server.transport.pid());
    }
}

#[tokio::test]
async fn j7_a_server_that_ends_with_its_stdin_is_not_signalled() {
    let directory = tempfile::tempdir().unwrap();
    let signalled = directory.path().join("signalled");
    let options = StdioOptions { close_stdin: Duration::from_secs(20), ..quick() };
    let mut server = start(&script(&format!("trap 'touch {}' TERM; cat", signalled.display())), options);
    server.send(PING).await.unwrap();
    assert_eq!(server.next().await.unwrap(), PING);
    server.close().await;
    assert_nothing_left(server.transport.pid());
    assert!(!signalled.exists());
    assert_eq!(server.transport.unclean_end(), None);
    assert_eq!(server.rest().await, (vec![], None));
}

#[tokio::test]
async fn accepted_messages_are_written_before_stdin_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let seen = directory.path().join("seen");
    let options = StdioOptions { close_stdin: Duration::from_secs(20), ..quick() };
    let server = start(&script(&format!("cat >{}", seen.display())), options);
    for _ in 0..100 {
        server.send(PING).await.unwrap();
    }
    server.close().await;
    assert_eq!(std::fs::read_to_string(seen).unwrap().lines().count(), 100);
}

#[tokio::test]
async fn j7_a_server_that_ignores_everything_is_killed_with_its_children() {
    let mut server =
        run("trap '' TERM HUP; (trap '' TERM; while :; do sleep 1000; done) & sh -c 'sleep 1000 & wait' & \
         echo '{\"jsonrpc\":\"2.0\",\"method\":\"ready\"}'; while :; do sleep 1000; done");
    server.next().await.unwrap();
    until("five processes run", || members(server.transport.pid()).len() >= 5).await;
    let began = Instant::now();
    server.close().await;
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(600), "both waits are given: {took:?}");
    assert!(took < Duration::from_millis(600) + Duration::from_secs(3), "{took:?}");
    assert_nothing_left(server.transport.pid());
    let unclean = server.transport.unclean_end();
    assert_eq!(unclean.as_deref(), Some("its process, or one that it started, had to be killed"));
    assert_eq!(server.rest().await, (vec![], None));
}

#[tokio::test]
async fn the_server_behind_a_wrapper_may_finish_its_work() {
    let directory = tempfile::tempdir().unwrap();
    let saved = directory.path().join("saved");
    let options = StdioOptions { terminate: Duration::from_secs(20), ..quick() };
    // The wrapper dies of the signal at once; what it started wants 200 ms to save its state.
    let mut server = start(
        &script(&format!(
            "sh -c 'trap \"sleep 0.2; touch {}; exit\" TERM; echo \"{{\\\"jsonrpc\\\":\\\"2.0\\\",\\\"method\\\":\\\"ready\\\"}}\"; \
             while :; do sleep 0.05; done' & wait",
            saved.display()
        )),
        options,
    );
    server.next().await.unwrap();
    server.close().await;
    assert!(saved.exists());
    assert_nothing_left(server.transport.pid());
}

#[tokio::test]
async fn a_grandchild_that_holds_the_pipes_does_not_outlive_the_server() {
    let mut server = run("sleep 1000 & echo '{\"jsonrpc\":\"2.0\",\"method\":\"x\"}'; exit 4");
    let (messages, end) = server.rest().await;
    assert_eq!(messages.len(), 1);
    assert_eq!(end.unwrap().kind, TransportErrorKind::Exited("exit status 4".into()));
    server.close().await;
    assert_nothing_left(server.transport.pid());
}

#[tokio::test]
async fn a_process_that_left_the_group_does_not_hold_up_the_end() {
    let mut server = run("setsid sh -c 'echo $$ >&2; exec sleep 1000' & sleep 0.2; exit 4");
    let (_, end) = server.rest().await;
    let TransportErrorKind::Exited(text) = end.unwrap().kind else { panic!() };
    assert!(text.starts_with("exit status 4; stderr: "), "{text}");
    server.close().await;
    let escaped = server.transport.stderr_lines(1)[0].parse().unwrap();
    assert!(!runs(escaped));
}

/// Starts a process in a session of its own and a daemon, which say their numbers; then runs `rest`.
fn runaways(rest: &str) -> String {
    format!(
        "setsid sh -c 'echo $$ >&2; trap : HUP INT TERM; while :; do sleep 1000; done' >/dev/null </dev/null &
         (setsid sh -c '(sh -c \"echo \\$\\$ >&2; exec sleep 1000\" &)' >/dev/null </dev/null &)
         {rest}"
    )
}

/// Waits until a server of [`runaways`] has told all numbers.
async fn told(server: &crate::peer::Server) -> Vec<u32> {
    until("the runaways run", || server.transport.stderr_lines(9).len() == 2).await;
    let pids: Vec<u32> = server.transport.stderr_lines(9).iter().map(|line| line.parse().unwrap()).collect();
    let group = members(server.transport.pid());
    assert!(!pids.iter().any(|pid| group.iter().any(|stat| stat.starts_with(&format!("{pid} ")))));
    assert!(pids.iter().all(|pid| runs(*pid)), "{pids:?}");
    pids
}

#[tokio::test]
async fn what_left_the_group_does_not_outlive_the_server() {
    let bystander = run(&runaways("exec cat"));
    let bystanders = told(&bystander).await;
    for (how, rest) in [("close", "exec cat"), ("crash", "read line; exit 1"), ("drop", "exec cat")] {
        let mut server = run(&runaways(rest));
        let pids = told(&server).await;
        let began = Instant::now();
        match how {
            "close" => server.close().await,
            "crash" => {
                server.send(PING).await.unwrap();
                server.rest().await;
                server.close().await;
            }
            _ => drop(server),
        }
        until("the runaways are dead", || !pids.iter().any(|pid| runs(*pid))).await;
        assert!(how == "drop" || began.elapsed() < Duration::from_secs(3), "{how}");
    }
    assert!(bystanders.iter().all(|pid| runs(*pid)), "those of another server are left alone");
    bystander.close().await;
    assert!(!bystanders.iter().any(|pid| runs(*pid)));
}

#[tokio::test]
async fn a_process_without_the_marker_may_stay() {
    let server = run("env -u MCP_STDIO_OWNER setsid sh -c 'echo $$ >&2; exec sleep 1000' & exec cat");
    until("it runs", || server.transport.stderr_lines(1).len() == 1).await;
    server.close().await;
    let daemon = server.transport.stderr_lines(1)[0].parse().unwrap();
    assert!(runs(daemon));
    kill_process(pid(daemon), Signal::KILL).unwrap();
}

#[tokio::test]
async fn stubborn_servers_are_stopped_side_by_side() {
    let text = format!("trap '' TERM; echo '{RESULT}'; while :; do sleep 1000; done");
    let mut servers: Vec<_> = (0..8).map(|_| run(&text)).collect();
    for server in &mut servers {
        server.next().await.unwrap();
    }
    let began = Instant::now();
    futures::future::join_all(servers.iter().map(crate::peer::Server::close)).await;
    // 0.6 s for each of them; one after the other would take 4.8 s.
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    for server in &servers {
        assert_nothing_left(server.transport.pid());
    }
}

#[tokio::test]
async fn closing_works_while_both_directions_are_stuck() {
    let server = run(&format!("trap '' PIPE; while :; do echo '{RESULT}'; done"));
    let big = format!(r#"{{"jsonrpc":"2.0","method":"x","params":{{"t":"{}"}}}}"#, "x".repeat(1 << 20));
    let sends = [big.as_str(), PING].map(|text| server.transport.send(Outbound::new(message(text))));
    let (sent, ()) = patient(async {
        tokio::join!(futures::future::join_all(sends), async {
            tokio::task::yield_now().await;
            server.transport.close().await;
        })
    })
    .await;
    for result in sent {
        let error = result.unwrap_err();
        assert_eq!(error.kind, TransportErrorKind::Closed("the connection was closed".into()));
        assert_eq!(error.delivery, Delivery::NotSent);
    }
    assert_nothing_left(server.transport.pid());
}

#[tokio::test]
async fn closing_is_shared_and_can_be_repeated() {
    let server = run("trap '' TERM; while :; do sleep 1000; done");
    // A caller that gives up does not stop the stop.
    assert!(tokio::time::timeout(Duration::from_millis(10), server.transport.close()).await.is_err());
    patient(async { tokio::join!(server.transport.close(), server.transport.close()) }).await;
    assert_nothing_left(server.transport.pid());
    server.close().await;
    let late = server.send(PING).await.unwrap_err();
    assert_eq!(late.kind, TransportErrorKind::Closed("the connection was closed".into()));
    assert_eq!(late.delivery, Delivery::NotSent);
}

#[tokio::test]
async fn dropping_the_transport_kills_the_group() {
    let mut server =
        run(&format!("trap '' TERM; sleep 1000 & echo '{RESULT}'; while :; do sleep 1000; done"));
    server.next().await.unwrap();
    let group = server.transport.pid();
    assert!(!members(group).is_empty());
    drop(server.transport);
    until("the group is gone", || members(group).is_empty()).await;
    until("the process is reaped", || !std::fs::exists(format!("/proc/{group}")).unwrap()).await;
    assert!(patient(futures::StreamExt::next(&mut server.inbox)).await.is_none());
}

#[test]
fn shutting_the_runtime_down_kills_what_left_the_group() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let (server, pids) = first.block_on(async {
        let server = run(&runaways("exec cat"));
        let pids = told(&server).await;
        (server, pids)
    });
    drop(first);
    runtime().block_on(until("all are dead", || !pids.iter().any(|pid| runs(*pid))));
    drop(server);
}

#[test]
fn shutting_the_runtime_down_kills_the_group() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let server = first.block_on(async {
        let mut server = run(&format!("trap '' TERM; sleep 1000 & echo '{RESULT}'; wait; sleep 1000"));
        server.next().await.unwrap();
        server
    });
    let group = server.transport.pid();
    drop(first);
    runtime().block_on(async {
        until("the group is gone", || members(group).is_empty()).await;
        server.close().await;
        assert_eq!(server.send(PING).await.unwrap_err().delivery, Delivery::NotSent);
    });
}
